/* SPDX-License-Identifier: Apache-2.0 */
/* The public AEAD: arguments, copies, threads, counters. That it computes rightly: test_vectors.c,
 * test_backends.c. */
#include "support.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sealane/aead.h>
#include <sealane/engine.h>

static const uint8_t key[SEALANE_KEY_MAX] = {1, 2, 3};
static const uint8_t nonce[SEALANE_NONCE_LEN] = {4, 5, 6};

static sealane_aead *aead_make(void)
{
    sealane_aead *aead = NULL;

    CU_ASSERT_EQUAL_FATAL(sealane_aead_new(&aead, SEALANE_AES_128_GCM, key, 16), SEALANE_OK);
    return aead;
}

static void test_new_refuses_wrong_arguments(void)
{
    sealane_aead *aead = (sealane_aead *)(uintptr_t)key;

    CU_ASSERT_EQUAL(sealane_aead_new(NULL, SEALANE_AES_128_GCM, key, 16), SEALANE_ARGUMENT);
    CU_ASSERT_EQUAL(sealane_aead_new(&aead, SEALANE_AES_128_GCM, NULL, 16), SEALANE_ARGUMENT);
    CU_ASSERT_EQUAL(sealane_aead_new(&aead, SEALANE_CIPHERS, key, 16), SEALANE_ARGUMENT);
    for (size_t len = 0; len <= SEALANE_KEY_MAX; len++) {
        if (len != 16)
            CU_ASSERT_EQUAL(sealane_aead_new(&aead, SEALANE_AES_128_GCM, key, len), SEALANE_ARGUMENT);
        if (len != 32)
            CU_ASSERT_EQUAL(sealane_aead_new(&aead, SEALANE_AES_256_GCM, key, len), SEALANE_ARGUMENT);
    }
    CU_ASSERT_PTR_EQUAL(aead, key); /* untouched */
    CU_ASSERT_EQUAL(sealane_aead_dup(&aead, NULL), SEALANE_ARGUMENT);
    sealane_aead_free(NULL);
}

static void test_messages_refuse_wrong_arguments(void)
{
    sealane_aead *aead = aead_make();
    uint8_t b[32] = {0}, tag[SEALANE_TAG_MAX];
    const size_t too_long = ((size_t)1 << 36) - 31; /* NIST SP 800-38D 5.2.1.1 */

    CU_ASSERT_EQUAL(sealane_aead_seal(NULL, nonce, NULL, 0, b, 8, b, tag), SEALANE_ARGUMENT);
    CU_ASSERT_EQUAL(sealane_aead_seal(aead, NULL, NULL, 0, b, 8, b, tag), SEALANE_ARGUMENT);
    CU_ASSERT_EQUAL(sealane_aead_seal(aead, nonce, NULL, 1, b, 8, b, tag), SEALANE_ARGUMENT);
    CU_ASSERT_EQUAL(sealane_aead_seal(aead, nonce, NULL, 0, NULL, 8, b, tag), SEALANE_ARGUMENT);
    CU_ASSERT_EQUAL(sealane_aead_seal(aead, nonce, NULL, 0, b, 8, NULL, tag), SEALANE_ARGUMENT);
    CU_ASSERT_EQUAL(sealane_aead_seal(aead, nonce, NULL, 0, b, 8, b, NULL), SEALANE_ARGUMENT);
    CU_ASSERT_EQUAL(sealane_aead_seal(aead, nonce, NULL, 0, b, too_long, b, tag), SEALANE_OVERFLOW);
    CU_ASSERT_EQUAL(sealane_aead_open(aead, nonce, NULL, 0, b, too_long, tag, b), SEALANE_OVERFLOW);
    CU_ASSERT_EQUAL(sealane_aead_open(NULL, nonce, NULL, 0, b, 8, tag, b), SEALANE_ARGUMENT);
    CU_ASSERT_EQUAL(sealane_aead_open(aead, nonce, NULL, 0, b, 8, NULL, b), SEALANE_ARGUMENT);
    CU_ASSERT_EQUAL(sealane_aead_open(aead, nonce, NULL, 0, b, 8, tag, NULL), SEALANE_ARGUMENT);
    CU_ASSERT_EQUAL(sealane_aead_seal(aead, nonce, NULL, 0, NULL, 0, NULL, tag), SEALANE_OK);
    CU_ASSERT_EQUAL(sealane_aead_open(aead, nonce, NULL, 0, NULL, 0, tag, NULL), SEALANE_OK);
    sealane_aead_free(aead);
}

/* A byte more than a nonce's counter can reach; nothing is read or written of it. */
static void test_messages_end_where_counters_do(void)
{
    static const uint64_t ends[SEALANE_CIPHERS] = {
        [SEALANE_AES_128_GCM] = 68719476704, /* NIST SP 800-38D 5.2.1.1: 2^36 - 32 */
        [SEALANE_AES_256_GCM] = 68719476704,
        [SEALANE_CHACHA20_POLY1305] = 274877906880, /* RFC 8439 2.8: 64 * (2^32 - 1) */
        [SEALANE_AES_128_CCM] = 16777215,           /* RFC 3610 2.1, L = 3: 2^24 - 1 */
        [SEALANE_AES_128_CCM_8] = 16777215,
    };

    for (sealane_cipher_id cipher = 0; cipher < SEALANE_CIPHERS; cipher++) {
        const sealane_cipher *row = sealane_cipher_get(cipher);
        sealane_aead *aead = NULL;
        uint8_t b[16] = {0}, tag[SEALANE_TAG_MAX] = {0};
        CU_ASSERT_EQUAL(row->message_max, ends[cipher]);
        CU_ASSERT_EQUAL_FATAL(sealane_aead_new(&aead, cipher, key, row->key_len), SEALANE_OK);
        CU_ASSERT_EQUAL(sealane_aead_seal(aead, nonce, NULL, 0, b, (size_t)ends[cipher] + 1, b, tag),
                        SEALANE_OVERFLOW);
        CU_ASSERT_EQUAL(sealane_aead_open(aead, nonce, NULL, 0, b, (size_t)ends[cipher] + 1, tag, b),
                        SEALANE_OVERFLOW);
        sealane_aead_free(aead);
    }
}

static void test_copy_lives_on_its_own(void)
{
    sealane_aead *aead = aead_make(), *copy = NULL;
    uint8_t one[40] = {0}, two[40] = {0}, tag_one[SEALANE_TAG_MAX], tag_two[SEALANE_TAG_MAX];

    CU_ASSERT_EQUAL(sealane_aead_seal(aead, nonce, NULL, 0, one, sizeof(one), one, tag_one), SEALANE_OK);
    CU_ASSERT_EQUAL_FATAL(sealane_aead_dup(&copy, aead), SEALANE_OK);
    sealane_aead_free(aead);
    CU_ASSERT_EQUAL(sealane_aead_seal(copy, nonce, NULL, 0, two, sizeof(two), two, tag_two), SEALANE_OK);
    CU_ASSERT_EQUAL(memcmp(one, two, sizeof(one)), 0);
    CU_ASSERT_EQUAL(memcmp(tag_one, tag_two, sizeof(tag_one)), 0);
    sealane_aead_free(copy);
}

static void test_results_have_texts(void)
{
    for (sealane_result a = SEALANE_OK; a <= SEALANE_ENDED; a++)
        for (sealane_result b = a + 1; b <= SEALANE_ENDED + 1; b++)
            CU_ASSERT_NOT_EQUAL(strcmp(sealane_result_text(a), sealane_result_text(b)), 0);
}

/* ---- Counters ---- */

#define THREADS 8

static uint64_t sum(const uint64_t counts[SEALANE_BACKENDS_MAX])
{
    uint64_t total = 0;

    for (size_t i = 0; i < SEALANE_BACKENDS_MAX; i++)
        total += counts[i];
    return total;
}

struct work {
    pthread_t thread;
    unsigned seals, opens, forgeries;
    bool began_with_none, ended_with_name;
};

static void *work_do(void *argument)
{
    struct work *w = argument;
    sealane_aead *aead = NULL;
    uint8_t b[100] = {0}, sealed[100], tag[SEALANE_TAG_MAX];

    if (sealane_aead_new(&aead, SEALANE_AES_256_GCM, key, 32) != SEALANE_OK)
        return NULL;
    /* Opening counts too, and that must not bring up what another thread, now ended, has sealed last. */
    memset(tag, 0, sizeof(tag));
    (void)sealane_aead_open(aead, nonce, NULL, 0, b, sizeof(b), tag, b);
    w->began_with_none = strcmp(sealane_last_sealed_by(), "none") == 0;
    for (unsigned i = 0; i < w->seals; i++)
        (void)sealane_aead_seal(aead, nonce, NULL, 0, b, sizeof(b), sealed, tag);
    for (unsigned i = 0; i < w->opens; i++)
        (void)sealane_aead_open(aead, nonce, NULL, 0, sealed, sizeof(sealed), tag, b);
    tag[0] ^= 1;
    for (unsigned i = 1; i < w->forgeries; i++)
        (void)sealane_aead_open(aead, nonce, NULL, 0, sealed, sizeof(sealed), tag, b);
    w->ended_with_name =
        strcmp(sealane_last_sealed_by(), sealane_backend_for(SEALANE_AES_256_GCM, 1, sizeof(b), NULL)) == 0;
    sealane_aead_free(aead);
    return NULL;
}

static atomic_bool reading;

/* Counters never go back while others count. The number of times that they did. */
static void *read_on(void *backwards)
{
    sealane_counters before, now;

    sealane_counters_read(&before);
    while (atomic_load(&reading)) {
        sealane_counters_read(&now);
        if (sum(now.sealed) < sum(before.sealed) || sum(now.opened) < sum(before.opened) ||
            now.forged < before.forged)
            ++*(unsigned *)backwards;
        before = now;
    }
    return NULL;
}

static void run_threads(struct work work[THREADS], unsigned round)
{
    for (unsigned i = 0; i < THREADS; i++) {
        work[i] = (struct work){.seals = 1000 + i, .opens = 500 + 10 * i + round, .forgeries = 100 + i};
        CU_ASSERT_EQUAL_FATAL(pthread_create(&work[i].thread, NULL, work_do, &work[i]), 0);
    }
    for (unsigned i = 0; i < THREADS; i++)
        pthread_join(work[i].thread, NULL);
}

/* Also after the threads have ended, and when others have taken their place. */
static void test_counters_lose_nothing(void)
{
    sealane_counters before, after;
    struct work work[THREADS];
    uint64_t seals = 0, opens = 0, forgeries = 0;
    unsigned backwards = 0;
    pthread_t reader;

    sealane_counters_read(&before);
    atomic_store(&reading, true);
    CU_ASSERT_EQUAL_FATAL(pthread_create(&reader, NULL, read_on, &backwards), 0);
    for (unsigned round = 0; round < 3; round++) {
        run_threads(work, round);
        for (unsigned i = 0; i < THREADS; i++) {
            CU_ASSERT(work[i].began_with_none);
            CU_ASSERT(work[i].ended_with_name);
            seals += work[i].seals;
            opens += work[i].opens;
            forgeries += work[i].forgeries;
        }
    }
    atomic_store(&reading, false);
    pthread_join(reader, NULL);
    sealane_counters_read(&after);
    CU_ASSERT_EQUAL(backwards, 0);
    CU_ASSERT_EQUAL(sum(after.sealed) - sum(before.sealed), seals);
    CU_ASSERT_EQUAL(sum(after.opened) - sum(before.opened), opens);
    CU_ASSERT_EQUAL(after.forged - before.forged, forgeries);
}

int main(void)
{
    static const CU_TestInfo tests[] = {
        {"new refuses wrong arguments", test_new_refuses_wrong_arguments},
        {"messages refuse wrong arguments", test_messages_refuse_wrong_arguments},
        {"messages end where counters do", test_messages_end_where_counters_do},
        {"a copy lives on its own", test_copy_lives_on_its_own},
        {"every result has a text of its own", test_results_have_texts},
        {"counters lose nothing over threads", test_counters_lose_nothing},
        CU_TEST_INFO_NULL,
    };
    return suite_run("aead", tests);
}
