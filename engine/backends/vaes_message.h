/* SPDX-License-Identifier: Apache-2.0 */
/*
 * AES-GCM of whole messages (NIST SP 800-38D 7.1, 7.2) on vectors of two blocks. A message is done in turns
 * of sixteen blocks while more than that is left, and then in an ending of up to sixteen blocks that carries
 * the tag with it. The ending is written for several messages side by side: alone, a short message waits for
 * the latency of ten or fourteen AES rounds and of the hash behind them, while the units that do the work are
 * idle most of the time. vaes.c decides which messages go together.
 *
 * Names: a "pair" is a vector of two blocks, the first in the lower lane. Sealing and opening are one code
 * with a constant argument; the compiler makes two of it.
 */
#ifndef ENGINE_BACKENDS_VAES_MESSAGE_H
#define ENGINE_BACKENDS_VAES_MESSAGE_H

#include <stdbool.h>
#include "../backend.h"
#include "vaes_bytes.h"
#include "vaes_key.h"

#define BLOCK      16
#define PAIR       (2 * (size_t)BLOCK)
#define TURN_PAIRS 8
#define TURN       (TURN_PAIRS * PAIR)
/* Pairs of counter blocks in the longest ending: sixteen for data and one for the tag. */
#define ENDING_PAIRS 9
/* Messages side by side. */
#define LANES_MAX 4

#if defined(__clang__)
#define UNROLL _Pragma("clang loop unroll(full)")
#else
#define UNROLL _Pragma("GCC unroll 16")
#endif

/* No instruction, but compilers do not move others from one side of it to the other. */
#define MOVE_NOTHING_ACROSS(vector) __asm__ volatile("" : "+x"(vector))

/*
 * Counter blocks (SP 800-38D 6.5). Block n of the key stream has the number n; 1 is the tag's (J0 of 7.1),
 * the data begins with 2. A turn encrypts the numbers 16 t to 16 t + 15, so only the first of them is added
 * up, and the others are it XOR 0 to 15: one operation each, where adding, swapping bytes and AddRoundKey
 * would be three.
 */
#define NUMBERS(n)                                                                                           \
    0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, n, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, n + 1
static const _Alignas(32) uint8_t numbers[ENDING_PAIRS + 1][PAIR] = {
    {NUMBERS(0)},  {NUMBERS(2)},  {NUMBERS(4)},  {NUMBERS(6)},  {NUMBERS(8)},
    {NUMBERS(10)}, {NUMBERS(12)}, {NUMBERS(14)}, {NUMBERS(16)}, {NUMBERS(18)},
};

/* For PSHUFB: between a counter that can be added to, in the last four bytes, and the block's order. */
static const _Alignas(16) uint8_t order_counter[16] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 15, 14, 13, 12};

VAES_INLINE __m256i numbers_from(const uint8_t from[PAIR])
{
    return _mm256_load_si256((const __m256i *)from);
}

/* The counter block of `counter`, which is in the CPU's byte order, twice, and through the first AddRoundKey.
 */
VAES_INLINE __m256i counter_encode(const gcm_key *key, __m128i counter)
{
    const __m128i block = _mm_shuffle_epi8(counter, _mm_load_si128((const __m128i *)order_counter));

    return _mm256_broadcastsi128_si256(_mm_xor_si128(block, key->round_keys[0]));
}

/* What is left of a message when at most TURN bytes of it are. */
typedef struct ending {
    const gcm_key *key;
    __m128i counter;       /* nonce, and a number in the CPU's byte order that `number` is XORed to */
    const uint8_t *number; /* of the first two blocks: a row of `numbers` */
    __m128i hash;          /* reversed: what stands before the data, still to be multiplied */
    size_t hash_power;     /* by this power of H, beyond one for each block of data */
    __m128i lengths;       /* reversed: the block behind the data */
    const uint8_t *in;
    uint8_t *out;
    size_t left;
} ending;

/* The nonce with a counter of 0. */
VAES_INLINE __m128i nonce_load(const uint8_t nonce[SEALANE_NONCE_LEN])
{
    return _mm_set_epi64x((long long)(uint64_t)load_u32(nonce + 8), (long long)load_u64(nonce));
}

/*
 * Additional data up to, but not including, the multiplication of its last block: with the 5 or 13 bytes that
 * TLS has there is then nothing to be done but to load them, and their product goes with those of the data.
 */
VAES_INLINE __m128i aad_hash(const gcm_key *key, const uint8_t *aad, size_t len)
{
    __m128i hash = _mm_setzero_si128();
    const __m256i h = _mm256_castsi128_si256(key->powers[GCM_POWERS - 1]);

    for (; len > BLOCK; aad += BLOCK, len -= BLOCK) {
        hash = _mm_xor_si128(hash, block_reverse(load_block(aad)));
        hash = first_of(ghash_multiply(_mm256_zextsi128_si256(hash), h));
    }
    return _mm_xor_si128(hash, block_reverse(load_up_to_16(aad, len)));
}

/* SP 800-38D 7.1 step 5: both lengths in bits, here in the order of a reversed block. */
VAES_INLINE __m128i lengths_block(size_t aad_len, size_t len)
{
    return _mm_set_epi64x((long long)(8 * (uint64_t)aad_len), (long long)(8 * (uint64_t)len));
}

/*
 * One AES round on all pairs of a turn, and between them the products of one pair of hashed blocks: both
 * compete for the same units, and these are used best if neither comes in a crowd.
 */
VAES_INLINE void turn_round(__m256i state[TURN_PAIRS], const size_t first, __m256i k, ghash_sum *sum,
                            __m256i blocks, __m256i powers, __m256i halves)
{
    UNROLL
    for (size_t i = first; i < TURN_PAIRS; i++) {
        state[i] = _mm256_aesenc_epi128(state[i], k);
        if (i == 0 || i == 4)
            MOVE_NOTHING_ACROSS(state[i]);
        if (i == 1)
            ghash_add_low(sum, blocks, powers);
        if (i == 3)
            ghash_add_high(sum, blocks, powers);
        if (i == 5)
            ghash_add_middle(sum, blocks, halves);
    }
}

/*
 * One turn: encrypts the pairs from `first` on and, between the rounds, hashes the ciphertext of eight pairs:
 * the opener's own input, the sealer's output of the turn before. The first of these pairs, reversed, is
 * `pair` and holds the hash of all before; the others are read from `hashed`, before anything is written to
 * `out`, which may overlap.
 */
VAES_INLINE __m128i turn(const gcm_key *key, __m128i *counter, const uint8_t *in, uint8_t *out, __m256i pair,
                         const uint8_t *hashed, const size_t first, const bool hashing)
{
    const __m256i base = counter_encode(key, *counter);
    __m256i state[TURN_PAIRS], last;
    __m128i hash = _mm_setzero_si128();
    ghash_sum sum = ghash_zero();
    uint32_t round = 1;

    UNROLL
    for (size_t i = first; i < TURN_PAIRS; i++)
        state[i] = _mm256_xor_si256(base, numbers_from(numbers[i]));
    *counter = _mm_add_epi32(*counter, _mm_set_epi32(TURN / BLOCK, 0, 0, 0));
    if (hashing) {
        UNROLL
        for (; round <= TURN_PAIRS; round++) {
            const size_t i = round % TURN_PAIRS, power = TURN / BLOCK - 2 * i;
            const __m256i blocks = i > 0 ? blocks_reverse(load_pair(hashed + (i - 1) * PAIR)) : pair;

            turn_round(state, first, round_key(key, round), &sum, blocks, powers_from(key, power),
                       halves_from(key, power));
        }
        hash = ghash_reduce(&sum);
    }
    for (; round < key->rounds; round++) {
        const __m256i k = round_key(key, round);

        UNROLL
        for (size_t i = first; i < TURN_PAIRS; i++)
            state[i] = _mm256_aesenc_epi128(state[i], k);
    }
    last = round_key(key, key->rounds);
    UNROLL
    for (size_t i = first; i < TURN_PAIRS; i++) {
        const size_t at = (i - first) * PAIR;

        store_pair(out + at, _mm256_aesenclast_epi128(state[i], _mm256_xor_si256(last, load_pair(in + at))));
    }
    return hash;
}

/* The hash of one turn's ciphertext by itself. */
VAES_INLINE __m128i turn_hash(const gcm_key *key, __m256i pair, const uint8_t *hashed)
{
    ghash_sum sum = ghash_zero();

    UNROLL
    for (size_t i = 0; i < TURN_PAIRS; i++) {
        const size_t power = TURN / BLOCK - 2 * i;

        if (i > 0)
            pair = blocks_reverse(load_pair(hashed + (i - 1) * PAIR));
        ghash_add(&sum, pair, powers_from(key, power), halves_from(key, power));
    }
    return ghash_reduce(&sum);
}

/* The pair that begins the hash of a turn at `from`. */
VAES_INLINE __m256i turn_pair(const uint8_t *from, __m128i hash)
{
    return _mm256_xor_si256(blocks_reverse(load_pair(from)), _mm256_zextsi128_si256(hash));
}

/* A message before its first byte: what its ending would be if it were short. */
VAES_INLINE ending message_begin(const backend_op *op)
{
    const gcm_key *key = op->state;

    return (ending){
        .key = key,
        .counter = nonce_load(op->nonce),
        .number = numbers[1],
        .hash = aad_hash(key, op->aad, op->aad_len),
        .hash_power = 2,
        .lengths = lengths_block(op->aad_len, op->len),
        .in = op->in,
        .out = op->out,
        .left = op->len,
    };
}

/*
 * Takes a message of more than TURN bytes to its ending. As if two blocks stood before the data, the first
 * turn has seven pairs only: then the numbers of all others begin at a multiple of sixteen, and the
 * additional data takes the empty place before the ciphertext in the hash.
 */
VAES_INLINE void message_turns(ending *end, const bool sealing)
{
    const size_t first = TURN - PAIR;
    const gcm_key *key = end->key;
    const uint8_t *in = end->in, *hashed = sealing ? end->out : end->in;
    uint8_t *out = end->out;
    size_t left = end->left;
    __m128i counter = end->counter;
    __m256i pair = pair_of(_mm_setzero_si128(), end->hash);
    __m128i hash = turn(key, &counter, in, out, pair, hashed, 1, !sealing);

    for (in += first, out += first, left -= first; left > TURN; in += TURN, out += TURN, left -= TURN) {
        if (!sealing) {
            pair = turn_pair(in, hash);
            hashed = in + PAIR;
        }
        hash = turn(key, &counter, in, out, pair, hashed, 0, true);
        if (sealing) {
            pair = turn_pair(out, hash);
            hashed = out + PAIR;
        }
    }
    if (sealing)
        hash = turn_hash(key, pair, hashed);
    end->counter = counter;
    end->number = numbers[0];
    end->hash = hash;
    end->hash_power = 1;
    end->in = in;
    end->out = out;
    end->left = left;
}

/* Pairs of counter blocks that an ending of `left` bytes takes: its own, and one block for the tag. */
VAES_INLINE size_t ending_pairs(size_t left)
{
    return (left + BLOCK - 1) / BLOCK / 2 + 1;
}

/*
 * The counter blocks of an ending. The tag's is the second of the last pair, which the data never uses: the
 * slot would be idle.
 */
VAES_INLINE void ending_counters(const ending *end, __m256i state[ENDING_PAIRS], const size_t pairs)
{
    const __m256i base = counter_encode(end->key, end->counter);
    const __m256i j0 = counter_encode(end->key, _mm_insert_epi32(end->counter, 1, 3));

    UNROLL
    for (size_t i = 0; i < pairs; i++)
        state[i] = _mm256_xor_si256(base, numbers_from(end->number + i * PAIR));
    state[pairs - 1] = _mm256_blend_epi32(state[pairs - 1], j0, 0xf0);
}

/*
 * Data, hash and tag of an ending whose counter blocks have been through all rounds but the last. XORing the
 * data into the last round key rather than into the key stream takes one step off the way from key stream to
 * hash.
 */
VAES_INLINE __m128i ending_finish(const ending *end, const __m256i state[ENDING_PAIRS], const size_t pairs,
                                  const bool sealing)
{
    const gcm_key *key = end->key;
    const __m256i last_key = round_key(key, key->rounds);
    const size_t left = end->left, blocks = (left + BLOCK - 1) / BLOCK;
    const bool odd = blocks % 2 != 0; /* the last block stands in the last pair, with the tag's */
    const size_t partial = left - BLOCK * (blocks - (blocks > 0)); /* bytes of the last block */
    const __m128i *powers = &key->powers[GCM_POWERS - 1 - blocks],
                  *halves = &key->halves[GCM_POWERS - 1 - blocks];
    ghash_sum sum = ghash_zero();
    __m256i tail, stream;
    __m128i last = _mm_setzero_si128(), result;

    ghash_add(&sum, pair_of(end->hash, end->lengths),
              pair_of(key->powers[GCM_POWERS - end->hash_power - blocks], key->powers[GCM_POWERS - 1]),
              pair_of(key->halves[GCM_POWERS - end->hash_power - blocks], key->halves[GCM_POWERS - 1]));

    /* The last block, and the pair before it or around it, are loaded before anything is stored. */
    if (pairs == 1) {
        last = load_up_to_16(end->in, left);
        tail = _mm256_zextsi128_si256(last);
    } else {
        last = slide_to_front(load_block(end->in + left - BLOCK), partial);
        tail = _mm256_zextsi128_si256(odd ? last : _mm_setzero_si128());
    }
    stream = _mm256_aesenclast_epi128(state[pairs - 1], _mm256_xor_si256(tail, last_key));

    if (pairs == 1) {
        const __m128i text = first_of(stream);

        store_up_to_16(end->out, left, text);
        if (sealing)
            last = slide_to_front(slide_to_end(text, left), left);
        tail = _mm256_zextsi128_si256(last);
    } else {
        uint8_t *const out = end->out + (pairs - 2) * PAIR;
        const uint8_t *const in = end->in + (pairs - 2) * PAIR;
        const __m256i data = odd ? load_pair(in) : pair_of(load_block(in), last);
        const __m256i text = _mm256_aesenclast_epi128(state[pairs - 2], _mm256_xor_si256(data, last_key));
        const __m128i at_end = slide_to_end(odd ? first_of(stream) : second_of(text), partial);

        /* Ends where the message ends, and writes zeros before the last block that are overwritten at once.
         */
        store_block(end->out + left - BLOCK, at_end);
        if (odd)
            store_pair(out, text);
        else
            store_block(out, first_of(text));
        if (sealing)
            last = slide_to_front(at_end, partial);
        tail = sealing ? text : data;
        if (!odd)
            tail = pair_of(first_of(tail), last);
        ghash_add(&sum, blocks_reverse(tail), _mm256_loadu_si256((const __m256i *)(powers + 2 * (pairs - 2))),
                  _mm256_loadu_si256((const __m256i *)(halves + 2 * (pairs - 2))));
        tail = _mm256_zextsi128_si256(odd ? last : _mm_setzero_si128());
    }
    if (odd)
        ghash_add(&sum, blocks_reverse(tail),
                  _mm256_loadu_si256((const __m256i *)&key->powers[GCM_POWERS - 2]),
                  _mm256_loadu_si256((const __m256i *)&key->halves[GCM_POWERS - 2]));

    UNROLL
    for (size_t i = 0; i + 2 < pairs; i++) {
        const __m256i data = load_pair(end->in + i * PAIR);
        const __m256i text = _mm256_aesenclast_epi128(state[i], _mm256_xor_si256(data, last_key));

        store_pair(end->out + i * PAIR, text);
        ghash_add(&sum, blocks_reverse(sealing ? text : data),
                  _mm256_loadu_si256((const __m256i *)(powers + 2 * i)),
                  _mm256_loadu_si256((const __m256i *)(halves + 2 * i)));
    }
    result = block_reverse(ghash_reduce(&sum));
    return _mm_xor_si128(result, second_of(stream));
}

/*
 * The endings of `lanes` messages of one cipher, all of `pairs` pairs of counter blocks, round by round next
 * to each other. `tags` receives the tag that each message's ciphertext has.
 */
VAES_INLINE void endings_run(const ending ends[], __m128i tags[], const size_t lanes, const size_t pairs,
                             const bool sealing)
{
    __m256i state[LANES_MAX][ENDING_PAIRS];
    const uint32_t rounds = ends[0].key->rounds;

    UNROLL
    for (size_t lane = 0; lane < lanes; lane++)
        ending_counters(&ends[lane], state[lane], pairs);
    for (uint32_t round = 1; round < rounds; round++) {
        UNROLL
        for (size_t lane = 0; lane < lanes; lane++) {
            const __m256i k = round_key(ends[lane].key, round);

            UNROLL
            for (size_t i = 0; i < pairs; i++)
                state[lane][i] = _mm256_aesenc_epi128(state[lane][i], k);
        }
    }
    UNROLL
    for (size_t lane = 0; lane < lanes; lane++)
        tags[lane] = ending_finish(&ends[lane], state[lane], pairs, sealing);
}

#endif
