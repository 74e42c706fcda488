/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Key stream of ChaCha20 (RFC 8439 2.3, 2.4) on 512-bit vectors, for chacha512.c. A block is a matrix of four rows
 * of four words; a register holds one row of four blocks, so four registers are a quad of blocks. The four may be
 * of one key or of several. Rounds of one quad wait for their own results most of the time; up to seven, which
 * fill the 32 registers but four, are worked on in turn. There is a routine for each number of quads.
 */
#ifndef ENGINE_CHACHA512_STREAM_H
#define ENGINE_CHACHA512_STREAM_H

#include <stddef.h>
#include <stdint.h>
#include "chacha512_target.h"

#define STREAM_BLOCK      64
#define STREAM_QUAD       4 /* blocks */
#define STREAM_QUADS_MAX  7
#define STREAM_BLOCKS_MAX (STREAM_QUADS_MAX * STREAM_QUAD)

/* The rows b, c and d of four blocks; a is the same for all. */
typedef struct quad_start {
    __m512i b, c, d;
} quad_start;

typedef struct quad {
    __m512i a, b, c, d;
} quad;

/* "expand 32-byte k" */
CHACHA512_INLINE __m512i row_of_constants(void)
{
    return _mm512_broadcast_i32x4(_mm_setr_epi32(0x61707865, 0x3320646e, 0x79622d32, 0x6b206574));
}

CHACHA512_INLINE __m128i row_load(const uint8_t *from)
{
    return _mm_loadu_si128((const __m128i *)(const void *)from);
}

/* Counter and nonce. */
CHACHA512_INLINE __m128i row_of_counter(const uint8_t nonce[12], uint32_t counter)
{
    uint64_t low;
    uint32_t high;

    __builtin_memcpy(&low, nonce, sizeof(low));
    __builtin_memcpy(&high, nonce + sizeof(low), sizeof(high));
    return _mm_set_epi64x((long long)((uint64_t)high << 32 | low >> 32), (long long)(low << 32 | counter));
}

/* Four consecutive blocks of one key. */
CHACHA512_INLINE quad_start quad_of_one(const uint8_t key[32], const uint8_t nonce[12], uint32_t counter)
{
    const __m512i steps = _mm512_setr_epi32(0, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3, 0, 0, 0);

    return (quad_start){.b = _mm512_broadcast_i32x4(row_load(key)),
                        .c = _mm512_broadcast_i32x4(row_load(key + 16)),
                        .d = _mm512_add_epi32(_mm512_broadcast_i32x4(row_of_counter(nonce, counter)), steps)};
}

/* The same, `blocks` further. */
CHACHA512_INLINE quad_start quad_advance(quad_start from, uint32_t blocks)
{
    from.d = _mm512_add_epi32(from.d, _mm512_maskz_set1_epi32(0x1111, (int)blocks));
    return from;
}

/*
 * `what` for each quad, whose number is `i`. Written out, because gcc keeps an array in registers only where it
 * sees constant indices from the start.
 */
#define EACH_QUAD(what)                                                                                      \
    do {                                                                                                     \
        ONE_QUAD(0, what);                                                                                   \
        ONE_QUAD(1, what);                                                                                   \
        ONE_QUAD(2, what);                                                                                   \
        ONE_QUAD(3, what);                                                                                   \
        ONE_QUAD(4, what);                                                                                   \
        ONE_QUAD(5, what);                                                                                   \
        ONE_QUAD(6, what);                                                                                   \
    } while (0)
#define ONE_QUAD(number, what)                                                                               \
    do {                                                                                                     \
        enum { i = number };                                                                                 \
        if (i < quads) {                                                                                     \
            what;                                                                                            \
        }                                                                                                    \
    } while (0)

/* RFC 8439 2.1, on all four columns of each quad. */
CHACHA512_INLINE void quarter_rounds(quad q[STREAM_QUADS_MAX], const unsigned quads)
{
#define HALF(x, y, z, bits)                                                                                  \
    EACH_QUAD(q[i].x = _mm512_add_epi32(q[i].x, q[i].y));                                                    \
    EACH_QUAD(q[i].z = _mm512_xor_si512(q[i].z, q[i].x));                                                    \
    EACH_QUAD(q[i].z = _mm512_rol_epi32(q[i].z, bits))
    HALF(a, b, d, 16);
    HALF(c, d, b, 12);
    HALF(a, b, d, 8);
    HALF(c, d, b, 7);
#undef HALF
}

/* RFC 8439 2.3: columns, then diagonals, which become columns for that time. */
CHACHA512_INLINE void double_round(quad q[STREAM_QUADS_MAX], const unsigned quads)
{
    quarter_rounds(q, quads);
    EACH_QUAD(q[i].b = _mm512_shuffle_epi32(q[i].b, 0x39));
    EACH_QUAD(q[i].c = _mm512_shuffle_epi32(q[i].c, 0x4e));
    EACH_QUAD(q[i].d = _mm512_shuffle_epi32(q[i].d, 0x93));
    quarter_rounds(q, quads);
    EACH_QUAD(q[i].b = _mm512_shuffle_epi32(q[i].b, 0x93));
    EACH_QUAD(q[i].c = _mm512_shuffle_epi32(q[i].c, 0x4e));
    EACH_QUAD(q[i].d = _mm512_shuffle_epi32(q[i].d, 0x39));
}

CHACHA512_INLINE void vector_store(uint8_t *to, __m512i vector)
{
    _mm512_storeu_si512((void *)to, vector);
}

/* From rows of four blocks to four blocks, one after the other. */
CHACHA512_INLINE void quad_store(quad q, const quad_start *start, uint8_t *out)
{
    const __m512i a = _mm512_add_epi32(q.a, row_of_constants()), b = _mm512_add_epi32(q.b, start->b);
    const __m512i c = _mm512_add_epi32(q.c, start->c), d = _mm512_add_epi32(q.d, start->d);
    const __m512i ab01 = _mm512_shuffle_i32x4(a, b, 0x44), ab23 = _mm512_shuffle_i32x4(a, b, 0xee);
    const __m512i cd01 = _mm512_shuffle_i32x4(c, d, 0x44), cd23 = _mm512_shuffle_i32x4(c, d, 0xee);

    vector_store(out, _mm512_shuffle_i32x4(ab01, cd01, 0x88));
    vector_store(out + STREAM_BLOCK, _mm512_shuffle_i32x4(ab01, cd01, 0xdd));
    vector_store(out + 2 * STREAM_BLOCK, _mm512_shuffle_i32x4(ab23, cd23, 0x88));
    vector_store(out + 3 * STREAM_BLOCK, _mm512_shuffle_i32x4(ab23, cd23, 0xdd));
}

CHACHA512_INLINE void quads_make(const quad_start start[], uint8_t *stream, const unsigned quads)
{
    quad q[STREAM_QUADS_MAX];

    EACH_QUAD(q[i] = ((quad){row_of_constants(), start[i].b, start[i].c, start[i].d}));
    for (int round = 0; round < 10; round++)
        double_round(q, quads);
    EACH_QUAD(quad_store(q[i], &start[i], stream + i * STREAM_QUAD * STREAM_BLOCK));
}

/* Makes the blocks of 1 to STREAM_QUADS_MAX quads, one after the other. */
CHACHA512_CODE static void stream_make(const quad_start start[], size_t quads, uint8_t *stream)
{
    switch (quads) {
    case 1:
        quads_make(start, stream, 1);
        break;
    case 2:
        quads_make(start, stream, 2);
        break;
    case 3:
        quads_make(start, stream, 3);
        break;
    case 4:
        quads_make(start, stream, 4);
        break;
    case 5:
        quads_make(start, stream, 5);
        break;
    case 6:
        quads_make(start, stream, 6);
        break;
    default:
        quads_make(start, stream, STREAM_QUADS_MAX);
    }
}

/* `out` may be `in`. */
CHACHA512_INLINE void stream_xor(const uint8_t *stream, const uint8_t *in, uint8_t *out, size_t len)
{
    size_t at = 0;

    for (; at + 64 <= len; at += 64)
        vector_store(out + at, _mm512_xor_si512(_mm512_loadu_si512((const void *)(in + at)),
                                                _mm512_loadu_si512((const void *)(stream + at))));
    if (at < len) {
        const __mmask64 rest = ((__mmask64)1 << (len - at)) - 1;
        const __m512i bytes = _mm512_maskz_loadu_epi8(rest, (const void *)(in + at));
        const __m512i key = _mm512_maskz_loadu_epi8(rest, (const void *)(stream + at));
        _mm512_mask_storeu_epi8((void *)(out + at), rest, _mm512_xor_si512(bytes, key));
    }
}

#endif
