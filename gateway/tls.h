/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Everything about TLS that is made once per settings: certificates and keys, SSL_CTX objects, trust.
 *
 * The gateway lives in an OSSL_LIB_CTX of its own, loaded from the settings' openssl_conf. A token module
 * that uses libcrypto itself (SoftHSM2 does) works in the process's default context, so the two never meet.
 * Several `struct tls` (before and after a reload) share one library. After tls_open everything here is read-only and
 * may be used from every loop's thread.
 */
#ifndef GATEWAY_TLS_H
#define GATEWAY_TLS_H

#include <stdbool.h>
#include <stdio.h>
#include <openssl/provider.h>
#include <openssl/ssl.h>
#include "settings.h"

struct tickets;

/* A library context with its providers. It is loaded once: what openssl_conf says counts until the process ends. */
struct tls_library {
    OSSL_LIB_CTX *ctx;
    OSSL_PROVIDER *sealane; /* NULL if openssl_conf did not load it */
};

bool tls_library_open(struct tls_library *out, const struct settings *settings, FILE *errors);
void tls_library_close(struct tls_library *library);

struct tls_certificate {
    X509 *x509;
    EVP_PKEY *key;
    STACK_OF(X509) * rest; /* of the chain */
    char name[256];        /* first DNS name, else the subject's CN */
    char key_type[32];     /* OpenSSL's name: "RSA", "EC", "ED25519" */
    char key_provider[64]; /* which provider holds the private key: "default", "sealane" */
    char expires[32];      /* notAfter, ISO 8601 */
    long long expires_at;  /* ... in seconds since 1970 */
};

/* What a receive connector speaks: for each set of certificates that a name may choose, a context. */
struct tls_server {
    SSL_CTX *ctx; /* for clients that name nobody, or nobody that we are */
    struct tls_certificate *certificates;
    size_t certificate_count;
    struct tls_identity {
        SSL_CTX *ctx;
        uint64_t certificates; /* bit i: certificate i */
    } * identities;
    size_t identity_count;
    struct tls_name {
        const char *pattern; /* "mail.example.org" or "*.example.org" */
        size_t identity;
    } * names;
    size_t name_count;
    bool async; /* a signature may leave the loop */
    long queue; /* as many of one loop at most */
    bool asks;  /* for a certificate of the client */
    struct tickets *tickets;
    EVP_CIPHER *ticket_cipher;
    OSSL_LIB_CTX *libctx;
};

/* What a send connector speaks. Demands on the peer are the policy's and are set for each connection. */
struct tls_client {
    SSL_CTX *ctx;
    struct tls_certificate certificate; /* ours; x509 is NULL if there is none */
};

/* What is demanded of the other side. */
struct tls_policy {
    enum tls_level level;
    const struct policy_settings *settings;
    X509_STORE *trust; /* from VERIFY on */
};

struct tls {
    const struct tls_library *library;
    struct tls_server *servers; /* in the order of settings.receives */
    size_t server_count;
    struct tls_client *clients; /* in the order of settings.sends */
    size_t client_count;
    struct tls_policy *policies; /* in the order of routing.h */
    size_t policy_count;
    struct tls_trust *trusts; /* one for each file of CAs */
};

/*
 * Makes all of it from `settings`, `library` and `tickets`, which must outlive it: loads certificates and keys,
 * checks that each key fits its certificate and can sign. Writes one line per problem (and per warning) to
 * `errors`; false if there was a problem. `out` needs tls_close in either case.
 */
bool tls_open(struct tls *out, const struct settings *settings, const struct tls_library *library,
              struct tickets *tickets, FILE *errors);
/* Only what we speak and demand as a client: no certificate or key of ours is touched. */
bool tls_open_outbound(struct tls *out, const struct settings *settings, const struct tls_library *library,
                       FILE *errors);
void tls_close(struct tls *tls);

/* The server certificate that `ssl` used; NULL if it is none of ours. */
const struct tls_certificate *tls_certificate_of(const struct tls_server *server, const SSL *ssl);

/*
 * Sets on a new client connection what `policy` demands of `host`, found for mail to `domain` ("" if it does not
 * depend on one), and SNI. False: out of memory.
 */
bool tls_demand(SSL *ssl, const struct tls_policy *policy, const char *host, const char *domain);

/* DNS names of a certificate, each given to `take`, which stops it with false; the result is the last one's. */
bool tls_certificate_names(const X509 *x509, bool (*take)(void *arg, const char *name), void *arg);

/*
 * The application data of every SSL of a tls_client: a session that came is offered, with its reference; false
 * leaves that with libssl.
 */
struct tls_events {
    bool (*keep_session)(void *owner, SSL_SESSION *session);
    void *owner;
};

/* Which backend sealed the calling thread's latest record: "libcrypto" without the sealane provider. Static.
 */
const char *tls_sealed_by(const struct tls_library *library);

/* An unsigned counter of the loaded sealane provider (provider.h); false without it. */
bool tls_provider_counter(const struct tls_library *library, const char *name, unsigned long long *value);

/* Empties the thread's OpenSSL error queue into one line for people. PINs in URIs are masked. */
void tls_take_errors(char *out, size_t size);

#endif
