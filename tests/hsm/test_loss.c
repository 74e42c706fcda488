/* SPDX-License-Identifier: Apache-2.0 */
/* Losing sessions, logins, objects and whole tokens, and getting them back. */
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
    h = fixture_hsm_with(&(hsm_settings){.pin = FIXTURE_PIN, .sessions = sessions});
    key = find_key(h, "p256");
    CU_ASSERT_EQUAL(sign_any(key, NULL), HSM_OK);
}

static void start(void)
{
    start_with(0);
}

static void end(void)
{
    hsm_key_free(key);
    hsm_free(h);
}

static void expect_signature(void)
{
    hsm_error err = {0};
    hsm_status status = sign_any(key, &err);
    if (status != HSM_OK)
        fprintf(stderr, "status %d: %s\n", status, err.text);
    CU_ASSERT_EQUAL(status, HSM_OK);
}

static uint64_t recoveries(void)
{
    hsm_counters c;
    hsm_counters_read(h, &c);
    return c.recoveries;
}

static void lost_sessions_are_reopened(void)
{
    start();
    uint64_t logins = counted->logins, before = recoveries();
    CU_ASSERT_EQUAL(fixture_functions()->C_CloseAllSessions(fixture_slot(FIXTURE_TOKEN)), CKR_OK);
    expect_signature();
    CU_ASSERT_EQUAL(counted->logins, logins + 1);
    CU_ASSERT_EQUAL(recoveries(), before + 1);
    end();
}

static void logout_by_somebody_else_is_made_good(void)
{
    start();
    CK_FUNCTION_LIST *f = fixture_functions();
    CK_SESSION_HANDLE session = 0;
    CU_ASSERT_EQUAL(f->C_OpenSession(fixture_slot(FIXTURE_TOKEN), CKF_SERIAL_SESSION, NULL, NULL, &session),
                    CKR_OK);
    CU_ASSERT_EQUAL(f->C_Logout(session), CKR_OK);
    expect_signature();
    CU_ASSERT_EQUAL(f->C_CloseSession(session), CKR_OK);
    end();
}

/* With one session, the new one has the number of the old one, which must not be closed any more. */
static void finalise_by_somebody_else_is_made_good(void)
{
    start_with(1);
    CU_ASSERT_EQUAL(fixture_functions()->C_Finalize(NULL), CKR_OK);
    expect_signature();
    end();
}

/* Each CK_RV that stands for a loss, once: the operation is repeated and succeeds. */
static void each_kind_of_loss_is_repaired(void)
{
    static const CK_RV losses[] = {
        CKR_SESSION_HANDLE_INVALID, CKR_SESSION_CLOSED,     CKR_OBJECT_HANDLE_INVALID,
        CKR_KEY_HANDLE_INVALID,     CKR_USER_NOT_LOGGED_IN, CKR_DEVICE_REMOVED,
        CKR_DEVICE_ERROR,           CKR_TOKEN_NOT_PRESENT,  CKR_CRYPTOKI_NOT_INITIALIZED,
    };
    start();
    for (size_t i = 0; i < sizeof(losses) / sizeof(losses[0]); i++) {
        counted->sign_answer = losses[i];
        expect_signature();
        CU_ASSERT_EQUAL(counted->sign_answer, 0);
    }
    end();
}

static void other_errors_are_passed_on_by_name(void)
{
    hsm_error err = {0};
    start_with(1);
    uint64_t before = counted->sign_inits;
    counted->sign_answer = CKR_FUNCTION_FAILED;
    CU_ASSERT_EQUAL(sign_any(key, &err), HSM_E_TOKEN);
    CU_ASSERT_EQUAL(err.ckr, CKR_FUNCTION_FAILED);
    CU_ASSERT_PTR_NOT_NULL(strstr(err.text, "token 'mail': C_Sign answered CKR_FUNCTION_FAILED"));
    CU_ASSERT_EQUAL(counted->sign_inits, before + 1);
    expect_signature(); /* though the operation was left active in that session; and at once */
    CU_ASSERT_EQUAL(counted->sign_inits, before + 2);
    end();
}

/* ---- Under load ---- */

static atomic_bool stop;
static atomic_int failures, successes;

static void *sign_main(void *arg)
{
    while (!stop) {
        hsm_error err = {0};
        if (sign_any(arg, &err) != HSM_OK && failures++ == 0)
            fprintf(stderr, "first failure: %s\n", err.text);
        successes++;
    }
    return NULL;
}

/* The token's sessions go away again and again while eight threads sign; nobody sees it. */
static void losses_under_load_are_not_noticed(void)
{
    enum { THREADS = 8, LOSSES = 20 };
    pthread_t threads[THREADS];
    start();
    stop = false;
    failures = successes = 0;
    for (int i = 0; i < THREADS; i++)
        CU_ASSERT_EQUAL_FATAL(pthread_create(&threads[i], NULL, sign_main, key), 0);
    for (int i = 0; i < LOSSES; i++) {
        int seen = successes;
        while (successes < seen + 200)
            give_way();
        counted->sign_answer = CKR_DEVICE_REMOVED;
        while (counted->sign_answer)
            give_way();
    }
    stop = true;
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    CU_ASSERT_EQUAL(failures, 0);
    CU_ASSERT(recoveries() >= 1);
    hsm_counters c;
    hsm_counters_read(h, &c);
    CU_ASSERT(c.sessions <= 16);
    CU_ASSERT_EQUAL(counted->open, c.sessions);
    end();
}

/* ---- Tokens that are away ---- */

static void sign_until(hsm_status wanted)
{
    hsm_error err = {0};
    hsm_status status;
    do
        status = sign_any(key, &err);
    while (status != wanted && (status == HSM_OK || status == HSM_E_NO_TOKEN));
    CU_ASSERT_EQUAL(status, wanted);
}

static void absent_token_fails_fast_and_comes_back(void)
{
    start();
    uint64_t logins = counted->logins;
    counted->away = 1;
    hsm_error err = {0};
    CU_ASSERT_EQUAL(sign_any(key, &err), HSM_E_NO_TOKEN);
    hsm_counters c;
    hsm_counters_read(h, &c);
    CU_ASSERT_EQUAL(c.sessions,
                    0); /* they are gone, whoever holds them: else the module could not be started anew */
    uint64_t lookups = counted->lookups;
    int wrong = 0;
    for (int i = 0; i < 200; i++) { /* far more than the back-off lets through to the token */
        wrong += sign_any(key, &err) != HSM_E_NO_TOKEN || !strstr(err.text, "token 'mail' (serial ");
    }
    CU_ASSERT_EQUAL(wrong, 0);
    CU_ASSERT(counted->lookups - lookups < 200);
    counted->away = 0;
    sign_until(HSM_OK);
    CU_ASSERT_EQUAL(counted->logins, logins + 1);
    end();
}

static void token_directory(const char *from, const char *to)
{
    char a[128], b[128];
    (void)snprintf(a, sizeof(a), "%s/%s", fixture_dir(), from);
    (void)snprintf(b, sizeof(b), "%s/%s", fixture_dir(), to);
    CU_ASSERT_EQUAL_FATAL(rename(a, b), 0);
}

/* What a real module does whose tokens vanish from the disk, from the first use on. */
static void token_directory_that_is_away_is_told(void)
{
    hsm_error err = {0};
    token_directory("tokens", "elsewhere");
    hsm *fresh = fixture_hsm();
    hsm_key *none = NULL;
    hsm_status status = find_one(fresh, "pkcs11:token=mail;object=p256", &none, &err);
    CU_ASSERT(status == HSM_E_NO_TOKEN || status == HSM_E_MODULE);
    CU_ASSERT(strlen(err.text) > 20);
    hsm_free(fresh);
    token_directory("elsewhere", "tokens");
    start();
    expect_signature();
    end();
}

/* ---- Objects that go or change ---- */

static CK_OBJECT_HANDLE private_object(CK_FUNCTION_LIST *f, CK_SESSION_HANDLE session, const char *label)
{
    CK_OBJECT_CLASS class = CKO_PRIVATE_KEY;
    CK_OBJECT_HANDLE object = 0;
    CK_ULONG n = 0;
    CK_ATTRIBUTE template[] = {{CKA_CLASS, &class, sizeof(class)},
                               {CKA_LABEL, (void *)(uintptr_t)label, strlen(label)}};
    CU_ASSERT_EQUAL(f->C_FindObjectsInit(session, template, 2), CKR_OK);
    CU_ASSERT_EQUAL(f->C_FindObjects(session, &object, 1, &n), CKR_OK);
    CU_ASSERT_EQUAL(f->C_FindObjectsFinal(session), CKR_OK);
    CU_ASSERT_EQUAL(n, 1);
    return object;
}

static void rename_key(CK_FUNCTION_LIST *f, CK_SESSION_HANDLE session, CK_OBJECT_HANDLE object,
                       const char *label, uint8_t id)
{
    CK_ATTRIBUTE names[] = {{CKA_LABEL, (void *)(uintptr_t)label, strlen(label)}, {CKA_ID, &id, 1}};
    CU_ASSERT_EQUAL(f->C_SetAttributeValue(session, object, names, 2), CKR_OK);
}

static void expect_no_key(hsm_key *which, const char *says)
{
    hsm_error err = {0};
    counted->sign_answer = CKR_KEY_HANDLE_INVALID; /* makes it look for the key again */
    CU_ASSERT_EQUAL(sign_any(which, &err), HSM_E_NO_OBJECT);
    if (!strstr(err.text, says))
        fprintf(stderr, "'%s' instead of '%s'\n", err.text, says);
    CU_ASSERT_PTR_NOT_NULL(strstr(err.text, says));
    counted->sign_answer = 0;
}

/* A key of another name is not there; another key under the same name must not sign in its stead. */
static void only_the_same_key_is_taken_again(void)
{
    start();
    hsm_key *rsa = find_key(h, "rsa");
    CU_ASSERT_EQUAL(sign_any(rsa, NULL), HSM_OK);
    CK_FUNCTION_LIST *f = fixture_functions();
    CK_SESSION_HANDLE session = 0;
    CK_FLAGS flags = CKF_SERIAL_SESSION | CKF_RW_SESSION;
    CU_ASSERT_EQUAL(f->C_OpenSession(fixture_slot(FIXTURE_TOKEN), flags, NULL, NULL, &session), CKR_OK);
    CK_OBJECT_HANDLE right = private_object(f, session, "rsa"), wrong = private_object(f, session, "rsa3072");
    rename_key(f, session, right, "hidden", 99);
    expect_no_key(rsa, "the key 'rsa' is not there any more");
    rename_key(f, session, wrong, "rsa", 1);
    expect_no_key(rsa, "the key 'rsa' is another one than before");
    rename_key(f, session, right, "rsa", 1); /* both now: the right one is picked */
    counted->sign_answer = CKR_KEY_HANDLE_INVALID;
    CU_ASSERT(sign_and_verify(rsa, HSM_RSA_PKCS1, HSM_SHA256, NULL));
    CU_ASSERT_EQUAL(counted->sign_answer, 0);
    rename_key(f, session, wrong, "rsa3072", 2);
    CU_ASSERT_EQUAL(f->C_CloseSession(session), CKR_OK);
    hsm_key_free(rsa);
    end();
}

/* The last test of the program: the key is gone for good. */
static void destroyed_key_is_told(void)
{
    start();
    CK_FUNCTION_LIST *f = fixture_functions();
    CK_SESSION_HANDLE session = 0;
    hsm_error err = {0};
    CK_FLAGS flags = CKF_SERIAL_SESSION | CKF_RW_SESSION;
    CU_ASSERT_EQUAL(f->C_OpenSession(fixture_slot(FIXTURE_TOKEN), flags, NULL, NULL, &session), CKR_OK);
    CU_ASSERT_EQUAL(f->C_DestroyObject(session, private_object(f, session, "p256")), CKR_OK);
    uint64_t before = recoveries();
    for (int i = 0; i < 3; i++) {
        CU_ASSERT_EQUAL(sign_any(key, &err), HSM_E_NO_OBJECT);
        CU_ASSERT_PTR_NOT_NULL(strstr(err.text, "token 'mail': the key 'p256' is not there any more"));
    }
    CU_ASSERT_EQUAL(recoveries(), before); /* a missing key is no reason to reopen the token */
    CU_ASSERT_EQUAL(f->C_CloseSession(session), CKR_OK);
    end();
}

static const CU_TestInfo tests[] = {
    {"lost sessions are reopened", lost_sessions_are_reopened},
    {"a logout by somebody else is made good", logout_by_somebody_else_is_made_good},
    {"a finalise by somebody else is made good", finalise_by_somebody_else_is_made_good},
    {"each kind of loss is repaired", each_kind_of_loss_is_repaired},
    {"other errors are passed on by name", other_errors_are_passed_on_by_name},
    {"losses under load are not noticed", losses_under_load_are_not_noticed},
    {"an absent token fails fast and comes back", absent_token_fails_fast_and_comes_back},
    {"a token directory that is away is told", token_directory_that_is_away_is_told},
    {"only the same key is taken again", only_the_same_key_is_taken_again},
    {"a destroyed key is told", destroyed_key_is_told},
    CU_TEST_INFO_NULL,
};

int main(void)
{
    fixture_start();
    return run_suite("hsm: losses", tests);
}
