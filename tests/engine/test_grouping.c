/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What reaches a backend in a batch: all records of a cipher in one run, and none of another cipher among
 * them. The backend of this program, in place of the engine's (backends.h), is libcrypto's with a witness in
 * front.
 */
#include "support.h"

#include <string.h>
#include <sealane/record.h>
#include "backends.h"
#include "libcrypto.h"

#define RECORDS 100

static size_t runs, largest, singles, mixed;

static void witness_run(sealane_cipher_id cipher, backend_op *const ops[], size_t count)
{
    runs++;
    largest = count > largest ? count : largest;
    for (size_t i = 0; i < count; i++)
        mixed += ((const libcrypto_aead *)ops[i]->state)->cipher != cipher;
}

static const char *witness_probe(void)
{
    return backend_openssl.probe();
}
static const char *witness_version(void)
{
    return "1";
}
static size_t witness_state_size(sealane_cipher_id cipher)
{
    return backend_openssl.state_size(cipher);
}
static void witness_key_clear(void *state)
{
    backend_openssl.key_clear(state);
}

static sealane_result witness_key_init(void *state, sealane_cipher_id cipher, const uint8_t *key)
{
    return backend_openssl.key_init(state, cipher, key);
}

static sealane_result witness_seal(backend_op *op)
{
    singles++;
    return backend_openssl.seal(op);
}

static sealane_result witness_open(backend_op *op)
{
    singles++;
    return backend_openssl.open(op);
}

static void witness_seal_many(sealane_cipher_id cipher, backend_op *const ops[], size_t count)
{
    witness_run(cipher, ops, count);
    backend_openssl.seal_many(cipher, ops, count);
}

static void witness_open_many(sealane_cipher_id cipher, backend_op *const ops[], size_t count)
{
    witness_run(cipher, ops, count);
    backend_openssl.open_many(cipher, ops, count);
}

static const backend backend_witness = {
    .name = "witness",
    .probe = witness_probe,
    .version = witness_version,
    .state_size = witness_state_size,
    .key_init = witness_key_init,
    .key_clear = witness_key_clear,
    .seal = witness_seal,
    .open = witness_open,
    .seal_many = witness_seal_many,
    .open_many = witness_open_many,
};

const backend *const engine_backends[] = {&backend_witness};
const size_t engine_backend_count = COUNT(engine_backends);

static sealane_key *key_make(uint16_t suite_id, sealane_direction direction)
{
    static const uint8_t secret[SEALANE_KEY_MAX] = {1}, iv[SEALANE_NONCE_LEN] = {2};
    const sealane_suite *suite = sealane_suite_find(suite_id);
    sealane_key_params params = {.suite = suite,
                                 .direction = direction,
                                 .key = secret,
                                 .key_len = sealane_cipher_get(suite->cipher)->key_len,
                                 .iv = iv,
                                 .iv_len = sealane_suite_iv_len(suite)};
    sealane_key *key = NULL;

    CU_ASSERT_EQUAL_FATAL(sealane_key_new(&key, &params), SEALANE_OK);
    return key;
}

/* Both versions of a cipher go together; 100 records are two portions of batch.c, of two ciphers each. */
static void test_one_run_per_cipher(void)
{
    static const uint16_t suites[] = {0x1301, 0x1302, 0xc02f, 0xc030};
    static uint8_t records[RECORDS][64], plain[RECORDS][64];
    static sealane_seal_op seal[RECORDS];
    static sealane_open_op open[RECORDS];
    sealane_key *sealing[COUNT(suites)], *opening[COUNT(suites)];
    struct iovec piece = {(void *)(uintptr_t) "abc", 3};

    for (size_t i = 0; i < COUNT(suites); i++) {
        sealing[i] = key_make(suites[i], SEALANE_SEALING);
        opening[i] = key_make(suites[i], SEALANE_OPENING);
    }
    runs = largest = singles = mixed = 0; /* the known-answer test was seen too */
    for (size_t i = 0; i < RECORDS; i++)
        seal[i] = (sealane_seal_op){.key = sealing[i % COUNT(suites)],
                                    .payload = &piece,
                                    .payload_count = 1,
                                    .out = records[i],
                                    .out_size = 64,
                                    .type = 23};
    sealane_batch_seal(seal, RECORDS);
    CU_ASSERT(runs == 4 && largest == 32 && singles == 0 && mixed == 0);
    for (size_t i = 0; i < RECORDS; i++)
        open[i] = (sealane_open_op){.key = opening[i % COUNT(suites)],
                                    .record = records[i],
                                    .record_len = seal[i].out_len,
                                    .out = plain[i],
                                    .out_size = 64};
    sealane_batch_open(open, RECORDS);
    CU_ASSERT(runs == 8 && largest == 32 && singles == 0 && mixed == 0);
    for (size_t i = 0; i < RECORDS; i++)
        CU_ASSERT(open[i].result == SEALANE_OK && open[i].payload_len == 3);
    for (size_t i = 0; i < COUNT(suites); i++) {
        sealane_key_free(sealing[i]);
        sealane_key_free(opening[i]);
    }
}

int main(void)
{
    static const CU_TestInfo tests[] = {
        {"one run per cipher, and none mixed", test_one_run_per_cipher},
        CU_TEST_INFO_NULL,
    };
    return suite_run("grouping", tests);
}
