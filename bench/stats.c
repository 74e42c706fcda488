/* SPDX-License-Identifier: Apache-2.0 */
#include "stats.h"

#include <stdlib.h>

static int compare(const void *a, const void *b)
{
    double left = *(const double *)a, right = *(const double *)b;

    return (left > right) - (left < right);
}

double stats_percentile(const double sorted[], size_t count, double share)
{
    double place = share * (double)(count - 1);
    size_t below = (size_t)place;

    if (below + 1 >= count)
        return sorted[count - 1];
    return sorted[below] + (place - (double)below) * (sorted[below + 1] - sorted[below]);
}

spread stats_spread(double values[], size_t count)
{
    qsort(values, count, sizeof(values[0]), compare);
    return (spread){.p10 = stats_percentile(values, count, 0.1),
                    .median = stats_percentile(values, count, 0.5),
                    .p90 = stats_percentile(values, count, 0.9)};
}

spread stats_ratio(const double above[], const double below[], size_t count, double room[])
{
    for (size_t i = 0; i < count; i++)
        room[i] = above[i] / below[i];
    return stats_spread(room, count);
}
