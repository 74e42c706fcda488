/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Signature algorithms that name their digest, such as "RSA-SHA256", with keys of tokens: what OpenSSL 3.4 and
 * newer fetch for EVP_PKEY_sign_message_init(3) and EVP_PKEY_sign_init_ex2(3). They are the signatures of
 * signature.c with one digest each. Older libcryptos have no such functions and are not offered them.
 *
 * Unlike the others these carry well-known names, since it is the application that fetches them. It must fetch ours
 * (properties "provider=sealane") to use a token's key; a software key that comes here is libcrypto's to sign with.
 */
#include <openssl/crypto.h>
#include <openssl/params.h>
#include "signature.h"

static void *composite_new(void *vprov, const scheme *its, const char *digest_name)
{
    const digest *d = digest_find(vprov, digest_name);
    signer *ctx = d != NULL ? signer_new(vprov, its) : NULL;

    if (ctx != NULL)
        ctx->fixed = d;
    return ctx;
}

/* ---- parameters ---- */

/* The signature that verify_message_final shall compare: EVP_PKEY_CTX_set_signature(3). Nothing else may be set. */
static int composite_set_ctx_params(void *vctx, const OSSL_PARAM params[])
{
    signer *ctx = vctx;
    const OSSL_PARAM *p = params != NULL ? OSSL_PARAM_locate_const(params, PARAM_SIGNATURE) : NULL;
    void *claimed = NULL;
    size_t len = 0;

    if (p == NULL)
        return 1;
    if (!OSSL_PARAM_get_octet_string(p, &claimed, 0, &len))
        return 0;
    OPENSSL_free(ctx->claimed);
    ctx->claimed = claimed;
    ctx->claimed_len = len;
    return 1;
}

static const OSSL_PARAM *composite_settable_ctx_params(void *vctx, void *vprov)
{
    static const OSSL_PARAM settable[] = {
        OSSL_PARAM_octet_string(PARAM_SIGNATURE, NULL, 0),
        OSSL_PARAM_END,
    };
    (void)vctx;
    (void)vprov;
    return settable;
}

/* ---- operations ---- */

static int composite_init(signer *ctx, void *vkey, bool private, bool message, const OSSL_PARAM params[])
{
    if (!signer_init(ctx, vkey, private, NULL))
        return 0;
    ctx->digest = ctx->fixed;
    ctx->whole = message;
    return (!message || signer_hash_start(ctx)) && composite_set_ctx_params(ctx, params);
}

static int composite_sign_init(void *vctx, void *vkey, const OSSL_PARAM params[])
{
    return composite_init(vctx, vkey, true, false, params);
}

static int composite_verify_init(void *vctx, void *vkey, const OSSL_PARAM params[])
{
    return composite_init(vctx, vkey, false, false, params);
}

static int composite_sign_message_init(void *vctx, void *vkey, const OSSL_PARAM params[])
{
    return composite_init(vctx, vkey, true, true, params);
}

static int composite_verify_message_init(void *vctx, void *vkey, const OSSL_PARAM params[])
{
    return composite_init(vctx, vkey, false, true, params);
}

/* EVP_PKEY_sign takes a digest after sign_init, and after sign_message_init a whole message. */
static int composite_sign(void *vctx, unsigned char *sig, size_t *sig_len, size_t sig_size,
                          const unsigned char *tbs, size_t tbs_len)
{
    signer *ctx = vctx;

    if (!ctx->whole || sig == NULL)
        return signature_sign(ctx, sig, sig_len, sig_size, tbs, tbs_len);
    return signer_hash_start(ctx) && signature_digest_update(ctx, tbs, tbs_len) &&
           signature_digest_sign_final(ctx, sig, sig_len, sig_size);
}

static int composite_verify(void *vctx, const unsigned char *sig, size_t sig_len, const unsigned char *tbs,
                            size_t tbs_len)
{
    signer *ctx = vctx;

    if (!ctx->whole)
        return signature_verify(ctx, sig, sig_len, tbs, tbs_len);
    return signer_hash_start(ctx) && signature_digest_update(ctx, tbs, tbs_len) &&
           signature_digest_verify_final(ctx, sig, sig_len);
}

static int composite_verify_message_final(void *vctx)
{
    signer *ctx = vctx;

    if (ctx->claimed == NULL) {
        RAISE(REASON_STATE, "the signature to verify has not been set");
        return 0;
    }
    return signature_digest_verify_final(ctx, ctx->claimed, ctx->claimed_len);
}

static const char **composite_key_types_rsa(void)
{
    static const char *types[] = {"RSA", NULL};
    return types;
}

static const char **composite_key_types_ecdsa(void)
{
    static const char *types[] = {"EC", NULL};
    return types;
}

#define COMPOSITE(type, hash, name)                                                                          \
    static void *composite_newctx_##type##_##hash(void *vprov, const char *properties)                       \
    {                                                                                                        \
        (void)properties;                                                                                    \
        return composite_new(vprov, &scheme_##type, name);                                                   \
    }                                                                                                        \
    const OSSL_DISPATCH signature_##type##_##hash[] = {                                                      \
        ROW(OSSL_FUNC_SIGNATURE_NEWCTX, composite_newctx_##type##_##hash),                                   \
        ROW(OSSL_FUNC_SIGNATURE_FREECTX, signature_freectx),                                                 \
        ROW(OSSL_FUNC_SIGNATURE_DUPCTX, signature_dupctx),                                                   \
        ROW(FUNC_SIGNATURE_QUERY_KEY_TYPES, composite_key_types_##type),                                     \
        ROW(OSSL_FUNC_SIGNATURE_SIGN_INIT, composite_sign_init),                                             \
        ROW(OSSL_FUNC_SIGNATURE_SIGN, composite_sign),                                                       \
        ROW(FUNC_SIGNATURE_SIGN_MESSAGE_INIT, composite_sign_message_init),                                  \
        ROW(FUNC_SIGNATURE_SIGN_MESSAGE_UPDATE, signature_digest_update),                                    \
        ROW(FUNC_SIGNATURE_SIGN_MESSAGE_FINAL, signature_digest_sign_final),                                 \
        ROW(OSSL_FUNC_SIGNATURE_VERIFY_INIT, composite_verify_init),                                         \
        ROW(OSSL_FUNC_SIGNATURE_VERIFY, composite_verify),                                                   \
        ROW(FUNC_SIGNATURE_VERIFY_MESSAGE_INIT, composite_verify_message_init),                              \
        ROW(FUNC_SIGNATURE_VERIFY_MESSAGE_UPDATE, signature_digest_update),                                  \
        ROW(FUNC_SIGNATURE_VERIFY_MESSAGE_FINAL, composite_verify_message_final),                            \
        ROW(OSSL_FUNC_SIGNATURE_GET_CTX_PARAMS, signature_get_ctx_params),                                   \
        ROW(OSSL_FUNC_SIGNATURE_GETTABLE_CTX_PARAMS, signature_gettable_ctx_params),                         \
        ROW(OSSL_FUNC_SIGNATURE_SET_CTX_PARAMS, composite_set_ctx_params),                                   \
        ROW(OSSL_FUNC_SIGNATURE_SETTABLE_CTX_PARAMS, composite_settable_ctx_params),                         \
        {0, NULL},                                                                                           \
    }

COMPOSITE(rsa, sha1, "SHA1");
COMPOSITE(rsa, sha224, "SHA2-224");
COMPOSITE(rsa, sha256, "SHA2-256");
COMPOSITE(rsa, sha384, "SHA2-384");
COMPOSITE(rsa, sha512, "SHA2-512");
COMPOSITE(ecdsa, sha1, "SHA1");
COMPOSITE(ecdsa, sha224, "SHA2-224");
COMPOSITE(ecdsa, sha256, "SHA2-256");
COMPOSITE(ecdsa, sha384, "SHA2-384");
COMPOSITE(ecdsa, sha512, "SHA2-512");
