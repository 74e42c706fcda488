/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One AES-GCM key, expanded for 512-bit vectors, and GHASH on four blocks at a time; how the hash is computed
 * is told in vaes_ghash.h. As there, nothing in a key refers to memory elsewhere.
 */
#ifndef ENGINE_BACKENDS_VAES512_KEY_H
#define ENGINE_BACKENDS_VAES512_KEY_H

#include <stddef.h>
#include <stdint.h>
#include "vaes_aad.h"
#include "vaes_bytes.h"
#include "vaes_ghash.h"
#include "vaes_key.h"

#define VAES512_CODE                                                                                         \
    __attribute__((target("avx2,bmi2,aes,pclmul,vaes,vpclmulqdq,avx512f,avx512bw,avx512dq,avx512vl")))
#define VAES512_INLINE static inline __attribute__((always_inline)) VAES512_CODE

/* Five quads. */
#define QUAD_POWERS 20

typedef struct quad_key {
    aes_key aes;
    __m128i powers[QUAD_POWERS]; /* H^20 ... H^1: four neighbours load as what four blocks meet */
    __m128i zeros[3];            /* what the places behind the last block meet */
    __m128i strides[4];          /* H^32, H^28, H^24, H^20: see vaes512_message.h */
} quad_key;

VAES512_INLINE __m512i quad_load(const void *from)
{
    return _mm512_loadu_si512(from);
}

/* The same 16 bytes in all lanes. */
VAES512_INLINE __m512i quad_round_key(const quad_key *key, uint32_t round)
{
    return _mm512_broadcast_i32x4(_mm_load_si128(&key->aes.round_keys[round]));
}

VAES512_INLINE __m512i quad_halves_swap(__m512i x)
{
    return _mm512_shuffle_epi32(x, 0x4e);
}

VAES512_INLINE __m512i quad_reverse(__m512i blocks)
{
    return _mm512_shuffle_epi8(blocks,
                               _mm512_broadcast_i32x4(_mm_load_si128((const __m128i *)order_reversed)));
}

/* H^power, H^(power - 1) and the two below. */
VAES512_INLINE __m512i quad_powers_from(const quad_key *key, size_t power)
{
    return quad_load((const uint8_t *)key->powers + (QUAD_POWERS - power) * BLOCK);
}

#define XOR_OF_THREE 0x96 /* VPTERNLOG's table */

/* A sum of products, not yet reduced, in each lane: low + middle * x^64 + high * x^128. */
typedef struct quad_sum {
    __m512i low, middle, high;
} quad_sum;

VAES512_INLINE quad_sum quad_sum_zero(void)
{
    const __m512i zero = _mm512_setzero_si512();

    return (quad_sum){zero, zero, zero};
}

/* SUM_HERE of vaes_ghash.h, for all 32 registers. */
#define QUAD_SUM_HERE(sum) __asm__("" : "+v"(sum))

VAES512_INLINE void quad_add_outer(quad_sum *sum, __m512i blocks, __m512i powers)
{
    sum->low = _mm512_xor_si512(sum->low, _mm512_clmulepi64_epi128(blocks, powers, 0x00));
    QUAD_SUM_HERE(sum->low);
    sum->high = _mm512_xor_si512(sum->high, _mm512_clmulepi64_epi128(blocks, powers, 0x11));
    QUAD_SUM_HERE(sum->high);
}

/* `halves` holds, in the half of each lane that `upper` says, the XOR of the power's two. */
VAES512_INLINE void quad_add_middle(quad_sum *sum, __m512i blocks, __m512i halves, const bool upper)
{
    const __m512i folded = _mm512_xor_si512(blocks, quad_halves_swap(blocks));

    sum->middle = _mm512_xor_si512(sum->middle, upper ? _mm512_clmulepi64_epi128(folded, halves, 0x10)
                                                      : _mm512_clmulepi64_epi128(folded, halves, 0x00));
    QUAD_SUM_HERE(sum->middle);
}

VAES512_INLINE __m512i quad_halves(__m512i powers)
{
    return _mm512_xor_si512(powers, quad_halves_swap(powers));
}

/* Adds blocks * powers, lane by lane. */
VAES512_INLINE void quad_add(quad_sum *sum, __m512i blocks, __m512i powers)
{
    quad_add_outer(sum, blocks, powers);
    quad_add_middle(sum, blocks, quad_halves(powers), false);
}

/* ghash_reduce_lanes() of vaes_ghash.h. */
VAES512_INLINE __m512i quad_reduce_lanes(const quad_sum *sum)
{
    const __m512i polynomial = _mm512_set1_epi64((long long)ghash_polynomial[0]);
    __m512i middle = _mm512_ternarylogic_epi64(sum->middle, sum->low, sum->high, XOR_OF_THREE);

    middle = _mm512_ternarylogic_epi64(middle, quad_halves_swap(sum->low),
                                       _mm512_clmulepi64_epi128(sum->low, polynomial, 0x00), XOR_OF_THREE);
    return _mm512_ternarylogic_epi64(sum->high, quad_halves_swap(middle),
                                     _mm512_clmulepi64_epi128(middle, polynomial, 0x00), XOR_OF_THREE);
}

VAES512_INLINE __m256i quad_fold(__m512i x)
{
    return _mm256_xor_si256(_mm512_castsi512_si256(x), _mm512_extracti64x4_epi64(x, 1));
}

/* Reduces the sum of all lanes to one block (reversed). */
VAES512_INLINE __m128i quad_reduce(const quad_sum *sum)
{
    const ghash_sum folded = {quad_fold(sum->low), quad_fold(sum->middle), quad_fold(sum->high)};

    return ghash_reduce(&folded);
}

/* Fills in the powers, two at a time: each pair is the pair below it times H^2. */
VAES512_INLINE void quad_powers_derive(quad_key *key)
{
    const __m256i h = _mm256_broadcastsi128_si256(hash_key_derive(&key->aes));
    const __m256i square = ghash_multiply(h, h);
    __m256i pair = _mm256_blend_epi32(square, h, 0xf0);

    for (size_t power = 2; power <= QUAD_POWERS; power += 2) {
        store_pair((uint8_t *)&key->powers[QUAD_POWERS - power], pair);
        pair = ghash_multiply(pair, square);
    }
    for (size_t i = 0; i < 4; i++) {
        const __m256i far = _mm256_zextsi128_si256(key->powers[QUAD_POWERS - 16]);
        const __m256i near = _mm256_zextsi128_si256(key->powers[QUAD_POWERS - 16 + 4 * i]);

        key->strides[i] = first_of(ghash_multiply(far, near));
    }
}

#endif
