/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the provider's files share: its context, how errors are raised, and the dispatch tables.
 *
 * Naming: a dispatch function is called <operation>_<what it does>, as provider-<operation>(7) names it.
 */
#ifndef PROVIDER_PROVIDER_H
#define PROVIDER_PROVIDER_H

#include <pthread.h>
#include <stdbool.h>
#include <openssl/core.h>
#include <openssl/core_dispatch.h>
#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <sealane/hsm.h>

/* Property definitions (see docs of default_properties): how a fetch tells our algorithms from the others'.
 */
#define RECORDS_PROPERTIES "provider=sealane,sealane.records=yes"
#define KEYS_PROPERTIES    "provider=sealane,sealane.hsm=yes"

/* The section of openssl.cnf, as text and numbers; settings.c. */
typedef struct settings {
    hsm_settings hsm;
    bool encode_uri; /* write PEM-URI files for token keys */
    bool forbid_export;
    unsigned blocked; /* bit per OSSL_OP_ number, from pkcs11-module-block-operations */
} settings;

/* The record ciphers; cipher.h. */
typedef enum cipher_index {
    CIPHER_AES_128_GCM,
    CIPHER_AES_256_GCM,
    CIPHER_CHACHA20_POLY1305,
    CIPHER_AES_128_CCM,
    CIPHER_AES_128_CBC_SHA1,
    CIPHER_AES_256_CBC_SHA1,
    CIPHER_AES_128_CBC_SHA256,
    CIPHER_AES_256_CBC_SHA256,
    CIPHERS,
} cipher_index;

/* Digests that signatures are made over; signature.h. */
enum { DIGESTS = 6 };

typedef struct provider {
    const OSSL_CORE_HANDLE *core;
    /*
     * For digests, and for everything that concerns public parts only: the default provider in a context of
     * our own, so that neither the application's properties nor our own algorithms are ever in the way.
     */
    OSSL_LIB_CTX *libctx;
    OSSL_PROVIDER *deflt;
    void *deflt_ctx;                     /* what its functions take for their provider */
    OSSL_ALGORITHM ciphers[CIPHERS + 1]; /* that we offer */
    EVP_MD *_Atomic *digests;            /* DIGESTS, fetched with their first use; signature.c's */
    hsm *keys;                           /* NULL: no module is configured, the provider offers records only */
    settings set;
    OSSL_FUNC_BIO_read_ex_fn *bio_read;
    OSSL_FUNC_BIO_write_ex_fn *bio_write;
} provider;

/* ---- settings.c ---- */

/* Reads the section. On failure an error is raised and false returned. Strings belong to the settings. */
bool settings_read(settings *set, const OSSL_CORE_HANDLE *core, OSSL_FUNC_core_get_params_fn *get_params);
void settings_clear(settings *set);

/* ---- error.c: reasons of ERR_ entries that carry our name ---- */

enum reason {
    REASON_SETTINGS = 1,
    REASON_URI,
    REASON_MODULE,
    REASON_TOKEN_ABSENT,
    REASON_NOT_FOUND,
    REASON_AMBIGUOUS,
    REASON_PIN,
    REASON_TOKEN,
    REASON_REFUSED,
    REASON_EXISTS,
    REASON_BUSY,
    REASON_TIMEOUT,
    REASON_UNSUPPORTED,
    REASON_KEY_NOT_EXPORTABLE,
    REASON_ARGUMENT,
    REASON_LENGTH,
    REASON_STATE,
    REASON_MEMORY,
    REASON_INTERNAL,
};

extern const OSSL_ITEM error_reasons[];

void error_setup(const OSSL_CORE_HANDLE *core, const OSSL_DISPATCH *in);
void error_raise(const char *file, int line, const char *func, enum reason reason, const char *format, ...)
    __attribute__((format(printf, 5, 6)));
void error_raise_hsm(const char *file, int line, const char *func, const hsm_error *err);

/* RAISE(reason, format, ...) puts an entry with this place on OpenSSL's error queue. */
#define RAISE(...)     error_raise(__FILE__, __LINE__, __func__, __VA_ARGS__)
#define RAISE_HSM(err) error_raise_hsm(__FILE__, __LINE__, __func__, err)

/* ---- the dispatch tables ---- */

/* Fills in prov->ciphers; prov->deflt is loaded. cipher_default.c */
void ciphers_setup(provider *prov);
extern const OSSL_DISPATCH cipher_aes128gcm[], cipher_aes256gcm[];
extern const OSSL_DISPATCH cipher_chacha20poly1305[], cipher_aes128ccm[];
extern const OSSL_DISPATCH cipher_aes128cbc_hmac_sha1[], cipher_aes256cbc_hmac_sha1[];
extern const OSSL_DISPATCH cipher_aes128cbc_hmac_sha256[], cipher_aes256cbc_hmac_sha256[];
extern const OSSL_DISPATCH keymgmt_rsa[], keymgmt_rsa_pss[], keymgmt_ec[], keymgmt_ed25519[], keymgmt_ed448[];
extern const OSSL_DISPATCH signature_rsa[], signature_ecdsa[], signature_eddsa[];
/* For OpenSSL 3.4 and newer: */
extern const OSSL_DISPATCH signature_ed25519[], signature_ed448[];
extern const OSSL_DISPATCH signature_rsa_sha1[], signature_rsa_sha224[], signature_rsa_sha256[];
extern const OSSL_DISPATCH signature_rsa_sha384[], signature_rsa_sha512[];
extern const OSSL_DISPATCH signature_ecdsa_sha1[], signature_ecdsa_sha224[], signature_ecdsa_sha256[];
extern const OSSL_DISPATCH signature_ecdsa_sha384[], signature_ecdsa_sha512[];
extern const OSSL_DISPATCH asym_cipher_rsa[], keyexch_ecdh[];
extern const OSSL_DISPATCH store_pkcs11[];
extern const OSSL_DISPATCH decoder_pem[], decoder_uri[], decoder_pkcs8[];
extern const OSSL_DISPATCH encoder_rsa_pem[], encoder_rsa_der[], encoder_rsa_text[];
extern const OSSL_DISPATCH encoder_rsa_pss_pem[], encoder_rsa_pss_der[], encoder_rsa_pss_text[];
extern const OSSL_DISPATCH encoder_ec_pem[], encoder_ec_der[], encoder_ec_text[];
extern const OSSL_DISPATCH encoder_ed25519_pem[], encoder_ed25519_der[], encoder_ed25519_text[];
extern const OSSL_DISPATCH encoder_ed448_pem[], encoder_ed448_der[], encoder_ed448_text[];

/* A row of a dispatch table. */
#define ROW(id, function)                                                                                    \
    {                                                                                                        \
        id, (void (*)(void))function                                                                         \
    }

#endif
