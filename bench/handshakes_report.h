/* SPDX-License-Identifier: Apache-2.0 */
/* What comes out of a run: tables for people, JSON for programs, plots, targets. None of them measures. */
#ifndef BENCH_HANDSHAKES_REPORT_H
#define BENCH_HANDSHAKES_REPORT_H

#include <stdio.h>
#include "handshakes_result.h"
#include "machine.h"
#include "target.h"

#define TARGETS_MAX 16

typedef struct report {
    machine machine;
    const stage *stage;
    result *results; /* by key, then version, then latency, then how many at once */
    size_t count;
    target_outcome targets[TARGETS_MAX]; /* none: not asked for */
    size_t target_count;
} report;

void table_results(FILE *to, const report *r);
/* A line for each contestant that failed or could not take part, and why. */
void table_failures(FILE *to, const report *r);
void targets_evaluate(report *r);
bool json_write(const char *path, const report *r);
bool plots_write(const char *folder, const report *r);

#endif
