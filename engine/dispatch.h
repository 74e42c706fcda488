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
#include "backend.h"

/* Size classes end at 64, 128, 256, ... 8192 bytes; the last one has no end. */
#define DISPATCH_SIZE_CLASSES   9
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

/* Up to 64 bytes: class 0; then one class per doubling. */
static inline size_t dispatch_size_class(size_t len)
{
    size_t units = (len - (len > 0)) / DISPATCH_SMALLEST_CLASS;
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
const backend *dispatch_backend(unsigned index);

#endif
