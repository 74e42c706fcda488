/* SPDX-License-Identifier: Apache-2.0 */
/* Our own certificates and keys: loading, comparing, trying out; see tls.h. */
#include "tls_private.h"

#include <stdint.h>
#include <string.h>
#include <time.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <openssl/store.h>
#include <openssl/ui.h>
#include <openssl/x509v3.h>

#define EXPIRY_WARNING_DAYS 30

/* ---- Certificates and keys ---- */

static X509 *read_certificate(const struct tls_library *library, BIO *bio)
{
    X509 *x509 = X509_new_ex(library->ctx, NULL);

    if (x509 != NULL && PEM_read_bio_X509(bio, &x509, NULL, NULL) == NULL) {
        X509_free(x509);
        x509 = NULL;
    }
    return x509;
}

/* The file's first certificate and, in `*rest`, those behind it. */
static X509 *load_chain(const struct tls_library *library, const char *file, STACK_OF(X509) * *rest)
{
    BIO *bio = BIO_new_file(file, "r");
    X509 *first = NULL, *next;
    bool good = false;

    *rest = sk_X509_new_null();
    if (bio == NULL || *rest == NULL)
        goto out;
    first = read_certificate(library, bio);
    if (first == NULL)
        goto out;
    while ((next = read_certificate(library, bio)) != NULL) {
        if (sk_X509_push(*rest, next) <= 0) {
            X509_free(next);
            goto out;
        }
    }
    /* PEM_R_NO_START_LINE is how PEM_read_bio says that the file is over; anything else is a broken one. */
    good = ERR_GET_REASON(ERR_peek_last_error()) == PEM_R_NO_START_LINE;
    if (good)
        ERR_clear_error();

out:
    if (!good) {
        X509_free(first);
        first = NULL;
        sk_X509_pop_free(*rest, X509_free);
        *rest = NULL;
    }
    BIO_free(bio);
    return first;
}

/* Whatever OSSL_STORE makes of a file name or URI. Nobody is asked for a PIN: a daemon has no terminal. */
static EVP_PKEY *load_key(const struct tls_library *library, const char *uri)
{
    OSSL_STORE_CTX *store = OSSL_STORE_open_ex(uri, library->ctx, NULL, UI_null(), NULL, NULL, NULL, NULL);
    EVP_PKEY *key = NULL;

    if (store == NULL)
        return NULL;
    if (OSSL_STORE_expect(store, OSSL_STORE_INFO_PKEY) == 1) {
        while (key == NULL && !OSSL_STORE_eof(store)) {
            OSSL_STORE_INFO *info = OSSL_STORE_load(store);
            if (info == NULL) {
                if (OSSL_STORE_error(store))
                    break;
                continue;
            }
            if (OSSL_STORE_INFO_get_type(info) == OSSL_STORE_INFO_PKEY)
                key = OSSL_STORE_INFO_get1_PKEY(info);
            OSSL_STORE_INFO_free(info);
        }
    }
    OSSL_STORE_close(store);
    return key;
}

/* Signs as a TLS 1.3 handshake would, so that a key which may not or cannot sign is found before mail comes.
 */
static bool key_signs(const struct tls_library *library, EVP_PKEY *key, EVP_PKEY *public_key)
{
    static const unsigned char message[] = "sealane-gateway: does this key sign?";
    const char *digest =
        EVP_PKEY_is_a(public_key, "ED25519") || EVP_PKEY_is_a(public_key, "ED448") ? NULL : "SHA256";
    EVP_MD_CTX *sign = EVP_MD_CTX_new(), *verify = EVP_MD_CTX_new();
    EVP_PKEY_CTX *sign_ctx, *verify_ctx;
    unsigned char signature[2048];
    size_t len = sizeof signature;
    bool good = false;

    if (sign == NULL || verify == NULL ||
        EVP_DigestSignInit_ex(sign, &sign_ctx, digest, library->ctx, NULL, key, NULL) != 1 ||
        EVP_DigestVerifyInit_ex(verify, &verify_ctx, digest, library->ctx, NULL, public_key, NULL) != 1)
        goto out;
    if (EVP_PKEY_is_a(public_key, "RSA") &&
        (EVP_PKEY_CTX_set_rsa_padding(sign_ctx, RSA_PKCS1_PSS_PADDING) != 1 ||
         EVP_PKEY_CTX_set_rsa_pss_saltlen(sign_ctx, RSA_PSS_SALTLEN_DIGEST) != 1 ||
         EVP_PKEY_CTX_set_rsa_padding(verify_ctx, RSA_PKCS1_PSS_PADDING) != 1 ||
         EVP_PKEY_CTX_set_rsa_pss_saltlen(verify_ctx, RSA_PSS_SALTLEN_DIGEST) != 1))
        goto out;
    good = EVP_DigestSign(sign, signature, &len, message, sizeof message) == 1 &&
           EVP_DigestVerify(verify, signature, len, message, sizeof message) == 1;

out:
    EVP_MD_CTX_free(sign);
    EVP_MD_CTX_free(verify);
    return good;
}

/* ---- What the log says about a certificate ---- */

static void copy_asn1(char *out, size_t size, const ASN1_STRING *text)
{
    snprintf(out, size, "%.*s", ASN1_STRING_length(text), (const char *)ASN1_STRING_get0_data(text));
}

bool tls_certificate_names(const X509 *x509, bool (*take)(void *arg, const char *name), void *arg)
{
    GENERAL_NAMES *names = X509_get_ext_d2i(x509, NID_subject_alt_name, NULL, NULL);
    bool good = true;
    char text[256];

    for (int i = 0; good && i < sk_GENERAL_NAME_num(names); i++) {
        const GENERAL_NAME *name = sk_GENERAL_NAME_value(names, i);
        if (name->type != GEN_DNS)
            continue;
        copy_asn1(text, sizeof text, name->d.dNSName);
        good = take(arg, text);
    }
    GENERAL_NAMES_free(names);
    return good;
}

static bool take_first_name(void *arg, const char *name)
{
    struct tls_certificate *c = arg;

    snprintf(c->name, sizeof c->name, "%s", name);
    return false;
}

static void name_certificate(struct tls_certificate *c)
{
    (void)tls_certificate_names(c->x509, take_first_name, c);
    if (c->name[0] == '\0') {
        const X509_NAME *subject = X509_get_subject_name(c->x509);
        int at = X509_NAME_get_index_by_NID((X509_NAME *)(uintptr_t)subject, NID_commonName, -1);
        if (at >= 0)
            copy_asn1(c->name, sizeof c->name, X509_NAME_ENTRY_get_data(X509_NAME_get_entry(subject, at)));
    }
}

static void describe_certificate(struct tls_certificate *c, const EVP_PKEY *public_key)
{
    const OSSL_PROVIDER *provider = EVP_PKEY_get0_provider(c->key);
    struct tm end;

    name_certificate(c);
    snprintf(c->key_type, sizeof c->key_type, "%s", EVP_PKEY_get0_type_name(public_key));
    snprintf(c->key_provider, sizeof c->key_provider, "%s",
             provider != NULL ? OSSL_PROVIDER_get0_name(provider) : "none");
    if (ASN1_TIME_to_tm(X509_get0_notAfter(c->x509), &end) != 1)
        return;
    c->expires_at = (long long)timegm(&end);
    strftime(c->expires, sizeof c->expires, "%Y-%m-%dT%H:%M:%SZ", &end);
}

static void warn_expiry(const struct tls_making *m, const struct setting *chain,
                        const struct tls_certificate *c)
{
    const X509 *x509 = c->x509;
    int days, seconds;

    if (X509_cmp_current_time(X509_get0_notBefore(x509)) > 0)
        settings_complain(m->settings, m->errors, chain->line, "chain",
                          "warning: the certificate is not valid yet");
    if (ASN1_TIME_diff(&days, &seconds, NULL, X509_get0_notAfter(x509)) != 1)
        return;
    if (days < 0 || seconds < 0)
        settings_complain(m->settings, m->errors, chain->line, "chain",
                          "warning: the certificate expired at %s", c->expires);
    else if (days < EXPIRY_WARNING_DAYS)
        settings_complain(m->settings, m->errors, chain->line, "chain",
                          "warning: the certificate expires in %d days, at %s", days, c->expires);
}

/* ---- All of it ---- */

bool tls_certificate_load(const struct tls_making *m, const struct certificate_settings *from,
                          struct tls_certificate *out)
{
    EVP_PKEY *public_key;

    memset(out, 0, sizeof *out);
    ERR_clear_error();
    out->x509 = load_chain(m->library, from->chain.text, &out->rest);
    if (out->x509 == NULL) {
        tls_complain(m, &from->chain, "chain", "cannot read a certificate from");
        return false;
    }
    public_key = X509_get0_pubkey(out->x509);
    if (public_key == NULL) {
        tls_complain(m, &from->chain, "chain", "no usable public key in");
        return false;
    }
    out->key = load_key(m->library, from->key.text);
    if (out->key == NULL) {
        tls_complain(m, &from->key, "key", "cannot open");
        return false;
    }
    if (EVP_PKEY_eq(out->key, public_key) != 1) {
        ERR_clear_error();
        ERR_raise_data(ERR_LIB_X509, X509_R_KEY_VALUES_MISMATCH, "certificate %s", from->chain.text);
        tls_complain(m, &from->key, "key", "does not fit the certificate:");
        return false;
    }
    if (!key_signs(m->library, out->key, public_key)) {
        tls_complain(m, &from->key, "key", "cannot sign with");
        return false;
    }
    describe_certificate(out, public_key);
    warn_expiry(m, &from->chain, out);
    return true;
}

void tls_certificate_free(struct tls_certificate *c)
{
    X509_free(c->x509);
    EVP_PKEY_free(c->key);
    sk_X509_pop_free(c->rest, X509_free);
    memset(c, 0, sizeof *c);
}
