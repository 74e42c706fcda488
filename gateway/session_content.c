/* SPDX-License-Identifier: Apache-2.0 */
/* The message itself, on its way from the sender to the next hop; see session_private.h. */
#include "hop.h"
#include "log.h"
#include "session_private.h"

#include <stdio.h>
#include <string.h>

#define RECEIVED_MAX 1024u

/* ---- The minimum rate ---- */

static void resume_rate(struct session *s)
{
    s->window_began = loop_now(s->loop);
}

static void pause_rate(struct session *s)
{
    if (s->window_began != 0)
        s->window_ms += loop_now(s->loop) - s->window_began;
    s->window_began = 0;
}

static void watch_rate(struct session *s)
{
    resume_rate(s);
    session_stop_waiting(s);
    io_deadline(s->io, session_settings(s)->timeouts.rate_window);
}

void session_judge_rate(struct session *s)
{
    uint64_t window = (uint64_t)session_settings(s)->timeouts.rate_window * 1000;

    pause_rate(s);
    if (s->window_ms >= window) {
        if (s->window_bytes * 1000 < (uint64_t)s->receive->limits.minimum_rate * s->window_ms) {
            session_end_transaction(s, RESULT_LOST);
            session_say_goodbye(s, "421 4.4.2 Too slow");
            return;
        }
        s->window_ms = s->window_bytes = 0;
    }
    resume_rate(s);
    io_deadline(s->io, session_settings(s)->timeouts.rate_window);
}

/* ---- The beginning ---- */

void session_begin_content(struct session *s)
{
    const struct limits *l = &s->receive->limits;
    struct content_limits limits = {.line = (size_t)l->line,
                                    .header = (size_t)l->header_size,
                                    .hops = (unsigned)l->hops,
                                    .message = (uint64_t)l->message_size};

    /* What the queue has had before is not given to it again, whatever came in between: no loop can form. */
    if (s->tx->queued) {
        transaction_queue_mark(session_settings(s)->hostname, s->tx->mark, sizeof s->tx->mark);
        limits.mark = s->tx->mark;
    }
    content_start(&s->tx->content, &limits);
    session_say(s, "354 Go ahead, end with <CRLF>.<CRLF>");
    s->state = SESSION_DATA;
    s->window_ms = s->window_bytes = 0;
    watch_rate(s);
}

/* ---- The stream ---- */

/* Our Received field goes out with the first of the message, not alone. */
static void put_received(struct session *s)
{
    struct sender sender = session_sender(s);
    char received[RECEIVED_MAX];

    s->tx->received_put = true;
    hop_write(s->hop, received,
              transaction_received(s->tx, &sender, session_settings(s)->hostname, received, sizeof received));
}

void session_refuse_content(struct session *s, const struct reply *verdict)
{
    if (s->tx->refused)
        return;
    s->tx->refused = true;
    s->tx->verdict = *verdict;
    if (s->hop != NULL) {
        transaction_note_hop(s->tx, s->hop);
        hop_abort(s->hop);
        s->hop = NULL;
    }
}

static void wait_for_room(struct session *s)
{
    pause_rate(s);
    session_start_waiting(s, WAIT_ROOM);
    hop_wait_room(s->hop);
}

void session_resume_content(struct session *s)
{
    if (s->waiting == WAIT_ROOM)
        watch_rate(s);
}

static void finish_content(struct session *s)
{
    if (s->tx->refused) {
        struct reply verdict = s->tx->verdict;
        session_finish_message(s, &verdict);
        return;
    }
    pause_rate(s);
    session_start_waiting(s, WAIT_FINAL);
    hop_finish(s->hop);
}

static void judge_content(struct session *s)
{
    struct reply verdict;

    if (s->tx->content.fault == CONTENT_OK || s->tx->refused)
        return;
    reply_set(&verdict, content_fault_reply(s->tx->content.fault));
    session_refuse_content(s, &verdict);
}

bool session_take_content(struct session *s)
{
    size_t len, room, taken;
    const uint8_t *bytes = io_peek(s->io, &len);
    bool end;

    if (len == 0)
        return false;
    if (!s->tx->received_put && !s->tx->refused)
        put_received(s);
    room = s->tx->refused ? len : hop_room(s->hop);
    if (room == 0) {
        wait_for_room(s);
        return false;
    }
    taken = content_scan(&s->tx->content, bytes, len < room ? len : room, &end);
    /* The scanner keeps up to two bytes back that may become the end: with less room it would never see it.
     */
    if (taken == 0 && !end && len > room) {
        wait_for_room(s);
        return false;
    }
    s->window_bytes += taken;
    judge_content(s);
    if (!s->tx->refused)
        hop_write(s->hop, bytes, taken);
    io_drop(s->io, taken + (end ? 3 : 0));
    /* Who goes on long after the message was too big anyway is not listened to any longer. */
    if (s->tx->refused && s->tx->content.size > 2 * (uint64_t)s->receive->limits.message_size) {
        session_say_reply(s, &s->tx->verdict);
        session_end_transaction(s, RESULT_REFUSED);
        session_end(s, GOODBYE);
        return false;
    }
    if (end)
        finish_content(s);
    return taken > 0 || end;
}

/* ---- The end ---- */

static enum transaction_result result_of(int code)
{
    return code < 300 ? RESULT_DELIVERED : code < 500 ? RESULT_DEFERRED : RESULT_REFUSED;
}

/* The answer's record names the backend in the log, so it is sealed here and now. */
void session_finish_message(struct session *s, const struct reply *reply)
{
    enum transaction_result result = result_of(reply->code);

    s->tx->verdict = *reply;
    s->state = SESSION_READY;
    s->waiting = WAIT_NOTHING;
    s->messages++;
    s->vain = 0;
    pause_rate(s);
    session_say_reply(s, reply); /* to one that is gone too: it may have closed only its half */
    if (io_facts(s->io)->secured)
        s->tx->sealed_by = io_sealed_by(s->io);
    snprintf(s->last_id, sizeof s->last_id, "%s", s->tx->id);
    s->unconfirmed = result == RESULT_DELIVERED;
    session_end_transaction(s, result);
    session_release_hop(s);
    if (s->sender_gone) {
        if (result == RESULT_DELIVERED)
            session_note_possible_duplicate(s, s->last_id, "the sender left before the next hop's answer");
        session_end(s, GOODBYE);
        return;
    }
    session_stop_waiting(s);
    session_leave_if_draining(s);
}
