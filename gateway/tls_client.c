/* SPDX-License-Identifier: Apache-2.0 */
/* What send connectors speak, and what is demanded of the other side; see tls.h. */
#include "tls_private.h"

#include <arpa/inet.h>
#include <stdlib.h>
#include <string.h>
#include <openssl/err.h>
#include <openssl/x509v3.h>

/* ---- Ours ---- */

/* TLS 1.3 brings tickets behind the handshake, several if the server likes. */
static int on_session(SSL *ssl, SSL_SESSION *session)
{
    const struct tls_events *events = SSL_get_app_data(ssl);

    return events != NULL && events->keep_session(events->owner, session);
}

bool tls_client_open(const struct tls_making *m, const struct send_settings *s, struct tls_client *out)
{
    out->ctx = tls_new_context(m, TLS_client_method(), &s->parameters, s->line);
    if (out->ctx == NULL)
        return false;
    /* io_tls.c keeps sessions, by policy and host; libssl has no place for that. */
    SSL_CTX_set_session_cache_mode(out->ctx, SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
    SSL_CTX_sess_set_new_cb(out->ctx, on_session);
    return true;
}

bool tls_client_certify(const struct tls_making *m, const struct send_settings *s, struct tls_client *client)
{
    const struct tls_certificate *c = &client->certificate;

    if (client->ctx == NULL || s->certificate.chain.text == NULL)
        return true;
    if (!tls_certificate_load(m, &s->certificate, &client->certificate))
        return false;
    if (SSL_CTX_use_cert_and_key(client->ctx, c->x509, c->key, c->rest, 1) == 1)
        return true;
    tls_complain(m, &s->certificate.chain, "chain", "OpenSSL does not take");
    return false;
}

void tls_client_close(struct tls_client *client)
{
    SSL_CTX_free(client->ctx);
    tls_certificate_free(&client->certificate);
}

/* ---- Trust ---- */

struct tls_trust {
    struct tls_trust *next;
    const char *file; /* NULL: the system's */
    X509_STORE *store;
};

static bool same_file(const char *a, const char *b)
{
    return a == b || (a != NULL && b != NULL && strcmp(a, b) == 0);
}

/* The roots of a file; each file is read once, however many policies trust it. */
static X509_STORE *find_trust(const struct tls_making *m, struct tls *tls, const struct setting *ca)
{
    static const struct setting system_store = {.text = (char *)(uintptr_t) "the system's store"};
    struct tls_trust *trust;
    int good;

    for (trust = tls->trusts; trust != NULL; trust = trust->next)
        if (same_file(trust->file, ca->text))
            return trust->store;
    trust = calloc(1, sizeof *trust);
    if (trust == NULL)
        return NULL;
    trust->file = ca->text;
    trust->store = X509_STORE_new();
    trust->next = tls->trusts;
    tls->trusts = trust;
    ERR_clear_error();
    good = trust->store == NULL ? 0
           : ca->text != NULL   ? X509_STORE_load_file_ex(trust->store, ca->text, m->library->ctx, NULL)
                                : X509_STORE_set_default_paths_ex(trust->store, m->library->ctx, NULL);
    if (good == 1)
        return trust->store;
    tls_complain(m, ca->text != NULL ? ca : &system_store, "ca", "cannot read certificates from");
    return NULL;
}

void tls_trusts_free(struct tls *tls)
{
    while (tls->trusts != NULL) {
        struct tls_trust *trust = tls->trusts;
        tls->trusts = trust->next;
        X509_STORE_free(trust->store);
        free(trust);
    }
}

bool tls_policy_open(const struct tls_making *m, struct tls *tls, const struct policy_settings *p,
                     struct tls_policy *out)
{
    out->level = p->level;
    out->settings = p;
    if (p->level < TLS_LEVEL_VERIFY)
        return true;
    out->trust = find_trust(m, tls, &p->ca);
    return out->trust != NULL;
}

/* ---- On a connection ---- */

static bool is_address(const char *name)
{
    unsigned char address[sizeof(struct in6_addr)];

    return inet_pton(AF_INET, name, address) == 1 || inet_pton(AF_INET6, name, address) == 1;
}

/*
 * The names one of which the certificate must have (RFC 6125; no partial wildcards). VERIFY: the host's, which
 * a DNS answer may have brought. SECURE: the recipient's domain or one below it, which none can change; without
 * a domain the host stands in our settings, and that is as good.
 */
static bool set_names(SSL *ssl, const struct tls_policy *policy, const char *host, const char *domain)
{
    const char *own = policy->settings->server_name.text;
    X509_VERIFY_PARAM *verify = SSL_get0_param(ssl);
    char below[DOMAIN_MAX_LEN + 2];

    X509_VERIFY_PARAM_set_hostflags(verify, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
    if (own == NULL && policy->level == TLS_LEVEL_SECURE && domain[0] != '\0') {
        snprintf(below, sizeof below, ".%s", domain);
        return X509_VERIFY_PARAM_set1_host(verify, domain, 0) == 1 &&
               X509_VERIFY_PARAM_add1_host(verify, below, 0) == 1;
    }
    own = own != NULL ? own : host;
    return (is_address(own) ? X509_VERIFY_PARAM_set1_ip_asc(verify, own)
                            : X509_VERIFY_PARAM_set1_host(verify, own, 0)) == 1;
}

bool tls_demand(SSL *ssl, const struct tls_policy *policy, const char *host, const char *domain)
{
    const char *name = policy->settings->server_name.text != NULL ? policy->settings->server_name.text : host;

    if (!is_address(name) && SSL_set_tlsext_host_name(ssl, name) != 1)
        return false;
    if (policy->level < TLS_LEVEL_VERIFY) {
        SSL_set_verify(ssl, SSL_VERIFY_NONE, NULL);
        return true;
    }
    SSL_set_verify(ssl, SSL_VERIFY_PEER, NULL);
    return SSL_set1_verify_cert_store(ssl, policy->trust) == 1 && set_names(ssl, policy, host, domain);
}
