/* SPDX-License-Identifier: Apache-2.0 */
/* The end of a process, at any moment: status 0, no crash, nothing left hanging. And the end of a module
 * before that. */
#include "fixture.h"

#include <dlfcn.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static hsm *h;
static hsm_key *key;
static atomic_int rounds;

static void *sign_main(void *arg)
{
    (void)arg;
    while (sign_any(key, NULL) == HSM_OK)
        rounds++;
    return NULL;
}

static void start_signing(const char *label, int threads)
{
    h = fixture_hsm();
    key = find_key(h, label);
    for (int i = 0; i < threads; i++) {
        pthread_t thread;
        if (pthread_create(&thread, NULL, sign_main, NULL) != 0)
            _exit(90);
        pthread_detach(thread);
    }
    while (threads > 0 && rounds < 5)
        give_way();
}

static int exit_while_idle(void *arg)
{
    (void)arg;
    start_signing("p256", 0);
    return sign_any(key, NULL) == HSM_OK ? 0 : 1;
}

static int exit_while_signing(void *arg)
{
    start_signing(arg, 4);
    return 0;
}

static int exit_after_free(void *arg)
{
    start_signing(arg, 0);
    int bad = sign_any(key, NULL) != HSM_OK;
    hsm_key_free(key);
    hsm_free(h);
    return bad;
}

/* Frees in a handler of exit that was registered before ours, as libcrypto's is, and so runs after it. */
static void free_late(void)
{
    hsm_error err = {0};
    if (sign_any(key, &err) != HSM_E_SHUTDOWN)
        _exit(91);
    hsm_key_free(key);
    hsm_shutdown(h);
    hsm_free(h);
}

static int exit_and_free_late(void *arg)
{
    (void)atexit(free_late);
    start_signing(arg, 0);
    return sign_any(key, NULL) == HSM_OK ? 0 : 1;
}

/* The token does not answer while the process ends: it ends all the same, after a bound. */
static int exit_while_the_token_hangs(void *arg)
{
    static const uint8_t digest[32] = {1};
    hsm_job *job = NULL;
    start_signing(arg, 0);
    counted->hold = 1;
    if (hsm_submit(key, &(hsm_mechanism){.scheme = HSM_ECDSA}, digest, 32, NULL, NULL, &job, NULL) != HSM_OK)
        return 92;
    while (counted->held == 0)
        give_way();
    return 0;
}

static void expect_clean_exit(int (*child)(void *), const char *label, int times)
{
    for (int i = 0; i < times; i++)
        CU_ASSERT_EQUAL(run_child(child, (void *)(uintptr_t)label, false), 0);
}

static void idle_process_ends_cleanly(void)
{
    expect_clean_exit(exit_while_idle, NULL, 5);
    expect_clean_exit(exit_after_free, "p256", 5);
}

static void signing_process_ends_cleanly(void)
{
    expect_clean_exit(exit_while_signing, "p256", MANY(28));
    expect_clean_exit(exit_while_signing, "rsa", MANY(28));
}

static void late_free_is_harmless(void)
{
    expect_clean_exit(exit_and_free_late, "p256", 5);
}

static void hanging_token_does_not_keep_the_process(void)
{
    expect_clean_exit(exit_while_the_token_hangs, "p256", 1);
    counted->hold = counted->held = 0;
}

/* ---- Without ending the process ---- */

static bool module_is_loaded(void)
{
    void *library = dlopen(fixture_module(), RTLD_NOW | RTLD_NOLOAD);
    if (library)
        dlclose(library);
    return library != NULL;
}

static int load_and_unload(void *arg)
{
    for (int i = 0; i < 5; i++) {
        start_signing(arg, 0);
        if (!module_is_loaded() || sign_any(key, NULL) != HSM_OK)
            return 1;
        hsm_shutdown(h);
        hsm_error err = {0};
        hsm_key *none = NULL;
        if (sign_any(key, &err) != HSM_E_SHUTDOWN || !strstr(err.text, "shut down") ||
            find_one(h, "pkcs11:token=mail;object=p256", &none, &err) != HSM_E_SHUTDOWN)
            return 2;
        hsm_key_free(key);
        hsm_free(h);
        if (module_is_loaded())
            return 3;
    }
    return 0;
}

static void module_is_unloaded_and_loaded_again(void)
{
    CU_ASSERT_EQUAL(run_child(load_and_unload, (void *)(uintptr_t) "p256", false), 0);
}

/* Two users of one module in one process: the end of the one is not the end of the other. */
static int two_users(void *arg)
{
    start_signing(arg, 0);
    hsm *other = fixture_hsm();
    hsm_key *other_key = find_key(other, "rsa");
    hsm_shutdown(h);
    hsm_key_free(key);
    hsm_free(h);
    int bad = sign_any(other_key, NULL) != HSM_OK;
    hsm_key_free(other_key);
    hsm_free(other);
    return bad + 2 * module_is_loaded();
}

static void module_is_shared(void)
{
    CU_ASSERT_EQUAL(run_child(two_users, (void *)(uintptr_t) "p256", false), 0);
}

/* Where the application has initialised the module, its sessions outlive us. */
static int borrowed(void *arg)
{
    CK_FUNCTION_LIST *f = fixture_functions();
    CK_SESSION_HANDLE session = 0;
    CK_SESSION_INFO info;
    if (f->C_Initialize(NULL) != CKR_OK ||
        f->C_OpenSession(fixture_slot(FIXTURE_TOKEN), CKF_SERIAL_SESSION, NULL, NULL, &session) != CKR_OK)
        return 93;
    int bad = exit_after_free(arg);
    return bad || f->C_GetSessionInfo(session, &info) != CKR_OK || f->C_Finalize(NULL) != CKR_OK;
}

static void module_of_the_application_is_left_alone(void)
{
    CU_ASSERT_EQUAL(run_child(borrowed, (void *)(uintptr_t) "p256", false), 0);
}

static int not_finalised(void *arg)
{
    (void)arg;
    hsm *quirky = fixture_hsm_with(&(hsm_settings){.pin = FIXTURE_PIN, .no_finalize = true});
    hsm_key *k = find_key(quirky, "p256");
    hsm_key_free(k);
    hsm_free(quirky);
    return fixture_functions()->C_Finalize(NULL) != CKR_OK; /* it was still initialised */
}

static void module_stays_initialised_if_so_set(void)
{
    CU_ASSERT_EQUAL(run_child(not_finalised, NULL, false), 0);
}

static const CU_TestInfo tests[] = {
    {"an idle process ends cleanly", idle_process_ends_cleanly},
    {"a signing process ends cleanly", signing_process_ends_cleanly},
    {"a late free is harmless", late_free_is_harmless},
    {"a hanging token does not keep the process", hanging_token_does_not_keep_the_process},
    {"a module is unloaded and loaded again", module_is_unloaded_and_loaded_again},
    {"a module is shared", module_is_shared},
    {"a module of the application is left alone", module_of_the_application_is_left_alone},
    {"a module stays initialised if so set", module_stays_initialised_if_so_set},
    CU_TEST_INFO_NULL,
};

int main(void)
{
    fixture_start();
    return run_suite("hsm: ends", tests);
}
