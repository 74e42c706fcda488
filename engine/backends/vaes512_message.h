/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A message on 512-bit vectors.
 *
 * All of it is one stream of blocks, of which four, a quad, are worked on at once. The first block of the
 * stream is none of the message: the cipher makes the mask of the tag of it (J0 of NIST SP 800-38D 7.1), and
 * the hash takes the additional data in its place. So the first quad has three blocks of data, moved up by one,
 * and both cipher and hash meet every block at the same place:
 *
 *   cipher:  mask    C1 C2 C3 | C4 C5 C6 C7 | ... Cn
 *   hash:    before  C1 C2 C3 | C4 C5 C6 C7 | ... Cn lengths
 *
 * Where the last block closes a quad, the lengths have no room in it and are hashed alone.
 *
 * A stream of up to TAIL_BLOCKS is done in one go, with one reduction of the hash ("tail"). A longer one goes
 * through turns of eight quads first, and then through one of four if there is enough for it; what is left is
 * its tail. In a turn the cipher's rounds on all its quads and the hash are interleaved, so that
 * neither has to wait for its own latency. The sealer hashes in each turn what the turn before has encrypted,
 * because the ciphertext of its own is not there until its end; the opener hashes the turn's own, before it
 * may be overwritten.
 *
 * From turn to turn there are four hashes, one in each lane, of every fourth block, with powers of H^4: to make
 * one hash of them, and to spread it out again, takes longer than a turn does. Of a lane's last block nothing
 * is multiplied yet: so H^4, H^3, H^2 and H^1 for the four lanes join them.
 */
#ifndef ENGINE_BACKENDS_VAES512_MESSAGE_H
#define ENGINE_BACKENDS_VAES512_MESSAGE_H

#include <stdbool.h>
#include "../backend.h"
#include "vaes512_key.h"
#include "vaes_counter.h"

#define QUAD          (4 * BLOCK)
#define TURN_QUADS    8
#define TAIL_BLOCKS   (QUAD_POWERS - 1)
#define TAIL_QUADS    ((TAIL_BLOCKS + 3) / 4)
#define LANES_MAX_512 4
#define PAIR_LEN      (2 * BLOCK)
#define FIRST_BYTES   48 /* of data in the first quad */

/*
 * Sanitizers give each inlined copy of a function room of its own on the stack, which of 38 copies of tails_run()
 * is more than a job of libcrypto's has in all: there is one, not inlined, for them.
 */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__) || !defined(__OPTIMIZE__)
#define UNROLL_QUADS
#define INLINE_UNLESS_SANITIZED __attribute__((noinline)) VAES512_CODE static
#elif defined(__clang__)
#define UNROLL_QUADS            _Pragma("clang loop unroll(full)")
#define INLINE_UNLESS_SANITIZED VAES512_INLINE
#else
#define UNROLL_QUADS            _Pragma("GCC unroll 16")
#define INLINE_UNLESS_SANITIZED VAES512_INLINE
#endif

/* The ciphertext of a turn that is hashed. */
typedef struct turn_hashed {
    __m512i first;       /* the first quad, reversed, in the first turn with additional data XORed in */
    const uint8_t *rest; /* the others */
} turn_hashed;

/* A stream, at the quad that comes next. */
typedef struct quad_stream {
    const quad_key *key;
    const uint8_t *nonce;
    __m128i before;    /* reversed: XORed to its first block in the hash */
    __m128i lengths;   /* reversed */
    __m128i mask;      /* of the tag, once the first quad is done */
    const uint8_t *in; /* the quad's data; what the first one has of it */
    uint8_t *out;
    size_t left;   /* bytes of the stream from there on, with the first quad's first block */
    size_t append; /* 1: the last of them is not at `in`, it is this one */
    uint8_t appended;
    /* Of a long one: */
    __m512i counter;    /* of that quad, its numbers (vaes_counter.h) in a form that can be added to */
    __m512i lanes;      /* the four hashes of all turns that have been hashed */
    turn_hashed hashed; /* of the turn that has not */
} quad_stream;

/* H^4, H^8 ... H^32, each in all lanes. */
typedef struct turn_powers {
    __m512i powers[TURN_QUADS];
    __m512i
        halves[TURN_QUADS / 2]; /* lower half of a lane: of an even one; upper half: of the odd one behind */
} turn_powers;

/* The lowest `count` (up to 64) bits: as many bytes of a quad. */
VAES512_INLINE __mmask64 bytes_up_to(size_t count)
{
    return _bzhi_u64(~(uint64_t)0, (uint32_t)count);
}

/*
 * Loads and stores of some blocks of a quad, the last of which may have fewer bytes than 16 (`len`: of all of
 * them). Not 64 bytes of which most are masked: the CPU takes a masked store for one of all its bytes, and lets
 * what is loaded from behind it, the next record perhaps, wait.
 */
VAES512_INLINE __m512i blocks_load(const uint8_t *from, const size_t blocks, size_t len)
{
    if (blocks == 0)
        return _mm512_setzero_si512();
    if (blocks == 1)
        return _mm512_zextsi128_si512(_mm_maskz_loadu_epi8((__mmask16)bytes_up_to(len), from));
    if (blocks == 2)
        return _mm512_zextsi256_si512(_mm256_maskz_loadu_epi8((__mmask32)bytes_up_to(len), from));
    return _mm512_maskz_loadu_epi8(bytes_up_to(len), from);
}

VAES512_INLINE void blocks_store(uint8_t *to, const size_t blocks, size_t len, __m512i quad)
{
    const __m256i upper = _mm512_extracti64x4_epi64(quad, 1);

    if (blocks > 2)
        store_pair(to, _mm512_castsi512_si256(quad));
    switch (blocks) {
    case 1:
        _mm_mask_storeu_epi8(to, (__mmask16)bytes_up_to(len), _mm512_castsi512_si128(quad));
        break;
    case 2:
        _mm256_mask_storeu_epi8(to, (__mmask32)bytes_up_to(len), _mm512_castsi512_si256(quad));
        break;
    case 3:
        _mm_mask_storeu_epi8(to + PAIR_LEN, (__mmask16)bytes_up_to(len - PAIR_LEN), first_of(upper));
        break;
    case 4:
        _mm256_mask_storeu_epi8(to + PAIR_LEN, (__mmask32)bytes_up_to(len - PAIR_LEN), upper);
        break;
    }
}

/* The first quad: up to three blocks of data behind the one that is none, and back. */
VAES512_INLINE __m512i first_load(const uint8_t *from, const size_t blocks, size_t len)
{
    return _mm512_alignr_epi64(blocks_load(from, blocks, len), _mm512_setzero_si512(), 6);
}

VAES512_INLINE void first_store(uint8_t *to, const size_t blocks, size_t len, __m512i quad)
{
    blocks_store(to, blocks, len, _mm512_alignr_epi64(quad, quad, 2));
}

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

/* aad_hash() of vaes_aad.h; what is short, and all of TLS is, with one load. */
VAES512_INLINE __m128i quad_aad_hash(const quad_key *key, const uint8_t *aad, size_t len)
{
    if (__builtin_expect(len > BLOCK, 0))
        return aad_hash(&key->powers[QUAD_POWERS - 1], aad, len);
    return block_reverse(_mm_maskz_loadu_epi8((__mmask16)((1u << len) - 1), aad));
}

VAES512_INLINE quad_stream quad_stream_begin(const backend_op *op, const bool sealing)
{
    const quad_key *key = op->state;

    return (quad_stream){
        .key = key,
        .nonce = op->nonce,
        .before = quad_aad_hash(key, op->aad, op->aad_len),
        .lengths = lengths_block(op->aad_len, op->len),
        .in = op->in,
        .out = op->out,
        .left = op->len + BLOCK,
        .append = sealing && op->append,
        .appended = sealing ? op->appended : 0,
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
        p.powers[i] =
            _mm512_broadcast_i32x4(i < 4 ? key->powers[QUAD_POWERS - 4 * (i + 1)] : key->strides[7 - i]);
    UNROLL_QUADS
    for (size_t i = 0; i < TURN_QUADS / 2; i++)
        p.halves[i] = _mm512_unpacklo_epi64(quad_halves(p.powers[2 * i]), quad_halves(p.powers[2 * i + 1]));
    return p;
}

/* The i-th quad that is hashed, reversed. */
VAES512_INLINE __m512i turn_hashed_quad(const turn_hashed *hashed, const size_t i)
{
    return i == 0 ? hashed->first : quad_reverse(quad_load(hashed->rest + (i - 1) * QUAD));
}

/*
 * The hash of `quads` quads, in two steps for each multiplication. Step by step it takes the quads in their
 * order, but for the last one, which is only added in the end; the hash of all before them comes last, because
 * it takes long to become ready.
 */
VAES512_INLINE void turn_hash_step(const turn_powers *p, quad_sum *sum, const turn_hashed *hashed,
                                   __m512i before, const size_t quads, const size_t step)
{
    const size_t i = step / 2, power = i + 1 < quads ? quads - 2 - i : quads - 1;
    const __m512i blocks = i + 1 < quads ? turn_hashed_quad(hashed, i) : before;

    if (step % 2 == 0)
        quad_add_outer(sum, blocks, p->powers[power]);
    else
        quad_add_middle(sum, blocks, p->halves[power / 2], power % 2 == 1);
}

VAES512_INLINE __m512i turn_hash_end(const quad_sum *sum, const turn_hashed *hashed, const size_t quads)
{
    return _mm512_xor_si512(quad_reduce_lanes(sum), turn_hashed_quad(hashed, quads - 1));
}

/* A round on all quads of a turn, with up to two steps of the hash among them. */
VAES512_INLINE void turn_round_hashing(const quad_key *key, __m512i state[], const size_t quads,
                                       const uint32_t round, const turn_powers *p, quad_sum *sum,
                                       const turn_hashed *hashed, __m512i before, const size_t hashed_quads)
{
    const __m512i k = quad_round_key(key, round);
    const size_t steps = 2 * hashed_quads, step = hashed_quads / 4 * (round - 1);

    UNROLL_QUADS
    for (size_t i = 0; i < quads; i++) {
        state[i] = _mm512_aesenc_epi128(state[i], k);
        if (i == quads / 2 && step < steps)
            turn_hash_step(p, sum, hashed, before, hashed_quads, step);
    }
    if (hashed_quads == 8 && step + 1 < steps)
        turn_hash_step(p, sum, hashed, before, hashed_quads, step + 1);
}

/*
 * One turn of `quads` quads, the first one or another, that hashes the `hashed_quads` quads that the sealer has
 * in s->hashed (none in the first turn), or the opener's own. Hashes before it stores.
 */
INLINE_UNLESS_SANITIZED void quad_turn(quad_stream *s, const turn_powers *p, const size_t quads,
                                       const size_t hashed_quads, const bool first, const bool sealing)
{
    const __m512i last = quad_round_key(s->key, LAST_ROUND), aad = _mm512_zextsi128_si512(s->before);
    const size_t first_bytes = first ? FIRST_BYTES : QUAD;
    __m512i state[TURN_QUADS], data;
    quad_sum sum = quad_sum_zero();

    data = first ? first_load(s->in, 3, FIRST_BYTES) : quad_load(s->in);
    if (!sealing) {
        s->hashed.first = first ? _mm512_xor_si512(quad_reverse(data), aad) : quad_reverse(data);
        s->hashed.rest = s->in + first_bytes;
    }
    quads_count(s, state, quads);
    UNROLL_QUADS
    for (uint32_t round = 1; round < 10; round++)
        turn_round_hashing(s->key, state, quads, round, p, &sum, &s->hashed, s->lanes, hashed_quads);
    quads_rounds_more(s->key, state, quads);
    if (hashed_quads > 0)
        s->lanes = turn_hash_end(&sum, &s->hashed, hashed_quads);
    UNROLL_QUADS
    for (size_t i = 0; i < quads; i++) {
        const size_t at = i == 0 ? 0 : first_bytes + (i - 1) * QUAD;
        __m512i text;

        if (i > 0)
            data = quad_load(s->in + at);
        text = _mm512_aesenclast_epi128(state[i], _mm512_xor_si512(data, last));
        if (i > 0 || !first) {
            _mm512_storeu_si512(s->out + at, text);
        } else {
            s->mask = _mm512_castsi512_si128(text);
            text = _mm512_maskz_mov_epi64(0xfc, text);
            first_store(s->out, 3, FIRST_BYTES, text);
        }
        if (sealing && i == 0)
            s->hashed.first = first ? _mm512_xor_si512(quad_reverse(text), aad) : quad_reverse(text);
    }
    if (sealing)
        s->hashed.rest = s->out + first_bytes;
    s->in += first_bytes + (quads - 1) * QUAD;
    s->out += first_bytes + (quads - 1) * QUAD;
    s->left -= quads * QUAD;
}

/*
 * Makes one hash of the four, together with what the sealer's last turn has left, a turn of four quads or none:
 * each lane meets its own powers.
 */
VAES512_INLINE void lanes_join(quad_stream *s, const size_t quads)
{
    quad_sum sum = quad_sum_zero();

    UNROLL_QUADS
    for (size_t i = 0; i < quads; i++)
        quad_add(&sum, turn_hashed_quad(&s->hashed, i), quad_powers_from(s->key, 4 * (quads - i)));
    quad_add(&sum, s->lanes, quad_powers_from(s->key, 4 * (quads + 1)));
    s->before = quad_reduce(&sum);
}

/* Hashes half of the turn of eight quads that the sealer has left, so that four are left. */
VAES512_INLINE void turn_hash_half(quad_stream *s, const turn_powers *p)
{
    quad_sum sum = quad_sum_zero();

    UNROLL_QUADS
    for (size_t step = 0; step < 8; step++)
        turn_hash_step(p, &sum, &s->hashed, s->lanes, 4, step);
    s->lanes = turn_hash_end(&sum, &s->hashed, 4);
    s->hashed.first = turn_hashed_quad(&s->hashed, 4);
    s->hashed.rest += 4 * QUAD;
}

/* Takes a stream of more than TAIL_BLOCKS to its tail. */
VAES512_INLINE void turns_run(quad_stream *s, const bool sealing)
{
    const turn_powers p = turn_powers_from(s->key);

    s->counter = quad_counter_begin(s->nonce);
    s->lanes = _mm512_setzero_si512();
    if (s->left <= 4 * QUAD + TAIL_BLOCKS * BLOCK) {
        quad_turn(s, &p, 4, sealing ? 0 : 4, true, sealing);
    } else {
        quad_turn(s, &p, 8, sealing ? 0 : 8, true, sealing);
        while (s->left > 4 * QUAD + TAIL_BLOCKS * BLOCK)
            quad_turn(s, &p, 8, 8, false, sealing);
        if (s->left > TAIL_BLOCKS * BLOCK)
            quad_turn(s, &p, 4, sealing ? 8 : 4, false, sealing);
        else if (sealing)
            turn_hash_half(s, &p);
    }
    lanes_join(s, sealing ? 4 : 0);
}

/* ---- The tail ---- */

VAES512_INLINE size_t tail_blocks(size_t left)
{
    return (left + BLOCK - 1) / BLOCK;
}

/* Quads of a tail of so many blocks; where the i-th one's data is; blocks and bytes of data in it. */
VAES512_INLINE size_t tail_quads(const size_t blocks)
{
    return (blocks + 3) / 4;
}

VAES512_INLINE size_t tail_at(const size_t i, const bool whole)
{
    return i * QUAD - (i > 0 && whole ? BLOCK : 0);
}

VAES512_INLINE size_t tail_blocks_of(const size_t i, const size_t blocks, const bool whole)
{
    const size_t here = i + 1 < tail_quads(blocks) ? 4 : blocks - 4 * i;

    return here - (i == 0 && whole);
}

VAES512_INLINE size_t tail_len(const quad_stream *s, const size_t i, const size_t blocks, const bool whole)
{
    const size_t here = i + 1 < tail_quads(blocks) ? QUAD : s->left - i * QUAD;

    return here - (i == 0 && whole ? BLOCK : 0);
}

VAES512_INLINE __m512i tail_load(const quad_stream *s, const size_t i, const size_t blocks, const bool whole,
                                 const bool sealing)
{
    const size_t here = tail_blocks_of(i, blocks, whole), len = tail_len(s, i, blocks, whole);
    const bool may_append = sealing && i + 1 == tail_quads(blocks);
    const size_t there = may_append ? len - s->append : len, before = i == 0 && whole ? BLOCK : 0;
    __m512i quad;

    if (i == 0 && whole)
        quad = first_load(s->in, here, there);
    else
        quad = blocks_load(s->in + tail_at(i, whole), here, there);
    if (may_append) /* behind a whole quad nothing is: a shift by 64 is undefined */
        quad =
            _mm512_mask_set1_epi8(quad, (__mmask64)s->append << ((before + there) % 64), (char)s->appended);
    return quad;
}

/* Stores what there is of the i-th quad. Returns it for the hash: zeros behind it, and where the mask was. */
VAES512_INLINE __m512i tail_store(const quad_stream *s, const size_t i, const size_t blocks, const bool whole,
                                  __m512i text)
{
    const size_t here = tail_blocks_of(i, blocks, whole), len = tail_len(s, i, blocks, whole);

    if (i == 0 && whole) {
        first_store(s->out, here, len, text);
        return _mm512_maskz_mov_epi8(bytes_up_to(len) << BLOCK, text);
    }
    blocks_store(s->out + tail_at(i, whole), here, len, text);
    return _mm512_maskz_mov_epi8(bytes_up_to(len), text);
}

/* Adds the i-th quad of a tail, reversed, to its hash. The lengths follow the last block, if it leaves room. */
VAES512_INLINE void tail_hash(const quad_stream *s, quad_sum *sum, __m512i quad, const size_t i,
                              const size_t blocks)
{
    if (i == 0)
        quad = _mm512_xor_si512(quad, _mm512_zextsi128_si512(s->before));
    if (i + 1 == tail_quads(blocks) && blocks % 4 != 0)
        quad = _mm512_mask_broadcast_i64x2(quad, (__mmask8)(3u << 2 * (blocks % 4)), s->lengths);
    quad_add(sum, quad, quad_powers_from(s->key, blocks + 1 - 4 * i));
}

/* The sum that a tail's hash begins with: the lengths, if the last block leaves no room for them. */
VAES512_INLINE quad_sum tail_sum_begin(const quad_stream *s, const size_t blocks)
{
    const __m128i h = s->key->powers[QUAD_POWERS - 1];
    const __m128i fold = _mm_xor_si128(s->lengths, _mm_shuffle_epi32(s->lengths, 0x4e));
    const __m128i halves = _mm_xor_si128(h, _mm_shuffle_epi32(h, 0x4e));

    if (blocks % 4 != 0)
        return quad_sum_zero();
    return (quad_sum){
        .low = _mm512_zextsi128_si512(_mm_clmulepi64_si128(s->lengths, h, 0x00)),
        .middle = _mm512_zextsi128_si512(_mm_clmulepi64_si128(fold, halves, 0x00)),
        .high = _mm512_zextsi128_si512(_mm_clmulepi64_si128(s->lengths, h, 0x11)),
    };
}

/*
 * The tails of `lanes` streams, of one cipher and of `blocks` blocks each, step by step side by side. `whole`: the
 * tail is all of its stream. `tags` receives the tags.
 */
INLINE_UNLESS_SANITIZED void tails_run(quad_stream s[], __m128i tags[], const size_t lanes,
                                       const size_t blocks, const bool whole, const bool sealing)
{
    const size_t quads = tail_quads(blocks);
    __m512i state[LANES_MAX_512][TAIL_QUADS], data[LANES_MAX_512][TAIL_QUADS];
    quad_sum sum[LANES_MAX_512];

    UNROLL_QUADS
    for (size_t lane = 0; lane < lanes; lane++) {
        sum[lane] = tail_sum_begin(&s[lane], blocks);
        UNROLL_QUADS
        for (size_t i = 0; i < quads; i++)
            data[lane][i] = tail_load(&s[lane], i, blocks, whole, sealing);
        if (whole)
            quads_count_first(&s[lane], state[lane], quads);
        else
            quads_count(&s[lane], state[lane], quads);
    }
    UNROLL_QUADS
    for (uint32_t round = 1; round < 10; round++) {
        UNROLL_QUADS
        for (size_t lane = 0; lane < lanes; lane++) {
            quads_round(s[lane].key, state[lane], quads, round);
            if (!sealing && round <= quads)
                tail_hash(&s[lane], &sum[lane], quad_reverse(data[lane][quads - round]), quads - round,
                          blocks);
        }
    }
    if (s[0].key->aes.rounds > 10) {
        UNROLL_QUADS
        for (uint32_t round = 10; round < 14; round++) {
            UNROLL_QUADS
            for (size_t lane = 0; lane < lanes; lane++)
                quads_round(s[lane].key, state[lane], quads, round);
        }
    }
    UNROLL_QUADS
    for (size_t i = quads; i-- > 0;) {
        UNROLL_QUADS
        for (size_t lane = 0; lane < lanes; lane++) {
            const __m512i last = _mm512_xor_si512(data[lane][i], quad_round_key(s[lane].key, LAST_ROUND));
            const __m512i text = _mm512_aesenclast_epi128(state[lane][i], last);
            const __m512i sealed = tail_store(&s[lane], i, blocks, whole, text);

            if (i == 0 && whole)
                s[lane].mask = _mm512_castsi512_si128(text);
            if (sealing)
                tail_hash(&s[lane], &sum[lane], quad_reverse(sealed), i, blocks);
        }
    }
    UNROLL_QUADS
    for (size_t lane = 0; lane < lanes; lane++)
        tags[lane] = _mm_xor_si128(s[lane].mask, block_reverse(quad_reduce(&sum[lane])));
}

#endif
