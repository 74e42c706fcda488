/* SPDX-License-Identifier: Apache-2.0 */
/* What the RSA and the ECDSA signatures share; see signature.h. */
#include <stdatomic.h>
#include <string.h>
#include <openssl/crypto.h>
#include <openssl/objects.h>
#include <openssl/params.h>
#include <openssl/rsa.h>
#include <openssl/x509.h>
#include "signature.h"

/* ---- digests ---- */

/* OID arcs 2.16.840.1.101.3.4.2.x with the last octets that differ: RFC 8017 9.2, note 1. */
#define SHA2_INFO(total, last, len)                                                                          \
    {                                                                                                        \
        0x30, total, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, last, 0x05,     \
            0x00, 0x04, len                                                                                  \
    }

static const digest digests[DIGESTS] = {
    {"SHA2-256", "SHA256", NID_sha256, HSM_SHA256, 32, 19, SHA2_INFO(0x31, 0x01, 32)},
    {"SHA2-384", "SHA384", NID_sha384, HSM_SHA384, 48, 19, SHA2_INFO(0x41, 0x02, 48)},
    {"SHA2-512", "SHA512", NID_sha512, HSM_SHA512, 64, 19, SHA2_INFO(0x51, 0x03, 64)},
    {"SHA2-224", "SHA224", NID_sha224, HSM_SHA224, 28, 19, SHA2_INFO(0x2d, 0x04, 28)},
    {"SHA1",
     "SHA-1",
     NID_sha1,
     HSM_SHA1,
     20,
     15,
     {0x30, 0x21, 0x30, 0x09, 0x06, 0x05, 0x2b, 0x0e, 0x03, 0x02, 0x1a, 0x05, 0x00, 0x04, 20}},
    /* TLS 1.1 and before signed both digests without a DigestInfo: RFC 4346 7.4.3. */
    {"MD5-SHA1", "MD5-SHA1", NID_md5_sha1, HSM_HASH_NONE, 36, 0, {0}},
};

/* Any other name that libcrypto knows: an OID, say. */
static const digest *digest_of_alias(const provider *prov, const char *name)
{
    EVP_MD *md = EVP_MD_fetch(prov->libctx, name, NULL);
    const digest *found = NULL;

    for (size_t i = 0; md != NULL && found == NULL && i < DIGESTS; i++)
        if (EVP_MD_is_a(md, digests[i].name))
            found = &digests[i];
    EVP_MD_free(md);
    return found;
}

const digest *digest_find(const provider *prov, const char *name)
{
    const digest *found = NULL;

    for (size_t i = 0; found == NULL && i < DIGESTS; i++)
        if (OPENSSL_strcasecmp(name, digests[i].name) == 0 || OPENSSL_strcasecmp(name, digests[i].alias) == 0)
            found = &digests[i];
    if (found == NULL)
        found = digest_of_alias(prov, name);
    if (found == NULL)
        RAISE(REASON_UNSUPPORTED, "no signatures over digest \"%s\"", name);
    return found;
}

/* Fetching costs thousands of instructions, and every handshake hashes. */
static EVP_MD *digest_md(const provider *prov, const digest *d)
{
    EVP_MD *_Atomic *cell = &prov->digests[d - digests];
    EVP_MD *md = *cell, *before = NULL;

    if (md != NULL || (md = EVP_MD_fetch(prov->libctx, d->name, NULL)) == NULL)
        return md;
    if (atomic_compare_exchange_strong(cell, &before, md))
        return md;
    EVP_MD_free(md); /* another thread was faster */
    return before;
}

/* ---- the context ---- */

signer *signer_new(void *vprov, const scheme *its)
{
    signer *ctx = OPENSSL_zalloc(sizeof(*ctx));

    if (ctx == NULL)
        return NULL;
    ctx->prov = vprov;
    ctx->scheme = its;
    return ctx;
}

static void *signature_newctx_rsa(void *vprov, const char *properties)
{
    (void)properties;
    return signer_new(vprov, &scheme_rsa);
}

static void *signature_newctx_ecdsa(void *vprov, const char *properties)
{
    (void)properties;
    return signer_new(vprov, &scheme_ecdsa);
}

void signature_freectx(void *vctx)
{
    signer *ctx = vctx;

    if (ctx == NULL)
        return;
    key_free(ctx->key);
    EVP_MD_CTX_free(ctx->md);
    OPENSSL_free(ctx->claimed);
    OPENSSL_free(ctx);
}

void *signature_dupctx(void *vctx)
{
    const signer *from = vctx;
    signer *ctx = OPENSSL_memdup(from, sizeof(*from));

    if (ctx == NULL)
        return NULL;
    ctx->md = NULL;
    ctx->claimed = NULL;
    if (ctx->key != NULL)
        key_ref(ctx->key);
    if ((from->md != NULL &&
         ((ctx->md = EVP_MD_CTX_new()) == NULL || EVP_MD_CTX_copy_ex(ctx->md, from->md) != 1)) ||
        (from->claimed != NULL &&
         (ctx->claimed = OPENSSL_memdup(from->claimed, from->claimed_len)) == NULL)) {
        signature_freectx(ctx);
        return NULL;
    }
    return ctx;
}

bool signer_sign(signer *ctx, const hsm_mechanism *mech, const uint8_t *in, size_t in_len, uint8_t *sig,
                 size_t *sig_len)
{
    hsm_error err;

    if (key_operate(ctx->key, mech, in, in_len, sig, sig_len, &err) == HSM_OK)
        return true;
    RAISE_HSM(&err);
    return false;
}

/* ---- AlgorithmIdentifier ---- */

bool algorithm_id_answer(OSSL_PARAM *p, int nid, int type, void *value)
{
    X509_ALGOR *algorithm = X509_ALGOR_new();
    unsigned char *der = NULL;
    bool ok = false;

    if (algorithm != NULL && X509_ALGOR_set0(algorithm, OBJ_nid2obj(nid), type, value) == 1) {
        int len = i2d_X509_ALGOR(algorithm, &der);
        ok = len > 0 && OSSL_PARAM_set_octet_string(p, der, (size_t)len);
    }
    OPENSSL_free(der);
    X509_ALGOR_free(algorithm);
    return ok;
}

/* ---- parameters ---- */

static int signature_set_ctx_params(void *vctx, const OSSL_PARAM params[])
{
    signer *ctx = vctx;
    const char *name;

    if (params == NULL)
        return 1;
    const OSSL_PARAM *p = OSSL_PARAM_locate_const(params, OSSL_SIGNATURE_PARAM_DIGEST);
    if (p != NULL &&
        (!OSSL_PARAM_get_utf8_string_ptr(p, &name) || (ctx->digest = digest_find(ctx->prov, name)) == NULL))
        return 0;
    return ctx->scheme->params_set(ctx, params);
}

static const OSSL_PARAM *signature_settable_ctx_params(void *vctx, void *vprov)
{
    static const OSSL_PARAM settable[] = {
        OSSL_PARAM_utf8_string(OSSL_SIGNATURE_PARAM_DIGEST, NULL, 0),
        OSSL_PARAM_utf8_string(OSSL_SIGNATURE_PARAM_PAD_MODE, NULL, 0),
        OSSL_PARAM_utf8_string(OSSL_SIGNATURE_PARAM_PSS_SALTLEN, NULL, 0),
        OSSL_PARAM_utf8_string(OSSL_SIGNATURE_PARAM_MGF1_DIGEST, NULL, 0),
        OSSL_PARAM_END,
    };
    const signer *ctx = vctx;
    (void)vprov;
    if (ctx != NULL && ctx->scheme == &scheme_ecdsa) {
        static const OSSL_PARAM ecdsa[] = {
            OSSL_PARAM_utf8_string(OSSL_SIGNATURE_PARAM_DIGEST, NULL, 0),
            OSSL_PARAM_END,
        };
        return ecdsa;
    }
    return settable;
}

int signature_get_ctx_params(void *vctx, OSSL_PARAM params[])
{
    const signer *ctx = vctx;
    OSSL_PARAM *p;

    if ((p = OSSL_PARAM_locate(params, OSSL_SIGNATURE_PARAM_ALGORITHM_ID)) != NULL &&
        (ctx->digest == NULL || !ctx->scheme->algorithm_id(ctx, p)))
        return 0;
    if ((p = OSSL_PARAM_locate(params, OSSL_SIGNATURE_PARAM_DIGEST)) != NULL &&
        !OSSL_PARAM_set_utf8_string(p, ctx->digest != NULL ? ctx->digest->name : ""))
        return 0;
    return ctx->scheme->params_get(ctx, params);
}

const OSSL_PARAM *signature_gettable_ctx_params(void *vctx, void *vprov)
{
    static const OSSL_PARAM gettable[] = {
        OSSL_PARAM_octet_string(OSSL_SIGNATURE_PARAM_ALGORITHM_ID, NULL, 0),
        OSSL_PARAM_utf8_string(OSSL_SIGNATURE_PARAM_DIGEST, NULL, 0),
        OSSL_PARAM_utf8_string(OSSL_SIGNATURE_PARAM_PAD_MODE, NULL, 0),
        OSSL_PARAM_int(OSSL_SIGNATURE_PARAM_PSS_SALTLEN, NULL),
        OSSL_PARAM_END,
    };
    (void)vctx;
    (void)vprov;
    return gettable;
}

/* ---- operations ---- */

bool signer_init(signer *ctx, void *vkey, bool private, const OSSL_PARAM params[])
{
    if (vkey != NULL) {
        key_free(ctx->key);
        ctx->key = key_ref(vkey);
    }
    if (ctx->key == NULL || ctx->key->pkey == NULL ||
        (private && (ctx->key->has & OSSL_KEYMGMT_SELECT_PRIVATE_KEY) == 0)) {
        RAISE(REASON_STATE, private ? "signing needs a private key" : "a key is needed");
        return false;
    }
    ctx->digest = ctx->mgf = NULL;
    if (ctx->scheme->start != NULL && !ctx->scheme->start(ctx))
        return false;
    return signature_set_ctx_params(ctx, params);
}

static int signature_sign_init(void *vctx, void *vkey, const OSSL_PARAM params[])
{
    return signer_init(vctx, vkey, true, params);
}

static int signature_verify_init(void *vctx, void *vkey, const OSSL_PARAM params[])
{
    return signer_init(vctx, vkey, false, params);
}

/* With a digest named, what is to be signed must be one of it. */
static bool tbs_fits(const signer *ctx, size_t tbs_len)
{
    if (ctx->digest == NULL || tbs_len == ctx->digest->len)
        return true;
    RAISE(REASON_LENGTH, "%zu bytes are not a digest of %s", tbs_len, ctx->digest->name);
    return false;
}

/* The context in which libcrypto does what the token need not: verifying, and signing with software keys. */
static EVP_PKEY_CTX *libcrypto_context(const signer *ctx, int (*init)(EVP_PKEY_CTX *, const OSSL_PARAM *))
{
    EVP_PKEY_CTX *pctx = EVP_PKEY_CTX_new_from_pkey(ctx->prov->libctx, ctx->key->pkey, NULL);
    OSSL_PARAM params[SCHEME_PARAMS_MAX];

    ctx->scheme->libcrypto_params(ctx, params);
    if (pctx != NULL && init(pctx, params) > 0)
        return pctx;
    EVP_PKEY_CTX_free(pctx);
    return NULL;
}

static bool libcrypto_sign(const signer *ctx, const uint8_t *tbs, size_t tbs_len, uint8_t *sig,
                           size_t *sig_len, size_t sig_size)
{
    EVP_PKEY_CTX *pctx = libcrypto_context(ctx, EVP_PKEY_sign_init_ex);
    bool ok;

    *sig_len = sig_size;
    ok = pctx != NULL && EVP_PKEY_sign(pctx, sig, sig_len, tbs, tbs_len) == 1;
    EVP_PKEY_CTX_free(pctx);
    return ok;
}

int signature_sign(void *vctx, unsigned char *sig, size_t *sig_len, size_t sig_size, const unsigned char *tbs,
                   size_t tbs_len)
{
    signer *ctx = vctx;

    if (sig == NULL) {
        *sig_len = (size_t)EVP_PKEY_get_size(ctx->key->pkey);
        return 1;
    }
    if (!tbs_fits(ctx, tbs_len))
        return 0;
    return ctx->key->token != NULL ? ctx->scheme->sign(ctx, tbs, tbs_len, sig, sig_len, sig_size)
                                   : libcrypto_sign(ctx, tbs, tbs_len, sig, sig_len, sig_size);
}

int signature_verify(void *vctx, const unsigned char *sig, size_t sig_len, const unsigned char *tbs,
                     size_t tbs_len)
{
    signer *ctx = vctx;
    EVP_PKEY_CTX *pctx = tbs_fits(ctx, tbs_len) ? libcrypto_context(ctx, EVP_PKEY_verify_init_ex) : NULL;
    int ok = pctx != NULL && EVP_PKEY_verify(pctx, sig, sig_len, tbs, tbs_len) == 1;

    EVP_PKEY_CTX_free(pctx);
    return ok;
}

/* ---- hashing before signing ---- */

bool signer_hash_start(signer *ctx)
{
    if (ctx->md == NULL && (ctx->md = EVP_MD_CTX_new()) == NULL)
        return false;
    EVP_MD *md = digest_md(ctx->prov, ctx->digest);
    return md != NULL && EVP_DigestInit_ex2(ctx->md, md, NULL) == 1;
}

/* No name: SHA-256, as keymgmt's default digest says too. */
static bool hash_start(signer *ctx, const char *name)
{
    if (name != NULL && name[0] != '\0')
        ctx->digest = digest_find(ctx->prov, name);
    else if (ctx->digest == NULL)
        ctx->digest = &digests[0];
    return ctx->digest != NULL && signer_hash_start(ctx);
}

static int signature_digest_sign_init(void *vctx, const char *name, void *vkey, const OSSL_PARAM params[])
{
    return signer_init(vctx, vkey, true, params) && hash_start(vctx, name);
}

static int signature_digest_verify_init(void *vctx, const char *name, void *vkey, const OSSL_PARAM params[])
{
    return signer_init(vctx, vkey, false, params) && hash_start(vctx, name);
}

int signature_digest_update(void *vctx, const unsigned char *data, size_t len)
{
    signer *ctx = vctx;

    return ctx->md != NULL && EVP_DigestUpdate(ctx->md, data, len) == 1;
}

int signature_digest_sign_final(void *vctx, unsigned char *sig, size_t *sig_len, size_t sig_size)
{
    signer *ctx = vctx;
    uint8_t hash[EVP_MAX_MD_SIZE];
    unsigned int len = 0;

    if (sig != NULL && (ctx->md == NULL || EVP_DigestFinal_ex(ctx->md, hash, &len) != 1))
        return 0;
    return signature_sign(ctx, sig, sig_len, sig_size, hash, len);
}

int signature_digest_verify_final(void *vctx, const unsigned char *sig, size_t sig_len)
{
    signer *ctx = vctx;
    uint8_t hash[EVP_MAX_MD_SIZE];
    unsigned int len;

    return ctx->md != NULL && EVP_DigestFinal_ex(ctx->md, hash, &len) == 1 &&
           signature_verify(ctx, sig, sig_len, hash, len);
}

#define SIGNATURE_TABLE(type)                                                                                \
    const OSSL_DISPATCH signature_##type[] = {                                                               \
        ROW(OSSL_FUNC_SIGNATURE_NEWCTX, signature_newctx_##type),                                            \
        ROW(OSSL_FUNC_SIGNATURE_FREECTX, signature_freectx),                                                 \
        ROW(OSSL_FUNC_SIGNATURE_DUPCTX, signature_dupctx),                                                   \
        ROW(OSSL_FUNC_SIGNATURE_SIGN_INIT, signature_sign_init),                                             \
        ROW(OSSL_FUNC_SIGNATURE_SIGN, signature_sign),                                                       \
        ROW(OSSL_FUNC_SIGNATURE_VERIFY_INIT, signature_verify_init),                                         \
        ROW(OSSL_FUNC_SIGNATURE_VERIFY, signature_verify),                                                   \
        ROW(OSSL_FUNC_SIGNATURE_DIGEST_SIGN_INIT, signature_digest_sign_init),                               \
        ROW(OSSL_FUNC_SIGNATURE_DIGEST_SIGN_UPDATE, signature_digest_update),                                \
        ROW(OSSL_FUNC_SIGNATURE_DIGEST_SIGN_FINAL, signature_digest_sign_final),                             \
        ROW(OSSL_FUNC_SIGNATURE_DIGEST_VERIFY_INIT, signature_digest_verify_init),                           \
        ROW(OSSL_FUNC_SIGNATURE_DIGEST_VERIFY_UPDATE, signature_digest_update),                              \
        ROW(OSSL_FUNC_SIGNATURE_DIGEST_VERIFY_FINAL, signature_digest_verify_final),                         \
        ROW(OSSL_FUNC_SIGNATURE_GET_CTX_PARAMS, signature_get_ctx_params),                                   \
        ROW(OSSL_FUNC_SIGNATURE_GETTABLE_CTX_PARAMS, signature_gettable_ctx_params),                         \
        ROW(OSSL_FUNC_SIGNATURE_SET_CTX_PARAMS, signature_set_ctx_params),                                   \
        ROW(OSSL_FUNC_SIGNATURE_SETTABLE_CTX_PARAMS, signature_settable_ctx_params),                         \
        {0, NULL},                                                                                           \
    }

SIGNATURE_TABLE(rsa);
SIGNATURE_TABLE(ecdsa);
