/* SPDX-License-Identifier: Apache-2.0 */
/* What the two backends of ChaCha20-Poly1305 have in common: a key that is kept as it is, and how a message ends. */
#ifndef ENGINE_CHACHA_MESSAGE_H
#define ENGINE_CHACHA_MESSAGE_H

#include <stdbool.h>
#include <string.h>
#include <openssl/crypto.h>
#include "../backend.h"
#include "chacha_poly1305.h"

#define KEY_LEN 32

/* RFC 8439 2.8: a 32-bit counter, block 0 being Poly1305's. */
#define MESSAGE_MAX ((UINT64_C(1) << 38) - 64)

static const char *chacha_version(void)
{
    return "built in";
}

static size_t chacha_state_size(sealane_cipher_id cipher)
{
    return cipher == SEALANE_CHACHA20_POLY1305 ? KEY_LEN : 0;
}

static sealane_result chacha_key_init(void *state, sealane_cipher_id cipher, const uint8_t *key)
{
    if (chacha_state_size(cipher) == 0)
        return SEALANE_UNSUPPORTED;
    memcpy(state, key, KEY_LEN);
    return SEALANE_OK;
}

static void chacha_key_clear(void *state)
{
    (void)state; /* refers to nothing */
}

/* RFC 8439 2.8: the lengths close the hash. Delivers the tag, or compares it: in constant time, all at once.
 */
CHACHA_INLINE sealane_result message_end(backend_op *op, poly1305 *poly, const bool sealing)
{
    uint128 tag;

    poly1305_block(poly, op->aad_len, op->len);
    tag = poly1305_end(poly);
    op->result = SEALANE_OK;
    if (sealing) {
        store_64(op->tag, (uint64_t)tag);
        store_64(op->tag + 8, (uint64_t)(tag >> 64));
    } else if ((((uint64_t)tag ^ load_64(op->tag)) | ((uint64_t)(tag >> 64) ^ load_64(op->tag + 8))) != 0) {
        op->result = SEALANE_FORGED;
        if (op->len > 0)
            OPENSSL_cleanse(op->out, op->len);
    }
    return op->result;
}

#endif
