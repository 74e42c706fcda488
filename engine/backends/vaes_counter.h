/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Counter blocks of AES-GCM (NIST SP 800-38D 6.5, with the nonce of 12 bytes that TLS has), two at a time and
 * already through the first AddRoundKey. Block n of the key stream has the number n in its last four bytes; 1
 * is the tag's (J0 of SP 800-38D 7.1), the data begins with 2.
 *
 * Whoever encrypts sixteen blocks takes a base whose number is a multiple of sixteen: the other numbers are
 * it XOR 1 to 15, which is one operation for two blocks where addition, byte swap and AddRoundKey are three.
 */
#ifndef ENGINE_BACKENDS_VAES_COUNTER_H
#define ENGINE_BACKENDS_VAES_COUNTER_H

#include "../backend.h"
#include "vaes_bytes.h"
#include "vaes_key.h"

/* Rows of two blocks with the numbers n and n + 1, to be XORed to a base. */
#define NUMBERS(n)                                                                                           \
    {                                                                                                        \
        0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, (uint8_t)(n), 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, \
            0, (uint8_t)((n) + 1)                                                                            \
    }

/* For PSHUFB: from a counter that can be added to, in the last four bytes, to the block's order and back. */
static const _Alignas(16) uint8_t order_counter[16] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 15, 14, 13, 12};

VAES_INLINE __m256i numbers_xor(__m256i base, const uint8_t row[32])
{
    return _mm256_xor_si256(base, _mm256_load_si256((const __m256i *)row));
}

/* A nonce with a number of 0 that can be added to. */
VAES_INLINE __m128i counter_begin(const uint8_t nonce[SEALANE_NONCE_LEN])
{
    return _mm_insert_epi32(_mm_loadl_epi64((const __m128i *)nonce), (int)load_u32(nonce + 8), 2);
}

VAES_INLINE __m128i counter_add(__m128i counter, int n)
{
    return _mm_add_epi32(counter, _mm_set_epi32(n, 0, 0, 0));
}

/* The base of a counter. */
VAES_INLINE __m256i base_from_counter(const gcm_key *key, __m128i counter)
{
    const __m128i block = _mm_shuffle_epi8(counter, _mm_load_si128((const __m128i *)order_counter));

    return _mm256_broadcastsi128_si256(_mm_xor_si128(block, key->aes.round_keys[0]));
}

/*
 * The base of a nonce and the number 0. Made of loads that broadcast, and of blends, because moving twelve
 * bytes across lanes would take the units that the cipher needs.
 */
VAES_INLINE __m256i base_from_nonce(const gcm_key *key, const uint8_t nonce[SEALANE_NONCE_LEN])
{
    const __m256i eight = _mm256_set1_epi64x((long long)load_u64(nonce));
    const __m256i four = _mm256_set1_epi32((int)load_u32(nonce + 8));
    const __m256i block =
        _mm256_blend_epi32(_mm256_blend_epi32(eight, four, 0x44), _mm256_setzero_si256(), 0x88);

    return _mm256_xor_si256(block, round_key(key, 0));
}

#endif
