/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The backend for ChaCha20-Poly1305 (RFC 8439 2.8) on CPUs with AVX2 and BMI2. Short messages go side by
 * side, as many as fit into one run of the rounds; long ones are hashed in the shadow of their own
 * encryption. The key stream is made in chacha_stream.h, the hash in chacha_poly1305.h; here are messages,
 * batches and the table of functions.
 *
 * A message that opens is decrypted before its tag is compared, as in every backend, and wiped if it is
 * wrong.
 */
#include "../backend.h"

#if defined(__x86_64__)

#include <cpuid.h>
#include <stdbool.h>
#include <string.h>
#include "../xcr0.h"
#include "chacha_message.h"
#include "chacha_stream.h"

#define FIRST_LEN (TURN_LEN - STREAM_BLOCK) /* bytes of the first turn: block 0 is not for them */
#define SHORT_MAX FIRST_LEN                 /* what one run of the rounds does */

static const char *chacha_probe(void)
{
    const unsigned need_1c = bit_OSXSAVE | bit_AVX, need_7b = bit_AVX2 | bit_BMI2;
    unsigned a, b, c, d;

    if (!__get_cpuid(1, &a, &b, &c, &d) || (c & need_1c) != need_1c)
        return "CPU lacks AVX";
    if (!registers_are_saved(XCR0_AVX))
        return "operating system does not save AVX registers";
    if (!__get_cpuid_count(7, 0, &a, &b, &c, &d) || (b & need_7b) != need_7b)
        return "CPU lacks AVX2 or BMI2";
    return NULL;
}

/* ---- Parts of a message ---- */

CHACHA_INLINE void vector_xor(const uint8_t *stream, const uint8_t *in, uint8_t *out)
{
    __m256i a = _mm256_loadu_si256((const __m256i *)(const void *)stream);
    __m256i b = _mm256_loadu_si256((const __m256i *)(const void *)in);

    _mm256_storeu_si256((__m256i *)(void *)out, _mm256_xor_si256(a, b));
}

CHACHA_INLINE void block_xor(const uint8_t *stream, const uint8_t *in, uint8_t *out)
{
    __m128i a = _mm_loadu_si128((const __m128i *)(const void *)stream);
    __m128i b = _mm_loadu_si128((const __m128i *)(const void *)in);

    _mm_storeu_si128((__m128i *)(void *)out, _mm_xor_si128(a, b));
}

CHACHA_INLINE void stream_xor(const uint8_t *stream, const uint8_t *in, uint8_t *out, size_t len)
{
    size_t at = 0;

    for (; at + 32 <= len; at += 32)
        vector_xor(stream + at, in + at, out + at);
    if (at + 16 <= len) {
        block_xor(stream + at, in + at, out + at);
        at += 16;
    }
    if (at < len)
        bytes_store(out + at, bytes_load(in + at, len - at) ^ bytes_load(stream + at, len - at), len - at);
}

/* ---- Short messages, several in one run ---- */

CHACHA_INLINE size_t pairs_needed(size_t len)
{
    return (STREAM_BLOCK + len + STREAM_PAIR - 1) / STREAM_PAIR; /* with block 0 */
}

CHACHA_INLINE void sources_make(stream_source *sources, const backend_op *op, size_t pairs)
{
    for (size_t i = 0; i < pairs; i++)
        sources[i] = (stream_source){.key = op->state, .nonce = op->nonce, .counter = (uint32_t)(2 * i)};
}

/* A message of which the key stream, from block 0 on, is there. */
CHACHA_INLINE void short_finish(backend_op *op, const uint8_t *stream, const bool sealing)
{
    poly1305 poly = poly1305_begin(stream);

    poly1305_padded(&poly, op->aad, op->aad_len);
    if (!sealing)
        poly1305_padded(&poly, op->in, op->len); /* in place, it is gone after the next line */
    stream_xor(stream + STREAM_BLOCK, op->in, op->out, op->len);
    if (sealing)
        poly1305_padded(&poly, op->out, op->len);
    message_end(op, &poly, sealing);
}

/* Together they need no more than STREAM_PAIRS_MAX pairs. */
CHACHA_INLINE void short_run(backend_op *const ops[], size_t count, const bool sealing)
{
    uint8_t stream[STREAM_PAIRS_MAX * STREAM_PAIR];
    stream_source sources[STREAM_PAIRS_MAX];
    size_t pairs = 0, at = 0;

    for (size_t i = 0; i < count; pairs += pairs_needed(ops[i++]->len))
        sources_make(sources + pairs, ops[i], pairs_needed(ops[i]->len));
    stream_make(sources, pairs, stream);
    for (size_t i = 0; i < count; at += pairs_needed(ops[i++]->len))
        short_finish(ops[i], stream + at * STREAM_PAIR, sealing);
    explicit_bzero(stream, pairs * STREAM_PAIR); /* block 0 is the key of the hash: good for a forgery */
}

/* ---- Long messages ---- */

/*
 * The first turn gives the key of the hash. In the shadow of the others the hash goes on: opening, over the
 * bytes that the turn is for; sealing, over those of the turn before, which are ciphertext by then. What a
 * turn has left of its bytes when it is not a whole one, and sealing's last turn, come after it.
 */
CHACHA_INLINE void long_run(backend_op *op, const bool sealing)
{
    uint8_t stream[TURN_LEN];
    turn t;
    size_t done = FIRST_LEN, before = FIRST_LEN, some;
    poly1305 poly = {0};

    turn_begin(&t, op->state, op->nonce);
    turn_part(&t, stream, &poly, NULL, 0);
    poly = poly1305_begin(stream);
    poly1305_padded(&poly, op->aad, op->aad_len);
    if (!sealing)
        poly1305_padded(&poly, op->in, FIRST_LEN);
    stream_xor(stream + STREAM_BLOCK, op->in, op->out, FIRST_LEN);
    for (; done < op->len; done += some, before = some) {
        const uint8_t *hashed = sealing ? op->out + done - before : op->in + done;
        some = op->len - done < TURN_LEN ? op->len - done : TURN_LEN;
        if (some == TURN_LEN && (!sealing || before == TURN_LEN)) {
            turn_full(&t, op->in + done, op->out + done, &poly, hashed);
            continue;
        }
        turn_part(&t, stream, &poly, hashed, (sealing ? before : some) / POLY1305_BLOCK);
        if (!sealing)
            poly1305_padded(&poly, op->in + done + some - some % POLY1305_BLOCK, some % POLY1305_BLOCK);
        stream_xor(stream, op->in + done, op->out + done, some);
    }
    if (sealing)
        poly1305_padded(&poly, op->out + op->len - before, before);
    message_end(op, &poly, sealing);
    explicit_bzero(stream, sizeof(stream));
    explicit_bzero(&t, sizeof(t));
    explicit_bzero(&poly, sizeof(poly));
}

CHACHA_INLINE sealane_result message_run(backend_op *op, const bool sealing)
{
    if (op->len > MESSAGE_MAX)
        return op->result = SEALANE_ARGUMENT;
    if (op->len <= SHORT_MAX)
        short_run(&op, 1, sealing);
    else
        long_run(op, sealing);
    return op->result;
}

CHACHA_CODE static sealane_result chacha_seal(backend_op *op)
{
    return message_run(op, true);
}

CHACHA_CODE static sealane_result chacha_open(backend_op *op)
{
    return message_run(op, false);
}

/* Neighbours share a run as long as they fit into it. */
CHACHA_INLINE void messages_run(backend_op *const ops[], size_t count, const bool sealing)
{
    for (size_t i = 0, some; i < count; i += some) {
        size_t pairs = 0;
        for (some = 0; i + some < count && ops[i + some]->len <= SHORT_MAX; some++) {
            pairs += pairs_needed(ops[i + some]->len);
            if (pairs > STREAM_PAIRS_MAX)
                break;
        }
        if (some > 0) {
            short_run(ops + i, some, sealing);
            continue;
        }
        (sealing ? chacha_seal : chacha_open)(ops[i]);
        some = 1;
    }
}

CHACHA_CODE static void chacha_seal_many(sealane_cipher_id cipher, backend_op *const ops[], size_t count)
{
    (void)cipher;
    messages_run(ops, count, true);
}

CHACHA_CODE static void chacha_open_many(sealane_cipher_id cipher, backend_op *const ops[], size_t count)
{
    (void)cipher;
    messages_run(ops, count, false);
}

const backend backend_chacha = {
    .name = "chacha",
    .probe = chacha_probe,
    .version = chacha_version,
    .state_size = chacha_state_size,
    .key_init = chacha_key_init,
    .key_clear = chacha_key_clear,
    .seal = chacha_seal,
    .open = chacha_open,
    .seal_many = chacha_seal_many,
    .open_many = chacha_open_many,
};

#endif
