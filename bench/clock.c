/* SPDX-License-Identifier: Apache-2.0 */
#include "clock.h"

#include <sched.h>
#include <stdint.h>
#include <time.h>
#include "stats.h"

#define COST_READINGS 1001

double clock_now(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec * 1e9 + (double)now.tv_nsec;
}

double clock_cost(void)
{
    double readings[COST_READINGS];

    for (int i = 0; i < COST_READINGS; i++) {
        double start = clock_now();
        readings[i] = clock_now() - start;
    }
    return stats_spread(readings, COST_READINGS).median;
}

int clock_pin(int cpu)
{
    cpu_set_t set;

    if (cpu < 0)
        cpu = sched_getcpu();
    if (cpu < 0 || cpu >= CPU_SETSIZE)
        return -1;
    CPU_ZERO(&set);
    CPU_SET((size_t)cpu, &set);
    return sched_setaffinity(0, sizeof(set), &set) == 0 ? cpu : -1;
}

void clock_warm_up(double ms)
{
    double end = clock_now() + ms * 1e6;
    volatile uint64_t sink = 1;

    while (clock_now() < end)
        for (int i = 0; i < 10000; i++)
            sink = sink * 6364136223846793005u + 1442695040888963407u;
}
