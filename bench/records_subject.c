/* SPDX-License-Identifier: Apache-2.0 */
#include "records_subject.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

#define CBC_HMAC "-CBC-HMAC-"

/* Ciphers of mail that libssl speaks; those which the engine carries are recognised in its own table. */
static const char *const peers_ciphers[] = {
    "ChaCha20-Poly1305",       "AES-128-CCM",           "AES-256-CCM",
    "AES-128-CBC-HMAC-SHA1",   "AES-256-CBC-HMAC-SHA1", "AES-128-CBC-HMAC-SHA256",
    "AES-256-CBC-HMAC-SHA256",
};

static bool ends_with(const char *name, const char *end)
{
    size_t len = strlen(name), end_len = strlen(end);

    return len >= end_len && strcasecmp(name + len - end_len, end) == 0;
}

static bool digest_read(subject *s, const char *name)
{
    static const struct {
        const char *name;
        size_t len;
    } digests[] = {{"SHA1", 20}, {"SHA256", 32}, {"SHA384", 48}};

    for (size_t i = 0; i < sizeof(digests) / sizeof(digests[0]); i++) {
        if (strcasecmp(name, digests[i].name) != 0)
            continue;
        s->digest = digests[i].name;
        s->tag_len = digests[i].len;
        return true;
    }
    return false;
}

/* `name` is OpenSSL's. */
static bool subject_read(subject *s, const char *name)
{
    const char *composite = strstr(name, CBC_HMAC);

    *s = (subject){.name = name, .openssl_name = name, .tag_len = SEALANE_TAG_MAX};
    if (strcasecmp(name, "ChaCha20-Poly1305") == 0) {
        s->kind = SUBJECT_CHACHA;
        s->key_len = 32;
        return true;
    }
    if (strncmp(name, "AES-128-", 8) != 0 && strncmp(name, "AES-256-", 8) != 0)
        return false;
    s->key_len = name[4] == '1' ? 16 : 32;
    if (composite != NULL) {
        s->kind = SUBJECT_CBC_HMAC;
        return digest_read(s, composite + strlen(CBC_HMAC));
    }
    s->kind = ends_with(name, "-GCM") ? SUBJECT_GCM : SUBJECT_CCM;
    return s->kind == SUBJECT_GCM || ends_with(name, "-CCM");
}

static bool listed(const subject list[], size_t count, const char *name)
{
    for (size_t i = 0; i < count; i++)
        if (strcasecmp(list[i].name, name) == 0)
            return true;
    return false;
}

/* The engine's cipher, if it is new to the list. */
static size_t carried_add(subject list[], size_t count, sealane_cipher_id cipher)
{
    const sealane_cipher *row = sealane_cipher_get(cipher);

    if (count == SUBJECTS_MAX || listed(list, count, row->name))
        return count;
    if (!subject_read(&list[count], row->openssl_name)) {
        fprintf(stderr, "bench-records: left out %s: what kind of cipher is that? (records_subject.c)\n",
                row->name);
        return count;
    }
    list[count].name = row->name;
    list[count].tag_len = row->tag_len;
    list[count].carried = true;
    list[count].cipher = row->id;
    return count + 1;
}

/* The next cipher of any suite after `last`, in the order of the enumeration; -1: there is none. */
static int cipher_after(int last)
{
    size_t count;
    const sealane_suite *suites = sealane_suites(&count);
    int next = -1;

    for (size_t i = 0; i < count; i++) {
        int cipher = (int)suites[i].cipher;
        if (cipher > last && (next < 0 || cipher < next))
            next = cipher;
    }
    return next;
}

size_t subjects_list(subject list[SUBJECTS_MAX])
{
    size_t count = 0;

    for (int cipher = cipher_after(-1); cipher >= 0; cipher = cipher_after(cipher))
        count = carried_add(list, count, (sealane_cipher_id)cipher);
    for (size_t i = 0; i < sizeof(peers_ciphers) / sizeof(peers_ciphers[0]) && count < SUBJECTS_MAX; i++)
        if (!listed(list, count, peers_ciphers[i]) && subject_read(&list[count], peers_ciphers[i]))
            count++;
    return count;
}

size_t subject_aes_rounds(const subject *s)
{
    return s->key_len / 4 + 6;
}
