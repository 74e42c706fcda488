/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A broken routine must not seal a single record. The inputs are patterns (pattern_fill), of lengths that
 * lead through the short, the tail and the long path of any routine; only the tags are kept, and a sum over
 * all ciphertexts (CCM's tag depends on the plaintext only). They were computed with an independent
 * implementation, and the unit tests hold all of NIST's vectors against the same routines.
 */
#include "known_answer.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#define ROWS     9
#define KEYS     2 /* rows take turns, so that a batch mixes keys */
#define LEN_MAX  4113
#define LEN_SUM  5725
#define AAD_1_2  13 /* RFC 5246 6.2.3.3 */
#define AAD_1_3  5  /* RFC 8446 5.2 */
#define SEED_KEY 0x10
#define SEED_IV  0x20
#define SEED_IN  0x30
#define SEED_AAD 0x40

static const size_t lengths[ROWS] = {0, 1, 16, 63, 64, 129, 300, 1039, LEN_MAX};

static const uint8_t tags[SEALANE_CIPHERS][ROWS][SEALANE_TAG_MAX] =
    {
        [SEALANE_AES_128_GCM] =
            {
                {0xca, 0x59, 0x37, 0x3c, 0x0a, 0x21, 0xf6, 0xe3, 0xd0, 0x94, 0xa9, 0x96, 0x5d, 0xb7, 0x37,
                 0x41},
                {0xdf, 0x0f, 0x4e, 0x5a, 0x1b, 0x37, 0x37, 0xf5, 0x64, 0xd9, 0x61, 0xb4, 0x44, 0x4a, 0x23,
                 0x41},
                {0x33, 0x1c, 0xb5, 0x61, 0x18, 0xea, 0x1a, 0xbc, 0x1c, 0x7b, 0x55, 0xcb, 0xbc, 0x0a, 0xc9,
                 0x52},
                {0xf9, 0x1f, 0xdb, 0xc1, 0x18, 0xe4, 0xcb, 0xae, 0x59, 0xd1, 0x68, 0xa8, 0x15, 0x36, 0x29,
                 0x0e},
                {0xb9, 0x78, 0xd1, 0xbe, 0x13, 0x39, 0x55, 0x0b, 0x17, 0x72, 0x94, 0x26, 0xf3, 0x17, 0xaf,
                 0xb7},
                {0x57, 0x92, 0x22, 0x50, 0x2a, 0x06, 0x70, 0xdb, 0x9c, 0xc8, 0xa3, 0xd0, 0xbe, 0xe0, 0x52,
                 0x3a},
                {0x5e, 0x0e, 0xb3, 0xfc, 0x66, 0x84, 0x5a, 0x27, 0xdb, 0x17, 0x1d, 0x04, 0xa9, 0xc6, 0x42,
                 0xc4},
                {0x05, 0xce, 0x3c, 0x78, 0xc7, 0x6f, 0x1b, 0xaa, 0xed, 0x59, 0x9b, 0xf1, 0xc9, 0xf8, 0x85,
                 0xf9},
                {0x8e, 0x12, 0x8c, 0x0e, 0xb5, 0x76, 0x61, 0x5d, 0xc8, 0x32, 0x24, 0xb8, 0x20, 0x3c, 0xfb,
                 0xe6},
            },
        [SEALANE_AES_256_GCM] =
            {
                {0x65, 0x63, 0x43, 0x91, 0x0a, 0x99, 0x21, 0x42, 0x0e, 0x39, 0xfb, 0x4f, 0xad, 0x7f, 0x44,
                 0xf1},
                {0xa3, 0x33, 0xd7, 0x21, 0x6b, 0x38, 0x42, 0x2c, 0xd6, 0xea, 0x5c, 0xc6, 0x7b, 0x97, 0xcc,
                 0x9f},
                {0xa5, 0xe0, 0xc7, 0xdf, 0x5d, 0x9e, 0xfd, 0x54, 0x43, 0x82, 0xc0, 0x1c, 0xb8, 0x7a, 0x38,
                 0xdb},
                {0x79, 0x36, 0x8e, 0x64, 0xa4, 0x36, 0x5b, 0x47, 0xf8, 0x7b, 0x60, 0xb2, 0xde, 0x94, 0x0c,
                 0x04},
                {0x66, 0x6d, 0x2c, 0x05, 0x83, 0x2f, 0xb3, 0x18, 0x60, 0x5f, 0xd6, 0xba, 0x35, 0x8b, 0x7f,
                 0x85},
                {0xd3, 0xeb, 0x8b, 0x3e, 0xab, 0x37, 0xda, 0x45, 0xfa, 0xa8, 0xc9, 0x3d, 0xb8, 0xa8, 0x7a,
                 0x2b},
                {0x07, 0xa3, 0x14, 0x75, 0xa4, 0x68, 0x25, 0x6c, 0x2d, 0xd5, 0x82, 0x64, 0x7d, 0xdb, 0x52,
                 0x03},
                {0xa7, 0xce, 0x38, 0x11, 0x00, 0x5a, 0x74, 0xd3, 0x0b, 0xf9, 0x9e, 0x73, 0x13, 0x21, 0xfd,
                 0x90},
                {0xe1, 0x34, 0xf7, 0x20, 0x68, 0x56, 0xbc, 0x57, 0xa7, 0x7a, 0xe8, 0xfd, 0x28, 0x1d, 0x54,
                 0x1d},
            },
        [SEALANE_CHACHA20_POLY1305] =
            {
                {0x66, 0x08, 0x9b, 0x85, 0xf7, 0xfe, 0x7e, 0x60, 0x67, 0x7d, 0x5f, 0x41, 0x06, 0xad, 0x52,
                 0xc8},
                {0x6b, 0xb0, 0xbc, 0x23, 0x99, 0xb4, 0x56, 0x95, 0x3c, 0x6f, 0x35, 0x28, 0x5d, 0x37, 0x82,
                 0x6e},
                {0x7c, 0xcc, 0x2d, 0x86, 0xff, 0xea, 0x4c, 0x4e, 0x3a, 0x0b, 0x92, 0xed, 0x85, 0xa6, 0x74,
                 0xea},
                {0x2f, 0x91, 0x26, 0xbb, 0xe4, 0xc8, 0x21, 0xbc, 0x97, 0x42, 0xb1, 0xc0, 0xdb, 0x39, 0x27,
                 0xa5},
                {0x77, 0x07, 0x60, 0xdd, 0xe0, 0x78, 0x7d, 0xbd, 0x43, 0xeb, 0x83, 0x7a, 0x26, 0xbc, 0xcd,
                 0x2f},
                {0x6f, 0x8a, 0x41, 0x43, 0xfd, 0xcb, 0x73, 0x98, 0x98, 0x8c, 0x13, 0xcd, 0x98, 0x93, 0xb5,
                 0x8a},
                {0x77, 0x96, 0x36, 0xae, 0x71, 0x23, 0x42, 0x6e, 0x78, 0x63, 0xf1, 0x96, 0x0e, 0x47, 0x80,
                 0xa9},
                {0x18, 0xe6, 0x03, 0xa0, 0xa1, 0x18, 0xca, 0x0c, 0xc6, 0x43, 0x6c, 0x17, 0xad, 0xac, 0x59,
                 0x59},
                {0xaa, 0x62, 0xd6, 0xd2, 0x7b, 0xae, 0xa8, 0x65, 0x2f, 0x7d, 0x6c, 0xa1, 0x7c, 0x12, 0x6f,
                 0x79},
            },
        [SEALANE_AES_128_CCM] =
            {
                {0xda, 0xb1, 0x71, 0xf2, 0x67, 0xed, 0x72, 0x6a, 0x8d, 0xcd, 0x49, 0x86, 0xe0, 0x7d, 0x52,
                 0xb3},
                {0x33, 0xef, 0x53, 0x28, 0xeb, 0x97, 0x5d, 0x44, 0x4a, 0x1b, 0x46, 0xc5, 0xcd, 0x19, 0xce,
                 0xfb},
                {0x30, 0x94, 0x6c, 0xfb, 0xd4, 0xaf, 0xdf, 0x81, 0xfa, 0x53, 0x78, 0x06, 0x88, 0xbb, 0x45,
                 0xfe},
                {0x08, 0xc0, 0x2a, 0xdc, 0xc2, 0x1c, 0x26, 0x31, 0xba, 0x86, 0x6f, 0xcd, 0x65, 0x6c, 0xba,
                 0xb6},
                {0x0b, 0xc2, 0xde, 0x92, 0xb1, 0xf2, 0xe3, 0xfc, 0xe6, 0x2a, 0x8d, 0xc8, 0x8d, 0x59, 0xba,
                 0x8e},
                {0xe0, 0xf7, 0xb1, 0xbb, 0x28, 0x9a, 0x2e, 0x44, 0x75, 0x88, 0xa5, 0xd7, 0xcd, 0x0d, 0xb0,
                 0xc4},
                {0x75, 0x7d, 0x9c, 0x10, 0xcc, 0x2b, 0x7e, 0x7a, 0x50, 0xfa, 0xb6, 0x7e, 0x67, 0xe2, 0xa5,
                 0xc9},
                {0xc0, 0x08, 0x4a, 0x0b, 0x84, 0xcd, 0xf6, 0x9d, 0xb1, 0xe7, 0xaa, 0xf1, 0xb1, 0xd1, 0xca,
                 0x00},
                {0x89, 0xa8, 0xba, 0x62, 0xb0, 0xae, 0x11, 0x41, 0x33, 0x06, 0xcf, 0xca, 0x04, 0x12, 0x0c,
                 0x98},
            },
        [SEALANE_AES_128_CCM_8] =
            {
                {0x7d, 0x3e, 0x51, 0xa6, 0x0f, 0x6a, 0x30, 0x76},
                {0xb2, 0xa8, 0x40, 0x2b, 0xdd, 0xc0, 0xcd, 0xc7},
                {0xd7, 0x90, 0x2c, 0xc0, 0x9f, 0x9b, 0x82, 0x6b},
                {0x3f, 0xc1, 0x21, 0xb1, 0xbd, 0x42, 0x2f, 0xfa},
                {0xc1, 0x00, 0x11, 0x33, 0xec, 0x88, 0x35, 0xfe},
                {0x6f, 0x20, 0xa8, 0x03, 0x7e, 0x74, 0x28, 0xa1},
                {0x1a, 0xfb, 0xf3, 0x44, 0xa2, 0x2f, 0xcf, 0xe2},
                {0x12, 0xe9, 0xd9, 0xc6, 0x20, 0x86, 0xfc, 0xd4},
                {0xdf, 0x2e, 0xc1, 0xe3, 0xc8, 0xce, 0xed, 0xbb},
            },
};

/* FNV-1a, 64 bits, over the ciphertexts of all rows one after the other. */
static const uint64_t sums[SEALANE_CIPHERS] = {
    [SEALANE_AES_128_GCM] = UINT64_C(0x7650c6e9b87b7daf),
    [SEALANE_AES_256_GCM] = UINT64_C(0xbee6ff51fe0b3240),
    [SEALANE_CHACHA20_POLY1305] = UINT64_C(0x0e6e0bd03bc8b15b),
    [SEALANE_AES_128_CCM] = UINT64_C(0x08ef2dbbfb9c4c2e),
    [SEALANE_AES_128_CCM_8] = UINT64_C(0x08ef2dbbfb9c4c2e),
};

struct bench {
    const backend *be;
    sealane_cipher_id cipher;
    void *states[KEYS];
    uint8_t plain[LEN_MAX], aad[AAD_1_2], nonce[ROWS][SEALANE_NONCE_LEN];
    uint8_t sealed[LEN_SUM], opened[LEN_SUM], tag[ROWS][SEALANE_TAG_MAX];
    backend_op ops[ROWS];
};

static void pattern_fill(uint8_t *out, size_t len, unsigned seed)
{
    for (size_t i = 0; i < len; i++)
        out[i] = (uint8_t)(seed + i * 37 + (i >> 8));
}

static bool all_zero(const uint8_t *bytes, size_t len)
{
    uint8_t sum = 0;

    for (size_t i = 0; i < len; i++)
        sum |= bytes[i];
    return sum == 0;
}

static bool bench_expand(struct bench *b)
{
    size_t size = (b->be->state_size(b->cipher) + BACKEND_STATE_ALIGN - 1) / BACKEND_STATE_ALIGN;

    for (unsigned i = 0; i < KEYS; i++) {
        uint8_t key[SEALANE_KEY_MAX];
        void *state = aligned_alloc(BACKEND_STATE_ALIGN, size * BACKEND_STATE_ALIGN);
        if (state == NULL)
            return false;
        memset(state, 0, size * BACKEND_STATE_ALIGN);
        pattern_fill(key, sizeof(key), SEED_KEY + i);
        if (b->be->key_init(state, b->cipher, key) != SEALANE_OK) {
            free(state);
            return false;
        }
        b->states[i] = state;
    }
    return true;
}

static void bench_prepare(struct bench *b)
{
    size_t at = 0;

    pattern_fill(b->plain, sizeof(b->plain), SEED_IN);
    pattern_fill(b->aad, sizeof(b->aad), SEED_AAD);
    for (unsigned row = 0; row < ROWS; row++) {
        pattern_fill(b->nonce[row], SEALANE_NONCE_LEN, SEED_IV + row);
        b->ops[row] = (backend_op){.state = b->states[row % KEYS],
                                   .nonce = b->nonce[row],
                                   .aad = b->aad,
                                   .aad_len = row % KEYS == 0 ? AAD_1_2 : AAD_1_3,
                                   .in = b->plain,
                                   .len = lengths[row],
                                   .out = b->sealed + at,
                                   .tag = b->tag[row]};
        at += lengths[row];
    }
}

/* Turns the sealed messages into messages to open. */
static void bench_turn(struct bench *b)
{
    for (unsigned row = 0; row < ROWS; row++) {
        b->ops[row].in = b->ops[row].out;
        b->ops[row].out = b->opened + (b->ops[row].in - b->sealed);
    }
}

/* Behind a short tag the table has zeros, and the backend must leave them. */
static bool sealed_right(const struct bench *b, unsigned row)
{
    return b->ops[row].result == SEALANE_OK &&
           memcmp(b->tag[row], tags[b->cipher][row], SEALANE_TAG_MAX) == 0;
}

static bool sum_right(const struct bench *b)
{
    uint64_t sum = UINT64_C(0xcbf29ce484222325);

    for (size_t i = 0; i < LEN_SUM; i++)
        sum = (sum ^ b->sealed[i]) * UINT64_C(0x100000001b3);
    return sum == sums[b->cipher];
}

static bool opened_right(const struct bench *b, unsigned row)
{
    return b->ops[row].result == SEALANE_OK && memcmp(b->ops[row].out, b->plain, lengths[row]) == 0;
}

static bool refused_right(const struct bench *b, unsigned row)
{
    return b->ops[row].result == SEALANE_FORGED && all_zero(b->ops[row].out, lengths[row]);
}

/* Each message once more, its last byte not where it would be at `in`. */
static bool appends_right(struct bench *b)
{
    for (unsigned row = 0; row < ROWS; row++) {
        backend_op op = b->ops[row];
        uint8_t *last;

        if (op.len == 0)
            continue;
        last = &b->plain[op.len - 1];
        op.append = true;
        op.appended = *last;
        *last ^= 0xff;
        memset(b->tag[row], 0, SEALANE_TAG_MAX);
        b->ops[row].result = b->be->seal(&op);
        *last ^= 0xff;
        if (!sealed_right(b, row))
            return false;
    }
    return sum_right(b);
}

/* Opens row by row: as it is, with a bit of the tag changed, with a bit of the ciphertext changed. */
static const char *check_open(struct bench *b)
{
    for (unsigned row = 0; row < ROWS; row++) {
        uint8_t *flips[] = {&b->tag[row][row % sealane_cipher_get(b->cipher)->tag_len],
                            &b->sealed[b->ops[row].in - b->sealed + (ptrdiff_t)lengths[row] / 2]};
        size_t flip_count = lengths[row] > 0 ? 2 : 1;

        b->be->open(&b->ops[row]);
        if (!opened_right(b, row))
            return "it opens wrongly";
        for (size_t i = 0; i < flip_count; i++) {
            *flips[i] ^= 1;
            memset(b->ops[row].out, 0xff, lengths[row]);
            b->be->open(&b->ops[row]);
            *flips[i] ^= 1;
            if (!refused_right(b, row))
                return "it does not refuse a forgery and wipe its plaintext";
        }
    }
    return NULL;
}

/* One forged row in the middle must fail alone. */
static const char *check_batches(struct bench *b, backend_op *const order[ROWS])
{
    const unsigned forged = ROWS / 2;

    bench_prepare(b);
    memset(b->sealed, 0, sizeof(b->sealed));
    memset(b->tag, 0, sizeof(b->tag));
    b->be->seal_many(b->cipher, order, ROWS);
    for (unsigned row = 0; row < ROWS; row++)
        if (!sealed_right(b, row))
            return "it seals batches wrongly";
    if (!sum_right(b))
        return "it seals batches wrongly";
    bench_turn(b);
    memset(b->opened, 0xff, sizeof(b->opened));
    b->tag[forged][0] ^= 0x80;
    b->be->open_many(b->cipher, order, ROWS);
    for (unsigned row = 0; row < ROWS; row++)
        if (row == forged ? !refused_right(b, row) : !opened_right(b, row))
            return "it opens batches wrongly";
    return NULL;
}

static const char *check_all(struct bench *b)
{
    backend_op *order[ROWS];
    const char *failure;

    bench_prepare(b);
    for (unsigned row = 0; row < ROWS; row++) {
        order[row] = &b->ops[row];
        b->be->seal(&b->ops[row]);
        if (!sealed_right(b, row))
            return "it seals wrongly";
    }
    if (!sum_right(b))
        return "it seals wrongly";
    if (b->be->appends && !appends_right(b))
        return "it seals wrongly what is appended";
    bench_turn(b);
    failure = check_open(b);
    return failure != NULL ? failure : check_batches(b, order);
}

const char *known_answer_failure(const backend *be, sealane_cipher_id cipher)
{
    struct bench *b = calloc(1, sizeof(*b));
    const char *failure = "no memory for the test";

    if (b == NULL)
        return failure;
    b->be = be;
    b->cipher = cipher;
    failure = bench_expand(b) ? check_all(b) : "it cannot expand a key";
    for (unsigned i = 0; i < KEYS; i++)
        if (b->states[i] != NULL)
            be->key_clear(b->states[i]);
    for (unsigned i = 0; i < KEYS; i++)
        free(b->states[i]); /* keys that everyone can read here: nothing to wipe */
    free(b);
    return failure;
}
