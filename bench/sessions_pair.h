/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Connections within the process, both ends of which are libssl's with the default provider or, taken over from it,
 * sessions of the engine: what bench-sessions measures on.
 */
#ifndef BENCH_SESSIONS_PAIR_H
#define BENCH_SESSIONS_PAIR_H

#include <stdbool.h>
#include <stddef.h>
#include <openssl/ssl.h>
#include <sealane/takeover.h>

enum { PAIR_CLIENT, PAIR_SERVER };

typedef struct pair {
    SSL *ssl[2];   /* NULL once taken */
    BIO *reads[2]; /* what that end reads from; the SSLs' own */
    sealane_session *session[2];
} pair;

typedef struct pairs {
    SSL_CTX *ctx[2];
    pair *list;
    size_t count;
} pairs;

/* `count` connections of that suite, with their handshakes done; `watched`, so that they can be taken. */
bool pairs_make(pairs *out, const sealane_suite *suite, size_t count, bool watched);
/* One byte each way, so that all keys have something to prove them. */
bool pairs_greet(pairs *p);
bool pairs_take(pairs *p, int side);
void pairs_end(pairs *p, int side);
void pairs_free(pairs *p);

#endif
