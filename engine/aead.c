/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One AEAD key over whatever backends dispatch chooses: sealane/aead.h. The backend for long sealed messages
 * is expanded at birth, so that a lack of memory shows there; others only when a message of their size comes
 * by. The plain key is kept for that and for copies. Everything is wiped before it is freed.
 */
#include "aead_key.h"

#include <stdlib.h>
#include <string.h>
#include <openssl/crypto.h>
#include "counters.h"
#include "dispatch.h"
#include "line.h"

#define LONG_MESSAGE 16384u

static size_t state_bytes(const sealane_aead *aead, unsigned index)
{
    return dispatch_backend(index)->state_size(aead->cipher);
}

static sealane_result state_expand(sealane_aead *aead, unsigned index)
{
    size_t size = state_bytes(aead, index);
    void *state = line_alloc(size);
    sealane_result result;

    if (state == NULL)
        return SEALANE_MEMORY;
    result = dispatch_backend(index)->key_init(state, aead->cipher, aead->key);
    if (result == SEALANE_OK) {
        aead->states[index] = state;
        return SEALANE_OK;
    }
    OPENSSL_cleanse(state, size);
    free(state);
    return result;
}

static void state_free(sealane_aead *aead, unsigned index)
{
    if (aead->states[index] == NULL)
        return;
    dispatch_backend(index)->key_clear(aead->states[index]);
    OPENSSL_cleanse(aead->states[index], state_bytes(aead, index));
    free(aead->states[index]);
}

sealane_result aead_init(sealane_aead *aead, sealane_cipher_id cipher, const uint8_t *key, size_t key_len)
{
    const sealane_cipher *row = sealane_cipher_get(cipher);
    sealane_result result;

    if (row == NULL || cipher >= SEALANE_CIPHERS || key == NULL || key_len != row->key_len)
        return SEALANE_ARGUMENT;
    dispatch_setup();
    if (dispatch_pick(cipher, DISPATCH_SEAL, LONG_MESSAGE) == DISPATCH_NONE)
        return SEALANE_UNSUPPORTED;
    aead->cipher = (uint8_t)cipher;
    aead->home = (uint8_t)dispatch_pick(cipher, DISPATCH_SEAL, LONG_MESSAGE);
    memcpy(aead->key, key, key_len);
    result = state_expand(aead, aead->home);
    if (result != SEALANE_OK)
        aead_clear(aead);
    return result;
}

void aead_clear(sealane_aead *aead)
{
    for (unsigned i = 0; i < AEAD_BACKENDS_MAX; i++)
        state_free(aead, i);
    OPENSSL_cleanse(aead, sizeof(*aead));
}

sealane_result sealane_aead_new(sealane_aead **out, sealane_cipher_id cipher, const uint8_t *key,
                                size_t key_len)
{
    sealane_aead *aead;
    sealane_result result;

    if (out == NULL)
        return SEALANE_ARGUMENT;
    aead = calloc(1, sizeof(*aead));
    if (aead == NULL)
        return SEALANE_MEMORY;
    result = aead_init(aead, cipher, key, key_len);
    if (result == SEALANE_OK)
        *out = aead;
    else
        free(aead);
    return result;
}

sealane_result sealane_aead_dup(sealane_aead **out, const sealane_aead *aead)
{
    if (aead == NULL)
        return SEALANE_ARGUMENT;
    return sealane_aead_new(out, aead->cipher, aead->key, sealane_cipher_get(aead->cipher)->key_len);
}

void sealane_aead_free(sealane_aead *aead)
{
    if (aead == NULL)
        return;
    aead_clear(aead);
    free(aead);
}

/* A second expansion is for speed only: without memory for it, home does the work. */
unsigned aead_expand(sealane_aead *aead, unsigned index)
{
    return state_expand(aead, index) == SEALANE_OK ? index : aead->home;
}

static sealane_result op_run_by(sealane_aead *aead, unsigned index, bool sealing, backend_op *op)
{
    const backend *be = dispatch_backend(index);

    op->state = aead->states[index];
    return (sealing ? be->seal : be->open)(op);
}

/* Runs one message, on a second backend if it is beyond the first one's bounds. */
static unsigned op_run(sealane_aead *aead, bool sealing, backend_op *op)
{
    unsigned index = aead_place(aead, aead->cipher, sealing, false, op->len);

    if (op_run_by(aead, index, sealing, op) != SEALANE_UNSUPPORTED)
        return index;
    index = aead_expanded(aead, dispatch_fallback(aead->cipher));
    (void)op_run_by(aead, index, sealing, op);
    return index;
}

void aead_ops_count(unsigned index, bool sealing, backend_op *const ops[], size_t count)
{
    size_t done = 0, forged = 0;

    for (size_t i = 0; i < count; i++) {
        done += ops[i]->result == SEALANE_OK;
        forged += ops[i]->result == SEALANE_FORGED;
    }
    if (done > 0 && sealing)
        counters_sealed(index, done);
    if (done > 0 && !sealing)
        counters_opened(index, done);
    if (forged > 0)
        counters_forged(forged);
}

static bool arguments_right(const sealane_aead *aead, const backend_op *op)
{
    return aead != NULL && op->nonce != NULL && op->tag != NULL && (op->aad != NULL || op->aad_len == 0) &&
           ((op->in != NULL && op->out != NULL) || op->len == 0);
}

sealane_result sealane_aead_seal(sealane_aead *aead, const uint8_t nonce[SEALANE_NONCE_LEN],
                                 const uint8_t *aad, size_t aad_len, const uint8_t *in, size_t len,
                                 uint8_t *out, uint8_t *tag)
{
    backend_op op = {
        .nonce = nonce, .aad = aad, .aad_len = aad_len, .in = in, .len = len, .out = out, .tag = tag};
    unsigned index;

    if (!arguments_right(aead, &op))
        return SEALANE_ARGUMENT;
    if (len > sealane_cipher_get(aead->cipher)->message_max)
        return SEALANE_OVERFLOW;
    index = op_run(aead, true, &op);
    if (op.result == SEALANE_OK)
        counters_sealed(index, 1);
    return op.result;
}

sealane_result sealane_aead_open(sealane_aead *aead, const uint8_t nonce[SEALANE_NONCE_LEN],
                                 const uint8_t *aad, size_t aad_len, const uint8_t *in, size_t len,
                                 const uint8_t *tag, uint8_t *out)
{
    backend_op op = {.nonce = nonce,
                     .aad = aad,
                     .aad_len = aad_len,
                     .in = in,
                     .len = len,
                     .out = out,
                     .tag =
                         (uint8_t *)(uintptr_t)tag}; /* one struct for both directions: open only reads it */
    unsigned index;

    if (!arguments_right(aead, &op))
        return SEALANE_ARGUMENT;
    if (len > sealane_cipher_get(aead->cipher)->message_max)
        return SEALANE_OVERFLOW;
    index = op_run(aead, false, &op);
    if (op.result == SEALANE_OK)
        counters_opened(index, 1);
    else if (op.result == SEALANE_FORGED)
        counters_forged(1);
    return op.result;
}
