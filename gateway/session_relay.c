/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The next hop of a session: which one, what becomes of its answers, and where to turn when it fails.
 *
 * Recipients that the sender was told 250 for are remembered until DATA. So a transaction can be told again, as far as
 * it has come, to another next hop: to the fallback when the first is down, to the queue when it is down or when a
 * recipient needs another route (an MTA with a queue, which sends each copy back through us). What comes from the
 * queue never goes to it.
 */
#include "hop.h"
#include "log.h"
#include "routing.h"
#include "session_private.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

static void on_hop(void *owner, enum hop_event event, const struct reply *reply);

void session_release_hop(struct session *s)
{
    if (s->hop != NULL)
        hop_release(s->hop);
    s->hop = NULL;
}

/* ---- Asking ---- */

static bool open_hop(struct session *s)
{
    if (s->hop == NULL)
        s->hop = hop_open(s->loop, s->config, &s->tx->destination, on_hop, s);
    return s->hop != NULL;
}

/* The sender has said DATA already, behind the recipient that is asked for. */
static bool data_follows(const struct session *s)
{
    size_t len;
    const char *next = (const char *)io_peek(s->io, &len);

    return len >= 6 && strncasecmp(next, "DATA\r\n", 6) == 0;
}

/* Out of memory is the one thing that is known at once. */
static bool ask(struct session *s, enum waiting what, const struct path *recipient,
                const struct recipient_parameters *params)
{
    if (!open_hop(s))
        return false;
    session_start_waiting(s, what);
    if (hop_recipient(s->hop, &s->tx->envelope, recipient, params, what == WAIT_RECIPIENT && data_follows(s)))
        return true;
    s->hop = NULL;
    return false;
}

static void answer_recipient(struct session *s, const struct reply *reply)
{
    session_say_reply(s, reply);
    session_stop_waiting(s);
}

static void answer_recipient_text(struct session *s, const char *text)
{
    struct reply reply;

    reply_set(&reply, text);
    answer_recipient(s, &reply);
}

static void ask_recipient(struct session *s)
{
    if (!ask(s, WAIT_RECIPIENT, &s->tx->recipient, &s->tx->recipient_params))
        answer_recipient_text(s, "451 4.3.0 Out of resources, try again later");
}

/* A recipient that is refused here or there. Those who try one after the other are cut off. */
static void refuse_recipient(struct session *s, const struct reply *reply)
{
    s->tx->answer = *reply;
    if (++s->bad_recipients > s->receive->limits.bad_recipients) {
        session_end_transaction(s, RESULT_REFUSED);
        s->waiting = WAIT_NOTHING;
        session_say_goodbye(s, "421 4.7.0 Too many recipients that do not exist");
        return;
    }
    answer_recipient(s, reply);
}

static void refuse_recipient_text(struct session *s, const char *text)
{
    struct reply reply;

    reply_set(&reply, text);
    refuse_recipient(s, &reply);
}

/* ---- Telling it again ---- */

static bool may_queue(const struct session *s)
{
    size_t queue = session_settings(s)->queue;

    return queue != SETTINGS_NONE && !s->receive->from_queue && s->tx->destination.send != queue;
}

/* All of it is in vain: this command gets the answer, and so do those to come. */
static void give_up(struct session *s, const struct reply *reply)
{
    bool in_data = s->tx->replay_data || s->waiting == WAIT_DATA;

    session_release_hop(s);
    s->tx->refused = true;
    s->tx->verdict = *reply;
    if (in_data) {
        session_say_reply(s, reply);
        session_end_transaction(s, RESULT_DEFERRED);
        s->state = SESSION_READY;
        session_stop_waiting(s);
        session_leave_if_draining(s);
    } else {
        answer_recipient(s, reply);
    }
}

static void give_up_text(struct session *s, const char *text)
{
    struct reply reply;

    reply_set(&reply, text);
    give_up(s, &reply);
}

/* The next recipient that another next hop had taken; behind the last one, what was asked when it failed. */
static void replay(struct session *s)
{
    struct transaction *tx = s->tx;

    if (transaction_next_accepted(tx)) {
        if (!ask(s, WAIT_REPLAY, &tx->replayed, &tx->replayed_params))
            give_up_text(s, "451 4.3.0 Out of resources, try again later");
    } else if (tx->replay_data) {
        tx->replay_data = false;
        session_start_waiting(s, WAIT_DATA);
        hop_data(s->hop);
    } else {
        ask_recipient(s);
    }
}

static void turn_to(struct session *s, size_t send)
{
    struct transaction *tx = s->tx;

    session_release_hop(s);
    routing_direct(send, &tx->destination);
    tx->direct = true;
    tx->queued = send == session_settings(s)->queue;
    tx->replay_at = 0;
    count(tx->queued ? &s->loop->counters.queued : &s->loop->counters.fallbacks);
    replay(s);
}

/* Where else this could go, now that the next hop is down; SETTINGS_NONE if nowhere. */
static size_t next_resort(struct session *s)
{
    size_t fallback = session_settings(s)->sends[s->tx->destination.send].fallback;

    if (!s->tx->fell_back && fallback != SETTINGS_NONE &&
        (fallback != session_settings(s)->queue || may_queue(s))) {
        s->tx->fell_back = true;
        return fallback;
    }
    return may_queue(s) ? session_settings(s)->queue : SETTINGS_NONE;
}

/* The next hop may have left since the last recipient: then a new connection is told all of it. */
static void ask_or_replay(struct session *s)
{
    if (s->hop != NULL) {
        ask_recipient(s);
        return;
    }
    s->tx->replay_at = 0;
    replay(s);
}

/* ---- For the dialogue ---- */

static bool is_domain_for_mx(const char *domain)
{
    if (domain[0] == '\0' || domain[0] == '[')
        return false;
    for (; *domain != '\0'; domain++)
        if (*domain & 0x80)
            return false;
    return true;
}

void session_relay_recipient(struct session *s)
{
    struct transaction *tx = s->tx;
    const struct origin origin = {
        .connector = s->connector, .client = &io_facts(s->io)->peer, .from = &tx->envelope.from};
    struct destination wanted;

    if (tx->direct) { /* the queue or a fallback takes what comes */
        ask_or_replay(s);
    } else if (!routing_choose(session_settings(s), &origin, &tx->recipient, &wanted)) {
        refuse_recipient_text(s, "550 5.7.1 No mail is relayed there");
    } else if (session_settings(s)->sends[wanted.send].mx && !is_domain_for_mx(wanted.domain)) {
        refuse_recipient_text(s, "550 5.1.2 Recipient's domain must be a host name in ASCII");
    } else if (tx->accepted == 0) {
        if (tx->has_destination && !destination_equal(&tx->destination, &wanted))
            session_release_hop(s);
        tx->destination = wanted;
        tx->has_destination = true;
        ask_recipient(s);
    } else if (destination_equal(&tx->destination, &wanted)) {
        ask_or_replay(s);
    } else if (may_queue(s)) {
        turn_to(s, session_settings(s)->queue);
    } else {
        answer_recipient_text(s,
                              "452 4.5.3 One destination at a time: send this recipient's copy separately");
    }
}

void session_relay_data(struct session *s)
{
    if (s->hop == NULL) {
        s->tx->replay_at = 0;
        s->tx->replay_data = true;
        replay(s);
        return;
    }
    session_start_waiting(s, WAIT_DATA);
    hop_data(s->hop);
}

/* ---- Events ---- */

static void on_recipient_reply(struct session *s, const struct reply *reply)
{
    if (s->waiting == WAIT_REPLAY) {
        s->tx->answer = *reply;
        if (reply->code < 300)
            replay(s);
        else
            give_up_text(s, "451 4.4.0 The next hop is down and another does not take its recipients");
        return;
    }
    if (reply->code >= 300) {
        refuse_recipient(s, reply);
        return;
    }
    s->tx->answer = *reply;
    if (!transaction_accept(s->tx)) {
        /* The next hop has it and we have not: it could not be told again. */
        give_up_text(s, "451 4.3.0 Out of resources, try again later");
        return;
    }
    s->state = SESSION_RCPT;
    answer_recipient(s, reply);
}

static void on_data_reply(struct session *s, const struct reply *reply)
{
    s->tx->answer = *reply;
    if (reply->code == 354) {
        session_begin_content(s);
        return;
    }
    s->tx->verdict = *reply;
    session_say_reply(s, reply);
    session_end_transaction(s, reply->code < 500 ? RESULT_DEFERRED : RESULT_REFUSED);
    session_release_hop(s);
    s->state = SESSION_READY;
    session_stop_waiting(s);
    session_leave_if_draining(s);
}

/* The connection that the next hop closed between two transactions is not worth a word to the sender: ask
 * anew. */
static bool try_again(struct session *s, bool was_reused)
{
    if (!was_reused || s->waiting != WAIT_RECIPIENT || s->tx->accepted > 0)
        return false;
    ask_recipient(s);
    return true;
}

static bool try_elsewhere(struct session *s, enum hop_failure failure)
{
    size_t send;

    /* Unless its TLS was the reason (an enforced level never falls back) or the domain itself. */
    if (failure != HOP_FAILURE_DOWN && failure != HOP_FAILURE_LOST)
        return false;
    if (s->waiting != WAIT_RECIPIENT && s->waiting != WAIT_REPLAY && s->waiting != WAIT_DATA)
        return false;
    send = next_resort(s);
    if (send == SETTINGS_NONE)
        return false;
    s->tx->replay_data |= s->waiting == WAIT_DATA;
    turn_to(s, send);
    return true;
}

static void on_hop_failed(struct session *s, const struct reply *reply)
{
    bool finishing = hop_is_finishing(s->hop), reused = hop_is_reused(s->hop);
    enum hop_failure failure = hop_failure(s->hop);

    if (s->tx == NULL) { /* between transactions */
        s->hop = NULL;
        return;
    }
    transaction_note_hop(s->tx, s->hop);
    snprintf(s->tx->error, sizeof s->tx->error, "%s", hop_error(s->hop));
    s->hop = NULL;
    if (try_again(s, reused) || try_elsewhere(s, failure))
        return;
    switch (s->waiting) {
    case WAIT_RECIPIENT:
        if (failure == HOP_FAILURE_DOMAIN)
            refuse_recipient(s, reply);
        else /* for those accepted before as well, and for those to come: one answer is enough, one wait too */
            give_up(s, reply);
        break;
    case WAIT_REPLAY:
    case WAIT_DATA:
        give_up(s, reply);
        break;
    case WAIT_FINAL:
        if (finishing)
            session_note_possible_duplicate(s, s->tx->id,
                                            "the next hop left before its answer to the final dot");
        session_finish_message(s, reply);
        break;
    case WAIT_ROOM:
    case WAIT_NOTHING:
        if (s->state != SESSION_DATA) /* nothing is lost yet: ask_or_replay */
            break;
        s->tx->refused = true;
        s->tx->verdict = *reply;
        session_resume_content(s);
        break;
    case WAIT_PROXY:
    case WAIT_SECURED:
        break;
    }
}

static void on_hop(void *owner, enum hop_event event, const struct reply *reply)
{
    struct session *s = owner;

    switch (event) {
    case HOP_RECIPIENT:
        on_recipient_reply(s, reply);
        break;
    case HOP_DATA:
        on_data_reply(s, reply);
        break;
    case HOP_ROOM:
        session_resume_content(s);
        break;
    case HOP_FINAL:
        s->tx->answer = *reply;
        session_finish_message(s, reply);
        break;
    case HOP_FAILED:
        on_hop_failed(s, reply);
        break;
    }
}
