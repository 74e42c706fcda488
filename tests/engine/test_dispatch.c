/* SPDX-License-Identifier: Apache-2.0 */
/* What dispatch chooses, what SEALANE_BACKEND changes about it, and what it tells. */
#include "support.h"

#include <stdio.h>
#include <string.h>
#include <sealane/aead.h>
#include <sealane/engine.h>
#include "backends.h"

static char logged[1024];
static int lines;

static void log_keep(const char *line)
{
    snprintf(logged, sizeof(logged), "%s", line);
    lines++;
}

/* Seals one message so that it shows who does it. */
static const char *seals(sealane_cipher_id cipher, size_t len)
{
    static uint8_t buffer[20000];
    uint8_t key[SEALANE_KEY_MAX] = {1}, nonce[SEALANE_NONCE_LEN] = {2}, tag[SEALANE_TAG_MAX];
    sealane_aead *aead = NULL;

    if (sealane_aead_new(&aead, cipher, key, sealane_cipher_get(cipher)->key_len) != SEALANE_OK)
        return "failed";
    (void)sealane_aead_seal(aead, nonce, NULL, 0, buffer, len, buffer, tag);
    sealane_aead_free(aead);
    return sealane_last_sealed_by();
}

static int told_and_done_agree(void *unused)
{
    static const size_t lengths[] = {0, 1, 64, 65, 192, 193, 960, 8128, 8129, 16384};
    int failures = 0;

    (void)unused;
    sealane_set_log(log_keep);
    for (sealane_cipher_id cipher = 0; cipher < SEALANE_CIPHERS; cipher++)
        for (size_t i = 0; i < COUNT(lengths); i++) {
            const char *why = NULL;
            const char *told = sealane_backend_for(cipher, 1, lengths[i], &why);
            CHILD_CHECK(failures, strcmp(told, seals(cipher, lengths[i])) == 0);
            CHILD_CHECK(failures, why != NULL && why[0] != '\0');
            CHILD_CHECK(failures, strcmp(sealane_backend_for(cipher, 0, lengths[i], NULL), "none") != 0);
        }
    CHILD_CHECK(failures, strcmp(sealane_backend_for(SEALANE_CIPHERS, 1, 1, NULL), "none") == 0);
    CHILD_CHECK(failures, lines == 0);
    return failures;
}

static void test_told_and_done_agree(void)
{
    CU_ASSERT_EQUAL(child_run("SEALANE_BACKEND", NULL, told_and_done_agree, NULL), 0);
}

static int list_is_the_builds(void *unused)
{
    sealane_backend_info list[SEALANE_BACKENDS_MAX];
    size_t count = sealane_backends(list);
    int failures = 0;

    (void)unused;
    CHILD_CHECK(failures, count == engine_backend_count);
    for (size_t i = 0; i < count; i++) {
        const char *missing = engine_backends[i]->probe();
        printf("\n    %s (%s): %s", list[i].name, list[i].version, list[i].state);
        CHILD_CHECK(failures, strcmp(list[i].name, engine_backends[i]->name) == 0);
        CHILD_CHECK(failures, list[i].usable == (missing == NULL));
        CHILD_CHECK(failures, strcmp(list[i].state, missing == NULL ? "usable" : missing) == 0);
        CHILD_CHECK(failures, strlen(list[i].version) > 0);
        if (strcmp(list[i].name, "openssl") == 0) /* the one that must be there on any CPU */
            CHILD_CHECK(failures, list[i].usable);
    }
    return failures;
}

static void test_list_is_the_builds(void)
{
    CU_ASSERT_EQUAL(child_run("SEALANE_BACKEND", NULL, list_is_the_builds, NULL), 0);
}

/* Where it carries the cipher; the others are as if nothing had been asked. */
static int override_is_obeyed(void *argument)
{
    const backend *be = argument;
    const char *why;
    int failures = 0;

    sealane_set_log(log_keep);
    for (sealane_cipher_id cipher = 0; cipher < SEALANE_CIPHERS; cipher++) {
        bool obeyed = be->state_size(cipher) != 0;
        CHILD_CHECK(failures, (strcmp(seals(cipher, 10), be->name) == 0) == obeyed);
        CHILD_CHECK(failures, (strcmp(seals(cipher, 16384), be->name) == 0) == obeyed);
        CHILD_CHECK(failures, (strcmp(sealane_backend_for(cipher, 0, 10, &why), be->name) == 0) == obeyed);
        CHILD_CHECK(failures, (strcmp(why, "SEALANE_BACKEND says so") == 0) == obeyed);
        CHILD_CHECK(failures,
                    (strcmp(sealane_backend_for_batch(cipher, 1, 10, &why), be->name) == 0) == obeyed);
        CHILD_CHECK(failures, (strcmp(why, "SEALANE_BACKEND says so") == 0) == obeyed);
        CHILD_CHECK(failures, strcmp(seals(cipher, 100), "failed") != 0);
    }
    CHILD_CHECK(failures, lines == 0);
    return failures;
}

static void test_override_is_obeyed(void)
{
    for (size_t i = 0; i < engine_backend_count; i++) {
        const backend *be = engine_backends[i];
        if (be->probe() == NULL)
            CU_ASSERT_EQUAL(child_run("SEALANE_BACKEND", be->name, override_is_obeyed, (void *)(uintptr_t)be),
                            0);
    }
}

/* Beyond what backend ipsec_mb takes, another does the work, and is the one that counts. */
static const struct refused_case {
    sealane_cipher_id cipher;
    size_t len, aad_len;
    bool taken;
} refused_cases[] = {
    {SEALANE_AES_128_CCM, 100, 0xfeff, true},      {SEALANE_AES_128_CCM, 100, 0xff00, false},
    {SEALANE_AES_128_CCM_8, 0, 0xfeff, true},      {SEALANE_AES_128_CCM_8, 0, 0xff00, false},
    {SEALANE_CHACHA20_POLY1305, 32768, 200, true}, {SEALANE_CHACHA20_POLY1305, 32769, 5, false},
};

static int refused_is_done_by_another(void *which)
{
    static uint8_t in[40000], out[40000], right[40000], aad[0xff00];
    const struct refused_case *c = which;
    uint8_t key[SEALANE_KEY_MAX] = {1}, nonce[SEALANE_NONCE_LEN] = {2}, tag[SEALANE_TAG_MAX],
            right_tag[SEALANE_TAG_MAX];
    const sealane_cipher *row = sealane_cipher_get(c->cipher);
    sealane_aead *aead = NULL;
    int failures = 0;

    sealane_set_log(log_keep);
    CHILD_CHECK(failures, sealane_aead_new(&aead, c->cipher, key, row->key_len) == SEALANE_OK);
    reference_seal(c->cipher, key, nonce, aad, c->aad_len, in, c->len, right, right_tag);
    CHILD_CHECK(failures,
                sealane_aead_seal(aead, nonce, aad, c->aad_len, in, c->len, out, tag) == SEALANE_OK);
    CHILD_CHECK(failures, memcmp(out, right, c->len) == 0 && memcmp(tag, right_tag, row->tag_len) == 0);
    CHILD_CHECK(failures, strcmp(sealane_last_sealed_by(), c->taken ? "ipsec_mb" : "openssl") == 0);
    CHILD_CHECK(failures,
                sealane_aead_open(aead, nonce, aad, c->aad_len, out, c->len, tag, out) == SEALANE_OK);
    CHILD_CHECK(failures, memcmp(out, in, c->len) == 0);
    tag[row->tag_len - 1] ^= 1;
    CHILD_CHECK(failures,
                sealane_aead_open(aead, nonce, aad, c->aad_len, right, c->len, tag, out) == SEALANE_FORGED);
    CHILD_CHECK(failures, all_zero(out, c->len));
    sealane_aead_free(aead);
    CHILD_CHECK(failures, lines == 0);
    return failures;
}

static void test_refused_is_done_by_another(void)
{
    if (backend_ipsec_mb.probe() != NULL)
        return;
    for (size_t i = 0; i < COUNT(refused_cases); i++)
        CU_ASSERT_EQUAL(child_run("SEALANE_BACKEND", "ipsec_mb", refused_is_done_by_another,
                                  (void *)(uintptr_t)&refused_cases[i]),
                        0);
}

/* One line that names what was asked for and all there is; then work goes on as if nothing had been asked. */
static int unknown_name_is_told(void *unused)
{
    int failures = 0;

    (void)unused;
    sealane_set_log(log_keep);
    CHILD_CHECK(failures, strcmp(seals(SEALANE_AES_128_GCM, 100), "none") != 0);
    CHILD_CHECK(failures, lines == 1);
    CHILD_CHECK(failures, strstr(logged, "SEALANE_BACKEND=opensll") != NULL);
    for (size_t i = 0; i < engine_backend_count; i++)
        CHILD_CHECK(failures, strstr(logged, engine_backends[i]->name) != NULL);
    CHILD_CHECK(failures, strchr(logged, '\n') == NULL);
    return failures;
}

static void test_unknown_name_is_told(void)
{
    CU_ASSERT_EQUAL(child_run("SEALANE_BACKEND", "opensll", unknown_name_is_told, NULL), 0);
}

static int empty_name_is_none(void *unused)
{
    int failures = 0;

    (void)unused;
    sealane_set_log(log_keep);
    CHILD_CHECK(failures, strcmp(seals(SEALANE_AES_256_GCM, 100), "none") != 0);
    CHILD_CHECK(failures, lines == 0);
    return failures;
}

static void test_empty_name_is_none(void)
{
    CU_ASSERT_EQUAL(child_run("SEALANE_BACKEND", "", empty_name_is_none, NULL), 0);
}

int main(void)
{
    static const CU_TestInfo tests[] = {
        {"what is told is what is done", test_told_and_done_agree},
        {"the list is the build's", test_list_is_the_builds},
        {"SEALANE_BACKEND is obeyed", test_override_is_obeyed},
        {"what one backend refuses, another does", test_refused_is_done_by_another},
        {"an unknown name: one line, and on", test_unknown_name_is_told},
        {"an empty name is none", test_empty_name_is_none},
        CU_TEST_INFO_NULL,
    };
    return suite_run("dispatch", tests);
}
