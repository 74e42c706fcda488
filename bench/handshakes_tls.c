/* SPDX-License-Identifier: Apache-2.0 */
/* Keys, certificates and contexts: handshakes_tls.h. Connections are in handshakes_connection.c. */
#include "handshakes_tls.h"

#include <stdio.h>
#include <string.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/store.h>
#include <openssl/x509v3.h>

#define DAYS (24 * 60 * 60)

/* ---- Keys ---- */

static EVP_PKEY *key_make(key_kind kind)
{
    switch (kind) {
    case KEY_RSA:
        return EVP_PKEY_Q_keygen(NULL, NULL, "RSA", (size_t)2048);
    case KEY_EC:
        return EVP_PKEY_Q_keygen(NULL, NULL, "EC", "P-256");
    case KEY_ED25519:
        return EVP_PKEY_Q_keygen(NULL, NULL, "ED25519");
    case KEY_KINDS:
        break;
    }
    return NULL;
}

EVP_PKEY *key_from_file(key_kind kind)
{
    EVP_PKEY *made = key_make(kind), *read = NULL;
    BIO *file = BIO_new(BIO_s_mem());

    if (made != NULL && file != NULL &&
        PEM_write_bio_PKCS8PrivateKey(file, made, NULL, NULL, 0, NULL, NULL) == 1)
        read = PEM_read_bio_PrivateKey(file, NULL, NULL, NULL);
    BIO_free(file);
    EVP_PKEY_free(made);
    return read;
}

static EVP_PKEY *key_from_token(const struct act *a)
{
    char uri[2 * TEXT_MAX + 64];
    OSSL_STORE_CTX *store;
    EVP_PKEY *key = NULL;

    snprintf(uri, sizeof(uri), "pkcs11:%s%s%sobject=%s;type=private", a->stage.token[0] ? "token=" : "",
             a->stage.token, a->stage.token[0] ? ";" : "", a->stage.labels[a->work.key]);
    store = OSSL_STORE_open(uri, NULL, NULL, NULL, NULL);
    while (store != NULL && key == NULL && !OSSL_STORE_eof(store)) {
        OSSL_STORE_INFO *info = OSSL_STORE_load(store);
        if (info == NULL)
            break;
        if (OSSL_STORE_INFO_get_type(info) == OSSL_STORE_INFO_PKEY)
            key = OSSL_STORE_INFO_get1_PKEY(info);
        OSSL_STORE_INFO_free(info);
    }
    OSSL_STORE_close(store);
    return key;
}

/* ---- Certificates ---- */

static bool extension_add(X509 *cert, X509 *issuer, int nid, const char *value)
{
    X509V3_CTX ctx;
    X509_EXTENSION *extension;

    X509V3_set_ctx(&ctx, issuer, cert, NULL, NULL, 0);
    extension = X509V3_EXT_conf_nid(NULL, &ctx, nid, value);
    bool added = extension != NULL && X509_add_ext(cert, extension, -1) == 1;
    X509_EXTENSION_free(extension);
    return added;
}

static bool name_set(X509_NAME *name, const char *text)
{
    return X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC, (const unsigned char *)text, -1, -1, 0) == 1;
}

/* `issuer` NULL: of its own. */
static X509 *certificate_make(const char *name, EVP_PKEY *key, X509 *issuer, EVP_PKEY *issuer_key)
{
    X509 *cert = X509_new();
    bool ca = issuer == NULL;

    if (cert != NULL && X509_set_version(cert, X509_VERSION_3) == 1 &&
        ASN1_INTEGER_set(X509_get_serialNumber(cert), ca ? 1 : 2) == 1 &&
        X509_gmtime_adj(X509_getm_notBefore(cert), -DAYS) != NULL &&
        X509_gmtime_adj(X509_getm_notAfter(cert), 2L * DAYS) != NULL &&
        name_set(X509_get_subject_name(cert), name) &&
        X509_set_issuer_name(cert, X509_get_subject_name(ca ? cert : issuer)) == 1 &&
        X509_set_pubkey(cert, key) == 1 &&
        extension_add(cert, ca ? cert : issuer, NID_basic_constraints,
                      ca ? "critical,CA:true" : "CA:false") &&
        extension_add(cert, ca ? cert : issuer, ca ? NID_key_usage : NID_subject_alt_name,
                      ca ? "critical,keyCertSign" : "DNS:localhost") &&
        X509_sign(cert, issuer_key, EVP_sha256()) > 0)
        return cert;
    X509_free(cert);
    return NULL;
}

/* ---- Contexts ---- */

/* Every handshake is a full one: nothing is kept to resume. */
static SSL_CTX *context_new(const SSL_METHOD *method, int tls)
{
    SSL_CTX *ctx = SSL_CTX_new(method);
    int version = tls == 12 ? TLS1_2_VERSION : TLS1_3_VERSION;

    if (ctx == NULL || SSL_CTX_set_min_proto_version(ctx, version) != 1 ||
        SSL_CTX_set_max_proto_version(ctx, version) != 1) {
        SSL_CTX_free(ctx);
        return NULL;
    }
    SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF);
    return ctx;
}

static bool contexts_make(struct tls *t, int tls, X509 *ca, X509 *cert)
{
    t->server = context_new(TLS_server_method(), tls);
    t->client = context_new(TLS_client_method(), tls);
    if (t->server == NULL || t->client == NULL || SSL_CTX_use_certificate(t->server, cert) != 1 ||
        SSL_CTX_use_PrivateKey(t->server, t->key) != 1 || SSL_CTX_check_private_key(t->server) != 1)
        return false;
    SSL_CTX_set_verify(t->client, SSL_VERIFY_PEER, NULL);
    return X509_STORE_add_cert(SSL_CTX_get_cert_store(t->client), ca) == 1;
}

bool tls_prepare(struct tls *t, const struct act *a, char why[TEXT_MAX])
{
    EVP_PKEY *ca_key = key_from_file(KEY_EC);
    X509 *ca = ca_key != NULL ? certificate_make("bench CA", ca_key, NULL, ca_key) : NULL, *cert = NULL;
    bool good = false;

    memset(t, 0, sizeof(*t));
    t->key = a->who->token ? key_from_token(a) : key_from_file(a->work.key);
    if (t->key != NULL && ca != NULL)
        cert = certificate_make("bench server", t->key, ca, ca_key);
    if (t->key == NULL)
        act_failed(why, a->who->token ? "the key cannot be found in the token" : "no key can be made");
    else if (cert == NULL)
        act_failed(why, "no certificate can be made for the key");
    else if (!(good = contexts_make(t, a->work.tls, ca, cert)))
        act_failed(why, "key and certificate cannot be used for TLS");
    X509_free(cert);
    X509_free(ca);
    EVP_PKEY_free(ca_key);
    return good;
}

void tls_end(struct tls *t)
{
    SSL_CTX_free(t->client);
    SSL_CTX_free(t->server);
    EVP_PKEY_free(t->key);
}
