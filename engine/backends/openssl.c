/* SPDX-License-Identifier: Apache-2.0 */
/*
 * libcrypto's own AES-GCM: always there, on any CPU. The expanded key is an EVP_CIPHER_CTX that lives as long
 * as the key, so that a message costs no allocation and no fetch. Where the ciphers come from: libcrypto.c.
 */
#include "backend.h"

#include "libcrypto.h"
#include <openssl/crypto.h>

struct openssl_state {
    EVP_CIPHER_CTX *ctx;
};

static const char *openssl_version(void)
{
    return OpenSSL_version(OPENSSL_VERSION_STRING);
}

static size_t openssl_state_size(sealane_cipher_id cipher)
{
    (void)cipher;
    return sizeof(struct openssl_state);
}

static sealane_result openssl_key_init(void *state, sealane_cipher_id cipher, const uint8_t *key)
{
    struct openssl_state *s = state;

    s->ctx = libcrypto_ctx_new(cipher, key);
    return s->ctx == NULL ? SEALANE_MEMORY : SEALANE_OK;
}

static void openssl_key_clear(void *state)
{
    struct openssl_state *s = state;

    libcrypto_ctx_free(s->ctx);
    s->ctx = NULL;
}

/* The direction is said anew with each nonce: GCM's expanded key is the same for both. */
static bool message_start(EVP_CIPHER_CTX *ctx, const backend_op *op, int sealing)
{
    return EVP_CipherInit_ex2(ctx, NULL, NULL, op->nonce, sealing, NULL) == 1 &&
           libcrypto_update(ctx, NULL, op->aad, op->aad_len) &&
           libcrypto_update(ctx, op->out, op->in, op->len);
}

static sealane_result openssl_seal(backend_op *op)
{
    EVP_CIPHER_CTX *ctx = ((struct openssl_state *)op->state)->ctx;

    op->result = SEALANE_INTERNAL;
    if (message_start(ctx, op, 1) && libcrypto_finish(ctx) &&
        libcrypto_tag_get(ctx, op->tag, SEALANE_TAG_MAX))
        op->result = SEALANE_OK;
    return op->result;
}

static sealane_result openssl_open(backend_op *op)
{
    EVP_CIPHER_CTX *ctx = ((struct openssl_state *)op->state)->ctx;

    op->result = SEALANE_INTERNAL;
    if (message_start(ctx, op, 0))
        op->result = libcrypto_tag_check(ctx, op->tag, SEALANE_TAG_MAX) ? SEALANE_OK : SEALANE_FORGED;
    if (op->result != SEALANE_OK && op->len > 0)
        OPENSSL_cleanse(op->out, op->len);
    return op->result;
}

static void openssl_seal_many(sealane_cipher_id cipher, backend_op *const ops[], size_t count)
{
    (void)cipher;
    for (size_t i = 0; i < count; i++)
        openssl_seal(ops[i]);
}

static void openssl_open_many(sealane_cipher_id cipher, backend_op *const ops[], size_t count)
{
    (void)cipher;
    for (size_t i = 0; i < count; i++)
        openssl_open(ops[i]);
}

const backend backend_openssl = {
    .name = "openssl",
    .probe = libcrypto_probe,
    .version = openssl_version,
    .state_size = openssl_state_size,
    .key_init = openssl_key_init,
    .key_clear = openssl_key_clear,
    .seal = openssl_seal,
    .open = openssl_open,
    .seal_many = openssl_seal_many,
    .open_many = openssl_open_many,
};
