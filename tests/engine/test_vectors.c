/* SPDX-License-Identifier: Apache-2.0 */
/*
 * NIST CAVP's GCM vectors (package python3-cryptography-vectors). Those with a 96-bit IV and a 128-bit tag go
 * through the AEAD interface of every usable backend, all others through the stream; how many there were of
 * each kind is part of what must hold, so that no file is skipped unseen.
 */
#include "support.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sealane/aead.h>
#include <sealane/engine.h>
#include <sealane/stream.h>
#include "backends.h"

#define FIELD_MAX 256 /* bytes; the longest there are have 128 */

typedef struct field {
    uint8_t bytes[FIELD_MAX];
    size_t len;
} field;

typedef struct vector {
    field key, iv, aad, plain, cipher, tag;
    bool fails;
} vector;

/* Per file: how the file names it, which cipher, which direction, and how much is in it. */
static const struct vector_file {
    const char *name;
    sealane_cipher_id cipher;
    bool sealing;
    unsigned whole, streamed, whole_fails, streamed_fails;
} files[] = {
    {"gcmEncryptExtIV128.rsp", SEALANE_AES_128_GCM, true, 375, 7500, 0, 0},
    {"gcmEncryptExtIV256.rsp", SEALANE_AES_256_GCM, true, 375, 7500, 0, 0},
    {"gcmDecrypt128.rsp", SEALANE_AES_128_GCM, false, 375, 7500, 196, 3815},
    {"gcmDecrypt256.rsp", SEALANE_AES_256_GCM, false, 375, 7500, 191, 3728},
};

typedef bool (*vector_check)(const struct vector_file *file, const vector *v);

struct tally {
    unsigned whole, streamed, whole_fails, streamed_fails, wrong;
};

static bool is_whole(const vector *v)
{
    return v->iv.len == SEALANE_NONCE_LEN && v->tag.len == SEALANE_TAG_MAX;
}

static bool hex_read(const char *text, field *out)
{
    unsigned byte;

    out->len = 0;
    for (; *text > ' '; text += 2) {
        if (out->len == FIELD_MAX || sscanf(text, "%2x", &byte) != 1)
            return false;
        out->bytes[out->len++] = (uint8_t)byte;
    }
    return true;
}

/* "Name = hex", or the FAIL that stands for a plaintext. False for lines that are neither. */
static bool line_read(const char *line, vector *v)
{
    const struct {
        const char *name;
        field *to;
    } fields[] = {{"Key", &v->key},  {"IV", &v->iv},     {"AAD", &v->aad},
                  {"PT", &v->plain}, {"CT", &v->cipher}, {"Tag", &v->tag}};
    const char *equals = strstr(line, " =");

    if (strncmp(line, "FAIL", 4) == 0)
        return v->fails = true;
    if (equals == NULL || line[0] == '[')
        return false;
    for (size_t i = 0; i < COUNT(fields); i++)
        if (strlen(fields[i].name) == (size_t)(equals - line) &&
            strncmp(line, fields[i].name, (size_t)(equals - line)) == 0)
            return hex_read(equals + 2 + (equals[2] == ' '), fields[i].to);
    return false;
}

static void vector_count(struct tally *t, const struct vector_file *file, const vector *v, vector_check whole,
                         vector_check streamed)
{
    vector_check check = is_whole(v) ? whole : streamed;

    if (is_whole(v)) {
        t->whole++;
        t->whole_fails += v->fails;
    } else {
        t->streamed++;
        t->streamed_fails += v->fails;
    }
    if (check != NULL && !check(file, v)) {
        t->wrong++;
        printf("\n    %s: wrong: vector %u with 96/128 bits, or %u of the others", file->name, t->whole,
               t->streamed);
    }
}

/* A vector begins with "Count" and ends with the line before the next. */
static bool file_run(const struct vector_file *file, vector_check whole, vector_check streamed,
                     struct tally *t)
{
    char path[512], line[2 * FIELD_MAX + 64];
    vector v = {0};
    bool any = false;
    FILE *in;

    snprintf(path, sizeof(path), "%s/%s", ENGINE_VECTORS, file->name);
    in = fopen(path, "r");
    if (in == NULL) {
        printf("\n    %s: not there; install python3-cryptography-vectors or set SEALANE_VECTORS", path);
        return false;
    }
    while (fgets(line, sizeof(line), in) != NULL) {
        if (strncmp(line, "Count", 5) == 0) {
            if (any)
                vector_count(t, file, &v, whole, streamed);
            v = (vector){0};
            any = true;
        } else {
            line_read(line, &v);
        }
    }
    if (any)
        vector_count(t, file, &v, whole, streamed);
    fclose(in);
    return true;
}

static bool whole_seal(const struct vector_file *file, const vector *v)
{
    uint8_t out[FIELD_MAX], tag[SEALANE_TAG_MAX];
    sealane_aead *aead;
    bool right;

    if (sealane_aead_new(&aead, file->cipher, v->key.bytes, v->key.len) != SEALANE_OK)
        return false;
    right = sealane_aead_seal(aead, v->iv.bytes, v->aad.bytes, v->aad.len, v->plain.bytes, v->plain.len, out,
                              tag) == SEALANE_OK &&
            v->plain.len == v->cipher.len && memcmp(out, v->cipher.bytes, v->cipher.len) == 0 &&
            memcmp(tag, v->tag.bytes, sizeof(tag)) == 0;
    sealane_aead_free(aead);
    return right;
}

static bool whole_open(const struct vector_file *file, const vector *v)
{
    uint8_t out[FIELD_MAX];
    sealane_aead *aead;
    sealane_result result;

    memset(out, 0xff, sizeof(out));
    if (sealane_aead_new(&aead, file->cipher, v->key.bytes, v->key.len) != SEALANE_OK)
        return false;
    result = sealane_aead_open(aead, v->iv.bytes, v->aad.bytes, v->aad.len, v->cipher.bytes, v->cipher.len,
                               v->tag.bytes, out);
    sealane_aead_free(aead);
    if (v->fails)
        return result == SEALANE_FORGED && all_zero(out, v->cipher.len);
    return result == SEALANE_OK && v->plain.len == v->cipher.len &&
           memcmp(out, v->plain.bytes, v->plain.len) == 0;
}

static bool whole_any(const struct vector_file *file, const vector *v)
{
    return file->sealing ? whole_seal(file, v) : whole_open(file, v);
}

/* In two pieces, so that the stream is one. */
static bool stream_begin(sealane_stream *stream, const struct vector_file *file, const vector *v,
                         uint8_t *out)
{
    const field *in = file->sealing ? &v->plain : &v->cipher;
    size_t half = in->len / 2, aad_half = v->aad.len / 2;

    return sealane_stream_begin(stream, file->sealing, v->iv.bytes, v->iv.len) == SEALANE_OK &&
           sealane_stream_aad(stream, v->aad.bytes, aad_half) == SEALANE_OK &&
           sealane_stream_aad(stream, v->aad.bytes + aad_half, v->aad.len - aad_half) == SEALANE_OK &&
           sealane_stream_update(stream, in->bytes, half, out) == SEALANE_OK &&
           sealane_stream_update(stream, in->bytes + half, in->len - half, out + half) == SEALANE_OK;
}

static bool streamed_any(const struct vector_file *file, const vector *v)
{
    uint8_t out[FIELD_MAX], tag[SEALANE_TAG_MAX];
    sealane_stream *stream;
    sealane_result result;
    bool right;

    if (sealane_stream_new(&stream, file->cipher, v->key.bytes, v->key.len) != SEALANE_OK)
        return false;
    right = stream_begin(stream, file, v, out);
    if (file->sealing) {
        right = right && sealane_stream_seal_finish(stream, tag, v->tag.len) == SEALANE_OK &&
                memcmp(tag, v->tag.bytes, v->tag.len) == 0 &&
                memcmp(out, v->cipher.bytes, v->cipher.len) == 0;
    } else {
        result = sealane_stream_open_finish(stream, v->tag.bytes, v->tag.len);
        right = right && (v->fails ? result == SEALANE_FORGED
                                   : result == SEALANE_OK && memcmp(out, v->plain.bytes, v->plain.len) == 0);
    }
    sealane_stream_free(stream);
    return right;
}

static bool counts_right(const struct vector_file *file, const struct tally *t)
{
    printf("\n    %s: %u whole (%u to refuse), %u others (%u to refuse), %u wrong", file->name, t->whole,
           t->whole_fails, t->streamed, t->streamed_fails, t->wrong);
    return t->whole == file->whole && t->streamed == file->streamed && t->whole_fails == file->whole_fails &&
           t->streamed_fails == file->streamed_fails && t->wrong == 0;
}

/* In a child, whose engine was told to use one backend. */
static int whole_files(void *name)
{
    int failures = 0;

    for (size_t i = 0; i < COUNT(files); i++) {
        struct tally t = {0};
        CHILD_CHECK(failures, file_run(&files[i], whole_any, NULL, &t));
        CHILD_CHECK(failures, counts_right(&files[i], &t));
        CHILD_CHECK(failures, strcmp(sealane_last_sealed_by(), name) == 0);
    }
    return failures;
}

static void test_every_backend(void)
{
    unsigned ran = 0;

    for (size_t i = 0; i < engine_backend_count; i++) {
        const char *name = engine_backends[i]->name;
        if (engine_backends[i]->probe() != NULL || engine_backends[i]->state_size(SEALANE_AES_128_GCM) == 0)
            continue;
        ran++;
        printf("\n    through %s:", name);
        CU_ASSERT_EQUAL(child_run("SEALANE_BACKEND", name, whole_files, (void *)(uintptr_t)name), 0);
    }
    CU_ASSERT(ran >= 1);
}

static void test_stream(void)
{
    for (size_t i = 0; i < COUNT(files); i++) {
        struct tally t = {0};
        CU_ASSERT(file_run(&files[i], NULL, streamed_any, &t));
        CU_ASSERT(counts_right(&files[i], &t));
    }
}

int main(void)
{
    static const CU_TestInfo tests[] = {
        {"96-bit IV, 128-bit tag: every backend", test_every_backend},
        {"all others: the stream", test_stream},
        CU_TEST_INFO_NULL,
    };
    return suite_run("NIST CAVP GCM", tests);
}
