/* SPDX-License-Identifier: Apache-2.0 */
/*
 * p11-kit's client when its server dies while several threads are in it: some of them never come back, and the
 * connection does with C_Initialize only. The module here is only called so, and does as that one does.
 */
#include "fixture.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { TIMEOUT_MS = 1500, PROBES_MAX = 100, PROBES = 30 };
enum { RULE_HANG, RULE_SLOTS, RULE_INIT }; /* of the fault module */

#define CLIENT "p11-kit-client.so"

static hsm *h;
static hsm_key *key;

/* The fixture's module as a file of its own of that name. */
static void module_copy(const char *path)
{
    char buf[4096];
    size_t len;
    FILE *from = fopen(fixture_module(), "rb"), *to = fopen(path, "wb");
    CU_ASSERT_FATAL(from != NULL && to != NULL);
    while ((len = fread(buf, 1, sizeof(buf), from)) > 0)
        CU_ASSERT_EQUAL(fwrite(buf, 1, len, to), len);
    (void)fclose(from);
    CU_ASSERT_EQUAL(fclose(to), 0);
}

static void start(const char *name, unsigned sessions, unsigned timeout_ms)
{
    char path[128];
    hsm_error err = {0};
    (void)snprintf(path, sizeof(path), "%s/%s", fixture_dir(), name);
    if (access(path, R_OK) != 0)
        module_copy(path);
    const hsm_settings s = {
        .module_path = path, .pin = FIXTURE_PIN, .sessions = sessions, .timeout_ms = timeout_ms};
    CU_ASSERT_EQUAL_FATAL(hsm_new(&h, &s, &err), HSM_OK);
    key = find_key(h, "p256");
    CU_ASSERT_EQUAL(sign_patiently(key), HSM_OK);
}

static void end(void)
{
    hsm_key_free(key);
    hsm_free(h);
}

static void *sign_main(void *arg)
{
    *(hsm_status *)arg = sign_any(key, NULL);
    return NULL;
}

static void rule(int number, enum fault_function function, uint64_t times, CK_RV answer, bool hang)
{
    struct fault_rule *r = &fault->rule[number];
    r->function = function;
    r->answer = answer;
    r->hang = hang;
    r->times = times;
}

/* So many threads in the module that will not return, and all that asks for slots is told that the device fails. */
static void server_dies(pthread_t threads[], hsm_status status[], unsigned count)
{
    rule(RULE_HANG, FAULT_Sign, count, CKR_DEVICE_ERROR, true);
    for (unsigned i = 0; i < count; i++)
        CU_ASSERT_EQUAL_FATAL(pthread_create(&threads[i], NULL, sign_main, &status[i]), 0);
    while (fault->hanging < count)
        give_way();
    rule(RULE_SLOTS, FAULT_GetSlotList, FAULT_EVER, CKR_DEVICE_ERROR, false);
    rule(RULE_INIT, FAULT_SignInit, 1, CKR_DEVICE_ERROR, false);
}

/* The server is back, and answers whoever connects anew. False if nobody does. */
static bool comes_back(uint64_t initialized)
{
    uint64_t probes = fault->calls[FAULT_GetSlotList];
    for (;;) {
        hsm_status status = sign_any(key, NULL);
        if (fault->calls[FAULT_Initialize] > initialized)
            fault->rule[RULE_SLOTS].times = 0;
        if (status == HSM_OK)
            return true;
        if (fault->calls[FAULT_Initialize] == initialized &&
            fault->calls[FAULT_GetSlotList] > probes + PROBES_MAX)
            return false;
        give_way();
    }
}

static void release(pthread_t threads[], unsigned count)
{
    fault->rule[RULE_HANG].hang = 0;
    for (unsigned i = 0; i < count; i++)
        pthread_join(threads[i], NULL);
    memset((void *)fault->rule, 0, sizeof(fault->rule));
}

static void threads_that_hang_do_not_keep_the_token_away(void)
{
    pthread_t threads[2];
    hsm_status status[2] = {HSM_E_TOKEN, HSM_E_TOKEN};
    start(CLIENT, 16, 120000);
    uint64_t initialized = fault->calls[FAULT_Initialize];
    server_dies(threads, status, 2);
    CU_ASSERT_FATAL(comes_back(initialized));
    for (int i = 0; i < 20; i++)
        CU_ASSERT_EQUAL(sign_any(key, NULL), HSM_OK);
    release(threads, 2);
    CU_ASSERT_EQUAL(status[0], HSM_OK); /* they have come back after all, and tried again */
    CU_ASSERT_EQUAL(status[1], HSM_OK);
    initialized =
        fault->calls[FAULT_Initialize]; /* they are not missed: without them all goes its usual way */
    rule(RULE_SLOTS, FAULT_GetSlotList, 2, CKR_DEVICE_ERROR, false);
    rule(RULE_INIT, FAULT_SignInit, 1, CKR_DEVICE_ERROR, false);
    CU_ASSERT_EQUAL(sign_any(key, NULL), HSM_OK);
    CU_ASSERT_EQUAL(fault->calls[FAULT_Initialize], initialized + 1);
    memset((void *)fault->rule, 0, sizeof(fault->rule));
    end();
}

/* Each event may leave some threads behind: others take their places. */
static void sessions_do_not_run_out(void)
{
    enum { EVENTS = 3, SESSIONS = 2 };
    pthread_t threads[EVENTS];
    hsm_status status[EVENTS];
    start(CLIENT, SESSIONS, TIMEOUT_MS);
    for (int i = 0; i < EVENTS; i++) {
        uint64_t initialized = fault->calls[FAULT_Initialize];
        fault->rule[i + 3].hang = 1; /* one that is there for good: a rule of its own */
        fault->rule[i + 3].function = FAULT_Sign;
        fault->rule[i + 3].times = 1;
        CU_ASSERT_EQUAL_FATAL(pthread_create(&threads[i], NULL, sign_main, &status[i]), 0);
        while (fault->hanging < (uint64_t)i + 1)
            give_way();
        rule(RULE_SLOTS, FAULT_GetSlotList, FAULT_EVER, CKR_DEVICE_ERROR, false);
        rule(RULE_INIT, FAULT_SignInit, 1, CKR_DEVICE_ERROR, false);
        CU_ASSERT_FATAL(comes_back(initialized));
        pthread_join(threads[i], NULL);
        CU_ASSERT_EQUAL(status[i], HSM_E_TIMEOUT);
    }
    CU_ASSERT_EQUAL(fault->hanging, EVENTS);
    hsm_status last;
    do
        last = sign_any(key, NULL);
    while (last == HSM_E_TIMEOUT &&
           fault->hanging == EVENTS); /* on a slow machine one that does not hang is late */
    CU_ASSERT_EQUAL(last, HSM_OK);
    for (int i = 0; i < EVENTS; i++)
        fault->rule[i + 3].hang = 0;
    while (fault->hanging > 0)
        give_way();
    memset((void *)fault->rule, 0, sizeof(fault->rule));
    CU_ASSERT_EQUAL(sign_patiently(key), HSM_OK);
    end();
}

/* Looks for the token again and again, with a thread that hangs in the module. */
static void expect_no_restart(const char *name)
{
    pthread_t thread;
    hsm_status status;
    start(name, 4, 120000);
    uint64_t initialized = fault->calls[FAULT_Initialize];
    rule(RULE_HANG, FAULT_Sign, 1, CKR_OK, true);
    CU_ASSERT_EQUAL_FATAL(pthread_create(&thread, NULL, sign_main, &status), 0);
    while (fault->hanging < 1)
        give_way();
    if (strcmp(name, CLIENT) == 0)
        fault->away = 1;
    else {
        rule(RULE_SLOTS, FAULT_GetSlotList, FAULT_EVER, CKR_DEVICE_ERROR, false);
        rule(RULE_INIT, FAULT_SignInit, 1, CKR_DEVICE_ERROR, false);
    }
    uint64_t probes = fault->calls[FAULT_GetSlotList];
    while (fault->calls[FAULT_GetSlotList] < probes + PROBES) {
        CU_ASSERT_NOT_EQUAL(sign_any(key, NULL), HSM_OK);
        give_way();
    }
    CU_ASSERT_EQUAL(fault->calls[FAULT_Initialize], initialized);
    fault->away = 0;
    fault->rule[RULE_SLOTS].times = 0;
    release(&thread, 1);
    hsm_status again;
    do
        again = sign_any(key, NULL);
    while (again != HSM_OK);
    end();
}

/* Nothing of the kind is done to a module that is alive, nor to any other: it may not survive it. */
static void a_living_module_is_let_be(void)
{
    expect_no_restart(CLIENT);
}

static void another_module_is_let_be(void)
{
    expect_no_restart("another.so");
}

static const CU_TestInfo tests[] = {
    {"threads that hang do not keep the token away", threads_that_hang_do_not_keep_the_token_away},
    {"sessions do not run out", sessions_do_not_run_out},
    {"a living module is let be", a_living_module_is_let_be},
    {"another module is let be", another_module_is_let_be},
    CU_TEST_INFO_NULL,
};

int main(void)
{
    fixture_start();
    return run_suite("hsm: p11-kit's client loses its server", tests);
}
