/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Sealing for many sessions at once: sealane_sessions_seal(). In rounds, as opening is: each takes the next thing
 * that every session has to say, so that a KeyUpdate of ours changes the key before the next record is sealed.
 */
#include "session_private.h"

/* What a session says next. */
typedef enum said {
    SAY_NOTHING,
    SAY_ALERT, /* a fatal one: nothing comes behind it */
    SAY_WARNING,
    SAY_RENEWAL,
    SAY_DATA,
    SAY_GOODBYE,
} said;

typedef struct round {
    sealane_session_op *ops[SESSION_ROUND]; /* those that take part */
    sealane_seal_op records[SESSION_ROUND];
    struct iovec pieces[SESSION_ROUND];
    uint8_t own[SESSION_ROUND][KEY_UPDATE_LEN]; /* what is not the caller's */
    said said[SESSION_ROUND];
    size_t count;
} round;

/* ---- What is to be said ---- */

bool sealane_session_wants_seal(const sealane_session *s)
{
    return s->alert_due ||
           ((s->warning_due || s->renew_due || s->closing) && s->reason == NULL && !s->closed);
}

static said say_next(const sealane_session *s, size_t left)
{
    if (s->alert_due)
        return SAY_ALERT;
    if (s->reason != NULL || s->closed)
        return SAY_NOTHING;
    if (s->warning_due)
        return SAY_WARNING;
    /* RFC 8446 5.5: a new key before this one is used up; only if it is used. */
    if (s->renew_due || (s->tls13 && left > 0 && session_key_is_worn(s->seal_key)))
        return SAY_RENEWAL;
    if (left > 0)
        return SAY_DATA;
    return s->closing ? SAY_GOODBYE : SAY_NOTHING;
}

static size_t alert_put(uint8_t *own, uint8_t level, uint8_t alert)
{
    own[0] = level;
    own[1] = alert;
    return ALERT_LEN;
}

/* RFC 8446 4.6.3 */
static size_t key_update_put(uint8_t *own, bool asks)
{
    own[0] = MESSAGE_KEY_UPDATE;
    own[1] = own[2] = 0;
    own[3] = KEY_UPDATE_LEN - MESSAGE_HEADER_LEN;
    own[4] = asks;
    return KEY_UPDATE_LEN;
}

/* The payload; returns its content type. Payloads of our own go to `own`. */
static uint8_t payload_make(const sealane_session_op *op, said what, uint8_t *own, struct iovec *piece)
{
    const sealane_session *s = op->session;
    size_t left = op->in_len - op->consumed;

    piece->iov_base = own;
    switch (what) {
    case SAY_DATA:
        piece->iov_base = (void *)(uintptr_t)(op->in + op->consumed); /* only read */
        piece->iov_len = left < s->fragment_max ? left : s->fragment_max;
        return SEALANE_APPLICATION_DATA;
    case SAY_RENEWAL:
        piece->iov_len = key_update_put(own, s->renew_asks);
        return SEALANE_HANDSHAKE;
    case SAY_WARNING:
        piece->iov_len = alert_put(own, ALERT_WARNING, ALERT_NO_RENEGOTIATION);
        return SEALANE_ALERT;
    case SAY_GOODBYE:
        piece->iov_len = alert_put(own, ALERT_WARNING, ALERT_CLOSE_NOTIFY);
        return SEALANE_ALERT;
    default:
        piece->iov_len = alert_put(own, ALERT_FATAL, (uint8_t)s->alert_sent);
        return SEALANE_ALERT;
    }
}

/* RFC 8446 5.4: up to the next multiple, as far as a record can hold it. */
static size_t padding_of(const sealane_session *s, size_t len)
{
    size_t over, padding, most = s->fragment_max - len;

    if (s->pad_block < 2)
        return 0;
    over = len % s->pad_block;
    padding = over > 0 ? s->pad_block - over : 0;
    return padding < most ? padding : most;
}

static bool record_next(round *r, size_t at)
{
    sealane_session_op *op = r->ops[at];
    sealane_session *s = op->session;
    struct iovec *piece = &r->pieces[at];
    uint8_t type;

    r->said[at] = say_next(s, op->in_len - op->consumed);
    if (r->said[at] == SAY_NOTHING)
        return false;
    type = payload_make(op, r->said[at], r->own[at], piece);
    r->records[at] = (sealane_seal_op){.key = s->seal_key,
                                       .type = type,
                                       .payload = piece,
                                       .payload_count = 1,
                                       .padding = padding_of(s, piece->iov_len),
                                       .out = op->out + op->produced,
                                       .out_size = op->out_size - op->produced};
    return true;
}

/* ---- What was said ---- */

static sealane_result renewal_said(sealane_session *s)
{
    s->asked |= s->renew_asks;
    s->renew_due = s->renew_asks = false;
    return session_key_renew(s, SEALANE_SEALING);
}

static sealane_result said_note(sealane_session_op *op, said what, const struct iovec *piece)
{
    sealane_session *s = op->session;

    switch (what) {
    case SAY_DATA:
        op->consumed += piece->iov_len;
        return SEALANE_OK;
    case SAY_RENEWAL:
        return renewal_said(s);
    case SAY_WARNING:
        s->warning_due = false;
        return SEALANE_OK;
    default:
        s->alert_due = s->closing = false;
        s->closed = true;
        return SEALANE_OK;
    }
}

/* True if the session may take part in the next round. */
static bool record_said(round *r, size_t at)
{
    sealane_session_op *op = r->ops[at];
    const sealane_seal_op *record = &r->records[at];

    if (record->result == SEALANE_SPACE) { /* nothing was done, and nothing changed */
        op->result = op->produced == 0 ? SEALANE_SPACE : SEALANE_OK;
        return false;
    }
    if (record->result != SEALANE_OK) { /* an alert would have to be sealed too */
        op->result = session_fail(op->session, record->result, -1,
                                  record->result == SEALANE_LIMIT ? "the key is used up"
                                                                  : "a record could not be sealed");
        return false;
    }
    op->produced += record->out_len;
    op->result = said_note(op, r->said[at], &r->pieces[at]);
    if (op->result != SEALANE_OK)
        return false;
    return op->consumed < op->in_len || sealane_session_wants_seal(op->session);
}

/* ---- Rounds ---- */

static void op_begin(sealane_session_op *op, round *r)
{
    const sealane_session *s = op->session;

    op->consumed = op->produced = 0;
    op->result = SEALANE_ARGUMENT;
    if (s == NULL || (op->in == NULL && op->in_len > 0) || (op->out == NULL && op->out_size > 0))
        return;
    op->result = SEALANE_OK;
    if (!s->alert_due && op->in_len > 0 && (s->reason != NULL || s->closed)) {
        op->result = SEALANE_ENDED;
        return;
    }
    r->ops[r->count++] = op;
}

static void round_fill(round *r)
{
    size_t count = 0;

    for (size_t i = 0; i < r->count; i++) {
        r->ops[count] = r->ops[i];
        count += record_next(r, count);
    }
    r->count = count;
}

static void round_note(round *r)
{
    size_t count = 0;

    for (size_t i = 0; i < r->count; i++) {
        bool goes_on = record_said(r, i);
        r->ops[count] = r->ops[i];
        count += goes_on;
    }
    r->count = count;
}

static void portion_seal(sealane_session_op ops[], size_t count)
{
    round r;

    r.count = 0;
    for (size_t i = 0; i < count; i++)
        op_begin(&ops[i], &r);
    for (round_fill(&r); r.count > 0; round_fill(&r)) {
        sealane_batch_seal(r.records, r.count);
        round_note(&r);
    }
}

void sealane_sessions_seal(sealane_session_op ops[], size_t count)
{
    for (; count > SESSION_ROUND; ops += SESSION_ROUND, count -= SESSION_ROUND)
        portion_seal(ops, SESSION_ROUND);
    portion_seal(ops, count);
}

/* ---- What is known ---- */

size_t sealane_session_seal_size(const sealane_session *s, size_t len)
{
    size_t own = sealane_record_seal_size(s->seal_key, KEY_UPDATE_LEN, padding_of(s, KEY_UPDATE_LEN));
    size_t full = sealane_record_seal_size(s->seal_key, s->fragment_max, 0);

    /* A renewal, a warning or an alert, the goodbye; and the last record as if it were padded to the full. */
    return 3 * own + (len + s->fragment_max - 1) / s->fragment_max * full;
}
