/* SPDX-License-Identifier: Apache-2.0 */
/* What the engine must reach on a CPU with VAES and no AVX-512, and whether it did in this run. */
#ifndef BENCH_RECORDS_TARGETS_H
#define BENCH_RECORDS_TARGETS_H

#include <stdbool.h>
#include <stddef.h>
#include "records_rounds.h"

#define TARGETS_MAX 32

/* One target with its worst case of the run. */
typedef struct target_outcome {
    const char *what;
    const char *unit; /* " x", " of the bound", " bytes" */
    double needed;
    bool at_most;  /* `needed` is a limit, not a floor */
    bool measured; /* false: nothing in the run answers it, and `where` says what is missing */
    bool reached;
    spread figure;  /* of the worst case */
    char where[96]; /* that case */
} target_outcome;

/* Evaluates all targets; returns how many. */
size_t targets_evaluate(const result results[], size_t count, target_outcome out[TARGETS_MAX]);
/* True if every one was measured and reached. */
bool targets_reached(const target_outcome outcomes[], size_t count);

#endif
