/* SPDX-License-Identifier: Apache-2.0 */
/* Both ends of a TLS connection within one thread, and the keys and certificates that they need. */
#ifndef BENCH_HANDSHAKES_TLS_H
#define BENCH_HANDSHAKES_TLS_H

#include <openssl/ssl.h>
#include "handshakes_act.h"

#define SAMPLE 64 /* bytes sent each way after the handshake */

struct tls {
    SSL_CTX *client, *server;
    EVP_PKEY *key; /* the server's */
};

/* The key as `a` has it (file or token), a certificate for it from a CA of our own, one context per side. */
bool tls_prepare(struct tls *t, const struct act *a, char why[TEXT_MAX]);
void tls_end(struct tls *t);

/* A key in memory, as from a file: made, written as PEM and read again. NULL with errors raised. */
EVP_PKEY *key_from_file(key_kind kind);

struct connection {
    SSL *client, *server;
    double began; /* clock_now() */
    bool paused;  /* the server waits for its ASYNC job */
    uint8_t sample[SAMPLE];
};

enum outcome { OUTCOME_DONE, OUTCOME_PAUSED, OUTCOME_FAILED };

bool connection_begin(struct connection *c, const struct tls *t, bool in_jobs, char why[TEXT_MAX]);
/*
 * Goes on until the handshake is made, data have gone both ways, and all has been checked: chain, host, that it
 * was no resumption, version and kind of signature. Or until the ASYNC job pauses, which needs `in_jobs`.
 */
enum outcome connection_step(struct connection *c, const struct act *a, char why[TEXT_MAX]);
void connection_end(struct connection *c);

#endif
