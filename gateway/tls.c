/* SPDX-License-Identifier: Apache-2.0 */
/* Library context, contexts, all of it together; see tls.h. */
#include "tls_private.h"
#include "routing.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <openssl/conf.h>
#include <openssl/err.h>
#include <sealane/provider.h>
#include <sealane/takeover.h>

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
void tls_complain(const struct tls_making *m, const struct setting *where, const char *key, const char *what)
{
    char reason[512], shown[512];

    tls_take_errors(reason, sizeof reason);
    snprintf(shown, sizeof shown, "%s", where->text);
    mask_pins(shown);
    settings_complain(m->settings, m->errors, where->line, key, "%s \"%s\": %s", what, shown, reason);
}

/* ---- Library ---- */

bool tls_library_open(struct tls_library *out, const struct settings *s, FILE *errors)
{
    const struct tls_making m = {.settings = s, .library = out, .errors = errors};

    memset(out, 0, sizeof *out);
    out->ctx = OSSL_LIB_CTX_new();
    if (out->ctx == NULL) {
        fprintf(errors, "%s: out of memory\n", s->file);
        return false;
    }
    if (s->openssl_conf.text == NULL)
        return true;
    ERR_clear_error();
    if (OSSL_LIB_CTX_load_config(out->ctx, s->openssl_conf.text) != 1) {
        tls_complain(&m, &s->openssl_conf, "openssl_conf", "cannot load");
        return false;
    }
    if (OSSL_PROVIDER_available(out->ctx, SEALANE_PROVIDER_NAME))
        out->sealane = OSSL_PROVIDER_load(out->ctx, SEALANE_PROVIDER_NAME);
    /* Provider activation may leave complaints of optional parts behind; only what comes later matters. */
    ERR_clear_error();
    return true;
}

void tls_library_close(struct tls_library *library)
{
    if (library->sealane != NULL)
        OSSL_PROVIDER_unload(library->sealane);
    OSSL_LIB_CTX_free(library->ctx);
    memset(library, 0, sizeof *library);
}

/* ---- Contexts ---- */

/* AES-128 first: it takes 2/3 of the time of AES-256, and the handshake's SHA-256 much less than SHA-384. */
#define DEFAULT_SUITES "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256"

struct parameter {
    const struct setting *setting;
    const char *key;
    int (*set)(SSL_CTX *ctx, const char *text);
};

static int set_groups(SSL_CTX *ctx, const char *text)
{
    return (int)SSL_CTX_set1_groups_list(ctx, text);
}

static bool set_parameters(const struct tls_making *m, SSL_CTX *ctx, const struct tls_parameters *p)
{
    const struct parameter rows[] = {
        {&p->ciphers, "ciphers", SSL_CTX_set_cipher_list},
        {&p->suites, "suites", SSL_CTX_set_ciphersuites},
        {&p->groups, "groups", set_groups},
    };
    bool tls13 = p->min_version.text != NULL && strcmp(p->min_version.text, "TLSv1.3") == 0;
    bool good = true;

    /* RFC 9325: nothing below TLS 1.2, no compression, no renegotiation. */
    SSL_CTX_set_min_proto_version(ctx, tls13 ? TLS1_3_VERSION : TLS1_2_VERSION);
    SSL_CTX_set_options(ctx, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION);
    SSL_CTX_set_ciphersuites(ctx, DEFAULT_SUITES);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        if (rows[i].setting->text == NULL)
            continue;
        ERR_clear_error();
        if (rows[i].set(ctx, rows[i].setting->text) != 1) {
            tls_complain(m, rows[i].setting, rows[i].key, "OpenSSL knows none or not all of");
            good = false;
        }
    }
    return good;
}

SSL_CTX *tls_new_context(const struct tls_making *m, const SSL_METHOD *method, const struct tls_parameters *p,
                         int line)
{
    SSL_CTX *ctx = SSL_CTX_new_ex(m->library->ctx, NULL, method);

    if (ctx == NULL) {
        char reason[512];
        tls_take_errors(reason, sizeof reason);
        settings_complain(m->settings, m->errors, line, "tls", "cannot set up TLS: %s", reason);
        return NULL;
    }
    SSL_CTX_set_mode(ctx, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER |
                              SSL_MODE_RELEASE_BUFFERS);
    if (m->settings->records_engine) /* if it fails, libssl keeps all connections */
        (void)sealane_takeover_prepare(ctx);
    if (!set_parameters(m, ctx, p)) {
        SSL_CTX_free(ctx);
        return NULL;
    }
    return ctx;
}

/* ---- All of it ---- */

bool tls_open_outbound(struct tls *out, const struct settings *s, const struct tls_library *library,
                       FILE *errors)
{
    const struct tls_making m = {.settings = s, .library = library, .errors = errors};
    bool good = true;

    memset(out, 0, sizeof *out);
    out->library = library;
    out->policies = calloc(routing_policy_count(s), sizeof *out->policies);
    out->clients = calloc(s->send_count, sizeof *out->clients);
    if (out->policies == NULL || out->clients == NULL) {
        fprintf(errors, "%s: out of memory\n", s->file);
        return false;
    }
    for (; out->policy_count < routing_policy_count(s); out->policy_count++)
        good &=
            tls_policy_open(&m, out, routing_policy(s, out->policy_count), &out->policies[out->policy_count]);
    for (; out->client_count < s->send_count; out->client_count++)
        good &= tls_client_open(&m, &s->sends[out->client_count], &out->clients[out->client_count]);
    return good;
}

bool tls_open(struct tls *out, const struct settings *s, const struct tls_library *library,
              struct tickets *tickets, FILE *errors)
{
    const struct tls_making m = {.settings = s, .library = library, .errors = errors};
    bool good = tls_open_outbound(out, s, library, errors);

    out->servers = calloc(s->receive_count, sizeof *out->servers);
    if (out->servers == NULL) {
        fprintf(errors, "%s: out of memory\n", s->file);
        return false;
    }
    for (; out->server_count < s->receive_count; out->server_count++)
        good &=
            tls_server_open(&m, &s->receives[out->server_count], tickets, &out->servers[out->server_count]);
    for (size_t i = 0; i < out->client_count; i++)
        good &= tls_client_certify(&m, &s->sends[i], &out->clients[i]);
    return good;
}

void tls_close(struct tls *tls)
{
    for (size_t i = 0; i < tls->server_count; i++)
        tls_server_close(&tls->servers[i]);
    for (size_t i = 0; i < tls->client_count; i++)
        tls_client_close(&tls->clients[i]);
    tls_trusts_free(tls);
    free(tls->servers);
    free(tls->clients);
    free(tls->policies);
    memset(tls, 0, sizeof *tls);
}

/* ---- What the provider says ---- */

const char *tls_sealed_by(const struct tls_library *library)
{
    char *name = NULL;
    OSSL_PARAM params[2] = {OSSL_PARAM_construct_utf8_ptr(SEALANE_PARAM_LAST_SEALED_BY, &name, 0),
                            OSSL_PARAM_construct_end()};

    if (library->sealane == NULL)
        return "libcrypto";
    if (OSSL_PROVIDER_get_params(library->sealane, params) != 1 || name == NULL)
        return "unknown";
    return name;
}

bool tls_provider_counter(const struct tls_library *library, const char *name, unsigned long long *value)
{
    uint64_t number = 0;
    OSSL_PARAM params[2] = {OSSL_PARAM_construct_uint64(name, &number), OSSL_PARAM_construct_end()};

    if (library->sealane == NULL || OSSL_PROVIDER_get_params(library->sealane, params) != 1)
        return false;
    *value = number;
    return true;
}
