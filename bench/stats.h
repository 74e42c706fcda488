/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Medians and their spread. On a machine that others use too, a mean says how busy they were; a median of
 * many short rounds does not. No state.
 */
#ifndef BENCH_STATS_H
#define BENCH_STATS_H

#include <stddef.h>

/* The middle of a set of figures, and where eight in ten of them lie. */
typedef struct spread {
    double p10;
    double median;
    double p90;
} spread;

/* The value below which `share` (0 to 1) of the `count` figures lie, between neighbours in proportion.
 * `sorted` is in ascending order and not empty. */
double stats_percentile(const double sorted[], size_t count, double share);

/* Of `count` figures, at least one, which are left sorted. */
spread stats_spread(double values[], size_t count);

/*
 * Of the ratios above[i] / below[i]: what was measured in one round is compared with what was measured in the
 * same round. `room` has place for `count` figures.
 */
spread stats_ratio(const double above[], const double below[], size_t count, double room[]);

#endif
