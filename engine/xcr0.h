/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which registers the operating system saves: XCR0 as XGETBV gives it (Intel SDM volume 1, 13.2). Without its leave there is no
 * AVX, whatever CPUID says. To be asked only where CPUID has OSXSAVE.
 */
#ifndef ENGINE_XCR0_H
#define ENGINE_XCR0_H

#include <immintrin.h>
#include <stdbool.h>
#include <stdint.h>

#define XCR0_AVX    0x06u /* XMM, YMM */
#define XCR0_AVX512 0xe6u /* the same, opmask, ZMM */

__attribute__((target("xsave"))) static inline bool registers_are_saved(uint64_t registers)
{
    return ((uint64_t)_xgetbv(0) & registers) == registers;
}

#endif
