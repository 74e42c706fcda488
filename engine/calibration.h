/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The table that says which backend is best where, per class of CPU, cipher, direction and size, and for a
 * message alone or in a batch. It is data
 * only: a calibration run can write calibration.c anew, and dispatch.c reads it at set-up.
 */
#ifndef ENGINE_CALIBRATION_H
#define ENGINE_CALIBRATION_H

#include <stddef.h>
#include <sealane/engine.h>
#include <sealane/suite.h>
#include "cpu.h"

/* What a row is for. One that names neither ALONE nor BATCH holds for both, and so with SEAL and OPEN. */
typedef enum calibration_use {
    CALIBRATION_SEAL = 1,
    CALIBRATION_OPEN = 2,
    CALIBRATION_BOTH = 3,
    CALIBRATION_ALONE = 4, /* a message by itself */
    CALIBRATION_BATCH = 8, /* one of several that are worked on side by side */
} calibration_use;

/* For messages of up to `max_len` bytes, a size that closes a size class of dispatch.h, or SIZE_MAX. */
typedef struct calibration_row {
    cpu_class cpu;
    sealane_cipher_id cipher; /* SEALANE_CIPHERS: all of them */
    unsigned use;             /* of calibration_use */
    size_t max_len;
    const char *order[SEALANE_BACKENDS_MAX + 1]; /* names of backends, best first, NULL ends */
    const char *why;
} calibration_row;

/* The first row that fits counts. */
extern const calibration_row calibration_rows[];
extern const size_t calibration_row_count;

#endif
