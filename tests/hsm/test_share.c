/* SPDX-License-Identifier: Apache-2.0 */
/* A token with few sessions, and several processes that want them: who does not use his gives them back. */
#include "fixture.h"

#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { JOBS = 8, IDLE_MS = 20 };

static void nap(void)
{
    (void)nanosleep(&(struct timespec){.tv_nsec = 5000000}, NULL);
}

/* Not for ever, should it never be so. */
#define AWAIT(condition)                                                                                     \
    do {                                                                                                     \
        for (int naps = 0; naps < 24000 && !(condition); naps++)                                             \
            nap();                                                                                           \
        CU_ASSERT_FATAL(condition);                                                                          \
    } while (0)

static hsm *idle_hsm(unsigned idle_ms)
{
    return fixture_hsm_with(&(hsm_settings){
        .pin = FIXTURE_PIN, .timeout_ms = 120000, .idle_ms = idle_ms, .caller_thread = HSM_NONE});
}

static void done(void *arg)
{
    (void)arg;
}

/* With a `done`, so that it is on a thread of its own. */
static hsm_job *submit(hsm_key *key)
{
    static const uint8_t digest[32] = {1};
    const hsm_mechanism mech = {.scheme = HSM_ECDSA, .hash = HSM_SHA256};
    hsm_error err = {0};
    hsm_job *job = NULL;
    if (hsm_submit(key, &mech, digest, sizeof(digest), done, NULL, &job, &err) != HSM_OK)
        fprintf(stderr, "%s\n", err.text);
    CU_ASSERT_PTR_NOT_NULL_FATAL(job);
    return job;
}

static void finish(hsm_job *job)
{
    uint8_t sig[HSM_OUTPUT_MAX];
    size_t len = sizeof(sig);
    hsm_error err = {0};
    if (hsm_job_finish(job, sig, &len, &err) != HSM_OK) {
        fprintf(stderr, "%s\n", err.text);
        CU_FAIL("not signed");
    }
}

static unsigned open_sessions(hsm *h)
{
    hsm_counters counters;
    hsm_counters_read(h, &counters);
    return counters.sessions;
}

/* So many signatures at once, and so many sessions. */
static void at_once(hsm_key *key, unsigned count)
{
    hsm_job *jobs[JOBS];
    counted->hold = 1;
    for (unsigned i = 0; i < count; i++)
        jobs[i] = submit(key);
    AWAIT(counted->held >= count);
    counted->hold = 0;
    for (unsigned i = 0; i < count; i++)
        finish(jobs[i]);
}

/* More often than a process could leave threads behind unnoticed. */
static void unused_sessions_are_given_back(void)
{
    hsm *h = idle_hsm(IDLE_MS);
    hsm_key *key = find_key(h, "p256");
    uint64_t logins = counted->logins;
    for (int i = 0; i < 6; i++) {
        at_once(key, JOBS);
        AWAIT(open_sessions(h) == 1 && counted->open == 1);
    }
    for (int i = 0; i < 5 * IDLE_MS / 5; i++)
        nap();
    CU_ASSERT_EQUAL(counted->open, 1); /* one stays, and the login with it */
    CU_ASSERT_EQUAL(sign_any(key, NULL), HSM_OK);
    CU_ASSERT_EQUAL(counted->logins, logins);
    hsm_key_free(key);
    hsm_free(h);
    CU_ASSERT_EQUAL(counted->open, 0);
}

static void sessions_are_kept_if_that_is_asked_for(void)
{
    hsm *h = idle_hsm(HSM_NEVER);
    hsm_key *key = find_key(h, "p256");
    at_once(key, JOBS);
    for (int i = 0; i < 5 * IDLE_MS / 5; i++)
        nap();
    CU_ASSERT(open_sessions(h) >= JOBS); /* and that of who found the key, if he was late for another task */
    hsm_key_free(key);
    hsm_free(h);
}

/* What is used is not idle, on loan neither. */
static void sessions_in_use_stay(void)
{
    hsm *h = fixture_hsm_with(
        &(hsm_settings){.pin = FIXTURE_PIN, .timeout_ms = 120000, .idle_ms = 1, .caller_thread = HSM_ALL});
    hsm_key *key = find_key(h, "p256");
    for (int i = 0; i < 2000; i++) {
        if (i % 100 == 0)
            at_once(key, JOBS);
        CU_ASSERT_EQUAL(sign_any(key, NULL), HSM_OK);
    }
    hsm_key_free(key);
    hsm_free(h);
    CU_ASSERT_EQUAL(counted->open, 0);
}

/* The limit that a refusal has taught is not for ever: there is more to have once others have given back. */
static void who_was_refused_asks_again(void)
{
    hsm *h = idle_hsm(HSM_NEVER);
    hsm_key *key = find_key(h, "p256");
    counted->session_limit = 2;
    counted->hold = 1;
    hsm_job *jobs[64];
    size_t count = 0;
    for (; count < JOBS; count++)
        jobs[count] = submit(key);
    AWAIT(counted->held == 2 && open_sessions(h) == 2);
    counted->session_limit = 0;
    while (counted->held < JOBS &&
           count < 64) { /* each one that comes may try; one a second does, and all that follow */
        jobs[count++] = submit(key);
        for (int i = 0; i < 20; i++)
            nap();
    }
    CU_ASSERT(counted->held >= JOBS);
    counted->hold = 0;
    for (size_t i = 0; i < count; i++)
        finish(jobs[i]);
    hsm_key_free(key);
    hsm_free(h);
}

#if !defined(__SANITIZE_THREAD__) /* which cannot follow children that start threads */
/* A daemon that is reloaded: the old process has all sessions of the token, and the new one waits for one. */
static int sign_in_child(void *arg)
{
    hsm *h = idle_hsm(IDLE_MS);
    hsm_key *key = NULL;
    hsm_error err = {0};
    (void)arg;
    if (find_one(h, "pkcs11:object=p256", &key, &err) != HSM_OK || sign_any(key, &err) != HSM_OK)
        fprintf(stderr, "in the child: %s\n", err.text);
    hsm_key_free(key);
    hsm_free(h);
    return err.status == HSM_OK ? 0 : 1;
}

static void another_process_gets_what_is_not_used(void)
{
    hsm *h = idle_hsm(IDLE_MS);
    hsm_key *key = find_key(h, "p256");
    counted->session_limit = 4;
    hsm_job *jobs[4];
    counted->hold = 1;
    for (int i = 0; i < 4; i++)
        jobs[i] = submit(key);
    AWAIT(counted->held == 4);
    counted->hold = 2; /* they stay; who is new may sign */
    pid_t child = fork();
    if (child == 0)
        _exit(sign_in_child(NULL));
    for (int i = 0; i < 40; i++)
        nap();
    CU_ASSERT_EQUAL(waitpid(child, NULL, WNOHANG), 0); /* still looking for a session */
    counted->hold = 0;
    for (int i = 0; i < 4; i++)
        finish(jobs[i]);
    int status = -1;
    CU_ASSERT_EQUAL(waitpid(child, &status, 0), child);
    CU_ASSERT(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    counted->session_limit = 0;
    hsm_key_free(key);
    hsm_free(h);
}

#endif

/* Not for ever, and with a word on why. */
static void who_gets_no_session_is_told(void)
{
    hsm *h = fixture_hsm_with(&(hsm_settings){.pin = FIXTURE_PIN, .timeout_ms = 2000});
    hsm_key *key = NULL;
    hsm_error err = {0};
    counted->session_limit = 1;
    counted->open++; /* somebody has it */
    CU_ASSERT_NOT_EQUAL(find_one(h, "pkcs11:object=p256", &key, &err), HSM_OK);
    counted->open--;
    counted->session_limit = 0;
    CU_ASSERT(err.status == HSM_E_TIMEOUT || strstr(err.text, "all its sessions are in use"));
    CU_ASSERT_PTR_NULL(key);
    hsm_free(h);
}

static const CU_TestInfo tests[] = {
    {"unused sessions are given back", unused_sessions_are_given_back},
    {"sessions are kept if that is asked for", sessions_are_kept_if_that_is_asked_for},
    {"sessions in use stay", sessions_in_use_stay},
    {"who was refused asks again", who_was_refused_asks_again},
#if !defined(__SANITIZE_THREAD__)
    {"another process gets what is not used", another_process_gets_what_is_not_used},
#endif
    {"who gets no session is told", who_gets_no_session_is_told},
    CU_TEST_INFO_NULL,
};

int main(void)
{
    fixture_start();
    return run_suite("hsm: sharing sessions", tests);
}
