/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Every usable backend of the build against libcrypto, through the interface that dispatch uses: all short
 * lengths and a sample of long ones, between forbidden pages and at odd addresses, in place and out of place,
 * with forgeries of every bit, and in batches. A new backend is tested by being in the table.
 */
#include "support.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LEN_MAX   17000
#define LEN_EVERY 1100 /* every length up to here */
#define AAD_MAX   32
#define SLACK     64 /* for odd addresses */

/* Where buffers lie: against the page before, against the page behind, anywhere between. */
enum place { PLACE_START, PLACE_END, PLACE_ODD, PLACES };

/* One message with its right answer, and guarded room for whatever a backend touches. */
struct stage {
    prng random;
    guarded in, out, aad, nonce, tag;
    uint8_t plain[LEN_MAX], cipher[LEN_MAX], right_tag[SEALANE_TAG_MAX];
    uint8_t key[SEALANE_KEY_MAX];
    size_t tag_len;
};

static struct stage *stage_new(uint64_t seed, sealane_cipher_id cipher)
{
    struct stage *s = calloc(1, sizeof(*s));

    CU_ASSERT_PTR_NOT_NULL_FATAL(s);
    s->random.state = seed + cipher;
    s->tag_len = sealane_cipher_get(cipher)->tag_len;
    s->in = guarded_new(LEN_MAX + SLACK);
    s->out = guarded_new(LEN_MAX + SLACK);
    s->aad = guarded_new(AAD_MAX + SLACK);
    s->nonce = guarded_new(SEALANE_NONCE_LEN + SLACK);
    s->tag = guarded_new(SEALANE_TAG_MAX + SLACK);
    prng_fill(&s->random, s->key, sizeof(s->key));
    return s;
}

static void stage_free(struct stage *s)
{
    guarded_free(&s->tag);
    guarded_free(&s->nonce);
    guarded_free(&s->aad);
    guarded_free(&s->out);
    guarded_free(&s->in);
    free(s);
}

static uint8_t *stage_place(struct stage *s, const guarded *g, size_t len, enum place place)
{
    switch (place) {
    case PLACE_START:
        return guarded_start(g);
    case PLACE_END:
        return guarded_end(g, len);
    default:
        return guarded_start(g) + prng_below(&s->random, 32);
    }
}

/* New bytes for everything but the key, and libcrypto's answer. */
static backend_op stage_message(struct stage *s, sealane_cipher_id cipher, size_t len, size_t aad_len,
                                enum place place)
{
    uint8_t *aad = stage_place(s, &s->aad, aad_len, place);
    uint8_t *nonce = stage_place(s, &s->nonce, SEALANE_NONCE_LEN, place);
    backend_op op = {.nonce = nonce,
                     .aad = aad,
                     .aad_len = aad_len,
                     .in = stage_place(s, &s->in, len, place),
                     .len = len,
                     .out = stage_place(s, &s->out, len, place),
                     .tag = stage_place(s, &s->tag, s->tag_len, place)};

    prng_fill(&s->random, aad, aad_len);
    prng_fill(&s->random, nonce, SEALANE_NONCE_LEN);
    prng_fill(&s->random, s->plain, len);
    reference_seal(cipher, s->key, nonce, aad, aad_len, s->plain, len, s->cipher, s->right_tag);
    return op;
}

static bool seals_right(const backend *be, const struct stage *s, backend_op *op)
{
    memcpy((uint8_t *)(uintptr_t)op->in, s->plain, op->len);
    memset(op->tag, 0, s->tag_len);
    return be->seal(op) == SEALANE_OK && op->result == SEALANE_OK &&
           memcmp(op->out, s->cipher, op->len) == 0 && memcmp(op->tag, s->right_tag, s->tag_len) == 0;
}

/* The last byte comes by itself, and where it would be at `in` there is something else, or nothing to be read. */
static bool appends_right(const backend *be, const struct stage *s, const backend_op *op)
{
    backend_op apart = *op;

    if (!be->appends || op->len == 0)
        return true;
    memmove((uint8_t *)(uintptr_t)op->in + 1, s->plain, op->len - 1);
    apart.in++;
    apart.append = true;
    apart.appended = s->plain[op->len - 1];
    memset(op->tag, 0, s->tag_len);
    return be->seal(&apart) == SEALANE_OK && memcmp(op->out, s->cipher, op->len) == 0 &&
           memcmp(op->tag, s->right_tag, s->tag_len) == 0;
}

static bool opens_right(const backend *be, const struct stage *s, backend_op *op)
{
    memcpy((uint8_t *)(uintptr_t)op->in, s->cipher, op->len);
    memcpy(op->tag, s->right_tag, s->tag_len);
    return be->open(op) == SEALANE_OK && op->result == SEALANE_OK &&
           memcmp(op->out, s->plain, op->len) == 0 && memcmp(op->tag, s->right_tag, s->tag_len) == 0;
}

static bool message_right(const backend *be, struct stage *s, backend_op op)
{
    backend_op in_place = op;

    in_place.out = (uint8_t *)(uintptr_t)op.in;
    return seals_right(be, s, &op) && memcmp(op.in, s->plain, op.len) == 0 && opens_right(be, s, &op) &&
           memcmp(op.in, s->cipher, op.len) == 0 && seals_right(be, s, &in_place) &&
           opens_right(be, s, &in_place) && appends_right(be, s, &op);
}

static bool every_length; /* asked for with the argument "every" */

/* Lengths 0, 1, 2 ... LEN_EVERY, then every 97th with its neighbours of the next block boundary. */
static size_t length_next(size_t len)
{
    if (len < LEN_EVERY || every_length)
        return len + 1;
    return len % 16 == 15 || len % 16 == 0 ? len + 1 : len + 97 - (len % 3);
}

static void check_lengths(const backend *be, sealane_cipher_id cipher)
{
    struct stage *s = stage_new(0x5ea1, cipher);
    void *state = state_new(be, cipher, s->key);
    size_t wrong = 0, checked = 0;

    for (size_t len = 0; len <= LEN_MAX; len = length_next(len))
        for (enum place place = 0; place < PLACES; place++) {
            backend_op op = stage_message(s, cipher, len, (len + 11 * place) % (AAD_MAX + 1), place);
            op.state = state;
            checked++;
            if (message_right(be, s, op))
                continue;
            if (wrong++ == 0)
                printf("\n    %s, %s: wrong first at %zu bytes, %zu of additional data", be->name,
                       sealane_cipher_get(cipher)->name, len, op.aad_len);
        }
    printf("\n    %s, %s: %zu messages", be->name, sealane_cipher_get(cipher)->name, checked);
    CU_ASSERT_EQUAL(wrong, 0);
    state_free(be, state);
    stage_free(s);
}

static void check_aad_lengths(const backend *be, sealane_cipher_id cipher)
{
    static const size_t lengths[] = {0, 1, 15, 16, 17, 64, 255, 1400};
    struct stage *s = stage_new(0xaad, cipher);
    void *state = state_new(be, cipher, s->key);
    size_t wrong = 0;

    for (size_t i = 0; i < COUNT(lengths); i++)
        for (size_t aad_len = 0; aad_len <= AAD_MAX; aad_len++) {
            backend_op op = stage_message(s, cipher, lengths[i], aad_len, (enum place)(aad_len % PLACES));
            op.state = state;
            wrong += !message_right(be, s, op);
        }
    CU_ASSERT_EQUAL(wrong, 0);
    state_free(be, state);
    stage_free(s);
}

static bool refuses(const backend *be, backend_op *op)
{
    memset(op->out, 0xff, op->len);
    return be->open(op) == SEALANE_FORGED && op->result == SEALANE_FORGED && all_zero(op->out, op->len);
}

/* Flips each bit of `bytes`, and back; the number of flips that were not refused. */
static size_t flips_accepted(const backend *be, backend_op *op, uint8_t *bytes, size_t len)
{
    size_t accepted = 0;

    for (size_t bit = 0; bit < len * 8; bit++) {
        bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
        accepted += !refuses(be, op);
        bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
    return accepted;
}

static void check_flips(const backend *be, sealane_cipher_id cipher)
{
    static const size_t lengths[] = {0, 1, 15, 16, 17, 63, 64, 100, 257, 300};
    struct stage *s = stage_new(0xf11b, cipher);
    void *state = state_new(be, cipher, s->key);

    for (size_t i = 0; i < COUNT(lengths); i++) {
        backend_op op = stage_message(s, cipher, lengths[i], 5 + i, PLACE_ODD);
        op.state = state;
        CU_ASSERT(opens_right(be, s, &op));
        CU_ASSERT_EQUAL(flips_accepted(be, &op, (uint8_t *)(uintptr_t)op.in, op.len), 0);
        CU_ASSERT_EQUAL(flips_accepted(be, &op, op.tag, s->tag_len), 0);
        CU_ASSERT_EQUAL(flips_accepted(be, &op, (uint8_t *)(uintptr_t)op.aad, op.aad_len), 0);
        CU_ASSERT_EQUAL(flips_accepted(be, &op, (uint8_t *)(uintptr_t)op.nonce, SEALANE_NONCE_LEN), 0);
        CU_ASSERT(opens_right(be, s, &op));
    }
    state_free(be, state);
    stage_free(s);
}

/* In place, the wipe must cover what was the ciphertext. */
static void check_wipe_in_place(const backend *be, sealane_cipher_id cipher)
{
    struct stage *s = stage_new(0x31be, cipher);
    void *state = state_new(be, cipher, s->key);

    for (size_t len = 1; len <= 700; len += 23) {
        backend_op op = stage_message(s, cipher, len, 13, PLACE_END);
        op.state = state;
        op.out = (uint8_t *)(uintptr_t)op.in;
        memcpy(op.out, s->cipher, len);
        memcpy(op.tag, s->right_tag, s->tag_len);
        op.tag[len % s->tag_len] ^= 0x10;
        CU_ASSERT_EQUAL(be->open(&op), SEALANE_FORGED);
        CU_ASSERT(all_zero(op.out, len));
    }
    state_free(be, state);
    stage_free(s);
}

/* NULL for what has no bytes. */
static void check_nothing(const backend *be, sealane_cipher_id cipher)
{
    struct stage *s = stage_new(0x4e11, cipher);
    backend_op op = stage_message(s, cipher, 0, 0, PLACE_ODD);

    op.state = state_new(be, cipher, s->key);
    op.in = op.aad = NULL;
    op.out = NULL;
    CU_ASSERT_EQUAL(be->seal(&op), SEALANE_OK);
    CU_ASSERT_EQUAL(memcmp(op.tag, s->right_tag, s->tag_len), 0);
    CU_ASSERT_EQUAL(be->open(&op), SEALANE_OK);
    op.tag[3] ^= 1;
    CU_ASSERT_EQUAL(be->open(&op), SEALANE_FORGED);
    state_free(be, op.state);
    stage_free(s);
}

/* ---- Batches ---- */

#define BATCH_MAX  41
#define BATCH_KEYS 7
#define BATCH_LEN  2000

struct batch {
    prng random;
    uint8_t keys[BATCH_KEYS][SEALANE_KEY_MAX];
    void *states[BATCH_KEYS];
    backend_op ops[BATCH_MAX], *order[BATCH_MAX];
    bool forged[BATCH_MAX];
    uint8_t nonce[BATCH_MAX][SEALANE_NONCE_LEN], aad[BATCH_MAX][AAD_MAX];
    uint8_t plain[BATCH_MAX][BATCH_LEN], in[BATCH_MAX][BATCH_LEN], cipher[BATCH_MAX][BATCH_LEN];
    uint8_t right_tag[BATCH_MAX][SEALANE_TAG_MAX], tag[BATCH_MAX][SEALANE_TAG_MAX];
    guarded out[BATCH_MAX];
    size_t count, tag_len;
};

static size_t batch_length(prng *random)
{
    static const size_t common[] = {0, 1, 16, 64, 65, 1400};

    return prng_below(random, 2) == 0 ? common[prng_below(random, COUNT(common))]
                                      : prng_below(random, BATCH_LEN + 1);
}

/* What is to be sealed; of some messages the last byte by itself, if that is possible. */
static void batch_text(struct batch *b, size_t i, backend_op *op, bool may_append)
{
    prng_fill(&b->random, b->plain[i], op->len);
    memcpy(b->in[i], b->plain[i], op->len);
    op->append = may_append && op->len > 0 && prng_below(&b->random, 2) == 0;
    if (!op->append)
        return;
    op->appended = b->plain[i][op->len - 1];
    b->in[i][op->len - 1] ^= 0xff;
}

static void batch_fill(struct batch *b, sealane_cipher_id cipher, bool may_append)
{
    b->count = prng_below(&b->random, BATCH_MAX + 1);
    for (size_t i = 0; i < b->count; i++) {
        size_t key = prng_below(&b->random, BATCH_KEYS), len = batch_length(&b->random);
        backend_op *op = &b->ops[i];
        *op = (backend_op){.state = b->states[key],
                           .nonce = b->nonce[i],
                           .aad = b->aad[i],
                           .aad_len = prng_below(&b->random, AAD_MAX + 1),
                           .in = b->in[i],
                           .len = len,
                           .out = guarded_end(&b->out[i], len),
                           .tag = b->tag[i],
                           .result = SEALANE_INTERNAL};
        prng_fill(&b->random, b->nonce[i], SEALANE_NONCE_LEN);
        prng_fill(&b->random, b->aad[i], op->aad_len);
        batch_text(b, i, op, may_append);
        reference_seal(cipher, b->keys[key], b->nonce[i], b->aad[i], op->aad_len, b->plain[i], len,
                       b->cipher[i], b->right_tag[i]);
        b->order[i] = op;
    }
}

static size_t batch_seal_wrong(const backend *be, sealane_cipher_id cipher, struct batch *b)
{
    size_t wrong = 0;

    memset(b->tag, 0, sizeof(b->tag));
    be->seal_many(cipher, b->order, b->count);
    for (size_t i = 0; i < b->count; i++)
        wrong += b->ops[i].result != SEALANE_OK || memcmp(b->ops[i].out, b->cipher[i], b->ops[i].len) != 0 ||
                 memcmp(b->tag[i], b->right_tag[i], SEALANE_TAG_MAX) != 0;
    return wrong;
}

/* Some of the sealed messages are changed in a bit of tag or ciphertext. */
static size_t batch_open_wrong(const backend *be, sealane_cipher_id cipher, struct batch *b)
{
    size_t wrong = 0;

    for (size_t i = 0; i < b->count; i++) {
        backend_op *op = &b->ops[i];
        op->in = b->cipher[i];
        op->result = SEALANE_INTERNAL;
        b->forged[i] = prng_below(&b->random, 4) == 0;
        if (b->forged[i] && op->len > 0 && prng_below(&b->random, 2) == 0)
            b->cipher[i][prng_below(&b->random, op->len)] ^= 4;
        else if (b->forged[i])
            b->tag[i][prng_below(&b->random, b->tag_len)] ^= 4;
    }
    be->open_many(cipher, b->order, b->count);
    for (size_t i = 0; i < b->count; i++) {
        const backend_op *op = &b->ops[i];
        if (b->forged[i])
            wrong += op->result != SEALANE_FORGED || !all_zero(op->out, op->len);
        else
            wrong += op->result != SEALANE_OK || memcmp(op->out, b->plain[i], op->len) != 0;
    }
    return wrong;
}

static void check_batches(const backend *be, sealane_cipher_id cipher)
{
    struct batch *b = calloc(1, sizeof(*b));
    size_t wrong = 0;

    CU_ASSERT_PTR_NOT_NULL_FATAL(b);
    b->random.state = 0xba7c4 + cipher;
    b->tag_len = sealane_cipher_get(cipher)->tag_len;
    for (size_t i = 0; i < BATCH_MAX; i++)
        b->out[i] = guarded_new(BATCH_LEN);
    for (size_t i = 0; i < BATCH_KEYS; i++) {
        prng_fill(&b->random, b->keys[i], SEALANE_KEY_MAX);
        b->states[i] = state_new(be, cipher, b->keys[i]);
    }
    for (int round = 0; round < 150; round++) {
        batch_fill(b, cipher, be->appends);
        wrong += batch_seal_wrong(be, cipher, b);
        wrong += batch_open_wrong(be, cipher, b);
    }
    CU_ASSERT_EQUAL(wrong, 0);
    for (size_t i = 0; i < BATCH_KEYS; i++)
        state_free(be, b->states[i]);
    for (size_t i = 0; i < BATCH_MAX; i++)
        guarded_free(&b->out[i]);
    free(b);
}

/* ---- */

static void each_backend(void (*check)(const backend *be, sealane_cipher_id cipher))
{
    for (sealane_cipher_id cipher = 0; cipher < SEALANE_CIPHERS; cipher++) {
        size_t index = 0, ran = 0;
        for (const backend *be; (be = backend_next(&index, cipher)) != NULL; ran++)
            check(be, cipher);
        CU_ASSERT(ran >= 1);
    }
}

static void test_lengths(void)
{
    each_backend(check_lengths);
}
static void test_aad_lengths(void)
{
    each_backend(check_aad_lengths);
}
static void test_flips(void)
{
    each_backend(check_flips);
}
static void test_wipe_in_place(void)
{
    each_backend(check_wipe_in_place);
}
static void test_nothing(void)
{
    each_backend(check_nothing);
}
static void test_batches(void)
{
    each_backend(check_batches);
}

int main(int argc, char **argv)
{
    static const CU_TestInfo tests[] = {
        {"lengths and places equal libcrypto's", test_lengths},
        {"additional data of 0 to 32 bytes", test_aad_lengths},
        {"every flipped bit is refused", test_flips},
        {"a forgery in place is wiped", test_wipe_in_place},
        {"empty messages with NULL buffers", test_nothing},
        {"random batches, forged ones among them", test_batches},
        CU_TEST_INFO_NULL,
    };
    every_length = argc > 1 && strcmp(argv[1], "every") == 0;
    return suite_run("backends", tests);
}
