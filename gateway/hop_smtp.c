/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The SMTP dialogue of a hop once it is greeted (hop_greet.c), and what happens to its connection; see hop.h.
 *
 * One switch over the state for each event that comes in: a reply, a change of the connection. At most one
 * command is unanswered, but for RCPT behind MAIL and DATA behind the last RCPT where the next hop offers PIPELINING
 * (RFC 2920). A reply that nobody asked for breaks the connection: it might otherwise be taken for the answer to the
 * final dot.
 */
#include "hop_private.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define REPLY_LINE_MAX   2048u /* RFC 5321, 4.5.3.1.5 says 512; some servers are chatty */
#define RECEIVED_ALLOWED 1024u /* what our Received field adds to SIZE= */

/* The next hop says no and the connection is of no more use: a temporary failure whatever its code. */
static void fail_reply(struct hop *hop, const char *told, const char *when)
{
    hop_fail(hop, HOP_FAILURE_LOST, told, "%s: %d %s", when, hop->reply.code, hop->reply.text);
}

/* ---- Commands ---- */

void hop_command(struct hop *hop, enum hop_state next, const char *format, ...)
{
    char line[2048];
    va_list args;
    int len;

    va_start(args, format);
    len = vsnprintf(line, sizeof line - 2, format, args);
    va_end(args);
    if (len < 0 || (size_t)len >= sizeof line - 2)
        len = 0; /* cannot be: paths and host names are limited; an empty command breaks nothing */
    memcpy(line + len, "\r\n", 2);
    hop->state = next;
    io_write(hop->io, line, (size_t)len + 2); /* a failure comes as IO_FAILED */
}

static void send_rcpt(struct hop *hop)
{
    const struct recipient_parameters *params = hop->recipient_params;

    hop_command(hop, hop->state, "RCPT TO:<%s>%s%s%s%s", hop->recipient->text,
                params->notify[0] != '\0' ? " NOTIFY=" : "", params->notify,
                params->orcpt[0] != '\0' ? " ORCPT=" : "", params->orcpt);
    hop->rcpt_sent = true;
    if (hop->data_follows && hop->has_pipelining) {
        hop_command(hop, hop->state, "DATA");
        hop->data_sent = true;
    }
}

static void send_mail(struct hop *hop)
{
    const struct mail_parameters *params = &hop->envelope->params;
    char size[40] = "";

    if (hop->has_size && params->has_size)
        snprintf(size, sizeof size, " SIZE=%llu", (unsigned long long)(params->size + RECEIVED_ALLOWED));
    hop_command(hop, STATE_MAIL, "MAIL FROM:<%s>%s%s%s%s%s%s%s", hop->envelope->from.text, size,
                params->body_8bit ? " BODY=8BITMIME" : "", params->smtputf8 ? " SMTPUTF8" : "",
                params->ret[0] != '\0' ? " RET=" : "", params->ret, params->envid[0] != '\0' ? " ENVID=" : "",
                params->envid);
    hop->mail_refused = false;
    hop->rcpt_sent = hop->rcpt_taken = false;
    if (hop->has_pipelining)
        send_rcpt(hop);
}

/* What the message needs and the next hop cannot do: to be refused before DATA, never silently changed. */
static const char *missing_extension(const struct hop *hop)
{
    const struct mail_parameters *params = &hop->envelope->params;

    if (params->smtputf8 && !hop->has_smtputf8) /* RFC 6531, 3.5 */
        return hop->envelope->from.utf8 || hop->recipient->utf8
                   ? "550 5.6.7 The next hop does not take non-ASCII addresses"
                   : "550 5.6.9 The next hop does not take UTF-8 headers";
    if (params->body_8bit && !hop->has_8bitmime) /* RFC 6152, 3 */
        return "550 5.6.3 The next hop does not take 8-bit content";
    /* RFC 3461, 4: it was offered when another host had it. Next time it will not be, and the mail goes. */
    if (!hop->has_dsn &&
        (params->ret[0] != '\0' || params->envid[0] != '\0' || hop->recipient_params->notify[0] != '\0' ||
         hop->recipient_params->orcpt[0] != '\0'))
        return "451 4.5.0 The next hop takes no DSN parameters at the moment, try again later";
    return NULL;
}

void hop_ready(struct hop *hop)
{
    const char *missing;

    hop->state = STATE_READY;
    hop_keep_host(hop);
    if (hop->recipient == NULL) {
        io_deadline(hop->io, 0);
        if (hop->handler == NULL)
            hop_park(hop);
        return;
    }
    missing = missing_extension(hop);
    if (missing != NULL) {
        /* The owner is not called from inside hop_recipient: ask the connection to call us. */
        reply_set(&hop->refusal, missing);
        hop->refuse_later = true;
        io_wait_room(hop->io);
    } else if (hop->mail_open) {
        hop->state = STATE_RCPT;
        send_rcpt(hop);
    } else {
        send_mail(hop);
    }
}

static void answer_recipient(struct hop *hop, const struct reply *reply)
{
    hop->recipient = NULL;
    hop->envelope = NULL;
    hop->refuse_later = false;
    hop->state = STATE_READY;
    io_deadline(hop->io, 0);
    hop_emit(hop, HOP_RECIPIENT, reply);
}

/* ---- Replies ---- */

static bool is_positive(int code)
{
    return code >= 200 && code < 300;
}
static bool is_negative(int code)
{
    return code >= 400 && code < 600;
}

static void on_mail_reply(struct hop *hop)
{
    if (is_positive(hop->reply.code)) {
        hop->mail_open = true;
        hop->state = STATE_RCPT;
        if (!hop->rcpt_sent)
            send_rcpt(hop);
    } else if (hop->rcpt_sent) {
        hop->refusal = hop->reply;
        hop->mail_refused = true;
        hop->state = STATE_RCPT;
    } else {
        answer_recipient(hop, &hop->reply);
    }
}

static void on_rcpt_reply(struct hop *hop)
{
    if (!hop->mail_refused && is_positive(hop->reply.code)) {
        hop->rcpt_taken = true;
        answer_recipient(hop, &hop->reply);
    } else if (hop->data_sent && !hop->rcpt_taken) { /* the owner will not call hop_data */
        if (!hop->mail_refused)
            hop->refusal = hop->reply;
        hop->state = STATE_VAIN_DATA;
    } else {
        answer_recipient(hop, hop->mail_refused ? &hop->refusal : &hop->reply);
    }
}

/* RFC 2920, 3.1: DATA may be taken even if no recipient was; then a dot ends what nobody gets. */
static void on_vain_reply(struct hop *hop)
{
    hop->data_sent = false;
    if (hop->state == STATE_VAIN_RSET) {
        hop->mail_open = false;
        answer_recipient(hop, &hop->refusal);
    } else if (hop->state == STATE_VAIN_DATA && hop->reply.code == 354) {
        hop_command(hop, STATE_VAIN_DOT, ".");
    } else { /* whatever the server made of its transaction */
        hop_command(hop, STATE_VAIN_RSET, "RSET");
    }
}

static const char bad_reply[] = "451 4.5.0 Next hop broke the protocol, try again later";

static void on_reply(struct hop *hop)
{
    struct reply *reply = &hop->reply;

    /* RFC 5321, 3.8: it closes, whatever was asked. Passed on, 421 would say that we close. */
    if (reply->code == 421 && hop->state >= STATE_READY && hop->state != STATE_QUIT) {
        hop->failure = HOP_FAILURE_LOST;
        snprintf(hop->error, sizeof hop->error, "421 %.450s", reply->text);
        reply->code = 451;
        hop_fail_with(hop, reply);
        return;
    }
    switch (hop->state) {
    case STATE_BANNER:
    case STATE_EHLO:
    case STATE_HELO:
    case STATE_STARTTLS:
        hop_greet_reply(hop);
        break;
    case STATE_MAIL:
        if (is_positive(reply->code) || is_negative(reply->code))
            on_mail_reply(hop);
        else
            fail_reply(hop, bad_reply, "MAIL");
        break;
    case STATE_RCPT:
        if (is_negative(reply->code) || (is_positive(reply->code) && !hop->mail_refused))
            on_rcpt_reply(hop);
        else
            fail_reply(hop, bad_reply, "RCPT");
        break;
    case STATE_VAIN_DATA:
    case STATE_VAIN_DOT:
    case STATE_VAIN_RSET:
        on_vain_reply(hop);
        break;
    case STATE_DATA:
        if (reply->code != 354 && !is_negative(reply->code)) {
            fail_reply(hop, bad_reply, "DATA");
            break;
        }
        hop->state = reply->code == 354 ? STATE_CONTENT : STATE_READY;
        io_deadline(hop->io, 0);
        hop_emit(hop, HOP_DATA, reply);
        break;
    case STATE_CONTENT: /* it gave up before the end */
        if (is_negative(reply->code)) {
            snprintf(hop->error, sizeof hop->error, "before the end of DATA: %d %.450s", reply->code,
                     reply->text);
            hop_fail_with(hop, reply);
        } else {
            fail_reply(hop, bad_reply, "before the end of DATA");
        }
        break;
    case STATE_FINAL:
        if (!is_positive(reply->code) && !is_negative(reply->code)) {
            fail_reply(hop, bad_reply, "final dot");
            break;
        }
        hop->state = STATE_READY;
        hop->mail_open = false;
        hop->reused = true;
        hop->messages++;
        io_deadline(hop->io, 0);
        hop_emit(hop, HOP_FINAL, reply);
        break;
    case STATE_RSET:
        hop->mail_open = false;
        if (is_positive(reply->code))
            hop_ready(hop);
        else
            fail_reply(hop, bad_reply, "RSET");
        break;
    case STATE_QUIT:
        if (reply->code == 221)
            hop_leave(hop, true);
        break;
    case STATE_LOOKUP:
    case STATE_CONNECT:
    case STATE_SECURING:
    case STATE_READY:
        fail_reply(hop, bad_reply, "a reply to nothing");
        break;
    }
}

/* Before MAIL another host may do better. */
static void lose(struct hop *hop, const char *told, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

static void lose(struct hop *hop, const char *told, const char *format, ...)
{
    char why[sizeof hop->error];
    va_list args;

    va_start(args, format);
    vsnprintf(why, sizeof why, format, args);
    va_end(args);
    if (hop->state < STATE_READY)
        hop_next_host(hop, HOP_FAILURE_DOWN, told, "%s", why);
    else
        hop_fail(hop, HOP_FAILURE_LOST, told, "%s", why);
}

static void read_replies(struct hop *hop)
{
    const char *line;
    size_t len;

    /* An answer to DATA that comes before the owner has called hop_data waits for that. */
    while (!hop->over && hop->io != NULL && hop->state != STATE_SECURING &&
           !(hop->state == STATE_READY && hop->data_sent)) {
        switch (io_take_line(hop->io, REPLY_LINE_MAX, &line, &len)) {
        case IO_LINE_NONE:
            return;
        case IO_LINE_READY:
            break;
        case IO_LINE_TOO_LONG:
        case IO_LINE_BROKEN: /* RFC 5321, 2.3.8, counts for servers too */
            lose(hop, bad_reply, "a reply with a line that is too long or does not end in CRLF");
            return;
        }
        switch (reply_take_line(&hop->reply, line, len)) {
        case REPLY_MORE:
            break;
        case REPLY_BAD:
            lose(hop, bad_reply, "no SMTP reply: %.*s", (int)(len < 200 ? len : 200), line);
            return;
        case REPLY_DONE:
            on_reply(hop);
            reply_clear(&hop->reply);
            break;
        }
    }
}

/* ---- The connection ---- */

static void on_broken(struct hop *hop)
{
    char why[400];

    snprintf(why, sizeof why, "%s", io_error(hop->io));
    switch (hop->state) {
    case STATE_CONNECT:
        hop_next_host(hop, HOP_FAILURE_DOWN, "451 4.4.1 Next hop is not reachable, try again later",
                      "cannot connect: %s", why);
        break;
    case STATE_SECURING:
        if (hop_must_encrypt(hop))
            hop_next_host(hop, HOP_FAILURE_POLICY,
                          "451 4.7.5 No TLS with the next hop as it is required, try again later", "%s", why);
        else
            hop_reconnect_clear(hop);
        break;
    case STATE_QUIT:
        hop_leave(hop, false);
        break;
    default:
        lose(hop, "451 4.4.2 Connection to the next hop was lost, try again later", "%s", why);
    }
}

static void on_timeout(struct hop *hop)
{
    if (hop->state == STATE_QUIT) {
        hop_leave(hop, false);
    } else if (hop->is_idle) {
        hop_quit(hop);
    } else if (hop->state == STATE_CONNECT) {
        hop_next_host(hop, HOP_FAILURE_DOWN, "451 4.4.1 Next hop is not reachable, try again later",
                      "cannot connect: timed out");
    } else {
        lose(hop, "451 4.4.2 Next hop does not answer, try again later", "timed out");
    }
}

void hop_on_io(void *owner, enum io_event event)
{
    struct hop *hop = owner;

    switch (event) {
    case IO_CONNECTED:
        hop->state = STATE_BANNER;
        io_deadline(hop->io, hop_timeouts(hop)->envelope);
        break;
    case IO_SECURED:
        hop_greet_secured(hop);
        break;
    case IO_INPUT:
        read_replies(hop);
        break;
    case IO_ROOM:
        if (hop->refuse_later) {
            answer_recipient(hop, &hop->refusal);
        } else if (hop->state == STATE_CONTENT) {
            io_deadline(hop->io, 0);
            hop_emit(hop, HOP_ROOM, NULL);
        }
        break;
    case IO_EOF:
        if (hop->state == STATE_QUIT || hop->is_idle)
            hop_leave(hop, true);
        else
            lose(hop, "451 4.4.2 Connection to the next hop was lost, try again later",
                 "it closed the connection");
        break;
    case IO_FAILED:
        on_broken(hop);
        break;
    case IO_TIMEOUT:
        on_timeout(hop);
        break;
    }
}
