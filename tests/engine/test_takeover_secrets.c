/* SPDX-License-Identifier: Apache-2.0 */
/* What our code frees, and its stack, hold no secret of a connection, be it taken over or not. */
#include "support_libssl.h"

#include <errno.h>
#include <malloc.h>
#include <stdio.h>
#include <string.h>
#include <ucontext.h>
#include "hmac.h"
#include "key_schedule.h"

static const int sides[] = {CLIENT, SERVER};

/*
 * This program is linked with --wrap for the allocation calls: what our code frees is searched for secrets. What it
 * gets is cleared first, for libssl, which frees its own, leaves some of them behind. And it may get nothing.
 */
void *__real_malloc(size_t size);
void *__real_calloc(size_t count, size_t size);
int __real_posix_memalign(void **block, size_t alignment, size_t size);
void __real_free(void *block);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t count, size_t size);
int __wrap_posix_memalign(void **block, size_t alignment, size_t size);
void __wrap_free(void *block);

static long until_none = -1; /* allocations that still succeed, then one does not; negative: all do */

static bool is_none(void)
{
    return until_none >= 0 && until_none-- == 0;
}

static void *cleared(void *block)
{
    return block != NULL ? memset(block, 0, malloc_usable_size(block)) : NULL;
}

void *__wrap_malloc(size_t size)
{
    return is_none() ? NULL : cleared(__real_malloc(size));
}

void *__wrap_calloc(size_t count, size_t size)
{
    return is_none() ? NULL : cleared(__real_calloc(count, size));
}

int __wrap_posix_memalign(void **block, size_t alignment, size_t size)
{
    int error = is_none() ? ENOMEM : __real_posix_memalign(block, alignment, size);

    if (error == 0)
        cleared(*block);
    return error;
}

static struct {
    uint8_t secrets[4][48];
    size_t count, len, freed, dirty;
} search;

void __wrap_free(void *block)
{
    size_t size = block != NULL ? malloc_usable_size(block) : 0;

    search.freed += search.count > 0 && block != NULL;
    for (size_t i = 0; i < search.count && block != NULL; i++)
        search.dirty += memmem(block, size, search.secrets[i], search.len) != NULL;
    __real_free(block);
}

static void on_secret(const SSL *ssl, const char *line)
{
    const char *hex = strrchr(line, ' ') + 1;

    (void)ssl;
    if (strstr(line, "_TRAFFIC_SECRET_0 ") == NULL || search.count == COUNT(search.secrets))
        return;
    search.len = strlen(hex) / 2;
    for (size_t i = 0; i < search.len; i++)
        CU_ASSERT_EQUAL_FATAL(sscanf(hex + 2 * i, "%2hhx", &search.secrets[search.count][i]), 1);
    search.count++;
}

enum { LEFT, TAKEN, RENEWED };

static void secrets_search(uint16_t suite, int ours, int what)
{
    prng random = {9};
    duo d;

    memset(&search, 0, sizeof(search));
    duo_prepare(&d, suite, ours);
    SSL_CTX_set_keylog_callback(d.ctx[ours], NULL);
    SSL_CTX_set_keylog_callback(d.ctx[ours], on_secret);
    CU_ASSERT(sealane_takeover_prepare(d.ctx[ours]));
    SSL_CTX_set_session_cache_mode(d.ctx[CLIENT], SSL_SESS_CACHE_CLIENT);
    duo_begin(&d);
    if (d.suite->version == SEALANE_TLS1_2)
        search.len =
            SSL_SESSION_get_master_key(SSL_get_session(d.ssl[ours]), search.secrets[search.count++], 48);
    duo_say_hello(&d);
    if (what != LEFT) {
        CU_ASSERT_EQUAL_FATAL(duo_take(&d), SEALANE_TAKEN);
        CU_ASSERT(duo_talks(&d, &random));
    }
    if (what == RENEWED) {
        sealane_session_renew(d.session, true);
        CU_ASSERT(duo_talks(&d, &random));
    }
    duo_free(&d);
    CU_ASSERT(search.count > 0 && search.len == 48);
    CU_ASSERT(search.freed > 0);
    CU_ASSERT_EQUAL(search.dirty, 0);
    search.count = 0;
}

static void test_secrets_are_wiped(void)
{
    static const uint16_t suites[] = {0x1302, 0xc02c};

    for (size_t i = 0; i < COUNT(suites) * COUNT(sides); i++) {
        for (int what = LEFT; what <= RENEWED; what++)
            secrets_search(suites[i / 2], sides[i % 2], what);
    }
}

/* ---- Without memory ---- */

/* Whichever allocation fails, libssl goes on, and the next attempt does not come too late. */
static void takeover_starves(uint16_t suite, int ours)
{
    sealane_takeover_verdict verdict;
    long failed = 0;
    duo d;

    duo_prepare(&d, suite, ours);
    SSL_CTX_set_session_cache_mode(d.ctx[CLIENT], SSL_SESS_CACHE_CLIENT);
    duo_begin(&d);
    duo_say_hello(&d);
    for (;; failed++) {
        until_none = failed;
        verdict = duo_take(&d);
        until_none = -1;
        if (verdict == SEALANE_TAKEN || failed == 100)
            break;
        CU_ASSERT_EQUAL(verdict, SEALANE_TAKEOVER_MEMORY);
        CU_ASSERT_FATAL(duo_libssl_talks(&d));
    }
    CU_ASSERT_EQUAL(verdict, SEALANE_TAKEN);
    CU_ASSERT(failed >= 5); /* a session, and two keys of two blocks */
    duo_free(&d);
}

static void test_without_memory(void)
{
    for (size_t i = 0; i < COUNT(sides); i++) {
        takeover_starves(0x1302, sides[i]);
        takeover_starves(0xc02c, sides[i]);
    }
}

/* ---- The stack ---- */

#define STACK_SIZE (1 << 20)

/* Sanitizers have stacks of their own beside it. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define STACK_IS_OURS 0
#elif defined(__has_feature)
#define STACK_IS_OURS                                                                                        \
    !(__has_feature(address_sanitizer) || __has_feature(thread_sanitizer) || __has_feature(memory_sanitizer))
#else
#define STACK_IS_OURS 1
#endif

/* What is looked for: traffic secrets or the master secret, and the keys and IVs that come of them. */
typedef struct secrets {
    struct {
        uint8_t bytes[SECRET_MAX];
        size_t len;
    } list[12];
    size_t count;
} secrets;

static void secrets_add(secrets *s, const uint8_t *bytes, size_t len)
{
    CU_ASSERT_FATAL(s->count < COUNT(s->list));
    memcpy(s->list[s->count].bytes, bytes, len);
    s->list[s->count++].len = len;
}

enum { KEYS, KEYS_AND_IVS };

static void secrets_add_key(secrets *s, const sealane_suite *suite, const traffic_key *key, int what)
{
    secrets_add(s, key->key, sealane_cipher_get(suite->cipher)->key_len);
    if (what == KEYS_AND_IVS)
        secrets_add(s, key->iv, sizeof(key->iv));
}

static void secrets_add_traffic(secrets *s, const sealane_suite *suite, const uint8_t *secret, int what)
{
    traffic_key key;

    secrets_add(s, secret, secret_len(suite));
    traffic_key_derive(suite, secret, &key);
    secrets_add_key(s, suite, &key, what);
}

static size_t secrets_in(const secrets *s, const uint8_t *bytes, size_t len)
{
    size_t found = 0;

    for (size_t i = 0; i < s->count; i++)
        found += memmem(bytes, len, s->list[i].bytes, s->list[i].len) != NULL;
    return found;
}

static struct {
    ucontext_t test, acting;
    void (*act)(void *argument);
    void *argument;
} scene;

static void scene_run(void)
{
    scene.act(scene.argument);
}

/* Runs that on a stack of its own, and counts which secrets it leaves there. */
static size_t secrets_left(const secrets *s, void (*act)(void *), void *argument)
{
    static uint8_t stack[STACK_SIZE];

    memset(stack, 0, sizeof(stack));
    scene.act = act;
    scene.argument = argument;
    CU_ASSERT_EQUAL_FATAL(getcontext(&scene.acting), 0);
    scene.acting.uc_stack.ss_sp = stack;
    scene.acting.uc_stack.ss_size = sizeof(stack);
    scene.acting.uc_link = &scene.test;
    makecontext(&scene.acting, scene_run, 0);
    CU_ASSERT_EQUAL_FATAL(swapcontext(&scene.test, &scene.acting), 0);
    return secrets_in(s, stack, sizeof(stack));
}

/* That the search finds what is there. */
static void leave(void *argument)
{
    volatile uint8_t copy[SECRET_MAX];

    for (size_t i = 0; i < sizeof(copy); i++)
        copy[i] = ((const uint8_t *)argument)[i];
}

/*
 * Each act ends soon after it has done with its secrets: what goes on for long overwrites them itself, here and today.
 */
static struct {
    const sealane_suite *suite;
    uint8_t secret[SECRET_MAX], randoms[2][TLS12_RANDOM];
    traffic_key keys[2];
    sealane_session *session;
} acted;

static void derive(void *secret)
{
    traffic_key_derive(acted.suite, secret, &acted.keys[0]);
}

static void update(void *secret)
{
    traffic_secret_update(acted.suite, secret);
}

static void expand(void *master)
{
    traffic_keys_expand(acted.suite, master, acted.randoms[0], acted.randoms[1], &acted.keys[0],
                        &acted.keys[1]);
}

static void begin_session(void *params)
{
    CU_ASSERT_EQUAL_FATAL(sealane_session_new(&acted.session, params), SEALANE_OK);
}

static void renew(void *session)
{
    static uint8_t wire[64];
    sealane_session_op op = {.session = session, .out = wire, .out_size = sizeof(wire)};

    sealane_sessions_seal(&op, 1);
    CU_ASSERT(op.result == SEALANE_OK && op.produced > 0);
}

/* libssl's end would overwrite the master secret: there is none without memory. */
static void take_starving(void *d)
{
    until_none = 0;
    CU_ASSERT_EQUAL(duo_take(d), SEALANE_TAKEOVER_MEMORY);
    until_none = -1;
}

static void secrets_add_hmac(secrets *s, const uint8_t *secret)
{
    hmac_key hmac;

    hmac_key_init(SHA_ID_384, &hmac, secret, SECRET_MAX);
    secrets_add(s, (const uint8_t *)&hmac.inner, SECRET_MAX);
    secrets_add(s, (const uint8_t *)&hmac.outer, SECRET_MAX);
}

static void stack_search_13(void)
{
    static uint8_t secret[2][SECRET_MAX] = {{5, 6, 7}, {8, 9, 10}};
    sealane_session_params params = {.suite = sealane_suite_find(0x1302),
                                     .client_secret = secret[0],
                                     .server_secret = secret[1],
                                     .secret_len = SECRET_MAX};
    uint8_t next[SECRET_MAX];
    secrets s = {.count = 0}, renewed = {.count = 0};

    acted.suite = params.suite;
    memcpy(next, secret[0], sizeof(next));
    traffic_secret_update(params.suite, next);
    secrets_add_traffic(&s, params.suite, secret[0], KEYS_AND_IVS);
    secrets_add_traffic(&s, params.suite, secret[1], KEYS_AND_IVS);
    secrets_add_traffic(&s, params.suite, next, KEYS_AND_IVS);
    secrets_add_hmac(&s, secret[0]);
    /* A record's nonce stays, and with sequence number 0 it is the IV, which alone is of no use. */
    secrets_add_traffic(&renewed, params.suite, secret[0], KEYS);
    secrets_add_traffic(&renewed, params.suite, next, KEYS);
    secrets_add_hmac(&renewed, secret[0]);
    CU_ASSERT_EQUAL(secrets_left(&s, leave, secret[0]), 1);
    CU_ASSERT_EQUAL(secrets_left(&s, derive, secret[0]), 0);
    memcpy(acted.secret, secret[0], SECRET_MAX);
    CU_ASSERT_EQUAL(secrets_left(&s, update, acted.secret), 0);
    CU_ASSERT_EQUAL(memcmp(acted.secret, next, SECRET_MAX), 0);
    CU_ASSERT_EQUAL(secrets_left(&s, begin_session, &params), 0);
    CU_ASSERT(sealane_session_renew(acted.session, false));
    CU_ASSERT_EQUAL(secrets_left(&renewed, renew, acted.session), 0);
    sealane_session_free(acted.session);
}

static void stack_search_12(int ours)
{
    uint8_t master[TLS12_MASTER];
    secrets s = {.count = 0};
    duo d;

    duo_prepare(&d, 0xc02c, ours);
    duo_begin(&d);
    duo_say_hello(&d);
    SSL_SESSION_get_master_key(SSL_get_session(d.ssl[ours]), master, sizeof(master));
    SSL_get_client_random(d.ssl[ours], acted.randoms[0], TLS12_RANDOM);
    SSL_get_server_random(d.ssl[ours], acted.randoms[1], TLS12_RANDOM);
    acted.suite = d.suite;
    expand(master);
    secrets_add(&s, master, sizeof(master));
    secrets_add_key(&s, d.suite, &acted.keys[0], KEYS); /* four bytes of IV could be anything */
    secrets_add_key(&s, d.suite, &acted.keys[1], KEYS);
    secrets_add(&s, acted.keys[1].key + 16, 16); /* the second digest of the key block begins there */
    secrets_add_hmac(&s, master);
    CU_ASSERT_EQUAL(secrets_left(&s, expand, master), 0);
    CU_ASSERT_EQUAL(secrets_left(&s, take_starving, &d), 0);
    duo_free(&d);
}

static void test_nothing_is_left_on_the_stack(void)
{
    if (!STACK_IS_OURS)
        return;
    stack_search_13();
    for (size_t i = 0; i < COUNT(sides); i++)
        stack_search_12(sides[i]);
}

int main(void)
{
    static const CU_TestInfo tests[] = {
        {"secrets are wiped", test_secrets_are_wiped},
        {"without memory libssl goes on", test_without_memory},
        {"nothing is left on the stack", test_nothing_is_left_on_the_stack},
        CU_TEST_INFO_NULL,
    };
    return suite_run("takeover_secrets", tests);
}
