/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which backend takes a message. Set up once per process: every backend is probed, put to the known-answer
 * tests, and the choice per cipher, use and size class is laid down in a table that never changes
 * again.
 */
#ifndef ENGINE_DISPATCH_H
#define ENGINE_DISPATCH_H

#include <stdbool.h>
#include <stddef.h>
#include <sealane/engine.h>
#include <sealane/suite.h>
#include "backends.h"

/*
 * Size classes end at 64, 192, 448, 960, ... 8,128 bytes, and the last one has no end: with the block of 64 that
 * ChaCha20 spends on its Poly1305 key these are the powers of two that vectors are made for.
 */
#define DISPATCH_SIZE_CLASSES   8
#define DISPATCH_SMALLEST_CLASS 64u
#define DISPATCH_NONE           SEALANE_BACKENDS_MAX

/* Sets the engine up on the first call of the process; every entry to the engine passes here. */
void dispatch_setup(void);

/* Sealing or opening, alone or in a batch: an index. */
typedef enum dispatch_use {
    DISPATCH_OPEN,
    DISPATCH_SEAL,
    DISPATCH_OPEN_BATCH,
    DISPATCH_SEAL_BATCH,
    DISPATCH_USES,
} dispatch_use;

static inline dispatch_use dispatch_use_of(bool sealing, bool batch)
{
    return (dispatch_use)(batch * DISPATCH_OPEN_BATCH + sealing);
}

/* The greatest length of a class that has one. */
static inline size_t dispatch_class_end(size_t class_id)
{
    return ((size_t)(2 * DISPATCH_SMALLEST_CLASS) << class_id) - DISPATCH_SMALLEST_CLASS;
}

static inline size_t dispatch_size_class(size_t len)
{
    /* Not beyond the greatest length. */
    size_t units =
        len / (2 * DISPATCH_SMALLEST_CLASS) + (len % (2 * DISPATCH_SMALLEST_CLASS) > DISPATCH_SMALLEST_CLASS);
    size_t class_id = units == 0 ? 0 : sizeof(unsigned long) * 8 - (size_t)__builtin_clzl(units);

    return class_id < DISPATCH_SIZE_CLASSES ? class_id : DISPATCH_SIZE_CLASSES - 1;
}

/* The choice: indices of backends. Written by the set-up only. */
extern uint8_t dispatch_table[SEALANE_CIPHERS][DISPATCH_USES][DISPATCH_SIZE_CLASSES];

/* Index of the backend for such a message, DISPATCH_NONE if no backend carries the cipher. After set-up. */
static inline unsigned dispatch_pick(sealane_cipher_id cipher, dispatch_use use, size_t len)
{
    return dispatch_table[cipher][use][dispatch_size_class(len)];
}

/* Index of the backend that takes messages which another refused with SEALANE_UNSUPPORTED (backend.h). */
unsigned dispatch_fallback(sealane_cipher_id cipher);
/* The routines of an index that dispatch_pick() gave. */
static inline const backend *dispatch_backend(unsigned index)
{
    return engine_backends[index];
}

#endif
