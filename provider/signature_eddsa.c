/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Ed25519 and Ed448 (RFC 8032) with keys of tokens. The message goes to the token whole: the pure variants hash
 * it twice, together with what only the token knows. Verifying, and software keys, are libcrypto's.
 */
#include <string.h>
#include <openssl/crypto.h>
#include <openssl/obj_mac.h>
#include <openssl/params.h>
#include "signature.h"

/* Since OpenSSL 3.2; for headers that do not have them yet. */
#define PARAM_INSTANCE "instance"
#define PARAM_CONTEXT  "context-string"

typedef struct eddsa {
    const provider *prov;
    key *key;
} eddsa;

static void *eddsa_newctx(void *vprov, const char *properties)
{
    eddsa *ctx = OPENSSL_zalloc(sizeof(*ctx));

    (void)properties;
    if (ctx != NULL)
        ctx->prov = vprov;
    return ctx;
}

static void eddsa_freectx(void *vctx)
{
    eddsa *ctx = vctx;

    if (ctx != NULL)
        key_free(ctx->key);
    OPENSSL_free(ctx);
}

static void *eddsa_dupctx(void *vctx)
{
    const eddsa *from = vctx;
    eddsa *ctx = OPENSSL_memdup(from, sizeof(*from));

    if (ctx != NULL && ctx->key != NULL)
        key_ref(ctx->key);
    return ctx;
}

/* ---- parameters ---- */

/* Nothing but the pure variants without a context, which are what TLS, X.509 and CMS use. */
static int eddsa_set_ctx_params(void *vctx, const OSSL_PARAM params[])
{
    const eddsa *ctx = vctx;
    const OSSL_PARAM *p;
    const char *instance;

    if (params == NULL)
        return 1;
    if ((p = OSSL_PARAM_locate_const(params, PARAM_INSTANCE)) != NULL &&
        (!OSSL_PARAM_get_utf8_string_ptr(p, &instance) || ctx->key == NULL ||
         OPENSSL_strcasecmp(instance, key_type_name(ctx->key->type)) != 0)) {
        RAISE(REASON_UNSUPPORTED, "of EdDSA only the pure variants are offered");
        return 0;
    }
    if ((p = OSSL_PARAM_locate_const(params, PARAM_CONTEXT)) != NULL && p->data_size > 0) {
        RAISE(REASON_UNSUPPORTED, "EdDSA with a context string is not offered");
        return 0;
    }
    return 1;
}

static const OSSL_PARAM *eddsa_settable_ctx_params(void *vctx, void *vprov)
{
    static const OSSL_PARAM settable[] = {
        OSSL_PARAM_utf8_string(PARAM_INSTANCE, NULL, 0),
        OSSL_PARAM_octet_string(PARAM_CONTEXT, NULL, 0),
        OSSL_PARAM_END,
    };
    (void)vctx;
    (void)vprov;
    return settable;
}

/* RFC 8410 section 3: no parameters. */
static int eddsa_get_ctx_params(void *vctx, OSSL_PARAM params[])
{
    const eddsa *ctx = vctx;
    OSSL_PARAM *p = OSSL_PARAM_locate(params, OSSL_SIGNATURE_PARAM_ALGORITHM_ID);

    return p == NULL || (ctx->key != NULL &&
                         algorithm_id_answer(p, ctx->key->type == HSM_KEY_ED25519 ? NID_ED25519 : NID_ED448,
                                             V_ASN1_UNDEF, NULL));
}

static const OSSL_PARAM *eddsa_gettable_ctx_params(void *vctx, void *vprov)
{
    static const OSSL_PARAM gettable[] = {
        OSSL_PARAM_octet_string(OSSL_SIGNATURE_PARAM_ALGORITHM_ID, NULL, 0),
        OSSL_PARAM_END,
    };
    (void)vctx;
    (void)vprov;
    return gettable;
}

/* ---- operations ---- */

static int eddsa_init(eddsa *ctx, const char *name, void *vkey, bool private, const OSSL_PARAM params[])
{
    if (name != NULL && name[0] != '\0') {
        RAISE(REASON_UNSUPPORTED, "EdDSA takes the whole message and no digest: \"%s\"", name);
        return 0;
    }
    if (vkey != NULL) {
        key_free(ctx->key);
        ctx->key = key_ref(vkey);
    }
    if (ctx->key == NULL || ctx->key->pkey == NULL ||
        (private && (ctx->key->has & OSSL_KEYMGMT_SELECT_PRIVATE_KEY) == 0)) {
        RAISE(REASON_STATE, private ? "signing needs a private key" : "a key is needed");
        return 0;
    }
    return eddsa_set_ctx_params(ctx, params);
}

static int eddsa_digest_sign_init(void *vctx, const char *name, void *vkey, const OSSL_PARAM params[])
{
    return eddsa_init(vctx, name, vkey, true, params);
}

static int eddsa_digest_verify_init(void *vctx, const char *name, void *vkey, const OSSL_PARAM params[])
{
    return eddsa_init(vctx, name, vkey, false, params);
}

static bool token_sign(const eddsa *ctx, const uint8_t *tbs, size_t tbs_len, uint8_t *sig, size_t *sig_len)
{
    static const hsm_mechanism mech = {.scheme = HSM_EDDSA};
    hsm_error err;

    if (key_operate(ctx->key, &mech, tbs, tbs_len, sig, sig_len, &err) == HSM_OK)
        return true;
    RAISE_HSM(&err);
    return false;
}

static bool software_sign(const eddsa *ctx, const uint8_t *tbs, size_t tbs_len, uint8_t *sig, size_t *sig_len)
{
    EVP_MD_CTX *md = EVP_MD_CTX_new();
    bool ok = md != NULL &&
              EVP_DigestSignInit_ex(md, NULL, NULL, ctx->prov->libctx, NULL, ctx->key->pkey, NULL) == 1 &&
              EVP_DigestSign(md, sig, sig_len, tbs, tbs_len) == 1;

    EVP_MD_CTX_free(md);
    return ok;
}

static int eddsa_digest_sign(void *vctx, unsigned char *sig, size_t *sig_len, size_t sig_size,
                             const unsigned char *tbs, size_t tbs_len)
{
    const eddsa *ctx = vctx;
    size_t len = (size_t)EVP_PKEY_get_size(ctx->key->pkey);

    *sig_len = sig != NULL ? sig_size : len;
    if (sig == NULL)
        return 1;
    if (sig_size < len) {
        RAISE(REASON_LENGTH, "the signature does not fit into %zu bytes", sig_size);
        return 0;
    }
    return ctx->key->token != NULL ? token_sign(ctx, tbs, tbs_len, sig, sig_len)
                                   : software_sign(ctx, tbs, tbs_len, sig, sig_len);
}

static int eddsa_digest_verify(void *vctx, const unsigned char *sig, size_t sig_len, const unsigned char *tbs,
                               size_t tbs_len)
{
    const eddsa *ctx = vctx;
    EVP_MD_CTX *md = EVP_MD_CTX_new();
    bool ok = md != NULL &&
              EVP_DigestVerifyInit_ex(md, NULL, NULL, ctx->prov->libctx, NULL, ctx->key->pkey, NULL) == 1 &&
              EVP_DigestVerify(md, sig, sig_len, tbs, tbs_len) == 1;

    EVP_MD_CTX_free(md);
    return ok;
}

/* What OpenSSL 3.4 and newer fetch for EVP_PKEY_sign_message_init(3): the same under the algorithm's own name. */
static int eddsa_sign_message_init(void *vctx, void *vkey, const OSSL_PARAM params[])
{
    return eddsa_init(vctx, NULL, vkey, true, params);
}

static int eddsa_verify_message_init(void *vctx, void *vkey, const OSSL_PARAM params[])
{
    return eddsa_init(vctx, NULL, vkey, false, params);
}

static const char **eddsa_key_types_ed25519(void)
{
    static const char *types[] = {"ED25519", NULL};
    return types;
}

static const char **eddsa_key_types_ed448(void)
{
    static const char *types[] = {"ED448", NULL};
    return types;
}

#define EDDSA_ROWS                                                                                           \
    ROW(OSSL_FUNC_SIGNATURE_NEWCTX, eddsa_newctx), ROW(OSSL_FUNC_SIGNATURE_FREECTX, eddsa_freectx),          \
        ROW(OSSL_FUNC_SIGNATURE_DUPCTX, eddsa_dupctx),                                                       \
        ROW(OSSL_FUNC_SIGNATURE_DIGEST_SIGN_INIT, eddsa_digest_sign_init),                                   \
        ROW(OSSL_FUNC_SIGNATURE_DIGEST_SIGN, eddsa_digest_sign),                                             \
        ROW(OSSL_FUNC_SIGNATURE_DIGEST_VERIFY_INIT, eddsa_digest_verify_init),                               \
        ROW(OSSL_FUNC_SIGNATURE_DIGEST_VERIFY, eddsa_digest_verify),                                         \
        ROW(OSSL_FUNC_SIGNATURE_GET_CTX_PARAMS, eddsa_get_ctx_params),                                       \
        ROW(OSSL_FUNC_SIGNATURE_GETTABLE_CTX_PARAMS, eddsa_gettable_ctx_params),                             \
        ROW(OSSL_FUNC_SIGNATURE_SET_CTX_PARAMS, eddsa_set_ctx_params),                                       \
        ROW(OSSL_FUNC_SIGNATURE_SETTABLE_CTX_PARAMS, eddsa_settable_ctx_params)
#define EDDSA_MESSAGE_ROWS(type)                                                                             \
    ROW(FUNC_SIGNATURE_QUERY_KEY_TYPES, eddsa_key_types_##type),                                             \
        ROW(FUNC_SIGNATURE_SIGN_MESSAGE_INIT, eddsa_sign_message_init),                                      \
        ROW(OSSL_FUNC_SIGNATURE_SIGN, eddsa_digest_sign),                                                    \
        ROW(FUNC_SIGNATURE_VERIFY_MESSAGE_INIT, eddsa_verify_message_init),                                  \
        ROW(OSSL_FUNC_SIGNATURE_VERIFY, eddsa_digest_verify)

const OSSL_DISPATCH signature_eddsa[] = {EDDSA_ROWS, {0, NULL}};
const OSSL_DISPATCH signature_ed25519[] = {EDDSA_ROWS, EDDSA_MESSAGE_ROWS(ed25519), {0, NULL}};
const OSSL_DISPATCH signature_ed448[] = {EDDSA_ROWS, EDDSA_MESSAGE_ROWS(ed448), {0, NULL}};
