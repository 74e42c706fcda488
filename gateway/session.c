/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The SMTP server side; see session.h.
 *
 * The state machine is the table `handlers`: a row for each verb, a column for each state. While the next hop
 * is asked something, `waiting` says for what, the connection is paused, and no command is looked at: so
 * pipelined commands are worked off one by one, each after the answer to the one before (RFC 2920).
 *
 * The one promise: 250 to the final dot is said only when the next hop has said 2xx to ours. In all other
 * cases the next hop gets no final dot, or the sender is told 4xx or 5xx and keeps the message.
 */
#include "session.h"
#include "command.h"
#include "io.h"
#include "log.h"
#include "loop.h"
#include "transaction.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define RECEIVED_MAX 1024u

enum state {
    STATE_START, /* not greeted, or not since STARTTLS */
    STATE_READY, /* greeted, no transaction */
    STATE_MAIL,  /* a sender, no recipient yet */
    STATE_RCPT,  /* at least one recipient was accepted */
    STATE_DATA,  /* the message itself: no commands */
    STATE_COUNT = STATE_DATA,
};

enum waiting {
    WAIT_NOTHING,
    WAIT_RECIPIENT, /* the next hop's answer to RCPT */
    WAIT_DATA,      /* ... to DATA */
    WAIT_ROOM,      /* the next hop to take what it was sent */
    WAIT_FINAL,     /* ... its answer to the final dot */
    WAIT_SECURED,   /* the handshake */
};

struct session {
    struct grave grave;
    struct session *next, *previous; /* loop->sessions */
    struct loop *loop;
    size_t connector;
    const struct receive_settings *receive;
    struct io *io;   /* NULL when it is over */
    struct hop *hop; /* NULL before the first recipient, and after it broke */
    enum state state;
    enum waiting waiting;
    char helo[DOMAIN_MAX_LEN + 1];
    bool esmtp;
    bool sender_gone; /* while we waited; it will not hear our answer */
    bool unconfirmed; /* our 250 was written, and nothing heard from the sender since */
    char last_id[32]; /* of the message that this is about */
    long errors, bad_recipients;
    struct transaction tx;

    /* The minimum rate: bytes of DATA, and the time that the sender (not the next hop) had for them. */
    uint64_t window_began; /* loop_now; 0 while we are the ones who wait */
    uint64_t window_ms, window_bytes;
};

static void on_io(void *owner, enum io_event event);
static void on_hop(void *owner, enum hop_event event, const struct reply *reply);

static const struct settings *settings_of(const struct session *s)
{
    return s->loop->gateway->settings;
}

static struct sender sender_of(const struct session *s)
{
    return (struct sender){.receive = s->receive,
                           .peer = io_peer(s->io),
                           .helo = s->helo,
                           .facts = io_facts(s->io),
                           .esmtp = s->esmtp};
}

/* ---- Ends ---- */

static void end_transaction(struct session *s, enum transaction_result result)
{
    struct sender sender = sender_of(s);

    if (s->hop != NULL && s->tx.route != NULL)
        transaction_note_hop(&s->tx, s->hop);
    transaction_end(&s->tx, s->loop, &sender, result);
}

/* The sender may send again what the next hop already has (RFC 1047): the only kind of harm we can do. */
static void note_possible_duplicate(struct session *s, const char *id, const char *why)
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

enum goodbye { GOODBYE, NO_GOODBYE };

static void end_session(struct session *s, enum goodbye goodbye)
{
    struct loop *loop = s->loop;

    if (s->io == NULL)
        return;
    if (s->hop != NULL)
        hop_release(s->hop);
    s->hop = NULL;
    if (goodbye == GOODBYE)
        io_close(s->io);
    else
        io_abort(s->io);
    s->io = NULL;

    atomic_fetch_sub(&loop->gateway->open_connections[s->connector], 1);
    if (s->previous != NULL)
        s->previous->next = s->next;
    else
        loop->sessions = s->next;
    if (s->next != NULL)
        s->next->previous = s->previous;
    loop_bury(loop, &s->grave);
}

/* ---- Replies ---- */

static void say_reply(struct session *s, const struct reply *reply)
{
    char text[REPLY_OUT_MAX];

    io_write(s->io, text, reply_format(reply, text, sizeof text));
}

/* One line of our own, complete but for its CRLF. */
static void say(struct session *s, const char *line)
{
    io_write(s->io, line, strlen(line));
    io_write(s->io, "\r\n", 2);
}

static void say_goodbye(struct session *s, const char *line)
{
    say(s, line);
    end_session(s, GOODBYE);
}

/* A command that cannot be obeyed. Those who do nothing else are cut off: it is how servers are probed. */
static void say_error(struct session *s, const char *line)
{
    if (++s->errors > s->receive->limits.errors) {
        end_transaction(s, RESULT_ABORTED);
        say_goodbye(s, "421 4.7.0 Too many errors");
    } else {
        say(s, line);
    }
}

static bool is_idle(const struct session *s)
{
    return s->waiting == WAIT_NOTHING && (s->state == STATE_START || s->state == STATE_READY);
}

/* After a transaction, and when told to: leave if the gateway is about to stop. */
static void leave_if_draining(struct session *s)
{
    if (s->io != NULL && s->loop->draining && is_idle(s))
        say_goodbye(s, "421 4.3.2 Service is closing");
}

/* ---- Transactions ---- */

/* What to call a transaction that the sender gives up: mostly it does so because we refused all recipients.
 */
static enum transaction_result abandoned_result(const struct session *s)
{
    int code = s->tx.verdict.code != 0 ? s->tx.verdict.code : s->tx.answer.code;

    if (s->tx.recipients > 0 || code < 400)
        return RESULT_ABORTED;
    return code < 500 ? RESULT_DEFERRED : RESULT_REFUSED;
}

/* Gives the open transaction up, here and at the next hop. */
static void drop_transaction(struct session *s)
{
    end_transaction(s, abandoned_result(s));
    if (s->hop != NULL)
        hop_reset(s->hop);
    if (s->state > STATE_READY)
        s->state = STATE_READY;
}

static void stop_waiting(struct session *s)
{
    s->waiting = WAIT_NOTHING;
    io_deadline(s->io, settings_of(s)->timeouts.command);
    io_resume(s->io);
}

static void start_waiting(struct session *s, enum waiting what)
{
    s->waiting = what;
    io_deadline(s->io, 0); /* the next hop's deadline counts now */
    io_pause(s->io);
}

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

/* Nothing more of this message goes anywhere: the next hop hears no dot, the sender is told at the end. */
static void refuse_content(struct session *s, const struct reply *verdict)
{
    if (s->tx.refused)
        return;
    s->tx.refused = true;
    s->tx.verdict = *verdict;
    if (s->hop != NULL) {
        transaction_note_hop(&s->tx, s->hop);
        hop_abort(s->hop);
        s->hop = NULL;
    }
}

/* The answer to the final dot. Its record names the backend in the log, so it is sealed here and now. */
static void finish_message(struct session *s, const struct reply *reply)
{
    enum transaction_result result = reply->code < 300   ? RESULT_DELIVERED
                                     : reply->code < 500 ? RESULT_DEFERRED
                                                         : RESULT_REFUSED;

    s->tx.verdict = *reply;
    s->state = STATE_READY;
    s->waiting = WAIT_NOTHING;
    pause_rate(s);
    say_reply(s, reply); /* to one that is gone too: it may have closed only its half */
    io_seal(s->io);
    if (io_facts(s->io)->secured)
        s->tx.sealed_by = tls_sealed_by(s->loop->gateway->tls);
    snprintf(s->last_id, sizeof s->last_id, "%s", s->tx.id);
    s->unconfirmed = result == RESULT_DELIVERED;
    end_transaction(s, result);
    if (s->sender_gone) {
        if (result == RESULT_DELIVERED)
            note_possible_duplicate(s, s->last_id, "the sender left before the next hop's answer");
        end_session(s, GOODBYE);
        return;
    }
    stop_waiting(s);
    leave_if_draining(s);
}

/* ---- Commands ---- */

typedef void (*handler)(struct session *s, const struct command *command);

static bool must_secure(const struct session *s)
{
    return s->receive->tls == TLS_LEVEL_ENCRYPT && !io_facts(s->io)->secured;
}

static bool take_helo_name(struct session *s, const struct command *command)
{
    if (!command_is_helo_name(command->args, command->args_len)) {
        say_error(s, "501 5.5.4 Syntax: your host name or address literal is missing or malformed");
        return false;
    }
    drop_transaction(s);
    memcpy(s->helo, command->args, command->args_len);
    s->helo[command->args_len] = '\0';
    s->state = STATE_READY;
    return true;
}

static void do_ehlo(struct session *s, const struct command *command)
{
    char text[1024];

    if (!take_helo_name(s, command))
        return;
    s->esmtp = true;
    /* SMTPUTF8 is offered before the next hop is known; hop.c refuses before DATA what that one cannot take.
     */
    snprintf(text, sizeof text,
             "250-%s\r\n250-PIPELINING\r\n250-SIZE %ld\r\n250-8BITMIME\r\n250-SMTPUTF8\r\n%s250 "
             "ENHANCEDSTATUSCODES",
             settings_of(s)->hostname, s->receive->limits.message_size,
             io_facts(s->io)->secured ? "" : "250-STARTTLS\r\n"); /* RFC 3207, 4.2: never again after it */
    say(s, text);
}

static void do_helo(struct session *s, const struct command *command)
{
    char text[300];

    if (must_secure(s)) {
        say_error(s, "530 5.7.0 Must issue a STARTTLS command first");
        return;
    }
    if (!take_helo_name(s, command))
        return;
    s->esmtp = false;
    snprintf(text, sizeof text, "250 %s", settings_of(s)->hostname);
    say(s, text);
}

/* True if a signature failed a moment ago: the handshake would only fail again (RFC 3207, 4: 454). */
static bool key_is_failing(const struct session *s)
{
    uint64_t failed = atomic_load(&s->loop->gateway->key_failed_at[s->connector]);
    uint64_t retry = (uint64_t)settings_of(s)->timeouts.key_retry * 1000;
    return failed != 0 && loop_now(s->loop) < failed + retry;
}

static void do_starttls(struct session *s, const struct command *command)
{
    const struct tls_server *server = &s->loop->gateway->tls->servers[s->connector];
    size_t more;

    (void)io_peek(s->io, &more);
    if (io_facts(s->io)->secured) {
        say_error(s, "503 5.5.1 TLS is already active");
    } else if (command->args_len > 0) {
        say_error(s, "501 5.5.4 STARTTLS takes no parameters");
    } else if (more > 0) {
        /* CVE-2011-0411: sent in the clear, it would be obeyed as if it had come through TLS. */
        drop_transaction(s);
        say_goodbye(s, "554 5.5.1 Nothing may follow STARTTLS before its answer");
    } else if (!io_may_sign(s->io) || key_is_failing(s)) {
        say(s, "454 4.7.0 TLS is not available at the moment");
    } else {
        drop_transaction(s);
        say(s, "220 2.0.0 Ready to start TLS");
        s->waiting = WAIT_SECURED;
        io_deadline(s->io, settings_of(s)->timeouts.handshake);
        if (!io_secure_server(s->io, server))
            end_session(s, NO_GOODBYE);
    }
}

static void do_mail(struct session *s, const struct command *command)
{
    struct envelope *envelope = &s->tx.envelope;
    const char *wrong;

    if (s->loop->draining) {
        say_goodbye(s, "421 4.3.2 Service is closing");
        return;
    }
    transaction_start(&s->tx, s->loop);
    wrong = command_parse_mail(command->args, command->args_len, &envelope->from, &envelope->params);
    if (wrong == NULL && !s->esmtp &&
        (envelope->params.has_size || envelope->params.has_body || envelope->params.smtputf8))
        wrong = "555 5.5.4 Parameters need EHLO";
    if (wrong == NULL && envelope->params.size > (uint64_t)s->receive->limits.message_size)
        wrong = "552 5.3.4 Message too big";
    if (wrong != NULL) {
        s->tx.open = false;
        say_error(s, wrong);
        return;
    }
    s->state = STATE_MAIL;
    say(s, "250 2.1.0 Sender taken");
}

/* The first recipient chooses the route; there is one. */
static size_t choose_route(const struct session *s)
{
    (void)s;
    return 0;
}

static void ask_recipient(struct session *s)
{
    if (s->hop == NULL) {
        size_t route = choose_route(s);
        s->hop = hop_open(s->loop, route, on_hop, s);
        if (s->hop == NULL) {
            say(s, "451 4.3.0 Out of resources, try again later");
            return;
        }
    }
    s->tx.route = &settings_of(s)->routes[choose_route(s)];
    start_waiting(s, WAIT_RECIPIENT);
    hop_recipient(s->hop, &s->tx.envelope, &s->tx.recipient);
}

static void do_rcpt(struct session *s, const struct command *command)
{
    const char *wrong = command_parse_rcpt(command->args, command->args_len, &s->tx.recipient);

    if (wrong == NULL && s->tx.recipient.utf8 && !s->tx.envelope.params.smtputf8)
        wrong = "553 5.6.7 Non-ASCII address needs SMTPUTF8";
    if (wrong != NULL)
        say_error(s, wrong);
    else if (s->tx.recipients >= s->receive->limits.recipients)
        say(s, "452 4.5.3 Too many recipients");
    else if (s->tx.refused) /* the next hop is away */
        say_reply(s, &s->tx.verdict);
    else
        ask_recipient(s);
}

static void do_data(struct session *s, const struct command *command)
{
    if (command->args_len > 0) {
        say_error(s, "501 5.5.4 DATA takes no parameters");
    } else if (s->tx.refused || s->hop == NULL) {
        say_reply(s, &s->tx.verdict);
        end_transaction(s, RESULT_DEFERRED);
        s->state = STATE_READY;
        leave_if_draining(s);
    } else {
        start_waiting(s, WAIT_DATA);
        hop_data(s->hop);
    }
}

static void do_rset(struct session *s, const struct command *command)
{
    if (command->args_len > 0) {
        say_error(s, "501 5.5.4 RSET takes no parameters");
        return;
    }
    drop_transaction(s);
    say(s, "250 2.0.0 Reset");
    leave_if_draining(s);
}

static void do_noop(struct session *s, const struct command *command)
{
    (void)command;
    say(s, "250 2.0.0 Nothing done");
}

static void do_vrfy(struct session *s, const struct command *command)
{
    (void)command;
    say(s, "252 2.5.2 Try it by sending mail");
}

static void do_quit(struct session *s, const struct command *command)
{
    (void)command;
    drop_transaction(s);
    say_goodbye(s, "221 2.0.0 Bye");
}

static void need_hello(struct session *s, const struct command *command)
{
    (void)command;
    say_error(s, "503 5.5.1 Send EHLO first");
}

static void need_mail(struct session *s, const struct command *command)
{
    (void)command;
    say_error(s, "503 5.5.1 Send MAIL first");
}

static void need_rcpt(struct session *s, const struct command *command)
{
    (void)command;
    if (s->tx.verdict.code != 0 && s->tx.refused)
        say_reply(s, &s->tx.verdict);
    else
        say_error(s, "554 5.5.1 No valid recipients");
}

static void nested_mail(struct session *s, const struct command *command)
{
    (void)command;
    say_error(s, "503 5.5.1 One transaction at a time");
}

static void not_offered(struct session *s, const struct command *command)
{
    (void)command;
    say_error(s, "502 5.5.1 Command not implemented");
}

static void unknown(struct session *s, const struct command *command)
{
    (void)command;
    say_error(s, "500 5.5.2 Command not recognised");
}

/* A browser was made to send something here: the lines after this one are no commands either. */
static void is_http(struct session *s, const struct command *command)
{
    (void)command;
    end_transaction(s, RESULT_ABORTED);
    say_goodbye(s, "554 5.5.1 This is not a web server");
}

static const handler handlers[VERB_COUNT][STATE_COUNT] = {
    /*                 START        READY        MAIL         RCPT        */
    [VERB_EHLO] = {do_ehlo, do_ehlo, do_ehlo, do_ehlo},
    [VERB_HELO] = {do_helo, do_helo, do_helo, do_helo},
    [VERB_STARTTLS] = {need_hello, do_starttls, do_starttls, do_starttls},
    [VERB_MAIL] = {need_hello, do_mail, nested_mail, nested_mail},
    [VERB_RCPT] = {need_hello, need_mail, do_rcpt, do_rcpt},
    [VERB_DATA] = {need_hello, need_mail, need_rcpt, do_data},
    [VERB_RSET] = {do_rset, do_rset, do_rset, do_rset},
    [VERB_NOOP] = {do_noop, do_noop, do_noop, do_noop},
    [VERB_VRFY] = {do_vrfy, do_vrfy, do_vrfy, do_vrfy},
    [VERB_QUIT] = {do_quit, do_quit, do_quit, do_quit},
    [VERB_KNOWN] = {not_offered, not_offered, not_offered, not_offered},
    [VERB_HTTP] = {is_http, is_http, is_http, is_http},
    [VERB_OTHER] = {unknown, unknown, unknown, unknown},
};

/* RFC 3207, 4: where TLS is required, all else waits for it. */
static bool needs_no_tls(enum verb verb)
{
    return verb == VERB_EHLO || verb == VERB_STARTTLS || verb == VERB_NOOP || verb == VERB_QUIT ||
           verb == VERB_HTTP;
}

/* ---- Input ---- */

/* One command line. False if there is none (yet), or the session is over. */
static bool take_command(struct session *s)
{
    struct command command;
    const char *line;
    size_t len;

    switch (io_take_line(s->io, (size_t)s->receive->limits.line, &line, &len)) {
    case IO_LINE_NONE:
        return false;
    case IO_LINE_READY:
        break;
    case IO_LINE_TOO_LONG:
        drop_transaction(s);
        say_goodbye(s, "500 5.5.2 Line too long");
        return false;
    case IO_LINE_BROKEN:
        /* Who disagrees with us on where lines end also disagrees on where messages end. */
        drop_transaction(s);
        say_goodbye(s, "550 5.5.2 Bare CR, bare LF or NUL: lines end with CRLF (RFC 5321, 2.3.8)");
        return false;
    }
    io_deadline(s->io, settings_of(s)->timeouts.command);
    command_parse(&command, line, len);
    if (must_secure(s) && !needs_no_tls(command.verb))
        say_error(s, "530 5.7.0 Must issue a STARTTLS command first");
    else
        handlers[command.verb][s->state](s, &command);
    return s->io != NULL;
}

static void finish_content(struct session *s)
{
    if (s->tx.refused) {
        struct reply verdict = s->tx.verdict;
        finish_message(s, &verdict);
        return;
    }
    pause_rate(s);
    start_waiting(s, WAIT_FINAL);
    hop_finish(s->hop);
}

/* Passes on what is there, as far as the next hop has room. False if nothing more can be done now. */
static bool take_content(struct session *s)
{
    size_t len, room, taken;
    const uint8_t *bytes = io_peek(s->io, &len);
    bool end;

    if (len == 0)
        return false;
    room = s->tx.refused ? len : hop_room(s->hop);
    if (room == 0) {
        pause_rate(s);
        start_waiting(s, WAIT_ROOM);
        hop_wait_room(s->hop);
        return false;
    }
    taken = content_scan(&s->tx.content, bytes, len < room ? len : room, &end);
    /* The scanner keeps up to two bytes back that may become the end: with less room it would never see it.
     */
    if (taken == 0 && !end && len > room) {
        pause_rate(s);
        start_waiting(s, WAIT_ROOM);
        hop_wait_room(s->hop);
        return false;
    }
    s->window_bytes += taken;
    if (s->tx.content.fault != CONTENT_OK && !s->tx.refused) {
        struct reply verdict;
        reply_set(&verdict, content_fault_reply(s->tx.content.fault));
        refuse_content(s, &verdict);
    }
    if (!s->tx.refused)
        hop_write(s->hop, bytes, taken);
    io_drop(s->io, taken + (end ? 3 : 0));
    /* Who goes on long after the message was too big anyway is not listened to any longer. */
    if (s->tx.refused && s->tx.content.size > 2 * (uint64_t)s->receive->limits.message_size) {
        say_reply(s, &s->tx.verdict);
        end_transaction(s, RESULT_REFUSED);
        end_session(s, GOODBYE);
        return false;
    }
    if (end)
        finish_content(s);
    return taken > 0 || end;
}

static void take_input(struct session *s)
{
    bool more = true;

    while (more && s->io != NULL && s->waiting == WAIT_NOTHING) {
        if (io_room(s->io) < REPLY_OUT_MAX) { /* it does not read our answers: nothing more is looked at */
            io_pause(s->io);
            io_wait_room(s->io);
            return;
        }
        more = s->state == STATE_DATA ? take_content(s) : take_command(s);
    }
}

/* ---- Events of the next hop ---- */

static void on_recipient_reply(struct session *s, const struct reply *reply)
{
    s->tx.answer = *reply;
    if (reply->code < 300) {
        s->tx.recipients++;
        s->state = STATE_RCPT;
    } else if (++s->bad_recipients > s->receive->limits.bad_recipients) {
        end_transaction(s, RESULT_REFUSED);
        s->waiting = WAIT_NOTHING;
        say_goodbye(s, "421 4.7.0 Too many recipients that do not exist");
        return;
    }
    say_reply(s, reply);
    stop_waiting(s);
}

static void on_data_reply(struct session *s, const struct reply *reply)
{
    struct content_limits limits = {.line = (size_t)s->receive->limits.line,
                                    .header = (size_t)s->receive->limits.header_size,
                                    .hops = (unsigned)s->receive->limits.hops,
                                    .message = (uint64_t)s->receive->limits.message_size};
    struct sender sender = sender_of(s);
    char received[RECEIVED_MAX];

    s->tx.answer = *reply;
    if (reply->code != 354) {
        s->tx.verdict = *reply;
        say_reply(s, reply);
        end_transaction(s, reply->code < 500 ? RESULT_DEFERRED : RESULT_REFUSED);
        hop_reset(s->hop);
        s->state = STATE_READY;
        stop_waiting(s);
        leave_if_draining(s);
        return;
    }
    content_start(&s->tx.content, &limits);
    hop_write(s->hop, received,
              transaction_received(&s->tx, &sender, settings_of(s)->hostname, received, sizeof received));
    say(s, "354 Go ahead, end with <CRLF>.<CRLF>");
    s->state = STATE_DATA;
    s->window_ms = s->window_bytes = 0;
    resume_rate(s);
    stop_waiting(s);
    io_deadline(s->io, settings_of(s)->timeouts.rate_window);
}

/* The connection that the next hop closed between two transactions is not worth a word to the sender: ask
 * anew. */
static bool try_again(struct session *s, bool was_reused)
{
    if (!was_reused || s->waiting != WAIT_RECIPIENT || s->tx.recipients > 0)
        return false;
    s->waiting = WAIT_NOTHING;
    ask_recipient(s);
    if (s->waiting == WAIT_NOTHING)
        stop_waiting(s); /* out of memory, and said so */
    return true;
}

static void on_hop_failed(struct session *s, const struct reply *reply)
{
    bool finishing = hop_is_finishing(s->hop), reused = hop_is_reused(s->hop);

    if (s->tx.open && s->tx.route != NULL) {
        transaction_note_hop(&s->tx, s->hop);
        snprintf(s->tx.error, sizeof s->tx.error, "%s", hop_error(s->hop));
    }
    s->hop = NULL;
    if (try_again(s, reused))
        return;
    switch (s->waiting) {
    case WAIT_RECIPIENT:
        /* For those accepted before as well, and for those to come: one answer is enough, one wait too. */
        s->tx.refused = true;
        s->tx.verdict = *reply;
        say_reply(s, reply);
        stop_waiting(s);
        break;
    case WAIT_DATA:
        s->tx.verdict = *reply;
        say_reply(s, reply);
        end_transaction(s, RESULT_DEFERRED);
        s->state = STATE_READY;
        stop_waiting(s);
        leave_if_draining(s);
        break;
    case WAIT_FINAL:
        if (finishing)
            note_possible_duplicate(s, s->tx.id, "the next hop left before its answer to the final dot");
        finish_message(s, reply);
        break;
    case WAIT_ROOM:
    case WAIT_NOTHING:
        if (s->state == STATE_DATA || s->state == STATE_RCPT) {
            s->tx.refused = true;
            s->tx.verdict = *reply;
        }
        if (s->waiting == WAIT_ROOM) {
            resume_rate(s);
            stop_waiting(s);
            io_deadline(s->io, settings_of(s)->timeouts.rate_window);
        }
        break;
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
        if (s->waiting == WAIT_ROOM) {
            resume_rate(s);
            stop_waiting(s);
            io_deadline(s->io, settings_of(s)->timeouts.rate_window);
        }
        break;
    case HOP_FINAL:
        s->tx.answer = *reply;
        finish_message(s, reply);
        break;
    case HOP_FAILED:
        on_hop_failed(s, reply);
        break;
    }
}

/* ---- Events of the sender ---- */

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
    if (io_key_failed(s->io))
        atomic_store(&s->loop->gateway->key_failed_at[s->connector], loop_now(s->loop));
}

static void on_secured(struct session *s)
{
    count(&s->loop->counters.handshakes);
    if (io_facts(s->io)->resumed)
        count(&s->loop->counters.resumed);
    atomic_store(&s->loop->gateway->key_failed_at[s->connector], 0);
    s->state = STATE_START; /* RFC 3207, 4.2: what was said before counts for nothing */
    s->helo[0] = '\0';
    s->esmtp = false;
    stop_waiting(s);
    leave_if_draining(s);
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
        note_possible_duplicate(s, s->last_id, "the connection broke before the sender took our answer");
    end_transaction(s, RESULT_LOST);
    end_session(s, broken && s->waiting != WAIT_SECURED ? NO_GOODBYE : GOODBYE);
}

/* In DATA: was the sender fast enough over a whole window of its own time? */
static void judge_rate(struct session *s)
{
    uint64_t window = (uint64_t)settings_of(s)->timeouts.rate_window * 1000;

    pause_rate(s);
    if (s->window_ms >= window) {
        if (s->window_bytes * 1000 < (uint64_t)s->receive->limits.minimum_rate * s->window_ms) {
            end_transaction(s, RESULT_LOST);
            say_goodbye(s, "421 4.4.2 Too slow");
            return;
        }
        s->window_ms = s->window_bytes = 0;
    }
    resume_rate(s);
    io_deadline(s->io, settings_of(s)->timeouts.rate_window);
}

static void on_timeout(struct session *s)
{
    if (s->waiting == WAIT_SECURED) {
        log_handshake_failure(s);
        end_session(s, NO_GOODBYE);
    } else if (s->state == STATE_DATA) {
        judge_rate(s);
    } else {
        end_transaction(s, RESULT_LOST);
        say_goodbye(s, "421 4.4.2 Timed out");
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

void session_start(struct loop *loop, size_t connector, int fd)
{
    struct session *s = calloc(1, sizeof *s);
    char banner[300];

    count(&loop->counters.connections);
    if (s != NULL)
        s->io = io_accept(loop, fd, on_io, s);
    if (s == NULL || s->io == NULL) {
        count(&loop->counters.refused_connections);
        free(s);
        return;
    }
    s->loop = loop;
    s->connector = connector;
    s->receive = &loop->gateway->settings->receives[connector];
    s->next = loop->sessions;
    if (loop->sessions != NULL)
        loop->sessions->previous = s;
    loop->sessions = s;
    atomic_fetch_add(&loop->gateway->open_connections[connector], 1);

    if (io_spoke_early(s->io)) {
        say_goodbye(s, "554 5.5.1 You spoke before the banner");
        return;
    }
    io_deadline(s->io, loop->gateway->settings->timeouts.command);
    snprintf(banner, sizeof banner, "220 %s ESMTP Sealane", loop->gateway->settings->hostname);
    say(s, banner);
}

void session_drain_all(struct loop *loop)
{
    for (struct session *s = loop->sessions, *next; s != NULL; s = next) {
        next = s->next;
        leave_if_draining(s);
    }
}

void session_abort_all(struct loop *loop)
{
    while (loop->sessions != NULL) {
        struct session *s = loop->sessions;
        end_transaction(s, RESULT_LOST);
        end_session(s, NO_GOODBYE);
    }
}
