/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What comes in that is not the application's: alerts (RFC 8446 6, RFC 5246 7.2), and the handshake messages that
 * may come after a handshake (RFC 8446 4.6; in TLS 1.2 only the wish to renegotiate). Of a message as much is
 * kept as a KeyUpdate is long; a ticket's contents pass by, since libssl reads them itself.
 */
#include "session_private.h"

/* RFC 8446 4.6.1: lifetime, age_add, nonce, ticket and extensions at their longest. */
#define TICKET_MAX (4 + 4 + 1 + 255 + 2 + 0xffff + 2 + 0xfffe)
/* RFC 5246 7.4.1.2 bounds a hello by far more; nobody's is longer than a few records. */
#define HELLO_MAX 0x20000

sealane_result session_idle_count(sealane_session *s)
{
    if (s->idle == SEALANE_SESSION_IDLE_MAX)
        return session_fail(s, SEALANE_RECORD, ALERT_UNEXPECTED_MESSAGE, "too many records without data");
    s->idle++;
    return SEALANE_OK;
}

/* ---- Alerts ---- */

static sealane_result peer_ended(sealane_session *s, uint8_t alert)
{
    s->alert_received = alert;
    return session_fail(s, SEALANE_ENDED, -1, "the peer sent a fatal alert");
}

/* RFC 8446 6: whatever its level says, all but two alerts are errors. RFC 5246 7.2: the level says it. */
static bool is_fatal(const sealane_session *s, uint8_t level, uint8_t alert)
{
    return s->tls13 ? alert != ALERT_USER_CANCELED : level == ALERT_FATAL;
}

sealane_result session_alert_take(sealane_session *s, const uint8_t *payload, size_t len)
{
    session_tickets_end(s);
    if (len != ALERT_LEN) /* RFC 8446 5.1; RFC 5246 would allow to spread two bytes over two records */
        return session_fail(s, SEALANE_RECORD, ALERT_DECODE_ERROR, "an alert that is not two bytes long");
    if (payload[0] != ALERT_WARNING && payload[0] != ALERT_FATAL)
        return session_fail(s, SEALANE_RECORD, ALERT_ILLEGAL_PARAMETER, "an alert of an unknown level");
    if (payload[1] == ALERT_CLOSE_NOTIFY) {
        s->peer_closed = true;
        return SEALANE_OK;
    }
    if (is_fatal(s, payload[0], payload[1]))
        return peer_ended(s, payload[1]);
    return session_idle_count(s);
}

/* ---- Handshake messages ---- */

static sealane_result unexpected(sealane_session *s)
{
    return session_fail(s, SEALANE_RECORD, ALERT_UNEXPECTED_MESSAGE, "a handshake message out of place");
}

/* RFC 8446 4.6.3. It must end its record: what follows is under the next key (RFC 8446 5.1). */
static sealane_result key_update_take(sealane_session *s, bool ends_record)
{
    uint8_t request = s->message_head[MESSAGE_HEADER_LEN];

    if (!ends_record)
        return session_fail(s, SEALANE_RECORD, ALERT_UNEXPECTED_MESSAGE, "a KeyUpdate with more behind it");
    if (request > 1)
        return session_fail(s, SEALANE_RECORD, ALERT_ILLEGAL_PARAMETER, "a KeyUpdate of an unknown kind");
    if (session_idle_count(s) != SEALANE_OK)
        return SEALANE_RECORD;
    /* One answer serves all that asked before it is sent. */
    s->renew_due |= request == 1;
    s->asked = false;
    return session_key_renew(s, SEALANE_OPENING);
}

static size_t body_len(const sealane_session *s)
{
    return (size_t)s->message_head[1] << 16 | (size_t)s->message_head[2] << 8 | s->message_head[3];
}

/* A header of TLS 1.3 is complete. */
static sealane_result header13_take(sealane_session *s)
{
    switch (s->message_head[0]) {
    case MESSAGE_KEY_UPDATE:
        if (body_len(s) != KEY_UPDATE_LEN - MESSAGE_HEADER_LEN)
            return session_fail(s, SEALANE_RECORD, ALERT_DECODE_ERROR, "a KeyUpdate of the wrong length");
        return SEALANE_OK;
    case MESSAGE_NEW_SESSION_TICKET:
        if (s->server)
            return unexpected(s);
        if (body_len(s) > TICKET_MAX)
            return session_fail(s, SEALANE_RECORD, ALERT_DECODE_ERROR, "a ticket longer than one can be");
        s->message_left = (uint32_t)body_len(s);
        s->message_have = 0;
        return SEALANE_OK;
    default: /* among them a request for a certificate, which nobody here can answer */
        return unexpected(s);
    }
}

/* A header of TLS 1.2 is complete: the wish to renegotiate is refused and passed over (RFC 5746 4.5, 5246 7.2.2). */
static sealane_result header12_take(sealane_session *s)
{
    if (s->message_head[0] != (s->server ? MESSAGE_CLIENT_HELLO : MESSAGE_HELLO_REQUEST))
        return unexpected(s);
    if (body_len(s) > (s->server ? HELLO_MAX : 0))
        return session_fail(s, SEALANE_RECORD, ALERT_DECODE_ERROR, "a hello of the wrong length");
    s->warning_due = true;
    s->message_left = (uint32_t)body_len(s);
    s->message_have = 0;
    return session_idle_count(s);
}

/* Takes the next piece of a message: `*len` bytes are there. False: it has failed, or a KeyUpdate has come. */
static sealane_result piece_take(sealane_session *s, const uint8_t **payload, size_t *len)
{
    size_t part = 1;
    sealane_result result = SEALANE_OK;

    if (s->message_left > 0) {
        part = *len < s->message_left ? *len : s->message_left;
        s->message_left -= (uint32_t)part;
    } else {
        s->message_head[s->message_have++] = **payload;
        if (s->message_have == MESSAGE_HEADER_LEN)
            result = s->tls13 ? header13_take(s) : header12_take(s);
    }
    *payload += part;
    *len -= part;
    return result;
}

sealane_result session_messages_take(sealane_session *s, const uint8_t *payload, size_t len,
                                     const uint8_t *record, size_t record_len)
{
    while (len > 0) {
        sealane_result result = piece_take(s, &payload, &len);
        if (result == SEALANE_OK && s->message_have == KEY_UPDATE_LEN) {
            s->message_have = 0;
            result = key_update_take(s, len == 0);
        }
        if (result != SEALANE_OK)
            return result;
        if (s->message_have >= MESSAGE_HEADER_LEN || s->open_renewals > 0 || !s->tls13)
            session_tickets_end(s); /* not a ticket */
    }
    if (s->tickets.take != NULL)
        s->tickets.take(s->tickets.owner, record, record_len);
    return SEALANE_OK;
}
