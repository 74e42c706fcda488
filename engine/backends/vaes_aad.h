/* SPDX-License-Identifier: Apache-2.0 */
/* The two ends of what GHASH takes (NIST SP 800-38D 7.1 step 5): additional data, and the block of lengths. */
#ifndef ENGINE_BACKENDS_VAES_AAD_H
#define ENGINE_BACKENDS_VAES_AAD_H

#include <stdint.h>
#include "vaes_bytes.h"
#include "vaes_ghash.h"

#define BLOCK ((size_t)16)

/*
 * Additional data up to, but not including, the multiplication of its last block: with the 5 or 13 bytes that
 * TLS has there is then nothing to be done but to load them.
 */
VAES_INLINE __m128i aad_hash(const __m128i *hash_key, const uint8_t *aad, size_t len)
{
    __m128i hash;

    if (__builtin_expect(len <= BLOCK, 1))
        return block_reverse(load_up_to_16(aad, len));
    for (hash = _mm_setzero_si128(); len > BLOCK; aad += BLOCK, len -= BLOCK) {
        const __m256i h = _mm256_zextsi128_si256(*hash_key);

        hash = _mm_xor_si128(hash, block_reverse(load_block(aad)));
        hash = _mm256_castsi256_si128(ghash_multiply(_mm256_zextsi128_si256(hash), h));
    }
    return _mm_xor_si128(hash, block_reverse(load_up_to_16(aad, len)));
}

/* The block behind the data: both lengths in bits, here in the order of a reversed block. */
VAES_INLINE __m128i lengths_block(size_t aad_len, size_t len)
{
    return _mm_slli_epi64(_mm_set_epi64x((long long)aad_len, (long long)len), 3);
}

#endif
