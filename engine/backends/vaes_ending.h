/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The ending of a message: what is left of it when that is at most sixteen blocks, with the tag. A short
 * message is all ending. What more there is of a long one is done before, in vaes_turn.h.
 *
 * Endings of several messages can be done side by side, step by step ("lanes"). A short message alone waits
 * for the latency of its AES rounds and then for that of its hash while the units stand idle, and what the
 * CPU can look ahead does not reach from one message's hash to the next one's rounds.
 *
 * The cipher makes a mask for the tag and key stream for the data; the hash (SP 800-38D 7.1 step 5) takes
 * additional data, ciphertext and lengths. So that each pair of blocks meets two neighbouring powers of the
 * hash key, they are paired like this, for n blocks:
 *
 *   cipher:  mask    C1 | C2 C3 | ... | Cn          n even: Cn is hashed with the lengths
 *   hash:    before  C1 | C2 C3 | ... | Cn lengths  n odd: the lengths are hashed alone
 *
 * Sealing and opening are one code, as are all numbers of blocks and of lanes: arguments declared const are
 * constant at each call, and the compiler makes one routine of each combination, without branches but for the
 * last block.
 */
#ifndef ENGINE_BACKENDS_VAES_ENDING_H
#define ENGINE_BACKENDS_VAES_ENDING_H

#include <stdbool.h>
#include "../backend.h"
#include "vaes_aad.h"
#include "vaes_bytes.h"
#include "vaes_counter.h"
#include "vaes_ghash.h"
#include "vaes_key.h"

#define PAIR          (2 * BLOCK)
#define TURN_PAIRS    8
#define TURN          (TURN_PAIRS * PAIR)
#define ENDING_BLOCKS 16
#define ENDING_MAX    (ENDING_BLOCKS * BLOCK)
#define ENDING_PAIRS  (ENDING_BLOCKS / 2 + 1)
#define LANES_MAX     2

/* Loops with constant bounds over vectors in registers; sanitizers want loops, and memory to check. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__) || !defined(__OPTIMIZE__)
#define UNROLL
#elif defined(__clang__)
#define UNROLL _Pragma("clang loop unroll(full)")
#else
#define UNROLL _Pragma("GCC unroll 16")
#endif

/* Two rows of numbers for each pair: a whole message begins in the second, a base that is not 0 in the first.
 */
static const _Alignas(32) uint8_t ending_numbers[ENDING_PAIRS + 1][32] = {
    NUMBERS(-1), NUMBERS(1),  NUMBERS(3),  NUMBERS(5),  NUMBERS(7),
    NUMBERS(9),  NUMBERS(11), NUMBERS(13), NUMBERS(15), NUMBERS(17),
};

/* The ciphertext that a turn hashes. */
typedef struct turn_hashed {
    __m256i first;       /* the first pair, reversed, with the hash of all before it XORed in */
    const uint8_t *rest; /* the other seven */
} turn_hashed;

VAES_INLINE turn_hashed turn_hash_from(const uint8_t *ciphertext, __m128i hash)
{
    return (turn_hashed){
        .first = _mm256_xor_si256(blocks_reverse(load_pair(ciphertext)), _mm256_zextsi128_si256(hash)),
        .rest = ciphertext + PAIR,
    };
}

VAES_INLINE __m256i turn_hash_pair(const turn_hashed *hashed, const size_t i)
{
    return i == 0 ? hashed->first : blocks_reverse(load_pair(hashed->rest + (i - 1) * PAIR));
}

/* Adds the i-th of its pairs. */
VAES_INLINE void turn_hash_add(const gcm_key *key, ghash_sum *sum, const turn_hashed *hashed, const size_t i)
{
    const size_t power = 2 * (TURN_PAIRS - i);

    ghash_add(sum, turn_hash_pair(hashed, i), powers_from(key, power), halves_from(key, power));
}

typedef struct ending {
    __m256i base;     /* see vaes_counter.h */
    __m256i j0;       /* the tag's counter block in the first place */
    __m256i before;   /* reversed: XORed to the first pair of the hash */
    turn_hashed turn; /* of a long message */
    __m128i lengths;  /* reversed */
    const gcm_key *key;
    const uint8_t (*number)[32]; /* of `ending_numbers`, the row of the first pair */
    const uint8_t *in;
    uint8_t *out;
    size_t left;
} ending;

/* The ending that a message is if it is short. */
VAES_INLINE ending ending_begin(const backend_op *op)
{
    const gcm_key *key = op->state;
    const __m256i base = base_from_nonce(key, op->nonce);

    return (ending){
        .key = key,
        .base = base,
        .number = &ending_numbers[1],
        .j0 = numbers_xor(base, ending_numbers[1]),
        .before = _mm256_zextsi128_si256(aad_hash(&key->powers[GCM_POWERS - 1], op->aad, op->aad_len)),
        .lengths = lengths_block(op->aad_len, op->len),
        .in = op->in,
        .out = op->out,
        .left = op->len,
    };
}

VAES_INLINE size_t ending_blocks(size_t left)
{
    return (left + BLOCK - 1) / BLOCK;
}

/* Pairs that the cipher makes for `blocks` blocks and the tag. */
VAES_INLINE size_t ending_pairs(size_t blocks)
{
    return blocks / 2 + 1;
}

VAES_INLINE void ending_counters(const ending *end, __m256i state[ENDING_PAIRS], const size_t blocks)
{
    UNROLL
    for (size_t i = 0; i < ending_pairs(blocks); i++)
        state[i] = numbers_xor(end->base, end->number[i]);
    state[0] = _mm256_blend_epi32(end->j0, state[0], 0xf0);
}

/* Adds the i-th pair of an ending, reversed, to its hash. */
VAES_INLINE void ending_hash(const ending *end, ghash_sum *sum, __m256i pair, const size_t i,
                             const size_t blocks)
{
    const size_t power = blocks + 2 - 2 * i;

    if (i == 0)
        pair = _mm256_xor_si256(pair, end->before);
    ghash_add(sum, pair, powers_from(end->key, power), halves_from(end->key, power));
}

/* Adds the lengths where they are alone. */
VAES_INLINE void ending_hash_lengths(const ending *end, ghash_sum *sum)
{
    ghash_add(sum, _mm256_zextsi128_si256(end->lengths),
              _mm256_zextsi128_si256(end->key->powers[GCM_POWERS - 1]),
              _mm256_zextsi128_si256(end->key->halves[GCM_POWERS - 1]));
}

/*
 * The last AES round. XORing the data into its round key rather than into the key stream takes one step off
 * the way from key stream to hash.
 */
VAES_INLINE __m256i ending_cipher(const ending *end, __m256i state, __m256i data)
{
    return _mm256_aesenclast_epi128(state, _mm256_xor_si256(data, round_key(end->key, LAST_ROUND)));
}

/* The data of the i-th pair, zeros where the mask is. */
VAES_INLINE __m256i ending_load(const ending *end, const size_t i)
{
    if (i > 0)
        return load_pair(end->in + i * PAIR - BLOCK);
    return _mm256_blend_epi32(_mm256_setzero_si256(), _mm256_broadcastsi128_si256(load_block(end->in)), 0xf0);
}

/* How many bytes of the last block there are. */
VAES_INLINE size_t ending_last_len(const ending *end, const size_t blocks)
{
    return end->left - BLOCK * (blocks - 1);
}

/*
 * The last block at the end of sixteen bytes. With other blocks before it they are the last sixteen of the
 * message, and begin with bytes of those.
 */
VAES_INLINE __m128i ending_load_last(const ending *end, const size_t blocks)
{
    if (blocks == 1)
        return slide_to_end(load_up_to_16(end->in, end->left), end->left);
    return load_block(end->in + end->left - BLOCK);
}

/* The last pair of the hash. `first`: the block before the last one, if it is in this pair; `last`: as above.
 */
VAES_INLINE __m256i ending_last_hashed(const ending *end, __m128i first, __m128i last, const size_t blocks)
{
    const __m128i reversed = end_reverse(last, ending_last_len(end, blocks));

    return blocks % 2 == 1 ? pair_of(block_reverse(first), reversed) : pair_of(reversed, end->lengths);
}

/* The opener's hash needs no cipher: the i-th pair of it. */
VAES_INLINE void ending_hash_input(const ending *end, ghash_sum *sum, const size_t i, const size_t blocks)
{
    __m128i first = _mm_setzero_si128();
    __m256i pair;

    if (i < blocks / 2)
        pair = blocks_reverse(ending_load(end, i));
    else if (blocks == 0)
        pair = pair_of(first, end->lengths);
    else {
        if (blocks % 2 == 1 && blocks > 1)
            first = load_block(end->in + BLOCK * (blocks - 2));
        pair = ending_last_hashed(end, first, ending_load_last(end, blocks), blocks);
    }
    ending_hash(end, sum, pair, i, blocks);
}

/* Finishes the i-th pair, of which `data` is all whole blocks. Returns what the cipher made. */
VAES_INLINE __m256i ending_pair(const ending *end, __m256i state, __m256i data, ghash_sum *sum,
                                const size_t i, const size_t blocks, const bool sealing)
{
    const __m256i text = ending_cipher(end, state, data);

    if (i > 0)
        store_pair(end->out + i * PAIR - BLOCK, text);
    else
        store_block(end->out, second_of(text));
    if (sealing) {
        const __m256i hashed = i > 0 ? text : _mm256_blend_epi32(_mm256_setzero_si256(), text, 0xf0);

        ending_hash(end, sum, blocks_reverse(hashed), i, blocks);
    }
    return text;
}

/*
 * Finishes the pair of the last block, which need not be whole. With other blocks before it, the block is
 * loaded and stored as the sixteen bytes that end where the message ends. That stores zeros over the end of
 * the block before, so this is the first store of an ending, and the block before has been loaded by then and
 * is stored after.
 */
VAES_INLINE __m256i ending_last(const ending *end, __m256i state, ghash_sum *sum, const size_t blocks,
                                const bool sealing)
{
    const bool second = blocks % 2 == 1, alone = blocks == 1; /* of its pair; of its message */
    const size_t at = BLOCK * (blocks - 1), len = ending_last_len(end, blocks);
    uint8_t *const out = end->out + at;
    __m128i first = second && !alone ? load_block(end->in + at - BLOCK) : _mm_setzero_si128();
    __m128i last = slide_to_front(ending_load_last(end, blocks), len);
    const __m256i text =
        ending_cipher(end, state, second ? pair_of(first, last) : _mm256_zextsi128_si256(last));

    last = second ? second_of(text) : first_of(text);
    if (alone)
        store_up_to_16(out, len, last);
    last = slide_to_end(last, len);
    if (!alone)
        store_block(out + len - BLOCK, last);
    if (second && !alone) {
        first = first_of(text);
        store_block(out - BLOCK, first);
    }
    if (sealing)
        ending_hash(end, sum, ending_last_hashed(end, first, last, blocks), blocks / 2, blocks);
    return text;
}

VAES_INLINE void endings_round(const ending ends[], __m256i state[LANES_MAX][ENDING_PAIRS],
                               const size_t lanes, const size_t blocks, const uint32_t round)
{
    UNROLL
    for (size_t lane = 0; lane < lanes; lane++) {
        const __m256i k = round_key(ends[lane].key, round);

        UNROLL
        for (size_t i = 0; i < ending_pairs(blocks); i++)
            state[lane][i] = _mm256_aesenc_epi128(state[lane][i], k);
    }
}

/*
 * Hash that can be done between the rounds, because it does not depend on them: the opener's, the lengths
 * where they are alone, and of a long message what its last turn has left.
 */
VAES_INLINE void ending_hash_between(const ending *end, ghash_sum *sum, ghash_sum *turn_sum,
                                     const size_t round, const size_t blocks, const bool sealing,
                                     const bool after_turn)
{
    if (round == 1 && blocks % 2 == 1)
        ending_hash_lengths(end, sum);
    if (!sealing && round <= ending_pairs(blocks))
        ending_hash_input(end, sum, ending_pairs(blocks) - round, blocks);
    if (sealing && after_turn && round <= TURN_PAIRS)
        turn_hash_add(end->key, turn_sum, &end->turn, round % TURN_PAIRS);
}

/*
 * Endings of `lanes` messages of one cipher, each of `blocks` blocks. `tags` receives the tags of their
 * ciphertexts. `after_turn`: end->turn has yet to be hashed.
 */
VAES_INLINE void endings_run(ending ends[], __m128i tags[], const size_t lanes, const size_t blocks,
                             const bool sealing, const bool after_turn)
{
    const size_t last = ending_pairs(blocks) - 1;
    __m256i state[LANES_MAX][ENDING_PAIRS], mask[LANES_MAX], held[LANES_MAX];
    ghash_sum sum[LANES_MAX], turn_sum = ghash_zero();

    UNROLL
    for (size_t lane = 0; lane < lanes; lane++) {
        ending_counters(&ends[lane], state[lane], blocks);
        sum[lane] = ghash_zero();
    }
    UNROLL
    for (uint32_t round = 1; round < 10; round++) {
        endings_round(ends, state, lanes, blocks, round);
        UNROLL
        for (size_t lane = 0; lane < lanes; lane++)
            ending_hash_between(&ends[lane], &sum[lane], &turn_sum, round, blocks, sealing, after_turn);
    }
    if (ends[0].key->aes.rounds > 10) {
        UNROLL
        for (uint32_t round = 10; round < 14; round++)
            endings_round(ends, state, lanes, blocks, round);
    }
    if (sealing && after_turn)
        ends[0].before = pair_of(_mm_setzero_si128(), ghash_reduce(&turn_sum));
    UNROLL
    for (size_t lane = 0; lane < lanes; lane++) {
        if (last > 0)
            held[lane] = ending_load(&ends[lane], last - 1);
        if (blocks > 0)
            mask[lane] = ending_last(&ends[lane], state[lane][last], &sum[lane], blocks, sealing);
        else
            mask[lane] = ending_cipher(&ends[lane], state[lane][0], _mm256_setzero_si256());
        if (blocks == 0 && sealing)
            ending_hash_input(&ends[lane], &sum[lane], 0, 0);
    }
    UNROLL
    for (size_t i = last; i-- > 0;) {
        UNROLL
        for (size_t lane = 0; lane < lanes; lane++) {
            const __m256i data = i + 1 == last ? held[lane] : ending_load(&ends[lane], i);

            mask[lane] = ending_pair(&ends[lane], state[lane][i], data, &sum[lane], i, blocks, sealing);
        }
    }
    UNROLL
    for (size_t lane = 0; lane < lanes; lane++)
        tags[lane] = _mm_xor_si128(first_of(mask[lane]), block_reverse(ghash_reduce(&sum[lane])));
}

#endif
