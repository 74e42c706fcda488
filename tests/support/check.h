/* SPDX-License-Identifier: Apache-2.0 */
/* A CUnit program in a few lines: a table of named cases, the closing line, the exit status. */
#ifndef TESTS_CHECK_H
#define TESTS_CHECK_H

#include <stdio.h>
#include <string.h>
#include <CUnit/Basic.h>

typedef struct check_case {
    const char *name; /* what must hold */
    void (*run)(void);
} check_case;

/* Runs `cases` (those whose name contains argv[1], if given); the exit status of main. */
static inline int check_run(const char *suite_name, const check_case cases[], size_t count, int argc,
                            char **argv)
{
    if (CU_initialize_registry() != CUE_SUCCESS)
        return 2;
    CU_pSuite suite = CU_add_suite(suite_name, NULL, NULL);
    for (size_t i = 0; suite != NULL && i < count; i++)
        if ((argc < 2 || strstr(cases[i].name, argv[1]) != NULL) &&
            CU_add_test(suite, cases[i].name, cases[i].run) == NULL)
            return 2;
    CU_basic_set_mode(CU_BRM_VERBOSE);
    if (suite == NULL || CU_basic_run_tests() != CUE_SUCCESS)
        return 2;
    unsigned failed = CU_get_number_of_failures(), ran = CU_get_number_of_tests_run();
    CU_cleanup_registry();
    return failed > 0 || ran == 0;
}

#endif
