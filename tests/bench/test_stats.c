/* SPDX-License-Identifier: Apache-2.0 */
/* Medians, percentiles and ratios of known figures. */
#include "check.h"

#include <math.h>
#include "stats.h"

#define NEAR(a, b) CU_ASSERT_DOUBLE_EQUAL(a, b, 1e-12)

static void test_percentiles_lie_between_neighbours(void)
{
    const double ten[] = {0, 10, 20, 30, 40, 50, 60, 70, 80, 90, 100};
    const double two[] = {3, 5};

    NEAR(stats_percentile(ten, 11, 0), 0);
    NEAR(stats_percentile(ten, 11, 0.1), 10);
    NEAR(stats_percentile(ten, 11, 0.25), 25);
    NEAR(stats_percentile(ten, 11, 0.9), 90);
    NEAR(stats_percentile(ten, 11, 1), 100);
    NEAR(stats_percentile(two, 2, 0.5), 4);
    NEAR(stats_percentile(two, 2, 0.9), 4.8);
    NEAR(stats_percentile(two, 1, 0.9), 3);
}

static void test_order_does_not_matter(void)
{
    double odd[] = {9, 1, 5, 7, 3}, even[] = {4, 1, 3, 2}, one[] = {42};
    spread s = stats_spread(odd, 5);

    NEAR(s.median, 5);
    NEAR(s.p10, 1.8);
    NEAR(s.p90, 8.2);
    NEAR(stats_spread(even, 4).median, 2.5);
    s = stats_spread(one, 1);
    CU_ASSERT(s.p10 == 42 && s.median == 42 && s.p90 == 42);
}

static void test_a_few_wild_figures_do_not_move_the_median(void)
{
    double figures[101];

    for (int i = 0; i < 101; i++)
        figures[i] = i % 10 == 0 ? 1e9 : 100 + i % 10;
    CU_ASSERT(stats_spread(figures, 101).median < 110);
}

/* Both contestants slow down fivefold in half of the rounds: their ratio stays, that of their medians too,
 * but a ratio between different rounds would not. */
static void test_ratios_are_taken_within_a_round(void)
{
    double slow[20], fast[20], room[20];
    spread s;

    for (int i = 0; i < 20; i++) {
        double busy = i % 2 == 0 ? 1 : 5;
        slow[i] = 300 * busy;
        fast[i] = 100 * busy;
    }
    s = stats_ratio(slow, fast, 20, room);
    NEAR(s.p10, 3);
    NEAR(s.median, 3);
    NEAR(s.p90, 3);
    CU_ASSERT(slow[0] == 300 && slow[1] == 1500 && fast[1] == 500);
}

int main(int argc, char **argv)
{
    static const check_case cases[] = {
        {"percentiles lie between neighbours in proportion", test_percentiles_lie_between_neighbours},
        {"the order of figures does not matter", test_order_does_not_matter},
        {"a few wild figures do not move the median", test_a_few_wild_figures_do_not_move_the_median},
        {"ratios are taken within a round", test_ratios_are_taken_within_a_round},
    };
    return check_run("bench statistics", cases, sizeof(cases) / sizeof(cases[0]), argc, argv);
}
