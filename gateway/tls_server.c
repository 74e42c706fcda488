/* SPDX-License-Identifier: Apache-2.0 */
/* What a receive connector speaks: suites, groups, ALPN, tickets, certificates of clients. Names: tls_names.c. */
#include "tls_private.h"
#include "tickets.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/rand.h>

/* RFC 9325, 4.1 and 4.2: forward secrecy always; no short tags; CBC last, for senders that have nothing better. */
#define DEFAULT_CIPHERS "ECDHE+AESGCM+AES128:ECDHE+AESGCM:ECDHE+CHACHA20:ECDHE+AESCCM:ECDHE+AES:!AESCCM8"
/*
 * Elliptic curves only. OpenSSL's own list has finite fields up to 8192 bits, with which a stranger who calculates nothing
 * makes us calculate for milliseconds (D(HE)at, CVE-2002-20001). The hybrid is known from OpenSSL 3.5 on.
 */
#define DEFAULT_GROUPS   "X25519:P-256:X448:P-384:P-521"
#define HYBRID_GROUPS    "X25519MLKEM768:" DEFAULT_GROUPS
#define CERTIFICATES_MAX 64u /* bits of tls_identity.certificates */

/* ---- Callbacks of the handshake ---- */

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

static int choose_name(SSL *ssl, int *alert, void *arg)
{
    const struct tls_server *server = arg;
    const char *name = SSL_get_servername(ssl, TLSEXT_NAMETYPE_host_name);

    (void)alert;
    if (name == NULL)
        return SSL_TLSEXT_ERR_NOACK;
    /* Unknown names get the first certificate (RFC 6066, 3): a mail client that does not verify goes on. */
    SSL_set_SSL_CTX(ssl, tls_names_find(server, name));
    return SSL_TLSEXT_ERR_OK;
}

/* RFC 5077, 4: AES-CBC, then HMAC over it; libssl does both with what it gets here. */
static int ticket_callback(SSL *ssl, unsigned char *name, unsigned char *iv, EVP_CIPHER_CTX *cipher,
                           EVP_MAC_CTX *mac, int sealing)
{
    const struct tls_server *server = SSL_CTX_get_app_data(SSL_get_SSL_CTX(ssl));
    struct ticket_key key;
    OSSL_PARAM params[] = {OSSL_PARAM_construct_octet_string(OSSL_MAC_PARAM_KEY, key.mac, sizeof key.mac),
                           OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, (char[]){"SHA256"}, 0),
                           OSSL_PARAM_construct_end()};
    bool old = false;
    int result = -1;

    if (sealing) {
        tickets_current(server->tickets, &key);
        memcpy(name, key.name, TICKET_NAME_LEN);
        if (RAND_bytes_ex(server->libctx, iv, 16, 0) == 1 &&
            EVP_EncryptInit_ex2(cipher, server->ticket_cipher, key.cipher, iv, NULL) == 1 &&
            EVP_MAC_CTX_set_params(mac, params) == 1)
            result = 1;
    } else if (!tickets_find(server->tickets, name, &key, &old)) {
        return 0; /* too old: a full handshake */
    } else if (EVP_DecryptInit_ex2(cipher, server->ticket_cipher, key.cipher, iv, NULL) == 1 &&
               EVP_MAC_CTX_set_params(mac, params) == 1) {
        /* 2: with a new ticket. Tickets of TLS 1.3 are used once (RFC 8446, C.4): without it every second
         * connection would have none. */
        result = old || SSL_version(ssl) >= TLS1_3_VERSION ? 2 : 1;
    }
    OPENSSL_cleanse(&key, sizeof key);
    return result;
}

/* Whatever certificate a client shows, the handshake goes on: what it may do with it is decided per message. */
static int take_any_client(int good, X509_STORE_CTX *store)
{
    (void)good;
    (void)store;
    return 1;
}

/* ---- One context ---- */

/* A ticket of one connector says nothing at another, nor after a change of what clients must show. */
static bool set_session_context(const struct tls_making *m, const struct receive_settings *r, SSL_CTX *ctx)
{
    unsigned char digest[EVP_MAX_MD_SIZE];
    unsigned len = 0;
    char text[600];
    int used = snprintf(text, sizeof text, "%s/%d/%.400s", r->name, (int)r->client_certificates,
                        r->client_ca.text != NULL ? r->client_ca.text : "");
    EVP_MD *sha256 = EVP_MD_fetch(m->library->ctx, "SHA256", NULL);
    bool good = sha256 != NULL && used > 0 &&
                EVP_Digest(text, strlen(text), digest, &len, sha256, NULL) == 1 &&
                SSL_CTX_set_session_id_context(ctx, digest, len) == 1;

    EVP_MD_free(sha256);
    return good;
}

static bool set_client_certificates(const struct tls_making *m, const struct receive_settings *r,
                                    SSL_CTX *ctx)
{
    STACK_OF(X509_NAME) * names;
    int mode = SSL_VERIFY_PEER;

    if (r->client_certificates == CLIENT_CERTIFICATES_NONE)
        return true;
    if (r->client_certificates == CLIENT_CERTIFICATES_REQUIRE)
        mode |= SSL_VERIFY_FAIL_IF_NO_PEER_CERT;
    /* Required and a CA named: it decides in the handshake. Otherwise partners' pins and rules do, later. */
    bool strict = r->client_certificates == CLIENT_CERTIFICATES_REQUIRE && r->client_ca.text != NULL;
    SSL_CTX_set_verify(ctx, mode, strict ? NULL : take_any_client);
    if (r->client_ca.text == NULL)
        return true;
    names = SSL_load_client_CA_file_ex(r->client_ca.text, m->library->ctx, NULL);
    if (names == NULL || SSL_CTX_load_verify_file(ctx, r->client_ca.text) != 1) {
        sk_X509_NAME_pop_free(names, X509_NAME_free);
        tls_complain(m, &r->client_ca, "client_ca", "cannot read certificates from");
        return false;
    }
    SSL_CTX_set_client_CA_list(ctx, names);
    return true;
}

static void set_default_groups(SSL_CTX *ctx)
{
    if (SSL_CTX_set1_groups_list(ctx, HYBRID_GROUPS) != 1)
        SSL_CTX_set1_groups_list(ctx, DEFAULT_GROUPS);
    ERR_clear_error();
}

SSL_CTX *tls_server_context(const struct tls_making *m, const struct receive_settings *r,
                            struct tls_server *server)
{
    SSL_CTX *ctx = tls_new_context(m, TLS_server_method(), &r->parameters, r->line);

    if (ctx == NULL)
        return NULL;
    if (r->parameters.ciphers.text == NULL)
        SSL_CTX_set_cipher_list(ctx, DEFAULT_CIPHERS);
    if (r->parameters.groups.text == NULL)
        set_default_groups(ctx);
    SSL_CTX_set_options(ctx, SSL_OP_CIPHER_SERVER_PREFERENCE | SSL_OP_PRIORITIZE_CHACHA);
    SSL_CTX_set_alpn_select_cb(ctx, choose_alpn, NULL);
    SSL_CTX_set_app_data(ctx, server);
    SSL_CTX_set_tlsext_servername_callback(ctx, choose_name);
    SSL_CTX_set_tlsext_servername_arg(ctx, server);
    /* Sessions live in the clients' tickets: nothing is kept here, and no lock is shared between loops. */
    SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF);
    SSL_CTX_set_tlsext_ticket_key_evp_cb(ctx, ticket_callback);
    SSL_CTX_set_timeout(ctx, m->settings->ticket_lifetime);
    SSL_CTX_set_num_tickets(ctx, 1); /* a mail client opens one connection after the other */
    SSL_CTX_set_max_early_data(ctx, 0);
    if (!set_session_context(m, r, ctx) || !set_client_certificates(m, r, ctx)) {
        SSL_CTX_free(ctx);
        return NULL;
    }
    return ctx;
}

/* ---- All of it ---- */

bool tls_server_open(const struct tls_making *m, const struct receive_settings *r, struct tickets *tickets,
                     struct tls_server *out)
{
    bool good = true;

    out->tickets = tickets;
    out->libctx = m->library->ctx;
    out->async = m->settings->handshake_async;
    out->queue = m->settings->signing_queue;
    out->asks = r->client_certificates != CLIENT_CERTIFICATES_NONE;
    out->ticket_cipher = EVP_CIPHER_fetch(out->libctx, "AES-256-CBC", NULL);
    out->certificates = calloc(r->certificate_count, sizeof *out->certificates);
    if (out->certificates == NULL || out->ticket_cipher == NULL || r->certificate_count > CERTIFICATES_MAX) {
        settings_complain(m->settings, m->errors, r->line, "receive",
                          "out of memory, without AES, or with more than %u certificates", CERTIFICATES_MAX);
        return false;
    }
    for (size_t i = 0; i < r->certificate_count; i++) {
        out->certificate_count++;
        good &= tls_certificate_load(m, &r->certificates[i], &out->certificates[i]);
    }
    return good && tls_names_open(m, r, out);
}

void tls_server_close(struct tls_server *server)
{
    for (size_t i = 0; i < server->identity_count; i++)
        SSL_CTX_free(server->identities[i].ctx);
    for (size_t i = 0; i < server->certificate_count; i++)
        tls_certificate_free(&server->certificates[i]);
    for (size_t i = 0; i < server->name_count; i++)
        free((char *)(uintptr_t)server->names[i].pattern);
    free(server->identities);
    free(server->certificates);
    free(server->names);
    EVP_CIPHER_free(server->ticket_cipher);
}

const struct tls_certificate *tls_certificate_of(const struct tls_server *server, const SSL *ssl)
{
    const X509 *used = SSL_get_certificate(ssl);

    for (size_t i = 0; i < server->certificate_count; i++)
        if (server->certificates[i].x509 == used)
            return &server->certificates[i];
    return NULL;
}
