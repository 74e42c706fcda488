/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A sender's connection: TLS, deadlines, its end; see session.h. Who may have one: session_admit.c.
 *
 * The one promise of all session_*.c: 250 to the final dot is said only when the next hop has said 2xx to ours. In all
 * other cases the next hop gets no final dot, or the sender is told 4xx or 5xx and keeps the message.
 */
#include "session.h"
#include "hop.h"
#include "log.h"
#include "peers.h"
#include "session_private.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define HOLD_MS 1000 /* see hold_answers */

struct sender session_sender(const struct session *s)
{
    return (struct sender){.receive = s->receive,
                           .peer = io_peer(s->io),
                           .helo = s->helo,
                           .facts = io_facts(s->io),
                           .esmtp = s->esmtp};
}

/* ---- Ends ---- */

/* The sender may send again what the next hop already has (RFC 1047): the only kind of harm we can do. */
void session_note_possible_duplicate(struct session *s, const char *id, const char *why)
{
    struct log_line line;

    count(&s->loop->counters.possible_duplicates);
    log_begin(&line, "possible_duplicate");
    log_text(&line, "id", id);
    log_text(&line, "connector", s->receive->name);
    log_text(&line, "peer", io_peer(s->io));
    log_text(&line, "why", why);
    log_end(&line);
}

static void leave_list(struct session *s)
{
    if (s->previous != NULL)
        s->previous->next = s->next;
    else
        s->loop->sessions = s->next;
    if (s->next != NULL)
        s->next->previous = s->previous;
    atomic_fetch_sub_explicit(&s->loop->session_count, 1, memory_order_relaxed);
}

void session_end(struct session *s, enum goodbye goodbye)
{
    struct loop *loop = s->loop;

    if (s->io == NULL)
        return;
    session_release_hop(s);
    transaction_free(s->tx);
    s->tx = NULL;
    if (goodbye == GOODBYE)
        io_close(s->io);
    else
        io_abort(s->io);
    s->io = NULL;
    if (s->admitted)
        peers_leave(loop->gateway->peers, s->config->connectors[s->connector], &s->address);
    atomic_fetch_sub(&s->config->connectors[s->connector]->open, 1);
    leave_list(s);
    config_drop(s->config);
    loop_bury(loop, &s->grave);
}

/* ---- Replies ---- */

void session_say_reply(struct session *s, const struct reply *reply)
{
    char text[REPLY_OUT_MAX];

    io_write(s->io, text, reply_format(reply, text, sizeof text));
}

void session_say(struct session *s, const char *line)
{
    io_write(s->io, line, strlen(line));
    io_write(s->io, "\r\n", 2);
}

void session_say_goodbye(struct session *s, const char *line)
{
    session_say(s, line);
    session_end(s, GOODBYE);
}

bool session_bears_error(struct session *s)
{
    if (++s->errors <= s->receive->limits.errors)
        return true;
    session_end_transaction(s, RESULT_ABORTED);
    session_say_goodbye(s, "421 4.7.0 Too many errors");
    return false;
}

void session_say_error(struct session *s, const char *line)
{
    if (session_bears_error(s))
        session_say(s, line);
}

static bool is_idle(const struct session *s)
{
    return s->waiting == WAIT_NOTHING && (s->state == SESSION_START || s->state == SESSION_READY);
}

void session_leave_if_draining(struct session *s)
{
    if (s->io != NULL && s->loop->draining && is_idle(s))
        session_say_goodbye(s, "421 4.3.2 Service is closing");
}

void session_stop_waiting(struct session *s)
{
    s->waiting = WAIT_NOTHING;
    io_hold(s->io, false);
    io_deadline(s->io, session_settings(s)->timeouts.command);
    io_resume(s->io);
}

void session_start_waiting(struct session *s, enum waiting what)
{
    s->waiting = what;
    io_deadline(s->io, 0); /* the next hop's deadline counts now */
    io_pause(s->io);
}

/* ---- TLS ---- */

/* True if a signature failed a moment ago: the handshake would only fail again (RFC 3207, 4: 454). */
static bool key_is_failing(const struct session *s)
{
    uint64_t failed = atomic_load(&s->config->connectors[s->connector]->key_failed_at);
    uint64_t retry = (uint64_t)session_settings(s)->timeouts.key_retry * 1000;

    return failed != 0 && loop_now(s->loop) < failed + retry;
}

static bool may_secure(struct session *s, const struct tls_server *server)
{
    if (io_may_sign(s->io, server) && !key_is_failing(s) &&
        peers_handshake(s->loop->gateway->peers, s->config->connectors[s->connector], &s->address,
                        loop_now(s->loop), s->receive->limits.handshakes_per_second))
        return true;
    count(&s->loop->counters.handshakes_refused);
    return false;
}

bool session_secure(struct session *s, bool implicit)
{
    const struct tls_server *server = &s->config->tls.servers[s->connector];

    if (!may_secure(s, server))
        return false;
    if (!implicit)
        session_say(s, "220 2.0.0 Ready to start TLS");
    s->waiting = WAIT_SECURED;
    io_deadline(s->io, session_settings(s)->timeouts.handshake);
    if (!io_secure_server(s->io, server, implicit))
        session_end(s, NO_GOODBYE);
    return true;
}

static void log_handshake_failure(struct session *s)
{
    struct log_line line;

    log_begin(&line, "handshake_failed");
    log_text(&line, "connector", s->receive->name);
    log_text(&line, "peer", io_peer(s->io));
    log_text(&line, "helo", s->helo[0] != '\0' ? s->helo : NULL);
    log_text(&line, "reason", io_error(s->io)[0] != '\0' ? io_error(s->io) : "timed out");
    log_end(&line);
    count(&s->loop->counters.handshakes_failed);
    if (!io_key_failed(s->io))
        return;
    count(&s->loop->counters.key_failures);
    atomic_store(&s->config->connectors[s->connector]->key_failed_at, loop_now(s->loop));
}

static void on_secured(struct session *s)
{
    count(&s->loop->counters.handshakes);
    if (io_facts(s->io)->resumed)
        count(&s->loop->counters.resumed);
    atomic_store(&s->config->connectors[s->connector]->key_failed_at, 0);
    s->state = SESSION_START; /* RFC 3207, 4.2: what was said before counts for nothing */
    s->helo[0] = '\0';
    s->esmtp = s->dsn = false;
    session_stop_waiting(s);
    if (s->receive->implicit)
        session_say_banner(s);
    session_leave_if_draining(s);
}

/* ---- Events ---- */

/*
 * RFC 2920, 3.2: the answers to commands that came together go out together. While the next hop is asked for the second,
 * the first one's answer waits; unless that takes long, since each must come within the sender's patience.
 */
static void hold_answers(struct session *s)
{
    uint64_t now = loop_now(s->loop);
    bool asking = s->waiting == WAIT_RECIPIENT || s->waiting == WAIT_DATA;

    if (!asking)
        s->held_since = 0;
    else if (s->held_since == 0)
        s->held_since = now;
    io_hold(s->io, asking && now - s->held_since < HOLD_MS);
}

static void take_lines(struct session *s)
{
    bool more = true;

    while (more && s->io != NULL && s->waiting == WAIT_NOTHING) {
        if (io_room(s->io) < REPLY_OUT_MAX) { /* it does not read our answers: nothing more is looked at */
            io_pause(s->io);
            io_wait_room(s->io);
            return;
        }
        more = s->state == SESSION_DATA ? session_take_content(s) : session_take_command(s);
    }
}

static void take_input(struct session *s)
{
    if (s->waiting == WAIT_PROXY) {
        session_take_proxy(s);
        return;
    }
    take_lines(s);
    if (s->io != NULL)
        hold_answers(s);
}

static void on_sender_gone(struct session *s, bool broken)
{
    if (s->waiting == WAIT_SECURED)
        log_handshake_failure(s);
    if (s->waiting == WAIT_FINAL) {
        /* The next hop decides about the message now; then it is logged, and counted if it was taken. */
        s->sender_gone = true;
        return;
    }
    if (s->unconfirmed && broken)
        session_note_possible_duplicate(s, s->last_id,
                                        "the connection broke before the sender took our answer");
    session_end_transaction(s, RESULT_LOST);
    session_end(s, broken && s->waiting != WAIT_SECURED ? NO_GOODBYE : GOODBYE);
}

static void on_timeout(struct session *s)
{
    if (s->waiting == WAIT_SECURED) {
        log_handshake_failure(s);
        session_end(s, NO_GOODBYE);
    } else if (s->waiting == WAIT_PROXY) {
        session_refuse_proxy(s, "no PROXY header in time");
    } else if (s->state == SESSION_DATA) {
        session_judge_rate(s);
    } else {
        session_end_transaction(s, RESULT_LOST);
        session_say_goodbye(s, "421 4.4.2 Timed out");
    }
}

static void on_io(void *owner, enum io_event event)
{
    struct session *s = owner;

    switch (event) {
    case IO_CONNECTED:
        break;
    case IO_SECURED:
        on_secured(s);
        break;
    case IO_INPUT:
        s->unconfirmed = false;
        take_input(s);
        break;
    case IO_ROOM:
        if (s->waiting == WAIT_NOTHING)
            io_resume(s->io);
        break;
    case IO_EOF:
        on_sender_gone(s, false);
        break;
    case IO_FAILED:
        on_sender_gone(s, true);
        break;
    case IO_TIMEOUT:
        on_timeout(s);
        break;
    }
}

/* ---- For the loop ---- */

void session_start(struct loop *loop, struct config *config, size_t connector, int fd)
{
    struct session *s = calloc(1, sizeof *s);

    count(&loop->counters.connections);
    if (s != NULL)
        s->io = io_accept(loop, config, fd, on_io, s);
    if (s == NULL || s->io == NULL) {
        count(&loop->counters.refused_connections);
        free(s);
        return;
    }
    s->loop = loop;
    s->config = config_hold(config);
    s->connector = connector;
    s->receive = &config->settings.receives[connector];
    s->began = loop_now(loop);
    s->next = loop->sessions;
    if (loop->sessions != NULL)
        loop->sessions->previous = s;
    loop->sessions = s;
    atomic_fetch_add_explicit(&loop->session_count, 1, memory_order_relaxed);
    atomic_fetch_add(&config->connectors[connector]->open, 1);

    session_admit(s);
}

void session_drain_all(struct loop *loop)
{
    for (struct session *s = loop->sessions, *next; s != NULL; s = next) {
        next = s->next;
        session_leave_if_draining(s);
    }
}

void session_abort_all(struct loop *loop)
{
    while (loop->sessions != NULL) {
        struct session *s = loop->sessions;
        session_end_transaction(s, RESULT_LOST);
        session_end(s, NO_GOODBYE);
    }
}
