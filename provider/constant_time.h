/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Choosing without branches and without indices. A mask is all ones or all zeroes. The barrier keeps compilers
 * from seeing that, and from making a branch of it after all.
 */
#ifndef PROVIDER_CONSTANT_TIME_H
#define PROVIDER_CONSTANT_TIME_H

#include <stddef.h>
#include <stdint.h>

typedef uint32_t mask;

static inline uint32_t value_hide(uint32_t x)
{
    __asm__("" : "+r"(x));
    return x;
}

static inline mask mask_zero(uint32_t x)
{
    return value_hide(0U - ((~x & (x - 1U)) >> 31));
}

static inline mask mask_equal(uint32_t a, uint32_t b)
{
    return mask_zero(a ^ b);
}

/* a < b; both below 2^31. */
static inline mask mask_less(uint32_t a, uint32_t b)
{
    return value_hide(0U - ((a - b) >> 31));
}

static inline uint32_t choose(mask m, uint32_t yes, uint32_t no)
{
    return (m & yes) | (~m & no);
}

static inline uint8_t choose_byte(mask m, uint8_t yes, uint8_t no)
{
    return (uint8_t)choose(m, yes, no);
}

#endif
