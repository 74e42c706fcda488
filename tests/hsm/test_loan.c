/* SPDX-License-Identifier: Apache-2.0 */
/* Operations on the thread of who waits for them, with a worker's session: who may, and what he may not do. */
#include "fixture.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include <openssl/err.h>

enum { SLOW_MS = 120000, TIMEOUT_MS = 1500 };

static hsm *h;
static hsm_key *key;

/* The key has been used once, so there is a worker with a session. */
static void start_with(hsm_settings s, const char *label)
{
    s.pin = FIXTURE_PIN;
    s.timeout_ms = s.timeout_ms ? s.timeout_ms : SLOW_MS;
    h = fixture_hsm_with(&s);
    key = find_key(h, label);
    CU_ASSERT_EQUAL(sign_any(key, NULL), HSM_OK);
}

static void end(void)
{
    hsm_key_free(key);
    hsm_free(h);
}

/* The worker that has done the first one may not be among the idle again when the second is asked for. */
static bool comes_to_own_thread_of(int times)
{
    for (int i = 0; i < times; i++) {
        CU_ASSERT_EQUAL(sign_any(key, NULL), HSM_OK);
        if (counted->signer == (uint64_t)gettid())
            return true;
        give_way();
    }
    return false;
}

static bool comes_to_own_thread(void)
{
    return comes_to_own_thread_of(10000);
}

static bool stays_with_workers(void)
{
    return !comes_to_own_thread_of(100);
}

static bool stays_on_own_thread(int times)
{
    for (int i = 0; i < times; i++) {
        CU_ASSERT_EQUAL(sign_any(key, NULL), HSM_OK);
        if (counted->signer != (uint64_t)gettid())
            return false;
    }
    return true;
}

static void who_waits_signs_himself_if_he_may(void)
{
    start_with((hsm_settings){.caller_thread = HSM_ALL}, "p256");
    CU_ASSERT(comes_to_own_thread());
    CU_ASSERT(stays_on_own_thread(100));
    CU_ASSERT(sign_and_verify(key, HSM_ECDSA, HSM_SHA256, NULL));
    end();
    start_with((hsm_settings){.caller_thread = HSM_ALL}, "rsa");
    CU_ASSERT(comes_to_own_thread());
    CU_ASSERT(sign_and_verify(key, HSM_RSA_PSS, HSM_SHA256, NULL));
    end();
}

/* A module in front of a near one is not near: it may hang where that does not. */
static void others_are_signed_for(void)
{
    start_with((hsm_settings){.caller_thread = HSM_NEAR}, "p256");
    CU_ASSERT(stays_with_workers());
    end();
    start_with((hsm_settings){.caller_thread = HSM_NONE}, "p256");
    CU_ASSERT(stays_with_workers());
    end();
    start_with((hsm_settings){.caller_thread = HSM_ALL}, "always"); /* wants the PIN for each use */
    CU_ASSERT(stays_with_workers());
    end();
}

/* SoftHSM2 itself is near. Nobody counts there, but who signs himself does not sleep until somebody has. */
static void softhsm_is_near(void)
{
    enum { TIMES = 200 };
    struct rusage before, after;
    hsm_error err = {0};
    h = NULL;
    const hsm_settings s = {.module_path = fixture_softhsm(), .pin = FIXTURE_PIN, .timeout_ms = SLOW_MS};
    CU_ASSERT_EQUAL_FATAL(hsm_new(&h, &s, &err), HSM_OK);
    key = find_key(h, "p256");
    for (int i = 0; i < 10; i++)
        CU_ASSERT(sign_and_verify(key, HSM_ECDSA, HSM_SHA256, NULL));
    getrusage(RUSAGE_THREAD, &before);
    for (int i = 0; i < TIMES; i++)
        CU_ASSERT_EQUAL(sign_any(key, NULL), HSM_OK);
    getrusage(RUSAGE_THREAD, &after);
    CU_ASSERT(after.ru_nvcsw - before.ru_nvcsw < TIMES / 4);
    end();
}

static uint64_t all_calls(void)
{
    uint64_t sum = 0;
    for (int i = 0; i < FAULT_FUNCTION_COUNT; i++)
        sum += fault->calls[i];
    return sum;
}

static void a_signature_takes_two_calls(void)
{
    static const hsm_modules settings[] = {HSM_NONE, HSM_ALL};
    for (int i = 0; i < 2; i++) {
        start_with((hsm_settings){.caller_thread = settings[i], .sessions = 1}, "p256");
        CU_ASSERT_EQUAL(sign_any(key, NULL), HSM_OK);
        uint64_t before = all_calls(), signs = fault->calls[FAULT_Sign];
        for (int k = 0; k < 50; k++)
            CU_ASSERT_EQUAL(sign_any(key, NULL), HSM_OK);
        CU_ASSERT_EQUAL(fault->calls[FAULT_Sign] - signs, 50);
        CU_ASSERT_EQUAL(all_calls() - before, 2 * 50);
        end();
    }
}

/* What has to be repaired is left to the worker; the caller notices nothing. */
static void losses_are_repaired(void)
{
    hsm_counters c;
    hsm_error err = {0};
    start_with((hsm_settings){.caller_thread = HSM_ALL}, "p256");
    CU_ASSERT(comes_to_own_thread());
    for (int i = 0; i < 5; i++) {
        fault->drop_sessions = 1;
        CU_ASSERT_EQUAL(sign_any(key, &err), HSM_OK);
        CU_ASSERT(comes_to_own_thread());
        atomic_fetch_add(&fault->stale_objects, 1);
        CU_ASSERT_EQUAL(sign_any(key, &err), HSM_OK);
        CU_ASSERT(comes_to_own_thread());
    }
    hsm_counters_read(h, &c);
    CU_ASSERT_EQUAL(c.recoveries, 5);
    CU_ASSERT_EQUAL(c.failures, 0);
    end();
}

/* SoftHSM2 uses libcrypto on this thread: what fails there is not to be found among the caller's own errors. */
static void errors_of_the_module_stay_its_own(void)
{
    uint8_t in[256], out[256];
    size_t len = sizeof(out);
    start_with((hsm_settings){.caller_thread = HSM_ALL}, "rsa");
    CU_ASSERT(comes_to_own_thread());
    memset(in, 0xff, sizeof(in)); /* not less than the modulus */
    ERR_clear_error();
    ERR_raise(ERR_LIB_USER, 7);
    CU_ASSERT_NOT_EQUAL(
        hsm_operate(key, &(hsm_mechanism){.scheme = HSM_RSA_RAW}, in, sizeof(in), out, &len, NULL), HSM_OK);
    CU_ASSERT_EQUAL(counted->signer, (uint64_t)gettid());
    CU_ASSERT_EQUAL(ERR_GET_REASON(ERR_peek_last_error()), 7);
    ERR_clear_error();
    end();
}

/* What cannot be repaired is told once, and not tried again. */
static void errors_are_told(void)
{
    hsm_error err = {0};
    hsm_counters c;
    start_with((hsm_settings){.caller_thread = HSM_ALL}, "p256");
    CU_ASSERT(comes_to_own_thread());
    uint64_t asked = counted->sign_inits;
    ERR_clear_error();
    counted->sign_answer = CKR_FUNCTION_REJECTED;
    CU_ASSERT_EQUAL(sign_any(key, &err), HSM_E_TOKEN);
    CU_ASSERT_EQUAL(err.ckr, CKR_FUNCTION_REJECTED);
    CU_ASSERT_EQUAL(counted->sign_inits, asked + 1);
    CU_ASSERT_EQUAL(ERR_peek_error(), 0);
    hsm_counters_read(h, &c);
    CU_ASSERT_EQUAL(c.failures, 1);
    CU_ASSERT_EQUAL(sign_any(key, &err),
                    HSM_OK); /* the session may have been left in the middle of something */
    end();
}

static void *sign_main(void *arg)
{
    *(hsm_status *)arg = sign_any(key, NULL);
    return NULL;
}

/* He hangs as long as the module does, but he is counted: nobody queues up behind him for ever. */
static void others_are_told_that_he_hangs(void)
{
    pthread_t thread;
    hsm_status status = HSM_E_TOKEN;
    hsm_error err = {0};
    start_with((hsm_settings){.caller_thread = HSM_ALL, .sessions = 1, .timeout_ms = TIMEOUT_MS}, "p256");
    CU_ASSERT(comes_to_own_thread());
    counted->hold = 1;
    CU_ASSERT_EQUAL_FATAL(pthread_create(&thread, NULL, sign_main, &status), 0);
    while (counted->held == 0)
        give_way();
    do {
        CU_ASSERT_EQUAL(sign_any(key, &err), HSM_E_TIMEOUT);
    } while (!strstr(err.text, "all its 1 sessions hang"));
    char *report = hsm_report(h);
    CU_ASSERT_PTR_NOT_NULL(report ? strstr(report, "\"state\":\"hanging\"") : NULL);
    free(report);
    counted->hold = 0;
    pthread_join(thread, NULL);
    CU_ASSERT_EQUAL(status, HSM_E_TIMEOUT); /* an answer that came too late */
    CU_ASSERT_EQUAL(sign_any(key, &err), HSM_OK);
    end();
}

/* Those that find no session free wait in the queue, and are woken when one is given back. */
static void waiting_callers_get_their_turn(void)
{
    enum { THREADS = 6 };
    pthread_t threads[THREADS];
    hsm_status status[THREADS];
    hsm_counters c;
    start_with((hsm_settings){.caller_thread = HSM_ALL, .sessions = 1}, "p256");
    CU_ASSERT(comes_to_own_thread());
    counted->hold = 1;
    for (int i = 0; i < THREADS; i++)
        CU_ASSERT_EQUAL_FATAL(pthread_create(&threads[i], NULL, sign_main, &status[i]), 0);
    do {
        hsm_counters_read(h, &c);
        give_way();
    } while (c.queued < THREADS - 1);
    counted->hold = 0;
    for (int i = 0; i < THREADS; i++) {
        pthread_join(threads[i], NULL);
        CU_ASSERT_EQUAL(status[i], HSM_OK);
    }
    end();
}

static void *storm_main(void *arg)
{
    int *failed = arg;
    for (int i = 0; i < 100; i++) {
        hsm_error err = {0};
        if (sign_any(key, &err) == HSM_OK)
            continue;
        (*failed)++;
        fprintf(stderr, "%s\n", err.text);
    }
    return NULL;
}

static void many_threads_survive_losses(void)
{
    enum { THREADS = 8 };
    pthread_t threads[THREADS];
    int failed[THREADS] = {0};
    start_with((hsm_settings){.caller_thread = HSM_ALL, .key_copies = HSM_ALL, .sessions = 3}, "p256");
    for (int i = 0; i < THREADS; i++)
        CU_ASSERT_EQUAL_FATAL(pthread_create(&threads[i], NULL, storm_main, &failed[i]), 0);
    for (int i = 0; i < 4; i++) {
        uint64_t now = fault->calls[FAULT_Sign];
        while (fault->calls[FAULT_Sign] < now + 50)
            give_way();
        fault->drop_sessions = 1;
    }
    for (int i = 0; i < THREADS; i++) {
        pthread_join(threads[i], NULL);
        CU_ASSERT_EQUAL(failed[i], 0);
    }
    end();
}

static int exit_while_a_caller_hangs(void *arg)
{
    pthread_t thread;
    static hsm_status status;
    (void)arg;
    start_with((hsm_settings){.caller_thread = HSM_ALL}, "p256");
    if (!comes_to_own_thread())
        return 93;
    counted->hold = 1;
    if (pthread_create(&thread, NULL, sign_main, &status) != 0)
        return 94;
    while (counted->held == 0)
        give_way();
    return 0;
}

static void a_process_ends_though_a_caller_hangs(void)
{
    CU_ASSERT_EQUAL(run_child(exit_while_a_caller_hangs, NULL, false), 0);
    counted->hold = counted->held = 0; /* the child has taken its thread along */
}

static const CU_TestInfo tests[] = {
    {"a process ends though a caller hangs", a_process_ends_though_a_caller_hangs},
    {"who waits signs himself if he may", who_waits_signs_himself_if_he_may},
    {"others are signed for", others_are_signed_for},
    {"SoftHSM2 is near", softhsm_is_near},
    {"a signature takes two calls", a_signature_takes_two_calls},
    {"losses are repaired", losses_are_repaired},
    {"errors are told", errors_are_told},
    {"errors of the module stay its own", errors_of_the_module_stay_its_own},
    {"others are told that he hangs", others_are_told_that_he_hangs},
    {"waiting callers get their turn", waiting_callers_get_their_turn},
    {"many threads survive losses", many_threads_survive_losses},
    CU_TEST_INFO_NULL,
};

int main(void)
{
    fixture_start();
    return run_suite("hsm: on the caller's thread", tests);
}
