/* SPDX-License-Identifier: Apache-2.0 */
/* Percentiles of times that are counted in buckets. */
#include "check.h"

#include "handshakes_tally.h"

static void test_small_times_are_exact(void)
{
    struct tally t = {0};

    for (int i = 1; i <= 10; i++)
        tally_done(&t, i);
    CU_ASSERT_EQUAL(tally_percentile(&t, 0.5), 5);
    CU_ASSERT_EQUAL(tally_percentile(&t, 1), 10);
}

/* Never less than the truth, and at most an eighth of an octave more. */
static void test_large_times_are_rounded_up_a_little(void)
{
    for (double ns = 16; ns < 1e13; ns *= 1.037) {
        struct tally t = {0};
        tally_done(&t, ns);
        double got = (double)tally_percentile(&t, 0.99);
        CU_ASSERT(got + 1 >= ns && got <= ns * 1.13);
    }
}

static void test_sums_and_the_first_failure(void)
{
    struct tally a = {0}, b = {0};

    tally_done(&a, 100);
    tally_failed(&b, "first");
    tally_failed(&b, "second");
    tally_done(&b, 1e6);
    tally_merge(&a, &b);
    CU_ASSERT(a.done == 2 && a.failed == 2);
    CU_ASSERT_STRING_EQUAL(a.failure, "first");
    CU_ASSERT(tally_percentile(&a, 0.5) < 120 && tally_percentile(&a, 0.99) < 120);
    CU_ASSERT(tally_percentile(&a, 1) >= 1000000);
}

static void test_nothing_done_is_no_time(void)
{
    struct tally t = {0};

    CU_ASSERT_EQUAL(tally_percentile(&t, 0.5), 0);
}

int main(int argc, char **argv)
{
    static const check_case cases[] = {
        {"small times are exact", test_small_times_are_exact},
        {"large times are rounded up a little", test_large_times_are_rounded_up_a_little},
        {"tallies add up and keep the first failure", test_sums_and_the_first_failure},
        {"nothing done is no time", test_nothing_done_is_no_time},
    };
    return check_run("tally of handshakes", cases, sizeof(cases) / sizeof(cases[0]), argc, argv);
}
