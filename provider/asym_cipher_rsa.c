/* SPDX-License-Identifier: Apache-2.0 */
/*
 * RSA decryption with keys of tokens (provider-asym_cipher(7)): PKCS#1 v1.5, the premaster secret of TLS 1.2, OAEP,
 * no padding. Encrypting, and software keys, are libcrypto's.
 *
 * Where the outcome of removing a padding would be an oracle, the token is asked for the bare exponentiation and the
 * padding is removed here, in constant time (rsa_padding.c). Tokens that do not offer that (CKM_RSA_X_509) remove it
 * themselves; what they answer is then chosen from without a branch, but how long they took is theirs.
 */
#include <stdlib.h>
#include <string.h>
#include <openssl/crypto.h>
#include <openssl/params.h>
#include <openssl/rand.h>
#include <openssl/rsa.h>
#include "rsa_padding.h"
#include "signature.h"

/* Since OpenSSL 3.2; for headers that do not have it yet. */
#define PARAM_IMPLICIT_REJECTION "implicit-rejection"

typedef struct cipher {
    const provider *prov;
    key *key;
    int padding;
    const digest *hash, *mgf; /* OAEP: NULL: SHA-1; NULL: as `hash` */
    uint8_t *label;
    size_t label_len;
    unsigned client_version, other_version; /* TLS */
    int reject_implicitly;                  /* -1: not said, so yes */
} cipher;

static void *asym_cipher_newctx(void *vprov)
{
    cipher *ctx = OPENSSL_zalloc(sizeof(*ctx));

    if (ctx != NULL)
        ctx->prov = vprov;
    return ctx;
}

static void asym_cipher_freectx(void *vctx)
{
    cipher *ctx = vctx;

    if (ctx == NULL)
        return;
    key_free(ctx->key);
    OPENSSL_free(ctx->label);
    OPENSSL_free(ctx);
}

static void *asym_cipher_dupctx(void *vctx)
{
    const cipher *from = vctx;
    cipher *ctx = OPENSSL_memdup(from, sizeof(*from));

    if (ctx == NULL)
        return NULL;
    ctx->label = NULL;
    if (ctx->key != NULL)
        key_ref(ctx->key);
    if (from->label != NULL && (ctx->label = OPENSSL_memdup(from->label, from->label_len)) == NULL) {
        asym_cipher_freectx(ctx);
        return NULL;
    }
    return ctx;
}

/* ---- parameters ---- */

static const struct {
    int mode;
    const char *word;
} paddings[] = {
    {RSA_PKCS1_PADDING, OSSL_PKEY_RSA_PAD_MODE_PKCSV15},
    {RSA_PKCS1_OAEP_PADDING, OSSL_PKEY_RSA_PAD_MODE_OAEP},
    {RSA_PKCS1_OAEP_PADDING, "oeap"}, /* as libcrypto once misspelt it, and still takes it */
    {RSA_NO_PADDING, OSSL_PKEY_RSA_PAD_MODE_NONE},
    {RSA_PKCS1_WITH_TLS_PADDING, ""},
};
enum { PADDINGS = sizeof(paddings) / sizeof(paddings[0]) };

static bool padding_set(cipher *ctx, const OSSL_PARAM *p)
{
    size_t i = 0;
    int mode = 0;

    if (p->data_type != OSSL_PARAM_UTF8_STRING && !OSSL_PARAM_get_int(p, &mode))
        return false;
    while (i < PADDINGS && (p->data_type == OSSL_PARAM_UTF8_STRING ? strcmp(p->data, paddings[i].word) != 0
                                                                   : mode != paddings[i].mode))
        i++;
    if (i == PADDINGS) {
        RAISE(REASON_UNSUPPORTED, "RSA decryption takes PKCS#1 v1.5, OAEP or no padding");
        return false;
    }
    ctx->padding = paddings[i].mode;
    return true;
}

static bool digest_set(const cipher *ctx, const digest **out, const OSSL_PARAM *p)
{
    const char *name;

    if (!OSSL_PARAM_get_utf8_string_ptr(p, &name) || (*out = digest_find(ctx->prov, name)) == NULL)
        return false;
    if ((*out)->hash != HSM_HASH_NONE)
        return true;
    RAISE(REASON_UNSUPPORTED, "no OAEP with digest \"%s\"", name);
    return false;
}

static bool label_set(cipher *ctx, const OSSL_PARAM *p)
{
    void *label = NULL;
    size_t len = 0;

    if (!OSSL_PARAM_get_octet_string(p, &label, 0, &len))
        return false;
    OPENSSL_free(ctx->label);
    ctx->label = label;
    ctx->label_len = len;
    return true;
}

static int asym_cipher_set_ctx_params(void *vctx, const OSSL_PARAM params[])
{
    cipher *ctx = vctx;
    const OSSL_PARAM *p;

    if (params == NULL)
        return 1;
    if ((p = OSSL_PARAM_locate_const(params, OSSL_ASYM_CIPHER_PARAM_OAEP_DIGEST)) != NULL &&
        !digest_set(ctx, &ctx->hash, p))
        return 0;
    if ((p = OSSL_PARAM_locate_const(params, OSSL_ASYM_CIPHER_PARAM_MGF1_DIGEST)) != NULL &&
        !digest_set(ctx, &ctx->mgf, p))
        return 0;
    if ((p = OSSL_PARAM_locate_const(params, OSSL_ASYM_CIPHER_PARAM_PAD_MODE)) != NULL &&
        !padding_set(ctx, p))
        return 0;
    if ((p = OSSL_PARAM_locate_const(params, OSSL_ASYM_CIPHER_PARAM_OAEP_LABEL)) != NULL &&
        !label_set(ctx, p))
        return 0;
    if ((p = OSSL_PARAM_locate_const(params, OSSL_ASYM_CIPHER_PARAM_TLS_CLIENT_VERSION)) != NULL &&
        !OSSL_PARAM_get_uint(p, &ctx->client_version))
        return 0;
    if ((p = OSSL_PARAM_locate_const(params, OSSL_ASYM_CIPHER_PARAM_TLS_NEGOTIATED_VERSION)) != NULL &&
        !OSSL_PARAM_get_uint(p, &ctx->other_version))
        return 0;
    p = OSSL_PARAM_locate_const(params, PARAM_IMPLICIT_REJECTION);
    return p == NULL || OSSL_PARAM_get_int(p, &ctx->reject_implicitly);
}

static const OSSL_PARAM *asym_cipher_settable_ctx_params(void *vctx, void *vprov)
{
    static const OSSL_PARAM settable[] = {
        OSSL_PARAM_utf8_string(OSSL_ASYM_CIPHER_PARAM_PAD_MODE, NULL, 0),
        OSSL_PARAM_utf8_string(OSSL_ASYM_CIPHER_PARAM_OAEP_DIGEST, NULL, 0),
        OSSL_PARAM_utf8_string(OSSL_ASYM_CIPHER_PARAM_MGF1_DIGEST, NULL, 0),
        OSSL_PARAM_octet_string(OSSL_ASYM_CIPHER_PARAM_OAEP_LABEL, NULL, 0),
        OSSL_PARAM_uint(OSSL_ASYM_CIPHER_PARAM_TLS_CLIENT_VERSION, NULL),
        OSSL_PARAM_uint(OSSL_ASYM_CIPHER_PARAM_TLS_NEGOTIATED_VERSION, NULL),
        OSSL_PARAM_int(PARAM_IMPLICIT_REJECTION, NULL),
        OSSL_PARAM_END,
    };
    (void)vctx;
    (void)vprov;
    return settable;
}

static const char *hash_of(const cipher *ctx)
{
    return ctx->hash != NULL ? ctx->hash->name : "SHA1";
}

static const char *mgf_of(const cipher *ctx)
{
    return ctx->mgf != NULL ? ctx->mgf->name : hash_of(ctx);
}

static bool padding_get(const cipher *ctx, OSSL_PARAM *p)
{
    if (p->data_type != OSSL_PARAM_UTF8_STRING)
        return OSSL_PARAM_set_int(p, ctx->padding);
    for (size_t i = 0; i < PADDINGS; i++)
        if (paddings[i].mode == ctx->padding)
            return OSSL_PARAM_set_utf8_string(p, paddings[i].word);
    return false;
}

static int asym_cipher_get_ctx_params(void *vctx, OSSL_PARAM params[])
{
    const cipher *ctx = vctx;
    OSSL_PARAM *p;

    if ((p = OSSL_PARAM_locate(params, OSSL_ASYM_CIPHER_PARAM_PAD_MODE)) != NULL && !padding_get(ctx, p))
        return 0;
    if ((p = OSSL_PARAM_locate(params, OSSL_ASYM_CIPHER_PARAM_OAEP_DIGEST)) != NULL &&
        !OSSL_PARAM_set_utf8_string(p, hash_of(ctx)))
        return 0;
    if ((p = OSSL_PARAM_locate(params, OSSL_ASYM_CIPHER_PARAM_MGF1_DIGEST)) != NULL &&
        !OSSL_PARAM_set_utf8_string(p, mgf_of(ctx)))
        return 0;
    if ((p = OSSL_PARAM_locate(params, OSSL_ASYM_CIPHER_PARAM_OAEP_LABEL)) != NULL &&
        !OSSL_PARAM_set_octet_ptr(p, ctx->label, ctx->label_len))
        return 0;
    if ((p = OSSL_PARAM_locate(params, OSSL_ASYM_CIPHER_PARAM_TLS_CLIENT_VERSION)) != NULL &&
        !OSSL_PARAM_set_uint(p, ctx->client_version))
        return 0;
    p = OSSL_PARAM_locate(params, OSSL_ASYM_CIPHER_PARAM_TLS_NEGOTIATED_VERSION);
    return p == NULL || OSSL_PARAM_set_uint(p, ctx->other_version);
}

static const OSSL_PARAM *asym_cipher_gettable_ctx_params(void *vctx, void *vprov)
{
    static const OSSL_PARAM gettable[] = {
        OSSL_PARAM_utf8_string(OSSL_ASYM_CIPHER_PARAM_PAD_MODE, NULL, 0),
        OSSL_PARAM_utf8_string(OSSL_ASYM_CIPHER_PARAM_OAEP_DIGEST, NULL, 0),
        OSSL_PARAM_utf8_string(OSSL_ASYM_CIPHER_PARAM_MGF1_DIGEST, NULL, 0),
        OSSL_PARAM_octet_ptr(OSSL_ASYM_CIPHER_PARAM_OAEP_LABEL, NULL, 0),
        OSSL_PARAM_uint(OSSL_ASYM_CIPHER_PARAM_TLS_CLIENT_VERSION, NULL),
        OSSL_PARAM_uint(OSSL_ASYM_CIPHER_PARAM_TLS_NEGOTIATED_VERSION, NULL),
        OSSL_PARAM_END,
    };
    (void)vctx;
    (void)vprov;
    return gettable;
}

/* ---- what libcrypto does ---- */

#define PARAMS_MAX 8

static void libcrypto_params(const cipher *ctx, OSSL_PARAM params[PARAMS_MAX])
{
    OSSL_PARAM *p = params;

    *p++ = OSSL_PARAM_construct_int(OSSL_ASYM_CIPHER_PARAM_PAD_MODE, (int *)&ctx->padding);
    if (ctx->padding == RSA_PKCS1_OAEP_PADDING) {
        *p++ = OSSL_PARAM_construct_utf8_string(OSSL_ASYM_CIPHER_PARAM_OAEP_DIGEST, (char *)hash_of(ctx), 0);
        *p++ = OSSL_PARAM_construct_utf8_string(OSSL_ASYM_CIPHER_PARAM_MGF1_DIGEST, (char *)mgf_of(ctx), 0);
        if (ctx->label_len > 0)
            *p++ = OSSL_PARAM_construct_octet_string(OSSL_ASYM_CIPHER_PARAM_OAEP_LABEL, ctx->label,
                                                     ctx->label_len);
    }
    if (ctx->padding == RSA_PKCS1_WITH_TLS_PADDING) {
        *p++ = OSSL_PARAM_construct_uint(OSSL_ASYM_CIPHER_PARAM_TLS_CLIENT_VERSION,
                                         (unsigned *)&ctx->client_version);
        *p++ = OSSL_PARAM_construct_uint(OSSL_ASYM_CIPHER_PARAM_TLS_NEGOTIATED_VERSION,
                                         (unsigned *)&ctx->other_version);
    }
    if (ctx->reject_implicitly >= 0)
        *p++ = OSSL_PARAM_construct_int(PARAM_IMPLICIT_REJECTION, (int *)&ctx->reject_implicitly);
    *p = OSSL_PARAM_construct_end();
}

static int libcrypto_do(const cipher *ctx, int (*init)(EVP_PKEY_CTX *, const OSSL_PARAM *),
                        int (*run)(EVP_PKEY_CTX *, unsigned char *, size_t *, const unsigned char *, size_t),
                        unsigned char *out, size_t *out_len, const unsigned char *in, size_t in_len)
{
    EVP_PKEY_CTX *pctx = EVP_PKEY_CTX_new_from_pkey(ctx->prov->libctx, ctx->key->pkey, NULL);
    OSSL_PARAM params[PARAMS_MAX];

    libcrypto_params(ctx, params);
    int ok = pctx != NULL && init(pctx, params) > 0 && run(pctx, out, out_len, in, in_len) > 0;
    EVP_PKEY_CTX_free(pctx);
    return ok;
}

/* ---- what the token does ---- */

static size_t modulus_len(const cipher *ctx)
{
    return (size_t)EVP_PKEY_get_size(ctx->key->pkey);
}

static bool refuse_hsm(const hsm_error *err)
{
    RAISE_HSM(err);
    return false;
}

/* One message for every wrong padding: what was wrong is nobody's business. */
static bool refuse_padding(void)
{
    RAISE(REASON_REFUSED, "the ciphertext does not fit this key and padding");
    return false;
}

/* The bare exponentiation. HSM_E_UNSUPPORTED, from then on at once: the token does not offer it. */
static hsm_status raw_decrypt(const cipher *ctx, const uint8_t *in, size_t in_len, uint8_t em[RSA_BYTES_MAX],
                              hsm_error *err)
{
    static const hsm_mechanism mech = {.scheme = HSM_RSA_RAW_DECRYPT};
    size_t len = RSA_BYTES_MAX;

    if (__atomic_load_n(&ctx->key->no_raw, __ATOMIC_RELAXED))
        return HSM_E_UNSUPPORTED;
    hsm_status status = key_operate(ctx->key, &mech, in, in_len, em, &len, err);
    if (status == HSM_E_UNSUPPORTED)
        __atomic_store_n(&ctx->key->no_raw, true, __ATOMIC_RELAXED);
    return status;
}

/* Did the token refuse the ciphertext, as far as its answers tell? Many have no better word than these. */
static bool is_refusal(hsm_status status)
{
    return status == HSM_E_REFUSED || status == HSM_E_TOKEN;
}

/*
 * What only the holder of the private key can know, the same in every process: the token's answer to a fixed
 * question. So a bad ciphertext gets the same invented message from all nodes. If the token does not answer bare
 * questions, random numbers, which hold for this process.
 */
static bool rejection_secret_make(const cipher *ctx, uint8_t secret[REJECTION_LEN])
{
    static const char question[] = "sealane: secret of the implicit rejection of RSA ciphertexts";
    uint8_t in[RSA_BYTES_MAX] = {0}, em[RSA_BYTES_MAX];
    size_t k = modulus_len(ctx);
    hsm_error err;

    memcpy(in + k - sizeof(question), question, sizeof(question)); /* less than the modulus */
    hsm_status status = raw_decrypt(ctx, in, k, em, &err);
    if (status == HSM_E_UNSUPPORTED)
        return RAND_bytes_ex(ctx->prov->libctx, secret, REJECTION_LEN, 0) == 1;
    if (status != HSM_OK)
        return refuse_hsm(&err);
    bool ok = EVP_Q_digest(ctx->prov->libctx, "SHA256", NULL, em, k, secret, NULL) == 1;
    OPENSSL_cleanse(em, sizeof(em));
    return ok;
}

/* Made once per key; of two threads that make it at the same time, the first to be ready wins. */
static const uint8_t *rejection_secret(const cipher *ctx)
{
    uint8_t *secret = __atomic_load_n(&ctx->key->rejection, __ATOMIC_ACQUIRE), *none = NULL;

    if (secret != NULL)
        return secret;
    secret = OPENSSL_malloc(REJECTION_LEN);
    if (secret == NULL || !rejection_secret_make(ctx, secret)) {
        OPENSSL_free(secret);
        return NULL;
    }
    if (__atomic_compare_exchange_n(&ctx->key->rejection, &none, secret, false, __ATOMIC_ACQ_REL,
                                    __ATOMIC_ACQUIRE))
        return secret;
    OPENSSL_clear_free(secret, REJECTION_LEN);
    return none;
}

/* For tokens without the bare operation. */
static bool pkcs1_by_token(const cipher *ctx, const uint8_t *in, size_t in_len, uint8_t *out, size_t *out_len)
{
    static const hsm_mechanism mech = {.scheme = HSM_RSA_PKCS1_DECRYPT};
    hsm_error err;
    hsm_status status = key_operate(ctx->key, &mech, in, in_len, out, out_len, &err);

    if (status == HSM_OK)
        return true;
    if (!is_refusal(status) || ctx->reject_implicitly == 0)
        return refuse_hsm(&err);
    const uint8_t *secret = rejection_secret(ctx);
    return secret != NULL && pkcs1_invent(ctx->prov->libctx, out, out_len, in_len, in, secret);
}

static bool pkcs1_decrypt(const cipher *ctx, const uint8_t *in, size_t in_len, uint8_t *out, size_t *out_len)
{
    const uint8_t *secret = ctx->reject_implicitly != 0 ? rejection_secret(ctx) : NULL;
    uint8_t em[RSA_BYTES_MAX];
    hsm_error err;
    bool ok;

    if (ctx->reject_implicitly != 0 && secret == NULL)
        return false;
    hsm_status status = raw_decrypt(ctx, in, in_len, em, &err);
    if (status == HSM_E_UNSUPPORTED)
        return pkcs1_by_token(ctx, in, in_len, out, out_len);
    if (status != HSM_OK)
        return refuse_hsm(&err);
    if (secret != NULL)
        ok = pkcs1_take(ctx->prov->libctx, out, out_len, em, in_len, in, secret);
    else
        ok = pkcs1_take_or_fail(out, out_len, em, in_len);
    OPENSSL_cleanse(em, sizeof(em));
    return ok || refuse_padding();
}

/* RFC 5246 section 7.4.7.1: whatever is wrong with it, the handshake goes on, with a random secret. */
static bool premaster_decrypt(const cipher *ctx, const uint8_t *in, size_t in_len, uint8_t *out,
                              size_t *out_len)
{
    static const hsm_mechanism pkcs1 = {.scheme = HSM_RSA_PKCS1_DECRYPT};
    uint8_t em[RSA_BYTES_MAX] = {0}, random[PREMASTER_LEN];
    size_t len = sizeof(em);
    hsm_error err;

    if (ctx->client_version == 0 || *out_len < PREMASTER_LEN || in_len < PREMASTER_LEN + 11) {
        RAISE(REASON_STATE, "a premaster secret needs the client's version and %d bytes of room",
              PREMASTER_LEN);
        return false;
    }
    if (RAND_priv_bytes_ex(ctx->prov->libctx, random, sizeof(random), 0) != 1)
        return false;
    hsm_status status = raw_decrypt(ctx, in, in_len, em, &err);
    bool bare = status != HSM_E_UNSUPPORTED;
    if (!bare)
        status = key_operate(ctx->key, &pkcs1, in, in_len, em, &len, &err);
    /* That the token is not there, or busy, has nothing to do with the ciphertext: that may be told. */
    bool answered = status == HSM_OK || (!bare && is_refusal(status));
    if (answered && bare)
        premaster_take(out, em, in_len, ctx->client_version, ctx->other_version, random);
    else if (answered)
        premaster_choose(out, em, len, status == HSM_OK, ctx->client_version, ctx->other_version, random);
    *out_len = PREMASTER_LEN;
    OPENSSL_cleanse(em, sizeof(em));
    OPENSSL_cleanse(random, sizeof(random));
    return answered || refuse_hsm(&err);
}

/* For tokens that have OAEP not at all, or not with this hash or a label. */
static bool oaep_bare(const cipher *ctx, const uint8_t *in, size_t in_len, uint8_t *out, size_t *out_len,
                      hsm_error *err)
{
    EVP_MD *hash = EVP_MD_fetch(ctx->prov->libctx, hash_of(ctx), NULL);
    EVP_MD *mgf = EVP_MD_fetch(ctx->prov->libctx, mgf_of(ctx), NULL);
    uint8_t em[RSA_BYTES_MAX];
    hsm_error why;
    bool ok = false;
    hsm_status status = raw_decrypt(ctx, in, in_len, em, &why);

    if (status == HSM_E_UNSUPPORTED)
        (void)refuse_hsm(err); /* what it said of OAEP is the better reason */
    else if (status != HSM_OK)
        (void)refuse_hsm(&why);
    else
        ok = (hash != NULL && mgf != NULL &&
              oaep_take(out, out_len, em, in_len, hash, mgf, ctx->label, ctx->label_len)) ||
             refuse_padding();
    OPENSSL_cleanse(em, sizeof(em));
    EVP_MD_free(hash);
    EVP_MD_free(mgf);
    return ok;
}

static bool oaep_decrypt(const cipher *ctx, const uint8_t *in, size_t in_len, uint8_t *out, size_t *out_len)
{
    const hsm_mechanism mech = {
        .scheme = HSM_RSA_OAEP_DECRYPT,
        .hash = ctx->hash != NULL ? ctx->hash->hash : HSM_SHA1,
        .mgf_hash = ctx->mgf != NULL    ? ctx->mgf->hash
                    : ctx->hash != NULL ? ctx->hash->hash
                                        : HSM_SHA1,
        .label = ctx->label,
        .label_len = ctx->label_len,
    };
    hsm_error err;
    hsm_status status = key_operate(ctx->key, &mech, in, in_len, out, out_len, &err);

    if (status == HSM_E_UNSUPPORTED)
        return oaep_bare(ctx, in, in_len, out, out_len, &err);
    if (is_refusal(status))
        return refuse_padding();
    return status == HSM_OK || refuse_hsm(&err);
}

static bool bare_decrypt(const cipher *ctx, const uint8_t *in, size_t in_len, uint8_t *out, size_t *out_len)
{
    uint8_t em[RSA_BYTES_MAX];
    hsm_error err;

    if (*out_len < in_len) {
        RAISE(REASON_LENGTH, "%zu bytes do not fit into %zu", in_len, *out_len);
        return false;
    }
    hsm_status status = raw_decrypt(ctx, in, in_len, em, &err);
    if (status == HSM_E_UNSUPPORTED)
        RAISE(REASON_UNSUPPORTED, "the token does not decrypt without padding");
    else if (status != HSM_OK)
        (void)refuse_hsm(&err);
    else
        memcpy(out, em, *out_len = in_len);
    OPENSSL_cleanse(em, sizeof(em));
    return status == HSM_OK;
}

static bool token_decrypt(const cipher *ctx, const uint8_t *in, size_t in_len, uint8_t *out, size_t *out_len)
{
    switch (ctx->padding) {
    case RSA_PKCS1_WITH_TLS_PADDING:
        return premaster_decrypt(ctx, in, in_len, out, out_len);
    case RSA_PKCS1_OAEP_PADDING:
        return oaep_decrypt(ctx, in, in_len, out, out_len);
    case RSA_NO_PADDING:
        return bare_decrypt(ctx, in, in_len, out, out_len);
    default:
        return pkcs1_decrypt(ctx, in, in_len, out, out_len);
    }
}

/* ---- operations ---- */

static int cipher_init(cipher *ctx, void *vkey, bool private, const OSSL_PARAM params[])
{
    if (vkey != NULL) {
        key_free(ctx->key);
        ctx->key = key_ref(vkey);
    }
    if (ctx->key == NULL || ctx->key->pkey == NULL ||
        (private && (ctx->key->has & OSSL_KEYMGMT_SELECT_PRIVATE_KEY) == 0)) {
        RAISE(REASON_STATE, private ? "decrypting needs a private key" : "a key is needed");
        return 0;
    }
    ctx->padding = RSA_PKCS1_PADDING;
    ctx->hash = ctx->mgf = NULL;
    ctx->reject_implicitly = -1;
    return asym_cipher_set_ctx_params(ctx, params);
}

static int asym_cipher_decrypt_init(void *vctx, void *vkey, const OSSL_PARAM params[])
{
    return cipher_init(vctx, vkey, true, params);
}

static int asym_cipher_encrypt_init(void *vctx, void *vkey, const OSSL_PARAM params[])
{
    return cipher_init(vctx, vkey, false, params);
}

static int asym_cipher_encrypt(void *vctx, unsigned char *out, size_t *out_len, size_t out_size,
                               const unsigned char *in, size_t in_len)
{
    *out_len = out_size;
    return libcrypto_do(vctx, EVP_PKEY_encrypt_init_ex, EVP_PKEY_encrypt, out, out_len, in, in_len);
}

static int asym_cipher_decrypt(void *vctx, unsigned char *out, size_t *out_len, size_t out_size,
                               const unsigned char *in, size_t in_len)
{
    const cipher *ctx = vctx;

    *out_len = out_size;
    if (ctx->key->token == NULL)
        return libcrypto_do(ctx, EVP_PKEY_decrypt_init_ex, EVP_PKEY_decrypt, out, out_len, in, in_len);
    if (out == NULL) {
        *out_len = ctx->padding == RSA_PKCS1_WITH_TLS_PADDING ? PREMASTER_LEN : modulus_len(ctx);
        return 1;
    }
    /* A ciphertext is a number: leading zeroes may have been left out. */
    uint8_t whole[RSA_BYTES_MAX] = {0};
    size_t k = modulus_len(ctx);
    if (in_len > k) {
        RAISE(REASON_LENGTH, "a ciphertext of %zu bytes is not for this key", in_len);
        return 0;
    }
    memcpy(whole + k - in_len, in, in_len);
    return token_decrypt(ctx, whole, k, out, out_len);
}

const OSSL_DISPATCH asym_cipher_rsa[] = {
    ROW(OSSL_FUNC_ASYM_CIPHER_NEWCTX, asym_cipher_newctx),
    ROW(OSSL_FUNC_ASYM_CIPHER_FREECTX, asym_cipher_freectx),
    ROW(OSSL_FUNC_ASYM_CIPHER_DUPCTX, asym_cipher_dupctx),
    ROW(OSSL_FUNC_ASYM_CIPHER_ENCRYPT_INIT, asym_cipher_encrypt_init),
    ROW(OSSL_FUNC_ASYM_CIPHER_ENCRYPT, asym_cipher_encrypt),
    ROW(OSSL_FUNC_ASYM_CIPHER_DECRYPT_INIT, asym_cipher_decrypt_init),
    ROW(OSSL_FUNC_ASYM_CIPHER_DECRYPT, asym_cipher_decrypt),
    ROW(OSSL_FUNC_ASYM_CIPHER_GET_CTX_PARAMS, asym_cipher_get_ctx_params),
    ROW(OSSL_FUNC_ASYM_CIPHER_GETTABLE_CTX_PARAMS, asym_cipher_gettable_ctx_params),
    ROW(OSSL_FUNC_ASYM_CIPHER_SET_CTX_PARAMS, asym_cipher_set_ctx_params),
    ROW(OSSL_FUNC_ASYM_CIPHER_SETTABLE_CTX_PARAMS, asym_cipher_settable_ctx_params),
    {0, NULL},
};
