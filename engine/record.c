/* SPDX-License-Identifier: Apache-2.0 */
/* The life of a traffic key, and records one at a time: sealane/record.h. The framing is in frame.c. */
#include <sealane/record.h>

#include <stdlib.h>
#include <string.h>
#include <openssl/crypto.h>
#include "frame_lay.h"
#include "line.h"

#define REKEY_MARGIN                                                                                         \
    16 /* the last 1/16 of a limit is left for the KeyUpdate itself and what is in flight                    \
        */

size_t sealane_suite_iv_len(const sealane_suite *suite)
{
    const sealane_cipher *cipher = sealane_cipher_get(suite->cipher);

    if (cipher->tls12_nonce == SEALANE_NONCE_RANDOM)
        return 0;
    if (suite->version == SEALANE_TLS1_2 && cipher->tls12_nonce == SEALANE_NONCE_EXPLICIT)
        return 4;
    return SEALANE_NONCE_LEN;
}

static sealane_result cipher_key_new(sealane_key *key, const sealane_key_params *params)
{
    cbc_key_params cbc = {.cipher = key->cipher->id,
                          .sealing = key->direction == SEALANE_SEALING,
                          .encrypt_then_mac = params->encrypt_then_mac,
                          .key = params->key,
                          .mac_key = params->mac_key};

    if (key->cipher->tls12_nonce != SEALANE_NONCE_RANDOM)
        return aead_init(&key->aead, key->cipher->id, params->key, params->key_len);
    if (params->key == NULL || params->key_len != key->cipher->key_len || params->mac_key == NULL ||
        params->mac_key_len != key->cipher->tag_len)
        return SEALANE_ARGUMENT;
    return cbc_key_new(&key->cbc, &cbc);
}

/* What the suite says, so that a record need not ask again. */
static void key_describe(sealane_key *key, const sealane_suite *suite)
{
    const sealane_cipher *cipher = sealane_cipher_get(suite->cipher);

    key->suite = suite;
    key->cipher = cipher;
    key->cipher_id = (uint8_t)cipher->id;
    key->tag_len = (uint8_t)cipher->tag_len;
    key->seal_limit = cipher->seal_limit;
    key->tls13 = suite->version == SEALANE_TLS1_3;
    key->explicit_nonces = !key->tls13 && cipher->tls12_nonce == SEALANE_NONCE_EXPLICIT;
    key->prefix_len = SEALANE_RECORD_HEADER_LEN;
    if (key->explicit_nonces)
        key->prefix_len += FRAME_EXPLICIT_LEN;
    else if (cipher->tls12_nonce == SEALANE_NONCE_RANDOM)
        key->prefix_len += CBC_IV_LEN;
    key->around = (uint8_t)(key->prefix_len + (key->tls13 ? FRAME_INNER_TYPE_LEN : 0) + key->tag_len);
}

static void iv_keep(sealane_key *key, const uint8_t *iv, size_t len)
{
    uint8_t bytes[2 * sizeof(uint64_t)] = {0};

    if (len > 0)
        memcpy(bytes, iv, len);
    memcpy(&key->iv_first, bytes, sizeof(key->iv_first));
    memcpy(&key->iv_last, bytes + sizeof(key->iv_first), sizeof(key->iv_last));
    OPENSSL_cleanse(bytes, sizeof(bytes));
}

sealane_result sealane_key_new(sealane_key **out, const sealane_key_params *params)
{
    sealane_key *key;
    sealane_result result;

    if (out == NULL || params == NULL || params->suite == NULL ||
        params->iv_len != sealane_suite_iv_len(params->suite) || (params->iv == NULL && params->iv_len > 0))
        return SEALANE_ARGUMENT;
    key = line_alloc(sizeof(*key));
    if (key == NULL)
        return SEALANE_MEMORY;
    key_describe(key, params->suite);
    key->direction = (uint8_t)params->direction;
    key->sequence = params->sequence;
    key->explicit_nonce = params->explicit_nonce;
    iv_keep(key, params->iv, params->iv_len);
    result = cipher_key_new(key, params);
    if (result == SEALANE_OK)
        *out = key;
    else
        sealane_key_free(key);
    return result;
}

void sealane_key_free(sealane_key *key)
{
    if (key == NULL)
        return;
    aead_clear(&key->aead);
    cbc_key_free(key->cbc);
    OPENSSL_cleanse(key, sizeof(*key));
    free(key);
}

uint64_t sealane_key_sequence(const sealane_key *key)
{
    return key->sequence;
}

bool sealane_key_rekey_due(const sealane_key *key)
{
    uint64_t limit = key->direction == SEALANE_SEALING ? key->seal_limit : SEALANE_SEQ_LIMIT;

    return key->sequence >= limit - limit / REKEY_MARGIN;
}

static void frame_run(frame *f, bool sealing)
{
    backend_op *ops[1] = {&f->op};
    cbc_op *cbc_ops[1] = {&f->cbc};
    const backend *be;

    if (f->key->cbc != NULL) {
        (sealing ? cbc_seal : cbc_open)(cbc_ops, 1);
        return;
    }
    be = dispatch_backend(frame_backend(f));
    (sealing ? be->seal : be->open)(&f->op);
    aead_ops_count(frame_backend(f), sealing, ops, 1);
}

sealane_result sealane_record_seal(sealane_seal_op *op)
{
    frame f;

    if (op == NULL)
        return SEALANE_ARGUMENT;
    if (!frame_seal_begin(&f, op, false))
        return op->result;
    frame_run(&f, true);
    frame_seal_finish(&f, op);
    return op->result;
}

sealane_result sealane_record_open(sealane_open_op *op)
{
    frame f;

    if (op == NULL)
        return SEALANE_ARGUMENT;
    if (!frame_open_begin(&f, op, false))
        return op->result;
    frame_run(&f, false);
    frame_open_finish(&f, op);
    return op->result;
}
