/* SPDX-License-Identifier: Apache-2.0 */
/* A target of a benchmark and whether the run reached it. */
#ifndef BENCH_TARGET_H
#define BENCH_TARGET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include "stats.h"

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

/* True if every one was measured and reached. */
bool targets_reached(const target_outcome outcomes[], size_t count);
/* A line for each, under `heading`. */
void targets_print(FILE *to, const char *heading, const target_outcome targets[], size_t count);

#endif
