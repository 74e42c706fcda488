/* SPDX-License-Identifier: Apache-2.0 */
/* The inside of a session, shared by session.c, session_open.c, session_message.c and session_seal.c. */
#ifndef ENGINE_SESSION_PRIVATE_H
#define ENGINE_SESSION_PRIVATE_H

#include <sealane/session.h>
#include "frame_lay.h"
#include "key_schedule.h"
#include "line.h"

/*
 * Sessions whose records go through the cipher together: as many as leave room in the first level of the cache for
 * what each of them has there, a kilobyte.
 */
#define SESSION_ROUND 32

/* RFC 8446 6, RFC 5246 7.2 */
enum {
    ALERT_CLOSE_NOTIFY = 0,
    ALERT_UNEXPECTED_MESSAGE = 10,
    ALERT_BAD_RECORD_MAC = 20,
    ALERT_RECORD_OVERFLOW = 22,
    ALERT_ILLEGAL_PARAMETER = 47,
    ALERT_DECODE_ERROR = 50,
    ALERT_PROTOCOL_VERSION = 70,
    ALERT_INTERNAL_ERROR = 80,
    ALERT_USER_CANCELED = 90,
    ALERT_NO_RENEGOTIATION = 100,
};
enum { ALERT_WARNING = 1, ALERT_FATAL = 2 };
#define ALERT_LEN 2

/* RFC 8446 4, RFC 5246 7.4 */
enum {
    MESSAGE_HELLO_REQUEST = 0,
    MESSAGE_CLIENT_HELLO = 1,
    MESSAGE_NEW_SESSION_TICKET = 4,
    MESSAGE_FINISHED = 20,
    MESSAGE_KEY_UPDATE = 24,
};
#define MESSAGE_HEADER_LEN 4
#define KEY_UPDATE_LEN     (MESSAGE_HEADER_LEN + 1)

/*
 * One byte each where one is enough: a server has tens of thousands of these. The keys are most of it. What every
 * record looks at comes first, so that it is in one line of the cache, or two.
 */
struct sealane_session {
    sealane_key *seal_key, *open_key;
    const char *reason; /* static; NULL: it has not failed */
    uint16_t fragment_max, pad_block;

    /* The handshake message that is coming in, which may be spread over records: RFC 8446 5.1. */
    uint32_t message_left; /* bytes of its body that nobody needs, still to come */
    uint8_t message_have;
    uint8_t message_head[KEY_UPDATE_LEN]; /* what of it is looked at */

    uint8_t idle;                       /* records without application data since the last one with */
    uint8_t result;                     /* sealane_result; what it failed with */
    int16_t alert_sent, alert_received; /* fatal ones; -1: none */
    bool server, tls13;
    bool peer_closed; /* its close_notify came */
    bool closing;     /* ours is due after what is to be said */
    bool closed;      /* ours, or a fatal alert, was sealed */
    bool alert_due;   /* alert_sent is */
    bool warning_due; /* no_renegotiation is */
    bool renew_due;   /* our KeyUpdate is */
    bool renew_asks;  /* and asks for the peer's */
    bool asked;       /* it was asked for under the present key */
    bool tickets_due; /* `tickets` has somebody to tell */

    sealane_session_tickets tickets;
    const sealane_suite *suite;
    uint64_t seal_renewals, open_renewals;
    uint8_t seal_secret[SECRET_MAX], open_secret[SECRET_MAX]; /* TLS 1.3: of the present keys */
};

/* One direction's key from traffic key and sequence number. */
sealane_result session_key_new(sealane_key **out, const sealane_session *s, sealane_direction direction,
                               const traffic_key *traffic, uint64_t sequence, uint64_t explicit_nonce);
/* TLS 1.3: the next generation of what we seal or open with. On failure the session has failed. */
sealane_result session_key_renew(sealane_session *s, sealane_direction direction);

/* Ends it: the first call counts. `alert` is due then, none if -1. Returns `result`. */
sealane_result session_fail(sealane_session *s, sealane_result result, int alert, const char *reason);
/* libssl can read no further: it has missed a record. */
void session_tickets_drop(sealane_session *s);
static inline void session_tickets_end(sealane_session *s)
{
    if (s->tickets_due)
        session_tickets_drop(s);
}

/* RFC 8446 5.5: a sixteenth of what may be sealed with the key is left, whoever seals with it. */
static inline bool session_key_is_worn(const sealane_key *key)
{
    return key->sequence >= key->seal_limit - key->seal_limit / 16;
}

/* session_message.c: what a record of alerts or handshake messages calls for. `record` is the sealed one. */
sealane_result session_alert_take(sealane_session *s, const uint8_t *payload, size_t len);
sealane_result session_messages_take(sealane_session *s, const uint8_t *payload, size_t len,
                                     const uint8_t *record, size_t record_len);
/* A record without application data: too many in a row are a flood. */
sealane_result session_idle_count(sealane_session *s);

/* True if those are whole messages of that one type. */
bool messages_are(const uint8_t *payload, size_t len, uint8_t type);

#endif
