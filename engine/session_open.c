/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Opening for many sessions at once: sealane_sessions_open(). In rounds: each takes the next record of every
 * session that has one, opens them as one batch, and looks at what came of it before the next round begins. So a
 * KeyUpdate changes the key before anything behind it is touched, payloads come to lie one behind the other
 * without being moved, and a peer that sends many short records keeps nobody waiting for longer than a round.
 */
#include "session_private.h"

typedef struct round {
    sealane_session_op *ops[SESSION_ROUND]; /* those that take part */
    sealane_open_op records[SESSION_ROUND];
    size_t count;
} round;

static bool arguments_right(const sealane_session_op *op)
{
    return op->session != NULL && (op->in != NULL || op->in_len == 0) &&
           (op->out != NULL || op->out_size == 0);
}

/* ---- Before opening ---- */

/* RFC 8446 5.1, 5.2 and RFC 5246 6.2.1: what was wrong with a header. */
static sealane_result header_refuse(sealane_session *s, const uint8_t *header, sealane_result result)
{
    if (result == SEALANE_OVERFLOW)
        return session_fail(s, result, ALERT_RECORD_OVERFLOW, "a record longer than one may be");
    if (s->tls13 ? header[0] != SEALANE_APPLICATION_DATA
                 : header[0] < SEALANE_CHANGE_CIPHER_SPEC || header[0] > SEALANE_APPLICATION_DATA)
        return session_fail(s, result, ALERT_UNEXPECTED_MESSAGE,
                            "a record that is not protected, or of no known type");
    if (header[1] != SEALANE_TLS1_2 >> 8 || header[2] != (SEALANE_TLS1_2 & 0xff))
        return session_fail(s, result, ALERT_PROTOCOL_VERSION, "a record of another version");
    return session_fail(s, result, ALERT_BAD_RECORD_MAC, "a record too short for its tag");
}

/* Lays out the next record of that session, if there is one, and room. */
static bool record_next(sealane_session_op *op, sealane_open_op *record)
{
    sealane_session *s = op->session;
    const uint8_t *in = op->in + op->consumed;
    size_t left = op->in_len - op->consumed, len;
    sealane_result result;

    if (left < SEALANE_RECORD_HEADER_LEN)
        return false;
    len = SEALANE_RECORD_HEADER_LEN + ((size_t)in[3] << 8 | in[4]);
    if (len > left) { /* nobody makes us wait for a record that will be refused */
        result = sealane_record_length(s->open_key, in, left, &len);
        if (result != SEALANE_OK)
            op->result = header_refuse(s, in, result);
        return false;
    }
    *record = (sealane_open_op){.key = s->open_key,
                                .record = in,
                                .record_len = len,
                                .out = op->out + op->produced,
                                .out_size = op->out_size - op->produced};
    return true;
}

/* ---- After opening ---- */

static sealane_result open_refuse(sealane_session *s, const sealane_open_op *record)
{
    const sealane_result result = record->result;
    size_t len;

    if (sealane_record_length(s->open_key, record->record, record->record_len, &len) != SEALANE_OK)
        return header_refuse(s, record->record, result);
    switch (result) {
    case SEALANE_FORGED:
        return session_fail(s, result, ALERT_BAD_RECORD_MAC, "a record that is not authentic");
    case SEALANE_RECORD:
        return session_fail(s, result, ALERT_UNEXPECTED_MESSAGE,
                            "a record of no known type, or empty where it may not be");
    case SEALANE_LIMIT:
        return session_fail(s, result, ALERT_INTERNAL_ERROR, "the sequence numbers are used up");
    default:
        return session_fail(s, result, ALERT_INTERNAL_ERROR, "a record could not be opened");
    }
}

/*
 * RFC 8446 5.5 leaves the limit of a key to who seals with it, but not every peer keeps it: OpenSSL does not. Who
 * is asked must renew (RFC 8446 4.6.3).
 */
static void peer_limit_watch(sealane_session *s)
{
    if (!session_key_is_worn(s->open_key) || s->asked || !s->tls13)
        return;
    s->asked = s->renew_due = s->renew_asks = true;
}

static sealane_result data_take(sealane_session_op *op, const sealane_open_op *record)
{
    sealane_session *s = op->session;

    session_tickets_end(s);
    op->produced += record->payload_len;
    peer_limit_watch(s);
    if (record->payload_len == 0)
        return session_idle_count(s);
    s->idle = 0;
    return SEALANE_OK;
}

static sealane_result payload_take(sealane_session_op *op, const sealane_open_op *record)
{
    sealane_session *s = op->session;

    if (record->payload_len > s->fragment_max)
        return session_fail(s, SEALANE_OVERFLOW, ALERT_RECORD_OVERFLOW,
                            "a record longer than was agreed upon");
    /* RFC 8446 5.1: nothing between the parts of a handshake message. */
    if (record->type != SEALANE_HANDSHAKE && (s->message_left > 0 || s->message_have > 0))
        return session_fail(s, SEALANE_RECORD, ALERT_UNEXPECTED_MESSAGE,
                            "a record in the middle of a handshake message");
    switch (record->type) {
    case SEALANE_APPLICATION_DATA:
        return data_take(op, record);
    case SEALANE_HANDSHAKE:
        return session_messages_take(s, record->out, record->payload_len, record->record, record->record_len);
    case SEALANE_ALERT:
        return session_alert_take(s, record->out, record->payload_len);
    default: /* TLS 1.2: a change_cipher_spec belongs into a handshake */
        return session_fail(s, SEALANE_RECORD, ALERT_UNEXPECTED_MESSAGE, "a change_cipher_spec out of place");
    }
}

/* RFC 8446 6.1: what comes behind close_notify is ignored. */
static bool closed_ignore(sealane_session_op *op)
{
    if (op->session->peer_closed)
        op->consumed = op->in_len;
    return op->session->peer_closed;
}

/* True if the session may take part in the next round. */
static bool record_take(sealane_session_op *op, const sealane_open_op *record)
{
    if (record->result == SEALANE_SPACE) { /* nothing was done, and nothing changed */
        op->result = op->consumed == 0 ? SEALANE_SPACE : SEALANE_OK;
        return false;
    }
    if (record->result != SEALANE_OK) {
        op->result = open_refuse(op->session, record);
        return false;
    }
    op->consumed += record->record_len;
    op->result = payload_take(op, record);
    if (op->result != SEALANE_OK || closed_ignore(op))
        return false;
    return op->in_len - op->consumed >= SEALANE_RECORD_HEADER_LEN; /* else there is no use in another look */
}

/* ---- Rounds ---- */

static void op_begin(sealane_session_op *op, round *r)
{
    op->consumed = op->produced = 0;
    op->result = SEALANE_ARGUMENT;
    if (!arguments_right(op))
        return;
    op->result = (sealane_result)op->session->result;
    if (op->result == SEALANE_OK && !closed_ignore(op))
        r->ops[r->count++] = op;
}

/* Of those that take part, keeps those that have a record. */
static void round_fill(round *r)
{
    size_t count = 0;

    for (size_t i = 0; i < r->count; i++) {
        r->ops[count] = r->ops[i];
        count += record_next(r->ops[count], &r->records[count]);
    }
    r->count = count;
}

static void round_take(round *r)
{
    size_t count = 0;

    for (size_t i = 0; i < r->count; i++) {
        r->ops[count] = r->ops[i];
        count += record_take(r->ops[count], &r->records[i]);
    }
    r->count = count;
}

static void portion_open(sealane_session_op ops[], size_t count)
{
    round r;

    r.count = 0;
    for (size_t i = 0; i < count; i++)
        op_begin(&ops[i], &r);
    for (round_fill(&r); r.count > 0; round_fill(&r)) {
        sealane_batch_open(r.records, r.count);
        round_take(&r);
    }
}

void sealane_sessions_open(sealane_session_op ops[], size_t count)
{
    for (; count > SESSION_ROUND; ops += SESSION_ROUND, count -= SESSION_ROUND)
        portion_open(ops, SESSION_ROUND);
    portion_open(ops, count);
}
