/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Loads and stores of blocks that are not whole. Never a byte outside of what the caller named, never a
 * detour through memory: a narrow store that a wide load reads back stalls for longer than a whole block
 * takes to seal. Lengths are public, so branches on them are fine.
 */
#ifndef ENGINE_BACKENDS_VAES_BYTES_H
#define ENGINE_BACKENDS_VAES_BYTES_H

#include <stdint.h>
#include <string.h>
#include "vaes_ghash.h"

VAES_INLINE uint64_t load_u64(const uint8_t *from)
{
    uint64_t value;

    memcpy(&value, from, sizeof(value));
    return value;
}

VAES_INLINE uint32_t load_u32(const uint8_t *from)
{
    uint32_t value;

    memcpy(&value, from, sizeof(value));
    return value;
}

VAES_INLINE void store_u64(uint8_t *to, uint64_t value)
{
    memcpy(to, &value, sizeof(value));
}

VAES_INLINE void store_u32(uint8_t *to, uint32_t value)
{
    memcpy(to, &value, sizeof(value));
}

VAES_INLINE __m128i load_block(const uint8_t *from)
{
    return _mm_loadu_si128((const __m128i *)from);
}

VAES_INLINE void store_block(uint8_t *to, __m128i block)
{
    _mm_storeu_si128((__m128i *)to, block);
}

VAES_INLINE __m256i load_pair(const uint8_t *from)
{
    return _mm256_loadu_si256((const __m256i *)from);
}

VAES_INLINE void store_pair(uint8_t *to, __m256i pair)
{
    _mm256_storeu_si256((__m256i *)to, pair);
}

VAES_INLINE __m256i pair_of(__m128i first, __m128i second)
{
    return _mm256_inserti128_si256(_mm256_castsi128_si256(first), second, 1);
}

VAES_INLINE __m128i first_of(__m256i pair)
{
    return _mm256_castsi256_si128(pair);
}

VAES_INLINE __m128i second_of(__m256i pair)
{
    return _mm256_extracti128_si256(pair, 1);
}

/* Seven bytes or fewer as a little-endian number. The loads overlap instead of counting bytes. */
VAES_INLINE uint64_t load_under_8(const uint8_t *from, size_t len)
{
    if (len >= 4)
        return load_u32(from) | (uint64_t)load_u32(from + len - 4) << 8 * (len - 4);
    if (len == 0)
        return 0;
    return from[0] | (uint64_t)from[len / 2] << 8 * (len / 2) | (uint64_t)from[len - 1] << 8 * (len - 1);
}

VAES_INLINE void store_under_8(uint8_t *to, size_t len, uint64_t value)
{
    if (len >= 4) {
        store_u32(to, (uint32_t)value);
        store_u32(to + len - 4, (uint32_t)(value >> 8 * (len - 4)));
    } else if (len > 0) {
        to[0] = (uint8_t)value;
        to[len / 2] = (uint8_t)(value >> 8 * (len / 2));
        to[len - 1] = (uint8_t)(value >> 8 * (len - 1));
    }
}

/* Up to 16 bytes, zeros behind them. */
VAES_INLINE __m128i load_up_to_16(const uint8_t *from, size_t len)
{
    uint64_t high;

    if (len == 16)
        return load_block(from);
    if (len < 8)
        return _mm_cvtsi64_si128((long long)load_under_8(from, len));
    high = load_u64(from + len - 8) >> 8 * (15 - len) >> 8; /* in two steps: a shift by 64 is undefined */
    return _mm_set_epi64x((long long)high, (long long)load_u64(from));
}

VAES_INLINE void store_up_to_16(uint8_t *to, size_t len, __m128i block)
{
    if (len == 16)
        store_block(to, block);
    else if (len > 8) {
        const uint64_t low = (uint64_t)_mm_cvtsi128_si64(block), high = (uint64_t)_mm_extract_epi64(block, 1);

        store_u64(to, low);
        store_u64(to + len - 8, low >> 8 * (len - 8) | high << 8 * (16 - len));
    } else if (len == 8)
        store_u64(to, (uint64_t)_mm_cvtsi128_si64(block));
    else
        store_under_8(to, len, (uint64_t)_mm_cvtsi128_si64(block));
}

/* Where a window of 16 bytes begins in these decides how far PSHUFB moves a block; 0x80 gives a zero byte. */
static const uint8_t slide_window[48] = {
    0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80,
    0,    1,    2,    3,    4,    5,    6,    7,    8,    9,    10,   11,   12,   13,   14,   15,
    0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80,
};

/* The last `len` (0 to 16) bytes of a block to its front, zeros behind them. */
VAES_INLINE __m128i slide_to_front(__m128i block, size_t len)
{
    return _mm_shuffle_epi8(block, load_block(slide_window + 32 - len));
}

/* The first `len` (0 to 16) bytes of a block to its end, zeros before them. */
VAES_INLINE __m128i slide_to_end(__m128i block, size_t len)
{
    return _mm_shuffle_epi8(block, load_block(slide_window + len));
}

/* For the same with the bytes of the block reversed. */
static const uint8_t reverse_window[48] = {
    0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80,
    15,   14,   13,   12,   11,   10,   9,    8,    7,    6,    5,    4,    3,    2,    1,    0,
    0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80,
};

/* block_reverse(slide_to_front(block, len)) in one step. */
VAES_INLINE __m128i end_reverse(__m128i block, size_t len)
{
    return _mm_shuffle_epi8(block, load_block(reverse_window + len));
}

#endif
