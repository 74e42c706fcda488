/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The dialogue with a sender; see session_private.h.
 *
 * The state machine is the table `handlers`: a row for each verb, a column for each state.
 */
#include "command.h"
#include "log.h"
#include "routing.h"
#include "session_private.h"

#include <stdio.h>
#include <string.h>

/* ---- Transactions ---- */

void session_end_transaction(struct session *s, enum transaction_result result)
{
    struct sender sender = session_sender(s);

    if (s->tx == NULL)
        return;
    if (s->hop != NULL)
        transaction_note_hop(s->tx, s->hop);
    transaction_log(s->tx, s->loop, session_settings(s), &sender, result);
    transaction_free(s->tx);
    s->tx = NULL;
}

/* What to call a transaction that the sender gives up: mostly it does so because we refused all recipients.
 */
static enum transaction_result abandoned_result(const struct transaction *tx)
{
    int code = tx->verdict.code != 0 ? tx->verdict.code : tx->answer.code;

    if (tx->accepted > 0 || code < 400)
        return RESULT_ABORTED;
    return code < 500 ? RESULT_DEFERRED : RESULT_REFUSED;
}

void session_drop_transaction(struct session *s)
{
    if (s->tx != NULL)
        session_end_transaction(s, abandoned_result(s->tx));
    session_release_hop(s);
    if (s->state > SESSION_READY)
        s->state = SESSION_READY;
}

/* ---- Greetings ---- */

typedef void (*handler)(struct session *s, const struct command *command);

static bool must_secure(const struct session *s)
{
    return s->receive->tls == TLS_LEVEL_ENCRYPT && !io_facts(s->io)->secured;
}

static bool take_helo_name(struct session *s, const struct command *command)
{
    if (!command_is_helo_name(command->args, command->args_len)) {
        session_say_error(s, "501 5.5.4 Syntax: your host name or address literal is missing or malformed");
        return false;
    }
    session_drop_transaction(s);
    memcpy(s->helo, command->args, command->args_len);
    s->helo[command->args_len] = '\0';
    s->state = SESSION_READY;
    return true;
}

/* RFC 3461 promises something to the sender: it is offered when all next hops were last heard to offer it. */
static bool offers_dsn(const struct session *s)
{
    const struct settings *settings = session_settings(s);

    for (size_t i = 0; i < settings->route_count; i++) {
        size_t send = settings->routes[i].send;
        if (settings->sends[send].mx || atomic_load(&s->config->offers_dsn[send]) != OFFER_YES)
            return false;
    }
    return true;
}

/* RFC 9422. Where a queue takes what needs several routes, senders need not keep to one domain. */
static void format_limits(const struct session *s, char *out, size_t size)
{
    const struct settings *settings = session_settings(s);
    bool queues = settings->queue != SETTINGS_NONE && !s->receive->from_queue;

    snprintf(out, size, "250-LIMITS RCPTMAX=%ld%s\r\n", s->receive->limits.recipients,
             routing_depends_on_domain(settings) && !queues ? " RCPTDOMAINMAX=1" : "");
}

static void do_ehlo(struct session *s, const struct command *command)
{
    char text[1024], limits[80];

    if (!take_helo_name(s, command))
        return;
    s->esmtp = true;
    s->dsn = offers_dsn(s);
    format_limits(s, limits, sizeof limits);
    /* SMTPUTF8 is offered before the next hop is known; hop_smtp.c refuses before DATA what that one cannot take.
     */
    snprintf(text, sizeof text,
             "250-%s\r\n250-PIPELINING\r\n250-SIZE %ld\r\n250-8BITMIME\r\n250-SMTPUTF8\r\n%s%s%s250 "
             "ENHANCEDSTATUSCODES",
             session_settings(s)->hostname, s->receive->limits.message_size, s->dsn ? "250-DSN\r\n" : "",
             limits,
             io_facts(s->io)->secured ? "" : "250-STARTTLS\r\n"); /* RFC 3207, 4.2: never again after it */
    session_say(s, text);
}

static void do_helo(struct session *s, const struct command *command)
{
    char text[300];

    if (must_secure(s)) {
        session_say_error(s, "530 5.7.0 Must issue a STARTTLS command first");
        return;
    }
    if (!take_helo_name(s, command))
        return;
    s->esmtp = s->dsn = false;
    snprintf(text, sizeof text, "250 %s", session_settings(s)->hostname);
    session_say(s, text);
}

static void do_starttls(struct session *s, const struct command *command)
{
    size_t more;

    (void)io_peek(s->io, &more);
    if (io_facts(s->io)->secured) {
        session_say_error(s, "503 5.5.1 TLS is already active");
    } else if (command->args_len > 0) {
        session_say_error(s, "501 5.5.4 STARTTLS takes no parameters");
    } else if (more > 0) {
        /* CVE-2011-0411: sent in the clear, it would be obeyed as if it had come through TLS. */
        session_drop_transaction(s);
        session_say_goodbye(s, "554 5.5.1 Nothing may follow STARTTLS before its answer");
    } else {
        session_drop_transaction(s);
        if (!session_secure(s, false))
            session_say(s, "454 4.7.0 TLS is not available at the moment");
    }
}

/* ---- Partners ---- */

static void log_policy_failure(struct session *s, const struct partner_settings *partner, const char *from,
                               const char *why)
{
    struct log_line line;

    count(&s->loop->counters.policy_failures);
    log_begin(&line, "policy_failure");
    log_text(&line, "connector", s->receive->name);
    log_text(&line, "peer", io_peer(s->io));
    log_text(&line, "partner", partner->name);
    log_text(&line, "from", from);
    log_text(&line, "tls_wanted", tls_level_name(partner->inbound));
    log_text(&line, "reason", why);
    log_end(&line);
}

/* True if the certificate is signed by the connector's client_ca and names the sender's domain or a host in it. */
static bool is_verified(const struct session *s, const char *domain)
{
    char below[DOMAIN_MAX_LEN + 2];

    snprintf(below, sizeof below, ".%s", domain);
    return io_facts(s->io)->trusted && (io_peer_is(s->io, domain) || io_peer_is(s->io, below));
}

/*
 * Mail that claims to be a partner's must come as agreed with it. Without TLS that is final (RFC 3207, 4: 530); a
 * certificate may be about to be changed on one side, so what does not fit is temporary.
 */
static const char *judge_partner(struct session *s, const struct path *from)
{
    const char *domain = from->text + from->domain;
    const struct partner_settings *partner =
        s->receive->from_queue ? NULL : routing_partner_of(session_settings(s), domain);
    const struct io_facts *facts = io_facts(s->io);

    if (partner == NULL || partner->inbound <= TLS_LEVEL_MAY)
        return NULL;
    if (!facts->secured) {
        log_policy_failure(s, partner, from->text, "no TLS");
        return "530 5.7.0 Mail from this domain must come over TLS: STARTTLS first";
    }
    if (partner->inbound == TLS_LEVEL_FINGERPRINT &&
        !fingerprints_match(&facts->peer, partner->inbound_pins, partner->inbound_pin_count)) {
        log_policy_failure(s, partner, from->text,
                           facts->peer.known ? "not the pinned certificate" : "no certificate");
        return "451 4.7.5 Mail from this domain must come with the certificate agreed upon";
    }
    if (partner->inbound == TLS_LEVEL_VERIFY && !is_verified(s, domain)) {
        log_policy_failure(s, partner, from->text,
                           facts->peer.known ? "certificate not verified" : "no certificate");
        return "451 4.7.5 Mail from this domain must come with a certificate that proves it";
    }
    return NULL;
}

/* ---- Envelope ---- */

static const char dsn_not_offered[] = "555 5.5.4 DSN is not offered";

static const char *judge_mail(struct session *s, const struct command *command, struct envelope *envelope)
{
    const struct mail_parameters *params = &envelope->params;
    const char *wrong =
        command_parse_mail(command->args, command->args_len, &envelope->from, &envelope->params);

    if (wrong != NULL)
        return wrong;
    if (!s->esmtp && (params->has_size || params->has_body || params->smtputf8 || params->ret[0] != '\0' ||
                      params->envid[0] != '\0'))
        return "555 5.5.4 Parameters need EHLO";
    if (!s->dsn && (params->ret[0] != '\0' || params->envid[0] != '\0'))
        return dsn_not_offered;
    if (params->size > (uint64_t)s->receive->limits.message_size)
        return "552 5.3.4 Message too big";
    return judge_partner(s, &envelope->from);
}

static void do_mail(struct session *s, const struct command *command)
{
    const char *wrong;

    if (s->loop->draining) {
        session_say_goodbye(s, "421 4.3.2 Service is closing");
        return;
    }
    s->tx = transaction_new(s->loop);
    if (s->tx == NULL) {
        session_say(s, "452 4.3.1 Out of memory, try again later");
        return;
    }
    wrong = judge_mail(s, command, &s->tx->envelope);
    if (wrong != NULL) {
        transaction_free(s->tx);
        s->tx = NULL;
        session_say_error(s, wrong);
        return;
    }
    s->state = SESSION_MAIL;
    session_say(s, "250 2.1.0 Sender taken");
}

static void do_rcpt(struct session *s, const struct command *command)
{
    struct transaction *tx = s->tx;
    const char *wrong =
        command_parse_rcpt(command->args, command->args_len, &tx->recipient, &tx->recipient_params);

    if (wrong == NULL && !s->dsn &&
        (tx->recipient_params.notify[0] != '\0' || tx->recipient_params.orcpt[0] != '\0'))
        wrong = dsn_not_offered;
    if (wrong == NULL && tx->recipient.utf8 && !tx->envelope.params.smtputf8)
        wrong = "553 5.6.7 Non-ASCII address needs SMTPUTF8";
    if (wrong != NULL)
        session_say_error(s, wrong);
    else if ((long)tx->accepted >= s->receive->limits.recipients)
        session_say(s, "452 4.5.3 Too many recipients");
    else if (tx->refused) /* the next hop is away */
        session_say_reply(s, &tx->verdict);
    else
        session_relay_recipient(s);
}

static void do_data(struct session *s, const struct command *command)
{
    if (command->args_len > 0) {
        session_say_error(s, "501 5.5.4 DATA takes no parameters");
    } else if (s->tx->refused) {
        session_say_reply(s, &s->tx->verdict);
        session_end_transaction(s, RESULT_DEFERRED);
        session_release_hop(s);
        s->state = SESSION_READY;
        session_leave_if_draining(s);
    } else {
        session_relay_data(s);
    }
}

static void do_rset(struct session *s, const struct command *command)
{
    if (command->args_len > 0) {
        session_say_error(s, "501 5.5.4 RSET takes no parameters");
        return;
    }
    session_drop_transaction(s);
    session_say(s, "250 2.0.0 Reset");
    session_leave_if_draining(s);
}

/* ---- The rest ---- */

static void do_noop(struct session *s, const struct command *command)
{
    (void)command;
    session_say(s, "250 2.0.0 Nothing done");
}

static void do_vrfy(struct session *s, const struct command *command)
{
    (void)command;
    session_say(s, "252 2.5.2 Try it by sending mail");
}

static void do_quit(struct session *s, const struct command *command)
{
    (void)command;
    session_drop_transaction(s);
    session_say_goodbye(s, "221 2.0.0 Bye");
}

static void need_hello(struct session *s, const struct command *command)
{
    (void)command;
    session_say_error(s, "503 5.5.1 Send EHLO first");
}

static void need_mail(struct session *s, const struct command *command)
{
    (void)command;
    session_say_error(s, "503 5.5.1 Send MAIL first");
}

static void need_rcpt(struct session *s, const struct command *command)
{
    (void)command;
    if (s->tx->refused)
        session_say_reply(s, &s->tx->verdict);
    else
        session_say_error(s, "554 5.5.1 No valid recipients");
}

static void nested_mail(struct session *s, const struct command *command)
{
    (void)command;
    session_say_error(s, "503 5.5.1 One transaction at a time");
}

static void not_offered(struct session *s, const struct command *command)
{
    (void)command;
    session_say_error(s, "502 5.5.1 Command not implemented");
}

static void unknown(struct session *s, const struct command *command)
{
    (void)command;
    session_say_error(s, "500 5.5.2 Command not recognised");
}

/* A browser was made to send something here: the lines after this one are no commands either. */
static void is_http(struct session *s, const struct command *command)
{
    (void)command;
    session_end_transaction(s, RESULT_ABORTED);
    session_say_goodbye(s, "554 5.5.1 This is not a web server");
}

static const handler handlers[VERB_COUNT][SESSION_STATES] = {
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

/*
 * What brings no message along keeps a connection for nothing, each time within its deadline. So many are any sender's
 * right between two messages (as with Postfix's smtpd_junk_command_limit); those beyond count as errors.
 */
#define VAIN_MAX 100

static bool is_borne(struct session *s, enum verb verb)
{
    bool vain = verb == VERB_NOOP || verb == VERB_RSET || verb == VERB_VRFY || verb == VERB_EHLO ||
                verb == VERB_HELO;

    return !vain || ++s->vain <= VAIN_MAX || session_bears_error(s);
}

/* ---- Input ---- */

bool session_take_command(struct session *s)
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
        session_drop_transaction(s);
        session_say_goodbye(s, "500 5.5.2 Line too long");
        return false;
    case IO_LINE_BROKEN:
        /* Who disagrees with us on where lines end also disagrees on where messages end. */
        session_drop_transaction(s);
        session_say_goodbye(s, "550 5.5.2 Bare CR, bare LF or NUL: lines end with CRLF (RFC 5321, 2.3.8)");
        return false;
    }
    io_deadline(s->io, session_settings(s)->timeouts.command);
    command_parse(&command, line, len);
    if (must_secure(s) && !needs_no_tls(command.verb))
        session_say_error(s, "530 5.7.0 Must issue a STARTTLS command first");
    else if (is_borne(s, command.verb))
        handlers[command.verb][s->state](s, &command);
    return s->io != NULL;
}
