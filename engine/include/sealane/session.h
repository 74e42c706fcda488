/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A TLS connection after its handshake: whoever did the handshake hands over the secrets that it led to, and from
 * then on a session carries the connection: records, KeyUpdates, alerts, the goodbye. sealane/takeover.h makes
 * one of an SSL of libssl; sealane_session_new() makes one of bare secrets, from any TLS library that tells them.
 *
 * How it is used. A session has no socket and no buffers: bytes come in and go out through memory of the
 * caller's, and a connection on which nothing is under way costs about two kilobytes. A server collects what its
 * sockets received in one turn of its event loop, fills an array of operations, one per connection, and calls
 * sealane_sessions_open() once; then it answers, and calls sealane_sessions_seal() once for all that is to be
 * sent. Records of different connections are processed side by side.
 *
 *     sealane_session_op op = {.session = session, .in = received, .in_len = received_len,
 *                              .out = text, .out_size = sizeof(text)};
 *     sealane_sessions_open(&op, 1);
 *     text[0 .. op.produced) is from the peer; received[op.consumed .. received_len) is the beginning of a
 *     record that is not all here, or did not fit: offer it again, with what comes behind it
 *
 * After opening, ask sealane_session_wants_seal(): the session itself may have something to say (the answer to a
 * KeyUpdate, the alert that an error calls for), and says it in the next sealane_sessions_seal(), with or without
 * bytes of the caller's.
 *
 * What it takes care of: sequence numbers and nonces; KeyUpdates of the peer and its wish for ours; a KeyUpdate
 * of its own before a key is used up (RFC 8446 5.5); the right alert for each error (RFC 8446 6.2, RFC 5246
 * 7.2.2); refusal of renegotiation (RFC 5746 4.5 leaves that to us; the answer is no_renegotiation); bounds on records that
 * bring nothing. What stays with the caller: the socket, time-outs, and the tickets of a TLS 1.3 server (see
 * sealane_session_tickets; sealane/takeover.h does that too).
 *
 * A session whose opening failed delivers nothing any more: seal once more, for the alert, send it, and close.
 * The end of a connection without the peer's close_notify (sealane_session_status) may be an attacker's cut: to
 * know whether its last message was whole is the protocol's business above.
 *
 * Conventions of results, lengths, ownership, threads and secrets: sealane/result.h. In a batch, a session counts
 * as used by the thread that runs the batch.
 */
#ifndef SEALANE_SESSION_H
#define SEALANE_SESSION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sealane/record.h>
#include <sealane/result.h>
#include <sealane/suite.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Room that always lets the next record in: the payload, and TLS 1.3's type byte behind it. */
#define SEALANE_SESSION_OPEN_ROOM (SEALANE_PLAINTEXT_MAX + 1)
/* Records without application data that may come one after the other: empty ones, warnings, KeyUpdates. */
#define SEALANE_SESSION_IDLE_MAX 32

typedef struct sealane_session sealane_session;

/* ---- Life ---- */

/*
 * As client of TLS 1.3: what to do with NewSessionTickets (RFC 8446 4.6.1), which only the library that did the
 * handshake can turn into sessions to be resumed. It reads the very same records, as long as it has seen each one
 * before: until the first application data.
 */
typedef struct sealane_session_tickets {
    /* A record that holds nothing but tickets, whole or in part, as it came from the peer. */
    void (*take)(void *owner, const uint8_t *record, size_t len);
    /* No such record will come any more. Called exactly once, at the latest by sealane_session_free(). */
    void (*end)(void *owner);
    void *owner;
} sealane_session_tickets;

/* Everything is copied, but for the records that prove it. Members that do not concern the version are zero. */
typedef struct sealane_session_params {
    const sealane_suite *suite; /* says version and cipher; an AEAD */
    bool server;                /* which side we are */
    /* TLS 1.3: the application traffic secrets in use (RFC 8446 7.1), sealane_suite_hash_len() bytes each. */
    const uint8_t *client_secret, *server_secret;
    size_t secret_len;
    /* TLS 1.2: the master secret, 48 bytes, and the hellos' randoms, 32 each. */
    const uint8_t *master_secret, *client_random, *server_random;
    /* Records that were sealed and opened under these secrets before, and so the next one's sequence number. */
    uint64_t sealed, opened;
    /*
     * The last of those records, whole as they were on the wire; NULL where `sealed` or `opened` is 0. A session
     * comes about only if they open under the keys derived here: that proves secrets and counts. TLS 1.2 needs
     * last_sealed, which also tells where explicit nonces go on.
     */
    const uint8_t *last_sealed, *last_opened;
    size_t last_sealed_len, last_opened_len;
    /* The longest payload of a record that the peers agreed upon (RFC 6066 4), 0 for SEALANE_PLAINTEXT_MAX. */
    size_t fragment_max;
    sealane_session_tickets
        tickets; /* all NULL: none are wanted. `end` is not called if there is no session */
} sealane_session_params;

/*
 *   SEALANE_ARGUMENT     a length is not the suite's, or a member is missing
 *   SEALANE_UNSUPPORTED  the suite is no AEAD, or no backend of this CPU and build carries it
 *   SEALANE_FORGED       a last record does not open: secrets, counts or the record are not what they should be
 *   SEALANE_RECORD       a last record opens, and is of a kind after which the state is not known (a KeyUpdate,
 *                        an alert, a message that asks for an answer)
 *   SEALANE_MEMORY
 */
sealane_result sealane_session_new(sealane_session **out, const sealane_session_params *params);
void sealane_session_free(sealane_session *session);

/* ---- Bytes in, bytes out ---- */

/* One session's part of a batch, in either direction. `in` and `out` do not overlap. */
typedef struct sealane_session_op {
    sealane_session *session;
    const uint8_t *in;
    size_t in_len;
    uint8_t *out;
    size_t out_size;
    /* Set by the call: */
    size_t consumed; /* bytes of `in` that are done with */
    size_t produced; /* bytes at `out`; what is behind them is undefined */
    sealane_result result;
} sealane_session_op;

/*
 * Opens records: `in` is what came from the peer, from the beginning of a record on; `out` receives what the peer
 * has to say. Goes on until no whole record is left or the next one has no room at `out`. No session may stand
 * in the array twice, and no two operations may share bytes of `out`.
 *
 * Results, per operation; what was produced before an error is authentic and delivered:
 *   SEALANE_OK        also if nothing whole was there
 *   SEALANE_SPACE     not even one record had room: offer SEALANE_SESSION_OPEN_ROOM
 *   SEALANE_FORGED, SEALANE_RECORD, SEALANE_OVERFLOW, SEALANE_LIMIT, SEALANE_INTERNAL, SEALANE_MEMORY
 *                     the connection has failed: sealane_session_reason() says why; seal the alert, send, close
 *   SEALANE_ENDED     the peer sent a fatal alert (sealane_session_alert_received); close
 *   SEALANE_ARGUMENT  NULL where there must not be
 * A session that has failed gives its result again.
 */
void sealane_sessions_open(sealane_session_op ops[], size_t count);

/*
 * Seals records: `in` is what the caller has to say (or nothing), `out` receives what goes to the peer, all of
 * which must be sent, in this order. What the session itself has to say comes with it: KeyUpdate and alert first,
 * close_notify last. Goes on until all is sealed or the next record has no room at `out`.
 *
 *   SEALANE_OK
 *   SEALANE_SPACE     no room for even one record: sealane_session_seal_size() says how much would be enough for all
 *   SEALANE_ENDED     nothing may be sealed any more: close_notify or an alert was, or the peer ended it
 *   SEALANE_LIMIT     TLS 1.2: the key is used up; SEALANE_MEMORY, SEALANE_INTERNAL: the connection has failed
 *   SEALANE_ARGUMENT  NULL where there must not be
 */
void sealane_sessions_seal(sealane_session_op ops[], size_t count);

/* Room that sealing `len` bytes, and all that the session itself has to say, can need. */
size_t sealane_session_seal_size(const sealane_session *session, size_t len);
/* True if the session itself has something to say: call sealane_sessions_seal(), with or without bytes. */
bool sealane_session_wants_seal(const sealane_session *session);

/* ---- What the caller decides ---- */

/* Says goodbye (close_notify) once what is offered to the next sealane_sessions_seal() is sealed. RFC 8446 6.1. */
void sealane_session_close(sealane_session *session);
/*
 * TLS 1.3: new keys for what we seal, before the next record; with `of_peer` also for what the peer seals. False
 * in TLS 1.2 and on a session that has ended. Not needed for long-lived sessions: they renew by themselves.
 */
bool sealane_session_renew(sealane_session *session, bool of_peer);
/* TLS 1.3: from now on payloads are padded to a multiple of `block` bytes (RFC 8446 5.4). 0 or 1: not. */
void sealane_session_pad(sealane_session *session, size_t block);

/* ---- What is known ---- */

typedef enum sealane_session_status {
    SEALANE_SESSION_OPEN,
    SEALANE_SESSION_PEER_CLOSED, /* close_notify came: the peer has said all. TLS 1.3: we may still talk; TLS 1.2:
                                    answer with sealane_session_close() (RFC 5246 7.2.1) */
    SEALANE_SESSION_FAILED,      /* an error, or a fatal alert of the peer */
} sealane_session_status;

sealane_session_status sealane_session_get_status(const sealane_session *session);
/* True once close_notify or a fatal alert of ours was sealed. */
bool sealane_session_has_closed(const sealane_session *session);
/* Why it failed, one static phrase; "" if it did not. */
const char *sealane_session_reason(const sealane_session *session);
/* The fatal alert (RFC 8446 6.2) that was or will be sealed, or came from the peer; -1: none. */
int sealane_session_alert_sent(const sealane_session *session);
int sealane_session_alert_received(const sealane_session *session);
/* TLS 1.2, where keys cannot be renewed: true when the connection should be ended at the next chance. */
bool sealane_session_is_worn(const sealane_session *session);

const sealane_suite *sealane_session_get_suite(const sealane_session *session);
/* Sequence numbers of the next records under the present keys, and how often keys were renewed since. */
typedef struct sealane_session_counts {
    uint64_t seal_sequence, open_sequence;
    uint64_t seal_renewals, open_renewals;
} sealane_session_counts;
void sealane_session_get_counts(const sealane_session *session, sealane_session_counts *out);

#ifdef __cplusplus
}
#endif
#endif
