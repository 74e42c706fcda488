/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A long message up to its ending (vaes_ending.h): turns of sixteen blocks, in which the AES rounds of eight
 * pairs of blocks and the hash of eight others run at the same time.
 *
 * The sealer hashes in each turn what the turn before has encrypted, because the ciphertext of its own is not
 * there until its end; the opener has all ciphertext from the beginning and hashes that of the same turn.
 *
 * It is as if two blocks stood before the data, so that the first turn has only seven pairs. Then the
 * counters of all other turns begin at a multiple of sixteen (vaes_counter.h), and additional data takes the
 * empty place before the first turn's ciphertext in the hash.
 */
#ifndef ENGINE_BACKENDS_VAES_TURN_H
#define ENGINE_BACKENDS_VAES_TURN_H

#include "vaes_ending.h"

static const _Alignas(32) uint8_t turn_numbers[TURN_PAIRS][32] = {
    NUMBERS(0), NUMBERS(2), NUMBERS(4), NUMBERS(6), NUMBERS(8), NUMBERS(10), NUMBERS(12), NUMBERS(14),
};

/* No instruction, but compilers do not move others from one side of it to the other. */
#define MOVE_NOTHING_ACROSS(vector) __asm__ volatile("" : "+x"(vector))

VAES_INLINE void turn_round(__m256i state[TURN_PAIRS], const size_t first, __m256i k)
{
    UNROLL
    for (size_t i = first; i < TURN_PAIRS; i++)
        state[i] = _mm256_aesenc_epi128(state[i], k);
}

/*
 * One AES round on all pairs, and between them the products of one pair of the hash. Both want the same
 * units, which are used best if neither comes in a crowd.
 */
VAES_INLINE void turn_round_hashing(__m256i state[TURN_PAIRS], const size_t first, __m256i k, ghash_sum *sum,
                                    __m256i pair, __m256i powers, __m256i halves)
{
    UNROLL
    for (size_t i = first; i < TURN_PAIRS; i++) {
        state[i] = _mm256_aesenc_epi128(state[i], k);
        if (i == 0 || i == 4)
            MOVE_NOTHING_ACROSS(state[i]);
        if (i == 1)
            ghash_add_low(sum, pair, powers);
        if (i == 3)
            ghash_add_high(sum, pair, powers);
        if (i == 5)
            ghash_add_middle(sum, pair, halves);
    }
}

/*
 * Rounds 1 to 8, and the hash. Its first pair comes last: it holds the reduced hash of the turn before, which
 * takes long to become ready.
 */
VAES_INLINE __m128i turn_rounds_hashing(const gcm_key *key, __m256i state[TURN_PAIRS], const size_t first,
                                        turn_hashed hashed)
{
    ghash_sum sum = ghash_zero();

    UNROLL
    for (uint32_t round = 1; round <= TURN_PAIRS; round++) {
        const size_t i = round % TURN_PAIRS, power = 2 * (TURN_PAIRS - i);

        turn_round_hashing(state, first, round_key(key, round), &sum, turn_hash_pair(&hashed, i),
                           powers_from(key, power), halves_from(key, power));
    }
    return ghash_reduce(&sum);
}

/*
 * One turn: encrypts or decrypts the pairs from `first` on and hashes, before it writes anything to `out`,
 * which may be what is hashed. Returns the hash.
 */
VAES_INLINE __m128i turn(const gcm_key *key, __m128i *counter, const uint8_t *in, uint8_t *out,
                         const size_t first, turn_hashed hashed, const bool hashing)
{
    const __m256i base = base_from_counter(key, *counter);
    __m256i state[TURN_PAIRS], last;
    __m128i hash = _mm_setzero_si128();

    UNROLL
    for (size_t i = first; i < TURN_PAIRS; i++)
        state[i] = numbers_xor(base, turn_numbers[i]);
    *counter = counter_add(*counter, TURN / BLOCK);
    if (hashing) {
        hash = turn_rounds_hashing(key, state, first, hashed);
    } else {
        UNROLL
        for (uint32_t round = 1; round <= TURN_PAIRS; round++)
            turn_round(state, first, round_key(key, round));
    }
    for (uint32_t round = TURN_PAIRS + 1; round < key->aes.rounds; round++)
        turn_round(state, first, round_key(key, round));
    last = round_key(key, LAST_ROUND);
    UNROLL
    for (size_t i = first; i < TURN_PAIRS; i++) {
        const size_t at = (i - first) * PAIR;

        store_pair(out + at, _mm256_aesenclast_epi128(state[i], _mm256_xor_si256(last, load_pair(in + at))));
    }
    return hash;
}

/* Takes a message of more than ENDING_MAX bytes, from what ending_begin() has made of it, to its ending. */
VAES_INLINE void message_turns(ending *end, const uint8_t nonce[SEALANE_NONCE_LEN], const bool sealing)
{
    const gcm_key *key = end->key;
    const uint8_t *in = end->in;
    uint8_t *out = end->out;
    size_t left = end->left, len = TURN - PAIR;
    __m128i counter = counter_begin(nonce), hash;
    turn_hashed hashed = {pair_of(_mm_setzero_si128(), first_of(end->before)), sealing ? out : in};

    hash = turn(key, &counter, in, out, 1, hashed, !sealing);
    for (in += len, out += len, left -= len; left > ENDING_MAX; in += TURN, out += TURN, left -= TURN) {
        if (!sealing)
            hashed = turn_hash_from(in, hash);
        hash = turn(key, &counter, in, out, 0, hashed, true);
        if (sealing)
            hashed = turn_hash_from(out, hash);
    }
    end->base = base_from_counter(key, counter);
    end->number = &ending_numbers[0];
    end->before = pair_of(_mm_setzero_si128(), hash);
    end->turn = hashed;
    end->in = in;
    end->out = out;
    end->left = left;
}

#endif
