/* SPDX-License-Identifier: Apache-2.0 */
/* What the two backends with VAES ask the CPU, and how both end a message. */
#ifndef ENGINE_BACKENDS_VAES_PROBE_H
#define ENGINE_BACKENDS_VAES_PROBE_H

#include <cpuid.h>
#include <stdbool.h>
#include <openssl/crypto.h>
#include "../backend.h"
#include "../xcr0.h"
#include "vaes_bytes.h"

/* SP 800-38D 5.2.1.1: 2^39 - 256 bits, or the 32-bit counter would come round to the tag's block. */
#define GCM_MESSAGE_MAX (((uint64_t)1 << 36) - 32)

/* NULL if there are VAES and VPCLMULQDQ on 256-bit vectors. */
static inline const char *vaes_cpu_missing(void)
{
    const unsigned need_1c = bit_AES | bit_PCLMUL | bit_SSSE3 | bit_SSE4_1 | bit_OSXSAVE | bit_AVX;
    const unsigned need_7b = bit_AVX2, need_7c = bit_VAES | bit_VPCLMULQDQ;
    unsigned a, b, c, d;

    if (!__get_cpuid(1, &a, &b, &c, &d) || (c & need_1c) != need_1c)
        return "CPU lacks AES-NI, PCLMULQDQ or AVX";
    if (!registers_are_saved(XCR0_AVX))
        return "operating system does not save AVX registers";
    if (!__get_cpuid_count(7, 0, &a, &b, &c, &d) || (b & need_7b) != need_7b || (c & need_7c) != need_7c)
        return "CPU lacks AVX2, VAES or VPCLMULQDQ";
    return NULL;
}

/* The tag that came with a message to open. To be loaded before anything is stored: see blocks_store(). */
VAES_INLINE __m128i tag_received(const backend_op *op, const bool sealing)
{
    return sealing ? _mm_setzero_si128() : load_block(op->tag);
}

/* Delivers the tag, or compares it: in constant time, all sixteen bytes at once. */
VAES_INLINE sealane_result message_end(backend_op *op, __m128i tag, __m128i received, const bool sealing)
{
    __m128i difference;

    if (sealing) {
        store_block(op->tag, tag);
        return SEALANE_OK;
    }
    difference = _mm_xor_si128(tag, received);
    if (_mm_testz_si128(difference, difference))
        return SEALANE_OK;
    if (op->len > 0)
        OPENSSL_cleanse(op->out, op->len);
    return SEALANE_FORGED;
}

#endif
