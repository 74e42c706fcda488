/* SPDX-License-Identifier: Apache-2.0 */
/*
 * AES-GCM for libcrypto, over the engine. Three callers meet here:
 *
 *   libssl, TLS 1.2   init(key), fixed IV; per record: AEAD_TLS1_AAD (13 bytes), then one update in place
 * that generates or reads the explicit nonce and handles the tag (RFC 5288 3). libssl, TLS 1.3   init(key);
 * per record: init(iv), [TAG], update(header as AAD), update(data), final, [TAG]. anybody else streaming, any
 * IV length, short tags.
 *
 * The engine wants whole messages. TLS 1.2 gives them. A TLS 1.3 record is recognised by its additional data,
 * which is the record header and holds the record's length (RFC 8446 5.2): an update of just that length is
 * the whole message. Everything else streams through libcrypto's own routines (sealane/stream.h), which costs
 * those callers nothing that they had without us.
 */
#include <string.h>
#include <openssl/crypto.h>
#include <openssl/params.h>
#include <openssl/proverr.h>
#include <openssl/rand.h>
#include <sealane/aead.h>
#include <sealane/stream.h>
#include "provider.h"

#define TAG_LEN          16
#define IV_DEFAULT       12
#define IV_MAX           128 /* as libcrypto's own: 1024 bits */
#define IV_EXPLICIT      8   /* RFC 5288 3: the part of a TLS 1.2 nonce that is sent */
#define TLS12_AAD_LEN    13  /* RFC 5246 6.2.3.3: sequence, type, version, length */
#define TLS13_HEADER_LEN 5   /* RFC 8446 5.2: type, version, length */

/* Where a message stands. */
typedef enum stage {
    STAGE_NO_IV,   /* none was set since the key */
    STAGE_IV,      /* an IV is there, nothing was processed under it */
    STAGE_HEADER,  /* and additional data that looks like a TLS 1.3 header is held back */
    STAGE_STREAM,  /* in the middle of a streamed message; up to here update takes more */
    STAGE_WHOLE,   /* a whole record was processed, final is due */
    STAGE_FORGED,  /* the same, and it was forged: final says so */
    STAGE_FINISHED /* the IV is used up */
} stage;

typedef struct gcm {
    const provider *prov;
    const sealane_cipher *cipher;
    sealane_aead *aead;     /* whole messages; made at the first one after a new key */
    sealane_stream *stream; /* streamed ones, likewise */
    bool sealing, has_key, iv_generated;
    stage stage;
    uint8_t key[SEALANE_KEY_MAX];
    uint8_t iv[IV_MAX];
    size_t iv_len;
    uint8_t tag[TAG_LEN];
    size_t tag_len; /* 0: not set yet */
    uint8_t header[TLS13_HEADER_LEN];
    uint8_t tls_aad[TLS12_AAD_LEN];
    bool tls_record; /* tls_aad is set: the next update is a TLS 1.2 record */
    size_t tls_pad;  /* what AEAD_TLS1_AAD_PAD answers: bytes that sealing adds at the end */
    uint64_t tls_sealed;
} gcm;

/* ---- life ---- */

static void *gcm_new(void *vprov, sealane_cipher_id id)
{
    gcm *ctx = OPENSSL_zalloc(sizeof(*ctx));

    if (ctx == NULL)
        return NULL;
    ctx->prov = vprov;
    ctx->cipher = sealane_cipher_get(id);
    ctx->iv_len = IV_DEFAULT;
    return ctx;
}

static void *cipher_newctx_128(void *vprov)
{
    return gcm_new(vprov, SEALANE_AES_128_GCM);
}

static void *cipher_newctx_256(void *vprov)
{
    return gcm_new(vprov, SEALANE_AES_256_GCM);
}

static void key_drop(gcm *ctx)
{
    sealane_aead_free(ctx->aead);
    sealane_stream_free(ctx->stream);
    ctx->aead = NULL;
    ctx->stream = NULL;
    ctx->has_key = false;
}

static void cipher_freectx(void *vctx)
{
    if (vctx == NULL)
        return;
    key_drop(vctx);
    OPENSSL_clear_free(vctx, sizeof(gcm));
}

static void *cipher_dupctx(void *vctx)
{
    const gcm *from = vctx;
    gcm *ctx = OPENSSL_memdup(from, sizeof(*from));

    if (ctx == NULL)
        return NULL;
    ctx->aead = NULL;
    ctx->stream = NULL;
    if ((from->aead != NULL && sealane_aead_dup(&ctx->aead, from->aead) != SEALANE_OK) ||
        (from->stream != NULL && sealane_stream_dup(&ctx->stream, from->stream) != SEALANE_OK)) {
        cipher_freectx(ctx);
        return NULL;
    }
    return ctx;
}

/* ---- keys and IVs ---- */

static bool key_set(gcm *ctx, const uint8_t *key, size_t len)
{
    if (len != ctx->cipher->key_len) {
        RAISE(REASON_LENGTH, "%s takes a key of %u bytes", ctx->cipher->name, ctx->cipher->key_len);
        return false;
    }
    key_drop(ctx);
    memcpy(ctx->key, key, len);
    ctx->has_key = true;
    ctx->tls_sealed = 0;
    return true;
}

/* Expanded on first use, so that streaming callers do not pay for hash powers that they never need. */
static inline bool aead_ready(gcm *ctx)
{
    return ctx->aead != NULL ||
           sealane_aead_new(&ctx->aead, ctx->cipher->id, ctx->key, ctx->cipher->key_len) == SEALANE_OK;
}

static bool iv_set(gcm *ctx, const uint8_t *iv, size_t len)
{
    if (len == 0 || len > IV_MAX) {
        RAISE(REASON_LENGTH, "an IV of 1 to %d bytes is expected", IV_MAX);
        return false;
    }
    memcpy(ctx->iv, iv, len);
    ctx->iv_len = len;
    ctx->stage = STAGE_IV;
    return true;
}

static int cipher_set_ctx_params(void *vctx, const OSSL_PARAM params[]);

static int gcm_init(gcm *ctx, bool sealing, const uint8_t *key, size_t key_len, const uint8_t *iv,
                    size_t iv_len, const OSSL_PARAM params[])
{
    ctx->sealing = sealing;
    if (key != NULL && !key_set(ctx, key, key_len))
        return 0;
    if (iv != NULL && !iv_set(ctx, iv, iv_len))
        return 0;
    return params == NULL || cipher_set_ctx_params(ctx, params);
}

static int cipher_encrypt_init(void *vctx, const unsigned char *key, size_t key_len, const unsigned char *iv,
                               size_t iv_len, const OSSL_PARAM params[])
{
    return gcm_init(vctx, true, key, key_len, iv, iv_len, params);
}

static int cipher_decrypt_init(void *vctx, const unsigned char *key, size_t key_len, const unsigned char *iv,
                               size_t iv_len, const OSSL_PARAM params[])
{
    return gcm_init(vctx, false, key, key_len, iv, iv_len, params);
}

/* SP 800-38D 8.2.2: without an IV from the caller, sealing takes a random one. */
static bool iv_generate(gcm *ctx)
{
    if (!ctx->sealing || ctx->iv_len < IV_DEFAULT ||
        RAND_bytes_ex(ctx->prov->libctx, ctx->iv, ctx->iv_len, 0) <= 0)
        return false;
    ctx->stage = STAGE_IV;
    return true;
}

/* ---- TLS 1.2 records ---- */

static inline uint64_t be64_read(const uint8_t *p)
{
    uint64_t v;
    memcpy(&v, p, sizeof(v));
    return __builtin_bswap64(v);
}

static inline void be64_write(uint8_t *p, uint64_t v)
{
    v = __builtin_bswap64(v);
    memcpy(p, &v, sizeof(v));
}

/*
 * libssl hands over the length of the record as it will be or was on the wire, explicit nonce included and,
 * when opening, the tag; what is authenticated is the plaintext's (RFC 5246 6.2.3.3).
 */
static bool tls_aad_set(gcm *ctx, const uint8_t *aad, size_t len)
{
    size_t extra = ctx->sealing ? IV_EXPLICIT : IV_EXPLICIT + TAG_LEN;

    if (len != TLS12_AAD_LEN)
        return false;
    size_t size = (size_t)aad[11] << 8 | aad[12];
    if (size < extra)
        return false;
    size -= extra;
    memcpy(ctx->tls_aad, aad, len);
    ctx->tls_aad[11] = (uint8_t)(size >> 8);
    ctx->tls_aad[12] = (uint8_t)size;
    ctx->tls_record = true;
    ctx->tls_pad = TAG_LEN;
    return true;
}

/* EVP_CTRL_GCM_SET_IV_FIXED: the salt, with a random start of the invocation field for sealing. */
static bool iv_fixed_set(gcm *ctx, const uint8_t *fixed, size_t len)
{
    if (len == (size_t)-1) { /* the whole IV, as EVP_CTRL_GCM_SET_IV_FIXED's -1 */
        memcpy(ctx->iv, fixed, ctx->iv_len);
    } else {
        if (len < 4 || ctx->iv_len < len + IV_EXPLICIT)
            return false;
        memcpy(ctx->iv, fixed, len);
        if (ctx->sealing && RAND_bytes_ex(ctx->prov->libctx, ctx->iv + len, ctx->iv_len - len, 0) <= 0)
            return false;
    }
    ctx->iv_generated = true;
    ctx->stage = STAGE_IV;
    return true;
}

/* Copies the invocation field out and advances it for the next message. */
static void iv_take(gcm *ctx, uint8_t *out, size_t len)
{
    uint8_t *counter = ctx->iv + ctx->iv_len - IV_EXPLICIT;

    memcpy(out, ctx->iv + ctx->iv_len - len, len);
    be64_write(counter, be64_read(counter) + 1);
}

/* One record in place: explicit nonce, payload, tag. Sealing returns all of it, opening the payload only. */
static bool tls_record_process(gcm *ctx, uint8_t *out, size_t *out_len, const uint8_t *in, size_t len)
{
    uint8_t nonce[IV_DEFAULT];
    sealane_result result;

    ctx->tls_record = false;
    if (out != in || len < IV_EXPLICIT + TAG_LEN || !ctx->has_key || !ctx->iv_generated ||
        ctx->iv_len != IV_DEFAULT || !aead_ready(ctx))
        return false;
    uint8_t *payload = out + IV_EXPLICIT;
    size_t payload_len = len - IV_EXPLICIT - TAG_LEN;

    if (ctx->sealing) {
        /* SP 800-38D 8.3: never more invocations than the field counts. */
        if (++ctx->tls_sealed == 0)
            return false;
        memcpy(nonce, ctx->iv, sizeof(nonce));
        iv_take(ctx, out, IV_EXPLICIT);
        result = sealane_aead_seal(ctx->aead, nonce, ctx->tls_aad, TLS12_AAD_LEN, payload, payload_len,
                                   payload, payload + payload_len);
        *out_len = len;
    } else {
        memcpy(ctx->iv + ctx->iv_len - IV_EXPLICIT, in, IV_EXPLICIT);
        result = sealane_aead_open(ctx->aead, ctx->iv, ctx->tls_aad, TLS12_AAD_LEN, payload, payload_len,
                                   payload + payload_len, payload);
        *out_len = payload_len;
    }
    ctx->stage = STAGE_FINISHED;
    return result == SEALANE_OK;
}

/* ---- messages under an IV of the caller ---- */

static bool stream_start(gcm *ctx)
{
    if (ctx->stream == NULL &&
        sealane_stream_new(&ctx->stream, ctx->cipher->id, ctx->key, ctx->cipher->key_len) != SEALANE_OK)
        return false;
    if (sealane_stream_begin(ctx->stream, ctx->sealing, ctx->iv, ctx->iv_len) != SEALANE_OK)
        return false;
    if (ctx->stage == STAGE_HEADER &&
        sealane_stream_aad(ctx->stream, ctx->header, TLS13_HEADER_LEN) != SEALANE_OK)
        return false;
    ctx->stage = STAGE_STREAM;
    return true;
}

static bool header_is_record(const gcm *ctx, const uint8_t *aad, size_t len)
{
    return len == TLS13_HEADER_LEN && ctx->iv_len == IV_DEFAULT && aad[0] == 0x17 && aad[1] == 0x03 &&
           aad[2] == 0x03;
}

static bool header_fits(const gcm *ctx, size_t len)
{
    return ((size_t)ctx->header[3] << 8 | ctx->header[4]) == len + TAG_LEN &&
           (ctx->sealing || ctx->tag_len == TAG_LEN);
}

static bool whole_record(gcm *ctx, uint8_t *out, const uint8_t *in, size_t len)
{
    sealane_result result;

    if (!aead_ready(ctx))
        return false;
    if (ctx->sealing)
        result = sealane_aead_seal(ctx->aead, ctx->iv, ctx->header, TLS13_HEADER_LEN, in, len, out, ctx->tag);
    else
        result = sealane_aead_open(ctx->aead, ctx->iv, ctx->header, TLS13_HEADER_LEN, in, len, ctx->tag, out);
    /* The contract of EVP leaves the verdict to final; the output is wiped already. */
    ctx->stage = result == SEALANE_FORGED ? STAGE_FORGED : STAGE_WHOLE;
    return result == SEALANE_OK || result == SEALANE_FORGED;
}

static bool aad_add(gcm *ctx, const uint8_t *aad, size_t len)
{
    if (ctx->stage == STAGE_IV && header_is_record(ctx, aad, len)) {
        memcpy(ctx->header, aad, TLS13_HEADER_LEN);
        ctx->stage = STAGE_HEADER;
        return true;
    }
    if (ctx->stage != STAGE_STREAM && !stream_start(ctx))
        return false;
    return sealane_stream_aad(ctx->stream, aad, len) == SEALANE_OK;
}

static bool data_add(gcm *ctx, uint8_t *out, const uint8_t *in, size_t len)
{
    if (ctx->stage == STAGE_HEADER && header_fits(ctx, len))
        return whole_record(ctx, out, in, len);
    if (ctx->stage != STAGE_STREAM && !stream_start(ctx))
        return false;
    return sealane_stream_update(ctx->stream, in, len, out) == SEALANE_OK;
}

static int cipher_update(void *vctx, unsigned char *out, size_t *out_len, size_t out_size,
                         const unsigned char *in, size_t len)
{
    gcm *ctx = vctx;

    *out_len = 0;
    if (len == 0)
        return 1;
    if (out != NULL && out_size < len) {
        RAISE(REASON_LENGTH, "the output buffer has %zu bytes, %zu are needed", out_size, len);
        return 0;
    }
    if (ctx->tls_record)
        return tls_record_process(ctx, out, out_len, in, len);
    if (!ctx->has_key || ctx->stage > STAGE_STREAM)
        return 0;
    if (ctx->stage == STAGE_NO_IV && !iv_generate(ctx))
        return 0;
    if (!(out == NULL ? aad_add(ctx, in, len) : data_add(ctx, out, in, len)))
        return 0;
    *out_len = len;
    return 1;
}

static bool stream_finish(gcm *ctx)
{
    if (ctx->stage != STAGE_STREAM && !stream_start(ctx))
        return false;
    if (ctx->sealing)
        return sealane_stream_seal_finish(ctx->stream, ctx->tag, TAG_LEN) == SEALANE_OK;
    return ctx->tag_len != 0 && sealane_stream_open_finish(ctx->stream, ctx->tag, ctx->tag_len) == SEALANE_OK;
}

static int cipher_final(void *vctx, unsigned char *out, size_t *out_len, size_t out_size)
{
    gcm *ctx = vctx;
    bool ok = false;

    (void)out;
    (void)out_size;
    *out_len = 0;
    if (!ctx->has_key || ctx->tls_record)
        return 0;
    switch (ctx->stage) {
    case STAGE_WHOLE:
        ok = true;
        break;
    case STAGE_NO_IV:
        ok = iv_generate(ctx) && stream_finish(ctx);
        break;
    case STAGE_IV:
    case STAGE_HEADER:
    case STAGE_STREAM:
        ok = stream_finish(ctx);
        break;
    case STAGE_FORGED:
    case STAGE_FINISHED:
        break;
    }
    ctx->stage = STAGE_FINISHED;
    if (ok && ctx->sealing)
        ctx->tag_len = TAG_LEN;
    return ok;
}

/* EVP_Cipher(): all in one call, no block buffering; without input it is final. */
static int cipher_cipher(void *vctx, unsigned char *out, size_t *out_len, size_t out_size,
                         const unsigned char *in, size_t len)
{
    return in == NULL ? cipher_final(vctx, out, out_len, out_size)
                      : cipher_update(vctx, out, out_len, out_size, in, len);
}

/* ---- parameters ---- */

static int gcm_params(OSSL_PARAM params[], sealane_cipher_id id)
{
    const sealane_cipher *cipher = sealane_cipher_get(id);
    OSSL_PARAM *p;

    if ((p = OSSL_PARAM_locate(params, OSSL_CIPHER_PARAM_MODE)) != NULL &&
        !OSSL_PARAM_set_uint(p, EVP_CIPH_GCM_MODE))
        return 0;
    if ((p = OSSL_PARAM_locate(params, OSSL_CIPHER_PARAM_KEYLEN)) != NULL &&
        !OSSL_PARAM_set_size_t(p, cipher->key_len))
        return 0;
    if ((p = OSSL_PARAM_locate(params, OSSL_CIPHER_PARAM_IVLEN)) != NULL &&
        !OSSL_PARAM_set_size_t(p, IV_DEFAULT))
        return 0;
    if ((p = OSSL_PARAM_locate(params, OSSL_CIPHER_PARAM_BLOCK_SIZE)) != NULL && !OSSL_PARAM_set_size_t(p, 1))
        return 0;
    if ((p = OSSL_PARAM_locate(params, OSSL_CIPHER_PARAM_AEAD)) != NULL && !OSSL_PARAM_set_int(p, 1))
        return 0;
    if ((p = OSSL_PARAM_locate(params, OSSL_CIPHER_PARAM_CUSTOM_IV)) != NULL && !OSSL_PARAM_set_int(p, 1))
        return 0;
    return 1;
}

static int cipher_get_params_128(OSSL_PARAM params[])
{
    return gcm_params(params, SEALANE_AES_128_GCM);
}

static int cipher_get_params_256(OSSL_PARAM params[])
{
    return gcm_params(params, SEALANE_AES_256_GCM);
}

static const OSSL_PARAM *cipher_gettable_params(void *vprov)
{
    static const OSSL_PARAM gettable[] = {
        OSSL_PARAM_uint(OSSL_CIPHER_PARAM_MODE, NULL),
        OSSL_PARAM_size_t(OSSL_CIPHER_PARAM_KEYLEN, NULL),
        OSSL_PARAM_size_t(OSSL_CIPHER_PARAM_IVLEN, NULL),
        OSSL_PARAM_size_t(OSSL_CIPHER_PARAM_BLOCK_SIZE, NULL),
        OSSL_PARAM_int(OSSL_CIPHER_PARAM_AEAD, NULL),
        OSSL_PARAM_int(OSSL_CIPHER_PARAM_CUSTOM_IV, NULL),
        OSSL_PARAM_END,
    };
    (void)vprov;
    return gettable;
}

static bool tag_get(const gcm *ctx, OSSL_PARAM *p)
{
    size_t len = p->data_size;

    if (len == 0 || len > TAG_LEN || !ctx->sealing || ctx->tag_len == 0) {
        RAISE(REASON_STATE, "there is a tag of at most %d bytes, after sealing only", TAG_LEN);
        return false;
    }
    return OSSL_PARAM_set_octet_string(p, ctx->tag, len);
}

static bool iv_get(const gcm *ctx, OSSL_PARAM *p)
{
    if (ctx->stage == STAGE_NO_IV || ctx->iv_len > p->data_size)
        return false;
    return OSSL_PARAM_set_octet_string(p, ctx->iv, ctx->iv_len) ||
           OSSL_PARAM_set_octet_ptr(p, ctx->iv, ctx->iv_len);
}

static bool iv_gen_get(gcm *ctx, OSSL_PARAM *p)
{
    size_t len = p->data_size;

    if (!ctx->iv_generated || !ctx->has_key || p->data == NULL || p->data_type != OSSL_PARAM_OCTET_STRING)
        return false;
    iv_take(ctx, p->data, len == 0 || len > ctx->iv_len ? ctx->iv_len : len);
    p->return_size = len;
    return true;
}

/* libssl asks for IVLEN twice per TLS 1.3 record and for TAG once per sealed one: those come first. */
static bool ctx_param_get(gcm *ctx, OSSL_PARAM *p)
{
    if (strcmp(p->key, OSSL_CIPHER_PARAM_IVLEN) == 0)
        return OSSL_PARAM_set_size_t(p, ctx->iv_len);
    if (strcmp(p->key, OSSL_CIPHER_PARAM_AEAD_TAG) == 0)
        return tag_get(ctx, p);
    if (strcmp(p->key, OSSL_CIPHER_PARAM_AEAD_TLS1_AAD_PAD) == 0)
        return OSSL_PARAM_set_size_t(p, ctx->tls_pad);
    if (strcmp(p->key, OSSL_CIPHER_PARAM_KEYLEN) == 0)
        return OSSL_PARAM_set_size_t(p, ctx->cipher->key_len);
    if (strcmp(p->key, OSSL_CIPHER_PARAM_AEAD_TAGLEN) == 0)
        return OSSL_PARAM_set_size_t(p, ctx->tag_len != 0 ? ctx->tag_len : TAG_LEN);
    if (strcmp(p->key, OSSL_CIPHER_PARAM_IV) == 0 || strcmp(p->key, OSSL_CIPHER_PARAM_UPDATED_IV) == 0)
        return iv_get(ctx, p);
    if (strcmp(p->key, OSSL_CIPHER_PARAM_AEAD_TLS1_GET_IV_GEN) == 0)
        return iv_gen_get(ctx, p);
    return true;
}

static int cipher_get_ctx_params(void *vctx, OSSL_PARAM params[])
{
    for (; params->key != NULL; params++)
        if (!ctx_param_get(vctx, params))
            return 0;
    return 1;
}

static const OSSL_PARAM *cipher_gettable_ctx_params(void *vctx, void *vprov)
{
    static const OSSL_PARAM gettable[] = {
        OSSL_PARAM_size_t(OSSL_CIPHER_PARAM_KEYLEN, NULL),
        OSSL_PARAM_size_t(OSSL_CIPHER_PARAM_IVLEN, NULL),
        OSSL_PARAM_size_t(OSSL_CIPHER_PARAM_AEAD_TAGLEN, NULL),
        OSSL_PARAM_octet_string(OSSL_CIPHER_PARAM_IV, NULL, 0),
        OSSL_PARAM_octet_string(OSSL_CIPHER_PARAM_UPDATED_IV, NULL, 0),
        OSSL_PARAM_octet_string(OSSL_CIPHER_PARAM_AEAD_TAG, NULL, 0),
        OSSL_PARAM_size_t(OSSL_CIPHER_PARAM_AEAD_TLS1_AAD_PAD, NULL),
        OSSL_PARAM_octet_string(OSSL_CIPHER_PARAM_AEAD_TLS1_GET_IV_GEN, NULL, 0),
        OSSL_PARAM_END,
    };
    (void)vctx;
    (void)vprov;
    return gettable;
}

/* With no data the parameter announces a length only (EVP_CTRL_AEAD_SET_TAG with NULL). */
static bool tag_set(gcm *ctx, const OSSL_PARAM *p)
{
    if (p->data_type != OSSL_PARAM_OCTET_STRING || p->data_size == 0 || p->data_size > TAG_LEN ||
        ctx->sealing) {
        RAISE(REASON_LENGTH, "a tag of 1 to %d bytes is set before opening only", TAG_LEN);
        return false;
    }
    if (p->data != NULL)
        memcpy(ctx->tag, p->data, p->data_size);
    ctx->tag_len = p->data_size;
    return true;
}

static bool iv_len_set(gcm *ctx, const OSSL_PARAM *p)
{
    size_t len;

    if (!OSSL_PARAM_get_size_t(p, &len) || len == 0 || len > IV_MAX) {
        RAISE(REASON_LENGTH, "an IV of 1 to %d bytes is expected", IV_MAX);
        return false;
    }
    /* An IV of another length is no longer an IV. */
    if (ctx->iv_len != len && ctx->stage != STAGE_NO_IV)
        ctx->stage = STAGE_FINISHED;
    ctx->iv_len = len;
    return true;
}

/* EVP_CTRL_GCM_SET_IV_INV: the invocation field of a message to be opened. */
static bool iv_inv_set(gcm *ctx, const OSSL_PARAM *p)
{
    if (p->data == NULL || p->data_type != OSSL_PARAM_OCTET_STRING || p->data_size > ctx->iv_len ||
        !ctx->iv_generated || !ctx->has_key || ctx->sealing)
        return false;
    memcpy(ctx->iv + ctx->iv_len - p->data_size, p->data, p->data_size);
    ctx->stage = STAGE_IV;
    return true;
}

/* Parameters that do not concern us are accepted: libssl sets TLS_VERSION and TLS_MAC_SIZE on AEADs too. */
static bool ctx_param_set(gcm *ctx, const OSSL_PARAM *p)
{
    if (strcmp(p->key, OSSL_CIPHER_PARAM_AEAD_TLS1_AAD) == 0) {
        if (p->data_type == OSSL_PARAM_OCTET_STRING && tls_aad_set(ctx, p->data, p->data_size))
            return true;
        RAISE(REASON_LENGTH,
              "the additional data of a TLS 1.2 record has 13 bytes and a sufficient length field");
        return false;
    }
    if (strcmp(p->key, OSSL_CIPHER_PARAM_AEAD_TAG) == 0)
        return tag_set(ctx, p);
    if (strcmp(p->key, OSSL_CIPHER_PARAM_AEAD_IVLEN) == 0)
        return iv_len_set(ctx, p);
    if (strcmp(p->key, OSSL_CIPHER_PARAM_AEAD_TLS1_IV_FIXED) == 0)
        return p->data_type == OSSL_PARAM_OCTET_STRING && iv_fixed_set(ctx, p->data, p->data_size);
    if (strcmp(p->key, OSSL_CIPHER_PARAM_AEAD_TLS1_SET_IV_INV) == 0)
        return iv_inv_set(ctx, p);
    if (strcmp(p->key, OSSL_CIPHER_PARAM_KEYLEN) == 0) {
        size_t len;
        return OSSL_PARAM_get_size_t(p, &len) && len == ctx->cipher->key_len;
    }
    return true;
}

static int cipher_set_ctx_params(void *vctx, const OSSL_PARAM params[])
{
    for (; params != NULL && params->key != NULL; params++)
        if (!ctx_param_set(vctx, params))
            return 0;
    return 1;
}

static const OSSL_PARAM *cipher_settable_ctx_params(void *vctx, void *vprov)
{
    static const OSSL_PARAM settable[] = {
        OSSL_PARAM_size_t(OSSL_CIPHER_PARAM_AEAD_IVLEN, NULL),
        OSSL_PARAM_octet_string(OSSL_CIPHER_PARAM_AEAD_TAG, NULL, 0),
        OSSL_PARAM_octet_string(OSSL_CIPHER_PARAM_AEAD_TLS1_AAD, NULL, 0),
        OSSL_PARAM_octet_string(OSSL_CIPHER_PARAM_AEAD_TLS1_IV_FIXED, NULL, 0),
        OSSL_PARAM_octet_string(OSSL_CIPHER_PARAM_AEAD_TLS1_SET_IV_INV, NULL, 0),
        OSSL_PARAM_END,
    };
    (void)vctx;
    (void)vprov;
    return settable;
}

#define GCM_TABLE(bits)                                                                                      \
    const OSSL_DISPATCH cipher_aes##bits##gcm[] = {                                                          \
        ROW(OSSL_FUNC_CIPHER_NEWCTX, cipher_newctx_##bits),                                                  \
        ROW(OSSL_FUNC_CIPHER_FREECTX, cipher_freectx),                                                       \
        ROW(OSSL_FUNC_CIPHER_DUPCTX, cipher_dupctx),                                                         \
        ROW(OSSL_FUNC_CIPHER_ENCRYPT_INIT, cipher_encrypt_init),                                             \
        ROW(OSSL_FUNC_CIPHER_DECRYPT_INIT, cipher_decrypt_init),                                             \
        ROW(OSSL_FUNC_CIPHER_UPDATE, cipher_update),                                                         \
        ROW(OSSL_FUNC_CIPHER_FINAL, cipher_final),                                                           \
        ROW(OSSL_FUNC_CIPHER_CIPHER, cipher_cipher),                                                         \
        ROW(OSSL_FUNC_CIPHER_GET_PARAMS, cipher_get_params_##bits),                                          \
        ROW(OSSL_FUNC_CIPHER_GETTABLE_PARAMS, cipher_gettable_params),                                       \
        ROW(OSSL_FUNC_CIPHER_GET_CTX_PARAMS, cipher_get_ctx_params),                                         \
        ROW(OSSL_FUNC_CIPHER_GETTABLE_CTX_PARAMS, cipher_gettable_ctx_params),                               \
        ROW(OSSL_FUNC_CIPHER_SET_CTX_PARAMS, cipher_set_ctx_params),                                         \
        ROW(OSSL_FUNC_CIPHER_SETTABLE_CTX_PARAMS, cipher_settable_ctx_params),                               \
        {0, NULL},                                                                                           \
    }

GCM_TABLE(128);
GCM_TABLE(256);
