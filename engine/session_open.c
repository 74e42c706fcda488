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
    frame frames[SESSION_ROUND];
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

/*
 * The next record's length. Also if the record is not all here: nobody makes us wait for what will be refused. False
 * if it was.
 */
static bool length_find(sealane_session_op *op, const uint8_t *in, size_t left, size_t *len)
{
    sealane_session *s = op->session;
    sealane_result result;

    if (frame_is_data(s->open_key, in, len))
        return true;
    result = sealane_record_length(s->open_key, in, left, len);
    if (result != SEALANE_OK)
        op->result = header_refuse(s, in, result);
    return result == SEALANE_OK;
}

/* The next record of that session, if there is one that may be opened, and room. */
static bool record_next(sealane_session_op *op, frame *f, bool batch)
{
    sealane_session *s = op->session;
    const uint8_t *in = op->in + op->consumed;
    size_t left = op->in_len - op->consumed, len;

    if (left < SEALANE_RECORD_HEADER_LEN || !length_find(op, in, left, &len) || len > left)
        return false;
    if (op->out_size - op->produced < frame_open_len(s->open_key, len)) { /* nothing changed */
        op->result = op->consumed == 0 ? SEALANE_SPACE : SEALANE_OK;
        return false;
    }
    if (s->open_key->sequence == SEALANE_SEQ_LIMIT) {
        op->result = session_fail(s, SEALANE_LIMIT, ALERT_INTERNAL_ERROR, "the sequence numbers are used up");
        return false;
    }
    frame_open_lay(f, s->open_key, in, len, op->out + op->produced, batch);
    return true;
}

/* ---- After opening ---- */

static sealane_result open_refuse(sealane_session *s, sealane_result result)
{
    switch (result) {
    case SEALANE_FORGED:
        return session_fail(s, result, ALERT_BAD_RECORD_MAC, "a record that is not authentic");
    case SEALANE_RECORD:
        return session_fail(s, result, ALERT_UNEXPECTED_MESSAGE,
                            "a record of no known type, or empty where it may not be");
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

static sealane_result data_take(sealane_session_op *op, size_t len)
{
    sealane_session *s = op->session;

    session_tickets_end(s);
    op->produced += len;
    peer_limit_watch(s);
    if (len == 0)
        return session_idle_count(s);
    s->idle = 0;
    return SEALANE_OK;
}

/* What a record was opened to. */
typedef struct opened {
    const uint8_t *record;
    size_t record_len;
    const uint8_t *payload;
    size_t len;
    uint8_t type;
} opened;

static sealane_result payload_take(sealane_session_op *op, const opened *o)
{
    sealane_session *s = op->session;

    if (o->len > s->fragment_max)
        return session_fail(s, SEALANE_OVERFLOW, ALERT_RECORD_OVERFLOW,
                            "a record longer than was agreed upon");
    /* RFC 8446 5.1: nothing between the parts of a handshake message. */
    if (o->type != SEALANE_HANDSHAKE && (s->message_left > 0 || s->message_have > 0))
        return session_fail(s, SEALANE_RECORD, ALERT_UNEXPECTED_MESSAGE,
                            "a record in the middle of a handshake message");
    switch (o->type) {
    case SEALANE_APPLICATION_DATA:
        return data_take(op, o->len);
    case SEALANE_HANDSHAKE:
        return session_messages_take(s, o->payload, o->len, o->record, o->record_len);
    case SEALANE_ALERT:
        return session_alert_take(s, o->payload, o->len);
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
static bool record_take(sealane_session_op *op, frame *f)
{
    opened o = {.record = op->in + op->consumed, .payload = f->op.out};
    sealane_result result = frame_open_end(f, &o.type, &o.len);

    if (result != SEALANE_OK) {
        op->result = open_refuse(op->session, result);
        return false;
    }
    o.record_len = frame_record_len(f, o.record);
    op->consumed += o.record_len;
    op->result = payload_take(op, &o);
    if (op->result != SEALANE_OK || closed_ignore(op))
        return false;
    return op->in_len - op->consumed >= SEALANE_RECORD_HEADER_LEN; /* else there is no use in another look */
}

/* ---- Rounds ---- */

static bool op_begin(sealane_session_op *op)
{
    op->consumed = op->produced = 0;
    op->result = SEALANE_ARGUMENT;
    if (!arguments_right(op))
        return false;
    op->result = (sealane_result)op->session->result;
    line_fetch(op->session->open_key);
    return op->result == SEALANE_OK && !closed_ignore(op);
}

/* Of those that take part, keeps those that have a record: returns how many those are. */
static size_t round_fill(round *r, size_t parts)
{
    const bool batch = parts > 1;
    size_t count = 0;

    for (size_t i = 0; i < parts; i++) {
        sealane_session_op *op = r->ops[i];
        r->ops[count] = op;
        count += record_next(op, &r->frames[count], batch);
    }
    return count;
}

/* Of those that had one, keeps those that go on. */
static size_t round_take(round *r, size_t parts)
{
    size_t count = 0;

    for (size_t i = 0; i < parts; i++) {
        sealane_session_op *op = r->ops[i];
        r->ops[count] = op;
        count += record_take(op, &r->frames[i]);
    }
    return count;
}

static void portion_open(sealane_session_op ops[], size_t op_count)
{
    size_t count = 0;
    round r;

    for (size_t i = 0; i < op_count; i++) {
        r.ops[count] = &ops[i];
        count += op_begin(&ops[i]);
    }
    while ((count = round_fill(&r, count)) > 0) {
        frames_run(r.frames, count, false);
        count = round_take(&r, count);
    }
}

void sealane_sessions_open(sealane_session_op ops[], size_t count)
{
    for (; count > SESSION_ROUND; ops += SESSION_ROUND, count -= SESSION_ROUND)
        portion_open(ops, SESSION_ROUND);
    portion_open(ops, count);
}
