/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Poly1305 (RFC 8439 2.5) of many blocks on 512-bit vectors with 52-bit products (AVX512-IFMA), for chacha512.c:
 * eight blocks side by side, each in a lane of its own. With r^n the n-th power of the multiplier,
 *
 *   ((h + m0) r + m1) r + ... + m7) r  =  (h + m0) r^8 + m1 r^7 + ... + m7 r
 *
 * so all lanes go on with r^8 from one eight to the next, and only at the end with a power of their own. Two sums
 * of eight lanes go side by side, on r^16, because one would wait for its own carries.
 *
 * Numbers are in limbs of 44, 44 and 42 bits: products of two limbs are below 2^104, and the two halves of them
 * that the instructions give fit together with shifts of a few bits. 2^132 is 20 modulo 2^130 - 5.
 */
#ifndef ENGINE_CHACHA512_POLY1305_H
#define ENGINE_CHACHA512_POLY1305_H

#include "chacha512_target.h"
#include "chacha_poly1305.h"

#define MASK_44 ((UINT64_C(1) << 44) - 1)
#define MASK_42 ((UINT64_C(1) << 42) - 1)

#define WIDE_LEN  128 /* bytes of eight blocks */
#define WIDE_STEP (2 * WIDE_LEN)
/* From how many bytes on the powers are worth their time. */
#define WIDE_MIN 384

typedef struct limbs {
    uint64_t l[3];
} limbs;

/* Eight numbers, a limb of all of them in a vector. */
typedef struct lanes {
    __m512i l0, l1, l2;
} lanes;

/* A multiplier for all lanes, and 20 times its upper limbs. */
typedef struct factor {
    lanes r;
    __m512i s1, s2;
} factor;

typedef struct poly1305_powers {
    factor each;    /* r^8 ... r^1, one to each lane */
    factor eight;   /* r^8 in all of them */
    factor sixteen; /* r^16 */
} poly1305_powers;

/* ---- Powers ---- */

CHACHA512_INLINE limbs limbs_of(uint64_t h0, uint64_t h1, uint64_t h2)
{
    return (limbs){{h0 & MASK_44, (h0 >> 44 | h1 << 20) & MASK_44, h1 >> 24 | h2 << 40}};
}

CHACHA512_INLINE limbs limbs_multiply(limbs a, limbs b)
{
    const uint64_t s1 = 20 * b.l[1], s2 = 20 * b.l[2];
    uint128 d0 = (uint128)a.l[0] * b.l[0] + (uint128)a.l[1] * s2 + (uint128)a.l[2] * s1;
    uint128 d1 = (uint128)a.l[0] * b.l[1] + (uint128)a.l[1] * b.l[0] + (uint128)a.l[2] * s2;
    uint128 d2 = (uint128)a.l[0] * b.l[2] + (uint128)a.l[1] * b.l[1] + (uint128)a.l[2] * b.l[0];
    uint64_t l0, l1, l2;

    d1 += (uint64_t)(d0 >> 44);
    d2 += (uint64_t)(d1 >> 44);
    l0 = ((uint64_t)d0 & MASK_44) + 5 * (uint64_t)(d2 >> 42);
    l1 = ((uint64_t)d1 & MASK_44) + (l0 >> 44);
    l2 = (uint64_t)d2 & MASK_42;
    return (limbs){{l0 & MASK_44, l1, l2}};
}

CHACHA512_INLINE factor factor_of(lanes r)
{
    const __m512i twenty = _mm512_set1_epi64(20);

    return (factor){.r = r, .s1 = _mm512_mullo_epi64(r.l1, twenty), .s2 = _mm512_mullo_epi64(r.l2, twenty)};
}

CHACHA512_INLINE factor factor_of_one(limbs r)
{
    return factor_of((lanes){_mm512_set1_epi64((long long)r.l[0]), _mm512_set1_epi64((long long)r.l[1]),
                             _mm512_set1_epi64((long long)r.l[2])});
}

/*
 * Which block of eight is in which lane: so that two loads of four blocks each become vectors of lower and of
 * upper halves without another shuffle.
 */
#define IN_LANES(x0, x1, x2, x3, x4, x5, x6, x7) _mm512_setr_epi64(x0, x4, x1, x5, x2, x6, x3, x7)

CHACHA512_INLINE void powers_make(poly1305_powers *powers, const poly1305 *poly)
{
    limbs r[9];

    r[1] = limbs_of(poly->r0, poly->r1, 0);
    r[2] = limbs_multiply(r[1], r[1]);
    r[3] = limbs_multiply(r[2], r[1]);
    r[4] = limbs_multiply(r[2], r[2]);
    for (int i = 5; i < 9; i++)
        r[i] = limbs_multiply(r[4], r[i - 4]);
    powers->eight = factor_of_one(r[8]);
    powers->sixteen = factor_of_one(limbs_multiply(r[8], r[8]));
#define POWERS(limb)                                                                                         \
    IN_LANES((long long)r[8].l[limb], (long long)r[7].l[limb], (long long)r[6].l[limb],                      \
             (long long)r[5].l[limb], (long long)r[4].l[limb], (long long)r[3].l[limb],                      \
             (long long)r[2].l[limb], (long long)r[1].l[limb])
    powers->each = factor_of((lanes){POWERS(0), POWERS(1), POWERS(2)});
#undef POWERS
}

/* ---- Eight lanes ---- */

/* Eight blocks, each with the bit 2^128 that every whole block has (RFC 8439 2.5). */
CHACHA512_INLINE lanes lanes_load(const uint8_t *data)
{
    const __m512i first = _mm512_loadu_si512((const void *)data);
    const __m512i second = _mm512_loadu_si512((const void *)(data + 64));
    const __m512i low = _mm512_unpacklo_epi64(first, second), high = _mm512_unpackhi_epi64(first, second);
    const __m512i mask = _mm512_set1_epi64((long long)MASK_44);
    const __m512i middle = _mm512_or_si512(_mm512_srli_epi64(low, 44), _mm512_slli_epi64(high, 20));

    return (lanes){_mm512_and_si512(low, mask), _mm512_and_si512(middle, mask),
                   _mm512_or_si512(_mm512_srli_epi64(high, 24), _mm512_set1_epi64(1LL << 40))};
}

CHACHA512_INLINE lanes lanes_add(lanes a, lanes b)
{
    return (lanes){_mm512_add_epi64(a.l0, b.l0), _mm512_add_epi64(a.l1, b.l1), _mm512_add_epi64(a.l2, b.l2)};
}

/*
 * An instruction gives the lower 52 bits of a product or those above: the upper half of what belongs to a limb
 * of 44 bits is 2^8 of the next one, and of the highest 2^140, which is 2^10 times 5 at the bottom.
 */
CHACHA512_INLINE lanes lanes_multiply(lanes a, const factor *f)
{
#define LOW(sum, x, y)  sum = _mm512_madd52lo_epu64(sum, x, y)
#define HIGH(sum, x, y) sum = _mm512_madd52hi_epu64(sum, x, y)
#define PRODUCT(which, sum, x0, y0, x1, y1, x2, y2)                                                          \
    which(sum, x0, y0);                                                                                      \
    which(sum, x1, y1);                                                                                      \
    which(sum, x2, y2)
    const __m512i mask_44 = _mm512_set1_epi64((long long)MASK_44),
                  mask_42 = _mm512_set1_epi64((long long)MASK_42);
    const __m512i zero = _mm512_setzero_si512();
    __m512i low0 = zero, low1 = zero, low2 = zero, high0 = zero, high1 = zero, high2 = zero, carry;

    PRODUCT(LOW, low0, a.l0, f->r.l0, a.l1, f->s2, a.l2, f->s1);
    PRODUCT(HIGH, high0, a.l0, f->r.l0, a.l1, f->s2, a.l2, f->s1);
    PRODUCT(LOW, low1, a.l0, f->r.l1, a.l1, f->r.l0, a.l2, f->s2);
    PRODUCT(HIGH, high1, a.l0, f->r.l1, a.l1, f->r.l0, a.l2, f->s2);
    PRODUCT(LOW, low2, a.l0, f->r.l2, a.l1, f->r.l1, a.l2, f->r.l0);
    PRODUCT(HIGH, high2, a.l0, f->r.l2, a.l1, f->r.l1, a.l2, f->r.l0);
#undef PRODUCT
#undef HIGH
#undef LOW
    low1 = _mm512_add_epi64(low1, _mm512_add_epi64(_mm512_slli_epi64(high0, 8), _mm512_srli_epi64(low0, 44)));
    low2 = _mm512_add_epi64(low2, _mm512_add_epi64(_mm512_slli_epi64(high1, 8), _mm512_srli_epi64(low1, 44)));
    carry = _mm512_add_epi64(_mm512_slli_epi64(high2, 10), _mm512_srli_epi64(low2, 42));
    low0 = _mm512_add_epi64(_mm512_and_si512(low0, mask_44),
                            _mm512_add_epi64(carry, _mm512_slli_epi64(carry, 2)));
    low1 = _mm512_add_epi64(_mm512_and_si512(low1, mask_44), _mm512_srli_epi64(low0, 44));
    return (lanes){_mm512_and_si512(low0, mask_44), low1, _mm512_and_si512(low2, mask_42)};
}

/* ---- A message ---- */

/* What is summed up so far, of which every second eight blocks are in `other`. */
typedef struct wide {
    lanes sum, other;
} wide;

CHACHA512_INLINE __m512i lane_of(uint64_t limb)
{
    return _mm512_zextsi128_si512(_mm_cvtsi64_si128((long long)limb));
}

/* The first WIDE_STEP bytes. The sum before them goes into the first block's lane. */
CHACHA512_INLINE wide wide_begin(const poly1305 *poly, const uint8_t *data)
{
    const limbs h = limbs_of(poly->h0, poly->h1, poly->h2);
    const lanes before = {lane_of(h.l[0]), lane_of(h.l[1]), lane_of(h.l[2])};

    return (wide){lanes_add(before, lanes_load(data)), lanes_load(data + WIDE_LEN)};
}

/* WIDE_STEP bytes more. */
CHACHA512_INLINE void wide_step(wide *w, const poly1305_powers *powers, const uint8_t *data)
{
    w->sum = lanes_add(lanes_multiply(w->sum, &powers->sixteen), lanes_load(data));
    w->other = lanes_add(lanes_multiply(w->other, &powers->sixteen), lanes_load(data + WIDE_LEN));
}

/* With WIDE_LEN bytes more, or NULL. All lanes become one sum. */
CHACHA512_INLINE void wide_end(poly1305 *poly, const wide *w, const poly1305_powers *powers,
                               const uint8_t *data)
{
    lanes sum = lanes_add(lanes_multiply(w->sum, &powers->eight), w->other);
    uint128 t0, t1;
    uint64_t above;

    if (data != NULL)
        sum = lanes_add(lanes_multiply(sum, &powers->eight), lanes_load(data));
    sum = lanes_multiply(sum, &powers->each);
    /* Three numbers below 2^48, at 2^0, 2^44 and 2^88. */
    t0 = (uint128)(uint64_t)_mm512_reduce_add_epi64(sum.l0) +
         ((uint128)(uint64_t)_mm512_reduce_add_epi64(sum.l1) << 44);
    t1 = ((uint128)(uint64_t)_mm512_reduce_add_epi64(sum.l2) << 24) + (uint64_t)(t0 >> 64);
    above = (uint64_t)(t1 >> 66); /* 2^130 and up */
    t0 = (uint128)(uint64_t)t0 + 5 * above;
    t1 = (t1 & (((uint128)1 << 66) - 1)) + (uint64_t)(t0 >> 64);
    poly->h0 = (uint64_t)t0;
    poly->h1 = (uint64_t)t1;
    poly->h2 = (uint64_t)(t1 >> 64);
}

/* Less than WIDE_STEP bytes are left: the rest of a message, with zeros up to a whole block. */
CHACHA512_INLINE void wide_finish(poly1305 *poly, const wide *w, const poly1305_powers *powers,
                                  const uint8_t *data, size_t len)
{
    const size_t whole = len >= WIDE_LEN ? WIDE_LEN : 0;

    wide_end(poly, w, powers, whole > 0 ? data : NULL);
    poly1305_padded(poly, data + whole, len - whole);
}

#endif
