/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The backend for ChaCha20-Poly1305 (RFC 8439 2.8) on CPUs with AVX-512 and its 52-bit products. The key stream is
 * made in chacha512_stream.h, up to 28 blocks in one run of the rounds: of a long message, of a short one that
 * fits with block 0 for its Poly1305 key, or of several such messages. Long runs of bytes are hashed by
 * chacha512_poly1305.h, the rest by chacha_poly1305.h.
 *
 * A message that opens is hashed before it is decrypted, piece by piece, and wiped if its tag is wrong. No branch
 * and no address depends on a key or a byte of a message.
 */
#include "../backend.h"

#if defined(__x86_64__)

#include <cpuid.h>
#include <stdbool.h>
#include <string.h>
#include "../wipe.h"
#include "../xcr0.h"
#include "chacha512_poly1305.h"
#include "chacha512_stream.h"
#include "chacha_message.h"

#define STREAM_MAX (STREAM_BLOCKS_MAX * STREAM_BLOCK)
#define SHORT_MAX                                                                                            \
    (STREAM_MAX - STREAM_BLOCK) /* what one run of the rounds does: block 0 is not for the bytes */

static const char *chacha512_probe(void)
{
    const unsigned need =
        bit_AVX2 | bit_BMI2 | bit_AVX512F | bit_AVX512BW | bit_AVX512VL | bit_AVX512DQ | bit_AVX512IFMA;
    unsigned a, b, c, d;

    if (!__get_cpuid(1, &a, &b, &c, &d) || (c & bit_OSXSAVE) == 0)
        return "CPU lacks AVX";
    if (!registers_are_saved(XCR0_AVX512))
        return "operating system does not save AVX-512 registers";
    if (!__get_cpuid_count(7, 0, &a, &b, &c, &d) || (b & need) != need)
        return "CPU lacks AVX-512 or its IFMA";
    return NULL;
}

/* ---- The hash of a message ---- */

/* With zeros up to a whole block: RFC 8439 2.8, pad16. */
CHACHA512_INLINE void hash_padded(poly1305 *poly, const uint8_t *data, size_t len)
{
    poly1305_powers powers;
    wide w;
    size_t done = WIDE_STEP;

    if (len < WIDE_MIN) {
        poly1305_padded(poly, data, len);
        return;
    }
    powers_make(&powers, poly);
    w = wide_begin(poly, data);
    for (; len - done >= WIDE_STEP; done += WIDE_STEP)
        wide_step(&w, &powers, data + done);
    wide_finish(poly, &w, &powers, data + done, len - done);
    wipe(&powers, sizeof(powers));
    wipe(&w, sizeof(w));
}

/* ---- Short messages, several in one run ---- */

CHACHA512_INLINE size_t blocks_needed(size_t len)
{
    return 1 + (len + STREAM_BLOCK - 1) / STREAM_BLOCK; /* with block 0 */
}

/* A message of which the key stream, from block 0 on, is there. */
CHACHA512_CODE static void short_finish(backend_op *op, const uint8_t *stream, const bool sealing)
{
    poly1305 poly = poly1305_begin(stream);

    poly1305_padded(&poly, op->aad, op->aad_len);
    if (!sealing)
        hash_padded(&poly, op->in, op->len); /* in place, it is gone after the next line */
    stream_xor(stream + STREAM_BLOCK, op->in, op->out, op->len);
    if (sealing)
        hash_padded(&poly, op->out, op->len);
    message_end(op, &poly, sealing);
}

CHACHA512_INLINE size_t quads_for(size_t blocks)
{
    return (blocks + STREAM_QUAD - 1) / STREAM_QUAD;
}

CHACHA512_INLINE void starts_of_one(quad_start *start, const backend_op *op, size_t quads, uint32_t counter)
{
    start[0] = quad_of_one(op->state, op->nonce, counter);
    for (size_t i = 1; i < quads; i++)
        start[i] = quad_advance(start[i - 1], STREAM_QUAD);
}

/* Block by block; a quad's rows lie in memory as its four blocks' rows one after the other. */
CHACHA512_INLINE void starts_of_many(quad_start *start, backend_op *const ops[], size_t count)
{
    size_t block = 0;

    for (size_t i = 0; i < count; i++) {
        const uint8_t *key = ops[i]->state;
        const __m128i b = row_load(key), c = row_load(key + 16);
        const size_t needed = blocks_needed(ops[i]->len);

        for (uint32_t counter = 0; counter < needed; counter++, block++) {
            quad_start *q = &start[block / STREAM_QUAD];
            ((__m128i *)&q->b)[block % STREAM_QUAD] = b;
            ((__m128i *)&q->c)[block % STREAM_QUAD] = c;
            ((__m128i *)&q->d)[block % STREAM_QUAD] = row_of_counter(ops[i]->nonce, counter);
        }
    }
}

/* Together they need `blocks`, no more than STREAM_BLOCKS_MAX. */
CHACHA512_CODE static void short_run(backend_op *const ops[], size_t count, size_t blocks, const bool sealing)
{
    _Alignas(64) uint8_t stream[STREAM_MAX];
    quad_start start[STREAM_QUADS_MAX];
    const size_t quads = quads_for(blocks);
    size_t at = 0;

    if (count == 1) {
        starts_of_one(start, ops[0], quads, 0);
    } else {
        start[quads - 1] = (quad_start){.b = _mm512_setzero_si512()}; /* of its blocks some may be nobody's */
        starts_of_many(start, ops, count);
    }
    stream_make(start, quads, stream);
    for (size_t i = 0; i < count; at += blocks_needed(ops[i++]->len))
        short_finish(ops[i], stream + at * STREAM_BLOCK, sealing);
    wipe(stream, quads * STREAM_QUAD * STREAM_BLOCK); /* block 0 is the key of the hash: good for a forgery */
    wipe(start, quads * sizeof(start[0]));
}

/* ---- Long messages ---- */

/* The hash of a long message's ciphertext, of which `done` bytes are in it. */
struct hash {
    poly1305 poly;
    poly1305_powers powers;
    wide w;
    const uint8_t *data;
    size_t done, len;
    bool ended;
};

CHACHA512_INLINE void hash_step(struct hash *h)
{
    wide_step(&h->w, &h->powers, h->data + h->done);
    h->done += WIDE_STEP;
}

/* As far as there are whole steps up to `end`. */
CHACHA512_INLINE void hash_follow(struct hash *h, size_t end)
{
    while (h->done + WIDE_STEP <= end)
        hash_step(h);
}

/* Until `end` is in it: with whole steps, or with all that is left. */
CHACHA512_INLINE void hash_cover(struct hash *h, size_t end)
{
    while (h->done < end && h->len - h->done >= WIDE_STEP)
        hash_step(h);
    if (h->ended || (h->done >= end && end < h->len))
        return;
    h->ended = true;
    wide_finish(&h->poly, &h->w, &h->powers, h->data + h->done, h->len - h->done);
    h->done = h->len;
}

CHACHA512_INLINE void long_begin(backend_op *op, struct hash *h, quad_start *start, uint8_t *stream,
                                 const bool sealing)
{
    starts_of_one(start, op, STREAM_QUADS_MAX, 0);
    stream_make(start, STREAM_QUADS_MAX, stream);
    h->poly = poly1305_begin(stream);
    poly1305_padded(&h->poly, op->aad, op->aad_len);
    powers_make(&h->powers, &h->poly);
    if (sealing)
        stream_xor(stream + STREAM_BLOCK, op->in, op->out, SHORT_MAX);
    h->w = wide_begin(&h->poly, h->data);
    h->done = WIDE_STEP;
    if (sealing)
        return;
    hash_cover(h, SHORT_MAX);
    stream_xor(stream + STREAM_BLOCK, op->in, op->out, SHORT_MAX);
}

/* Opening, the hash is ahead of the bytes that are decrypted; sealing, it follows those that are encrypted. */
CHACHA512_INLINE void long_run(backend_op *op, const bool sealing)
{
    _Alignas(64) uint8_t stream[STREAM_MAX];
    quad_start start[STREAM_QUADS_MAX];
    struct hash h = {.data = sealing ? op->out : op->in, .len = op->len};

    long_begin(op, &h, start, stream, sealing);
    for (size_t at = SHORT_MAX, some; at < op->len; at += some) {
        some = op->len - at < STREAM_MAX ? op->len - at : STREAM_MAX;
        for (size_t i = 0; i < STREAM_QUADS_MAX; i++)
            start[i] = quad_advance(start[i], STREAM_BLOCKS_MAX);
        stream_make(start, quads_for((some + STREAM_BLOCK - 1) / STREAM_BLOCK), stream);
        if (!sealing)
            hash_cover(&h, at + some);
        stream_xor(stream, op->in + at, op->out + at, some);
        if (sealing)
            hash_follow(&h, at + some);
    }
    hash_cover(&h, op->len);
    message_end(op, &h.poly, sealing);
    wipe(stream, sizeof(stream));
    wipe(start, sizeof(start));
    wipe(&h, sizeof(h));
}

CHACHA512_INLINE sealane_result message_run(backend_op *op, const bool sealing)
{
    if (op->len > MESSAGE_MAX)
        return op->result = SEALANE_ARGUMENT;
    if (op->len <= SHORT_MAX)
        short_run(&op, 1, blocks_needed(op->len), sealing);
    else
        long_run(op, sealing);
    return op->result;
}

CHACHA512_CODE static sealane_result chacha512_seal(backend_op *op)
{
    return message_run(op, true);
}

CHACHA512_CODE static sealane_result chacha512_open(backend_op *op)
{
    return message_run(op, false);
}

/* Neighbours share a run as long as they fit into it. */
CHACHA512_INLINE void messages_run(backend_op *const ops[], size_t count, const bool sealing)
{
    for (size_t i = 0, some; i < count; i += some) {
        size_t blocks = 0;

        for (some = 0; i + some < count && ops[i + some]->len <= SHORT_MAX; some++) {
            size_t needed = blocks_needed(ops[i + some]->len);
            if (blocks + needed > STREAM_BLOCKS_MAX)
                break;
            blocks += needed;
        }
        if (some > 0) {
            short_run(ops + i, some, blocks, sealing);
            continue;
        }
        (sealing ? chacha512_seal : chacha512_open)(ops[i]);
        some = 1;
    }
}

CHACHA512_CODE static void chacha512_seal_many(sealane_cipher_id cipher, backend_op *const ops[],
                                               size_t count)
{
    (void)cipher;
    messages_run(ops, count, true);
}

CHACHA512_CODE static void chacha512_open_many(sealane_cipher_id cipher, backend_op *const ops[],
                                               size_t count)
{
    (void)cipher;
    messages_run(ops, count, false);
}

const backend backend_chacha512 = {
    .name = "chacha512",
    .probe = chacha512_probe,
    .version = chacha_version,
    .state_size = chacha_state_size,
    .key_init = chacha_key_init,
    .key_clear = chacha_key_clear,
    .seal = chacha512_seal,
    .open = chacha512_open,
    .seal_many = chacha512_seal_many,
    .open_many = chacha512_open_many,
};

#endif
