/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The provider as libcrypto meets it: loading, what operations there are, parameters, unloading.
 *
 * Records come from the engine, keys from the hsm room; this room only speaks libcrypto's language. Nothing
 * here touches the token: a daemon loads its configuration, then forks, then serves.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <openssl/crypto.h>
#include <openssl/params.h>
#include <openssl/provider.h>
#include <sealane/engine.h>
#include <sealane/provider.h>
#include "pem_uri.h"
#include "provider.h"

/*
 * Key management must carry the well-known names: libcrypto compares keys and finds certificates' types by
 * them. The signatures need not, because a key names its own (keymgmt_query_operation_name): under names of
 * ours, no fetch for a software key can end up here, but one for a signature that names its digest.
 */
static const OSSL_ALGORITHM keymgmts[] = {
    {"RSA:rsaEncryption:1.2.840.113549.1.1.1", KEYS_PROPERTIES, keymgmt_rsa, "RSA keys in a token"},
    {"EC:id-ecPublicKey:1.2.840.10045.2.1", KEYS_PROPERTIES, keymgmt_ec, "EC keys in a token"},
    {"RSA-PSS:RSASSA-PSS:1.2.840.113549.1.1.10", KEYS_PROPERTIES, keymgmt_rsa_pss,
     "RSA keys in a token that are for PSS only"},
    {"ED25519:1.3.101.112", KEYS_PROPERTIES, keymgmt_ed25519, "Ed25519 keys in a token"},
    {"ED448:1.3.101.113", KEYS_PROPERTIES, keymgmt_ed448, "Ed448 keys in a token"},
    {NULL, NULL, NULL, NULL},
};
#define SIGNATURES                                                                                           \
    {"SEALANE-RSA", KEYS_PROPERTIES, signature_rsa, "RSA signatures by a token"},                            \
        {"SEALANE-ECDSA", KEYS_PROPERTIES, signature_ecdsa, "ECDSA signatures by a token"},                  \
    {                                                                                                        \
        "SEALANE-EDDSA", KEYS_PROPERTIES, signature_eddsa, "Ed25519 and Ed448 signatures by a token"         \
    }
static const OSSL_ALGORITHM signatures_3_0[] = {SIGNATURES, {NULL, NULL, NULL, NULL}};
/* For messages, the application fetches by a name that says everything: signature_composite.c. */
#define RSA_WITH(hash, number, dispatch)                                                                     \
    {                                                                                                        \
        "RSA-" hash ":1.2.840.113549.1.1." number, KEYS_PROPERTIES, dispatch, "RSA signatures by a token"    \
    }
#define ECDSA_WITH(hash, arc, dispatch)                                                                      \
    {                                                                                                        \
        "ECDSA-" hash ":1.2.840.10045.4." arc, KEYS_PROPERTIES, dispatch, "ECDSA signatures by a token"      \
    }
static const OSSL_ALGORITHM signatures[] = {
    SIGNATURES,
    RSA_WITH("SHA1:RSA-SHA-1:sha1WithRSAEncryption", "5", signature_rsa_sha1),
    RSA_WITH("SHA2-224:RSA-SHA224:sha224WithRSAEncryption", "14", signature_rsa_sha224),
    RSA_WITH("SHA2-256:RSA-SHA256:sha256WithRSAEncryption", "11", signature_rsa_sha256),
    RSA_WITH("SHA2-384:RSA-SHA384:sha384WithRSAEncryption", "12", signature_rsa_sha384),
    RSA_WITH("SHA2-512:RSA-SHA512:sha512WithRSAEncryption", "13", signature_rsa_sha512),
    ECDSA_WITH("SHA1:ECDSA-SHA-1:ecdsa-with-SHA1", "1", signature_ecdsa_sha1),
    ECDSA_WITH("SHA2-224:ECDSA-SHA224:ecdsa-with-SHA224", "3.1", signature_ecdsa_sha224),
    ECDSA_WITH("SHA2-256:ECDSA-SHA256:ecdsa-with-SHA256", "3.2", signature_ecdsa_sha256),
    ECDSA_WITH("SHA2-384:ECDSA-SHA384:ecdsa-with-SHA384", "3.3", signature_ecdsa_sha384),
    ECDSA_WITH("SHA2-512:ECDSA-SHA512:ecdsa-with-SHA512", "3.4", signature_ecdsa_sha512),
    {"ED25519:1.3.101.112", KEYS_PROPERTIES, signature_ed25519, "Ed25519 signatures by a token"},
    {"ED448:1.3.101.113", KEYS_PROPERTIES, signature_ed448, "Ed448 signatures by a token"},
    {NULL, NULL, NULL, NULL},
};
static const OSSL_ALGORITHM asym_ciphers[] = {
    {"SEALANE-RSA", KEYS_PROPERTIES, asym_cipher_rsa, "RSA decryption by a token"},
    {NULL, NULL, NULL, NULL},
};
static const OSSL_ALGORITHM keyexchs[] = {
    {"SEALANE-ECDH", KEYS_PROPERTIES, keyexch_ecdh, "ECDH by a token"},
    {NULL, NULL, NULL, NULL},
};
static const OSSL_ALGORITHM stores[] = {
    {"pkcs11", KEYS_PROPERTIES, store_pkcs11, "objects of PKCS#11 tokens by URI"},
    {NULL, NULL, NULL, NULL},
};
/* Why they are called as they are is told in decoder.c. */
#define PKCS8_DECODER(name)                                                                                  \
    {                                                                                                        \
        name, KEYS_PROPERTIES ",input=der,structure=PrivateKeyInfo", decoder_pkcs8,                          \
            "a key by its URI in PKCS#8"                                                                     \
    }
#define DECODERS(step)                                                                                       \
    {step, KEYS_PROPERTIES ",input=pem", decoder_pem, "PEM files that hold a PKCS#11 URI"},                  \
        {"RSA", KEYS_PROPERTIES ",input=" step ",structure=pk11-uri", decoder_uri, "a key by its URI"},      \
        {"EC", KEYS_PROPERTIES ",input=" step ",structure=pk11-uri", decoder_uri, "a key by its URI"},       \
        PKCS8_DECODER("RSA:" PKCS8_RSA)
static const OSSL_ALGORITHM decoders_3_0[] = {DECODERS("pvk"), {NULL, NULL, NULL, NULL}};
static const OSSL_ALGORITHM decoders[] = {
    DECODERS("der"),
    PKCS8_DECODER("EC:" PKCS8_EC),
    PKCS8_DECODER("RSA-PSS:" PKCS8_RSA_PSS),
    PKCS8_DECODER("ED25519:" PKCS8_ED25519),
    PKCS8_DECODER("ED448:" PKCS8_ED448),
    {NULL, NULL, NULL, NULL},
};
#define KEY_ENCODER(name, properties, dispatch, what)                                                        \
    {                                                                                                        \
        name, KEYS_PROPERTIES properties, dispatch, what                                                     \
    }
#define KEY_ENCODERS(name, type)                                                                             \
    KEY_ENCODER(name, ",output=text", encoder_##type##_text, "what there is to show of a token's key"),      \
        KEY_ENCODER(name, ",output=pem,structure=PrivateKeyInfo", encoder_##type##_pem,                      \
                    "URI of a token's key as PEM"),                                                          \
        KEY_ENCODER(name, ",output=der,structure=PrivateKeyInfo", encoder_##type##_der,                      \
                    "URI of a token's key in PKCS#8")
static const OSSL_ALGORITHM encoders[] = {
    KEY_ENCODERS("RSA", rsa),         KEY_ENCODERS("RSA-PSS", rsa_pss), KEY_ENCODERS("EC", ec),
    KEY_ENCODERS("ED25519", ed25519), KEY_ENCODERS("ED448", ed448),     {NULL, NULL, NULL, NULL},
};

/* The libcrypto that we run with, which may be newer than the one we were built with, is that or newer. */
static bool libcrypto_is(unsigned major, unsigned minor)
{
    return OPENSSL_version_major() > major ||
           (OPENSSL_version_major() == major && OPENSSL_version_minor() >= minor);
}

static const OSSL_ALGORITHM *provider_query(void *vprov, int operation, int *no_cache)
{
    const provider *prov = vprov;

    *no_cache = 0;
    if ((prov->set.blocked & (1U << operation)) != 0)
        return NULL;
    if (operation == OSSL_OP_CIPHER)
        return prov->ciphers;
    if (prov->keys == NULL)
        return NULL;
    switch (operation) {
    case OSSL_OP_KEYMGMT:
        return keymgmts;
    case OSSL_OP_SIGNATURE:
        return libcrypto_is(3, 4) ? signatures : signatures_3_0;
    case OSSL_OP_ASYM_CIPHER:
        return asym_ciphers;
    case OSSL_OP_KEYEXCH:
        return keyexchs;
    case OSSL_OP_STORE:
        return stores;
    case OSSL_OP_DECODER:
        return libcrypto_is(3, 1) ? decoders : decoders_3_0;
    case OSSL_OP_ENCODER:
        return encoders;
    }
    return NULL;
}

static const OSSL_PARAM *provider_gettable_params(void *vprov)
{
    static const OSSL_PARAM gettable[] = {
        OSSL_PARAM_utf8_ptr(OSSL_PROV_PARAM_NAME, NULL, 0),
        OSSL_PARAM_utf8_ptr(OSSL_PROV_PARAM_VERSION, NULL, 0),
        OSSL_PARAM_utf8_ptr(OSSL_PROV_PARAM_BUILDINFO, NULL, 0),
        OSSL_PARAM_int(OSSL_PROV_PARAM_STATUS, NULL),
        OSSL_PARAM_utf8_ptr(SEALANE_PARAM_LAST_SEALED_BY, NULL, 0),
        OSSL_PARAM_uint64(SEALANE_PARAM_RECORDS_SEALED, NULL),
        OSSL_PARAM_uint64(SEALANE_PARAM_RECORDS_OPENED, NULL),
        OSSL_PARAM_uint64(SEALANE_PARAM_RECORDS_FORGED, NULL),
        OSSL_PARAM_uint64(SEALANE_PARAM_TOKEN_SIGNATURES, NULL),
        OSSL_PARAM_uint64(SEALANE_PARAM_TOKEN_FAILURES, NULL),
        OSSL_PARAM_uint64(SEALANE_PARAM_TOKEN_LOGINS, NULL),
        OSSL_PARAM_uint64(SEALANE_PARAM_TOKEN_RECOVERIES, NULL),
        OSSL_PARAM_utf8_string(SEALANE_PARAM_TOKENS, NULL, 0),
        OSSL_PARAM_END,
    };
    (void)vprov;
    return gettable;
}

/* Sets the parameter named `name` if it was asked for; false only if it was and cannot be set. */
static bool text_answer(OSSL_PARAM params[], const char *name, const char *value)
{
    OSSL_PARAM *p = OSSL_PARAM_locate(params, name);
    return p == NULL || OSSL_PARAM_set_utf8_ptr(p, value);
}

static bool count_answer(OSSL_PARAM params[], const char *name, uint64_t value)
{
    OSSL_PARAM *p = OSSL_PARAM_locate(params, name);
    return p == NULL || OSSL_PARAM_set_uint64(p, value);
}

static bool records_answer(OSSL_PARAM params[])
{
    sealane_counters all;
    uint64_t sealed = 0, opened = 0;

    sealane_counters_read(&all);
    for (size_t i = 0; i < SEALANE_BACKENDS_MAX; i++) {
        sealed += all.sealed[i];
        opened += all.opened[i];
    }
    return count_answer(params, SEALANE_PARAM_RECORDS_SEALED, sealed) &&
           count_answer(params, SEALANE_PARAM_RECORDS_OPENED, opened) &&
           count_answer(params, SEALANE_PARAM_RECORDS_FORGED, all.forged);
}

static bool token_answer(const provider *prov, OSSL_PARAM params[])
{
    hsm_counters all = {0};

    if (prov->keys != NULL)
        hsm_counters_read(prov->keys, &all);
    return count_answer(params, SEALANE_PARAM_TOKEN_SIGNATURES, all.signatures) &&
           count_answer(params, SEALANE_PARAM_TOKEN_FAILURES, all.failures) &&
           count_answer(params, SEALANE_PARAM_TOKEN_LOGINS, all.logins) &&
           count_answer(params, SEALANE_PARAM_TOKEN_RECOVERIES, all.recoveries);
}

/* Only put together if it was asked for. */
static bool report_answer(const provider *prov, OSSL_PARAM params[])
{
    OSSL_PARAM *p = OSSL_PARAM_locate(params, SEALANE_PARAM_TOKENS);
    char *text = p != NULL && prov->keys != NULL ? hsm_report(prov->keys) : NULL;
    bool ok = p == NULL || (prov->keys == NULL ? OSSL_PARAM_set_utf8_string(p, "{}")
                                               : text != NULL && OSSL_PARAM_set_utf8_string(p, text));

    free(text);
    return ok;
}

static int provider_get_params(void *vprov, OSSL_PARAM params[])
{
    OSSL_PARAM *status = OSSL_PARAM_locate(params, OSSL_PROV_PARAM_STATUS);

    return text_answer(params, OSSL_PROV_PARAM_NAME, "Sealane record engine and PKCS#11 keys") &&
           text_answer(params, OSSL_PROV_PARAM_VERSION, SEALANE_VERSION) &&
           text_answer(params, OSSL_PROV_PARAM_BUILDINFO, SEALANE_VERSION) &&
           text_answer(params, SEALANE_PARAM_LAST_SEALED_BY, sealane_last_sealed_by()) &&
           (status == NULL || OSSL_PARAM_set_int(status, 1)) && records_answer(params) &&
           token_answer(vprov, params) && report_answer(vprov, params);
}

static const OSSL_ITEM *provider_get_reason_strings(void *vprov)
{
    (void)vprov;
    return error_reasons;
}

/*
 * TLS groups. libssl takes a group only from the provider whose key management it fetches for it. Where
 * openssl.cnf names us before the default provider, that is ours for "EC", which passes software keys on; so we
 * pass the groups on too, else ECDHE and ECDSA certificates on these curves would be lost. In the usual order
 * libssl drops what we say here.
 */
typedef struct forward {
    OSSL_CALLBACK *callback;
    void *arg;
} forward;

static int group_forward(const OSSL_PARAM params[], void *arg)
{
    const forward *to = arg;
    const OSSL_PARAM *p = OSSL_PARAM_locate_const(params, OSSL_CAPABILITY_TLS_GROUP_ALG);
    const char *algorithm;

    if (p == NULL || !OSSL_PARAM_get_utf8_string_ptr(p, &algorithm) || strcmp(algorithm, "EC") != 0)
        return 1;
    return to->callback(params, to->arg);
}

static int provider_get_capabilities(void *vprov, const char *capability, OSSL_CALLBACK *callback, void *arg)
{
    const provider *prov = vprov;
    forward to = {callback, arg};

    if (prov->keys == NULL || strcmp(capability, "TLS-GROUP") != 0 ||
        (prov->set.blocked & (1U << OSSL_OP_KEYMGMT)) != 0)
        return 1;
    return OSSL_PROVIDER_get_capabilities(prov->deflt, capability, group_forward, &to);
}

static void provider_free(provider *prov)
{
    hsm_free(prov->keys);
    for (size_t i = 0; prov->digests != NULL && i < DIGESTS; i++)
        EVP_MD_free(prov->digests[i]);
    OPENSSL_free((void *)prov->digests);
    OSSL_PROVIDER_unload(prov->deflt);
    OSSL_LIB_CTX_free(prov->libctx);
    settings_clear(&prov->set);
    OPENSSL_free(prov);
}

static void provider_teardown(void *vprov)
{
    provider *prov = vprov;

    if (prov->keys != NULL)
        hsm_shutdown(prov->keys);
    provider_free(prov);
}

static const OSSL_DISPATCH provider_functions[] = {
    ROW(OSSL_FUNC_PROVIDER_TEARDOWN, provider_teardown),
    ROW(OSSL_FUNC_PROVIDER_GETTABLE_PARAMS, provider_gettable_params),
    ROW(OSSL_FUNC_PROVIDER_GET_PARAMS, provider_get_params),
    ROW(OSSL_FUNC_PROVIDER_QUERY_OPERATION, provider_query),
    ROW(OSSL_FUNC_PROVIDER_GET_REASON_STRINGS, provider_get_reason_strings),
    ROW(OSSL_FUNC_PROVIDER_GET_CAPABILITIES, provider_get_capabilities),
    {0, NULL},
};

static OSSL_FUNC_core_get_params_fn *core_functions(provider *prov, const OSSL_DISPATCH *in)
{
    OSSL_FUNC_core_get_params_fn *get_params = NULL;

    for (; in->function_id != 0; in++)
        switch (in->function_id) {
        case OSSL_FUNC_CORE_GET_PARAMS:
            get_params = OSSL_FUNC_core_get_params(in);
            break;
        case OSSL_FUNC_BIO_READ_EX:
            prov->bio_read = OSSL_FUNC_BIO_read_ex(in);
            break;
        case OSSL_FUNC_BIO_WRITE_EX:
            prov->bio_write = OSSL_FUNC_BIO_write_ex(in);
            break;
        }
    return get_params;
}

static bool keys_setup(provider *prov)
{
    hsm_error err;

    if (prov->set.hsm.module_path == NULL)
        return true;
    if (hsm_new(&prov->keys, &prov->set.hsm, &err) != HSM_OK) {
        RAISE_HSM(&err);
        /* libcrypto drops the error and goes on without us: see settings.c. */
        fprintf(stderr, "sealane: provider not loaded: %s\n", err.text);
        return false;
    }
    return true;
}

__attribute__((visibility("default"))) OSSL_provider_init_fn OSSL_provider_init;

int OSSL_provider_init(const OSSL_CORE_HANDLE *core, const OSSL_DISPATCH *in, const OSSL_DISPATCH **out,
                       void **provctx)
{
    provider *prov = OPENSSL_zalloc(sizeof(*prov));

    if (prov == NULL)
        return 0;
    error_setup(core, in);
    prov->core = core;
    OSSL_FUNC_core_get_params_fn *get_params = core_functions(prov, in);
    if (get_params == NULL || !settings_read(&prov->set, core, get_params))
        goto fail;
    prov->libctx = OSSL_LIB_CTX_new_from_dispatch(core, in);
    prov->digests = OPENSSL_zalloc(DIGESTS * sizeof(prov->digests[0]));
    if (prov->libctx == NULL || prov->digests == NULL)
        goto fail;
    prov->deflt = OSSL_PROVIDER_load(prov->libctx, "default");
    if (prov->deflt == NULL)
        goto fail;
    ciphers_setup(prov);
    if (!keys_setup(prov))
        goto fail;

    *out = provider_functions;
    *provctx = prov;
    return 1;

fail:
    provider_free(prov);
    return 0;
}
