/* SPDX-License-Identifier: Apache-2.0 */
/*
 * AEADs for libcrypto: the core that GCM, CCM and ChaCha20-Poly1305 share. It knows two sequences of calls,
 * libssl's (tls1_enc() and tls13_enc() in 3.0, ssl/record/methods/ later):
 *
 *   TLS 1.2   init(key), fixed IV; per record: AEAD_TLS1_AAD (13 bytes), then one update in place that
 *             handles explicit nonce and tag;
 *   TLS 1.3   init(key); per record: init(iv), [TAG], CCM: update(length), update(header as additional
 *             data), update(data), final, [TAG].
 *
 * The engine wants whole messages. TLS 1.2 gives them. A TLS 1.3 record is recognised by its additional data,
 * which is the record header and holds the record's length (RFC 8446 5.2): an update of just that length is
 * the whole message. Any other call makes the context the default provider's: it is brought to where we are
 * (cipher_aead_replay.c) and goes on from there. Two things cannot be replayed, and are refused: adding to a message that
 * was a whole TLS 1.3 record by its header, and an update after a TLS 1.2 record without new additional data.
 */
#include "cipher_aead.h"

#include <string.h>
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/params.h>
#include <openssl/proverr.h>

static const struct {
    const aead_family *family;
    sealane_cipher_id cipher;
} rows[CIPHERS] = {
    [CIPHER_AES_128_GCM] = {&aead_gcm, SEALANE_AES_128_GCM},
    [CIPHER_AES_256_GCM] = {&aead_gcm, SEALANE_AES_256_GCM},
    [CIPHER_CHACHA20_POLY1305] = {&aead_chacha, SEALANE_CHACHA20_POLY1305},
    [CIPHER_AES_128_CCM] = {&aead_ccm, SEALANE_AES_128_CCM},
};

/* ---- life ---- */

void *aead_newctx(void *vprov, cipher_index index)
{
    aead *ctx = OPENSSL_zalloc(sizeof(*ctx));

    if (ctx == NULL)
        return NULL;
    ctx->prov = vprov;
    ctx->index = index;
    ctx->family = rows[index].family;
    ctx->cipher = sealane_cipher_get(rows[index].cipher);
    ctx->iv_len = ctx->family->iv_len;
    ctx->tag_len = ctx->family->tag_len;
    return ctx;
}

static void engine_drop(aead *ctx)
{
    sealane_aead_free(ctx->engine);
    ctx->engine = NULL;
}

void aead_freectx(void *vctx)
{
    aead *ctx = vctx;

    if (ctx == NULL)
        return;
    engine_drop(ctx);
    if (ctx->theirs != NULL)
        cipher_theirs[ctx->index].freectx(ctx->theirs);
    OPENSSL_clear_free(ctx, sizeof(*ctx));
}

/* The copy expands its key when it needs it. */
void *aead_dupctx(void *vctx)
{
    const aead *from = vctx;
    aead *ctx = OPENSSL_memdup(from, sizeof(*from));

    if (ctx == NULL)
        return NULL;
    ctx->engine = NULL;
    if (from->theirs == NULL)
        return ctx;
    ctx->theirs = cipher_theirs[ctx->index].dupctx(from->theirs);
    if (ctx->theirs != NULL)
        return ctx;
    aead_freectx(ctx);
    return NULL;
}

/* ---- over to the default provider ---- */

/* From here on the context is theirs. */
static bool theirs_take(aead *ctx)
{
    if (ctx->theirs != NULL)
        return true;
    ctx->theirs = aead_theirs_make(ctx, false);
    if (ctx->theirs == NULL)
        return false;
    engine_drop(ctx);
    OPENSSL_cleanse(ctx->key, sizeof(ctx->key));
    return true;
}

/* ---- keys and IVs ---- */

/* Expanded on first use, so that streaming callers do not pay for hash powers that they never need. */
static bool engine_ready(aead *ctx)
{
    return ctx->engine != NULL ||
           sealane_aead_new(&ctx->engine, ctx->cipher->id, ctx->key, ctx->cipher->key_len) == SEALANE_OK;
}

static bool init_is_ours(const aead *ctx, bool sealing, const uint8_t *key, size_t key_len, const uint8_t *iv,
                         size_t iv_len)
{
    if (ctx->theirs != NULL || ctx->tls_due || (key != NULL && key_len != ctx->cipher->key_len) ||
        (iv != NULL && (iv_len != AEAD_IV_LEN || ctx->iv_len != AEAD_IV_LEN || ctx->iv_fixed)))
        return false;
    if (!ctx->family->length_first)
        return !aead_message_begun(ctx) || iv != NULL;
    /* The default provider's CCM expands its key for one direction. */
    return !aead_message_begun(ctx) && (key != NULL || !ctx->has_key || sealing == ctx->sealing);
}

static int aead_init(aead *ctx, bool sealing, const uint8_t *key, size_t key_len, const uint8_t *iv,
                     size_t iv_len, const OSSL_PARAM params[])
{
    if (!init_is_ours(ctx, sealing, key, key_len, iv, iv_len))
        return theirs_take(ctx) &&
               cipher_theirs_init(ctx->index, ctx->theirs, sealing, key, key_len, iv, iv_len, params);
    ctx->sealing = sealing;
    ctx->has_direction = true;
    if (key != NULL) {
        engine_drop(ctx);
        memcpy(ctx->key, key, key_len);
        ctx->has_key = true;
        ctx->tls_sealed = 0;
    }
    if (iv != NULL) {
        memcpy(ctx->iv, iv, AEAD_IV_LEN);
        ctx->iv_fixed = false;
        ctx->tls_done = false;
        ctx->stage = STAGE_IV;
    }
    return params == NULL || aead_set_ctx_params(ctx, params);
}

int aead_encrypt_init(void *vctx, const unsigned char *key, size_t key_len, const unsigned char *iv,
                      size_t iv_len, const OSSL_PARAM params[])
{
    return aead_init(vctx, true, key, key_len, iv, iv_len, params);
}

int aead_decrypt_init(void *vctx, const unsigned char *key, size_t key_len, const unsigned char *iv,
                      size_t iv_len, const OSSL_PARAM params[])
{
    return aead_init(vctx, false, key, key_len, iv, iv_len, params);
}

/* ---- records ---- */

bool aead_record_run(aead *ctx, const uint8_t nonce[AEAD_IV_LEN], uint8_t *payload, size_t len)
{
    if (!engine_ready(ctx))
        return false;
    return (ctx->sealing ? sealane_aead_seal(ctx->engine, nonce, ctx->tls_aad, TLS12_AAD_LEN, payload, len,
                                             payload, payload + len)
                         : sealane_aead_open(ctx->engine, nonce, ctx->tls_aad, TLS12_AAD_LEN, payload, len,
                                             payload + len, payload)) == SEALANE_OK;
}

/* The default provider's word for it: in its language, so that callers who look for it find it. */
static int record_failed(const aead *ctx)
{
    if (ctx->family->speaks)
        ERR_raise(ERR_LIB_PROV, PROV_R_CIPHER_OPERATION_FAILED);
    return 0;
}

static int tls12_record(aead *ctx, uint8_t *record, size_t len, size_t *out_len)
{
    bool done;

    ctx->tls_due = false;
    ctx->tls_done = true;
    done = ctx->family->tls_record(ctx, record, len, out_len);
    ctx->stage = STAGE_FINISHED;
    return done || record_failed(ctx);
}

/* Is it the header of a TLS 1.3 record, and may it be held back? */
static bool header_comes(const aead *ctx, const uint8_t *aad, size_t len)
{
    return ctx->stage == (ctx->family->length_first ? STAGE_LENGTH : STAGE_IV) && ctx->has_key &&
           !ctx->iv_fixed && !ctx->tls_done && len == TLS13_HEADER_LEN && aad[0] == 0x17 && aad[1] == 0x03 &&
           aad[2] == 0x03;
}

static bool ranges_overlap(const uint8_t *a, const uint8_t *b, size_t len)
{
    return a < b + len && b < a + len;
}

/* CCM's tag is as long as was said before; the others' is made whole, and compared as far as it was given. */
static bool tag_is_whole(const aead *ctx)
{
    return ctx->tag_len == ctx->cipher->tag_len || (ctx->sealing && !ctx->family->length_first);
}

/* Is it all of the record that the header announced? */
static bool record_comes(const aead *ctx, const uint8_t *out, size_t out_size, const uint8_t *in, size_t len)
{
    return ctx->stage == STAGE_HEADER && out_size >= len && tag_is_whole(ctx) &&
           ((size_t)ctx->header[3] << 8 | ctx->header[4]) == len + ctx->cipher->tag_len &&
           (ctx->sealing || ctx->tag_fresh) && (!ctx->family->length_first || len == ctx->message_len) &&
           (out == in || !ranges_overlap(out, in, len));
}

static int tls13_record(aead *ctx, uint8_t *out, const uint8_t *in, size_t len, size_t *out_len)
{
    sealane_result result = SEALANE_MEMORY;

    if (engine_ready(ctx) && ctx->sealing)
        result =
            sealane_aead_seal(ctx->engine, ctx->iv, ctx->header, TLS13_HEADER_LEN, in, len, out, ctx->tag);
    else if (ctx->engine != NULL)
        result =
            sealane_aead_open(ctx->engine, ctx->iv, ctx->header, TLS13_HEADER_LEN, in, len, ctx->tag, out);
    ctx->tag_fresh = false;
    if (ctx->sealing) {
        ctx->tag_state = TAG_MADE;
        if (!ctx->family->tag_by_length)
            ctx->tag_len = ctx->cipher->tag_len;
    } else if (ctx->family->length_first) {
        ctx->tag_state = TAG_NONE;
    }
    /* The contract of EVP leaves the verdict to final; the output is wiped already. */
    ctx->stage = result == SEALANE_FORGED ? STAGE_FORGED : STAGE_WHOLE;
    if (result != SEALANE_OK && (result != SEALANE_FORGED || ctx->family->length_first))
        return record_failed(ctx);
    *out_len = len;
    return 1;
}

/* False: the call is not one of libssl's. */
static bool update_ours(aead *ctx, uint8_t *out, size_t *out_len, size_t out_size, const uint8_t *in,
                        size_t len, int *result)
{
    if (out != NULL && record_comes(ctx, out, out_size, in, len)) {
        *result = tls13_record(ctx, out, in, len, out_len);
    } else if (out == NULL && in != NULL && header_comes(ctx, in, len)) {
        memcpy(ctx->header, in, TLS13_HEADER_LEN);
        ctx->stage = STAGE_HEADER;
        *out_len = len;
    } else if (ctx->tls_due && out == in && out_size >= len && ctx->has_key &&
               ctx->family->tls_ready(ctx, len)) {
        *result = tls12_record(ctx, out, len, out_len);
    } else if (ctx->family->length_first && out == NULL && in == NULL && ctx->stage == STAGE_IV &&
               ctx->has_key && !ctx->tls_done && !ctx->tls_due) {
        ctx->message_len = len;
        ctx->stage = STAGE_LENGTH;
        *out_len = len;
    } else {
        return false;
    }
    return true;
}

int aead_update(void *vctx, unsigned char *out, size_t *out_len, size_t out_size, const unsigned char *in,
                size_t len)
{
    aead *ctx = vctx;
    int result = 1;

    if (ctx->theirs == NULL) {
        *out_len = 0;
        if (update_ours(ctx, out, out_len, out_size, in, len, &result))
            return result;
        if (ctx->stage == STAGE_WHOLE || ctx->stage == STAGE_FORGED || (ctx->tls_done && !ctx->tls_due)) {
            RAISE(REASON_STATE, "the message was a whole TLS record, nothing can be added to it");
            return 0;
        }
        if (!theirs_take(ctx))
            return 0;
    }
    return cipher_theirs[ctx->index].update(ctx->theirs, out, out_len, out_size, in, len);
}

int aead_final(void *vctx, unsigned char *out, size_t *out_len, size_t out_size)
{
    aead *ctx = vctx;

    if (ctx->theirs == NULL && (ctx->stage == STAGE_WHOLE || ctx->stage == STAGE_FORGED)) {
        *out_len = 0;
        if (ctx->stage == STAGE_FORGED)
            return ctx->family->length_first; /* its verdict was the update's */
        ctx->stage = STAGE_FINISHED;
        return 1;
    }
    return theirs_take(ctx) && cipher_theirs[ctx->index].final(ctx->theirs, out, out_len, out_size);
}

/* EVP_Cipher(), which libssl does not use with ciphers of providers. */
int aead_cipher(void *vctx, unsigned char *out, size_t *out_len, size_t out_size, const unsigned char *in,
                size_t len)
{
    aead *ctx = vctx;

    return theirs_take(ctx) && cipher_theirs[ctx->index].cipher(ctx->theirs, out, out_len, out_size, in, len);
}

/* ---- parameters ---- */

/* CCM hands its tag out once, and wants to be asked for its very length. */
static bool tag_get(aead *ctx, OSSL_PARAM *p)
{
    if (!ctx->sealing || ctx->tag_state != TAG_MADE || p->data_type != OSSL_PARAM_OCTET_STRING ||
        p->data == NULL || p->data_size == 0 || p->data_size > ctx->cipher->tag_len ||
        (ctx->family->length_first && p->data_size != ctx->tag_len))
        return false;
    memcpy(p->data, ctx->tag, p->data_size);
    p->return_size = p->data_size;
    if (ctx->family->length_first)
        ctx->tag_state = TAG_NONE;
    return true;
}

/* libssl asks for IVLEN per TLS 1.3 record and for TAG per sealed one: those come first. */
static bool get_ours(aead *ctx, OSSL_PARAM *p)
{
    if (cipher_param_is(p, OSSL_CIPHER_PARAM_IVLEN))
        return OSSL_PARAM_set_size_t(p, ctx->iv_len);
    if (cipher_param_is(p, OSSL_CIPHER_PARAM_AEAD_TAG))
        return tag_get(ctx, p);
    if (cipher_param_is(p, OSSL_CIPHER_PARAM_AEAD_TLS1_AAD_PAD))
        return OSSL_PARAM_set_size_t(p, ctx->tls_pad);
    if (cipher_param_is(p, OSSL_CIPHER_PARAM_KEYLEN))
        return OSSL_PARAM_set_size_t(p, ctx->cipher->key_len);
    return false;
}

/*
 * To answer a question the default provider's context need not stay, unless the answer points into it or is
 * one that moves the context on. The kernel-TLS code asks so for the IV, and then goes on with us if the kernel
 * does not take over.
 */
static bool question_only(const OSSL_PARAM *p)
{
    for (; p->key != NULL; p++)
        if (p->data_type == OSSL_PARAM_OCTET_PTR || p->data_type == OSSL_PARAM_UTF8_PTR ||
            cipher_param_is(p, OSSL_CIPHER_PARAM_AEAD_TAG) ||
            cipher_param_is(p, OSSL_CIPHER_PARAM_AEAD_TLS1_GET_IV_GEN))
            return false;
    return true;
}

static int get_theirs(aead *ctx, OSSL_PARAM params[])
{
    const cipher_functions *f = &cipher_theirs[ctx->index];
    void *theirs;
    int result;

    if (ctx->theirs != NULL || !question_only(params))
        return theirs_take(ctx) && f->get_ctx_params(ctx->theirs, params);
    theirs = aead_theirs_make(ctx, true);
    result = theirs != NULL && f->get_ctx_params(theirs, params);
    if (theirs != NULL)
        f->freectx(theirs);
    return result;
}

int aead_get_ctx_params(void *vctx, OSSL_PARAM params[])
{
    aead *ctx = vctx;

    for (; params->key != NULL; params++)
        if (ctx->theirs != NULL || !get_ours(ctx, params))
            return get_theirs(ctx, params);
    return 1;
}

static bool tls_aad_set(aead *ctx, const OSSL_PARAM *p)
{
    const uint8_t *aad = p->data;

    if (p->data_type != OSSL_PARAM_OCTET_STRING || p->data_size != TLS12_AAD_LEN || !ctx->has_direction ||
        aead_message_begun(ctx) || ctx->stage == STAGE_WHOLE || ctx->stage == STAGE_FORGED)
        return false;
    memcpy(ctx->tls_aad, aad, TLS12_AAD_LEN);
    if (!ctx->family->tls_announce(ctx, (size_t)aad[11] << 8 | aad[12]))
        return false;
    memcpy(ctx->tls_said, aad, TLS12_AAD_LEN);
    ctx->tls_due = true;
    return true;
}

/* CCM's tags of 16 and 8 bytes are two ciphers to the engine. */
static bool tag_len_set(aead *ctx, size_t len)
{
    if (len == ctx->tag_len)
        return true;
    if (ctx->family->length_first && ctx->has_key)
        return false; /* the default provider's context goes on with the old one */
    if (ctx->family->length_first)
        ctx->cipher = sealane_cipher_get(len == 8 ? SEALANE_AES_128_CCM_8 : SEALANE_AES_128_CCM);
    ctx->tag_len = len;
    return true;
}

static bool tag_set(aead *ctx, const OSSL_PARAM *p)
{
    if (p->data_type != OSSL_PARAM_OCTET_STRING || p->data_size == 0 || p->data_size > SEALANE_TAG_MAX ||
        ctx->stage == STAGE_WHOLE || ctx->stage == STAGE_FORGED ||
        (p->data == NULL ? !ctx->family->tag_by_length : ctx->sealing))
        return false;
    if (ctx->family->length_first && (p->data_size % 2 != 0 || p->data_size < 4))
        return false;
    if (!tag_len_set(ctx, p->data_size))
        return false;
    if (p->data != NULL) {
        memcpy(ctx->tag, p->data, p->data_size);
        ctx->tag_state = TAG_SET;
        ctx->tag_fresh = true;
    }
    return true;
}

/* Once there is a key or an IV, another length is nothing that libssl sets. */
static bool iv_len_set(aead *ctx, const OSSL_PARAM *p)
{
    size_t len;

    if (!OSSL_PARAM_get_size_t(p, &len))
        return false;
    if (len == ctx->iv_len)
        return true;
    if (len != AEAD_IV_LEN || ctx->has_key || ctx->stage != STAGE_NO_IV || ctx->iv_fixed)
        return false;
    ctx->iv_len = len;
    return true;
}

static bool key_len_same(const aead *ctx, const OSSL_PARAM *p)
{
    size_t len;

    return OSSL_PARAM_get_size_t(p, &len) && len == ctx->cipher->key_len;
}

/* libssl says version and MAC size to every cipher; no AEAD of the default provider listens. */
static bool set_ours(aead *ctx, const OSSL_PARAM *p)
{
    if (cipher_param_is(p, OSSL_CIPHER_PARAM_AEAD_TLS1_AAD))
        return tls_aad_set(ctx, p);
    if (cipher_param_is(p, OSSL_CIPHER_PARAM_AEAD_TAG))
        return tag_set(ctx, p);
    if (cipher_param_is(p, OSSL_CIPHER_PARAM_AEAD_IVLEN))
        return iv_len_set(ctx, p);
    if (cipher_param_is(p, OSSL_CIPHER_PARAM_AEAD_TLS1_IV_FIXED))
        return p->data_type == OSSL_PARAM_OCTET_STRING && ctx->family->iv_fixed != NULL &&
               ctx->family->iv_fixed(ctx, p->data, p->data_size);
    if (cipher_param_is(p, OSSL_CIPHER_PARAM_KEYLEN))
        return key_len_same(ctx, p);
    return cipher_param_is(p, OSSL_CIPHER_PARAM_TLS_VERSION) ||
           cipher_param_is(p, OSSL_CIPHER_PARAM_TLS_MAC_SIZE);
}

int aead_set_ctx_params(void *vctx, const OSSL_PARAM params[])
{
    aead *ctx = vctx;

    for (; params != NULL && params->key != NULL; params++)
        if (ctx->theirs != NULL || !set_ours(ctx, params))
            return theirs_take(ctx) && cipher_theirs[ctx->index].set_ctx_params(ctx->theirs, params);
    return 1;
}
