/* SPDX-License-Identifier: Apache-2.0 */
/* A token that does not answer: whoever waits is told in time, whoever sleeps is woken, nobody else waits. */
#include "fixture.h"

#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

enum { SESSIONS = 3, TIMEOUT_MS = 1500 };

static hsm *h;
static hsm_key *key;

static void start_with(unsigned timeout_ms)
{
    h = fixture_hsm_with(
        &(hsm_settings){.pin = FIXTURE_PIN, .sessions = SESSIONS, .timeout_ms = timeout_ms, .queue = 8});
    key = find_key(h, "p256");
    CU_ASSERT_EQUAL(sign_patiently(key), HSM_OK);
}

static void start(void)
{
    start_with(TIMEOUT_MS);
}

/* The token answers again, and with it whoever was stuck in it. */
static void release(void)
{
    counted->hold = 0;
    while (counted->held > 0)
        give_way();
}

static void end(void)
{
    hsm_key_free(key);
    hsm_free(h);
}

static void expect_timeout(const char *says)
{
    hsm_error err = {0};
    CU_ASSERT_EQUAL(sign_any(key, &err), HSM_E_TIMEOUT);
    CU_ASSERT_PTR_NOT_NULL(strstr(err.text, says));
    if (!strstr(err.text, says))
        fprintf(stderr, "'%s' instead of '%s'\n", err.text, says);
}

static void *wait_main(void *arg)
{
    hsm_error err = {0};
    *(hsm_status *)arg = sign_any(key, &err);
    return NULL;
}

/* Each session is given up once; with the last of them hanging nobody waits any more. */
static void callers_are_told_in_time(void)
{
    pthread_t threads[SESSIONS];
    hsm_status status[SESSIONS];
    start();
    counted->hold = 1;
    do {
        for (int i = 0; i < SESSIONS; i++)
            CU_ASSERT_EQUAL_FATAL(pthread_create(&threads[i], NULL, wait_main, &status[i]), 0);
        for (int i = 0; i < SESSIONS; i++) {
            pthread_join(threads[i], NULL);
            CU_ASSERT_EQUAL(status[i], HSM_E_TIMEOUT);
        }
    } while (counted->held < SESSIONS); /* on a slow machine some give up before they have come that far */
    CU_ASSERT_EQUAL(counted->held, SESSIONS);
    uint64_t asked = counted->sign_inits;
    for (int i = 0; i < 100; i++) /* would take 30 s if they waited */
        expect_timeout("token 'mail': it does not answer any more: all its 3 sessions hang");
    CU_ASSERT_EQUAL(counted->sign_inits, asked);
    release();
    hsm_status again;
    do
        again = sign_any(key, NULL);
    while (again == HSM_E_TIMEOUT); /* until the first of them has come back to the queue */
    CU_ASSERT_EQUAL(again, HSM_OK);
    end();
}

static sem_t woken;

static void wake(void *arg)
{
    atomic_fetch_add((atomic_int *)arg, 1);
    sem_post(&woken);
}

static hsm_job *submit(atomic_int *calls)
{
    static const uint8_t digest[32] = {1};
    hsm_job *job = NULL;
    hsm_error err = {0};
    CU_ASSERT_EQUAL_FATAL(
        hsm_submit(key, &(hsm_mechanism){.scheme = HSM_ECDSA}, digest, 32, wake, calls, &job, &err), HSM_OK);
    return job;
}

static hsm_status finish(hsm_job *job, hsm_error *err)
{
    uint8_t sig[HSM_OUTPUT_MAX];
    size_t len = sizeof(sig);
    return hsm_job_finish(job, sig, &len, err);
}

static void expect_late(hsm_job *job)
{
    hsm_error err = {0};
    CU_ASSERT(hsm_job_ready(job));
    CU_ASSERT_EQUAL(finish(job, &err), HSM_E_TIMEOUT);
    CU_ASSERT_PTR_NOT_NULL(strstr(err.text, "token 'mail': "));
}

/* Those that run as well as those that still wait. Nobody calls anything meanwhile, as an event loop would not. */
static void sleepers_are_woken_in_time(void)
{
    enum { JOBS = SESSIONS + 4 };
    atomic_int calls = 0;
    hsm_job *jobs[JOBS];
    start();
    counted->hold = 1;
    for (int i = 0; i < JOBS; i++)
        jobs[i] = submit(&calls);
    for (int i = 0; i < JOBS; i++)
        sem_wait(&woken);
    for (int i = SESSIONS; i < JOBS; i++)
        expect_late(jobs[i]);
    release();
    while (sign_any(key, NULL) != HSM_OK) /* until one of them has come back to the queue */
        give_way();
    for (int i = 0; i < SESSIONS; i++) /* though there is an answer by now */
        expect_late(jobs[i]);
    CU_ASSERT_EQUAL(calls, JOBS); /* once each, also after the token has answered after all */
    end();
}

/* Whoever goes before his time leaves a thread behind that hangs: it is counted as one all the same. */
static void abandoned_operations_count_as_hanging(void)
{
    atomic_int calls = 0;
    start();
    counted->hold = 1;
    for (int i = 0; i < SESSIONS; i++) {
        hsm_job *job = submit(&calls);
        while (counted->held < (uint64_t)i + 1)
            give_way();
        hsm_job_abandon(job);
    }
    hsm_status status;
    hsm_error err = {0};
    do {
        status = sign_any(key, &err);
        CU_ASSERT_EQUAL(status, HSM_E_TIMEOUT);
    } while (status == HSM_E_TIMEOUT && !strstr(err.text, "all its 3 sessions hang"));
    CU_ASSERT_EQUAL(calls, 0);
    release();
    end();
}

/* A hanging token and a healthy one in the same module: the second is not held up. */
static void other_tokens_are_not_held_up(void)
{
    start_with(120000);
    hsm_key *other = NULL;
    CU_ASSERT_EQUAL_FATAL(find_one(h, "pkcs11:token=spare;object=second", &other, NULL), HSM_OK);
    atomic_int calls = 0;
    counted->hold = 1;
    hsm_job *job = submit(&calls);
    while (counted->held == 0)
        give_way();
    counted->hold = 2; /* holds those that are in, not those that come */
    CU_ASSERT_EQUAL(sign_any(other, NULL), HSM_OK);
    release();
    CU_ASSERT_EQUAL(finish(job, NULL), HSM_OK);
    hsm_key_free(other);
    end();
}

static const CU_TestInfo tests[] = {
    {"callers are told in time", callers_are_told_in_time},
    {"sleepers are woken in time", sleepers_are_woken_in_time},
    {"abandoned operations count as hanging", abandoned_operations_count_as_hanging},
    {"other tokens are not held up", other_tokens_are_not_held_up},
    CU_TEST_INFO_NULL,
};

int main(void)
{
    fixture_start();
    fixture_add_token("spare", "second");
    (void)sem_init(&woken, 0, 0);
    return run_suite("hsm: a token that hangs", tests);
}
