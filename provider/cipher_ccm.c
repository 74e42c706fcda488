/* SPDX-License-Identifier: Apache-2.0 */
/*
 * AES-CCM: what is its own beside cipher_aead.c. Tags of 16 bytes, or 8 in suites that say so; records of
 * TLS 1.2 carry eight bytes of their nonce (RFC 6655 3), for which libssl takes the sequence number.
 */
#include <string.h>
#include "cipher_aead.h"

#define IV_LEN_DEFAULT  7 /* the default provider's */
#define TAG_LEN_DEFAULT 12

static bool tag_fits(const aead *ctx)
{
    return ctx->tag_len == ctx->cipher->tag_len;
}

static bool ccm_announce(aead *ctx, size_t size)
{
    size_t extra = ctx->sealing ? TLS12_EXPLICIT : TLS12_EXPLICIT + ctx->tag_len;

    if (size < extra || !tag_fits(ctx))
        return false;
    size -= extra;
    ctx->tls_aad[11] = (uint8_t)(size >> 8);
    ctx->tls_aad[12] = (uint8_t)size;
    ctx->tls_pad = ctx->tag_len;
    return true;
}

static bool ccm_ready(const aead *ctx, size_t len)
{
    return ctx->iv_fixed && ctx->iv_len == AEAD_IV_LEN && len >= TLS12_EXPLICIT + ctx->tag_len;
}

static bool ccm_record(aead *ctx, uint8_t *record, size_t len, size_t *out_len)
{
    const size_t payload_len = len - TLS12_EXPLICIT - ctx->tag_len;

    if (ctx->sealing)
        memcpy(record, ctx->tls_aad, TLS12_EXPLICIT);
    memcpy(ctx->iv + TLS12_SALT, record, TLS12_EXPLICIT);
    if (!aead_record_run(ctx, ctx->iv, record + TLS12_EXPLICIT, payload_len))
        return false;
    *out_len = ctx->sealing ? len : payload_len;
    return true;
}

static bool ccm_iv_fixed(aead *ctx, const uint8_t *fixed, size_t len)
{
    if (len != TLS12_SALT || (ctx->stage != STAGE_NO_IV && !ctx->tls_done) || ctx->tls_due)
        return false;
    memcpy(ctx->iv, fixed, len);
    ctx->iv_fixed = true;
    return true;
}

static bool ccm_replay_fixed(const aead *ctx, void *theirs)
{
    return cipher_theirs_set_bytes(ctx->index, theirs, OSSL_CIPHER_PARAM_AEAD_TLS1_IV_FIXED, ctx->iv,
                                   TLS12_SALT);
}

/* The IV stays to be asked for, and is used up by an empty message whose tag was fetched. */
static bool ccm_replay_finished(const aead *ctx, void *theirs)
{
    const cipher_functions *f = &cipher_theirs[ctx->index];
    uint8_t nothing[1] = {0}, tag[SEALANE_TAG_MAX];
    OSSL_PARAM params[] = {OSSL_PARAM_octet_string(OSSL_CIPHER_PARAM_AEAD_TAG, tag, ctx->tag_len),
                           OSSL_PARAM_END};
    size_t n;

    return ctx->iv_fixed ||
           (cipher_theirs_init(ctx->index, theirs, true, NULL, 0, ctx->iv, ctx->iv_len, NULL) == 1 &&
            f->update(theirs, nothing, &n, sizeof(nothing), nothing, 0) == 1 &&
            f->get_ctx_params(theirs, params) == 1 &&
            cipher_theirs_init(ctx->index, theirs, ctx->sealing, NULL, 0, NULL, 0, NULL) == 1);
}

const aead_family aead_ccm = {
    .iv_len = IV_LEN_DEFAULT,
    .tag_len = TAG_LEN_DEFAULT,
    .length_first = true,
    .tag_by_length = true,
    .speaks = true,
    .tls_announce = ccm_announce,
    .tls_ready = ccm_ready,
    .tls_record = ccm_record,
    .iv_fixed = ccm_iv_fixed,
    .replay_fixed = ccm_replay_fixed,
    .replay_finished = ccm_replay_finished,
};

CIPHER_TABLE(cipher_aes128ccm, CIPHER_AES_128_CCM, aead);
