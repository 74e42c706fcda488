/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Takeover: libssl does the handshake, a session of ours (sealane/session.h) carries the connection from there on,
 * and the SSL with its buffers is freed. In a library of its own, libsealane-ssl, since it needs libssl. OpenSSL
 * 3.0 and newer, by public API only.
 *
 * How it is used, beside what a server does with OpenSSL anyway:
 *
 *     sealane_takeover_prepare(ctx);                      once, when the SSL_CTX is set up
 *     ...
 *     SSL_set_bio(ssl, ...) or SSL_set_fd(ssl, fd);
 *     sealane_takeover_watch(ssl);                        before the handshake begins
 *     SSL_do_handshake(ssl) ...                           and whatever the server asks an SSL afterwards:
 *                                                         certificate, ALPN, resumption
 *     verdict = sealane_takeover(ssl, &session);
 *     if (verdict == SEALANE_TAKEN) ...                   the SSL is gone; go on with the session
 *     else if (sealane_takeover_may_come(verdict)) ...    go on with the SSL, ask again after the next SSL_read
 *     else ...                                            or SSL_write; or never again
 *
 * Up to SEALANE_TAKEN nothing of the SSL is changed: a connection that is not taken goes on with libssl as if
 * nobody had asked. What libssl has not read by then is still where it was (kernel or BIO): the next bytes are the
 * session's.
 *
 * How keys come and are proven. TLS 1.3: the key log callback gives the traffic secrets; TLS 1.2: SSL_SESSION tells
 * the master secret. A BIO that sealane_takeover_watch() puts between libssl and the BIO of the application counts
 * records and keeps the last one of each direction. The session must open them under the keys and sequence numbers
 * that it has derived; if there is none in either direction yet, the verdict is SEALANE_TAKEOVER_UNPROVEN until libssl
 * has written or read one. (A TLS 1.3 server that sends tickets, and TLS 1.2 on both sides, have some from the start.
 * A TLS 1.3 client has one once it has written or read anything.) A direction that has carried none yet begins at 0,
 * with a key from the same key log and the same derivation.
 *
 * Secrets are kept in memory of this library only until the connection is taken or its SSL freed, and wiped then.
 * (libssl keeps, and wipes or not, its own.)
 *
 * TLS 1.3 clients: tickets come after the handshake. If the SSL_CTX caches client sessions
 * (SSL_CTX_set_session_cache_mode), the SSL is kept, and reads the records with tickets, until the first
 * application data, a KeyUpdate or an alert comes or the session is freed. Callbacks of SSL_CTX_sess_set_new_cb() are then called from inside of
 * sealane_sessions_open(); what they find through the SSL must live as long.
 *
 * What a taken connection does not do any more: renegotiation (TLS 1.2; refused before if libssl would), client
 * certificates after the handshake (RFC 8446 4.6.2: who has called SSL_set_post_handshake_auth() or means to call
 * SSL_verify_client_post_handshake() does not hand the connection over), kernel TLS (a watched SSL never begins
 * it), and padding as SSL_set_block_padding() said (sealane_session_pad() says it again).
 *
 * Threads: sealane_takeover_prepare() as SSL_CTX calls are, before the context is shared; the others as calls with that SSL.
 */
#ifndef SEALANE_TAKEOVER_H
#define SEALANE_TAKEOVER_H

#include <stdbool.h>
#include <openssl/ssl.h>
#include <sealane/session.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef enum sealane_takeover_verdict {
    SEALANE_TAKEN = 0,
    /* Not now: */
    SEALANE_TAKEOVER_HANDSHAKE, /* it is not over */
    SEALANE_TAKEOVER_UNREAD,    /* libssl holds bytes of the peer: SSL_read() first */
    SEALANE_TAKEOVER_UNSENT,  /* libssl holds a record that the BIO has not taken: repeat SSL_write() first */
    SEALANE_TAKEOVER_HALFWAY, /* a record is in part read or written */
    SEALANE_TAKEOVER_UNPROVEN, /* no record under the traffic keys yet, in either direction */
    /* Never: */
    SEALANE_TAKEOVER_UNWATCHED, /* no sealane_takeover_watch(), or the BIOs were changed after it */
    SEALANE_TAKEOVER_NO_SECRETS, /* the SSL_CTX is not prepared, or its key log callback was changed after it */
    SEALANE_TAKEOVER_VERSION,    /* neither TLS 1.2 nor TLS 1.3 */
    SEALANE_TAKEOVER_SUITE,      /* a suite that the engine lacks, or no AEAD */
    SEALANE_TAKEOVER_COMPRESSION,   /* TLS 1.2 */
    SEALANE_TAKEOVER_RENEGOTIATION, /* TLS 1.2: not off, or has happened: set SSL_OP_NO_RENEGOTIATION */
    SEALANE_TAKEOVER_EARLY_DATA,    /* was accepted */
    SEALANE_TAKEOVER_READ_AHEAD,    /* SSL_set_read_ahead(): libssl reads more than it uses */
    SEALANE_TAKEOVER_SHUTDOWN,      /* close_notify was sent or has come */
    SEALANE_TAKEOVER_PROOF,         /* libssl's last record does not open under the keys derived here */
    SEALANE_TAKEOVER_STATE,         /* it opens, and shows that more is under way: a KeyUpdate, an alert */
    SEALANE_TAKEOVER_MEMORY,
    SEALANE_TAKEOVER_ENGINE,   /* a library below failed */
    SEALANE_TAKEOVER_VERDICTS, /* how many there are; no verdict itself */
} sealane_takeover_verdict;

/* Has the context keep what a takeover needs. A key log callback that is set already goes on being called. */
bool sealane_takeover_prepare(SSL_CTX *ctx);

/*
 * Begins to watch this connection: after its BIOs are set, before its handshake. They stay where they are, one step
 * further from libssl (BIO_next); SSL_get_fd() and the like work as before. False: out of memory, or no BIO yet.
 */
bool sealane_takeover_watch(SSL *ssl);

/*
 * Takes the connection over if it can. On SEALANE_TAKEN `ssl` belongs to the session, which frees it, now or as is
 * said above (one reference of it, like SSL_free()), with its BIOs; a socket of SSL_set_fd() stays open. The TLS
 * session in libssl's caches stays good for resumption. On anything else nothing has changed.
 */
sealane_takeover_verdict sealane_takeover(SSL *ssl, sealane_session **out);

/* True if it is worth asking again. */
bool sealane_takeover_may_come(sealane_takeover_verdict verdict);
/* A word for counters and logs ("unproven"), and a phrase for people. Static. */
const char *sealane_takeover_name(sealane_takeover_verdict verdict);
const char *sealane_takeover_text(sealane_takeover_verdict verdict);

/*
 * For rehearsals: with the environment variable SEALANE_TAKEOVER_DRILL set to the name of a verdict, every takeover
 * that gets to that step comes to that verdict (for "memory" and "engine": as if the step had failed). A server
 * whose connections then go on without a hitch falls back as it should. Read once, and not in programs that run
 * with more rights than their user (secure_getenv).
 */

#ifdef __cplusplus
}
#endif
#endif
