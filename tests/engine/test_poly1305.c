/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Poly1305 by itself (backends/chacha_poly1305.h, chacha512_poly1305.h): sums at the edges of 2^130 - 5 and of the limbs, which no
 * random message ever meets. Keys of the AEAD come out of ChaCha20, so these cannot be tested through it.
 */
#include "support.h"

#include <stdio.h>
#include <string.h>
#include <openssl/rand.h>
#include "backends/chacha512_poly1305.h"
#include "backends/chacha_poly1305.h"

static const struct vector {
    const char *source, *key, *data, *tag; /* in hexadecimal; data of whole blocks */
} vectors[] = {
    {"RFC 8439 A.3 #7", "0200000000000000000000000000000000000000000000000000000000000000",
     "ffffffffffffffffffffffffffffffff", "03000000000000000000000000000000"},
    {"RFC 8439 A.3 #8", "02000000000000000000000000000000ffffffffffffffffffffffffffffffff",
     "02000000000000000000000000000000", "03000000000000000000000000000000"},
    {"RFC 8439 A.3 #9", "0100000000000000000000000000000000000000000000000000000000000000",
     "fffffffffffffffffffffffffffffffff0ffffffffffffffffffffffffffffff1100000000000000000000000000"
     "0000",
     "05000000000000000000000000000000"},
    {"RFC 8439 A.3 #10", "0100000000000000000000000000000000000000000000000000000000000000",
     "fffffffffffffffffffffffffffffffffbfefefefefefefefefefefefefefefe0101010101010101010101010101"
     "0101",
     "00000000000000000000000000000000"},
    {"RFC 8439 A.3 #11", "0200000000000000000000000000000000000000000000000000000000000000",
     "fdffffffffffffffffffffffffffffff", "faffffffffffffffffffffffffffffff"},
    {"a carry into the third limb", "0100000000000000040000000000000000000000000000000000000000000000",
     "e33594d7505e43b900000000000000003394d7505e4379cd01000000000000000000000000000000000000000000"
     "000001000000000000000000000000000000",
     "14000000000000005500000000000000"},
    {"the same without the end", "0100000000000000040000000000000000000000000000000000000000000000",
     "e33594d7505e43b900000000000000003394d7505e4379cd01000000000000000000000000000000000000000000"
     "0000",
     "13000000000000000000000000000000"},
    {"all bits, largest r", "ffffff0ffcffff0ffcffff0ffcffff0fffffffffffffffffffffffffffffffff",
     "ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff"
     "ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff"
     "ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff"
     "ffffffffffffffffffffffffffffffffffffffffffff",
     "99514d0a5a9b209c6a3dd0a4f64d95ae"},
};

static size_t hex(const char *text, uint8_t *out)
{
    size_t len = strlen(text) / 2;

    for (size_t i = 0; i < len; i++) {
        unsigned byte = 0;
        CU_ASSERT_EQUAL_FATAL(sscanf(text + 2 * i, "%2x", &byte), 1);
        out[i] = (uint8_t)byte;
    }
    return len;
}

CHACHA_CODE static void tag_compute(const uint8_t *key, const uint8_t *data, size_t len, uint8_t *tag)
{
    poly1305 poly = poly1305_begin(key);
    uint128 sum;

    poly1305_padded(&poly, data, len);
    sum = poly1305_end(&poly);
    store_64(tag, (uint64_t)sum);
    store_64(tag + 8, (uint64_t)(sum >> 64));
}

static void test_edges(void)
{
    if (backend_chacha.probe() != NULL)
        return;
    for (size_t i = 0; i < COUNT(vectors); i++) {
        uint8_t key[32], data[200], right[16], tag[16];
        size_t len = hex(vectors[i].data, data);
        (void)hex(vectors[i].key, key);
        (void)hex(vectors[i].tag, right);
        CU_ASSERT_EQUAL(len % 16, 0);
        tag_compute(key, data, len, tag);
        if (memcmp(tag, right, sizeof(tag)) != 0)
            printf("\n    wrong: %s", vectors[i].source);
        CU_ASSERT_EQUAL(memcmp(tag, right, sizeof(tag)), 0);
    }
}

/* Pieces that are no whole block: exactly their bytes are read, and zeros stand for the rest. */
CHACHA_CODE static void test_bytes(void)
{
    guarded g = guarded_new(16);

    for (size_t len = 0; len < 16; len++) {
        uint8_t *at = guarded_end(&g, len), block[16] = {0};
        for (size_t i = 0; i < len; i++)
            at[i] = block[i] = (uint8_t)(0x81 + 7 * i);
        uint128 value = bytes_load(at, len);
        CU_ASSERT_EQUAL(memcmp(&value, block, 16), 0);
        memset(at, 0, len);
        bytes_store(at, value, len);
        CU_ASSERT_EQUAL(memcmp(at, block, len), 0);
    }
    guarded_free(&g);
}

/* The same sum by eight lanes as block by block, where limbs and carries are at their greatest and elsewhere. */
CHACHA512_CODE static void wide_compare(const uint8_t *key, const uint8_t *data, size_t len)
{
    poly1305 one = poly1305_begin(key), other;
    poly1305_powers powers;
    uint128 sums[2];
    size_t done = WIDE_STEP;
    wide w;

    poly1305_padded(&one, data, POLY1305_BLOCK); /* so that there is a sum before */
    other = one;
    powers_make(&powers, &other);
    w = wide_begin(&other, data);
    for (; len - done >= WIDE_STEP; done += WIDE_STEP)
        wide_step(&w, &powers, data + done);
    wide_finish(&other, &w, &powers, data + done, len - done);
    poly1305_padded(&one, data, len);
    sums[0] = poly1305_end(&one);
    sums[1] = poly1305_end(&other);
    CU_ASSERT_EQUAL(memcmp(&sums[0], &sums[1], sizeof(sums[0])), 0);
}

static void test_wide(void)
{
    static const uint8_t fills[] = {0xff, 0x00, 0x01, 0xfe, 0x80};
    static uint8_t data[4096];
    uint8_t key[32];

    if (backend_chacha512.probe() != NULL)
        return;
    for (size_t round = 0; round < 40; round++)
        for (size_t len = WIDE_STEP; len < 1100; len += len < 600 ? 1 : 41) {
            /* Every pair of fills, then random bytes. */
            if (round < COUNT(fills) * COUNT(fills)) {
                memset(key, fills[round % COUNT(fills)], sizeof(key));
                memset(data, fills[round / COUNT(fills)], sizeof(data));
            } else {
                CU_ASSERT_EQUAL_FATAL(RAND_bytes(key, sizeof(key)), 1);
                CU_ASSERT_EQUAL_FATAL(RAND_bytes(data, sizeof(data)), 1);
            }
            wide_compare(key, data, len);
        }
}

int main(void)
{
    static const CU_TestInfo tests[] = {
        {"sums at the edges", test_edges},
        {"bytes that are no whole block", test_bytes},
        {"eight lanes give the sum of one", test_wide},
        CU_TEST_INFO_NULL,
    };
    return suite_run("poly1305", tests);
}
