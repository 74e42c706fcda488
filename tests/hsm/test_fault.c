/* SPDX-License-Identifier: Apache-2.0 */
/* Every way of a token to fail that we know of, one after the other, by sealane-fault.so. */
#include "fixture.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static hsm *h;
static hsm_key *key;

static void start_with(unsigned sessions)
{
    h = fixture_hsm_with(&(hsm_settings){.pin = FIXTURE_PIN, .sessions = sessions, .timeout_ms = 120000});
    key = find_key(h, "p256");
    CU_ASSERT_EQUAL(sign_any(key, NULL), HSM_OK);
}

static void end(void)
{
    hsm_key_free(key);
    hsm_free(h);
}

static hsm_status expect(hsm_status wanted, const char *where)
{
    hsm_error err = {0};
    hsm_status status = sign_any(key, &err);
    if (status != wanted)
        fprintf(stderr, "%s: status %d instead of %d: %s\n", where, status, wanted, err.text);
    CU_ASSERT_EQUAL(status, wanted);
    return status;
}

static void order(enum fault_function function, CK_RV answer, uint64_t skip, uint64_t times)
{
    fault->rule[0].function = function;
    fault->rule[0].answer = answer;
    fault->rule[0].skip = skip;
    fault->rule[0].times = times;
}

static void order_nothing(void)
{
    for (int i = 0; i < FAULT_RULES; i++) {
        fault->rule[i].times = 0;
        fault->rule[i].skip = 0;
        fault->rule[i].answer = 0;
        fault->rule[i].delay_us = 0;
        fault->rule[i].hang = 0;
    }
}

static const CK_RV losses[] = {
    CKR_SESSION_HANDLE_INVALID, CKR_SESSION_CLOSED,     CKR_OBJECT_HANDLE_INVALID,
    CKR_KEY_HANDLE_INVALID,     CKR_USER_NOT_LOGGED_IN, CKR_DEVICE_REMOVED,
    CKR_DEVICE_ERROR,           CKR_TOKEN_NOT_PRESENT,  CKR_CRYPTOKI_NOT_INITIALIZED,
};

static const enum fault_function sign_calls[] = {FAULT_SignInit, FAULT_Sign};

/* In either call of a signature, each loss once and several times in a row: nobody sees it. */
static void each_loss_is_repaired(void)
{
    start_with(1);
    for (size_t c = 0; c < 2; c++) {
        for (size_t i = 0; i < sizeof(losses) / sizeof(losses[0]); i++) {
            for (uint64_t times = 1; times <= 4; times += 3) {
                order(sign_calls[c], losses[i], 0, times);
                (void)expect(HSM_OK, hsm_ckr_name(losses[i]));
                CU_ASSERT_EQUAL(fault->rule[0].times, 0);
            }
        }
    }
    end();
}

/* A token that loses something with every call: a few tries, then it is reported by its name. */
static void a_loss_at_every_call_is_reported(void)
{
    static const CK_RV answers[] = {CKR_SESSION_HANDLE_INVALID, CKR_DEVICE_REMOVED, CKR_KEY_HANDLE_INVALID,
                                    CKR_OPERATION_ACTIVE};
    start_with(1);
    for (size_t c = 0; c < 2; c++) {
        for (size_t i = 0; i < sizeof(answers) / sizeof(answers[0]); i++) {
            hsm_error err = {0};
            uint64_t before = fault->calls[sign_calls[c]];
            order(sign_calls[c], answers[i], 0, FAULT_EVER);
            CU_ASSERT_NOT_EQUAL(sign_any(key, &err), HSM_OK);
            CU_ASSERT_EQUAL(err.ckr, answers[i]);
            CU_ASSERT_PTR_NOT_NULL(strstr(err.text, hsm_ckr_name(answers[i])));
            CU_ASSERT(fault->calls[sign_calls[c]] <= before + 16);
            order_nothing();
            (void)expect(HSM_OK, "afterwards");
        }
    }
    end();
}

/* Who has gone, or has been told that it is too late, is not signed for any more. */
static void nothing_is_repeated_for_nobody(void)
{
    static const uint8_t digest[32] = {1};
    hsm_job *job = NULL;
    start_with(1);
    uint64_t before = fault->calls[FAULT_Sign];
    fault->rule[0].hang = 1;
    order(FAULT_Sign, CKR_DEVICE_REMOVED, 0, 1);
    CU_ASSERT_EQUAL_FATAL(
        hsm_submit(key, &(hsm_mechanism){.scheme = HSM_ECDSA}, digest, 32, NULL, NULL, &job, NULL), HSM_OK);
    while (fault->hanging == 0)
        give_way();
    hsm_job_abandon(job);
    fault->rule[0].hang = 0;
    (void)expect(HSM_OK, "the next in the only session");
    CU_ASSERT_EQUAL(fault->calls[FAULT_Sign], before + 2);
    end();
}

/* The new session is lost before the login: the token counts as there all the same. */
static void sessions_lost_while_opened_are_opened_again(void)
{
    start_with(1);
    for (uint64_t times = 1; times <= 3; times++) {
        order(FAULT_Login, CKR_SESSION_HANDLE_INVALID, 0, times);
        fault->drop_sessions = 1;
        (void)expect(HSM_OK, "lost at the login");
        CU_ASSERT_EQUAL(fault->rule[0].times, 0);
    }
    end();
}

/* Away for less than the back-off: who was at work meanwhile waits for it. */
static void a_glitch_is_waited_for(void)
{
    start_with(1);
    order(FAULT_GetTokenInfo, CKR_DEVICE_REMOVED, 0, 2);
    fault->drop_sessions = 1;
    (void)expect(HSM_OK, "away at two probes");
    CU_ASSERT_EQUAL(fault->rule[0].times, 0);
    end();
}

/* SoftHSM2 leaves label and serial number blank while another process logs in: half an answer, which must not
 * become what the token is known by. */
static void half_an_answer_about_the_token_is_not_believed(void)
{
    static const CK_RV halves[] = {FAULT_NO_LABEL, FAULT_NO_SERIAL};
    for (size_t i = 0; i < sizeof(halves) / sizeof(halves[0]); i++) {
        order(FAULT_GetTokenInfo, halves[i], 0, 3);
        start_with(1);
        CU_ASSERT_EQUAL(fault->rule[0].times, 0);
        fault->drop_sessions = 1;
        (void)expect(HSM_OK, "known by a whole answer");
        order(FAULT_GetTokenInfo, halves[i], 0, 3);
        fault->drop_sessions = 1;
        (void)expect(HSM_OK, "found again by a whole answer");
        CU_ASSERT_EQUAL(fault->rule[0].times, 0);
        end();
    }
}

static void token_without_a_serial_number_works(void)
{
    order(FAULT_GetTokenInfo, FAULT_NO_SERIAL, 0, FAULT_EVER);
    start_with(1);
    fault->drop_sessions = 1;
    (void)expect(HSM_OK, "the token without a serial number");
    order_nothing();
    end();
}

/* While it reopens the token, something else fails in turn: never a crash, and the token is back afterwards. */
static void a_failure_during_recovery_is_reported(void)
{
    static const enum fault_function calls[] = {
        FAULT_GetSlotList, FAULT_GetTokenInfo, FAULT_OpenSession,     FAULT_FindObjects,
        FAULT_Login,       FAULT_GetSlotInfo,  FAULT_FindObjectsInit, FAULT_GetAttributeValue};
    static const CK_RV answers[] = {CKR_FUNCTION_FAILED, CKR_DEVICE_REMOVED, CKR_HOST_MEMORY};
    start_with(1);
    for (size_t c = 0; c < sizeof(calls) / sizeof(calls[0]); c++) {
        for (size_t a = 0; a < sizeof(answers) / sizeof(answers[0]); a++) {
            order(calls[c], answers[a], 0, 2);
            fault->drop_sessions = 1;
            hsm_error err = {0};
            hsm_status status = sign_any(key, &err);
            CU_ASSERT(status == HSM_OK || strlen(err.text) > 20);
            order_nothing();
            do
                status = sign_any(key, &err);
            while (status == HSM_E_NO_TOKEN || (status != HSM_OK && err.ckr == answers[a]));
            CU_ASSERT_EQUAL(status, HSM_OK);
            if (status != HSM_OK)
                fprintf(stderr, "function %d, %s: status %d, %s\n", calls[c], hsm_ckr_name(answers[a]),
                        status, err.text);
        }
    }
    end();
}

static void stale_handles_are_found_again(void)
{
    start_with(2);
    uint64_t logins = counted->logins;
    for (int i = 0; i < 5; i++) {
        fault->stale_objects++;
        (void)expect(HSM_OK, "stale objects");
    }
    CU_ASSERT_EQUAL(counted->logins, logins); /* a handle is no reason to log in again */
    for (int i = 0; i < 5; i++) {
        fault->drop_sessions = 1;
        (void)expect(HSM_OK, "dropped sessions");
    }
    end();
}

static void set_away(const char *token, bool away)
{
    (void)snprintf(fault->away_token, FAULT_LABEL, "%s", token);
    fault->away = away;
}

static void sign_until(hsm_status wanted)
{
    hsm_error err = {0};
    hsm_status status;
    do
        status = sign_any(key, &err);
    while (status != wanted && (status == HSM_OK || status == HSM_E_NO_TOKEN));
    CU_ASSERT_EQUAL(status, wanted);
    if (status != wanted)
        fprintf(stderr, "status %d: %s\n", status, err.text);
}

static void token_that_returns_in_another_slot_is_taken_back(void)
{
    start_with(0);
    for (int i = 0; i < 3; i++) {
        set_away(FIXTURE_TOKEN, true);
        sign_until(HSM_E_NO_TOKEN);
        fault->slot_shift += 7;
        set_away(FIXTURE_TOKEN, false);
        sign_until(HSM_OK);
    }
    /* And without being seen away: its sessions are void, the slot has another number. */
    fault->slot_shift += 7;
    fault->drop_sessions = 1;
    sign_until(HSM_OK);
    end();
    fault->slot_shift = 0;
}

static void another_key_under_the_same_name_is_refused(void)
{
    hsm_error err = {0};
    start_with(1);
    (void)strcpy(fault->swap_token, FIXTURE_TOKEN);
    (void)strcpy(fault->swap_from, "p256");
    (void)strcpy(fault->swap_to, "always");
    fault->swap_from_id = 3;
    fault->swap_to_id = 6;
    fault->swap = 1;
    fault->drop_sessions = 1;
    CU_ASSERT_EQUAL(sign_any(key, &err), HSM_E_NO_OBJECT);
    CU_ASSERT_PTR_NOT_NULL(strstr(err.text, "the key 'p256' is another one than before"));
    fault->swap = 0;
    (void)expect(HSM_OK, "swapped back");
    end();
}

/* PKCS#11 2.40 section 5.6: a wrong PIN may lock the token. What it says about the PIN is believed at once. */
static void login_that_fails_is_not_repeated_with_the_same_pin(void)
{
    static const CK_RV refusals[] = {CKR_PIN_INCORRECT, CKR_PIN_LOCKED, CKR_PIN_EXPIRED};
    for (size_t i = 0; i < sizeof(refusals) / sizeof(refusals[0]); i++) {
        char pin[32]; /* another one each time: a refused one is remembered for the life of the process */
        hsm_key *none = NULL;
        hsm_error err = {0};
        (void)snprintf(pin, sizeof(pin), "9999-%zu", i);
        hsm *other = fixture_hsm_with(&(hsm_settings){.pin = pin});
        order(FAULT_Login, refusals[i], 0, FAULT_EVER);
        uint64_t logins = counted->logins;
        for (int j = 0; j < 3; j++)
            CU_ASSERT_EQUAL(find_one(other, "pkcs11:token=mail;object=p256", &none, &err), HSM_E_PIN);
        CU_ASSERT_EQUAL(counted->logins, logins + 1);
        order_nothing();
        hsm_free(other);
    }
}

/* ---- Under load ---- */

enum { THREADS = 8, ROUNDS = 40 };

static atomic_bool stop;
static atomic_int failures, successes[THREADS];

static void *sign_main(void *arg)
{
    atomic_int *mine = arg;
    while (!stop) {
        hsm_error err = {0};
        if (sign_any(key, &err) == HSM_OK)
            ++*mine;
        else if (failures++ == 0)
            fprintf(stderr, "first failure: %s\n", err.text);
    }
    return NULL;
}

/* So many more of each thread: what was under way has ended. */
static void wait_for_each(int more)
{
    int seen[THREADS];
    for (int i = 0; i < THREADS; i++)
        seen[i] = successes[i];
    for (int i = 0; i < THREADS; i++) {
        while (successes[i] < seen[i] + more && failures == 0)
            give_way();
    }
}

static int successes_of_all(void)
{
    int sum = 0;
    for (int i = 0; i < THREADS; i++)
        sum += successes[i];
    return sum;
}

static void wait_for_anybody(void)
{
    int seen = successes_of_all();
    while (successes_of_all() == seen && failures == 0)
        give_way();
}

/*
 * Sessions and handles go again and again while eight threads sign; none of them sees it. Four losses follow
 * each other as fast as anything succeeds, so one operation may meet all of them.
 */
static void storms_of_losses_are_not_noticed(void)
{
    pthread_t threads[THREADS];
    start_with(0);
    stop = false;
    failures = 0;
    for (int i = 0; i < THREADS; i++)
        CU_ASSERT_EQUAL_FATAL(pthread_create(&threads[i], NULL, sign_main, &successes[i]), 0);
    for (int i = 0; i < ROUNDS; i++) {
        if (i % 4 == 0)
            wait_for_each(2);
        wait_for_anybody();
        if (i % 3 == 0)
            fault->drop_sessions = 1;
        else if (i % 3 == 1)
            fault->stale_objects++;
        else
            order(FAULT_Sign, losses[(size_t)i % (sizeof(losses) / sizeof(losses[0]))], 3, 1);
    }
    wait_for_each(2);
    stop = true;
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    CU_ASSERT_EQUAL(failures, 0);
    order_nothing();
    end();
}

static const CU_TestInfo tests[] = {
    {"each loss is repaired", each_loss_is_repaired},
    {"a loss at every call is reported", a_loss_at_every_call_is_reported},
    {"nothing is repeated for nobody", nothing_is_repeated_for_nobody},
    {"sessions lost while opened are opened again", sessions_lost_while_opened_are_opened_again},
    {"a glitch is waited for", a_glitch_is_waited_for},
    {"half an answer about the token is not believed", half_an_answer_about_the_token_is_not_believed},
    {"a token without a serial number works", token_without_a_serial_number_works},
    {"a failure during recovery is reported", a_failure_during_recovery_is_reported},
    {"stale handles are found again", stale_handles_are_found_again},
    {"a token that returns in another slot is taken back", token_that_returns_in_another_slot_is_taken_back},
    {"another key under the same name is refused", another_key_under_the_same_name_is_refused},
    {"a login that fails is not repeated with the same PIN",
     login_that_fails_is_not_repeated_with_the_same_pin},
    {"storms of losses are not noticed", storms_of_losses_are_not_noticed},
    CU_TEST_INFO_NULL,
};

int main(void)
{
    fixture_start();
    return run_suite("hsm: faults", tests);
}
