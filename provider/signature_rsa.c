/* SPDX-License-Identifier: Apache-2.0 */
/* RSA PKCS#1 v1.5 and PSS with keys of tokens: what signature.c leaves to the scheme. Verifying is
 * libcrypto's. */
#include <stdlib.h>
#include <string.h>
#include <openssl/objects.h>
#include <openssl/params.h>
#include <openssl/rsa.h>
#include <openssl/x509.h>
#include "rsa_padding.h"
#include "signature.h"

/* ---- parameters ---- */

/* What the key is restricted to, or NULL. A software key's restrictions are libcrypto's to keep. */
static const hsm_pss *pss_of(const signer *ctx)
{
    const hsm_pss *pss = ctx->key->type == HSM_KEY_RSA_PSS && ctx->key->token != NULL
                             ? &hsm_key_public(ctx->key->token)->pss
                             : NULL;

    return pss != NULL && pss->hash != HSM_HASH_NONE ? pss : NULL;
}

/* As libcrypto begins: an RSA-PSS key with what it is restricted to. */
static bool rsa_start(signer *ctx)
{
    const hsm_pss *pss = pss_of(ctx);

    ctx->padding = ctx->key->type == HSM_KEY_RSA_PSS ? RSA_PKCS1_PSS_PADDING : RSA_PKCS1_PADDING;
    ctx->salt_len = RSA_PSS_SALTLEN_AUTO;
    if (pss == NULL)
        return true;
    ctx->salt_len = (int)pss->salt_min;
    return (ctx->digest = digest_find(ctx->prov, hash_name(pss->hash))) != NULL &&
           (ctx->mgf = digest_find(ctx->prov, hash_name(pss->mgf_hash))) != NULL;
}

static const struct {
    int mode;
    const char *word;
} paddings[] = {
    {RSA_PKCS1_PADDING, OSSL_PKEY_RSA_PAD_MODE_PKCSV15},
    {RSA_PKCS1_PSS_PADDING, OSSL_PKEY_RSA_PAD_MODE_PSS},
    {RSA_NO_PADDING, OSSL_PKEY_RSA_PAD_MODE_NONE},
};
enum { PADDINGS = sizeof(paddings) / sizeof(paddings[0]) };

/* Padding modes travel as numbers or as words. */
static bool padding_set(signer *ctx, const OSSL_PARAM *p)
{
    size_t i = 0;
    int mode = 0;

    if (p->data_type != OSSL_PARAM_UTF8_STRING && !OSSL_PARAM_get_int(p, &mode))
        return false;
    while (i < PADDINGS && (p->data_type == OSSL_PARAM_UTF8_STRING ? strcmp(p->data, paddings[i].word) != 0
                                                                   : mode != paddings[i].mode))
        i++;
    if (i == PADDINGS) {
        RAISE(REASON_UNSUPPORTED, "RSA signatures are made with PKCS#1 v1.5, PSS or no padding");
        return false;
    }
    if (ctx->key->type == HSM_KEY_RSA_PSS && paddings[i].mode != RSA_PKCS1_PSS_PADDING) {
        RAISE(REASON_UNSUPPORTED, "this key is for PSS only");
        return false;
    }
    ctx->padding = paddings[i].mode;
    return true;
}

static bool salt_len_set(signer *ctx, const OSSL_PARAM *p)
{
    int len = 0;

    if (p->data_type == OSSL_PARAM_UTF8_STRING) {
        const char *text = p->data;
        if (strcmp(text, OSSL_PKEY_RSA_PSS_SALT_LEN_DIGEST) == 0)
            len = RSA_PSS_SALTLEN_DIGEST;
        else if (strcmp(text, OSSL_PKEY_RSA_PSS_SALT_LEN_MAX) == 0)
            len = RSA_PSS_SALTLEN_MAX;
        else if (strcmp(text, OSSL_PKEY_RSA_PSS_SALT_LEN_AUTO) == 0)
            len = RSA_PSS_SALTLEN_AUTO;
        else if (strcmp(text, "auto-digestmax") == 0)
            len = RSA_PSS_SALTLEN_DIGEST; /* the most that FIPS 186-4 5.5 allows */
        else
            len = atoi(text);
    } else if (!OSSL_PARAM_get_int(p, &len)) {
        return false;
    }
    if (len < RSA_PSS_SALTLEN_MAX)
        len = RSA_PSS_SALTLEN_DIGEST; /* 3.1 and later: RSA_PSS_SALTLEN_AUTO_DIGEST_MAX */
    ctx->salt_len = len;
    return true;
}

static bool rsa_params_set(signer *ctx, const OSSL_PARAM params[])
{
    const OSSL_PARAM *p;
    const char *name;

    if ((p = OSSL_PARAM_locate_const(params, OSSL_SIGNATURE_PARAM_PAD_MODE)) != NULL && !padding_set(ctx, p))
        return false;
    if ((p = OSSL_PARAM_locate_const(params, OSSL_SIGNATURE_PARAM_PSS_SALTLEN)) != NULL &&
        !salt_len_set(ctx, p))
        return false;
    if ((p = OSSL_PARAM_locate_const(params, OSSL_SIGNATURE_PARAM_MGF1_DIGEST)) != NULL &&
        (!OSSL_PARAM_get_utf8_string_ptr(p, &name) || (ctx->mgf = digest_find(ctx->prov, name)) == NULL))
        return false;
    return true;
}

static bool rsa_params_get(const signer *ctx, OSSL_PARAM params[])
{
    const char *word = "";
    OSSL_PARAM *p;

    for (size_t i = 0; i < PADDINGS; i++)
        if (paddings[i].mode == ctx->padding)
            word = paddings[i].word;
    if ((p = OSSL_PARAM_locate(params, OSSL_SIGNATURE_PARAM_PAD_MODE)) != NULL &&
        !(p->data_type == OSSL_PARAM_UTF8_STRING ? OSSL_PARAM_set_utf8_string(p, word)
                                                 : OSSL_PARAM_set_int(p, ctx->padding)))
        return false;
    p = OSSL_PARAM_locate(params, OSSL_SIGNATURE_PARAM_PSS_SALTLEN);
    return p == NULL || p->data_type != OSSL_PARAM_INTEGER || OSSL_PARAM_set_int(p, ctx->salt_len);
}

static size_t modulus_len(const signer *ctx)
{
    return (size_t)EVP_PKEY_get_size(ctx->key->pkey);
}

/* RFC 8017 9.1.1: the encoded message has one bit less than the modulus, room for hash, salt and two bytes.
 */
static bool salt_len_of(const signer *ctx, size_t *len)
{
    size_t encoded = ((size_t)EVP_PKEY_get_bits(ctx->key->pkey) - 1 + 7) / 8, hash = ctx->digest->len;

    if (encoded < hash + 2)
        return false;
    switch (ctx->salt_len) {
    case RSA_PSS_SALTLEN_DIGEST:
        *len = hash;
        break;
    case RSA_PSS_SALTLEN_AUTO: /* when signing, as long as possible: EVP_PKEY_CTX_set_rsa_pss_saltlen(3) */
    case RSA_PSS_SALTLEN_MAX:
        *len = encoded - hash - 2;
        break;
    default:
        *len = (size_t)ctx->salt_len;
    }
    return *len <= encoded - hash - 2;
}

static X509_ALGOR *algorithm_new(int nid, int type, void *value)
{
    X509_ALGOR *algorithm = X509_ALGOR_new();

    if (algorithm != NULL && X509_ALGOR_set0(algorithm, OBJ_nid2obj(nid), type, value) == 1)
        return algorithm;
    X509_ALGOR_free(algorithm);
    return NULL;
}

/* RFC 4055 3.1. The defaults of the ASN.1 (SHA-1, 20 bytes) must be left out in DER. */
static ASN1_STRING *pss_params(const signer *ctx)
{
    const digest *mgf = ctx->mgf != NULL ? ctx->mgf : ctx->digest;
    RSA_PSS_PARAMS *pss = RSA_PSS_PARAMS_new();
    ASN1_STRING *out = NULL, *inner = NULL;
    X509_ALGOR *mgf_hash = NULL;
    size_t salt;

    if (pss == NULL || !salt_len_of(ctx, &salt))
        goto done;
    if (ctx->digest->nid != NID_sha1 &&
        (pss->hashAlgorithm = algorithm_new(ctx->digest->nid, V_ASN1_NULL, NULL)) == NULL)
        goto done;
    if (mgf->nid != NID_sha1) {
        mgf_hash = algorithm_new(mgf->nid, V_ASN1_NULL, NULL);
        if (mgf_hash == NULL || ASN1_item_pack(mgf_hash, ASN1_ITEM_rptr(X509_ALGOR), &inner) == NULL)
            goto done;
        pss->maskGenAlgorithm = algorithm_new(NID_mgf1, V_ASN1_SEQUENCE, inner);
        if (pss->maskGenAlgorithm == NULL)
            goto done;
        inner = NULL;
    }
    if (salt != 20 && ((pss->saltLength = ASN1_INTEGER_new()) == NULL ||
                       ASN1_INTEGER_set_uint64(pss->saltLength, salt) != 1))
        goto done;
    out = ASN1_item_pack(pss, ASN1_ITEM_rptr(RSA_PSS_PARAMS), NULL);
done:
    ASN1_STRING_free(inner);
    X509_ALGOR_free(mgf_hash);
    RSA_PSS_PARAMS_free(pss);
    return out;
}

static bool rsa_algorithm_id(const signer *ctx, OSSL_PARAM *p)
{
    int nid;

    if (ctx->padding == RSA_PKCS1_PADDING)
        return OBJ_find_sigid_by_algs(&nid, ctx->digest->nid, NID_rsaEncryption) == 1 &&
               algorithm_id_answer(p, nid, V_ASN1_NULL, NULL);
    ASN1_STRING *params = pss_params(ctx);
    return params != NULL && algorithm_id_answer(p, NID_rsassaPss, V_ASN1_SEQUENCE, params);
}

/* ---- operations ---- */

static bool sign_pkcs1(signer *ctx, const uint8_t *tbs, size_t tbs_len, uint8_t *sig, size_t *sig_len)
{
    static const hsm_mechanism mech = {.scheme = HSM_RSA_PKCS1};
    uint8_t block[HSM_BLOCK_MAX];
    size_t info_len = ctx->digest != NULL ? ctx->digest->info_len : 0;

    /* RFC 8017 9.2: at least eleven bytes of padding. */
    if (info_len + tbs_len + 11 > modulus_len(ctx) || info_len + tbs_len > sizeof(block)) {
        RAISE(REASON_LENGTH, "%zu bytes are too many for this key", tbs_len);
        return false;
    }
    if (info_len > 0)
        memcpy(block, ctx->digest->info, info_len);
    memcpy(block + info_len, tbs, tbs_len);
    return signer_sign(ctx, &mech, block, info_len + tbs_len, sig, sig_len);
}

/* RFC 4055 section 3.1, as libcrypto keeps it: that hash and MGF, at least that salt. */
static bool pss_is_allowed(const signer *ctx, const hsm_mechanism *mech)
{
    const hsm_pss *pss = pss_of(ctx);

    if (pss == NULL ||
        (mech->hash == pss->hash && mech->mgf_hash == pss->mgf_hash && mech->salt_len >= pss->salt_min))
        return true;
    RAISE(REASON_UNSUPPORTED, "this key is for PSS with %s, MGF1 of %s and a salt of at least %u bytes",
          hash_name(pss->hash), hash_name(pss->mgf_hash), pss->salt_min);
    return false;
}

static bool sign_raw(signer *ctx, const uint8_t *tbs, size_t tbs_len, uint8_t *sig, size_t *sig_len)
{
    static const hsm_mechanism mech = {.scheme = HSM_RSA_RAW};

    if (tbs_len != modulus_len(ctx)) {
        RAISE(REASON_LENGTH, "without padding the input must have the modulus' length, not %zu bytes",
              tbs_len);
        return false;
    }
    return signer_sign(ctx, &mech, tbs, tbs_len, sig, sig_len);
}

/*
 * For tokens that do not have PSS, or not with this hash, MGF or salt: the encoding is made here and the token does
 * the bare exponentiation. If it does not do that either, what it said of PSS is the better reason.
 */
static bool sign_pss_bare(signer *ctx, const hsm_mechanism *pss, const uint8_t *tbs, uint8_t *sig,
                          size_t *sig_len, const hsm_error *reason)
{
    static const hsm_mechanism bare = {.scheme = HSM_RSA_RAW};
    EVP_MD *hash = EVP_MD_fetch(ctx->prov->libctx, hash_name(pss->hash), NULL);
    EVP_MD *mgf = EVP_MD_fetch(ctx->prov->libctx, hash_name(pss->mgf_hash), NULL);
    uint8_t em[RSA_BYTES_MAX];
    size_t k = modulus_len(ctx);
    hsm_error err;
    bool ok = hash != NULL && mgf != NULL && k <= sizeof(em) &&
              pss_make(em, k, (unsigned)EVP_PKEY_get_bits(ctx->key->pkey), tbs, hash, mgf, pss->salt_len);
    hsm_status status = ok ? key_operate(ctx->key, &bare, em, k, sig, sig_len, &err) : HSM_E_MEMORY;

    if (status == HSM_E_UNSUPPORTED)
        RAISE_HSM(reason);
    else if (!ok)
        RAISE(REASON_INTERNAL, "the PSS encoding cannot be made");
    else if (status != HSM_OK)
        RAISE_HSM(&err);
    EVP_MD_free(hash);
    EVP_MD_free(mgf);
    return status == HSM_OK;
}

static bool sign_pss(signer *ctx, const uint8_t *tbs, size_t tbs_len, uint8_t *sig, size_t *sig_len)
{
    hsm_mechanism mech = {.scheme = HSM_RSA_PSS};

    if (ctx->digest == NULL || ctx->digest->hash == HSM_HASH_NONE) {
        RAISE(REASON_STATE, "PSS needs a digest");
        return false;
    }
    mech.hash = ctx->digest->hash;
    mech.mgf_hash = ctx->mgf != NULL ? ctx->mgf->hash : mech.hash;
    if (!salt_len_of(ctx, &mech.salt_len)) {
        RAISE(REASON_LENGTH, "the key is too short for this PSS salt");
        return false;
    }
    if (!pss_is_allowed(ctx, &mech))
        return false;
    hsm_error err;
    hsm_status status = key_operate(ctx->key, &mech, tbs, tbs_len, sig, sig_len, &err);
    if (status == HSM_E_UNSUPPORTED)
        return sign_pss_bare(ctx, &mech, tbs, sig, sig_len, &err);
    if (status != HSM_OK)
        RAISE_HSM(&err);
    return status == HSM_OK;
}

static bool rsa_sign(signer *ctx, const uint8_t *tbs, size_t tbs_len, uint8_t *sig, size_t *sig_len,
                     size_t sig_size)
{
    *sig_len = modulus_len(ctx);
    if (sig_size < *sig_len) {
        RAISE(REASON_LENGTH, "the signature does not fit into %zu bytes", sig_size);
        return false;
    }
    switch (ctx->padding) {
    case RSA_PKCS1_PADDING:
        return sign_pkcs1(ctx, tbs, tbs_len, sig, sig_len);
    case RSA_PKCS1_PSS_PADDING:
        return sign_pss(ctx, tbs, tbs_len, sig, sig_len);
    default:
        return sign_raw(ctx, tbs, tbs_len, sig, sig_len);
    }
}

static void rsa_libcrypto_params(const signer *ctx, OSSL_PARAM params[])
{
    OSSL_PARAM *p = params;

    if (ctx->digest != NULL)
        *p++ = OSSL_PARAM_construct_utf8_string(OSSL_SIGNATURE_PARAM_DIGEST, (char *)ctx->digest->name, 0);
    *p++ = OSSL_PARAM_construct_int(OSSL_SIGNATURE_PARAM_PAD_MODE, (int *)&ctx->padding);
    if (ctx->padding == RSA_PKCS1_PSS_PADDING) {
        *p++ = OSSL_PARAM_construct_int(OSSL_SIGNATURE_PARAM_PSS_SALTLEN, (int *)&ctx->salt_len);
        if (ctx->mgf != NULL)
            *p++ =
                OSSL_PARAM_construct_utf8_string(OSSL_SIGNATURE_PARAM_MGF1_DIGEST, (char *)ctx->mgf->name, 0);
    }
    *p = OSSL_PARAM_construct_end();
}

const scheme scheme_rsa = {
    .start = rsa_start,
    .params_set = rsa_params_set,
    .params_get = rsa_params_get,
    .algorithm_id = rsa_algorithm_id,
    .sign = rsa_sign,
    .libcrypto_params = rsa_libcrypto_params,
};
