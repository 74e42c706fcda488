/* SPDX-License-Identifier: Apache-2.0 */
/* Several tokens that hold one key: who is asked, what happens to those that fail, and who is never asked. */
#include "fixture.h"

#include <fcntl.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <openssl/ec.h>

#define GROUPS "pair: east, west | odd: east, mail | trio: east, pkcs11:token=west, south"

static hsm *h;
static hsm_key *key;

static void start_with(const char *group, unsigned timeout_ms)
{
    char uri[64];
    hsm_error err = {0};
    h = fixture_hsm_with(
        &(hsm_settings){.pin = FIXTURE_PIN, .groups = GROUPS, .timeout_ms = timeout_ms, .sessions = 2});
    (void)snprintf(uri, sizeof(uri), "pkcs11:token=%s;object=p256", group);
    if (find_one(h, uri, &key, &err) != HSM_OK)
        fprintf(stderr, "%s\n", err.text);
    CU_ASSERT_PTR_NOT_NULL_FATAL(key);
}

static void start(const char *group)
{
    start_with(group, 120000);
}

static void end(void)
{
    hsm_key_free(key);
    hsm_free(h);
}

static void order_nothing(void)
{
    for (int i = 0; i < FAULT_RULES; i++) {
        fault->rule[i].hang = 0;
        fault->rule[i].times = 0;
        fault->rule[i].answer = 0;
        fault->rule[i].delay_us = 0;
        fault->rule[i].token[0] = '\0';
    }
    fault->away = 0;
    while (fault->hanging > 0)
        give_way();
}

/* What that member answers to C_Sign from now on. */
static struct fault_rule *order_token(int rule, const char *token, CK_RV answer)
{
    struct fault_rule *r = &fault->rule[rule];
    (void)snprintf(r->token, FAULT_LABEL, "%s", token);
    r->function = FAULT_Sign;
    r->answer = answer;
    r->times = FAULT_EVER;
    return r;
}

static uint64_t uses(int rule)
{
    return FAULT_EVER - fault->rule[rule].times;
}

static void expect_signatures(int n)
{
    hsm_error err = {0};
    int bad = 0;
    for (int i = 0; i < n; i++) {
        if (!sign_and_verify(key, HSM_ECDSA, HSM_SHA256, &err) && bad++ == 0)
            fprintf(stderr, "%s\n", err.text);
    }
    CU_ASSERT_EQUAL(bad, 0);
}

/* A rule without any effect counts the calls. */
static void operations_are_spread_over_the_members(void)
{
    start("pair");
    (void)order_token(0, "east", CKR_OK);
    (void)order_token(1, "west", CKR_OK);
    expect_signatures(40);
    CU_ASSERT_EQUAL(uses(0), 20);
    CU_ASSERT_EQUAL(uses(1), 20);
    CU_ASSERT_STRING_EQUAL(hsm_key_uri(key), "pkcs11:token=pair;id=%01;object=p256;type=private");
    order_nothing();
    end();
}

static bool member_is_used(int rule)
{
    uint64_t before = uses(rule);
    expect_signatures(2);
    return uses(rule) > before;
}

static void failing_member_is_left_out_and_taken_back(void)
{
    static const CK_RV answers[] = {CKR_DEVICE_ERROR, CKR_FUNCTION_FAILED, CKR_GENERAL_ERROR,
                                    CKR_DEVICE_MEMORY, CKR_KEY_HANDLE_INVALID};
    start("pair");
    for (size_t i = 0; i < sizeof(answers) / sizeof(answers[0]); i++) {
        (void)order_token(0, "east", answers[i]);
        expect_signatures(20); /* nobody sees it */
        CU_ASSERT(uses(0) > 0);
        order_nothing();
        (void)order_token(0, "east", CKR_OK);
        while (!member_is_used(0))
            give_way();
        order_nothing();
    }
    end();
}

static void member_that_is_away_is_left_out_and_taken_back(void)
{
    start("pair");
    for (int i = 0; i < 3; i++) {
        (void)snprintf(fault->away_token, FAULT_LABEL, i % 2 ? "west" : "east");
        fault->away = 1;
        expect_signatures(50);
        fault->slot_shift += 3;
        fault->away = 0;
        (void)order_token(0, i % 2 ? "west" : "east", CKR_OK);
        while (!member_is_used(0))
            give_way();
        order_nothing();
    }
    end();
    fault->slot_shift = 0;
}

/* The operations that it has are given to the other; those that come do not wait. */
static void hanging_member_is_left_out(void)
{
    start_with("pair", 1500);
    expect_signatures(2);
    struct fault_rule *rule = order_token(0, "east", CKR_OK);
    rule->hang = 1;
    expect_signatures(50);
    CU_ASSERT(fault->hanging >= 1 && fault->hanging <= 2);
    order_nothing();
    end();
}

static sem_t woken;

static void wake(void *arg)
{
    (void)arg;
    sem_post(&woken);
}

static void sleepers_are_served_by_the_other_member(void)
{
    enum { JOBS = 8 };
    hsm_job *jobs[JOBS];
    start("pair");
    (void)order_token(0, "east", CKR_DEVICE_ERROR);
    for (int i = 0; i < JOBS; i++) {
        static const uint8_t digest[32] = {1};
        CU_ASSERT_EQUAL_FATAL(
            hsm_submit(key, &(hsm_mechanism){.scheme = HSM_ECDSA}, digest, 32, wake, NULL, &jobs[i], NULL),
            HSM_OK);
    }
    for (int i = 0; i < JOBS; i++)
        sem_wait(&woken);
    for (int i = 0; i < JOBS; i++) {
        uint8_t sig[HSM_OUTPUT_MAX];
        size_t len = sizeof(sig);
        hsm_error err = {0};
        CU_ASSERT(hsm_job_ready(jobs[i]));
        CU_ASSERT_EQUAL(hsm_job_finish(jobs[i], sig, &len, &err), HSM_OK);
    }
    order_nothing();
    end();
}

static void all_members_failing_is_told(void)
{
    hsm_error err = {0};
    start("pair");
    (void)order_token(0, "", CKR_DEVICE_ERROR);
    CU_ASSERT_EQUAL(sign_any(key, &err), HSM_E_TOKEN);
    CU_ASSERT_EQUAL(err.ckr, CKR_DEVICE_ERROR);
    order_nothing();
    while (sign_any(key, &err) != HSM_OK)
        give_way();
    end();
}

/* Says what goes to stderr while `act` runs. */
static void heard(void (*act)(void), char *text, size_t size)
{
    char path[128];
    (void)snprintf(path, sizeof(path), "%s/heard", fixture_dir());
    int file = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600), old = dup(2);
    CU_ASSERT_FATAL(file >= 0 && old >= 0 && dup2(file, 2) == 2);
    act();
    CU_ASSERT(dup2(old, 2) == 2);
    ssize_t len = pread(file, text, size - 1, 0);
    text[len > 0 ? len : 0] = '\0';
    (void)close(file);
    (void)close(old);
}

static void start_odd(void)
{
    start("odd");
}

/* "mail" has a key p256, too, with another CKA_ID; the copy in "south" has the same one. */
static void member_with_another_key_is_refused(void)
{
    char text[1024];
    heard(start_odd, text, sizeof(text));
    CU_ASSERT_STRING_EQUAL(text, ""); /* it just does not have the key */
    (void)order_token(0, "mail", CKR_OK);
    expect_signatures(20);
    CU_ASSERT_EQUAL(uses(0), 0);
    order_nothing();
    end();
}

static void start_trio(void)
{
    start("trio");
}

static void member_with_another_key_under_the_name_is_refused_aloud(void)
{
    char text[1024];
    heard(start_trio, text, sizeof(text));
    CU_ASSERT_PTR_NOT_NULL(strstr(text,
                                  "sealane: token group 'trio': member 'south' has another key than the "
                                  "others under the name 'p256'"));
    (void)order_token(0, "south", CKR_OK);
    (void)order_token(1, "east", CKR_DEVICE_ERROR);
    expect_signatures(20);
    CU_ASSERT_EQUAL(uses(0), 0);
    order_nothing();
    end();
}

/* Not there when the key is opened: taken in when it comes. */
static void member_that_comes_late_is_taken_in(void)
{
    (void)snprintf(fault->away_token, FAULT_LABEL, "east");
    fault->away = 1;
    start("pair");
    (void)order_token(0, "east", CKR_OK);
    expect_signatures(20);
    CU_ASSERT_EQUAL(uses(0), 0);
    fault->away = 0;
    while (!member_is_used(0))
        give_way();
    order_nothing();
    end();
}

static int sign_in_child(void *arg)
{
    (void)arg;
    for (int i = 0; i < 10; i++) {
        if (sign_any(key, NULL) != HSM_OK)
            return 1;
    }
    return 0;
}

#if defined(__SANITIZE_THREAD__)
enum { MAY_FORK = 0 }; /* the sanitizer does not follow threads that a child of threads starts */
#else
enum { MAY_FORK = 1 };
#endif

static void children_of_fork_use_all_members(void)
{
    if (!MAY_FORK)
        return;
    start("pair");
    (void)order_token(0, "east", CKR_OK);
    (void)order_token(1, "west", CKR_OK);
    expect_signatures(2);
    CU_ASSERT_EQUAL(run_child(sign_in_child, NULL, true), 0);
    expect_signatures(2);
    CU_ASSERT_EQUAL(uses(0), 7);
    CU_ASSERT_EQUAL(uses(1), 7);
    order_nothing();
    end();
}

static atomic_bool stop;
static atomic_int failures, successes;

static void *sign_main(void *arg)
{
    (void)arg;
    while (!stop) {
        hsm_error err = {0};
        if (sign_any(key, &err) == HSM_OK)
            successes++;
        else if (failures++ == 0)
            fprintf(stderr, "first failure: %s\n", err.text);
    }
    return NULL;
}

/* One member after the other goes and comes back under load: not one operation fails. */
static void load_never_sees_a_member_go(void)
{
    enum { THREADS = 8, ROUNDS = 12 };
    pthread_t threads[THREADS];
    start("pair");
    for (int i = 0; i < THREADS; i++)
        CU_ASSERT_EQUAL_FATAL(pthread_create(&threads[i], NULL, sign_main, NULL), 0);
    for (int i = 0; i < ROUNDS; i++) {
        const char *token = i % 2 ? "west" : "east";
        (void)snprintf(fault->away_token, FAULT_LABEL, "%s", token);
        fault->away = 1;
        int seen = successes;
        while (successes < seen + 200 && failures == 0)
            give_way();
        fault->away = 0;
        (void)order_token(0, token, CKR_OK);
        while (uses(0) < 5 && failures == 0) /* it is back, before the other one goes */
            give_way();
        order_nothing();
    }
    stop = true;
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    CU_ASSERT_EQUAL(failures, 0);
    end();
}

static void wrong_settings_are_told(void)
{
    static const struct {
        const char *text, *says;
    } wrong[] = {
        {"pair", "'NAME: TOKEN, TOKEN' is expected"},
        {": a, b", "'NAME: TOKEN, TOKEN' is expected"},
        {"pair: a,, b", "token group 'pair': a member has no name"},
        {"pair:", "token group 'pair': a member has no name"},
        {"pair: a | pair: b", "token group 'pair': named twice"},
        {"pair: pkcs11:token=a;object=x", "a member's URI names a token"},
        {"pair: pkcs11:token=a?pin-value=1", "a member's URI names a token"},
        {"pair: pkcs11:nonsense=a", "token group 'pair': "},
    };
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        hsm *none = NULL;
        hsm_error err = {0};
        CU_ASSERT_EQUAL(hsm_new(&none, &(hsm_settings){.module_path = "x", .groups = wrong[i].text}, &err),
                        HSM_E_SETTINGS);
        if (!strstr(err.text, wrong[i].says))
            fprintf(stderr, "'%s': %s\n", wrong[i].text, err.text);
        CU_ASSERT_PTR_NOT_NULL(strstr(err.text, wrong[i].says));
    }
}

static const CU_TestInfo tests[] = {
    {"operations are spread over the members", operations_are_spread_over_the_members},
    {"a failing member is left out and taken back", failing_member_is_left_out_and_taken_back},
    {"a member that is away is left out and taken back", member_that_is_away_is_left_out_and_taken_back},
    {"a hanging member is left out", hanging_member_is_left_out},
    {"sleepers are served by the other member", sleepers_are_served_by_the_other_member},
    {"all members failing is told", all_members_failing_is_told},
    {"a member with another key is refused", member_with_another_key_is_refused},
    {"a member with another key under the name is refused aloud",
     member_with_another_key_under_the_name_is_refused_aloud},
    {"a member that comes late is taken in", member_that_comes_late_is_taken_in},
    {"children of fork use all members", children_of_fork_use_all_members},
    {"load never sees a member go", load_never_sees_a_member_go},
    {"wrong settings are told", wrong_settings_are_told},
    CU_TEST_INFO_NULL,
};

int main(void)
{
    fixture_start();
    EVP_PKEY *same = EVP_EC_gen("P-256"), *other = EVP_EC_gen("P-256");
    fixture_add_copy("east", "p256", 1, same);
    fixture_add_copy("west", "p256", 1, same);
    fixture_add_copy("south", "p256", 1, other);
    EVP_PKEY_free(same);
    EVP_PKEY_free(other);
    (void)sem_init(&woken, 0, 0);
    return run_suite("hsm: groups of tokens", tests);
}
