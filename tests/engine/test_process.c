/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The engine as a guest in a process: it leaves openssl.cnf, the default library context, the error queue and
 * the exit alone, survives fork, and does not allocate per message. Each case is a child process; those about
 * the exit are this program executed anew, so that the real exit is what is seen (and by LeakSanitizer too).
 */
#include "support.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <openssl/conf.h>
#include <openssl/core_dispatch.h>
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/provider.h>
#include <sealane/aead.h>
#include <sealane/engine.h>
#include <sealane/stream.h>
#include "libcrypto.h"

static const uint8_t key[SEALANE_KEY_MAX] = {7}, nonce[SEALANE_NONCE_LEN] = {8};

/* One message through libcrypto's backend and one through a stream. */
static bool engine_works(void)
{
    sealane_aead *aead = NULL;
    sealane_stream *stream = NULL, *copy = NULL;
    uint8_t b[50] = {0}, tag[SEALANE_TAG_MAX];
    bool works = sealane_aead_new(&aead, SEALANE_AES_128_GCM, key, 16) == SEALANE_OK &&
                 sealane_aead_seal(aead, nonce, key, 5, b, sizeof(b), b, tag) == SEALANE_OK &&
                 sealane_aead_open(aead, nonce, key, 5, b, sizeof(b), tag, b) == SEALANE_OK &&
                 sealane_stream_new(&stream, SEALANE_AES_128_GCM, key, 16) == SEALANE_OK &&
                 sealane_stream_begin(stream, true, nonce, 12) == SEALANE_OK &&
                 sealane_stream_update(stream, b, sizeof(b), b) == SEALANE_OK &&
                 sealane_stream_dup(&copy, stream) == SEALANE_OK &&
                 sealane_stream_seal_finish(copy, tag, 16) == SEALANE_OK;

    sealane_aead_free(aead);
    sealane_stream_free(stream);
    sealane_stream_free(copy);
    return works;
}

/* ---- openssl.cnf ---- */

static int configurations;

static int configuration_seen(CONF_IMODULE *module, const CONF *conf)
{
    (void)module;
    (void)conf;
    configurations++;
    return 1;
}

static int openssl_cnf_is_not_read(void *unused)
{
    int failures = 0;

    (void)unused;
    CHILD_CHECK(failures, CONF_module_add("sealane_witness", configuration_seen, NULL) == 1);
    CHILD_CHECK(failures, engine_works());
    CHILD_CHECK(failures, configurations == 0);
    /* And the process can still read it for itself; the witness does speak. */
    CHILD_CHECK(failures, OPENSSL_init_crypto(OPENSSL_INIT_LOAD_CONFIG, NULL) == 1);
    CHILD_CHECK(failures, configurations == 1);
    return failures;
}

static void test_openssl_cnf_is_not_read(void)
{
    char path[] = "/tmp/sealane-test-XXXXXX";
    static const char text[] = "openssl_conf = start\n[start]\nsealane_witness = x\n";
    int file = mkstemp(path);

    CU_ASSERT_FATAL(file >= 0);
    CU_ASSERT_EQUAL(write(file, text, sizeof(text) - 1), (ssize_t)sizeof(text) - 1);
    close(file);
    setenv("SEALANE_BACKEND", "openssl", 1);
    CU_ASSERT_EQUAL(child_run("OPENSSL_CONF", path, openssl_cnf_is_not_read, NULL), 0);
    unsetenv("SEALANE_BACKEND");
    unlink(path);
}

/* ---- A preferred provider ---- */

static int theirs_called;

static void *theirs_newctx(void *provctx)
{
    (void)provctx;
    theirs_called++;
    return NULL;
}

static void theirs_freectx(void *ctx)
{
    (void)ctx;
}
static int theirs_init(void)
{
    return 0;
}
static int theirs_update(void)
{
    return 0;
}

static int theirs_get_params(OSSL_PARAM params[])
{
    return params != NULL;
}

static const OSSL_ALGORITHM *theirs_query(void *provctx, int operation, int *no_cache)
{
    static const OSSL_DISPATCH functions[] = {
        {OSSL_FUNC_CIPHER_GET_PARAMS, (void (*)(void))theirs_get_params},
        {OSSL_FUNC_CIPHER_NEWCTX, (void (*)(void))theirs_newctx},
        {OSSL_FUNC_CIPHER_FREECTX, (void (*)(void))theirs_freectx},
        {OSSL_FUNC_CIPHER_ENCRYPT_INIT, (void (*)(void))theirs_init},
        {OSSL_FUNC_CIPHER_DECRYPT_INIT, (void (*)(void))theirs_init},
        {OSSL_FUNC_CIPHER_UPDATE, (void (*)(void))theirs_update},
        {OSSL_FUNC_CIPHER_FINAL, (void (*)(void))theirs_update},
        {0, NULL},
    };
    static const OSSL_ALGORITHM ciphers[] = {{"AES-128-GCM", "test.theirs=yes", functions, NULL},
                                             {"AES-256-GCM", "test.theirs=yes", functions, NULL},
                                             {NULL, NULL, NULL, NULL}};

    (void)provctx;
    *no_cache = 0;
    return operation == OSSL_OP_CIPHER ? ciphers : NULL;
}

static int theirs_start(const OSSL_CORE_HANDLE *handle, const OSSL_DISPATCH *in, const OSSL_DISPATCH **out,
                        void **ctx)
{
    static const OSSL_DISPATCH functions[] = {
        {OSSL_FUNC_PROVIDER_QUERY_OPERATION, (void (*)(void))theirs_query}, {0, NULL}};

    (void)in;
    *out = functions;
    *ctx = (void *)(uintptr_t)handle;
    return 1;
}

/* Where a provider is preferred for our ciphers (sealane.so is one), the engine does not come back to it. */
static int preferred_provider_is_not_ours(void *unused)
{
    EVP_CIPHER *cipher;
    EVP_CIPHER_CTX *ctx;
    int failures = 0;

    (void)unused;
    CHILD_CHECK(failures, OSSL_PROVIDER_add_builtin(NULL, "theirs", theirs_start) == 1);
    CHILD_CHECK(failures, OSSL_PROVIDER_load(NULL, "theirs") != NULL);
    CHILD_CHECK(failures, OSSL_PROVIDER_load(NULL, "default") != NULL);
    CHILD_CHECK(failures, EVP_set_default_properties(NULL, "?test.theirs=yes") == 1);
    CHILD_CHECK(failures, engine_works());
    CHILD_CHECK(failures, strcmp(sealane_last_sealed_by(), "openssl") == 0);
    CHILD_CHECK(failures, theirs_called == 0);
    /* It is preferred by everyone else. */
    cipher = EVP_CIPHER_fetch(NULL, "AES-128-GCM", NULL);
    ctx = EVP_CIPHER_CTX_new();
    CHILD_CHECK(failures, EVP_EncryptInit_ex2(ctx, cipher, key, nonce, NULL) == 0);
    CHILD_CHECK(failures, theirs_called == 1);
    EVP_CIPHER_CTX_free(ctx);
    EVP_CIPHER_free(cipher);
    return failures;
}

static void test_preferred_provider_is_not_ours(void)
{
    CU_ASSERT_EQUAL(child_run("SEALANE_BACKEND", "openssl", preferred_provider_is_not_ours, NULL), 0);
}

/* ---- The error queue, memory ---- */

static int error_queue_is_left_alone(void *unused)
{
    sealane_aead *aead = NULL;
    sealane_stream *stream = NULL;
    uint8_t b[50] = {0}, tag[SEALANE_TAG_MAX] = {0};
    int failures = 0;

    (void)unused;
    CHILD_CHECK(failures, sealane_aead_new(&aead, SEALANE_AES_128_GCM, key, 16) == SEALANE_OK);
    CHILD_CHECK(failures, sealane_aead_open(aead, nonce, NULL, 0, b, sizeof(b), tag, b) == SEALANE_FORGED);
    CHILD_CHECK(failures, sealane_stream_new(&stream, SEALANE_AES_128_GCM, key, 16) == SEALANE_OK);
    CHILD_CHECK(failures, sealane_stream_begin(stream, false, nonce, 12) == SEALANE_OK);
    CHILD_CHECK(failures, sealane_stream_open_finish(stream, tag, 16) == SEALANE_FORGED);
    CHILD_CHECK(failures, ERR_peek_error() == 0);
    sealane_stream_free(stream);
    sealane_aead_free(aead);
    return failures;
}

static void test_error_queue_is_left_alone(void)
{
    CU_ASSERT_EQUAL(child_run("SEALANE_BACKEND", "openssl", error_queue_is_left_alone, NULL), 0);
}

static atomic_size_t allocations;

static void *count_malloc(size_t size, const char *file, int line)
{
    (void)file;
    (void)line;
    atomic_fetch_add(&allocations, 1);
    return malloc(size);
}

static void *count_realloc(void *block, size_t size, const char *file, int line)
{
    (void)file;
    (void)line;
    atomic_fetch_add(&allocations, 1);
    return realloc(block, size);
}

static void plain_free(void *block, const char *file, int line)
{
    (void)file;
    (void)line;
    free(block);
}

static int messages_allocate_nothing(void)
{
    sealane_aead *aead = NULL;
    uint8_t b[500] = {0}, tag[SEALANE_TAG_MAX];
    size_t before;
    int failures = 0;

    CHILD_CHECK(failures, CRYPTO_set_mem_functions(count_malloc, count_realloc, plain_free) == 1);
    CHILD_CHECK(failures, sealane_aead_new(&aead, SEALANE_AES_128_GCM, key, 16) == SEALANE_OK);
    before = atomic_load(&allocations);
    CHILD_CHECK(failures, before > 0);
    for (int i = 0; i < 1000; i++) {
        CHILD_CHECK(failures, sealane_aead_seal(aead, nonce, key, 13, b, sizeof(b), b, tag) == SEALANE_OK);
        tag[0] ^= (uint8_t)(i % 2);
        CHILD_CHECK(failures, sealane_aead_open(aead, nonce, key, 13, b, sizeof(b), tag, b) ==
                                  (i % 2 == 0 ? SEALANE_OK : SEALANE_FORGED));
    }
    CHILD_CHECK(failures, strcmp(sealane_last_sealed_by(), "openssl") == 0);
    CHILD_CHECK(failures, atomic_load(&allocations) == before);
    sealane_aead_free(aead);
    return failures;
}

/* ---- Exit ---- */

static sealane_aead *held;
static sealane_stream *held_stream;

static bool hold(void)
{
    return sealane_aead_new(&held, SEALANE_AES_128_GCM, key, 16) == SEALANE_OK &&
           sealane_stream_new(&held_stream, SEALANE_AES_128_GCM, key, 16) == SEALANE_OK;
}

static void let_go(void)
{
    sealane_aead_free(held);
    sealane_stream_free(held_stream);
}

static int exit_with_nothing(void)
{
    return !engine_works();
}
static int exit_with_keys(void)
{
    return !hold();
}

/* atexit handlers run in reverse: this one after OPENSSL_cleanup(). */
static int exit_then_free(void)
{
    atexit(let_go);
    OPENSSL_init_crypto(OPENSSL_INIT_LOAD_CRYPTO_STRINGS, NULL);
    return !hold();
}

static int exit_free_after_cleanup(void)
{
    sealane_aead *aead = NULL;
    bool kept, refused;

    if (!hold())
        return 1;
    OPENSSL_cleanup();
    kept = libcrypto_probe() == NULL; /* the keys' provider stays */
    refused = sealane_aead_new(&aead, SEALANE_AES_128_GCM, key, 16) != SEALANE_OK;
    let_go();
    return !kept || !refused;
}

/* libcrypto cannot come back: refused, not crashed. */
static int exit_new_after_cleanup(void)
{
    sealane_aead *aead = NULL;

    if (!engine_works())
        return 1;
    OPENSSL_cleanup();
    if (libcrypto_probe() == NULL) /* nobody needed it: it is gone */
        return 1;
    return sealane_aead_new(&aead, SEALANE_AES_128_GCM, key, 16) == SEALANE_OK;
}

static const struct {
    const char *name;
    int (*body)(void);
} anew[] = {
    {"exit-with-nothing", exit_with_nothing},
    {"exit-with-keys", exit_with_keys},
    {"exit-then-free", exit_then_free},
    {"exit-free-after-cleanup", exit_free_after_cleanup},
    {"exit-new-after-cleanup", exit_new_after_cleanup},
    {"messages-allocate-nothing", messages_allocate_nothing},
};

static int execute_self(void *name)
{
    execl("/proc/self/exe", "engine_test_process", (const char *)name, (char *)NULL);
    return 254;
}

static void test_cases_anew(void)
{
    for (size_t i = 0; i < COUNT(anew); i++) {
        int status = child_run("SEALANE_BACKEND", "openssl", execute_self, (void *)(uintptr_t)anew[i].name);
        printf("\n    %s: %d", anew[i].name, status);
        CU_ASSERT_EQUAL(status, 0);
    }
}

/* ---- Fork ---- */

static int child_goes_on(void *unused)
{
    uint8_t b[64] = {0}, right[64], tag[SEALANE_TAG_MAX], right_tag[SEALANE_TAG_MAX];
    int failures = 0;

    (void)unused;
    reference_seal(SEALANE_AES_128_GCM, key, nonce, NULL, 0, b, sizeof(b), right, right_tag);
    CHILD_CHECK(failures, sealane_aead_seal(held, nonce, NULL, 0, b, sizeof(b), b, tag) == SEALANE_OK);
    CHILD_CHECK(failures, memcmp(b, right, sizeof(b)) == 0 && memcmp(tag, right_tag, sizeof(tag)) == 0);
    CHILD_CHECK(failures, engine_works());
    return failures;
}

static int fork_keeps_keys(void *unused)
{
    int failures = 0;

    (void)unused;
    CHILD_CHECK(failures, hold());
    CHILD_CHECK(failures, child_run("SEALANE_UNUSED", NULL, child_goes_on, NULL) == 0);
    let_go();
    return failures;
}

static void test_fork_keeps_keys(void)
{
    CU_ASSERT_EQUAL(child_run("SEALANE_BACKEND", "openssl", fork_keeps_keys, NULL), 0);
    CU_ASSERT_EQUAL(child_run("SEALANE_BACKEND", NULL, fork_keeps_keys, NULL), 0);
}

static atomic_bool busy;

static void *be_busy(void *unused)
{
    while (atomic_load(&busy))
        (void)engine_works();
    return unused;
}

/* A child that hangs on a lock, which another thread held at the fork, is ended by the alarm. */
static int work_after_fork(void *unused)
{
    (void)unused;
    alarm(60);
    return !engine_works();
}

static int fork_amid_threads(void *unused)
{
    pthread_t threads[3];
    int failures = 0;

    (void)unused;
    atomic_store(&busy, true);
    for (size_t i = 0; i < COUNT(threads); i++)
        CHILD_CHECK(failures, pthread_create(&threads[i], NULL, be_busy, NULL) == 0);
    for (int i = 0; i < 30; i++)
        CHILD_CHECK(failures, child_run("SEALANE_UNUSED", NULL, work_after_fork, NULL) == 0);
    atomic_store(&busy, false);
    for (size_t i = 0; i < COUNT(threads); i++)
        pthread_join(threads[i], NULL);
    return failures;
}

/* The sanitizers' own allocators hold locks across fork: with them a hang would not be ours. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define FORK_AMID_THREADS false
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define FORK_AMID_THREADS false
#endif
#endif
#ifndef FORK_AMID_THREADS
#define FORK_AMID_THREADS true
#endif

static void test_fork_amid_threads(void)
{
    if (!FORK_AMID_THREADS) {
        printf("left out under a sanitizer ...");
        return;
    }
    CU_ASSERT_EQUAL(child_run("SEALANE_BACKEND", "openssl", fork_amid_threads, NULL), 0);
    CU_ASSERT_EQUAL(child_run("SEALANE_BACKEND", NULL, fork_amid_threads, NULL), 0);
}

/* ---- Many threads call the engine for the first time at once ---- */

static void *first_call(void *works)
{
    *(bool *)works = engine_works();
    return NULL;
}

static int first_calls_at_once(void *unused)
{
    pthread_t threads[8];
    bool works[8] = {false};
    int failures = 0;

    (void)unused;
    for (size_t i = 0; i < COUNT(threads); i++)
        CHILD_CHECK(failures, pthread_create(&threads[i], NULL, first_call, &works[i]) == 0);
    for (size_t i = 0; i < COUNT(threads); i++) {
        pthread_join(threads[i], NULL);
        CHILD_CHECK(failures, works[i]);
    }
    return failures;
}

static void test_first_calls_at_once(void)
{
    CU_ASSERT_EQUAL(child_run("SEALANE_BACKEND", NULL, first_calls_at_once, NULL), 0);
}

int main(int argc, char *argv[])
{
    static const CU_TestInfo tests[] = {
        {"openssl.cnf is not read", test_openssl_cnf_is_not_read},
        {"a preferred provider is not called", test_preferred_provider_is_not_ours},
        {"the error queue is left alone", test_error_queue_is_left_alone},
        {"exits and allocations, executed anew", test_cases_anew},
        {"keys outlive a fork", test_fork_keeps_keys},
        {"a fork amid threads leaves nothing locked", test_fork_amid_threads},
        {"first calls of many threads at once", test_first_calls_at_once},
        CU_TEST_INFO_NULL,
    };

    for (size_t i = 0; argc > 1 && i < COUNT(anew); i++)
        if (strcmp(argv[1], anew[i].name) == 0)
            return anew[i].body();
    return suite_run("process", tests);
}
