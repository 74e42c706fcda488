/* SPDX-License-Identifier: Apache-2.0 */
/* Signatures: right ones, from many threads at once, waited for or not, and refused ones. */
#include "fixture.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

/* ---- One at a time ---- */

static void signatures_verify_with_libcrypto(void)
{
    static const struct {
        const char *key;
        hsm_scheme scheme;
    } cases[] = {{"rsa", HSM_RSA_PKCS1},   {"rsa", HSM_RSA_PSS}, {"rsa3072", HSM_RSA_PKCS1},
                 {"rsa3072", HSM_RSA_PSS}, {"p256", HSM_ECDSA},  {"p384", HSM_ECDSA},
                 {"p521", HSM_ECDSA},      {"bare", HSM_ECDSA}};
    static const hsm_hash hashes[] = {HSM_SHA256, HSM_SHA384, HSM_SHA512};
    hsm *h = fixture_hsm();
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        hsm_key *key = find_key(h, cases[i].key);
        for (size_t j = 0; key && j < 3; j++) {
            hsm_error err = {0};
            bool good = sign_and_verify(key, cases[i].scheme, hashes[j], &err);
            if (!good)
                fprintf(stderr, "%s, scheme %d, hash %d: %s\n", cases[i].key, cases[i].scheme, hashes[j],
                        err.text);
            CU_ASSERT(good);
        }
        hsm_key_free(key);
    }
    hsm_free(h);
}

static void the_token_made_the_signatures(void)
{
    hsm *h = fixture_hsm();
    hsm_key *rsa = find_key(h, "rsa"), *ec = find_key(h, "p256");
    uint64_t pkcs = counted->rsa_pkcs, pss = counted->rsa_pss, ecdsa = counted->ecdsa,
             inits = counted->sign_inits;
    hsm_counters before, after;
    hsm_counters_read(h, &before);
    CU_ASSERT(sign_and_verify(rsa, HSM_RSA_PKCS1, HSM_SHA256, NULL));
    CU_ASSERT(sign_and_verify(rsa, HSM_RSA_PSS, HSM_SHA256, NULL));
    CU_ASSERT(sign_and_verify(ec, HSM_ECDSA, HSM_SHA256, NULL));
    hsm_counters_read(h, &after);
    CU_ASSERT_EQUAL(counted->rsa_pkcs, pkcs + 1);
    CU_ASSERT_EQUAL(counted->rsa_pss, pss + 1);
    CU_ASSERT_EQUAL(counted->ecdsa, ecdsa + 1);
    CU_ASSERT_EQUAL(counted->sign_inits, inits + 3);
    CU_ASSERT_EQUAL(after.signatures, before.signatures + 3);
    CU_ASSERT_EQUAL(after.failures, before.failures);
    hsm_key_free(rsa);
    hsm_key_free(ec);
    hsm_free(h);
}

static void key_that_wants_the_pin_each_time_signs(void)
{
    hsm *h = fixture_hsm();
    hsm_key *key = find_key(h, "always");
    uint64_t logins = counted->logins;
    CU_ASSERT(sign_and_verify(key, HSM_ECDSA, HSM_SHA256, NULL));
    CU_ASSERT(sign_and_verify(key, HSM_ECDSA, HSM_SHA256, NULL));
    CU_ASSERT_EQUAL(counted->logins, logins + 2);
    hsm_key_free(key);
    hsm_free(h);
}

static void long_digest_is_cut_to_the_order(void)
{
    hsm *h = fixture_hsm();
    hsm_key *key = find_key(h, "p256");
    CU_ASSERT(sign_and_verify(key, HSM_ECDSA, HSM_SHA512, NULL));
    CU_ASSERT_EQUAL(counted->input, 32); /* SoftHSM2 would cut it, too; others refuse it */
    hsm_key_free(key);
    key = find_key(h, "p521");
    CU_ASSERT(sign_and_verify(key, HSM_ECDSA, HSM_SHA512, NULL));
    CU_ASSERT_EQUAL(counted->input, 64);
    hsm_key_free(key);
    hsm_free(h);
}

/* An answer of a length that no signature of the key has is none. */
static void an_answer_of_the_wrong_length_is_refused(void)
{
    static const char *const keys[] = {"p256", "rsa"};
    static const char *const says[] = {"63 bytes instead of 64", "255 bytes instead of 256"};
    hsm *h = fixture_hsm();
    for (int i = 0; i < 2; i++) {
        hsm_error err = {0};
        hsm_key *key = find_key(h, keys[i]);
        counted->sign_cut = 1;
        CU_ASSERT_EQUAL(sign_any(key, &err), HSM_E_TOKEN);
        CU_ASSERT_PTR_NOT_NULL(strstr(err.text, says[i]));
        counted->sign_cut = 0;
        CU_ASSERT_EQUAL(sign_any(key, &err), HSM_OK);
        hsm_key_free(key);
    }
    hsm_free(h);
}

static void impossible_requests_are_refused_before_the_token(void)
{
    static const struct {
        const char *key, *says;
        hsm_mechanism mech;
        size_t len;
    } cases[] = {
        {"rsa", "this type of key cannot do", {.scheme = HSM_ECDSA}, 32},
        {"p256", "this type of key cannot do", {.scheme = HSM_RSA_PKCS1}, 32},
        {"rsa", "no input for an RSA signature", {.scheme = HSM_RSA_PKCS1}, 256 - 10},
        {"rsa", "no input for", {.scheme = HSM_RSA_PKCS1}, 0},
        {"rsa", "no input for", {.scheme = HSM_RSA_PKCS1}, HSM_BLOCK_MAX + 1},
        {"rsa",
         "PSS signature wants",
         {.scheme = HSM_RSA_PSS, .hash = HSM_SHA256, .mgf_hash = HSM_SHA256, .salt_len = 32},
         31},
        {"rsa", "PSS signature wants", {.scheme = HSM_RSA_PSS, .mgf_hash = HSM_SHA256, .salt_len = 32}, 32},
    };
    static const uint8_t in[HSM_BLOCK_MAX + 1] = {0};
    uint8_t sig[HSM_OUTPUT_MAX];
    hsm *h = fixture_hsm();
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        hsm_error err = {0};
        size_t len = sizeof(sig);
        hsm_key *key = find_key(h, cases[i].key);
        uint64_t inits = counted->sign_inits;
        CU_ASSERT_EQUAL(hsm_operate(key, &cases[i].mech, in, cases[i].len, sig, &len, &err),
                        HSM_E_UNSUPPORTED);
        CU_ASSERT_PTR_NOT_NULL(strstr(err.text, cases[i].says));
        CU_ASSERT_EQUAL(counted->sign_inits, inits);
        hsm_key_free(key);
    }
    hsm_free(h);
}

static void small_buffer_is_refused(void)
{
    hsm *h = fixture_hsm();
    hsm_key *key = find_key(h, "p256");
    uint8_t in[32] = {1}, sig[63];
    size_t len = sizeof(sig);
    hsm_error err = {0};
    CU_ASSERT_EQUAL(hsm_operate(key, &(hsm_mechanism){.scheme = HSM_ECDSA}, in, 32, sig, &len, &err),
                    HSM_E_SPACE);
    CU_ASSERT_EQUAL(len, sizeof(sig));
    hsm_key_free(key);
    hsm_free(h);
}

/* ---- Many threads ---- */

struct signer {
    pthread_t thread;
    hsm_key *key;
    int count, failures;
    hsm_error first;
};

static void *signer_main(void *arg)
{
    struct signer *s = arg;
    for (int i = 0; i < s->count; i++) {
        hsm_error err = {0};
        bool good = i % 100 == 0 ? sign_and_verify(s->key, HSM_ECDSA, HSM_SHA256, &err)
                                 : sign_any(s->key, &err) == HSM_OK;
        if (!good && s->failures++ == 0)
            s->first = err;
    }
    return NULL;
}

static void threads_sign(int threads, int count)
{
    struct signer signers[16] = {0};
    hsm *h = fixture_hsm();
    uint64_t before = counted->ecdsa;
    for (int i = 0; i < threads; i++) {
        signers[i].key = find_key(h, "p256");
        signers[i].count = count;
        CU_ASSERT_FATAL(pthread_create(&signers[i].thread, NULL, signer_main, &signers[i]) == 0);
    }
    for (int i = 0; i < threads; i++) {
        pthread_join(signers[i].thread, NULL);
        hsm_key_free(signers[i].key);
        if (signers[i].failures)
            fprintf(stderr, "%d failures, the first: %s\n", signers[i].failures, signers[i].first.text);
        CU_ASSERT_EQUAL(signers[i].failures, 0);
    }
    CU_ASSERT_EQUAL(counted->ecdsa, before + (uint64_t)threads * (uint64_t)count);
    hsm_free(h);
}

static void two_threads_sign_many_times_each(void)
{
    threads_sign(2, MANY(10000));
}

static void sixteen_threads_sign_500_times_each(void)
{
    threads_sign(16, 500);
}

/* ---- Without waiting ---- */

static void count_done(void *arg)
{
    atomic_fetch_add((atomic_int *)arg, 1);
}

static hsm_status submit(hsm_key *key, atomic_int *done, hsm_job **job, hsm_error *err)
{
    static const uint8_t digest[32] = {9};
    return hsm_submit(key, &(hsm_mechanism){.scheme = HSM_ECDSA}, digest, 32, done ? count_done : NULL, done,
                      job, err);
}

static void await_held(uint64_t threads)
{
    while (counted->held < threads)
        give_way();
}

static void job_is_submitted_and_finished(void)
{
    hsm *h = fixture_hsm();
    hsm_key *key = find_key(h, "p256");
    hsm_job *job = NULL;
    atomic_int done = 0;
    uint8_t sig[HSM_OUTPUT_MAX];
    size_t len = sizeof(sig);
    counted->hold = 1;
    CU_ASSERT_EQUAL(submit(key, &done, &job, NULL), HSM_OK);
    await_held(1);
    CU_ASSERT_FALSE(hsm_job_ready(job));
    CU_ASSERT_EQUAL(done, 0);
    counted->hold = 0;
    while (!hsm_job_ready(job))
        give_way();
    CU_ASSERT_EQUAL(hsm_job_finish(job, sig, &len, NULL), HSM_OK);
    CU_ASSERT_EQUAL(done, 1);
    CU_ASSERT_EQUAL(len, 64);
    hsm_key_free(key);
    hsm_free(h);
}

/* The caller goes while the token works, with everything he had; the job's memory is its own. */
static void abandoned_job_is_never_told_of(void)
{
    hsm *h = fixture_hsm();
    hsm_key *key = find_key(h, "p256");
    hsm_job *job = NULL;
    atomic_int done = 0;
    counted->hold = 1;
    CU_ASSERT_EQUAL(submit(key, &done, &job, NULL), HSM_OK);
    await_held(1);
    hsm_key_free(key);
    hsm_job_abandon(job);
    counted->hold = 0;
    hsm_free(h); /* ends the worker, so the job has been dealt with when this returns */
    CU_ASSERT_EQUAL(done, 0);
}

static void abandoned_job_that_waits_makes_room(void)
{
    hsm *h = fixture_hsm_with(&(hsm_settings){.pin = FIXTURE_PIN, .sessions = 1, .queue = 1});
    hsm_key *key = find_key(h, "p256");
    hsm_job *running = NULL, *waiting = NULL, *next = NULL;
    uint64_t signatures = counted->ecdsa;
    counted->hold = 1;
    CU_ASSERT_EQUAL(submit(key, NULL, &running, NULL), HSM_OK);
    await_held(1);
    CU_ASSERT_EQUAL(submit(key, NULL, &waiting, NULL), HSM_OK);
    hsm_job_abandon(waiting);
    CU_ASSERT_EQUAL(submit(key, NULL, &next, NULL), HSM_OK);
    counted->hold = 0;
    uint8_t sig[HSM_OUTPUT_MAX];
    size_t len = sizeof(sig);
    CU_ASSERT_EQUAL(hsm_job_finish(running, sig, &len, NULL), HSM_OK);
    len = sizeof(sig);
    CU_ASSERT_EQUAL(hsm_job_finish(next, sig, &len, NULL), HSM_OK);
    CU_ASSERT_EQUAL(counted->ecdsa, signatures + 2);
    hsm_key_free(key);
    hsm_free(h);
}

static void full_queue_says_busy(void)
{
    enum { SESSIONS = 2, QUEUE = 3 };
    hsm *h = fixture_hsm_with(&(hsm_settings){.pin = FIXTURE_PIN, .sessions = SESSIONS, .queue = QUEUE});
    hsm_key *key = find_key(h, "p256");
    hsm_job *jobs[SESSIONS + QUEUE] = {0}, *refused = NULL;
    hsm_error err = {0};
    hsm_counters counters;
    counted->hold = 1;
    for (int i = 0; i < SESSIONS; i++) {
        CU_ASSERT_EQUAL(submit(key, NULL, &jobs[i], NULL), HSM_OK);
        await_held((uint64_t)i + 1);
    }
    for (int i = SESSIONS; i < SESSIONS + QUEUE; i++)
        CU_ASSERT_EQUAL(submit(key, NULL, &jobs[i], NULL), HSM_OK);
    CU_ASSERT_EQUAL(submit(key, NULL, &refused, &err), HSM_E_BUSY);
    CU_ASSERT_PTR_NULL(refused);
    CU_ASSERT_PTR_NOT_NULL(strstr(err.text, FIXTURE_TOKEN));
    hsm_counters_read(h, &counters);
    CU_ASSERT_EQUAL(counters.queued, QUEUE);
    CU_ASSERT_EQUAL(counters.sessions, SESSIONS);
    counted->hold = 0;
    for (int i = 0; i < SESSIONS + QUEUE; i++) {
        uint8_t sig[HSM_OUTPUT_MAX];
        size_t len = sizeof(sig);
        CU_ASSERT_EQUAL(hsm_job_finish(jobs[i], sig, &len, NULL), HSM_OK);
    }
    hsm_key_free(key);
    hsm_free(h);
}

static void token_that_does_not_answer_times_out(void)
{
    hsm *h = fixture_hsm_with(&(hsm_settings){.pin = FIXTURE_PIN, .timeout_ms = 2000});
    hsm_key *key = find_key(h, "p256");
    hsm_error err = {0};
    hsm_job *job = NULL;
    atomic_int done = 0;
    uint8_t sig[HSM_OUTPUT_MAX];
    size_t len = sizeof(sig);
    counted->hold = 1;
    CU_ASSERT_EQUAL(submit(key, &done, &job, NULL), HSM_OK);
    CU_ASSERT_EQUAL(hsm_job_finish(job, sig, &len, &err), HSM_E_TIMEOUT);
    CU_ASSERT_PTR_NOT_NULL(strstr(err.text, FIXTURE_TOKEN));
    counted->hold = 0;
    CU_ASSERT_EQUAL(sign_patiently(key), HSM_OK);
    CU_ASSERT(done <= 1); /* on return it has been called or never will be */
    hsm_key_free(key);
    hsm_free(h);
}

/* ---- The token's limits ---- */

/* Whole ones. */
static uint64_t seconds_since(const struct timespec *began)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)(now.tv_sec - began->tv_sec) - (now.tv_nsec < began->tv_nsec);
}

/*
 * Submits many operations, waits until so many are at work at once, and sees all of them signed. Who has been told that
 * there is no session does not ask again for each operation.
 */
static void expect_at_work(unsigned expected)
{
    enum { JOBS = 12, MORE = 8, WORKERS = 16 }; /* the last by default */
    hsm *h = fixture_hsm();
    hsm_key *key = find_key(h, "p256");
    hsm_job *jobs[JOBS + MORE] = {0};
    hsm_counters counters;
    uint64_t asked = counted->sessions;
    struct timespec began;
    (void)clock_gettime(CLOCK_MONOTONIC, &began);
    counted->hold = 1;
    for (int i = 0; i < JOBS; i++)
        CU_ASSERT_EQUAL(submit(key, NULL, &jobs[i], NULL), HSM_OK);
    await_held(expected);
    do /* the others may still be asking for sessions */
        hsm_counters_read(h, &counters);
    while (counters.queued != JOBS - expected);
    CU_ASSERT_EQUAL(counted->held, expected);
    int all = expected < JOBS ? JOBS + MORE : JOBS;
    for (int i = JOBS; i < all; i++)
        CU_ASSERT_EQUAL(submit(key, NULL, &jobs[i], NULL), HSM_OK);
    CU_ASSERT_EQUAL(counted->open, counters.sessions);
    CU_ASSERT(expected == JOBS || counters.sessions == expected);
    counted->hold = 0;
    for (int i = 0; i < all; i++) {
        uint8_t sig[HSM_OUTPUT_MAX];
        size_t len = sizeof(sig);
        hsm_error err = {0};
        hsm_status status = hsm_job_finish(jobs[i], sig, &len, &err);
        if (status != HSM_OK)
            fprintf(stderr, "%s\n", err.text);
        CU_ASSERT_EQUAL(status, HSM_OK);
    }
    /* One for each worker that there may be, those who have found the key among them; a second after a refusal those that
     * come may try again, until one is refused. */
    CU_ASSERT(counted->sessions - asked <= WORKERS + (seconds_since(&began) > 0 ? MORE : 0));
    hsm_key_free(key);
    hsm_free(h);
}

static void session_limit_of_the_token_is_kept(void)
{
    counted->max_sessions = 3;
    expect_at_work(3);
    counted->max_sessions = 0; /* CK_EFFECTIVELY_INFINITE */
    expect_at_work(12);
    counted->max_sessions = CK_UNAVAILABLE_INFORMATION;
    expect_at_work(12);
    counted->max_sessions = 0;
}

static void fewer_sessions_than_promised_is_no_failure(void)
{
    counted->session_limit = 4;
    expect_at_work(4);
    counted->session_limit = 1;
    expect_at_work(1);
    counted->session_limit = 0;
}

static const CU_TestInfo tests[] = {
    {"signatures verify with libcrypto", signatures_verify_with_libcrypto},
    {"the token made the signatures", the_token_made_the_signatures},
    {"a key that wants the PIN each time signs", key_that_wants_the_pin_each_time_signs},
    {"a long digest is cut to the order", long_digest_is_cut_to_the_order},
    {"an answer of the wrong length is refused", an_answer_of_the_wrong_length_is_refused},
    {"impossible requests are refused before the token", impossible_requests_are_refused_before_the_token},
    {"a small buffer is refused", small_buffer_is_refused},
    {"two threads sign thousands of times each", two_threads_sign_many_times_each},
    {"sixteen threads sign 500 times each", sixteen_threads_sign_500_times_each},
    {"a job is submitted and finished", job_is_submitted_and_finished},
    {"an abandoned job is never told of", abandoned_job_is_never_told_of},
    {"an abandoned job that waits makes room", abandoned_job_that_waits_makes_room},
    {"a full queue says busy", full_queue_says_busy},
    {"a token that does not answer times out", token_that_does_not_answer_times_out},
    {"the session limit of the token is kept", session_limit_of_the_token_is_kept},
    {"fewer sessions than promised is no failure", fewer_sessions_than_promised_is_no_failure},
    CU_TEST_INFO_NULL,
};

int main(void)
{
    fixture_start();
    return run_suite("hsm: signing", tests);
}
