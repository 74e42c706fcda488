/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Everything about TLS that is made once: OpenSSL's library context, certificates and keys, SSL_CTX objects.
 *
 * The gateway lives in an OSSL_LIB_CTX of its own, loaded from the settings' openssl_conf. A token module
 * that uses libcrypto itself (SoftHSM2 does) works in the process's default context, so the two never meet.
 * After tls_open everything here is read-only and may be used from every loop's thread.
 */
#ifndef GATEWAY_TLS_H
#define GATEWAY_TLS_H

#include <stdbool.h>
#include <stdio.h>
#include <openssl/provider.h>
#include <openssl/ssl.h>
#include "settings.h"

struct tls_certificate {
    X509 *x509;
    char name[256];        /* first DNS name, else the subject's CN */
    char key_type[32];     /* OpenSSL's name: "RSA", "EC", "ED25519" */
    char key_provider[64]; /* which provider holds the private key: "default", "sealane" */
    char expires[32];      /* notAfter, ISO 8601 */
};

/* What a receive connector speaks. */
struct tls_server {
    SSL_CTX *ctx;
    struct tls_certificate *certificates;
    size_t certificate_count;
};

/* What a route speaks. ctx is NULL at level none. */
struct tls_client {
    SSL_CTX *ctx;
    enum tls_level level;
    const char *name; /* for SNI and, at level verify, in the certificate */
    bool name_is_address;
};

struct tls {
    OSSL_LIB_CTX *libctx;
    OSSL_PROVIDER *sealane;     /* NULL if openssl_conf did not load it */
    struct tls_server *servers; /* in the order of settings.receives */
    size_t server_count;
    struct tls_client *clients; /* in the order of settings.routes */
    size_t client_count;
};

/*
 * Makes all of it from `settings`, which must outlive it: loads certificates and keys, checks that each key
 * fits its certificate and can sign. Writes one line per problem (and per warning) to `errors`; false if
 * there was a problem. `out` needs tls_close in either case.
 */
bool tls_open(struct tls *out, const struct settings *settings, FILE *errors);
void tls_close(struct tls *tls);

/* The server certificate that `ssl` used; NULL if it is none of ours. */
const struct tls_certificate *tls_certificate_of(const struct tls_server *server, const SSL *ssl);

/* Which backend sealed the calling thread's latest record: "libcrypto" without the sealane provider. Static.
 */
const char *tls_sealed_by(const struct tls *tls);

/* An unsigned counter of the loaded sealane provider (provider.h); false without it. */
bool tls_provider_counter(const struct tls *tls, const char *name, unsigned long long *value);

/* Empties the thread's OpenSSL error queue into one line for people. PINs in URIs are masked. */
void tls_take_errors(char *out, size_t size);

#endif
