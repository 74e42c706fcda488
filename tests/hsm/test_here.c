/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Daemons that forbid themselves threads before they serve (HAProxy, Dovecot's login processes): keys are found and
 * sign on the caller's thread. The linker puts __wrap_pthread_create in the place of pthread_create.
 */
#include "../../hsm/here.h"
#include "fixture.h"

#include <errno.h>
#include <stdatomic.h>
#include <string.h>

#include <openssl/async.h>
#include <openssl/err.h>

enum { BIG = 300 * 1024 }; /* bytes of stack, many times a job's */

int __real_pthread_create(pthread_t *thread, const pthread_attr_t *attr, void *(*run)(void *), void *arg);
int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attr, void *(*run)(void *), void *arg);

static atomic_bool forbidden;
static atomic_uint refused;

int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attr, void *(*run)(void *), void *arg)
{
    if (!forbidden)
        return __real_pthread_create(thread, attr, run, arg);
    refused++;
    return EAGAIN; /* what RLIMIT_NPROC makes of it */
}

static void keys_are_found_and_sign(void)
{
    hsm_error err = {0};
    forbidden = true;
    refused = 0;
    hsm *h = fixture_hsm();
    hsm_key *ec = find_key(h, "p256"), *rsa = find_key(h, "rsa");
    for (int i = 0; i < 20; i++) {
        CU_ASSERT_TRUE(sign_and_verify(ec, HSM_ECDSA, HSM_SHA256, &err));
        CU_ASSERT_EQUAL(sign_any(rsa, &err), HSM_OK);
    }
    CU_ASSERT_TRUE(refused > 0);
    hsm_key_free(ec);
    hsm_key_free(rsa);
    hsm_shutdown(h); /* closes the session that no thread has */
    hsm_free(h);
    CU_ASSERT_EQUAL(counted->open, 0);
    forbidden = false;
}

static void lost_session_is_opened_again(void)
{
    hsm_error err = {0};
    forbidden = true;
    hsm *h = fixture_hsm();
    hsm_key *ec = find_key(h, "p256");
    CU_ASSERT_TRUE(sign_and_verify(ec, HSM_ECDSA, HSM_SHA256, &err));
    counted->sign_answer = CKR_SESSION_HANDLE_INVALID;
    CU_ASSERT_TRUE(sign_and_verify(ec, HSM_ECDSA, HSM_SHA256, &err));
    hsm_key_free(ec);
    hsm_free(h);
    forbidden = false;
}

/* Threads are taken as soon as there are some. */
static void threads_are_used_when_they_may_be(void)
{
    hsm_error err = {0};
    forbidden = true;
    hsm *h = fixture_hsm();
    hsm_key *ec = find_key(h, "p256");
    forbidden = false;
    uint64_t open = counted->open;
    CU_ASSERT_TRUE(sign_and_verify(ec, HSM_ECDSA, HSM_SHA256, &err));
    CU_ASSERT_EQUAL(counted->open, open + 1); /* a thread has a session of its own */
    hsm_key_free(ec);
    hsm_free(h);
}

#if !defined(__SANITIZE_THREAD__) &&                                                                         \
    !defined(__SANITIZE_ADDRESS__) /* jobs have stacks that these do not know */

static void done_count(void *arg)
{
    (*(int *)arg)++;
}

static int job_main(void *arg)
{
    hsm_key *key = *(hsm_key **)arg;
    const uint8_t digest[32] = {1};
    uint8_t signature[HSM_OUTPUT_MAX];
    size_t len = sizeof(signature);
    int done = 0;
    hsm_job *job;
    hsm_error err;
    hsm_mechanism mech = {.scheme = HSM_ECDSA};
    if (hsm_submit(key, &mech, digest, sizeof(digest), done_count, &done, &job, &err) != HSM_OK)
        return 0;
    bool ready = hsm_job_ready(job);
    return hsm_job_finish(job, signature, &len, &err) == HSM_OK && ready && done == 1 && len == 64;
}

static void job_is_done_when_it_has_been_submitted(void)
{
    forbidden = true;
    hsm *h = fixture_hsm();
    hsm_key *ec = find_key(h, "p256");
    ASYNC_JOB *job = NULL;
    ASYNC_WAIT_CTX *wait = ASYNC_WAIT_CTX_new();
    int good = 0;
    CU_ASSERT_EQUAL(ASYNC_start_job(&job, wait, &good, job_main, &ec, sizeof(ec)), ASYNC_FINISH);
    CU_ASSERT_EQUAL(good, 1);
    ASYNC_WAIT_CTX_free(wait);
    hsm_key_free(ec);
    hsm_free(h);
    ASYNC_cleanup_thread();
    forbidden = false;
}

static void run_big(struct task *task, struct worker *worker)
{
    volatile uint8_t big[BIG];
    for (size_t i = 0; i < BIG; i += 1024)
        big[BIG - 1 - i] = 1;
    task->err.ckr = big[BIG - 1];
    worker->session++;
}

static int big_main(void *arg)
{
    struct here *here = *(struct here **)arg;
    static const struct task_ops ops = {.run = run_big};
    struct task task = {.ops = &ops};
    here_run(here, &task, true);
    here_run(here, &task, true);
    return task.err.ckr == 1;
}

static void run_untidy(struct task *task, struct worker *worker)
{
    (void)task;
    (void)worker;
    ERR_raise(ERR_LIB_USER, 1);
}

static void module_leaves_no_errors_to_its_caller(void)
{
    static const struct task_ops ops = {.run = run_untidy};
    struct task task = {.ops = &ops};
    struct here here;
    here_init(&here, NULL);
    ERR_clear_error();
    here_run(&here, &task, false);
    CU_ASSERT_EQUAL(ERR_peek_error(), 0);
    ERR_raise(ERR_LIB_USER, 2); /* the caller's own stays */
    here_run(&here, &task, false);
    CU_ASSERT_EQUAL(ERR_GET_REASON(ERR_get_error()), 2);
    CU_ASSERT_EQUAL(ERR_get_error(), 0);
    here_destroy(&here);
}

static void module_has_room_on_a_small_stack(void)
{
    struct here here, *p = &here;
    ASYNC_JOB *job = NULL;
    ASYNC_WAIT_CTX *wait = ASYNC_WAIT_CTX_new();
    int good = 0;
    here_init(&here, NULL);
    CU_ASSERT_EQUAL(ASYNC_start_job(&job, wait, &good, big_main, &p, sizeof(p)), ASYNC_FINISH);
    CU_ASSERT_EQUAL(good, 1);
    CU_ASSERT_EQUAL(here.worker.session, 2);
    CU_ASSERT_TRUE(here_stop(&here, NULL));
    here_destroy(&here);
    ASYNC_WAIT_CTX_free(wait);
    ASYNC_cleanup_thread();
}

#endif

static const CU_TestInfo tests[] = {
    {"keys are found and sign", keys_are_found_and_sign},
    {"a lost session is opened again", lost_session_is_opened_again},
    {"threads are used when they may be", threads_are_used_when_they_may_be},
#if !defined(__SANITIZE_THREAD__) && !defined(__SANITIZE_ADDRESS__)
    {"a job is done when it has been submitted", job_is_done_when_it_has_been_submitted},
    {"a module leaves no errors to its caller", module_leaves_no_errors_to_its_caller},
    {"a module has room though its caller's stack is small", module_has_room_on_a_small_stack},
#endif
    CU_TEST_INFO_NULL,
};

int main(void)
{
    fixture_start();
    return run_suite("hsm: a process without threads of its own", tests);
}
