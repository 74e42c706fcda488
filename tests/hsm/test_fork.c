/* SPDX-License-Identifier: Apache-2.0 */
/* Forking before and after the module is loaded, idle and in the middle of signing: everybody can sign
 * afterwards. */
#include "fixture.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

enum { CHILDREN = 4, SIGNATURES = 50 };

static hsm *h;
static hsm_key *rsa, *ec;

/* Signs in this process, whatever it is. 0: all good. */
static int sign_some(void *arg)
{
    (void)arg;
    hsm_error err = {0};
    for (int i = 0; i < SIGNATURES; i++) {
        if (!sign_and_verify(ec, HSM_ECDSA, HSM_SHA256, &err) ||
            (i % 10 == 0 && sign_any(rsa, &err) != HSM_OK)) {
            fprintf(stderr, "process %d: %s\n", (int)getpid(), err.text);
            return 1;
        }
    }
    return 0;
}

static int find_and_sign(void *arg)
{
    ec = find_key(h, "p256");
    rsa = find_key(h, "rsa");
    int bad = !ec || !rsa || sign_some(arg) != 0;
    hsm_key_free(ec);
    hsm_key_free(rsa);
    hsm_free(h);
    return bad;
}

/* Starts a child that runs `work` and leaves through exit, with all its handlers. */
static pid_t start(int (*work)(void *))
{
    pid_t pid = fork();
    if (pid == 0)
        exit(work(NULL));
    return pid;
}

static void expect_good(pid_t pid)
{
    int status = -1;
    CU_ASSERT_EQUAL(waitpid(pid, &status, 0), pid);
    CU_ASSERT_TRUE(WIFEXITED(status));
    CU_ASSERT_EQUAL(WEXITSTATUS(status), 0);
}

/* ---- Before ---- */

static void children_of_a_fork_before_the_load_sign(void)
{
    pid_t pids[CHILDREN];
    h = fixture_hsm();
    for (int i = 0; i < CHILDREN; i++)
        pids[i] = start(find_and_sign);
    CU_ASSERT_EQUAL(find_and_sign(NULL), 0);
    for (int i = 0; i < CHILDREN; i++)
        expect_good(pids[i]);
}

/* ---- After ---- */

/* The PIN came with the URI alone, and the children have only the keys. */
static void children_of_a_fork_after_the_load_sign(void)
{
    pid_t pids[CHILDREN];
    hsm_error err = {0};
    h = fixture_hsm_with(&(hsm_settings){0});
    CU_ASSERT_EQUAL(find_one(h, "pkcs11:token=mail;object=p256?pin-value=" FIXTURE_PIN, &ec, &err), HSM_OK);
    CU_ASSERT_EQUAL(find_one(h, "pkcs11:token=mail;object=rsa", &rsa, &err), HSM_OK);
    hsm_free(h);
    CU_ASSERT_EQUAL(sign_some(NULL), 0);
    uint64_t logins = counted->logins;
    for (int i = 0; i < CHILDREN; i++)
        pids[i] = start(sign_some);
    CU_ASSERT_EQUAL(sign_some(NULL), 0);
    for (int i = 0; i < CHILDREN; i++)
        expect_good(pids[i]);
    CU_ASSERT(counted->logins >= logins + CHILDREN);
    hsm_key_free(ec);
    hsm_key_free(rsa);
}

static CK_SESSION_HANDLE parents_session;

static int sign_without_the_parents_session(void *arg)
{
    CK_SESSION_INFO info;
    if (sign_some(arg) != 0)
        return 1;
    return fixture_functions()->C_GetSessionInfo(parents_session, &info) == CKR_OK ? 2 : 0;
}

/* SoftHSM2 takes the parent's C_Initialize for the child's own, and its sessions too, until it is finalised.
 */
static void child_has_a_module_of_its_own(void)
{
    CK_SESSION_INFO info;
    h = fixture_hsm();
    ec = find_key(h, "p256");
    rsa = find_key(h, "rsa");
    CK_FUNCTION_LIST *f = fixture_functions();
    for (int i = 0; i < 30; i++) /* a number that the child's own sessions do not reach */
        CU_ASSERT_EQUAL(
            f->C_OpenSession(fixture_slot(FIXTURE_TOKEN), CKF_SERIAL_SESSION, NULL, NULL, &parents_session),
            CKR_OK);
    CU_ASSERT_EQUAL(run_child(sign_without_the_parents_session, NULL, false), 0);
    CU_ASSERT_EQUAL(f->C_GetSessionInfo(parents_session, &info), CKR_OK);
    hsm_key_free(ec);
    hsm_key_free(rsa);
    hsm_free(h);
}

static int fork_again(void *arg)
{
    if (sign_some(arg) != 0)
        return 1;
    int grandchild = run_child(sign_some, NULL, false);
    return grandchild != 0 || sign_some(arg) != 0;
}

static void grandchildren_sign(void)
{
    h = fixture_hsm();
    ec = find_key(h, "p256");
    rsa = find_key(h, "rsa");
    CU_ASSERT_EQUAL(run_child(fork_again, NULL, false), 0);
    CU_ASSERT_EQUAL(sign_some(NULL), 0);
    hsm_key_free(ec);
    hsm_key_free(rsa);
    hsm_free(h);
}

static int leave_at_once(void *arg)
{
    (void)arg;
    return 0;
}

static int free_and_leave(void *arg)
{
    (void)arg;
    hsm_key_free(ec);
    hsm_key_free(rsa);
    hsm_free(h);
    return 0;
}

static void child_that_does_nothing_leaves_cleanly(void)
{
    h = fixture_hsm();
    ec = find_key(h, "p256");
    rsa = find_key(h, "rsa");
    CU_ASSERT_EQUAL(run_child(leave_at_once, NULL, false), 0);
    CU_ASSERT_EQUAL(run_child(free_and_leave, NULL, false), 0);
    CU_ASSERT_EQUAL(sign_some(NULL), 0);
    hsm_key_free(ec);
    hsm_key_free(rsa);
    hsm_free(h);
}

static hsm_job *pending;

static int finish_job_of_the_parent(void *arg)
{
    (void)arg;
    uint8_t sig[HSM_OUTPUT_MAX];
    size_t len = sizeof(sig);
    hsm_error err = {0};
    hsm_status status = hsm_job_finish(pending, sig, &len, &err);
    return status != HSM_E_SHUTDOWN || sign_some(NULL) != 0;
}

static void job_stays_with_the_parent(void)
{
    uint8_t digest[32] = {1}, sig[HSM_OUTPUT_MAX];
    size_t len = sizeof(sig);
    h = fixture_hsm_with(&(hsm_settings){.pin = FIXTURE_PIN, .sessions = 1});
    ec = find_key(h, "p256");
    rsa = find_key(h, "rsa");
    CU_ASSERT_EQUAL(
        hsm_submit(ec, &(hsm_mechanism){.scheme = HSM_ECDSA}, digest, 32, NULL, NULL, &pending, NULL),
        HSM_OK);
    CU_ASSERT_EQUAL(run_child(finish_job_of_the_parent, NULL, false), 0);
    CU_ASSERT_EQUAL(hsm_job_finish(pending, sig, &len, NULL), HSM_OK);
    hsm_key_free(ec);
    hsm_key_free(rsa);
    hsm_free(h);
}

/* ---- Under load ---- */

static atomic_bool stop;
static atomic_int failures, rounds;

static void *load_main(void *arg)
{
    hsm_error err = {0};
    while (!stop) {
        if (sign_any(arg, &err) != HSM_OK && failures++ == 0)
            fprintf(stderr, "%s\n", err.text);
        rounds++;
    }
    return NULL;
}

static void parent_and_children_sign_when_forked_under_load(void)
{
    enum { THREADS = 4, FORKS = MANY(24) };
    pthread_t threads[THREADS];
    pid_t pids[FORKS];
    h = fixture_hsm();
    ec = find_key(h, "p256");
    rsa = find_key(h, "rsa");
    stop = false;
    failures = rounds = 0;
    for (int i = 0; i < THREADS; i++)
        CU_ASSERT_EQUAL_FATAL(pthread_create(&threads[i], NULL, load_main, i % 2 ? ec : rsa), 0);
    for (int i = 0; i < FORKS; i++) {
        int seen = rounds;
        while (rounds < seen + 3)
            give_way();
        pids[i] = start(sign_some);
    }
    for (int i = 0; i < FORKS; i++)
        expect_good(pids[i]);
    stop = true;
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    CU_ASSERT_EQUAL(failures, 0);
    hsm_key_free(ec);
    hsm_key_free(rsa);
    hsm_free(h);
}

/* ThreadSanitizer cannot follow a process that forks while it has threads and whose child then starts its
 * own. */
#if defined(__SANITIZE_THREAD__)
#define FORK_WITH_THREADS 0
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define FORK_WITH_THREADS 0
#endif
#endif
#ifndef FORK_WITH_THREADS
#define FORK_WITH_THREADS 1
#endif

static const CU_TestInfo tests[] = {
    {"children of a fork before the load sign", children_of_a_fork_before_the_load_sign},
    {"a child that does nothing leaves cleanly", child_that_does_nothing_leaves_cleanly},
    CU_TEST_INFO_NULL,
};

static const CU_TestInfo tests_with_threads[] = {
    {"children of a fork before the load sign", children_of_a_fork_before_the_load_sign},
    {"children of a fork after the load sign", children_of_a_fork_after_the_load_sign},
    {"a child has a module of its own", child_has_a_module_of_its_own},
    {"grandchildren sign", grandchildren_sign},
    {"a child that does nothing leaves cleanly", child_that_does_nothing_leaves_cleanly},
    {"a job stays with the parent", job_stays_with_the_parent},
    {"parent and children sign when forked under load", parent_and_children_sign_when_forked_under_load},
    CU_TEST_INFO_NULL,
};

int main(void)
{
    fixture_start();
    return run_suite("hsm: forks", FORK_WITH_THREADS ? tests_with_threads : tests);
}
