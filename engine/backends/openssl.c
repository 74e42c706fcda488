/* SPDX-License-Identifier: Apache-2.0 */
/*
 * libcrypto's own AEADs: always there, on any CPU. The expanded key is a cipher context of its default
 * provider that lives as long as the key, so that a message costs no allocation and no fetch: libcrypto.c.
 */
#include "backend.h"

#include <openssl/crypto.h>
#include "libcrypto.h"

static const char *openssl_version(void)
{
    return OpenSSL_version(OPENSSL_VERSION_STRING);
}

static size_t openssl_state_size(sealane_cipher_id cipher)
{
    (void)cipher;
    return sizeof(libcrypto_aead);
}

static sealane_result openssl_key_init(void *state, sealane_cipher_id cipher, const uint8_t *key)
{
    return libcrypto_init(state, cipher, key) ? SEALANE_OK : SEALANE_MEMORY;
}

static void openssl_key_clear(void *state)
{
    libcrypto_clear(state);
}

static size_t tag_len(const libcrypto_aead *aead)
{
    return sealane_cipher_get(aead->cipher)->tag_len;
}

static sealane_result openssl_seal(backend_op *op)
{
    libcrypto_aead *aead = op->state;

    op->result = SEALANE_INTERNAL;
    if (libcrypto_start(aead, true, op->nonce, SEALANE_NONCE_LEN) && libcrypto_length(aead, op->len) &&
        libcrypto_aad(aead, op->aad, op->aad_len) && libcrypto_whole(aead, op->in, op->len, op->out) &&
        libcrypto_seal_finish(aead, op->tag, tag_len(aead)))
        op->result = SEALANE_OK;
    return op->result;
}

/* What fails from the data on is a wrong tag: CCM says so with the data, others at the end. */
static sealane_result openssl_open(backend_op *op)
{
    libcrypto_aead *aead = op->state;

    op->result = SEALANE_INTERNAL;
    if (libcrypto_start(aead, false, op->nonce, SEALANE_NONCE_LEN) &&
        libcrypto_tag_expect(aead, op->tag, tag_len(aead)) && libcrypto_length(aead, op->len) &&
        libcrypto_aad(aead, op->aad, op->aad_len))
        op->result = libcrypto_whole(aead, op->in, op->len, op->out) && libcrypto_open_finish(aead)
                         ? SEALANE_OK
                         : SEALANE_FORGED;
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
