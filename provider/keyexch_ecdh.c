/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ECDH with keys of tokens (provider-keyexch(7)): what CMS and EVP_PKEY_derive use; handshakes' ephemeral keys are
 * software keys and stay libcrypto's. The token gives the x coordinate of the shared point; the KDF of ANSI X9.63,
 * where it is wanted, is libcrypto's.
 *
 * Cofactor mode changes nothing: the curves that tokens have (FIPS 186-4) have cofactor 1.
 */
#include <string.h>
#include <openssl/crypto.h>
#include <openssl/kdf.h>
#include <openssl/params.h>
#include "signature.h"

#define POINT_MAX 133 /* P-521: 04 and twice 66 bytes */

typedef struct exchange {
    const provider *prov;
    key *key, *peer;
    int cofactor_mode; /* -1: as the key says */
    bool kdf;          /* X9.63 */
    const digest *hash;
    size_t out_len;
    uint8_t *ukm;
    size_t ukm_len;
} exchange;

static void *keyexch_newctx(void *vprov)
{
    exchange *ctx = OPENSSL_zalloc(sizeof(*ctx));

    if (ctx == NULL)
        return NULL;
    ctx->prov = vprov;
    ctx->cofactor_mode = -1;
    return ctx;
}

static void keyexch_freectx(void *vctx)
{
    exchange *ctx = vctx;

    if (ctx == NULL)
        return;
    key_free(ctx->key);
    key_free(ctx->peer);
    OPENSSL_clear_free(ctx->ukm, ctx->ukm_len);
    OPENSSL_free(ctx);
}

static void *keyexch_dupctx(void *vctx)
{
    const exchange *from = vctx;
    exchange *ctx = OPENSSL_memdup(from, sizeof(*from));

    if (ctx == NULL)
        return NULL;
    ctx->ukm = NULL;
    if (ctx->key != NULL)
        key_ref(ctx->key);
    if (ctx->peer != NULL)
        key_ref(ctx->peer);
    if (from->ukm != NULL && (ctx->ukm = OPENSSL_memdup(from->ukm, from->ukm_len)) == NULL) {
        keyexch_freectx(ctx);
        return NULL;
    }
    return ctx;
}

/* ---- parameters ---- */

static bool kdf_set(exchange *ctx, const OSSL_PARAM *p)
{
    const char *name;

    if (!OSSL_PARAM_get_utf8_string_ptr(p, &name))
        return false;
    ctx->kdf = name[0] != '\0';
    if (!ctx->kdf || strcmp(name, OSSL_KDF_NAME_X963KDF) == 0)
        return true;
    RAISE(REASON_UNSUPPORTED, "ECDH takes no KDF but X963KDF: \"%s\"", name);
    return false;
}

static bool hash_set(exchange *ctx, const OSSL_PARAM *p)
{
    const char *name;

    return OSSL_PARAM_get_utf8_string_ptr(p, &name) && (ctx->hash = digest_find(ctx->prov, name)) != NULL;
}

static bool ukm_set(exchange *ctx, const OSSL_PARAM *p)
{
    void *ukm = NULL;
    size_t len = 0;

    if (!OSSL_PARAM_get_octet_string(p, &ukm, 0, &len))
        return false;
    OPENSSL_clear_free(ctx->ukm, ctx->ukm_len);
    ctx->ukm = ukm;
    ctx->ukm_len = len;
    return true;
}

static int keyexch_set_ctx_params(void *vctx, const OSSL_PARAM params[])
{
    exchange *ctx = vctx;
    const OSSL_PARAM *p;

    if (params == NULL)
        return 1;
    if ((p = OSSL_PARAM_locate_const(params, OSSL_EXCHANGE_PARAM_EC_ECDH_COFACTOR_MODE)) != NULL &&
        (!OSSL_PARAM_get_int(p, &ctx->cofactor_mode) || ctx->cofactor_mode < -1 || ctx->cofactor_mode > 1))
        return 0;
    if ((p = OSSL_PARAM_locate_const(params, OSSL_EXCHANGE_PARAM_KDF_TYPE)) != NULL && !kdf_set(ctx, p))
        return 0;
    if ((p = OSSL_PARAM_locate_const(params, OSSL_EXCHANGE_PARAM_KDF_DIGEST)) != NULL && !hash_set(ctx, p))
        return 0;
    if ((p = OSSL_PARAM_locate_const(params, OSSL_EXCHANGE_PARAM_KDF_OUTLEN)) != NULL &&
        !OSSL_PARAM_get_size_t(p, &ctx->out_len))
        return 0;
    p = OSSL_PARAM_locate_const(params, OSSL_EXCHANGE_PARAM_KDF_UKM);
    return p == NULL || ukm_set(ctx, p);
}

static const OSSL_PARAM *keyexch_settable_ctx_params(void *vctx, void *vprov)
{
    static const OSSL_PARAM settable[] = {
        OSSL_PARAM_int(OSSL_EXCHANGE_PARAM_EC_ECDH_COFACTOR_MODE, NULL),
        OSSL_PARAM_utf8_string(OSSL_EXCHANGE_PARAM_KDF_TYPE, NULL, 0),
        OSSL_PARAM_utf8_string(OSSL_EXCHANGE_PARAM_KDF_DIGEST, NULL, 0),
        OSSL_PARAM_size_t(OSSL_EXCHANGE_PARAM_KDF_OUTLEN, NULL),
        OSSL_PARAM_octet_string(OSSL_EXCHANGE_PARAM_KDF_UKM, NULL, 0),
        OSSL_PARAM_END,
    };
    (void)vctx;
    (void)vprov;
    return settable;
}

static int keyexch_get_ctx_params(void *vctx, OSSL_PARAM params[])
{
    const exchange *ctx = vctx;
    OSSL_PARAM *p;

    if ((p = OSSL_PARAM_locate(params, OSSL_EXCHANGE_PARAM_EC_ECDH_COFACTOR_MODE)) != NULL &&
        !OSSL_PARAM_set_int(p, ctx->cofactor_mode < 0 ? 0 : ctx->cofactor_mode))
        return 0;
    if ((p = OSSL_PARAM_locate(params, OSSL_EXCHANGE_PARAM_KDF_TYPE)) != NULL &&
        !OSSL_PARAM_set_utf8_string(p, ctx->kdf ? OSSL_KDF_NAME_X963KDF : ""))
        return 0;
    if ((p = OSSL_PARAM_locate(params, OSSL_EXCHANGE_PARAM_KDF_DIGEST)) != NULL &&
        !OSSL_PARAM_set_utf8_string(p, ctx->hash != NULL ? ctx->hash->name : ""))
        return 0;
    if ((p = OSSL_PARAM_locate(params, OSSL_EXCHANGE_PARAM_KDF_OUTLEN)) != NULL &&
        !OSSL_PARAM_set_size_t(p, ctx->out_len))
        return 0;
    p = OSSL_PARAM_locate(params, OSSL_EXCHANGE_PARAM_KDF_UKM);
    return p == NULL || OSSL_PARAM_set_octet_ptr(p, ctx->ukm, ctx->ukm_len);
}

static const OSSL_PARAM *keyexch_gettable_ctx_params(void *vctx, void *vprov)
{
    static const OSSL_PARAM gettable[] = {
        OSSL_PARAM_int(OSSL_EXCHANGE_PARAM_EC_ECDH_COFACTOR_MODE, NULL),
        OSSL_PARAM_utf8_string(OSSL_EXCHANGE_PARAM_KDF_TYPE, NULL, 0),
        OSSL_PARAM_utf8_string(OSSL_EXCHANGE_PARAM_KDF_DIGEST, NULL, 0),
        OSSL_PARAM_size_t(OSSL_EXCHANGE_PARAM_KDF_OUTLEN, NULL),
        OSSL_PARAM_octet_ptr(OSSL_EXCHANGE_PARAM_KDF_UKM, NULL, 0),
        OSSL_PARAM_END,
    };
    (void)vctx;
    (void)vprov;
    return gettable;
}

/* ---- operations ---- */

static int keyexch_init(void *vctx, void *vkey, const OSSL_PARAM params[])
{
    exchange *ctx = vctx;
    key *k = vkey;

    if (k == NULL || k->pkey == NULL || (k->has & OSSL_KEYMGMT_SELECT_PRIVATE_KEY) == 0) {
        RAISE(REASON_STATE, "ECDH needs a private key");
        return 0;
    }
    key_free(ctx->key);
    ctx->key = key_ref(k);
    ctx->kdf = false;
    return keyexch_set_ctx_params(ctx, params);
}

static int keyexch_set_peer(void *vctx, void *vpeer)
{
    exchange *ctx = vctx;
    key *peer = vpeer;

    if (ctx->key == NULL || peer == NULL || peer->pkey == NULL ||
        EVP_PKEY_parameters_eq(ctx->key->pkey, peer->pkey) != 1) {
        RAISE(REASON_ARGUMENT, "ECDH needs a peer's key on the same curve");
        return 0;
    }
    key_free(ctx->peer);
    ctx->peer = key_ref(peer);
    return 1;
}

/* The peer's point uncompressed, whichever way it came. */
static bool point_write(const key *peer, size_t field_len, uint8_t point[POINT_MAX])
{
    BIGNUM *x = NULL, *y = NULL;
    int len = (int)field_len;
    bool ok = 1 + 2 * field_len <= POINT_MAX &&
              EVP_PKEY_get_bn_param(peer->pkey, OSSL_PKEY_PARAM_EC_PUB_X, &x) == 1 &&
              EVP_PKEY_get_bn_param(peer->pkey, OSSL_PKEY_PARAM_EC_PUB_Y, &y) == 1 &&
              BN_bn2binpad(x, point + 1, len) == len && BN_bn2binpad(y, point + 1 + field_len, len) == len;

    point[0] = 4; /* SEC 1 section 2.3.3 */
    BN_free(x);
    BN_free(y);
    return ok;
}

static bool token_derive(const exchange *ctx, uint8_t *out, size_t len)
{
    static const hsm_mechanism mech = {.scheme = HSM_ECDH};
    uint8_t point[POINT_MAX];
    hsm_error err;

    if (!point_write(ctx->peer, len, point)) {
        RAISE(REASON_ARGUMENT, "the peer's point cannot be used");
        return false;
    }
    if (key_operate(ctx->key, &mech, point, 1 + 2 * len, out, &len, &err) == HSM_OK)
        return true;
    RAISE_HSM(&err);
    return false;
}

static bool software_derive(const exchange *ctx, uint8_t *out, size_t len)
{
    EVP_PKEY_CTX *pctx = EVP_PKEY_CTX_new_from_pkey(ctx->prov->libctx, ctx->key->pkey, NULL);
    bool ok = pctx != NULL && EVP_PKEY_derive_init(pctx) > 0 &&
              EVP_PKEY_derive_set_peer(pctx, ctx->peer->pkey) > 0 && EVP_PKEY_derive(pctx, out, &len) > 0;

    EVP_PKEY_CTX_free(pctx);
    return ok;
}

/* ANSI X9.63 section 5.6.3 by libcrypto. */
static bool kdf_run(const exchange *ctx, uint8_t *out, size_t out_len, uint8_t *secret, size_t len)
{
    EVP_KDF *kdf = EVP_KDF_fetch(ctx->prov->libctx, OSSL_KDF_NAME_X963KDF, NULL);
    EVP_KDF_CTX *kctx = kdf != NULL ? EVP_KDF_CTX_new(kdf) : NULL;
    OSSL_PARAM params[] = {
        OSSL_PARAM_construct_utf8_string(OSSL_KDF_PARAM_DIGEST, (char *)ctx->hash->name, 0),
        OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_KEY, secret, len),
        OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_INFO, ctx->ukm, ctx->ukm_len),
        OSSL_PARAM_construct_end(),
    };
    bool ok = kctx != NULL && EVP_KDF_derive(kctx, out, out_len, params) == 1;

    EVP_KDF_CTX_free(kctx);
    EVP_KDF_free(kdf);
    return ok;
}

static bool secret_derive(const exchange *ctx, uint8_t *out, size_t len)
{
    return ctx->key->token != NULL ? token_derive(ctx, out, len) : software_derive(ctx, out, len);
}

static int keyexch_derive(void *vctx, unsigned char *out, size_t *out_len, size_t out_size)
{
    const exchange *ctx = vctx;
    uint8_t secret[HSM_OUTPUT_MAX];

    if (ctx->key == NULL || ctx->peer == NULL || (ctx->kdf && (ctx->hash == NULL || ctx->out_len == 0))) {
        RAISE(REASON_STATE, "ECDH needs two keys, and a KDF its digest and length");
        return 0;
    }
    size_t field_len = ((size_t)EVP_PKEY_get_bits(ctx->key->pkey) + 7) / 8;
    size_t len = ctx->kdf ? ctx->out_len : field_len;
    *out_len = len;
    if (out == NULL)
        return 1;
    if (out_size < len) {
        RAISE(REASON_LENGTH, "the secret does not fit into %zu bytes", out_size);
        return 0;
    }
    bool ok = ctx->kdf ? secret_derive(ctx, secret, field_len) && kdf_run(ctx, out, len, secret, field_len)
                       : secret_derive(ctx, out, field_len);
    OPENSSL_cleanse(secret, sizeof(secret));
    return ok;
}

const OSSL_DISPATCH keyexch_ecdh[] = {
    ROW(OSSL_FUNC_KEYEXCH_NEWCTX, keyexch_newctx),
    ROW(OSSL_FUNC_KEYEXCH_FREECTX, keyexch_freectx),
    ROW(OSSL_FUNC_KEYEXCH_DUPCTX, keyexch_dupctx),
    ROW(OSSL_FUNC_KEYEXCH_INIT, keyexch_init),
    ROW(OSSL_FUNC_KEYEXCH_SET_PEER, keyexch_set_peer),
    ROW(OSSL_FUNC_KEYEXCH_DERIVE, keyexch_derive),
    ROW(OSSL_FUNC_KEYEXCH_GET_CTX_PARAMS, keyexch_get_ctx_params),
    ROW(OSSL_FUNC_KEYEXCH_GETTABLE_CTX_PARAMS, keyexch_gettable_ctx_params),
    ROW(OSSL_FUNC_KEYEXCH_SET_CTX_PARAMS, keyexch_set_ctx_params),
    ROW(OSSL_FUNC_KEYEXCH_SETTABLE_CTX_PARAMS, keyexch_settable_ctx_params),
    {0, NULL},
};
