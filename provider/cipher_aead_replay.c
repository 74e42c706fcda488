/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Replay: a context of the default provider's is brought to where one of cipher_aead.c stands, by the calls that
 * lead there. Whoever adds to what a context of ours remembers adds it here; tests/provider/test_differential.c
 * finds what is forgotten.
 */
#include <openssl/params.h>
#include "cipher_aead.h"

static bool replay_lengths(const aead *ctx, void *theirs)
{
    size_t iv_len = ctx->iv_len;
    OSSL_PARAM params[] = {OSSL_PARAM_size_t(OSSL_CIPHER_PARAM_AEAD_IVLEN, &iv_len), OSSL_PARAM_END};

    if (iv_len != ctx->family->iv_len && cipher_theirs[ctx->index].set_ctx_params(theirs, params) != 1)
        return false;
    return !ctx->family->tag_by_length || ctx->tag_len == ctx->family->tag_len ||
           cipher_theirs_set_bytes(ctx->index, theirs, OSSL_CIPHER_PARAM_AEAD_TAG, NULL, ctx->tag_len);
}

static bool replay_key(const aead *ctx, void *theirs)
{
    bool iv_used = ctx->family->length_first && aead_message_over(ctx);
    bool iv_there = ctx->stage != STAGE_NO_IV && !ctx->iv_fixed && !iv_used;

    if (!ctx->has_direction)
        return true;
    return cipher_theirs_init(ctx->index, theirs, ctx->sealing, ctx->has_key ? ctx->key : NULL,
                              ctx->cipher->key_len, iv_there ? ctx->iv : NULL, ctx->iv_len, NULL) == 1 &&
           (!ctx->iv_fixed || ctx->family->replay_fixed(ctx, theirs));
}

static bool replay_message(const aead *ctx, void *theirs)
{
    const cipher_functions *f = &cipher_theirs[ctx->index];
    size_t n;

    if (aead_message_begun(ctx) && ctx->family->length_first &&
        f->update(theirs, NULL, &n, ctx->message_len, NULL, ctx->message_len) != 1)
        return false;
    if (ctx->stage == STAGE_HEADER &&
        f->update(theirs, NULL, &n, TLS13_HEADER_LEN, ctx->header, TLS13_HEADER_LEN) != 1)
        return false;
    return !aead_message_over(ctx) || ctx->family->replay_finished == NULL ||
           ctx->family->replay_finished(ctx, theirs);
}

/*
 * A tag is taken when opening only; which of both a context does may be said at any time. CCM's cannot be put
 * back after sealing.
 */
static bool replay_tag(const aead *ctx, void *theirs)
{
    const char *name = OSSL_CIPHER_PARAM_AEAD_TAG;
    const uint8_t *shorter = ctx->tag_state == TAG_SET ? ctx->tag : NULL;

    if (ctx->tag_state == TAG_NONE || (ctx->family->length_first && ctx->tag_state == TAG_MADE))
        return true;
    return cipher_theirs_init(ctx->index, theirs, false, NULL, 0, NULL, 0, NULL) == 1 &&
           cipher_theirs_set_bytes(ctx->index, theirs, name, ctx->tag, SEALANE_TAG_MAX) &&
           (ctx->tag_len == SEALANE_TAG_MAX || ctx->tag_len == 0 ||
            cipher_theirs_set_bytes(ctx->index, theirs, name, shorter, ctx->tag_len)) &&
           cipher_theirs_init(ctx->index, theirs, ctx->sealing, NULL, 0, NULL, 0, NULL) == 1;
}

/* CCM's holds on to the additional data for good. */
static bool replay_tls(const aead *ctx, void *theirs)
{
    return !(ctx->tls_due || (ctx->tls_done && ctx->family->length_first)) ||
           cipher_theirs_set_bytes(ctx->index, theirs, OSSL_CIPHER_PARAM_AEAD_TLS1_AAD, ctx->tls_said,
                                   TLS12_AAD_LEN);
}

void *aead_theirs_make(const aead *ctx, bool question)
{
    void *theirs = cipher_theirs_new(ctx->prov, ctx->index);

    if (theirs == NULL)
        return NULL;
    if (replay_lengths(ctx, theirs) && replay_key(ctx, theirs) && replay_message(ctx, theirs) &&
        ((question && ctx->tag_state == TAG_MADE) || replay_tag(ctx, theirs)) && replay_tls(ctx, theirs))
        return theirs;
    cipher_theirs[ctx->index].freectx(theirs);
    return NULL;
}
