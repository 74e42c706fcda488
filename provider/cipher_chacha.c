/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ChaCha20-Poly1305: what is its own beside cipher_aead.c. Nothing of the nonce travels: it is the IV XOR the
 * sequence number (RFC 7905 2), which libssl gives in the additional data's first eight bytes.
 */
#include <string.h>
#include "cipher_aead.h"

#define TAG_LEN      16
#define SEQUENCE_LEN 8

static bool chacha_announce(aead *ctx, size_t size)
{
    if (ctx->stage == STAGE_NO_IV || (!ctx->sealing && size < TAG_LEN))
        return false;
    if (!ctx->sealing)
        size -= TAG_LEN;
    ctx->tls_aad[11] = (uint8_t)(size >> 8);
    ctx->tls_aad[12] = (uint8_t)size;
    ctx->tls_pad = TAG_LEN;
    return true;
}

static bool chacha_ready(const aead *ctx, size_t len)
{
    return len == ((size_t)ctx->tls_aad[11] << 8 | ctx->tls_aad[12]) + TAG_LEN;
}

static bool chacha_record(aead *ctx, uint8_t *record, size_t len, size_t *out_len)
{
    uint8_t nonce[AEAD_IV_LEN];
    uint64_t low, sequence;

    memcpy(nonce, ctx->iv, sizeof(nonce));
    memcpy(&low, nonce + AEAD_IV_LEN - SEQUENCE_LEN, SEQUENCE_LEN);
    memcpy(&sequence, ctx->tls_aad, SEQUENCE_LEN);
    low ^= sequence;
    memcpy(nonce + AEAD_IV_LEN - SEQUENCE_LEN, &low, SEQUENCE_LEN);
    if (!aead_record_run(ctx, nonce, record, len - TAG_LEN))
        return false;
    *out_len = ctx->sealing ? len : len - TAG_LEN;
    if (ctx->sealing) { /* the default provider's hands it out, too */
        memcpy(ctx->tag, record + len - TAG_LEN, TAG_LEN);
        ctx->tag_state = TAG_MADE;
    }
    return true;
}

const aead_family aead_chacha = {
    .iv_len = AEAD_IV_LEN,
    .tag_by_length = true,
    .tls_announce = chacha_announce,
    .tls_ready = chacha_ready,
    .tls_record = chacha_record,
};

CIPHER_TABLE(cipher_chacha20poly1305, CIPHER_CHACHA20_POLY1305, aead);
