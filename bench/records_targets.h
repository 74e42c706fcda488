/* SPDX-License-Identifier: Apache-2.0 */
/* What the engine must reach on a CPU with VAES and no AVX-512, and whether it did in this run. */
#ifndef BENCH_RECORDS_TARGETS_H
#define BENCH_RECORDS_TARGETS_H

#include <stddef.h>
#include "records_rounds.h"
#include "target.h"

#define TARGETS_MAX 32

/* Evaluates all targets; returns how many. */
size_t targets_evaluate(const result results[], size_t count, target_outcome out[TARGETS_MAX]);

#endif
