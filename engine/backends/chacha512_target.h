/* SPDX-License-Identifier: Apache-2.0 */
/* What the routines of chacha512.c are compiled for; chacha512_probe() asks for the same. */
#ifndef ENGINE_CHACHA512_TARGET_H
#define ENGINE_CHACHA512_TARGET_H

#include <immintrin.h>

#define CHACHA512_TARGET "avx512f,avx512bw,avx512vl,avx512dq,avx512ifma,avx2,bmi2"
#define CHACHA512_CODE   __attribute__((target(CHACHA512_TARGET)))
#define CHACHA512_INLINE static inline __attribute__((always_inline, target(CHACHA512_TARGET)))

#endif
