/* SPDX-License-Identifier: Apache-2.0 */
/* Library context, certificates, keys and SSL_CTX objects; see tls.h. */
#include "tls.h"

#include <arpa/inet.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <openssl/conf.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <openssl/store.h>
#include <openssl/ui.h>
#include <openssl/x509v3.h>
#include <sealane/provider.h>

#define EXPIRY_WARNING_DAYS 30

/* ---- Errors ---- */

/* RFC 7512, 2.4: a PIN may stand in a URI, and OpenSSL quotes URIs in errors. Masks it in place. */
static void mask_pins(char *text)
{
    static const char attribute[] = "pin-value=";
    char *at = text;

    while ((at = strstr(at, attribute)) != NULL) {
        for (at += sizeof attribute - 1; *at != '\0' && strchr("&;) \"", *at) == NULL; at++)
            *at = '*';
    }
}

void tls_take_errors(char *out, size_t size)
{
    const char *data;
    unsigned long code;
    int flags;
    size_t used = 0;

    out[0] = '\0';
    while ((code = ERR_get_error_all(NULL, NULL, NULL, &data, &flags)) != 0) {
        const char *reason =
            ERR_SYSTEM_ERROR(code) ? strerror(ERR_GET_REASON(code)) : ERR_reason_error_string(code);
        char piece[320];
        snprintf(piece, sizeof piece, "%s%s%s%s", reason != NULL ? reason : "error",
                 flags & ERR_TXT_STRING && data[0] != '\0' ? " (" : "", flags & ERR_TXT_STRING ? data : "",
                 flags & ERR_TXT_STRING && data[0] != '\0' ? ")" : "");
        if (strstr(out, piece) != NULL || used + 2 >= size)
            continue;
        int n = snprintf(out + used, size - used, "%s%s", used > 0 ? "; " : "", piece);
        used = n < 0 || used + (size_t)n >= size ? size - 1 : used + (size_t)n;
    }
    if (used == 0)
        snprintf(out, size, "no reason given");
    for (char *c = out; *c != '\0'; c++)
        if ((unsigned char)*c < 0x20)
            *c = ' ';
    mask_pins(out);
}

/* One line about a setting, with what OpenSSL says. */
static void complain(const struct settings *s, FILE *errors, const struct setting *where, const char *key,
                     const char *what)
{
    char reason[512], shown[512];

    tls_take_errors(reason, sizeof reason);
    snprintf(shown, sizeof shown, "%s", where->text);
    mask_pins(shown);
    settings_complain(s, errors, where->line, key, "%s \"%s\": %s", what, shown, reason);
}

/* ---- Certificates and keys ---- */

static X509 *read_certificate(const struct tls *tls, BIO *bio)
{
    X509 *x509 = X509_new_ex(tls->libctx, NULL);

    if (x509 != NULL && PEM_read_bio_X509(bio, &x509, NULL, NULL) == NULL) {
        X509_free(x509);
        x509 = NULL;
    }
    return x509;
}

/* The file's first certificate and, in `*rest`, those behind it. */
static X509 *load_chain(const struct tls *tls, const char *file, STACK_OF(X509) * *rest)
{
    BIO *bio = BIO_new_file(file, "r");
    X509 *first = NULL, *next;
    bool good = false;

    *rest = sk_X509_new_null();
    if (bio == NULL || *rest == NULL)
        goto out;
    first = read_certificate(tls, bio);
    if (first == NULL)
        goto out;
    while ((next = read_certificate(tls, bio)) != NULL) {
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
static EVP_PKEY *load_key(const struct tls *tls, const char *uri)
{
    OSSL_STORE_CTX *store = OSSL_STORE_open_ex(uri, tls->libctx, NULL, UI_null(), NULL, NULL, NULL, NULL);
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
static bool key_signs(const struct tls *tls, EVP_PKEY *key, EVP_PKEY *public_key)
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
        EVP_DigestSignInit_ex(sign, &sign_ctx, digest, tls->libctx, NULL, key, NULL) != 1 ||
        EVP_DigestVerifyInit_ex(verify, &verify_ctx, digest, tls->libctx, NULL, public_key, NULL) != 1)
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

static void name_certificate(struct tls_certificate *c)
{
    GENERAL_NAMES *names = X509_get_ext_d2i(c->x509, NID_subject_alt_name, NULL, NULL);

    for (int i = 0; c->name[0] == '\0' && i < sk_GENERAL_NAME_num(names); i++) {
        const GENERAL_NAME *name = sk_GENERAL_NAME_value(names, i);
        if (name->type == GEN_DNS)
            copy_asn1(c->name, sizeof c->name, name->d.dNSName);
    }
    if (c->name[0] == '\0') {
        const X509_NAME *subject = X509_get_subject_name(c->x509);
        int at = X509_NAME_get_index_by_NID((X509_NAME *)(uintptr_t)subject, NID_commonName, -1);
        if (at >= 0)
            copy_asn1(c->name, sizeof c->name, X509_NAME_ENTRY_get_data(X509_NAME_get_entry(subject, at)));
    }
    GENERAL_NAMES_free(names);
}

static void describe_certificate(struct tls_certificate *c, const EVP_PKEY *key, const EVP_PKEY *public_key)
{
    const OSSL_PROVIDER *provider = EVP_PKEY_get0_provider(key);
    struct tm end;

    name_certificate(c);
    snprintf(c->key_type, sizeof c->key_type, "%s", EVP_PKEY_get0_type_name(public_key));
    snprintf(c->key_provider, sizeof c->key_provider, "%s",
             provider != NULL ? OSSL_PROVIDER_get0_name(provider) : "none");
    if (ASN1_TIME_to_tm(X509_get0_notAfter(c->x509), &end) == 1)
        strftime(c->expires, sizeof c->expires, "%Y-%m-%dT%H:%M:%SZ", &end);
}

static void warn_expiry(const struct settings *s, FILE *errors, const struct setting *chain, const X509 *x509,
                        const char *expires)
{
    int days, seconds;

    if (X509_cmp_current_time(X509_get0_notBefore(x509)) > 0)
        settings_complain(s, errors, chain->line, "chain", "warning: the certificate is not valid yet");
    if (ASN1_TIME_diff(&days, &seconds, NULL, X509_get0_notAfter(x509)) != 1)
        return;
    if (days < 0 || seconds < 0)
        settings_complain(s, errors, chain->line, "chain", "warning: the certificate expired at %s", expires);
    else if (days < EXPIRY_WARNING_DAYS)
        settings_complain(s, errors, chain->line, "chain",
                          "warning: the certificate expires in %d days, at %s", days, expires);
}

/* ---- Server side ---- */

static bool add_certificate(struct tls *tls, const struct settings *s,
                            const struct certificate_settings *from, struct tls_server *server, FILE *errors)
{
    struct tls_certificate *c = &server->certificates[server->certificate_count];
    STACK_OF(X509) *rest = NULL;
    EVP_PKEY *key = NULL, *public_key = NULL;
    bool good = false;

    ERR_clear_error();
    c->x509 = load_chain(tls, from->chain.text, &rest);
    if (c->x509 == NULL) {
        complain(s, errors, &from->chain, "chain", "cannot read a certificate from");
        return false;
    }
    server->certificate_count++; /* tls_close frees it from here on */
    public_key = X509_get0_pubkey(c->x509);
    key = load_key(tls, from->key.text);
    if (public_key == NULL) {
        complain(s, errors, &from->chain, "chain", "no usable public key in");
    } else if (key == NULL) {
        complain(s, errors, &from->key, "key", "cannot open");
    } else if (EVP_PKEY_eq(key, public_key) != 1) {
        ERR_clear_error();
        ERR_raise_data(ERR_LIB_X509, X509_R_KEY_VALUES_MISMATCH, "certificate %s", from->chain.text);
        complain(s, errors, &from->key, "key", "does not fit the certificate:");
    } else if (!key_signs(tls, key, public_key)) {
        complain(s, errors, &from->key, "key", "cannot sign with");
    } else if (SSL_CTX_use_cert_and_key(server->ctx, c->x509, key, rest, 0) != 1) {
        /* override = 0: a second certificate with the same kind of key would silently replace the first */
        complain(s, errors, &from->chain, "chain", "OpenSSL does not take");
    } else {
        good = true;
        describe_certificate(c, key, public_key);
        warn_expiry(s, errors, &from->chain, c->x509, c->expires);
    }
    EVP_PKEY_free(key);
    sk_X509_pop_free(rest, X509_free);
    return good;
}

/*
 * ALPACA (Brinkmann et al., USENIX Security 2021): a browser must not be led to a mail server that holds a
 * certificate for the same name. A client that says what it wants must want SMTP; one that says nothing is a
 * mail server of today.
 */
static int choose_alpn(SSL *ssl, const unsigned char **out, unsigned char *out_len, const unsigned char *in,
                       unsigned in_len, void *arg)
{
    (void)ssl;
    (void)arg;
    for (unsigned at = 0; at < in_len && in[at] < in_len - at; at += 1u + in[at]) {
        if (in[at] == 4 && memcmp(in + at + 1, "smtp", 4) == 0) {
            *out = in + at + 1;
            *out_len = 4;
            return SSL_TLSEXT_ERR_OK;
        }
    }
    return SSL_TLSEXT_ERR_ALERT_FATAL;
}

/* What both sides share. RFC 9325: nothing below TLS 1.2, no compression, no renegotiation. */
static SSL_CTX *new_context(const struct tls *tls, const SSL_METHOD *method)
{
    SSL_CTX *ctx = SSL_CTX_new_ex(tls->libctx, NULL, method);

    if (ctx == NULL)
        return NULL;
    SSL_CTX_set_min_proto_version(ctx, TLS1_2_VERSION);
    SSL_CTX_set_options(ctx, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION);
    SSL_CTX_set_mode(ctx, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER |
                              SSL_MODE_RELEASE_BUFFERS);
    /* Sessions live in the clients' tickets: nothing is kept here, and no lock is shared between loops. */
    SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF);
    return ctx;
}

static bool open_server(struct tls *tls, const struct settings *s, const struct receive_settings *r,
                        struct tls_server *server, FILE *errors)
{
    bool good = true;

    server->certificates = calloc(r->certificate_count, sizeof *server->certificates);
    server->ctx = new_context(tls, TLS_server_method());
    if (server->ctx == NULL || server->certificates == NULL) {
        char reason[512];
        tls_take_errors(reason, sizeof reason);
        settings_complain(s, errors, r->line, "receive", "cannot set up TLS: %s", reason);
        return false;
    }
    SSL_CTX_set_options(server->ctx, SSL_OP_CIPHER_SERVER_PREFERENCE);
    SSL_CTX_set_alpn_select_cb(server->ctx, choose_alpn, NULL);
    /* A ticket of one connector says nothing at another (they may differ in policy). */
    SSL_CTX_set_session_id_context(server->ctx, (const unsigned char *)r->name,
                                   (unsigned)strnlen(r->name, SSL_MAX_SID_CTX_LENGTH));
    for (size_t i = 0; i < r->certificate_count; i++)
        good &= add_certificate(tls, s, &r->certificates[i], server, errors);
    return good;
}

/* ---- Client side ---- */

static bool open_client(struct tls *tls, const struct settings *s, const struct route_settings *r,
                        struct tls_client *client, FILE *errors)
{
    unsigned char address[sizeof(struct in6_addr)];
    int trusted;

    client->level = r->tls;
    if (r->tls == TLS_LEVEL_NONE)
        return true;
    client->name = r->server_name.text != NULL ? r->server_name.text : r->host;
    client->name_is_address =
        inet_pton(AF_INET, client->name, address) == 1 || inet_pton(AF_INET6, client->name, address) == 1;
    client->ctx = new_context(tls, TLS_client_method());
    if (client->ctx == NULL) {
        char reason[512];
        tls_take_errors(reason, sizeof reason);
        settings_complain(s, errors, r->line, "route", "cannot set up TLS: %s", reason);
        return false;
    }
    if (r->tls != TLS_LEVEL_VERIFY)
        return true;
    SSL_CTX_set_verify(client->ctx, SSL_VERIFY_PEER, NULL);
    trusted = r->ca.text != NULL ? SSL_CTX_load_verify_file(client->ctx, r->ca.text)
                                 : SSL_CTX_set_default_verify_paths(client->ctx);
    if (trusted != 1) {
        static const struct setting system_store = {.text = (char *)(uintptr_t) "the system's store"};
        complain(s, errors, r->ca.text != NULL ? &r->ca : &system_store, "ca",
                 "cannot read certificates from");
    }
    return trusted == 1;
}

/* ---- All of it ---- */

static bool open_library(struct tls *tls, const struct settings *s, FILE *errors)
{
    tls->libctx = OSSL_LIB_CTX_new();
    if (tls->libctx == NULL) {
        fprintf(errors, "%s: out of memory\n", s->file);
        return false;
    }
    if (s->openssl_conf.text == NULL)
        return true;
    ERR_clear_error();
    if (OSSL_LIB_CTX_load_config(tls->libctx, s->openssl_conf.text) != 1) {
        complain(s, errors, &s->openssl_conf, "openssl_conf", "cannot load");
        return false;
    }
    if (OSSL_PROVIDER_available(tls->libctx, SEALANE_PROVIDER_NAME))
        tls->sealane = OSSL_PROVIDER_load(tls->libctx, SEALANE_PROVIDER_NAME);
    /* Provider activation may leave complaints of optional parts behind; only what comes later matters. */
    ERR_clear_error();
    return true;
}

bool tls_open(struct tls *out, const struct settings *settings, FILE *errors)
{
    bool good = true;

    memset(out, 0, sizeof *out);
    if (!open_library(out, settings, errors))
        return false;
    out->servers = calloc(settings->receive_count, sizeof *out->servers);
    out->clients = calloc(settings->route_count, sizeof *out->clients);
    if (out->servers == NULL || out->clients == NULL) {
        fprintf(errors, "%s: out of memory\n", settings->file);
        return false;
    }
    for (size_t i = 0; i < settings->receive_count; i++) {
        out->server_count++;
        good &= open_server(out, settings, &settings->receives[i], &out->servers[i], errors);
    }
    for (size_t i = 0; i < settings->route_count; i++) {
        out->client_count++;
        good &= open_client(out, settings, &settings->routes[i], &out->clients[i], errors);
    }
    return good;
}

void tls_close(struct tls *tls)
{
    for (size_t i = 0; i < tls->server_count; i++) {
        struct tls_server *server = &tls->servers[i];
        for (size_t k = 0; k < server->certificate_count; k++)
            X509_free(server->certificates[k].x509);
        free(server->certificates);
        SSL_CTX_free(server->ctx);
    }
    for (size_t i = 0; i < tls->client_count; i++)
        SSL_CTX_free(tls->clients[i].ctx);
    free(tls->servers);
    free(tls->clients);
    if (tls->sealane != NULL)
        OSSL_PROVIDER_unload(tls->sealane);
    OSSL_LIB_CTX_free(tls->libctx);
    memset(tls, 0, sizeof *tls);
}

const struct tls_certificate *tls_certificate_of(const struct tls_server *server, const SSL *ssl)
{
    const X509 *used = SSL_get_certificate(ssl);

    for (size_t i = 0; i < server->certificate_count; i++)
        if (server->certificates[i].x509 == used)
            return &server->certificates[i];
    return NULL;
}

const char *tls_sealed_by(const struct tls *tls)
{
    char *name = NULL;
    OSSL_PARAM params[2] = {OSSL_PARAM_construct_utf8_ptr(SEALANE_PARAM_LAST_SEALED_BY, &name, 0),
                            OSSL_PARAM_construct_end()};

    if (tls->sealane == NULL)
        return "libcrypto";
    if (OSSL_PROVIDER_get_params(tls->sealane, params) != 1 || name == NULL)
        return "unknown";
    return name;
}

bool tls_provider_counter(const struct tls *tls, const char *name, unsigned long long *value)
{
    uint64_t number = 0;
    OSSL_PARAM params[2] = {OSSL_PARAM_construct_uint64(name, &number), OSSL_PARAM_construct_end()};

    if (tls->sealane == NULL || OSSL_PROVIDER_get_params(tls->sealane, params) != 1)
        return false;
    *value = number;
    return true;
}
