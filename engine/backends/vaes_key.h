/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One AES-GCM key, expanded: the round keys of AES (FIPS 197 5.2) and the powers of the hash key (NIST SP
 * 800-38D 6.3). Both directions use the same state; nothing in it refers to memory elsewhere, so it may be
 * copied and is wiped by whoever owns its memory.
 */
#ifndef ENGINE_BACKENDS_VAES_KEY_H
#define ENGINE_BACKENDS_VAES_KEY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "vaes_ghash.h"

/* Sixteen blocks of data, the block before them and the block behind them. */
#define GCM_POWERS 18

/* Where the last round key stands, however many there are before it. */
#define LAST_ROUND 14

typedef struct aes_key {
    __m128i round_keys[LAST_ROUND + 1];
    uint32_t rounds; /* 10 or 14 */
} aes_key;

typedef struct gcm_key {
    aes_key aes;
    __m128i powers[GCM_POWERS]; /* H^18 ... H^1: two neighbours load as the pair that two blocks meet */
    __m128i halves[GCM_POWERS]; /* of each power the XOR of its two halves, twice */
} gcm_key;

_Static_assert(sizeof(gcm_key) <= 1024, "an expanded key fits into 1 KB");

/* The same 16 bytes in both lanes. A load that broadcasts costs no more than one that does not. */
VAES_INLINE __m256i load_twice(const __m128i *from)
{
    return _mm256_broadcastsi128_si256(_mm_load_si128(from));
}

VAES_INLINE __m256i round_key(const gcm_key *key, uint32_t round)
{
    return load_twice(&key->aes.round_keys[round]);
}

/* The pair (H^power, H^(power - 1)) and its halves. */
VAES_INLINE __m256i powers_from(const gcm_key *key, size_t power)
{
    return _mm256_loadu_si256((const __m256i *)&key->powers[GCM_POWERS - power]);
}

VAES_INLINE __m256i halves_from(const gcm_key *key, size_t power)
{
    return _mm256_loadu_si256((const __m256i *)&key->halves[GCM_POWERS - power]);
}

/* XORs each word of a round key into all that follow it: the chain w[i] = w[i - Nk] ^ w[i - 1] of FIPS
 * 197 5.2. */
VAES_INLINE __m128i words_chain(__m128i words)
{
    words = _mm_xor_si128(words, _mm_slli_si128(words, 4));
    return _mm_xor_si128(words, _mm_slli_si128(words, 8));
}

/*
 * SubWord of the last word, rotated first if `rotate`, in all four words, with the round constant added.
 * AESENCLAST does it faster than AESKEYGENASSIST, and takes the constant at run time: four equal columns make
 * its ShiftRows do nothing.
 */
VAES_INLINE __m128i last_word_substitute(__m128i words, int rotate, __m128i constant)
{
    const __m128i rotated = _mm_set1_epi32(0x0c0f0e0d), straight = _mm_set1_epi32(0x0f0e0d0c);

    return _mm_aesenclast_si128(_mm_shuffle_epi8(words, rotate ? rotated : straight), constant);
}

VAES_INLINE void round_keys_expand_128(aes_key *key, const uint8_t *bytes)
{
    __m128i words = _mm_loadu_si128((const __m128i *)bytes);
    uint32_t constant = 1;

    key->round_keys[0] = words;
    for (uint32_t i = 1; i <= 10; i++) {
        const __m128i first = last_word_substitute(words, 1, _mm_set1_epi32((int)constant));

        words = _mm_xor_si128(words_chain(words), first);
        key->round_keys[i] = words;
        constant = i == 8 ? 0x1b : constant << 1; /* x^8 in the field of FIPS 197 4.2 */
    }
    key->round_keys[LAST_ROUND] = words;
    key->rounds = 10;
}

VAES_INLINE void round_keys_expand_256(aes_key *key, const uint8_t *bytes)
{
    __m128i even = _mm_loadu_si128((const __m128i *)bytes);
    __m128i odd = _mm_loadu_si128((const __m128i *)(bytes + 16));

    key->round_keys[0] = even;
    key->round_keys[1] = odd;
    for (uint32_t i = 2; i <= 14; i += 2) {
        const __m128i constant = _mm_set1_epi32(1 << (i / 2 - 1));

        even = _mm_xor_si128(words_chain(even), last_word_substitute(odd, 1, constant));
        key->round_keys[i] = even;
        if (i == 14)
            break;
        odd = _mm_xor_si128(words_chain(odd), last_word_substitute(even, 0, _mm_setzero_si128()));
        key->round_keys[i + 1] = odd;
    }
    key->rounds = 14;
}

VAES_INLINE void round_keys_expand(aes_key *key, const uint8_t *bytes, const bool short_key)
{
    if (short_key)
        round_keys_expand_128(key, bytes);
    else
        round_keys_expand_256(key, bytes);
}

/* The hash key, E(K, 0), multiplied by x (see vaes_ghash.h). */
VAES_INLINE __m128i hash_key_derive(const aes_key *key)
{
    const __m128i polynomial = _mm_set_epi64x((long long)0xc200000000000000, 1);
    __m128i h = key->round_keys[0], carry;

    for (uint32_t i = 1; i < key->rounds; i++)
        h = _mm_aesenc_si128(h, key->round_keys[i]);
    h = block_reverse(_mm_aesenclast_si128(h, key->round_keys[LAST_ROUND]));
    /* A shift by one bit over all 128; what falls out at the top comes back as the polynomial, without a
     * branch. */
    carry = _mm_shuffle_epi32(_mm_srai_epi32(h, 31), 0xff);
    h = _mm_or_si128(_mm_slli_epi64(h, 1), _mm_slli_si128(_mm_srli_epi64(h, 63), 8));
    return _mm_xor_si128(h, _mm_and_si128(carry, polynomial));
}

/* Fills in the powers, two at a time: each pair is the pair below it times H^2. */
VAES_INLINE void powers_derive(gcm_key *key)
{
    const __m256i h = _mm256_broadcastsi128_si256(hash_key_derive(&key->aes));
    const __m256i square = ghash_multiply(h, h);
    __m256i pair = _mm256_blend_epi32(square, h, 0xf0);

    for (size_t power = 2; power <= GCM_POWERS; power += 2) {
        _mm256_storeu_si256((__m256i *)&key->powers[GCM_POWERS - power], pair);
        _mm256_storeu_si256((__m256i *)&key->halves[GCM_POWERS - power],
                            _mm256_xor_si256(pair, halves_swap(pair)));
        pair = ghash_multiply(pair, square);
    }
}

#endif
