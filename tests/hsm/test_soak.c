/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A hundred thousand signatures by several threads, with losses in between: none fails, and memory does not
 * grow with their number. (What was lost is the leak checker's to find, when the process ends.)
 */
#include "fixture.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>

enum { THREADS = 8, SIGNATURES = 100000, WARM_UP = 20000, LOSS_EVERY = 2000, GROWTH_KB = 8 * 1024 };

static hsm_key *key;
static atomic_int begun, failures;

static void *sign_main(void *arg)
{
    (void)arg;
    while (atomic_fetch_add(&begun, 1) < SIGNATURES) {
        hsm_error err = {0};
        if (sign_any(key, &err) != HSM_OK && failures++ == 0)
            fprintf(stderr, "first failure: %s\n", err.text);
    }
    return NULL;
}

static long resident_kb(void)
{
    long pages = 0;
    FILE *f = fopen("/proc/self/statm", "r");
    if (!f || fscanf(f, "%*d %ld", &pages) != 1)
        pages = -1;
    if (f)
        (void)fclose(f);
    return pages * 4;
}

static void signatures_fail_never_and_leave_nothing(void)
{
    pthread_t threads[THREADS];
    long warm = 0;
    hsm *h = fixture_hsm();
    key = find_key(h, "p256");
    for (int i = 0; i < THREADS; i++)
        CU_ASSERT_EQUAL_FATAL(pthread_create(&threads[i], NULL, sign_main, NULL), 0);
    for (int next = LOSS_EVERY; next < SIGNATURES; next += LOSS_EVERY) {
        while (begun < next)
            give_way();
        if (next == WARM_UP)
            warm = resident_kb();
        counted->sign_answer = next % (2 * LOSS_EVERY) ? CKR_DEVICE_REMOVED : CKR_KEY_HANDLE_INVALID;
    }
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    CU_ASSERT_EQUAL(failures, 0);
    long grown = resident_kb() - warm;
    fprintf(stderr, "%d signatures, %ld KB more than after %d ", SIGNATURES, grown, WARM_UP);
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
    CU_ASSERT(grown < GROWTH_KB);
#endif
    hsm_key_free(key);
    hsm_free(h);
}

static const CU_TestInfo tests[] = {
    {"signatures fail never and leave nothing", signatures_fail_never_and_leave_nothing},
    CU_TEST_INFO_NULL,
};

int main(void)
{
    fixture_start();
    return run_suite("hsm: soak", tests);
}
