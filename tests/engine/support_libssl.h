/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A libssl connection within the process, one side of which is ours to take over: a handshake over memory BIOs, and
 * bytes between a session and the libssl on the other side.
 */
#ifndef ENGINE_TEST_SUPPORT_LIBSSL_H
#define ENGINE_TEST_SUPPORT_LIBSSL_H

#include <openssl/ssl.h>
#include <sealane/takeover.h>
#include "support.h"

enum { CLIENT, SERVER };

/* A self-signed certificate with a new key, of RSA or P-256: nobody verifies it here. */
void certificate_use(SSL_CTX *ctx, bool rsa);

#define DUO_WIRE (1 << 20)

typedef struct duo {
    const sealane_suite *suite;
    int ours; /* CLIENT or SERVER */
    SSL_CTX *ctx[2];
    SSL *ssl[2];   /* ours: NULL once it is taken */
    BIO *in, *out; /* ours, below the watching ones */
    sealane_session *session;
    uint8_t *wire; /* from the peer and not opened yet */
    size_t wire_len;
} duo;

/* Contexts for that suite (0: whatever libssl takes, up to TLS 1.3); change them, then begin. */
void duo_prepare(duo *d, uint16_t suite, int ours);
/* A connection, with its handshake done; the peer has read all tickets. */
void duo_begin(duo *d);
/* Only makes the SSLs; ours is watched if `watched`. */
void duo_connect(duo *d, bool watched);
void duo_shake(duo *d);
/* Frees the connection; `contexts` too. */
void duo_end(duo *d);
void duo_free(duo *d);

/* All that one side of libssl has written, to the other. */
void duo_move(duo *d, int from);
sealane_takeover_verdict duo_take(duo *d);

/* Seals `len` bytes (and what the session itself has to say) and hands them to the peer. */
sealane_result duo_seal(duo *d, const uint8_t *data, size_t len);
/* Opens what the peer has written: `*len` bytes of `out`. */
sealane_result duo_open(duo *d, uint8_t *out, size_t size, size_t *len);
/* The peer's libssl writes, and reads exactly that. */
void peer_write(duo *d, const uint8_t *data, size_t len);
bool peer_reads(duo *d, const uint8_t *data, size_t len);
/* Both ways, some lengths; true if all arrived. */
bool duo_talks(duo *d, prng *random);

/* TLS 1.3 clients have nothing to prove their keys with until something was said: ours says it. */
void duo_say_hello(duo *d);
/* Goes on with libssl on both sides; true if all arrived. */
bool duo_libssl_talks(duo *d);
/* It can be taken, and talks; freed. */
void duo_then_taken(duo *d);

#endif
