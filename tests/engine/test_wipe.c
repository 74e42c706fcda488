/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the engine frees holds nothing. This program is linked with --wrap for the allocation calls, so that
 * each block of the engine is seen, with its size, at the moment it is freed. (What libcrypto frees, it wipes
 * itself.)
 */
#include "support.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sealane/aead.h>
#include <sealane/record.h>
#include <sealane/session.h>
#include "backends.h"

void *__real_calloc(size_t count, size_t size);
int __real_posix_memalign(void **block, size_t alignment, size_t size);
void __real_free(void *block);
void *__wrap_calloc(size_t count, size_t size);
int __wrap_posix_memalign(void **block, size_t alignment, size_t size);
void __wrap_free(void *block);

#define BLOCKS_MAX 64

static struct {
    bool on;
    struct {
        const uint8_t *at;
        size_t size;
    } blocks[BLOCKS_MAX];
    size_t count, used, freed, dirty;
} watch;

static void *watch_add(void *block, size_t size)
{
    if (watch.on && block != NULL && watch.count < BLOCKS_MAX) {
        watch.blocks[watch.count].at = block;
        watch.blocks[watch.count++].size = size;
    }
    return block;
}

void *__wrap_calloc(size_t count, size_t size)
{
    return watch_add(__real_calloc(count, size), count * size);
}

int __wrap_posix_memalign(void **block, size_t alignment, size_t size)
{
    int error = __real_posix_memalign(block, alignment, size);

    if (error == 0)
        (void)watch_add(*block, size);
    return error;
}

void __wrap_free(void *block)
{
    for (size_t i = 0; watch.on && block != NULL && i < watch.count; i++) {
        if (watch.blocks[i].at != block)
            continue;
        watch.freed++;
        watch.dirty += !all_zero(block, watch.blocks[i].size);
        watch.blocks[i].at = NULL;
    }
    __real_free(block);
}

/* Blocks that hold something while in use: the check at free means nothing if there are none. */
static void watch_used(void)
{
    watch.used = 0;
    for (size_t i = 0; i < watch.count; i++)
        watch.used += watch.blocks[i].at != NULL && !all_zero(watch.blocks[i].at, watch.blocks[i].size);
}

static void watch_start(void)
{
    memset(&watch, 0, sizeof(watch));
    watch.on = true;
}

static bool watch_clean(size_t at_least)
{
    watch.on = false;
    return watch.used >= at_least && watch.freed == watch.count && watch.dirty == 0;
}

static const uint8_t secret[SEALANE_KEY_MAX] = {0x5e, 0xc2, 0xe7};
static const uint8_t iv[SEALANE_NONCE_LEN] = {0x1f};

/* In a child per backend: an AEAD key in use for both directions, and a record key. */
static int freed_is_wiped(void *unused)
{
    sealane_aead *warm, *aead = NULL;
    sealane_key *key = NULL;
    sealane_key_params params = {.suite = sealane_suite_find(0x1302),
                                 .direction = SEALANE_SEALING,
                                 .key = secret,
                                 .key_len = 32,
                                 .iv = iv,
                                 .iv_len = 12};
    uint8_t b[300] = {0}, tag[SEALANE_TAG_MAX];
    int failures = 0;

    (void)unused;
    /* The engine's set-up and this thread's counters allocate too, for the life of the process. */
    CHILD_CHECK(failures, sealane_aead_new(&warm, SEALANE_AES_256_GCM, secret, 32) == SEALANE_OK);
    CHILD_CHECK(failures, sealane_aead_seal(warm, iv, NULL, 0, b, sizeof(b), b, tag) == SEALANE_OK);
    sealane_aead_free(warm);

    watch_start();
    CHILD_CHECK(failures, sealane_aead_new(&aead, SEALANE_AES_256_GCM, secret, 32) == SEALANE_OK);
    CHILD_CHECK(failures, sealane_aead_seal(aead, iv, NULL, 0, b, sizeof(b), b, tag) == SEALANE_OK);
    CHILD_CHECK(failures, sealane_aead_open(aead, iv, NULL, 0, b, sizeof(b), tag, b) == SEALANE_OK);
    watch_used();
    sealane_aead_free(aead);
    CHILD_CHECK(failures, watch_clean(2)); /* the object and the expanded key */

    watch_start();
    CHILD_CHECK(failures, sealane_key_new(&key, &params) == SEALANE_OK);
    watch_used();
    sealane_key_free(key);
    CHILD_CHECK(failures, watch_clean(2));

    watch_start();
    params.key_len = 16; /* refused after the object has the IV */
    CHILD_CHECK(failures, sealane_key_new(&key, &params) == SEALANE_ARGUMENT);
    watch.used = 1;
    CHILD_CHECK(failures, watch_clean(1));
    return failures;
}

/* The same for a key of AES-CBC with HMAC: the record key, the key below it, what is expanded. */
static int freed_cbc_is_wiped(void *unused)
{
    static const uint8_t mac_secret[SEALANE_MAC_MAX] = {0x3a, 0xc5};
    uint8_t record[300], payload[100] = {1};
    struct iovec piece = {payload, sizeof(payload)};
    sealane_key_params params = {.suite = sealane_suite_find(0xc009),
                                 .direction = SEALANE_SEALING,
                                 .key = secret,
                                 .key_len = 16,
                                 .mac_key = mac_secret,
                                 .mac_key_len = 20};
    sealane_key *warm = NULL, *key = NULL;
    sealane_seal_op op = {.payload = &piece,
                          .payload_count = 1,
                          .out = record,
                          .out_size = sizeof(record),
                          .type = SEALANE_APPLICATION_DATA};
    int failures = 0;

    (void)unused;
    CHILD_CHECK(failures, sealane_key_new(&warm, &params) == SEALANE_OK);
    op.key = warm;
    CHILD_CHECK(failures, sealane_record_seal(&op) == SEALANE_OK);
    sealane_key_free(warm);

    watch_start();
    CHILD_CHECK(failures, sealane_key_new(&key, &params) == SEALANE_OK);
    op.key = key;
    CHILD_CHECK(failures, sealane_record_seal(&op) == SEALANE_OK);
    watch_used();
    sealane_key_free(key);
    CHILD_CHECK(failures, watch_clean(3));
    return failures;
}

/* A session: its secrets, two keys, and through a renewal of each; and one that comes to nothing. */
static int freed_session_is_wiped(void *unused)
{
    static const uint8_t secrets[2][SEALANE_MAC_MAX] = {{1, 2}, {3, 4}};
    sealane_session_params params = {.suite = sealane_suite_find(0x1302),
                                     .client_secret = secrets[0],
                                     .server_secret = secrets[1],
                                     .secret_len = SEALANE_MAC_MAX};
    sealane_session *warm = NULL, *session = NULL;
    uint8_t wire[256], record[64] = {23, 3, 3, 0, 40};
    sealane_session_op op = {.in = secrets[0], .in_len = 40, .out = wire, .out_size = sizeof(wire)};
    int failures = 0;

    (void)unused;
    CHILD_CHECK(failures, sealane_session_new(&warm, &params) == SEALANE_OK);
    op.session = warm;
    sealane_sessions_seal(&op, 1);
    sealane_session_free(warm);

    watch_start();
    CHILD_CHECK(failures, sealane_session_new(&session, &params) == SEALANE_OK);
    op.session = session;
    CHILD_CHECK(failures, sealane_session_renew(session, true));
    sealane_sessions_seal(&op, 1);
    CHILD_CHECK(failures, op.result == SEALANE_OK);
    watch_used();
    sealane_session_free(session);
    CHILD_CHECK(failures, watch_clean(5)); /* the session, and of each key two */

    watch_start();
    params.sealed = 1;
    params.last_sealed = record; /* not authentic: refused after all is derived */
    params.last_sealed_len = 45;
    CHILD_CHECK(failures, sealane_session_new(&session, &params) == SEALANE_FORGED);
    watch.used = 1;
    CHILD_CHECK(failures, watch_clean(1));
    return failures;
}

static void test_freed_session_is_wiped(void)
{
    CU_ASSERT_EQUAL(child_run("SEALANE_BACKEND", NULL, freed_session_is_wiped, NULL), 0);
}

static void test_freed_cbc_is_wiped(void)
{
    CU_ASSERT_EQUAL(child_run("SEALANE_BACKEND", "openssl", freed_cbc_is_wiped, NULL), 0);
    CU_ASSERT_EQUAL(child_run("SEALANE_BACKEND", "ipsec_mb", freed_cbc_is_wiped, NULL), 0);
}

static void test_freed_is_wiped(void)
{
    for (size_t i = 0; i < engine_backend_count; i++)
        if (engine_backends[i]->probe() == NULL)
            CU_ASSERT_EQUAL(child_run("SEALANE_BACKEND", engine_backends[i]->name, freed_is_wiped, NULL), 0);
}

int main(void)
{
    static const CU_TestInfo tests[] = {
        {"what is freed is wiped, with every backend", test_freed_is_wiped},
        {"and of CBC suites", test_freed_cbc_is_wiped},
        {"and of sessions", test_freed_session_is_wiped},
        CU_TEST_INFO_NULL,
    };
    return suite_run("wipe", tests);
}
