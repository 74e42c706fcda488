/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A table that gives different sizes and directions to different backends is followed to the byte, and one
 * key works across all of them. The table in this program takes the place of the engine's (calibration.h).
 */
#include "support.h"

#include <string.h>
#include <sealane/aead.h>
#include <sealane/engine.h>
#include <sealane/record.h>
#include "calibration.h"

#define ROWS_FOR(cpu)                                                                                        \
    {cpu, SEALANE_AES_128_CCM, CALIBRATION_BATCH, 192, {"ipsec_mb", "openssl"}, "lanes"},                    \
        {cpu, SEALANE_AES_128_CCM, CALIBRATION_BOTH, 192, {"openssl"}, "alone"},                             \
        {cpu, SEALANE_AES_128_CCM, CALIBRATION_SEAL | CALIBRATION_BATCH, 448, {"ipsec_mb"}, "sealed"},       \
        {cpu, SEALANE_AES_128_GCM, CALIBRATION_SEAL, 64, {"absent", "openssl"}, "short, sealed"},            \
        {cpu, SEALANE_AES_128_GCM, CALIBRATION_BOTH, 960, {"ipsec_mb", "openssl"}, "middle"},                \
        {cpu, SEALANE_CIPHERS, CALIBRATION_OPEN, SIZE_MAX, {"ipsec_mb", "openssl"}, "opened"},               \
    {                                                                                                        \
        cpu, SEALANE_CIPHERS, CALIBRATION_BOTH, SIZE_MAX, {"openssl"}, "rest"                                \
    }

const calibration_row calibration_rows[] = {
    ROWS_FOR(CPU_VAES_AVX512),
    ROWS_FOR(CPU_VAES_AVX2),
    ROWS_FOR(CPU_AES),
    ROWS_FOR(CPU_OTHER),
};
const size_t calibration_row_count = COUNT(calibration_rows);

/* IPsec-MB where it runs, else the next in the rows above. */
static const char *second(void)
{
    return backend_ipsec_mb.probe() == NULL ? "ipsec_mb" : "openssl";
}

static int rows_are_followed(void *unused)
{
    const struct {
        sealane_cipher_id cipher;
        int sealing;
        size_t len;
        const char *name, *why;
    } expected[] = {
        {SEALANE_AES_128_GCM, 1, 0, "openssl", "short, sealed"},
        {SEALANE_AES_128_GCM, 1, 64, "openssl", "short, sealed"},
        {SEALANE_AES_128_GCM, 1, 65, second(), "middle"},
        {SEALANE_AES_128_GCM, 1, 960, second(), "middle"},
        {SEALANE_AES_128_GCM, 1, 961, "openssl", "rest"},
        {SEALANE_AES_128_GCM, 0, 0, second(), "middle"},
        {SEALANE_AES_128_GCM, 0, 960, second(), "middle"},
        {SEALANE_AES_128_GCM, 0, 961, second(), "opened"},
        {SEALANE_AES_128_GCM, 0, SIZE_MAX, second(), "opened"},
        {SEALANE_AES_256_GCM, 1, 10, "openssl", "rest"},
        {SEALANE_AES_256_GCM, 1, SIZE_MAX, "openssl", "rest"},
        {SEALANE_AES_256_GCM, 0, 10, second(), "opened"},
    };
    int failures = 0;

    (void)unused;
    for (size_t i = 0; i < COUNT(expected); i++) {
        const char *why = "";
        const char *name =
            sealane_backend_for(expected[i].cipher, expected[i].sealing, expected[i].len, &why);
        CHILD_CHECK(failures, strcmp(name, expected[i].name) == 0);
        CHILD_CHECK(failures, strcmp(why, expected[i].why) == 0);
    }
    return failures;
}

static void test_rows_are_followed(void)
{
    CU_ASSERT_EQUAL(child_run("SEALANE_BACKEND", NULL, rows_are_followed, NULL), 0);
}

static int batches_have_rows_of_their_own(void *unused)
{
    const struct {
        int sealing, batch;
        size_t len;
        const char *name, *why;
    } expected[] = {
        {1, 1, 192, second(), "lanes"}, {0, 1, 10, second(), "lanes"},  {1, 0, 192, "openssl", "alone"},
        {0, 0, 10, "openssl", "alone"}, {1, 0, 448, "openssl", "rest"}, {0, 1, 448, second(), "opened"},
        {1, 1, 449, "openssl", "rest"},
    };
    int failures = 0;

    (void)unused;
    for (size_t i = 0; i < COUNT(expected); i++) {
        const char *why = "", *name;
        name = (expected[i].batch ? sealane_backend_for_batch : sealane_backend_for)(
            SEALANE_AES_128_CCM, expected[i].sealing, expected[i].len, &why);
        CHILD_CHECK(failures, strcmp(name, expected[i].name) == 0);
        CHILD_CHECK(failures, strcmp(why, expected[i].why) == 0);
    }
    if (backend_ipsec_mb.probe() == NULL)
        CHILD_CHECK(failures,
                    strcmp(sealane_backend_for_batch(SEALANE_AES_128_CCM, 1, 448, NULL), "ipsec_mb") == 0);
    return failures;
}

static void test_batches_have_rows_of_their_own(void)
{
    CU_ASSERT_EQUAL(child_run("SEALANE_BACKEND", NULL, batches_have_rows_of_their_own, NULL), 0);
}

/* Seals records of these suites in one batch; who sealed the last of them. */
static const char *batch_sealed_by(const uint16_t suites[], size_t count)
{
    static uint8_t records[4][100];
    uint8_t secret[SEALANE_KEY_MAX] = {1}, iv[SEALANE_NONCE_LEN] = {2};
    struct iovec piece = {secret, 10};
    sealane_seal_op ops[4];

    for (size_t i = 0; i < count; i++) {
        sealane_key_params params = {
            .suite = sealane_suite_find(suites[i]), .key = secret, .key_len = 16, .iv = iv, .iv_len = 12};
        sealane_key *key = NULL;
        if (sealane_key_new(&key, &params) != SEALANE_OK)
            return "no key";
        ops[i] = (sealane_seal_op){.key = key,
                                   .payload = &piece,
                                   .payload_count = 1,
                                   .out = records[i],
                                   .out_size = sizeof(records[i]),
                                   .type = SEALANE_APPLICATION_DATA};
    }
    sealane_batch_seal(ops, count);
    for (size_t i = 0; i < count; i++) {
        sealane_key_free(ops[i].key);
        if (ops[i].result != SEALANE_OK)
            return "not sealed";
    }
    return sealane_last_sealed_by();
}

/* The only record of its cipher in a batch has no company in it. */
static int alone_among_others(void *unused)
{
    const uint16_t one[] = {0x1301, 0x1301, 0x1304}, two[] = {0x1301, 0x1304, 0x1304};
    int failures = 0;

    (void)unused;
    CHILD_CHECK(failures, strcmp(batch_sealed_by(one, 3), "openssl") == 0);
    CHILD_CHECK(failures, strcmp(batch_sealed_by(two, 3), second()) == 0);
    return failures;
}

static void test_alone_among_others(void)
{
    CU_ASSERT_EQUAL(child_run("SEALANE_BACKEND", NULL, alone_among_others, NULL), 0);
}

/* Every message is sealed by one backend and, where the rows say so, opened by the other, under one key. */
static int one_key_many_backends(void *unused)
{
    static uint8_t plain[3000], sealed[3000], opened[3000], right[3000];
    uint8_t key[SEALANE_KEY_MAX], nonce[SEALANE_NONCE_LEN], tag[SEALANE_TAG_MAX], right_tag[SEALANE_TAG_MAX];
    prng random = {0xca11b};
    sealane_aead *aead = NULL;
    int failures = 0;

    (void)unused;
    prng_fill(&random, key, sizeof(key));
    prng_fill(&random, plain, sizeof(plain));
    CHILD_CHECK(failures, sealane_aead_new(&aead, SEALANE_AES_128_GCM, key, 16) == SEALANE_OK);
    for (size_t len = 0; len <= sizeof(plain); len += 60) {
        prng_fill(&random, nonce, sizeof(nonce));
        reference_seal(SEALANE_AES_128_GCM, key, nonce, nonce, 5, plain, len, right, right_tag);
        CHILD_CHECK(failures,
                    sealane_aead_seal(aead, nonce, nonce, 5, plain, len, sealed, tag) == SEALANE_OK);
        CHILD_CHECK(failures, memcmp(sealed, right, len) == 0 && memcmp(tag, right_tag, sizeof(tag)) == 0);
        CHILD_CHECK(failures, strcmp(sealane_last_sealed_by(),
                                     sealane_backend_for(SEALANE_AES_128_GCM, 1, len, NULL)) == 0);
        CHILD_CHECK(failures,
                    sealane_aead_open(aead, nonce, nonce, 5, sealed, len, tag, opened) == SEALANE_OK);
        CHILD_CHECK(failures, memcmp(opened, plain, len) == 0);
    }
    sealane_aead_free(aead);
    return failures;
}

static void test_one_key_many_backends(void)
{
    CU_ASSERT_EQUAL(child_run("SEALANE_BACKEND", NULL, one_key_many_backends, NULL), 0);
}

int main(void)
{
    static const CU_TestInfo tests[] = {
        {"the rows are followed to the byte", test_rows_are_followed},
        {"one key works across backends", test_one_key_many_backends},
        {"batches have rows of their own", test_batches_have_rows_of_their_own},
        {"one of its cipher in a batch is alone", test_alone_among_others},
        CU_TEST_INFO_NULL,
    };
    return suite_run("calibration", tests);
}
