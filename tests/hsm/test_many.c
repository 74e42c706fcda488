/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A token with ten thousand keys: one is opened by asking the token once, by id or by label, however many there are.
 * Prints what it cost beside the token's own C_FindObjects in the same process, in turn; what is asserted is the
 * number of searches, not the time.
 *
 * SEALANE_TEST_KEYS: another number of keys.
 */
#include "fixture.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <p11-kit/pkcs11.h>

enum { ROUNDS = 15 };

static unsigned keys = 10000;

static void key_name(unsigned i, char label[16], uint8_t id[4])
{
    (void)snprintf(label, 16, "key-%05u", i);
    unsigned mixed = i ^ 0xa5c3e7;
    memcpy(id, (uint8_t[]){0x5a, (uint8_t)(mixed >> 16), (uint8_t)(mixed >> 8), (uint8_t)mixed}, 4);
}

static double now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e3 + (double)t.tv_nsec / 1e6;
}

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(double *list, size_t n)
{
    qsort(list, n, sizeof(*list), compare);
    return list[n / 2];
}

/* One search by the token itself, in a session of its own. */
static double raw_search(CK_FUNCTION_LIST *f, CK_SESSION_HANDLE session, CK_ATTRIBUTE_TYPE type, void *value,
                         size_t len)
{
    CK_OBJECT_CLASS class = CKO_PRIVATE_KEY;
    CK_ATTRIBUTE template[] = {{CKA_CLASS, &class, sizeof(class)}, {type, value, len}};
    CK_OBJECT_HANDLE found[4];
    CK_ULONG n = 0;
    double before = now_ms();
    CU_ASSERT_EQUAL_FATAL(f->C_FindObjectsInit(session, template, 2), CKR_OK);
    CU_ASSERT_EQUAL_FATAL(f->C_FindObjects(session, found, 4, &n), CKR_OK);
    CU_ASSERT_EQUAL_FATAL(f->C_FindObjectsFinal(session), CKR_OK);
    CU_ASSERT_EQUAL(n, 1);
    return now_ms() - before;
}

static double our_search(hsm *h, const char *uri, uint64_t *searches)
{
    hsm_key *key = NULL;
    hsm_error err = {0};
    uint64_t before = counted->finds;
    double start = now_ms();
    CU_ASSERT_EQUAL(find_one(h, uri, &key, &err), HSM_OK);
    double took = now_ms() - start;
    *searches = counted->finds - before;
    CU_ASSERT_EQUAL(sign_any(key, &err), HSM_OK);
    hsm_key_free(key);
    return took;
}

static void compare_searches(hsm *h, CK_FUNCTION_LIST *f, CK_SESSION_HANDLE session, bool by_id)
{
    double raw[ROUNDS], ours[ROUNDS];
    uint64_t searches = 0;
    for (unsigned i = 0; i < ROUNDS; i++) {
        char label[16], uri[96];
        uint8_t id[4];
        key_name((i * 7919u + 13u) % keys, label, id);
        if (by_id)
            (void)snprintf(uri, sizeof(uri), "pkcs11:token=%s;id=%%%02x%%%02x%%%02x%%%02x;type=private",
                           FIXTURE_TOKEN, id[0], id[1], id[2], id[3]);
        else
            (void)snprintf(uri, sizeof(uri), "pkcs11:token=%s;object=%s;type=private", FIXTURE_TOKEN, label);
        raw[i] = by_id ? raw_search(f, session, CKA_ID, id, sizeof(id))
                       : raw_search(f, session, CKA_LABEL, label, strlen(label));
        ours[i] = our_search(h, uri, &searches);
        CU_ASSERT_EQUAL(searches, 1);
    }
    double a = median(ours, ROUNDS), b = median(raw, ROUNDS);
    printf("\n    by %-5s one C_FindObjects %8.2f ms, opening the key %8.2f ms: %5.2f times as much",
           by_id ? "id" : "label", b, a, a / b);
}

static void one_key_of_many_is_found_by_one_search(void)
{
    hsm *h = fixture_hsm();
    CK_FUNCTION_LIST *f = NULL;
    CK_SESSION_HANDLE session = 0;
    uint64_t searches;
    char uri[64];
    (void)snprintf(uri, sizeof(uri), "pkcs11:token=%s;object=key-00000;type=private", FIXTURE_TOKEN);
    double cold = our_search(h, uri, &searches); /* the module reads the token's files now */
    printf("\n    %u keys; the first search of a process, which reads them all: %.0f ms", keys, cold);
    f = fixture_functions();
    CU_ASSERT_EQUAL_FATAL(
        f->C_OpenSession(fixture_slot(FIXTURE_TOKEN), CKF_SERIAL_SESSION, NULL, NULL, &session), CKR_OK);
    compare_searches(h, f, session, true);
    compare_searches(h, f, session, false);
    printf("\n    ");
    (void)f->C_CloseSession(session);
    hsm_free(h);
}

int main(void)
{
    static const CU_TestInfo tests[] = {
        {"one key of many is found by one search", one_key_of_many_is_found_by_one_search},
        CU_TEST_INFO_NULL};
    const char *text = getenv("SEALANE_TEST_KEYS");
    if (text)
        keys = (unsigned)strtoul(text, NULL, 10);
    fixture_start();
    fixture_add_keys(keys, key_name);
    return run_suite("hsm-many", tests);
}
