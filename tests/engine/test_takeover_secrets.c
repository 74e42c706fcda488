/* SPDX-License-Identifier: Apache-2.0 */
/* What our code frees holds no secret of a connection, be it taken over or not. */
#include "support_libssl.h"

#include <malloc.h>
#include <stdio.h>
#include <string.h>

static const int sides[] = {CLIENT, SERVER};

/*
 * This program is linked with --wrap for the allocation calls: what our code frees is searched for secrets. What it
 * gets is cleared first, for libssl, which frees its own, leaves some of them behind.
 */
void *__real_malloc(size_t size);
void *__real_calloc(size_t count, size_t size);
int __real_posix_memalign(void **block, size_t alignment, size_t size);
void __real_free(void *block);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t count, size_t size);
int __wrap_posix_memalign(void **block, size_t alignment, size_t size);
void __wrap_free(void *block);

static void *cleared(void *block)
{
    return block != NULL ? memset(block, 0, malloc_usable_size(block)) : NULL;
}

void *__wrap_malloc(size_t size)
{
    return cleared(__real_malloc(size));
}

void *__wrap_calloc(size_t count, size_t size)
{
    return cleared(__real_calloc(count, size));
}

int __wrap_posix_memalign(void **block, size_t alignment, size_t size)
{
    int error = __real_posix_memalign(block, alignment, size);

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

int main(void)
{
    static const CU_TestInfo tests[] = {
        {"secrets are wiped", test_secrets_are_wiped},
        CU_TEST_INFO_NULL,
    };
    return suite_run("takeover_secrets", tests);
}
