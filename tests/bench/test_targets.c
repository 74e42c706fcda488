/* SPDX-License-Identifier: Apache-2.0 */
/* Targets are judged by the worst case that answers them, and one that nothing answers is not reached. */
#include "check.h"

#include <stdlib.h>
#include <sealane/engine.h>
#include "records_targets.h"

#define ROUNDS 3

static const subject gcm = {.name = "AES-128-GCM",
                            .kind = SUBJECT_GCM,
                            .carried = true,
                            .cipher = SEALANE_AES_128_GCM,
                            .key_len = 16};

/* A case of two contestants, as if measured: the peer takes `times` as long as the engine. */
static result result_make(bool sealing, size_t size, size_t batch, const char *ours, const char *theirs,
                          double times)
{
    result r = {.load = {&gcm, sealing, size, batch}, .rounds = ROUNDS, .count = 2};
    const char *const names[] = {ours, theirs};

    for (size_t i = 0; i < 2; i++) {
        r.entries[i].who = contestant_find(names[i]);
        r.entries[i].ns = calloc(ROUNDS, sizeof(double));
        for (size_t k = 0; k < ROUNDS; k++)
            r.entries[i].ns[k] = 100 * (double)(k + 1) * (i == 0 ? 1 : times);
    }
    return r;
}

static const target_outcome *outcome_find(const target_outcome outcomes[], size_t count, const char *part)
{
    for (size_t i = 0; i < count; i++)
        if (strstr(outcomes[i].what, part) != NULL)
            return &outcomes[i];
    return NULL;
}

static void test_worst_case_counts(void)
{
    target_outcome outcomes[TARGETS_MAX];
    result results[] = {
        result_make(true, 16384, 1, "aead", "evp-tls13", 2.5),
        result_make(false, 16384, 1, "aead", "evp-tls13", 2.1),
        result_make(true, 4096, 1, "aead", "evp-tls13", 1.0),  /* another size */
        result_make(true, 16384, 4, "aead", "evp-tls13", 1.0), /* another batch */
    };
    size_t count;
    const target_outcome *o;

    count = targets_evaluate(results, 4, outcomes);
    o = outcome_find(outcomes, count, "AES-128-GCM, 16 KB, one record, against EVP for TLS 1.3");
    CU_ASSERT_PTR_NOT_NULL_FATAL(o);
    CU_ASSERT_TRUE(o->measured);
    CU_ASSERT_DOUBLE_EQUAL(o->figure.median, 2.1, 1e-9);
    CU_ASSERT_FALSE(o->reached);
    CU_ASSERT_PTR_NOT_NULL(strstr(o->where, "open"));
    count = targets_evaluate(results, 1, outcomes);
    o = outcome_find(outcomes, count, "AES-128-GCM, 16 KB, one record, against EVP for TLS 1.3");
    CU_ASSERT_TRUE(o->reached);
    for (size_t i = 0; i < 4; i++)
        result_free(&results[i]);
}

static void test_what_was_not_measured_is_not_reached(void)
{
    target_outcome outcomes[TARGETS_MAX];
    result r = result_make(true, 16384, 1, "aead", "evp-tls13", 100);
    size_t count = targets_evaluate(&r, 1, outcomes);
    const target_outcome *o = outcome_find(outcomes, count, "AES-256-GCM, 16 KB");

    CU_ASSERT_PTR_NOT_NULL_FATAL(o);
    CU_ASSERT_FALSE(o->measured);
    CU_ASSERT_FALSE(targets_reached(outcomes, count));
    for (size_t i = 0; i < count; i++)
        outcomes[i].measured = outcomes[i].reached = true;
    CU_ASSERT_TRUE(targets_reached(outcomes, count));
    outcomes[count - 1].reached = false;
    CU_ASSERT_FALSE(targets_reached(outcomes, count));
    outcomes[count - 1].measured = false;
    CU_ASSERT_FALSE(targets_reached(outcomes, count));
    result_free(&r);
}

/* The choice is compared with every other that does the same work, not with those that do more. */
static void test_choice_is_compared_with_the_best_of_the_others(void)
{
    target_outcome outcomes[TARGETS_MAX];
    char chosen[64];
    result results[2];
    size_t count;
    const target_outcome *o;

    snprintf(chosen, sizeof(chosen), "backend-%s", sealane_backend_for(SEALANE_AES_128_GCM, 1, 64, NULL));
    results[0] = result_make(true, 64, 1, chosen, "ipsec-mb", 0.9);
    results[1] = result_make(true, 64, 1, chosen, "bound", 0.1);
    count = targets_evaluate(results, 2, outcomes);
    o = outcome_find(outcomes, count, "what dispatch chose");
    CU_ASSERT_PTR_NOT_NULL_FATAL(o);
    CU_ASSERT_TRUE(o->measured);
    CU_ASSERT_FALSE(o->reached);
    CU_ASSERT_DOUBLE_EQUAL(o->figure.median, 0.9, 1e-9);
    for (size_t i = 0; i < 2; i++)
        result_free(&results[i]);
}

int main(int argc, char **argv)
{
    static const check_case cases[] = {
        {"the worst case counts", test_worst_case_counts},
        {"what was not measured is not reached", test_what_was_not_measured_is_not_reached},
        {"the choice is compared with the best of the others",
         test_choice_is_compared_with_the_best_of_the_others},
    };
    return check_run("bench targets", cases, sizeof(cases) / sizeof(cases[0]), argc, argv);
}
