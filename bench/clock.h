/* SPDX-License-Identifier: Apache-2.0 */
/* The clock, the core that is measured on, and a core that is awake. */
#ifndef BENCH_CLOCK_H
#define BENCH_CLOCK_H

#include <stdbool.h>

/* Nanoseconds of a clock that only goes forward. */
double clock_now(void);
/* What two readings in a row lie apart: to be taken off every measured stretch. */
double clock_cost(void);
/* Keeps the calling thread on one core; -1: the one it is on. Returns which, or -1 if the kernel refuses. */
int clock_pin(int cpu);
/* Computes for `ms` milliseconds, so that the core runs at the frequency that it can hold. */
void clock_warm_up(double ms);

#endif
