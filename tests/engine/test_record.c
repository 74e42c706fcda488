/* SPDX-License-Identifier: Apache-2.0 */
/* The record layer by itself: framing, limits, padding, scattered payloads, and the refusal of anything
 * changed. That others understand it: test_libssl.c. */
#include "support.h"

#include <stdlib.h>
#include <string.h>
#include <sealane/record.h>

#define ROOM (SEALANE_RECORD_MAX + 64)

/* Each cipher in each version that has it. */
static const uint16_t suites[] = {0x1301, 0x1302, 0x1303, 0x1304, 0x1305,
                                  0xc02f, 0xc030, 0xc0ac, 0xc0ae, 0xcca8};
static const uint8_t secret[SEALANE_KEY_MAX] = {0x11, 0x22, 0x33};
static const uint8_t iv[SEALANE_NONCE_LEN] = {0x44, 0x55, 0x66, 0x77, 0x88};

static uint8_t payload[SEALANE_PLAINTEXT_MAX + 64], record[ROOM], out[ROOM];

static sealane_key *key_make_at(uint16_t suite_id, sealane_direction direction, uint64_t sequence)
{
    const sealane_suite *suite = sealane_suite_find(suite_id);
    sealane_key_params params = {.suite = suite,
                                 .direction = direction,
                                 .key = secret,
                                 .key_len = sealane_cipher_get(suite->cipher)->key_len,
                                 .iv = iv,
                                 .iv_len = sealane_suite_iv_len(suite),
                                 .sequence = sequence,
                                 .explicit_nonce = 0xabcdef0123456789};
    sealane_key *key = NULL;

    CU_ASSERT_EQUAL_FATAL(sealane_key_new(&key, &params), SEALANE_OK);
    return key;
}

static sealane_key *key_make(uint16_t suite, sealane_direction direction)
{
    return key_make_at(suite, direction, 0);
}

static sealane_result seal_into(sealane_key *key, uint8_t type, const void *data, size_t len, size_t padding,
                                size_t *record_len)
{
    struct iovec piece = {(void *)(uintptr_t)data, len};
    sealane_seal_op op = {.key = key,
                          .payload = &piece,
                          .payload_count = 1,
                          .padding = padding,
                          .out = record,
                          .out_size = sizeof(record),
                          .type = type};

    CU_ASSERT_EQUAL(sealane_record_seal(&op), op.result);
    CU_ASSERT((op.out_len > 0) == (op.result == SEALANE_OK));
    *record_len = op.out_len;
    return op.result;
}

static sealane_result open_from(sealane_key *key, size_t record_len, uint8_t *type, size_t *len)
{
    sealane_open_op op = {
        .key = key, .record = record, .record_len = record_len, .out = out, .out_size = sizeof(out)};

    CU_ASSERT_EQUAL(sealane_record_open(&op), op.result);
    *type = op.type;
    *len = op.payload_len;
    return op.result;
}

static void fill_payload(void)
{
    prng random = {0x9a710ad};

    prng_fill(&random, payload, sizeof(payload));
}

/* Payload in, payload out, for lengths, types and paddings, with the sizes that were promised. */
static void test_what_is_sealed_opens(void)
{
    static const size_t lengths[] = {0, 1, 2, 63, 64, 65, 1000, 16383, 16384};
    static const size_t paddings[] = {0, 1, 63, 64, 65, 500};

    fill_payload();
    for (size_t s = 0; s < COUNT(suites); s++) {
        sealane_key *sealing = key_make(suites[s], SEALANE_SEALING),
                    *opening = key_make(suites[s], SEALANE_OPENING);
        bool tls13 = suites[s] < 0x2000;
        for (size_t i = 0; i < COUNT(lengths); i++)
            for (size_t p = 0; p < (tls13 ? COUNT(paddings) : 1); p++)
                for (uint8_t type = SEALANE_ALERT; type <= SEALANE_APPLICATION_DATA; type++) {
                    size_t record_len, len, told;
                    uint8_t got;
                    if ((lengths[i] == 0 && type != SEALANE_APPLICATION_DATA) ||
                        lengths[i] + paddings[p] > SEALANE_PLAINTEXT_MAX)
                        continue;
                    CU_ASSERT_EQUAL(seal_into(sealing, type, payload, lengths[i], paddings[p], &record_len),
                                    SEALANE_OK);
                    CU_ASSERT_EQUAL(record_len, sealane_record_seal_size(sealing, lengths[i], paddings[p]));
                    CU_ASSERT_EQUAL(sealane_record_length(opening, record, record_len, &told), SEALANE_OK);
                    CU_ASSERT_EQUAL(told, record_len);
                    CU_ASSERT_EQUAL(record[0], tls13 ? SEALANE_APPLICATION_DATA : type);
                    CU_ASSERT_EQUAL(open_from(opening, record_len, &got, &len), SEALANE_OK);
                    CU_ASSERT_EQUAL(got, type);
                    CU_ASSERT_EQUAL(len, lengths[i]);
                    CU_ASSERT_EQUAL(memcmp(out, payload, len), 0);
                }
        CU_ASSERT_EQUAL(sealane_key_sequence(sealing), sealane_key_sequence(opening));
        sealane_key_free(sealing);
        sealane_key_free(opening);
    }
}

/* Nonce, additional data and inner plaintext as the RFCs have them, put together here once more, by hand. */
static void test_tls13_is_rfc8446(void)
{
    sealane_key *key = key_make_at(0x1301, SEALANE_SEALING, 0x010203);
    uint8_t nonce[SEALANE_NONCE_LEN], inner[8] = {'h', 'e', 'l', 'l', 'o', SEALANE_HANDSHAKE, 0, 0};
    uint8_t header[5] = {23, 3, 3, 0, 24}, cipher[8], tag[SEALANE_TAG_MAX];
    size_t record_len;

    memcpy(nonce, iv, sizeof(nonce));
    for (int i = 1; i <= 3; i++)
        nonce[8 + i] ^= (uint8_t)i;
    reference_seal(SEALANE_AES_128_GCM, secret, nonce, header, 5, inner, sizeof(inner), cipher, tag);
    CU_ASSERT_EQUAL(seal_into(key, SEALANE_HANDSHAKE, "hello", 5, 2, &record_len), SEALANE_OK);
    CU_ASSERT_EQUAL(record_len, 5 + 8 + 16);
    CU_ASSERT_EQUAL(memcmp(record, header, 5), 0);
    CU_ASSERT_EQUAL(memcmp(record + 5, cipher, 8), 0);
    CU_ASSERT_EQUAL(memcmp(record + 13, tag, 16), 0);
    sealane_key_free(key);
}

static void test_tls12_is_rfc5288(void)
{
    sealane_key *key = key_make_at(0xc030, SEALANE_SEALING, 0x010203);
    uint8_t nonce[SEALANE_NONCE_LEN] = {0x44, 0x55, 0x66, 0x77, 0xab, 0xcd,
                                        0xef, 0x01, 0x23, 0x45, 0x67, 0x89};
    uint8_t aad[13] = {0, 0, 0, 0, 0, 1, 2, 3, SEALANE_HANDSHAKE, 3, 3, 0, 5};
    uint8_t header[5] = {SEALANE_HANDSHAKE, 3, 3, 0, 8 + 5 + 16}, cipher[5], tag[SEALANE_TAG_MAX];
    size_t record_len;

    for (int i = 0; i < 2; i++) { /* sequence and explicit nonce both count up */
        reference_seal(SEALANE_AES_256_GCM, secret, nonce, aad, 13, (const uint8_t *)"hello", 5, cipher, tag);
        CU_ASSERT_EQUAL(seal_into(key, SEALANE_HANDSHAKE, "hello", 5, 0, &record_len), SEALANE_OK);
        CU_ASSERT_EQUAL(record_len, 13 + 5 + 16);
        CU_ASSERT_EQUAL(memcmp(record, header, 5), 0);
        CU_ASSERT_EQUAL(memcmp(record + 5, nonce + 4, 8), 0);
        CU_ASSERT_EQUAL(memcmp(record + 13, cipher, 5), 0);
        CU_ASSERT_EQUAL(memcmp(record + 18, tag, 16), 0);
        nonce[11]++;
        aad[7]++;
    }
    sealane_key_free(key);
}

/* Like TLS 1.3's nonce, and the additional data of TLS 1.2. No explicit part is in the record. */
static void test_tls12_chacha_is_rfc7905(void)
{
    sealane_key *key = key_make_at(0xcca8, SEALANE_SEALING, 0x010203);
    uint8_t nonce[SEALANE_NONCE_LEN], aad[13] = {0, 0, 0, 0, 0, 1, 2, 3, SEALANE_HANDSHAKE, 3, 3, 0, 5};
    uint8_t header[5] = {SEALANE_HANDSHAKE, 3, 3, 0, 5 + 16}, cipher[5], tag[SEALANE_TAG_MAX];
    size_t record_len;

    memcpy(nonce, iv, sizeof(nonce));
    for (int i = 1; i <= 3; i++)
        nonce[8 + i] ^= (uint8_t)i;
    reference_seal(SEALANE_CHACHA20_POLY1305, secret, nonce, aad, 13, (const uint8_t *)"hello", 5, cipher,
                   tag);
    CU_ASSERT_EQUAL(sealane_record_prefix_len(key), 5);
    CU_ASSERT_EQUAL(seal_into(key, SEALANE_HANDSHAKE, "hello", 5, 0, &record_len), SEALANE_OK);
    CU_ASSERT_EQUAL(record_len, 5 + 5 + 16);
    CU_ASSERT_EQUAL(memcmp(record, header, 5), 0);
    CU_ASSERT_EQUAL(memcmp(record + 5, cipher, 5), 0);
    CU_ASSERT_EQUAL(memcmp(record + 10, tag, 16), 0);
    sealane_key_free(key);
}

/* Nonces as GCM's, and with CCM_8 a tag of eight bytes that the lengths in header and additional data know
 * of. */
static void test_tls12_ccm_is_rfc6655(void)
{
    static const uint16_t both[] = {0xc0ac, 0xc0ae};
    uint8_t nonce[SEALANE_NONCE_LEN] = {0x44, 0x55, 0x66, 0x77, 0xab, 0xcd,
                                        0xef, 0x01, 0x23, 0x45, 0x67, 0x89};
    uint8_t aad[13] = {0, 0, 0, 0, 0, 0, 0, 0, SEALANE_HANDSHAKE, 3, 3, 0, 5};

    for (size_t i = 0; i < COUNT(both); i++) {
        sealane_key *key = key_make(both[i], SEALANE_SEALING);
        size_t tag_len = i == 0 ? 16 : 8, record_len;
        uint8_t header[5] = {SEALANE_HANDSHAKE, 3, 3, 0, (uint8_t)(8 + 5 + tag_len)};
        uint8_t cipher[5], tag[SEALANE_TAG_MAX];
        reference_seal(sealane_suite_find(both[i])->cipher, secret, nonce, aad, 13, (const uint8_t *)"hello",
                       5, cipher, tag);
        CU_ASSERT_EQUAL(seal_into(key, SEALANE_HANDSHAKE, "hello", 5, 0, &record_len), SEALANE_OK);
        CU_ASSERT_EQUAL(record_len, 13 + 5 + tag_len);
        CU_ASSERT_EQUAL(memcmp(record, header, 5), 0);
        CU_ASSERT_EQUAL(memcmp(record + 5, nonce + 4, 8), 0);
        CU_ASSERT_EQUAL(memcmp(record + 13, cipher, 5), 0);
        CU_ASSERT_EQUAL(memcmp(record + 18, tag, tag_len), 0);
        sealane_key_free(key);
    }
}

/* All 64 bits of the sequence number count. (Sealing ends far below: the cipher's limit.) */
static void test_opening_at_high_sequence_numbers(void)
{
    sealane_key *tls13 = key_make_at(0x1301, SEALANE_OPENING, 0x0102030405060708);
    sealane_key *tls12 = key_make_at(0xc02f, SEALANE_OPENING, 0x0102030405060708);
    uint8_t nonce[SEALANE_NONCE_LEN], aad[13] = {1, 2, 3, 4, 5, 6, 7, 8, 23, 3, 3, 0, 1}, type;
    size_t len;

    memcpy(nonce, iv, sizeof(nonce));
    for (int i = 0; i < 8; i++)
        nonce[4 + i] ^= (uint8_t)(i + 1);
    memcpy(record, (uint8_t[]){23, 3, 3, 0, 18}, 5);
    reference_seal(SEALANE_AES_128_GCM, secret, nonce, record, 5, (uint8_t[]){'x', 23}, 2, record + 5,
                   record + 7);
    CU_ASSERT_EQUAL(open_from(tls13, 23, &type, &len), SEALANE_OK);
    CU_ASSERT(len == 1 && type == 23 && out[0] == 'x');

    memset(nonce + 4, 0x99, 8);
    memcpy(record, (uint8_t[]){23, 3, 3, 0, 25}, 5);
    memset(record + 5, 0x99, 8);
    reference_seal(SEALANE_AES_128_GCM, secret, nonce, aad, 13, (const uint8_t *)"y", 1, record + 13,
                   record + 14);
    CU_ASSERT_EQUAL(open_from(tls12, 30, &type, &len), SEALANE_OK);
    CU_ASSERT(len == 1 && type == 23 && out[0] == 'y');
    sealane_key_free(tls13);
    sealane_key_free(tls12);
}

static void test_scattered_payload_is_one(void)
{
    prng random = {0x10fec};

    fill_payload();
    for (size_t s = 0; s < COUNT(suites); s++)
        for (int round = 0; round < 40; round++) {
            sealane_key *sealing = key_make(suites[s], SEALANE_SEALING),
                        *same = key_make(suites[s], SEALANE_SEALING);
            struct iovec pieces[6];
            size_t count = prng_below(&random, 7), total = 0, record_len;
            uint8_t scattered[ROOM];
            sealane_seal_op op = {.key = sealing,
                                  .payload = pieces,
                                  .payload_count = count,
                                  .out = scattered,
                                  .out_size = sizeof(scattered),
                                  .type = SEALANE_APPLICATION_DATA};
            for (size_t i = 0; i < count; i++) {
                pieces[i] =
                    (struct iovec){payload + total, prng_below(&random, 4) * prng_below(&random, 700)};
                total += pieces[i].iov_len;
            }
            CU_ASSERT_EQUAL(sealane_record_seal(&op), SEALANE_OK);
            CU_ASSERT_EQUAL(seal_into(same, SEALANE_APPLICATION_DATA, payload, total, 0, &record_len),
                            SEALANE_OK);
            CU_ASSERT_EQUAL(op.out_len, record_len);
            CU_ASSERT_EQUAL(memcmp(scattered, record, record_len), 0);
            sealane_key_free(sealing);
            sealane_key_free(same);
        }
}

/* A payload that was built where the ciphertext will be, alone or with a piece behind it. */
static void test_payload_in_place(void)
{
    fill_payload();
    for (size_t s = 0; s < COUNT(suites); s++)
        for (size_t count = 1; count <= 2; count++) {
            sealane_key *sealing = key_make(suites[s], SEALANE_SEALING),
                        *opening = key_make(suites[s], SEALANE_OPENING);
            uint8_t *inside = record + sealane_record_prefix_len(sealing);
            struct iovec pieces[2] = {{inside, 700}, {payload + 700, 300}};
            sealane_seal_op op = {.key = sealing,
                                  .payload = pieces,
                                  .payload_count = count,
                                  .out = record,
                                  .out_size = sizeof(record),
                                  .type = SEALANE_APPLICATION_DATA};
            sealane_open_op open = {.key = opening, .record = record, .out = inside, .out_size = 1200};
            memcpy(inside, payload, 700);
            CU_ASSERT_EQUAL(sealane_record_seal(&op), SEALANE_OK);
            open.record_len = op.out_len;
            CU_ASSERT_EQUAL(sealane_record_open(&open), SEALANE_OK); /* in place too */
            CU_ASSERT_EQUAL(open.payload_len, count == 1 ? 700 : 1000);
            CU_ASSERT_EQUAL(memcmp(inside, payload, open.payload_len), 0);
            sealane_key_free(sealing);
            sealane_key_free(opening);
        }
}

/* Every bit of a record, from the header to the tag. A changed header may be refused as such. */
static void test_every_flipped_bit_is_refused(void)
{
    static const size_t lengths[] = {0, 1, 40, 200};

    fill_payload();
    for (size_t s = 0; s < COUNT(suites); s++)
        for (size_t i = 0; i < COUNT(lengths); i++) {
            sealane_key *sealing = key_make(suites[s], SEALANE_SEALING);
            size_t record_len, len, accepted = 0, delivered = 0;
            CU_ASSERT_EQUAL(seal_into(sealing, SEALANE_APPLICATION_DATA, payload, lengths[i], 0, &record_len),
                            SEALANE_OK);
            for (size_t bit = 0; bit < record_len * 8; bit++) {
                sealane_key *opening = key_make(suites[s], SEALANE_OPENING);
                uint8_t type;
                memset(out, 0, sizeof(out));
                record[bit / 8] ^= (uint8_t)(1u << bit % 8);
                accepted += open_from(opening, record_len, &type, &len) == SEALANE_OK;
                delivered += !all_zero(out, sizeof(out)) || type != 0 || len != 0;
                record[bit / 8] ^= (uint8_t)(1u << bit % 8);
                sealane_key_free(opening);
            }
            CU_ASSERT_EQUAL(accepted, 0);
            CU_ASSERT_EQUAL(delivered, 0);
            sealane_key_free(sealing);
        }
}

/* None can be left out, come twice or in another order; after a forgery the key is dead, also for the right
 * one. */
static void test_order_is_part_of_it(void)
{
    for (size_t s = 0; s < COUNT(suites); s++) {
        sealane_key *sealing = key_make(suites[s], SEALANE_SEALING);
        sealane_key *twice = key_make(suites[s], SEALANE_OPENING),
                    *skipped = key_make(suites[s], SEALANE_OPENING);
        size_t first_len, second_len, len;
        uint8_t type, first[100];
        CU_ASSERT_EQUAL(seal_into(sealing, SEALANE_APPLICATION_DATA, "one", 3, 0, &first_len), SEALANE_OK);
        memcpy(first, record, first_len);
        CU_ASSERT_EQUAL(open_from(twice, first_len, &type, &len), SEALANE_OK);
        CU_ASSERT_EQUAL(open_from(twice, first_len, &type, &len), SEALANE_FORGED);
        CU_ASSERT_EQUAL(seal_into(sealing, SEALANE_APPLICATION_DATA, "two", 3, 0, &second_len), SEALANE_OK);
        CU_ASSERT_EQUAL(open_from(skipped, second_len, &type, &len), SEALANE_FORGED);
        memcpy(record, first, first_len);
        memset(out, 0xff, sizeof(out));
        CU_ASSERT_EQUAL(open_from(skipped, first_len, &type, &len), SEALANE_FORGED);
        CU_ASSERT(all_zero(out, 3));
        sealane_key_free(sealing);
        sealane_key_free(twice);
        sealane_key_free(skipped);
    }
}

static void test_headers_are_checked(void)
{
    static const struct {
        uint16_t suite;
        uint8_t header[5];
        sealane_result result;
    } cases[] = {
        {0x1301, {23, 3, 3, 0x00, 17}, SEALANE_OK},       {0x1301, {23, 3, 3, 0x00, 16}, SEALANE_RECORD},
        {0x1301, {23, 3, 3, 0x00, 0}, SEALANE_RECORD},    {0x1301, {23, 3, 1, 0x00, 40}, SEALANE_RECORD},
        {0x1301, {23, 2, 3, 0x00, 40}, SEALANE_RECORD},   {0x1301, {20, 3, 3, 0x00, 40}, SEALANE_RECORD},
        {0x1301, {21, 3, 3, 0x00, 40}, SEALANE_RECORD},   {0x1301, {22, 3, 3, 0x00, 40}, SEALANE_RECORD},
        {0x1301, {24, 3, 3, 0x00, 40}, SEALANE_RECORD},   {0x1301, {'G', 'E', 'T', ' ', '/'}, SEALANE_RECORD},
        {0x1301, {23, 3, 3, 0x40, 17}, SEALANE_OK},       {0x1301, {23, 3, 3, 0x40, 18}, SEALANE_OVERFLOW},
        {0x1301, {23, 3, 3, 0x41, 0}, SEALANE_OVERFLOW},  {0x1301, {23, 3, 3, 0xff, 0xff}, SEALANE_OVERFLOW},
        {0xc02f, {23, 3, 3, 0x00, 24}, SEALANE_OK},       {0xc02f, {23, 3, 3, 0x00, 23}, SEALANE_RECORD},
        {0xc02f, {20, 3, 3, 0x00, 25}, SEALANE_OK},       {0xc02f, {21, 3, 3, 0x00, 26}, SEALANE_OK},
        {0xc02f, {22, 3, 3, 0x00, 28}, SEALANE_OK},       {0xc02f, {19, 3, 3, 0x00, 28}, SEALANE_RECORD},
        {0xc02f, {24, 3, 3, 0x00, 28}, SEALANE_RECORD},   {0xc02f, {23, 3, 2, 0x00, 28}, SEALANE_RECORD},
        {0xc02f, {23, 3, 4, 0x00, 28}, SEALANE_RECORD},   {0xc02f, {23, 3, 3, 0x40, 24}, SEALANE_OK},
        {0xc02f, {23, 3, 3, 0x40, 25}, SEALANE_OVERFLOW}, {0xc02f, {23, 3, 3, 0x48, 1}, SEALANE_OVERFLOW},
    };

    for (size_t i = 0; i < COUNT(cases); i++) {
        sealane_key *key = key_make(cases[i].suite, SEALANE_OPENING);
        size_t told = 0, whole = 5 + ((size_t)cases[i].header[3] << 8) + cases[i].header[4];
        for (size_t len = 0; len < 5; len++) {
            CU_ASSERT_EQUAL(sealane_record_length(key, cases[i].header, len, &told), SEALANE_OK);
            CU_ASSERT_EQUAL(told, 5);
        }
        CU_ASSERT_EQUAL(sealane_record_length(key, cases[i].header, 5, &told), cases[i].result);
        if (cases[i].result == SEALANE_OK)
            CU_ASSERT_EQUAL(told, whole);
        sealane_key_free(key);
    }
}

static void test_open_refuses_wrong_arguments(void)
{
    sealane_key *sealing = key_make(0x1301, SEALANE_SEALING), *opening = key_make(0x1301, SEALANE_OPENING);
    size_t record_len;
    sealane_open_op op = {.key = opening, .record = record, .out = out, .out_size = sizeof(out)};

    CU_ASSERT_EQUAL(seal_into(sealing, SEALANE_APPLICATION_DATA, "abcde", 5, 0, &record_len), SEALANE_OK);
    for (size_t len = 0; len <= record_len + 1; len++) {
        op.record_len = len;
        if (len != record_len)
            CU_ASSERT_EQUAL(sealane_record_open(&op), SEALANE_RECORD);
    }
    op.record_len = record_len;
    op.out_size = 5; /* the type byte needs room too */
    CU_ASSERT_EQUAL(sealane_record_open(&op), SEALANE_SPACE);
    op.out_size = 6;
    op.out = NULL;
    CU_ASSERT_EQUAL(sealane_record_open(&op), SEALANE_SPACE);
    op.out = out;
    op.key = sealing;
    CU_ASSERT_EQUAL(sealane_record_open(&op), SEALANE_ARGUMENT);
    op.key = NULL;
    CU_ASSERT_EQUAL(sealane_record_open(&op), SEALANE_ARGUMENT);
    op.key = opening;
    op.record = NULL;
    CU_ASSERT_EQUAL(sealane_record_open(&op), SEALANE_ARGUMENT);
    CU_ASSERT_EQUAL(sealane_record_open(NULL), SEALANE_ARGUMENT);
    op.record = record;
    CU_ASSERT_EQUAL(sealane_key_sequence(opening), 0); /* all of that cost nothing */
    CU_ASSERT_EQUAL(sealane_record_open(&op), SEALANE_OK);
    sealane_key_free(sealing);
    sealane_key_free(opening);
}

static void test_seal_refuses_wrong_arguments(void)
{
    sealane_key *tls13 = key_make(0x1301, SEALANE_SEALING), *tls12 = key_make(0xc02f, SEALANE_SEALING);
    sealane_key *opening = key_make(0x1301, SEALANE_OPENING);
    struct iovec wrong = {NULL, 1}, around[2] = {{payload, SIZE_MAX}, {payload, 2}};
    size_t n;
    sealane_seal_op op = {.key = tls13,
                          .payload = &wrong,
                          .payload_count = 1,
                          .out = record,
                          .out_size = sizeof(record),
                          .type = SEALANE_APPLICATION_DATA};

    fill_payload();
    for (unsigned type = 0; type < 256; type++) {
        bool in13 = type >= 21 && type <= 23, in12 = type >= 20 && type <= 23;
        CU_ASSERT_EQUAL(seal_into(tls13, (uint8_t)type, "x", 1, 0, &n), in13 ? SEALANE_OK : SEALANE_ARGUMENT);
        CU_ASSERT_EQUAL(seal_into(tls12, (uint8_t)type, "x", 1, 0, &n), in12 ? SEALANE_OK : SEALANE_ARGUMENT);
        CU_ASSERT_EQUAL(seal_into(tls13, (uint8_t)type, "", 0, 0, &n),
                        type == 23 ? SEALANE_OK : SEALANE_ARGUMENT);
        CU_ASSERT_EQUAL(seal_into(tls12, (uint8_t)type, "", 0, 0, &n),
                        type == 23 ? SEALANE_OK : SEALANE_ARGUMENT);
    }
    CU_ASSERT_EQUAL(seal_into(tls12, 23, "x", 1, 1, &n), SEALANE_ARGUMENT);
    CU_ASSERT_EQUAL(seal_into(opening, 23, "x", 1, 0, &n), SEALANE_ARGUMENT);
    CU_ASSERT_EQUAL(seal_into(NULL, 23, "x", 1, 0, &n), SEALANE_ARGUMENT);
    CU_ASSERT_EQUAL(seal_into(tls13, 23, payload, 16385, 0, &n), SEALANE_OVERFLOW);
    CU_ASSERT_EQUAL(seal_into(tls12, 23, payload, 16385, 0, &n), SEALANE_OVERFLOW);
    CU_ASSERT_EQUAL(seal_into(tls13, 23, payload, 16384, 1, &n), SEALANE_OVERFLOW);
    CU_ASSERT_EQUAL(seal_into(tls13, 23, payload, 1, SIZE_MAX, &n), SEALANE_OVERFLOW);
    CU_ASSERT_EQUAL(sealane_record_seal(&op), SEALANE_ARGUMENT);
    op.payload = around;
    op.payload_count = 2;
    CU_ASSERT_EQUAL(sealane_record_seal(&op), SEALANE_OVERFLOW); /* the sum wraps to 1 */
    op.payload = NULL;
    CU_ASSERT_EQUAL(sealane_record_seal(&op), SEALANE_ARGUMENT);
    op.payload_count = 0;
    op.out = NULL;
    CU_ASSERT_EQUAL(sealane_record_seal(&op), SEALANE_ARGUMENT);
    CU_ASSERT_EQUAL(sealane_record_seal(NULL), SEALANE_ARGUMENT);
    CU_ASSERT_EQUAL(sealane_key_sequence(tls13), 4); /* three types, one empty record */
    sealane_key_free(tls13);
    sealane_key_free(tls12);
    sealane_key_free(opening);
}

/* Not a byte more than out_size is written, and one less than needed is refused. */
static void test_room_is_exact(void)
{
    guarded g = guarded_new(17000);

    fill_payload();
    for (size_t s = 0; s < COUNT(suites); s++)
        for (size_t len = 0; len <= 16384; len += 1 + len / 3) {
            sealane_key *sealing = key_make(suites[s], SEALANE_SEALING),
                        *opening = key_make(suites[s], SEALANE_OPENING);
            size_t need = sealane_record_seal_size(sealing, len, 0),
                   prefix = sealane_record_prefix_len(sealing),
                   tag_len = sealane_cipher_get(sealane_suite_find(suites[s])->cipher)->tag_len;
            struct iovec piece = {payload, len};
            sealane_seal_op seal = {.key = sealing,
                                    .payload = &piece,
                                    .payload_count = 1,
                                    .out = guarded_end(&g, need),
                                    .out_size = need - 1,
                                    .type = 23};
            sealane_open_op open = {
                .key = opening, .record = record, .record_len = need, .out_size = need - prefix - tag_len};
            CU_ASSERT_EQUAL(sealane_record_seal(&seal), SEALANE_SPACE);
            seal.out_size = need;
            CU_ASSERT_EQUAL(sealane_record_seal(&seal), SEALANE_OK);
            memcpy(record, seal.out, need);
            open.out = guarded_end(&g, open.out_size);
            CU_ASSERT_EQUAL(sealane_record_open(&open), SEALANE_OK);
            CU_ASSERT_EQUAL(open.payload_len, len);
            sealane_key_free(sealing);
            sealane_key_free(opening);
        }
    guarded_free(&g);
}

/* Seals an inner plaintext that our own sealing side would never make, and opens it. */
static sealane_result open_inner(const uint8_t *inner, size_t inner_len, uint8_t *type, size_t *len)
{
    sealane_key *opening = key_make(0x1301, SEALANE_OPENING);
    sealane_result result;

    record[0] = 23;
    record[1] = record[2] = 3;
    record[3] = (uint8_t)((inner_len + 16) >> 8);
    record[4] = (uint8_t)(inner_len + 16);
    reference_seal(SEALANE_AES_128_GCM, secret, iv, record, 5, inner, inner_len, record + 5,
                   record + 5 + inner_len);
    memset(out, 0xff, sizeof(out));
    result = open_from(opening, 5 + inner_len + 16, type, len);
    sealane_key_free(opening);
    return result;
}

static void test_inner_plaintext_is_checked(void)
{
    static uint8_t inner[SEALANE_PLAINTEXT_MAX + 1];
    uint8_t type;
    size_t len;

    for (size_t n = 1; n <= sizeof(inner); n += 1 + n / 5) { /* nothing but padding */
        memset(inner, 0, sizeof(inner));
        CU_ASSERT_EQUAL(open_inner(inner, n, &type, &len), SEALANE_RECORD);
        CU_ASSERT(all_zero(out, n) && type == 0 && len == 0);
    }
    for (unsigned t = 1; t < 256; t++) {
        inner[0] = 'a';
        inner[1] = (uint8_t)t;
        CU_ASSERT_EQUAL(open_inner(inner, 90, &type, &len), t >= 21 && t <= 23 ? SEALANE_OK : SEALANE_RECORD);
        inner[0] = (uint8_t)t; /* an empty one */
        inner[1] = 0;
        CU_ASSERT_EQUAL(open_inner(inner, 90, &type, &len), t == 23 ? SEALANE_OK : SEALANE_RECORD);
    }
    for (size_t at = 0; at < sizeof(inner);
         at += 1 + at / 9) { /* the type at any place, padding of any length */
        memset(inner, 0xa5, at);
        memset(inner + at, 0, sizeof(inner) - at);
        inner[at] = SEALANE_APPLICATION_DATA;
        for (size_t n = at + 1; n <= sizeof(inner) && n < at + 200; n += 13) {
            CU_ASSERT_EQUAL(open_inner(inner, n, &type, &len), SEALANE_OK);
            CU_ASSERT(len == at && type == 23 && memcmp(out, inner, at) == 0);
        }
    }
    memset(inner, 0, sizeof(inner)); /* payload of zeros is payload */
    inner[70] = SEALANE_APPLICATION_DATA;
    CU_ASSERT_EQUAL(open_inner(inner, 150, &type, &len), SEALANE_OK);
    CU_ASSERT_EQUAL(len, 70);
}

/* An authentic alert or handshake without content, RFC 5246 6.2.1. */
static void test_tls12_empty_records_are_checked(void)
{
    for (uint8_t t = 20; t <= 23; t++) {
        sealane_key *opening = key_make(0xc02f, SEALANE_OPENING);
        uint8_t nonce[SEALANE_NONCE_LEN] = {0}, aad[13] = {0, 0, 0, 0, 0, 0, 0, 0, t, 3, 3, 0, 0}, type;
        size_t len;
        memcpy(nonce, iv, 4);
        memset(record, 0, 29);
        memcpy(record, (uint8_t[]){t, 3, 3, 0, 24}, 5);
        reference_seal(SEALANE_AES_128_GCM, secret, nonce, aad, 13, NULL, 0, NULL, record + 13);
        CU_ASSERT_EQUAL(open_from(opening, 29, &type, &len), t == 23 ? SEALANE_OK : SEALANE_RECORD);
        sealane_key_free(opening);
    }
}

static void test_seal_limit_is_kept(void)
{
    for (size_t s = 0; s < COUNT(suites); s++) {
        uint64_t limit = sealane_cipher_get(sealane_suite_find(suites[s])->cipher)->seal_limit;
        sealane_key *key = key_make_at(suites[s], SEALANE_SEALING, limit - limit / 16 - 1);
        size_t n;
        CU_ASSERT_FALSE(sealane_key_rekey_due(key));
        CU_ASSERT_EQUAL(seal_into(key, 23, "x", 1, 0, &n), SEALANE_OK);
        CU_ASSERT(sealane_key_rekey_due(key));
        CU_ASSERT_EQUAL(seal_into(key, 23, "x", 1, 0, &n), SEALANE_OK);
        sealane_key_free(key);
        key = key_make_at(suites[s], SEALANE_SEALING, limit - 1);
        CU_ASSERT_EQUAL(seal_into(key, 23, "x", 1, 0, &n), SEALANE_OK);
        memset(record, 0xee, 64);
        CU_ASSERT_EQUAL(seal_into(key, 23, "x", 1, 0, &n), SEALANE_LIMIT);
        CU_ASSERT_EQUAL(seal_into(key, 21, "xx", 2, 0, &n), SEALANE_LIMIT);
        CU_ASSERT_EQUAL(record[0], 0xee); /* nothing written */
        CU_ASSERT(sealane_key_rekey_due(key));
        sealane_key_free(key);
    }
}

/* Neither direction's sequence number ever comes to 2^64 and around. */
static void test_sequence_does_not_wrap(void)
{
    for (size_t s = 0; s < COUNT(suites); s++) {
        sealane_key *sealing = key_make_at(suites[s], SEALANE_SEALING, UINT64_MAX);
        sealane_key *opening = key_make_at(suites[s], SEALANE_OPENING, UINT64_MAX);
        size_t n, len;
        uint8_t type;
        CU_ASSERT_EQUAL(seal_into(sealing, 23, "x", 1, 0, &n), SEALANE_LIMIT);
        CU_ASSERT(sealane_key_rekey_due(opening));
        sealane_key_free(sealing);
        sealing = key_make(suites[s], SEALANE_SEALING);
        CU_ASSERT_EQUAL(seal_into(sealing, 23, "x", 1, 0, &n), SEALANE_OK);
        CU_ASSERT_EQUAL(open_from(opening, n, &type, &len), SEALANE_LIMIT);
        CU_ASSERT_EQUAL(sealane_key_sequence(opening), UINT64_MAX);
        sealane_key_free(sealing);
        sealane_key_free(opening);
        opening = key_make(suites[s], SEALANE_OPENING);
        CU_ASSERT_FALSE(sealane_key_rekey_due(opening));
        sealane_key_free(opening);
    }
}

static void test_key_refuses_wrong_arguments(void)
{
    sealane_key *key = NULL;

    for (size_t s = 0; s < COUNT(suites); s++) {
        const sealane_suite *suite = sealane_suite_find(suites[s]);
        size_t key_len = sealane_cipher_get(suite->cipher)->key_len;
        size_t iv_len = suites[s] < 0x2000 || suites[s] > 0xcc00 ? 12 : 4;
        sealane_key_params params = {
            .suite = suite, .key = secret, .key_len = key_len, .iv = iv, .iv_len = iv_len};
        for (params.iv_len = 0; params.iv_len <= 16; params.iv_len++)
            if (params.iv_len != iv_len)
                CU_ASSERT_EQUAL(sealane_key_new(&key, &params), SEALANE_ARGUMENT);
        params.iv_len = iv_len;
        for (params.key_len = 0; params.key_len <= 33; params.key_len++)
            if (params.key_len != key_len)
                CU_ASSERT_EQUAL(sealane_key_new(&key, &params), SEALANE_ARGUMENT);
        params.key_len = key_len;
        CU_ASSERT_EQUAL(sealane_key_new(NULL, &params), SEALANE_ARGUMENT);
        params.key = NULL;
        CU_ASSERT_EQUAL(sealane_key_new(&key, &params), SEALANE_ARGUMENT);
        params.key = secret;
        params.iv = NULL;
        CU_ASSERT_EQUAL(sealane_key_new(&key, &params), SEALANE_ARGUMENT);
        params.suite = NULL;
        CU_ASSERT_EQUAL(sealane_key_new(&key, &params), SEALANE_ARGUMENT);
    }
    CU_ASSERT_EQUAL(sealane_key_new(&key, NULL), SEALANE_ARGUMENT);
    CU_ASSERT_PTR_NULL(key);
    sealane_key_free(NULL);
}

int main(void)
{
    static const CU_TestInfo tests[] = {
        {"what is sealed opens", test_what_is_sealed_opens},
        {"TLS 1.3 is RFC 8446's", test_tls13_is_rfc8446},
        {"TLS 1.2 is RFC 5288's", test_tls12_is_rfc5288},
        {"TLS 1.2 with ChaCha20 is RFC 7905's", test_tls12_chacha_is_rfc7905},
        {"TLS 1.2 with CCM is RFC 6655's", test_tls12_ccm_is_rfc6655},
        {"opening at high sequence numbers", test_opening_at_high_sequence_numbers},
        {"a scattered payload is one", test_scattered_payload_is_one},
        {"payload in place", test_payload_in_place},
        {"every flipped bit is refused", test_every_flipped_bit_is_refused},
        {"the order is part of it", test_order_is_part_of_it},
        {"headers are checked", test_headers_are_checked},
        {"open refuses wrong arguments", test_open_refuses_wrong_arguments},
        {"seal refuses wrong arguments", test_seal_refuses_wrong_arguments},
        {"room is exact", test_room_is_exact},
        {"the inner plaintext is checked", test_inner_plaintext_is_checked},
        {"empty records of TLS 1.2 are checked", test_tls12_empty_records_are_checked},
        {"the limit of a key is kept", test_seal_limit_is_kept},
        {"sequence numbers do not wrap", test_sequence_does_not_wrap},
        {"a key refuses wrong arguments", test_key_refuses_wrong_arguments},
        CU_TEST_INFO_NULL,
    };
    return suite_run("record", tests);
}
