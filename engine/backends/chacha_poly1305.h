/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Poly1305 (RFC 8439 2.5) in 64-bit limbs, and the loads and stores of bytes that are no whole block. In time
 * that depends on lengths only. The AEAD's padding (2.8) makes every block a whole one, so none has to end in
 * a bit of its own.
 */
#ifndef ENGINE_CHACHA_POLY1305_H
#define ENGINE_CHACHA_POLY1305_H

#include <stddef.h>
#include <stdint.h>

#define CHACHA_CODE   __attribute__((target("avx2,bmi2")))
#define CHACHA_INLINE static inline __attribute__((always_inline, target("avx2,bmi2")))

#define POLY1305_BLOCK 16

__extension__ typedef unsigned __int128 uint128;

/* At any address, over bytes of any type. */
typedef uint64_t __attribute__((may_alias, aligned(1))) bytes_8;
typedef uint32_t __attribute__((may_alias, aligned(1))) bytes_4;

CHACHA_INLINE uint64_t load_64(const uint8_t *bytes)
{
    return *(const bytes_8 *)(const void *)bytes;
}

CHACHA_INLINE uint32_t load_32(const uint8_t *bytes)
{
    return *(const bytes_4 *)(const void *)bytes;
}

CHACHA_INLINE void store_64(uint8_t *bytes, uint64_t value)
{
    *(bytes_8 *)(void *)bytes = value;
}

CHACHA_INLINE void store_32(uint8_t *bytes, uint32_t value)
{
    *(bytes_4 *)(void *)bytes = value;
}

/* The first `len` bytes, fewer than 16, with zeros behind; nothing else is read. Pieces may overlap. */
CHACHA_INLINE uint128 bytes_load(const uint8_t *bytes, size_t len)
{
    if (len >= 8)
        return load_64(bytes) | (uint128)load_64(bytes + len - 8) << 8 * (len - 8);
    if (len >= 4)
        return load_32(bytes) | (uint64_t)load_32(bytes + len - 4) << 8 * (len - 4);
    if (len == 0)
        return 0;
    return (uint128)bytes[0] | (uint128)bytes[len / 2] << 8 * (len / 2) |
           (uint128)bytes[len - 1] << 8 * (len - 1);
}

CHACHA_INLINE void bytes_store(uint8_t *bytes, uint128 value, size_t len)
{
    if (len >= 8) {
        store_64(bytes, (uint64_t)value);
        store_64(bytes + len - 8, (uint64_t)(value >> 8 * (len - 8)));
    } else if (len >= 4) {
        store_32(bytes, (uint32_t)value);
        store_32(bytes + len - 4, (uint32_t)(value >> 8 * (len - 4)));
    } else if (len > 0) {
        bytes[0] = (uint8_t)value;
        bytes[len / 2] = (uint8_t)(value >> 8 * (len / 2));
        bytes[len - 1] = (uint8_t)(value >> 8 * (len - 1));
    }
}

/* The sum so far, h < 2^131; the multiplier, with 5/4 of its upper half; what is added at the end. */
typedef struct poly1305 {
    uint64_t h0, h1, h2;
    uint64_t r0, r1, s1;
    uint64_t pad0, pad1;
} poly1305;

/* RFC 8439 2.5.1: r without the bits that would make carries long. */
CHACHA_INLINE poly1305 poly1305_begin(const uint8_t key[32])
{
    uint64_t r0 = load_64(key) & UINT64_C(0x0ffffffc0fffffff);
    uint64_t r1 = load_64(key + 8) & UINT64_C(0x0ffffffc0ffffffc);

    return (poly1305){
        .r0 = r0, .r1 = r1, .s1 = r1 + (r1 >> 2), .pad0 = load_64(key + 16), .pad1 = load_64(key + 24)};
}

/*
 * h = (h + block + 2^128) * r mod 2^130 - 5, not fully reduced. What of the product is above 2^130 comes back
 * five times; r1 ends in two zero bits, so that 2^128 * r1 = 2^130 * r1/4 is 5/4 r1, which is s1. The product
 * is d0 = h0 r0 + h1 s1, d1 = h0 r1 + h1 r0 + h2 s1, d2 = h2 r0 with the carries.
 *
 * In assembly because it is one chain of carries that must stay in registers among sixteen vectors: gcc 12
 * keeps 128-bit integers, and the results of _addcarry_u64(), in memory, and needs two to three times as
 * long.
 */
CHACHA_INLINE void poly1305_block(poly1305 *p, uint64_t low, uint64_t high)
{
    uint64_t h0 = p->h0, h1 = p->h1, h2 = p->h2, d0, d1, d2, x0, x1;

    __asm__("addq %[low], %[h0]\n\t"
            "adcq %[high], %[h1]\n\t"
            "adcq $1, %[h2]\n\t"
            "movq %[r0], %%rdx\n\t"
            "mulxq %[h0], %[d0], %[d1]\n\t"
            "mulxq %[h1], %[x0], %[d2]\n\t"
            "addq %[x0], %[d1]\n\t"
            "adcq $0, %[d2]\n\t"
            "movq %[r1], %%rdx\n\t"
            "mulxq %[h0], %[x0], %[x1]\n\t"
            "addq %[x0], %[d1]\n\t"
            "adcq %[x1], %[d2]\n\t"
            "movq %[s1], %%rdx\n\t"
            "mulxq %[h1], %[x0], %[x1]\n\t"
            "imulq %[h2], %%rdx\n\t"
            "imulq %[r0], %[h2]\n\t"
            "addq %[x0], %[d0]\n\t"
            "adcq %[x1], %[d1]\n\t"
            "adcq $0, %[d2]\n\t"
            "addq %%rdx, %[d1]\n\t"
            "adcq %[h2], %[d2]\n\t"
            /* five times what is above 2^130, as four times and once, to the bottom */
            "movq %[d2], %[x0]\n\t"
            "movq %[d2], %[h2]\n\t"
            "andq $-4, %[x0]\n\t"
            "shrq $2, %[d2]\n\t"
            "andq $3, %[h2]\n\t"
            "addq %[d2], %[x0]\n\t"
            "addq %[x0], %[d0]\n\t"
            "adcq $0, %[d1]\n\t"
            "adcq $0, %[h2]"
            : [h0] "+&r"(h0), [h1] "+&r"(h1), [h2] "+&r"(h2), [d0] "=&r"(d0), [d1] "=&r"(d1), [d2] "=&r"(d2),
              [x0] "=&r"(x0), [x1] "=&r"(x1)
            : [low] "rm"(low), [high] "rm"(high), [r0] "r"(p->r0), [r1] "rm"(p->r1), [s1] "rm"(p->s1)
            : "rdx", "cc");
    p->h0 = d0;
    p->h1 = d1;
    p->h2 = h2;
}

/* Data with zeros up to a whole block: RFC 8439 2.8, pad16. */
CHACHA_INLINE void poly1305_padded(poly1305 *state, const uint8_t *data, size_t len)
{
    poly1305 p = *state;

    for (; len >= POLY1305_BLOCK; len -= POLY1305_BLOCK, data += POLY1305_BLOCK)
        poly1305_block(&p, load_64(data), load_64(data + 8));
    if (len > 0) {
        uint128 rest = bytes_load(data, len);
        poly1305_block(&p, (uint64_t)rest, (uint64_t)(rest >> 64));
    }
    *state = p;
}

/* h mod 2^130 - 5, without a branch, plus the pad. */
CHACHA_INLINE uint128 poly1305_end(const poly1305 *p)
{
    uint128 carry0 = (uint128)p->h0 + 5;
    uint128 carry1 = (uint128)p->h1 + (uint64_t)(carry0 >> 64);
    uint64_t over =
        (uint64_t)0 - ((p->h2 + (uint64_t)(carry1 >> 64)) >> 2 & 1); /* all ones: h >= 2^130 - 5 */
    uint128 h = ((uint128)p->h1 << 64 | p->h0) & ~((uint128)over << 64 | over);
    uint128 reduced = ((uint128)(uint64_t)carry1 << 64 | (uint64_t)carry0) & ((uint128)over << 64 | over);

    return (h | reduced) + ((uint128)p->pad1 << 64 | p->pad0);
}

#endif
