/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A backend with a fault is out before its first use, with one line that says so, whatever the fault is. The
 * table of backends in this program takes the place of the engine's (backends.h): libcrypto's backend, and
 * one in front of it that does the same but for the fault of the day.
 */
#include "support.h"

#include <stdio.h>
#include <string.h>
#include <sealane/aead.h>
#include <sealane/engine.h>
#include "backends.h"

enum fault {
    FAULT_NONE,
    FAULT_KEY,          /* no key can be expanded */
    FAULT_SEAL_TAG,     /* a bit of one length's tag */
    FAULT_SEAL_LONG,    /* a byte of a long ciphertext */
    FAULT_APPEND,       /* overlooks a byte that comes by itself */
    FAULT_OPEN_PLAIN,   /* a byte of an opened message */
    FAULT_OPEN_ACCEPTS, /* takes any tag */
    FAULT_OPEN_NO_WIPE, /* refuses, but leaves the plaintext */
    FAULT_OPEN_REFUSES, /* refuses a right message */
    FAULT_SEAL_MANY,    /* the last of a batch is not sealed */
    FAULT_OPEN_MANY,    /* a forged message drags its neighbour along */
    FAULT_ONE_CIPHER,   /* all is well with AES-128 */
    FAULTS
};

static enum fault fault;

/* What the log line must say of each. */
static const char *const expected[FAULTS] = {
    [FAULT_KEY] = "AES-128-GCM: it cannot expand a key",
    [FAULT_SEAL_TAG] = "it seals wrongly",
    [FAULT_SEAL_LONG] = "it seals wrongly",
    [FAULT_APPEND] = "it seals wrongly what is appended",
    [FAULT_OPEN_PLAIN] = "it opens wrongly",
    [FAULT_OPEN_ACCEPTS] = "it does not refuse a forgery",
    [FAULT_OPEN_NO_WIPE] = "it does not refuse a forgery and wipe",
    [FAULT_OPEN_REFUSES] = "it opens wrongly",
    [FAULT_SEAL_MANY] = "it seals batches wrongly",
    [FAULT_OPEN_MANY] = "it opens batches wrongly",
    [FAULT_ONE_CIPHER] = "AES-256-GCM: it cannot expand a key",
};

static const char *faulty_version(void)
{
    return "1";
}

static const char *faulty_probe(void)
{
    return backend_openssl.probe();
}

static size_t faulty_state_size(sealane_cipher_id cipher)
{
    return backend_openssl.state_size(cipher);
}

static void faulty_key_clear(void *state)
{
    backend_openssl.key_clear(state);
}

static sealane_result faulty_key_init(void *state, sealane_cipher_id cipher, const uint8_t *key)
{
    if (fault == FAULT_KEY || (fault == FAULT_ONE_CIPHER && cipher == SEALANE_AES_256_GCM))
        return SEALANE_INTERNAL;
    return backend_openssl.key_init(state, cipher, key);
}

/* libcrypto's does not append. */
static void whole_seal(backend_op *op)
{
    uint8_t whole[8192];
    backend_op one_piece = *op;

    if (op->append) {
        memcpy(whole, op->in, op->len - 1);
        whole[op->len - 1] = op->appended ^ (fault == FAULT_APPEND);
        one_piece.in = whole;
    }
    op->result = backend_openssl.seal(&one_piece);
}

static sealane_result faulty_seal(backend_op *op)
{
    whole_seal(op);
    if (fault == FAULT_SEAL_TAG && op->len == 64)
        op->tag[15] ^= 1;
    if (fault == FAULT_SEAL_LONG && op->len > 4000) {
        op->out[4000] ^= 1;
        op->tag[0] ^= 1; /* as the tag over another ciphertext would be */
    }
    return op->result;
}

static sealane_result faulty_open(backend_op *op)
{
    uint8_t plain[8192];
    uint8_t tag[SEALANE_TAG_MAX];
    backend_op again = *op;

    backend_openssl.open(op);
    if (fault == FAULT_OPEN_PLAIN && op->result == SEALANE_OK && op->len > 1000)
        op->out[1000] ^= 1;
    if (fault == FAULT_OPEN_REFUSES && op->len == 129)
        op->result = SEALANE_FORGED;
    if (fault == FAULT_OPEN_ACCEPTS)
        op->result = SEALANE_OK;
    if (fault == FAULT_OPEN_NO_WIPE && op->result == SEALANE_FORGED && op->len > 0) {
        again.out = plain; /* sealing once more is the same key stream: what was wiped comes back */
        again.tag = tag;
        backend_openssl.seal(&again);
        memcpy(op->out, plain, op->len);
    }
    return op->result;
}

static void faulty_seal_many(sealane_cipher_id cipher, backend_op *const ops[], size_t count)
{
    (void)cipher;
    for (size_t i = 0; i + (fault == FAULT_SEAL_MANY) < count; i++)
        faulty_seal(ops[i]);
}

static void faulty_open_many(sealane_cipher_id cipher, backend_op *const ops[], size_t count)
{
    (void)cipher;
    for (size_t i = 0; i < count; i++)
        faulty_open(ops[i]);
    for (size_t i = 1; fault == FAULT_OPEN_MANY && i < count; i++)
        if (ops[i - 1]->result == SEALANE_FORGED)
            ops[i]->result = SEALANE_FORGED;
}

static const backend backend_faulty = {
    .name = "faulty",
    .appends = true,
    .probe = faulty_probe,
    .version = faulty_version,
    .state_size = faulty_state_size,
    .key_init = faulty_key_init,
    .key_clear = faulty_key_clear,
    .seal = faulty_seal,
    .open = faulty_open,
    .seal_many = faulty_seal_many,
    .open_many = faulty_open_many,
};

const backend *const engine_backends[] = {&backend_faulty, &backend_openssl};
const size_t engine_backend_count = COUNT(engine_backends);

static char logged[1024];
static int lines;

static void log_keep(const char *line)
{
    snprintf(logged, sizeof(logged), "%s", line);
    lines++;
}

static const char *sealed_by(void)
{
    uint8_t key[SEALANE_KEY_MAX] = {1}, nonce[SEALANE_NONCE_LEN] = {2}, tag[SEALANE_TAG_MAX];
    sealane_aead *aead = NULL;

    if (sealane_aead_new(&aead, SEALANE_AES_128_GCM, key, 16) != SEALANE_OK)
        return "failed";
    (void)sealane_aead_seal(aead, nonce, NULL, 0, NULL, 0, NULL, tag);
    sealane_aead_free(aead);
    return sealane_last_sealed_by();
}

/* Even when it is asked for by name. */
static int faulty_is_out(void *which)
{
    sealane_backend_info list[SEALANE_BACKENDS_MAX];
    int failures = 0;

    fault = *(enum fault *)which;
    sealane_set_log(log_keep);
    CHILD_CHECK(failures, sealane_backends(list) == 2);
    CHILD_CHECK(failures, !list[0].usable && strcmp(list[0].state, "known-answer test failed") == 0);
    CHILD_CHECK(failures, list[1].usable);
    CHILD_CHECK(failures, lines == 1);
    CHILD_CHECK(failures, strstr(logged, "faulty") != NULL && strstr(logged, "known-answer test") != NULL);
    CHILD_CHECK(failures, strstr(logged, expected[fault]) != NULL);
    printf("\n    %s", logged);
    CHILD_CHECK(failures, strcmp(sealed_by(), "openssl") == 0);
    return failures;
}

static void test_every_fault_is_found(void)
{
    for (enum fault f = FAULT_NONE + 1; f < FAULTS; f++)
        CU_ASSERT_EQUAL(child_run("SEALANE_BACKEND", NULL, faulty_is_out, &f), 0);
}

static int sound_is_in(void *unused)
{
    sealane_backend_info list[SEALANE_BACKENDS_MAX];
    int failures = 0;

    (void)unused;
    sealane_set_log(log_keep);
    CHILD_CHECK(failures, sealane_backends(list) == 2 && list[0].usable);
    CHILD_CHECK(failures, strcmp(sealed_by(), "faulty") == 0);
    CHILD_CHECK(failures, lines == 0);
    return failures;
}

/* Or the tests above would hold for a backend that can do nothing at all. */
static void test_without_fault_it_is_in(void)
{
    CU_ASSERT_EQUAL(child_run("SEALANE_BACKEND", "faulty", sound_is_in, NULL), 0);
}

static int asked_for_in_vain(void *unused)
{
    int failures = 0;

    (void)unused;
    fault = FAULT_SEAL_TAG;
    sealane_set_log(log_keep);
    CHILD_CHECK(failures, strcmp(sealed_by(), "openssl") == 0);
    CHILD_CHECK(failures, lines == 2);
    CHILD_CHECK(failures, strstr(logged, "faulty (known-answer test failed)") != NULL);
    return failures;
}

static void test_override_does_not_bring_it_back(void)
{
    CU_ASSERT_EQUAL(child_run("SEALANE_BACKEND", "faulty", asked_for_in_vain, NULL), 0);
}

int main(void)
{
    static const CU_TestInfo tests[] = {
        {"without a fault it is in", test_without_fault_it_is_in},
        {"every fault is found", test_every_fault_is_found},
        {"SEALANE_BACKEND does not bring it back", test_override_does_not_bring_it_back},
        CU_TEST_INFO_NULL,
    };
    return suite_run("known answers", tests);
}
