/* SPDX-License-Identifier: Apache-2.0 */
/* What comes out of a run: a table for people, JSON for programs, plots. None of them measures anything. */
#ifndef BENCH_RECORDS_REPORT_H
#define BENCH_RECORDS_REPORT_H

#include <stdbool.h>
#include <stdio.h>
#include "machine.h"
#include "records_rounds.h"
#include "records_targets.h"

typedef struct report {
    machine machine;
    size_t rounds;
    result *results; /* by subject, then sealing and opening, then batch, then size */
    size_t count;
    const target_outcome *targets; /* NULL: not asked for */
    size_t target_count;
} report;

/* Nanoseconds per record for `size` bytes, as GB (10^9 bytes) per second. */
double report_gbps(size_t size, double ns);
/* The peer that ratios are stated against: OpenSSL's EVP for TLS 1.3, or for TLS 1.2 if there is no other. */
const char *report_peer(const result *r);
/* Ours that answers the case: the public interface, or NULL if the engine does not carry the cipher. */
const char *report_ours(const result *r);

void table_bound(FILE *to);
/* One line per case; with `details`, a line per case and contestant. */
void table_results(FILE *to, const report *r, bool details);
void table_targets(FILE *to, const report *r);

/* False, with a line on stderr, if the file cannot be written. "-": standard output. */
bool json_write(const char *path, const report *r);
/* SVG files into an existing or new folder, drawn by gnuplot; false with a line on stderr. */
bool plots_write(const char *folder, const report *r);

#endif
