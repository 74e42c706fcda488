/* SPDX-License-Identifier: Apache-2.0 */
/*
 * GHASH (NIST SP 800-38D 6.4) on two blocks at a time, with VPCLMULQDQ on 256-bit vectors. Products only:
 * which block meets which power of the hash key is the business of vaes_turn.h and vaes_ending.h.
 *
 * How it computes, after S. Gueron and M. Kounavis, "Intel Carry-Less Multiplication Instruction and its
 * Usage for Computing the GCM Mode", and S. Gueron, "AES-GCM for Efficient Authenticated Encryption":
 * - GCM numbers the bits of a block from the other end than the multiplier does. With the bytes of a
 *   block reversed, all its bits are, and the product of two reversed operands is the reversed product
 *   shifted by one bit. Multiplying the hash key by x once, when it is set up, takes that shift out.
 * - A 128 x 128 bit product takes three multiplications (Karatsuba): the XORs around them cost less than a
 *   fourth would. The XOR of the two halves of each power, which this wants, is kept with the key.
 * - Products of many blocks, each with its own power of the hash key, are added up without reduction; one
 *   reduction at the end serves all.
 */
#ifndef ENGINE_BACKENDS_VAES_GHASH_H
#define ENGINE_BACKENDS_VAES_GHASH_H

#include <immintrin.h>
#include <stdint.h>

/*
 * Compiled for this CPU whatever the rest of the program is compiled for, and always into the caller: a
 * vector passed through memory would cost more than the work on it.
 */
#define VAES_CODE   __attribute__((target("avx2,aes,pclmul,vaes,vpclmulqdq")))
#define VAES_INLINE static inline __attribute__((always_inline)) VAES_CODE

/* A sum of products, not yet reduced, in each lane of 128 bits: low + middle * x^64 + high * x^128. */
typedef struct ghash_sum {
    __m256i low, middle, high;
} ghash_sum;

VAES_INLINE __m256i halves_swap(__m256i x)
{
    return _mm256_shuffle_epi32(x, 0x4e);
}

/* For PSHUFB: reverses the bytes of each block. */
static const _Alignas(32) uint8_t order_reversed[32] = {
    15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0,
    15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0,
};

VAES_INLINE __m256i blocks_reverse(__m256i blocks)
{
    return _mm256_shuffle_epi8(blocks, _mm256_load_si256((const __m256i *)order_reversed));
}

VAES_INLINE __m128i block_reverse(__m128i block)
{
    return _mm256_castsi256_si128(blocks_reverse(_mm256_castsi128_si256(block)));
}

VAES_INLINE ghash_sum ghash_zero(void)
{
    const __m256i zero = _mm256_setzero_si256();

    return (ghash_sum){zero, zero, zero};
}

/*
 * Adds blocks * powers, lane by lane, in three steps between which a caller may do other work. `halves`
 * holds, in each lane's lower half, the XOR of the power's two.
 *
 * The empty assembly is no instruction, but it makes the sum exist at that point. Otherwise compilers,
 * knowing that XOR is associative, keep all products and add them up in a tree at the end, and spill most of
 * them to the stack.
 */
#define SUM_HERE(sum) __asm__("" : "+x"(sum))

VAES_INLINE void ghash_add_low(ghash_sum *sum, __m256i blocks, __m256i powers)
{
    sum->low = _mm256_xor_si256(sum->low, _mm256_clmulepi64_epi128(blocks, powers, 0x00));
    SUM_HERE(sum->low);
}

VAES_INLINE void ghash_add_high(ghash_sum *sum, __m256i blocks, __m256i powers)
{
    sum->high = _mm256_xor_si256(sum->high, _mm256_clmulepi64_epi128(blocks, powers, 0x11));
    SUM_HERE(sum->high);
}

VAES_INLINE void ghash_add_middle(ghash_sum *sum, __m256i blocks, __m256i halves)
{
    const __m256i folded = _mm256_xor_si256(blocks, halves_swap(blocks));

    sum->middle = _mm256_xor_si256(sum->middle, _mm256_clmulepi64_epi128(folded, halves, 0x00));
    SUM_HERE(sum->middle);
}

VAES_INLINE void ghash_add(ghash_sum *sum, __m256i blocks, __m256i powers, __m256i halves)
{
    ghash_add_low(sum, blocks, powers);
    ghash_add_high(sum, blocks, powers);
    ghash_add_middle(sum, blocks, halves);
}

static const _Alignas(32) uint64_t ghash_polynomial[4] = {
    0xc200000000000000,
    0xc200000000000000,
    0xc200000000000000,
    0xc200000000000000,
};

/*
 * Reduces each lane modulo x^128 + x^127 + x^126 + x^121 + 1 (the field's polynomial, reversed): folds the
 * lowest 64 bits into the rest with one multiplication, twice.
 */
VAES_INLINE __m256i ghash_reduce_lanes(const ghash_sum *sum)
{
    const __m256i polynomial = _mm256_load_si256((const __m256i *)ghash_polynomial);
    __m256i middle = _mm256_xor_si256(sum->middle, _mm256_xor_si256(sum->low, sum->high));
    __m256i high = sum->high;

    middle = _mm256_xor_si256(middle, halves_swap(sum->low));
    middle = _mm256_xor_si256(middle, _mm256_clmulepi64_epi128(sum->low, polynomial, 0x00));
    high = _mm256_xor_si256(high, halves_swap(middle));
    return _mm256_xor_si256(high, _mm256_clmulepi64_epi128(middle, polynomial, 0x00));
}

/* Reduces the sum of both lanes to one block (reversed). */
VAES_INLINE __m128i ghash_reduce(const ghash_sum *sum)
{
    const __m256i lanes = ghash_reduce_lanes(sum);

    return _mm_xor_si128(_mm256_castsi256_si128(lanes), _mm256_extracti128_si256(lanes, 1));
}

/* The product of two field elements in each lane. */
VAES_INLINE __m256i ghash_multiply(__m256i a, __m256i b)
{
    ghash_sum sum = ghash_zero();

    ghash_add(&sum, a, b, _mm256_xor_si256(b, halves_swap(b)));
    return ghash_reduce_lanes(&sum);
}

#endif
