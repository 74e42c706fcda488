/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A message on 512-bit vectors.
 *
 * All of it is one stream of blocks, of which four, a quad, are worked on at once. The first block of the
 * stream is none of the message: the cipher makes the mask of the tag of it (J0 of NIST SP 800-38D 7.1), and
 * the hash takes the additional data in its place. So a quad of data begins 16 bytes before those of the
 * buffers, what is not there is masked away, and both cipher and hash meet every block at the same place:
 *
 *   cipher:  mask    C1 C2 C3 | C4 C5 C6 C7 | ... Cn
 *   hash:    before  C1 C2 C3 | C4 C5 C6 C7 | ... Cn lengths
 *
 * Where the last block closes a quad, the lengths have no room in it and are hashed alone.
 *
 * A stream of up to TAIL_BLOCKS is done in one go, with one reduction of the hash ("tail"). A longer one goes
 * through turns of four quads first; its last 1 to 16 blocks are its tail. Each turn, and the tail, hashes the
 * ciphertext of the turn before, because the sealer has no other, and the opener's would not be faster.
 *
 * From turn to turn there are four hashes, one in each lane, of every fourth block with powers of H^4: to make
 * one hash of them, and to spread it out again, takes longer than all else that one turn waits for. The turn
 * that the tail hashes gives each lane its own power, and thereby joins them.
 */
#ifndef ENGINE_BACKENDS_VAES512_MESSAGE_H
#define ENGINE_BACKENDS_VAES512_MESSAGE_H

#include <stdbool.h>
#include "../backend.h"
#include "vaes512_key.h"
#include "vaes_counter.h"

#define QUAD          (4 * BLOCK)
#define TURN_QUADS    4
#define QUADS_TURN    (TURN_QUADS * QUAD)
#define TAIL_BLOCKS   (QUAD_POWERS - 1)
#define TAIL_QUADS    ((TAIL_BLOCKS + 3) / 4)
#define DATA_OF_FIRST (~(__mmask64)0xffff) /* bytes of the first quad that are data */

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__) || !defined(__OPTIMIZE__)
#define UNROLL_QUADS
#elif defined(__clang__)
#define UNROLL_QUADS _Pragma("clang loop unroll(full)")
#else
#define UNROLL_QUADS _Pragma("GCC unroll 16")
#endif

/* A stream, at the quad that comes next. */
typedef struct quad_stream {
    const quad_key *key;
    const uint8_t *nonce;
    __m512i counter;   /* of that quad, its numbers (vaes_counter.h) in a form that can be added to; of a long
                          stream only */
    __m128i before;    /* reversed: XORed to its first block in the hash */
    __m128i lengths;   /* reversed */
    __m128i mask;      /* of the tag, once the first quad is done */
    uintptr_t in, out; /* where the quad is; an address, since the first one begins before the buffer */
    size_t left;       /* bytes of the stream from there on */
} quad_stream;

/* Ciphertext of a turn, reversed, that has yet to be hashed, with the hash of all before it XORed in. */
typedef struct quad_hashed {
    __m512i quad[TURN_QUADS];
} quad_hashed;

/* What the quads of a turn meet if the next turn goes on in four lanes: H^16, H^12, H^8 and H^4. */
typedef struct turn_powers {
    __m512i powers[TURN_QUADS];
    __m512i halves[TURN_QUADS /
                   2]; /* lower half of a lane: of an even one; upper half: of the odd one behind it */
} turn_powers;

VAES512_INLINE __m512i quad_numbers(const int first)
{
    return _mm512_set_epi32(first + 3, 0, 0, 0, first + 2, 0, 0, 0, first + 1, 0, 0, 0, first, 0, 0, 0);
}

VAES512_INLINE __m512i quad_numbers_add(__m512i counter, const int n)
{
    return _mm512_add_epi32(counter, _mm512_set_epi32(n, 0, 0, 0, n, 0, 0, 0, n, 0, 0, 0, n, 0, 0, 0));
}

VAES512_INLINE __m512i quad_counter_begin(const uint8_t *nonce)
{
    return _mm512_or_si512(_mm512_broadcast_i32x4(counter_begin(nonce)), quad_numbers(1));
}

/* VPTERNLOG's tables: where the first has a bit set the second's, else the third's; two and XOR the third. */
#define CHOOSE       0xca
#define AND_THEN_XOR 0x6a

VAES512_INLINE quad_stream quad_stream_begin(const backend_op *op)
{
    const quad_key *key = op->state;

    return (quad_stream){
        .key = key,
        .nonce = op->nonce,
        .before = aad_hash(&key->powers[QUAD_POWERS - 1], op->aad, op->aad_len),
        .lengths = lengths_block(op->aad_len, op->len),
        .in = (uintptr_t)op->in - BLOCK,
        .out = (uintptr_t)op->out - BLOCK,
        .left = op->len + BLOCK,
    };
}

/*
 * Counter blocks of the first quads after the first AddRoundKey, from nonce and numbers that fit one byte: what
 * base_from_nonce() of vaes_counter.h does. VPTERNLOG puts the nonce together, and takes the round key with it.
 */
VAES512_INLINE void quads_count_first(const quad_stream *s, __m512i state[], const size_t quads)
{
    const __m512i eight = _mm512_set1_epi64((long long)load_u64(s->nonce));
    const __m512i four = _mm512_set1_epi32((int)load_u32(s->nonce + 8));
    const __m512i of_eight = _mm512_set4_epi32(0, 0, -1, -1), of_nonce = _mm512_set4_epi32(0, -1, -1, -1);
    const __m512i nonce = _mm512_ternarylogic_epi32(of_eight, eight, four, CHOOSE);
    const __m512i base = _mm512_ternarylogic_epi32(nonce, of_nonce, quad_round_key(s->key, 0), AND_THEN_XOR);

    UNROLL_QUADS
    for (size_t i = 0; i < quads; i++)
        state[i] = _mm512_xor_si512(base, _mm512_slli_epi32(quad_numbers(4 * (int)i + 1), 24));
}

/* Counter blocks of some quads after the first AddRoundKey, and the counter behind them. */
VAES512_INLINE void quads_count(quad_stream *s, __m512i state[], const size_t quads)
{
    const __m512i order = _mm512_broadcast_i32x4(_mm_load_si128((const __m128i *)order_counter));
    const __m512i k = quad_round_key(s->key, 0);

    UNROLL_QUADS
    for (size_t i = 0; i < quads; i++) {
        state[i] = _mm512_xor_si512(_mm512_shuffle_epi8(s->counter, order), k);
        s->counter = quad_numbers_add(s->counter, 4);
    }
}

VAES512_INLINE void quads_round(const quad_key *key, __m512i state[], const size_t quads,
                                const uint32_t round)
{
    const __m512i k = quad_round_key(key, round);

    UNROLL_QUADS
    for (size_t i = 0; i < quads; i++)
        state[i] = _mm512_aesenc_epi128(state[i], k);
}

/* What rounds a key of 256 bits has more. */
VAES512_INLINE void quads_rounds_more(const quad_key *key, __m512i state[], const size_t quads)
{
    if (key->aes.rounds == 10)
        return;
    UNROLL_QUADS
    for (uint32_t round = 10; round < 14; round++)
        quads_round(key, state, quads, round);
}

VAES512_INLINE turn_powers turn_powers_from(const quad_key *key)
{
    turn_powers p;

    UNROLL_QUADS
    for (size_t i = 0; i < TURN_QUADS; i++)
        p.powers[i] = _mm512_broadcast_i32x4(key->powers[QUAD_POWERS - 16 + 4 * i]);
    UNROLL_QUADS
    for (size_t i = 0; i < TURN_QUADS / 2; i++)
        p.halves[i] = _mm512_unpacklo_epi64(quad_halves(p.powers[2 * i]), quad_halves(p.powers[2 * i + 1]));
    return p;
}

/*
 * The steps in which a turn's hash goes between the rounds of the cipher. Its first quad comes last: it holds
 * the hash of the turn before, which takes long to become ready.
 */
#define TURN_STEPS (2 * TURN_QUADS)

VAES512_INLINE void turn_hash_step(const turn_powers *p, quad_sum *sum, const quad_hashed *hashed,
                                   const size_t step)
{
    const size_t i = TURN_QUADS - 1 - step / 2;

    if (step % 2 == 0)
        quad_add_outer(sum, hashed->quad[i], p->powers[i]);
    else
        quad_add_middle(sum, hashed->quad[i], p->halves[i / 2], i % 2 == 1);
}

/*
 * One turn of the stream, the first one or another, which hashes what the turn before it left in `hashed`.
 * Loads all it needs before it stores.
 */
VAES512_INLINE void quad_turn(quad_stream *s, const turn_powers *p, quad_hashed *hashed, const bool first,
                              const bool sealing)
{
    const __mmask64 bytes = first ? DATA_OF_FIRST : ~(__mmask64)0;
    const __m512i last = quad_round_key(s->key, LAST_ROUND);
    __m512i state[TURN_QUADS], data[TURN_QUADS], before = _mm512_zextsi128_si512(s->before);
    quad_sum sum = quad_sum_zero();

    UNROLL_QUADS
    for (size_t i = 0; i < TURN_QUADS; i++) {
        const void *from = (const void *)(s->in + i * QUAD);

        data[i] = i == 0 && first ? _mm512_maskz_loadu_epi8(bytes, from) : quad_load(from);
    }
    quads_count(s, state, TURN_QUADS);
    UNROLL_QUADS
    for (uint32_t round = 1; round < 10; round++) {
        quads_round(s->key, state, TURN_QUADS, round);
        if (!first && round <= TURN_STEPS)
            turn_hash_step(p, &sum, hashed, round - 1);
    }
    quads_rounds_more(s->key, state, TURN_QUADS);
    if (!first)
        before = quad_reduce_lanes(&sum);
    UNROLL_QUADS
    for (size_t i = 0; i < TURN_QUADS; i++) {
        void *to = (void *)(s->out + i * QUAD);
        __m512i text = _mm512_aesenclast_epi128(state[i], _mm512_xor_si512(data[i], last));

        if (i == 0 && first) {
            s->mask = _mm512_castsi512_si128(text);
            text = _mm512_maskz_mov_epi8(bytes, text);
            _mm512_mask_storeu_epi8(to, bytes, text);
        } else {
            _mm512_storeu_si512(to, text);
        }
        hashed->quad[i] = quad_reverse(sealing ? text : data[i]);
    }
    hashed->quad[0] = _mm512_xor_si512(hashed->quad[0], before);
    s->in += QUADS_TURN;
    s->out += QUADS_TURN;
    s->left -= QUADS_TURN;
}

/* ---- The tail ---- */

VAES512_INLINE size_t tail_blocks(size_t left)
{
    return (left + BLOCK - 1) / BLOCK;
}

/* Bytes of the i-th quad of a tail that are data. */
VAES512_INLINE __mmask64 tail_bytes(const quad_stream *s, const size_t i, const size_t quads,
                                    const bool whole)
{
    const __mmask64 there =
        i + 1 < quads ? ~(__mmask64)0 : _bzhi_u64(~(uint64_t)0, (uint32_t)(s->left - i * QUAD));

    return i == 0 && whole ? there & DATA_OF_FIRST : there;
}

/* Adds the i-th quad of a tail, reversed, to its hash. `room`: the lengths follow in the last one. */
VAES512_INLINE void tail_hash(const quad_stream *s, quad_sum *sum, __m512i blocks, const size_t i,
                              const size_t quads, const bool room)
{
    const size_t count = tail_blocks(s->left);

    if (i == 0)
        blocks = _mm512_xor_si512(blocks, _mm512_zextsi128_si512(s->before));
    if (i + 1 == quads && room)
        blocks = _mm512_mask_broadcast_i64x2(blocks, (__mmask8)(3u << 2 * (count % 4)), s->lengths);
    quad_add(sum, blocks, quad_powers_from(s->key, count + 1 - 4 * i));
}

/* The sum that a tail's hash begins with: the lengths, if they are alone. */
VAES512_INLINE quad_sum tail_sum_begin(const quad_stream *s, const bool room)
{
    const __m128i h = s->key->powers[QUAD_POWERS - 1];
    const __m128i fold = _mm_xor_si128(s->lengths, _mm_shuffle_epi32(s->lengths, 0x4e));
    const __m128i halves = _mm_xor_si128(h, _mm_shuffle_epi32(h, 0x4e));

    if (room)
        return quad_sum_zero();
    return (quad_sum){
        .low = _mm512_zextsi128_si512(_mm_clmulepi64_si128(s->lengths, h, 0x00)),
        .middle = _mm512_zextsi128_si512(_mm_clmulepi64_si128(fold, halves, 0x00)),
        .high = _mm512_zextsi128_si512(_mm_clmulepi64_si128(s->lengths, h, 0x11)),
    };
}

/* Adds one quad of a turn, each block with its own power. */
VAES512_INLINE void tail_hash_turn(const quad_stream *s, quad_sum *sum, const quad_hashed *hashed,
                                   const size_t i)
{
    quad_add(sum, hashed->quad[i], quad_powers_from(s->key, 4 * (TURN_QUADS - i)));
}

/*
 * The tail, of `quads` quads. `whole`: it is all of the stream; else what the last turn left is still to be
 * hashed. Returns the tag.
 */
VAES512_INLINE __m128i tail_run(quad_stream *s, const quad_hashed *hashed, const size_t quads,
                                const bool room, const bool whole, const bool sealing)
{
    const __m512i last = quad_round_key(s->key, LAST_ROUND);
    __m512i state[TAIL_QUADS], data[TAIL_QUADS];
    quad_sum sum = tail_sum_begin(s, room), turn_sum = quad_sum_zero();

    UNROLL_QUADS
    for (size_t i = 0; i < quads; i++)
        data[i] = _mm512_maskz_loadu_epi8(tail_bytes(s, i, quads, whole), (const void *)(s->in + i * QUAD));
    if (whole)
        quads_count_first(s, state, quads);
    else
        quads_count(s, state, quads);
    UNROLL_QUADS
    for (uint32_t round = 1; round < 10; round++) {
        quads_round(s->key, state, quads, round);
        if (!whole && round <= TURN_QUADS)
            tail_hash_turn(s, &turn_sum, hashed, TURN_QUADS - round);
        if (!whole && round == TURN_QUADS)
            s->before = quad_reduce(&turn_sum);
        if (!sealing && round > 9 - quads)
            tail_hash(s, &sum, quad_reverse(data[9 - round]), 9 - round, quads, room);
    }
    quads_rounds_more(s->key, state, quads);
    UNROLL_QUADS
    for (size_t i = quads; i-- > 0;) {
        const __mmask64 bytes = tail_bytes(s, i, quads, whole);
        __m512i text = _mm512_aesenclast_epi128(state[i], _mm512_xor_si512(data[i], last));

        if (i == 0 && whole)
            s->mask = _mm512_castsi512_si128(text);
        _mm512_mask_storeu_epi8((void *)(s->out + i * QUAD), bytes, text);
        if (sealing)
            tail_hash(s, &sum, quad_reverse(_mm512_maskz_mov_epi8(bytes, text)), i, quads, room);
    }
    return _mm_xor_si128(s->mask, block_reverse(quad_reduce(&sum)));
}

#endif
