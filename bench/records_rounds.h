/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Comparing in turn. In each of many short rounds every contestant runs once, warm, in an order that moves by
 * one from round to round; figures are compared only with figures of the same round. So what else the machine
 * does meets all of them alike.
 */
#ifndef BENCH_RECORDS_ROUNDS_H
#define BENCH_RECORDS_ROUNDS_H

#include <stdbool.h>
#include <stddef.h>
#include "records_contestant.h"
#include "stats.h"

typedef struct measured {
    const contestant *who;
    double *ns; /* per record, one figure per round, in the order of the rounds */
    spread spread;
} measured;

/* One case and what all contestants did in it. */
typedef struct result {
    workload load;
    size_t rounds, count;
    measured entries[CONTESTANTS_MAX];
} result;

/* Says whether a contestant takes part. */
typedef bool rounds_filter(const contestant *who, const void *context);

/*
 * Measures one case with all contestants that carry it and pass the filter (NULL: all). False, with a line on
 * stderr, if one cannot be set up, fails, or does not seal or open rightly: figures of wrong work are none.
 * Frees nothing of `out` before; result_free() does in either case.
 */
bool rounds_run(result *out, const workload *load, size_t rounds, rounds_filter *filter, const void *context);
void result_free(result *r);

/* NULL if that contestant did not take part. */
const measured *result_of(const result *r, const char *name);
/* How many times faster `fast` is than `slow`, by rounds. False if one of them did not take part. */
bool result_ratio(const result *r, const char *slow, const char *fast, spread *out);

#endif
