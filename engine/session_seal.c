/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Sealing for many sessions at once: sealane_sessions_seal(). In rounds, as opening is: each takes the next thing
 * that every session has to say, so that a KeyUpdate of ours changes the key before the next record is sealed.
 */
#include "session_private.h"

#include <openssl/crypto.h>

/* What a session says next. */
typedef enum said {
    SAY_NOTHING,
    SAY_ALERT, /* a fatal one: nothing comes behind it */
    SAY_WARNING,
    SAY_RENEWAL,
    SAY_DATA,
    SAY_GOODBYE,
} said;

/* A record of it, and how much it says. */
typedef struct saying {
    said what;
    size_t len;
} saying;

typedef struct round {
    sealane_session_op *ops[SESSION_ROUND]; /* those that take part */
    frame frames[SESSION_ROUND];
    saying sayings[SESSION_ROUND];
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

static size_t saying_len(const sealane_session *s, said what, size_t left)
{
    switch (what) {
    case SAY_DATA:
        return left < s->fragment_max ? left : s->fragment_max;
    case SAY_RENEWAL:
        return KEY_UPDATE_LEN;
    default:
        return ALERT_LEN;
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

static uint8_t alert_put(uint8_t *to, uint8_t level, uint8_t alert)
{
    to[0] = level;
    to[1] = alert;
    return SEALANE_ALERT;
}

/* RFC 8446 4.6.3 */
static uint8_t key_update_put(uint8_t *to, bool asks)
{
    to[0] = MESSAGE_KEY_UPDATE;
    to[1] = to[2] = 0;
    to[3] = KEY_UPDATE_LEN - MESSAGE_HEADER_LEN;
    to[4] = asks;
    return SEALANE_HANDSHAKE;
}

/* What the session itself says; returns its content type. */
static uint8_t own_words_put(const sealane_session *s, said what, uint8_t *to)
{
    switch (what) {
    case SAY_RENEWAL:
        return key_update_put(to, s->renew_asks);
    case SAY_WARNING:
        return alert_put(to, ALERT_WARNING, ALERT_NO_RENEGOTIATION);
    case SAY_GOODBYE:
        return alert_put(to, ALERT_WARNING, ALERT_CLOSE_NOTIFY);
    default:
        return alert_put(to, ALERT_FATAL, (uint8_t)s->alert_sent);
    }
}

/* Lays out a record of that, for which there is room. */
static void saying_lay(frame *f, const sealane_session_op *op, const saying *say, size_t padding, bool batch)
{
    sealane_session *s = op->session;
    uint8_t *out = op->out + op->produced, *text = frame_seal_text(s->seal_key, out);
    const uint8_t *from = text;
    uint8_t type = SEALANE_APPLICATION_DATA;

    if (say->what == SAY_DATA)
        from = op->in + op->consumed;
    else
        type = own_words_put(s, say->what, text);
    frame_seal_lay(f, s->seal_key, type, from, say->len, padding, out, batch);
}

/* An alert would have to be sealed, too. */
static void seal_fail(sealane_session_op *op, sealane_result result)
{
    op->result =
        session_fail(op->session, result, -1,
                     result == SEALANE_LIMIT ? "the key is used up" : "a record could not be sealed");
}

/* The next record of that session, if it has one to seal and may. */
static bool record_next(sealane_session_op *op, saying *say, frame *f, bool batch)
{
    const sealane_session *s = op->session;
    const sealane_key *key = s->seal_key;
    size_t left = op->in_len - op->consumed, padding;

    say->what = say_next(s, left);
    if (say->what == SAY_NOTHING)
        return false;
    say->len = saying_len(s, say->what, left);
    padding = padding_of(s, say->len);
    if (op->out_size - op->produced < key->around + say->len + padding) {
        op->result = op->produced == 0 ? SEALANE_SPACE : SEALANE_OK;
        return false;
    }
    if (key->sequence >= key->seal_limit) {
        seal_fail(op, SEALANE_LIMIT);
        return false;
    }
    saying_lay(f, op, say, padding, batch);
    return true;
}

/* ---- What was said ---- */

static sealane_result renewal_said(sealane_session *s)
{
    s->asked |= s->renew_asks;
    s->renew_due = s->renew_asks = false;
    return session_key_renew(s, SEALANE_SEALING);
}

static sealane_result said_note(sealane_session_op *op, const saying *say)
{
    sealane_session *s = op->session;

    switch (say->what) {
    case SAY_DATA:
        op->consumed += say->len;
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
static bool record_said(sealane_session_op *op, const saying *say, const frame *f)
{
    uint8_t *out = op->out + op->produced;
    size_t len = frame_record_len(f, out);

    if (f->op.result != SEALANE_OK) {
        OPENSSL_cleanse(out, len); /* what was to be said may lie there */
        seal_fail(op, f->op.result);
        return false;
    }
    op->produced += len;
    op->result = said_note(op, say);
    return op->result == SEALANE_OK && (op->consumed < op->in_len || sealane_session_wants_seal(op->session));
}

/* ---- Rounds ---- */

static bool op_begin(sealane_session_op *op)
{
    const sealane_session *s = op->session;

    op->consumed = op->produced = 0;
    op->result = SEALANE_ARGUMENT;
    if (s == NULL || (op->in == NULL && op->in_len > 0) || (op->out == NULL && op->out_size > 0))
        return false;
    op->result = SEALANE_OK;
    if (!s->alert_due && op->in_len > 0 && (s->reason != NULL || s->closed))
        op->result = SEALANE_ENDED;
    line_fetch(s->seal_key);
    return op->result == SEALANE_OK;
}

/* Of those that take part, keeps those that have a record: returns how many those are. */
static size_t round_fill(round *r, size_t parts)
{
    const bool batch = parts > 1;
    size_t count = 0;

    for (size_t i = 0; i < parts; i++) {
        sealane_session_op *op = r->ops[i];
        r->ops[count] = op;
        count += record_next(op, &r->sayings[count], &r->frames[count], batch);
    }
    return count;
}

/* Of those that had one, keeps those that go on. */
static size_t round_note(round *r, size_t parts)
{
    size_t count = 0;

    for (size_t i = 0; i < parts; i++) {
        sealane_session_op *op = r->ops[i];
        r->ops[count] = op;
        count += record_said(op, &r->sayings[i], &r->frames[i]);
    }
    return count;
}

static void portion_seal(sealane_session_op ops[], size_t op_count)
{
    size_t count = 0;
    round r;

    for (size_t i = 0; i < op_count; i++) {
        r.ops[count] = &ops[i];
        count += op_begin(&ops[i]);
    }
    while ((count = round_fill(&r, count)) > 0) {
        frames_run(r.frames, count, true);
        count = round_note(&r, count);
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
