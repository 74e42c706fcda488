/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which certificates a client's name (SNI) chooses at a receive connector.
 *
 * Certificates that serve the same names (one RSA, one EC) stand side by side in one SSL_CTX, an identity, and libssl
 * chooses by what the client can verify; the name chooses between identities. So nothing is decided or copied in a
 * handshake but one pointer.
 */
#include "tls_private.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* ---- Making ---- */

struct naming {
    struct tls_server *server;
    uint64_t *masks; /* by name: which certificates serve it */
    size_t room;
    uint64_t bit;
};

static bool take_name(void *arg, const char *name)
{
    struct naming *n = arg;
    struct tls_server *server = n->server;
    size_t at = 0;

    while (at < server->name_count && strcasecmp(server->names[at].pattern, name) != 0)
        at++;
    if (at == n->room) {
        size_t room = 2 * n->room + 8;
        struct tls_name *names = realloc(server->names, room * sizeof *names);
        if (names != NULL)
            server->names = names;
        uint64_t *masks = realloc(n->masks, room * sizeof *masks);
        if (masks != NULL)
            n->masks = masks;
        if (names == NULL || masks == NULL)
            return false;
        n->room = room;
    }
    if (at == server->name_count) {
        server->names[at] = (struct tls_name){.pattern = strdup(name)};
        n->masks[at] = 0;
        server->name_count++;
    }
    n->masks[at] |= n->bit;
    return server->names[at].pattern != NULL;
}

static bool take_names(const struct receive_settings *r, struct naming *n)
{
    struct tls_server *server = n->server;
    bool good = true;

    for (size_t i = 0; good && i < server->certificate_count; i++) {
        const struct setting_list *own = &r->certificates[i].names;
        n->bit = UINT64_C(1) << i;
        for (size_t k = 0; good && k < own->count; k++)
            good = take_name(n, own->items[k].text);
        if (own->count == 0)
            good = tls_certificate_names(server->certificates[i].x509, take_name, n);
    }
    return good;
}

/* The first certificate of each kind of key within `mask`. */
static uint64_t one_of_each_kind(const struct tls_server *server, uint64_t mask)
{
    uint64_t chosen = 0;

    for (size_t i = 0; i < server->certificate_count; i++) {
        bool there = !(mask >> i & 1);
        for (size_t k = 0; k < i; k++)
            there |= (chosen >> k & 1) &&
                     strcmp(server->certificates[k].key_type, server->certificates[i].key_type) == 0;
        if (!there)
            chosen |= UINT64_C(1) << i;
    }
    return chosen;
}

/* The identity with these certificates, made if there is none yet; -1 on failure. */
static long find_identity(const struct tls_making *m, const struct receive_settings *r,
                          struct tls_server *server, uint64_t mask)
{
    struct tls_identity *grown;
    SSL_CTX *ctx;

    for (size_t i = 0; i < server->identity_count; i++)
        if (server->identities[i].certificates == mask)
            return (long)i;
    grown = realloc(server->identities, (server->identity_count + 1) * sizeof *grown);
    if (grown == NULL)
        return -1;
    server->identities = grown;
    ctx = tls_server_context(m, r, server);
    if (ctx == NULL)
        return -1;
    grown[server->identity_count++] = (struct tls_identity){.ctx = ctx, .certificates = mask};
    for (size_t i = 0; i < server->certificate_count; i++) {
        const struct tls_certificate *c = &server->certificates[i];
        if ((mask >> i & 1) && SSL_CTX_use_cert_and_key(ctx, c->x509, c->key, c->rest, 0) != 1) {
            tls_complain(m, &r->certificates[i].chain, "chain", "OpenSSL does not take");
            return -1;
        }
    }
    return (long)server->identity_count - 1;
}

/* A certificate that no client can ever get is a mistake. */
static bool all_are_used(const struct tls_making *m, const struct receive_settings *r,
                         const struct tls_server *server)
{
    uint64_t used = 0;
    bool good = true;

    for (size_t i = 0; i < server->identity_count; i++)
        used |= server->identities[i].certificates;
    for (size_t i = 0; i < server->certificate_count; i++) {
        if (used >> i & 1)
            continue;
        settings_complain(
            m->settings, m->errors, r->certificates[i].chain.line, "chain",
            "\"%s\" is never used: a certificate before it has the same kind of key and its names",
            r->certificates[i].chain.text);
        good = false;
    }
    return good;
}

bool tls_names_open(const struct tls_making *m, const struct receive_settings *r, struct tls_server *server)
{
    struct naming n = {.server = server};
    uint64_t first = 0;
    bool good = take_names(r, &n);
    long identity;

    if (!good)
        fprintf(m->errors, "%s: out of memory\n", m->settings->file);
    /* Who names nobody gets the first certificate, with what serves its names beside it. */
    for (size_t i = 0; good && first == 0 && i < server->name_count; i++)
        first = n.masks[i] & 1 ? n.masks[i] : 0;
    if (first == 0)
        first = ~UINT64_C(0);
    identity = good ? find_identity(m, r, server, one_of_each_kind(server, first)) : -1;
    good = identity >= 0;
    if (good)
        server->ctx = server->identities[identity].ctx;
    for (size_t i = 0; good && i < server->name_count; i++) {
        identity = find_identity(m, r, server, one_of_each_kind(server, n.masks[i]));
        server->names[i].identity = (size_t)identity;
        good = identity >= 0;
    }
    free(n.masks);
    return good && all_are_used(m, r, server);
}

/* ---- In a handshake ---- */

SSL_CTX *tls_names_find(const struct tls_server *server, const char *name)
{
    const struct tls_name *found = NULL;
    const char *parent = strchr(name, '.');

    for (size_t i = 0; i < server->name_count; i++) {
        const char *pattern = server->names[i].pattern;
        if (strcasecmp(pattern, name) == 0) {
            found = &server->names[i];
            break;
        }
        /* RFC 6125, 6.4.3: the star is exactly one label */
        if (found == NULL && parent != NULL && pattern[0] == '*' && strcasecmp(pattern + 1, parent) == 0)
            found = &server->names[i];
    }
    return found != NULL ? server->identities[found->identity].ctx : server->ctx;
}
