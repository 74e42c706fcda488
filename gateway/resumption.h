/* SPDX-License-Identifier: Apache-2.0 */
/*
 * TLS sessions with next hops, kept for the next connection. One cache per loop, used on its thread only.
 *
 * The key names the settings in force, the policy and the host: a session made under one policy is never offered
 * under another, which it might not satisfy.
 */
#ifndef GATEWAY_RESUMPTION_H
#define GATEWAY_RESUMPTION_H

#include <openssl/ssl.h>

struct resumption;

struct resumptions {
    struct resumption *first; /* the one used last comes first */
    size_t count;
};

/* Takes the reference. */
void resumptions_put(struct resumptions *cache, const char *key, SSL_SESSION *session);
/* Hands one out and forgets it (RFC 8446, C.4: a ticket is used once); NULL if there is none. */
SSL_SESSION *resumptions_take(struct resumptions *cache, const char *key);
void resumptions_clear(struct resumptions *cache);

#endif
