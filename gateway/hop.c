/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The SMTP client side; see hop.h.
 *
 * One switch over the state for each event that comes in: a reply, a change of the connection. At most one
 * command is unanswered, but for RCPT behind MAIL where the next hop offers PIPELINING (RFC 2920). A reply
 * that nobody asked for breaks the connection: it might otherwise be taken for the answer to the final dot.
 */
#include "hop.h"
#include "loop.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define REPLY_LINE_MAX   2048u /* RFC 5321, 4.5.3.1.5 says 512; some servers are chatty */
#define QUIT_SECONDS     10
#define RECEIVED_ALLOWED 1024u /* what our Received field adds to SIZE= */

enum hop_state {
    STATE_CONNECT,
    STATE_BANNER,
    STATE_EHLO,
    STATE_HELO,
    STATE_STARTTLS,
    STATE_SECURING,
    STATE_READY, /* greeted; nothing is unanswered */
    STATE_MAIL,
    STATE_RCPT,
    STATE_DATA,
    STATE_CONTENT,
    STATE_FINAL,
    STATE_RSET,
    STATE_QUIT,
};

struct hop {
    struct grave grave;
    struct loop *loop;
    const struct route_settings *route;
    const struct tls_client *client;
    const struct timeouts *timeouts;
    struct io *io;       /* NULL when it is over */
    hop_handler handler; /* NULL when the owner has left */
    void *owner;
    enum hop_state state;

    struct reply reply; /* as it comes in */
    struct reply
        refusal; /* of MAIL, while RCPT behind it is still unanswered; or our own, to be told later */
    bool mail_refused, refuse_later;

    bool has_size, has_8bitmime, has_smtputf8, has_pipelining, has_starttls;
    bool clear_only; /* level may: the handshake failed before, this is the second attempt */

    const struct envelope *envelope; /* asked for and not answered yet */
    const struct path *recipient;
    bool mail_open; /* the next hop has a transaction of ours */
    bool rcpt_sent;
    bool reused;
    char error[512];
};

static void on_io(void *owner, enum io_event event);

/* ---- Ends ---- */

static void leave(struct hop *hop, bool in_order)
{
    if (hop->io == NULL)
        return;
    if (in_order)
        io_close(hop->io);
    else
        io_abort(hop->io);
    hop->io = NULL;
    hop->handler = NULL;
    loop_bury(hop->loop, &hop->grave);
}

/*
 * Tells the owner and ends it, without QUIT: the peer may be in any state. Before DATA what is written may
 * still go out (a TLS alert, say); from then on not a byte, or the next hop might take the message for
 * complete.
 */
static void fail_with(struct hop *hop, const struct reply *reply)
{
    hop_handler handler = hop->handler;
    bool in_order = hop->state < STATE_DATA;

    hop->handler = NULL;
    if (handler != NULL)
        handler(hop->owner, HOP_FAILED, reply);
    leave(hop, in_order);
}

static void fail(struct hop *hop, const char *told, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* `told` goes to the sender, a stranger; the rest, with names, only into our log. */
static void fail(struct hop *hop, const char *told, const char *format, ...)
{
    struct reply reply;
    va_list args;

    va_start(args, format);
    vsnprintf(hop->error, sizeof hop->error, format, args);
    va_end(args);
    reply_set(&reply, told);
    fail_with(hop, &reply);
}

/* The next hop says no and the connection is of no more use: a temporary failure whatever its code. */
static void fail_reply(struct hop *hop, const char *told, const char *when)
{
    fail(hop, told, "%s: %d %s", when, hop->reply.code, hop->reply.text);
}

static void emit(struct hop *hop, enum hop_event event, const struct reply *reply)
{
    if (hop->handler != NULL)
        hop->handler(hop->owner, event, reply);
}

/* ---- Commands ---- */

static void command(struct hop *hop, enum hop_state next, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

static void command(struct hop *hop, enum hop_state next, const char *format, ...)
{
    char line[1024];
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
    command(hop, hop->state, "RCPT TO:<%s>", hop->recipient->text);
    hop->rcpt_sent = true;
}

static void send_mail(struct hop *hop)
{
    const struct mail_parameters *params = &hop->envelope->params;
    char size[40] = "";

    if (hop->has_size && params->has_size)
        snprintf(size, sizeof size, " SIZE=%llu", (unsigned long long)(params->size + RECEIVED_ALLOWED));
    command(hop, STATE_MAIL, "MAIL FROM:<%s>%s%s%s", hop->envelope->from.text, size,
            params->body_8bit ? " BODY=8BITMIME" : "", params->smtputf8 ? " SMTPUTF8" : "");
    hop->mail_refused = false;
    hop->rcpt_sent = false;
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
    return NULL;
}

/* The next hop is ready: carry on with what was asked, if anything. */
static void ready(struct hop *hop)
{
    const char *missing;

    hop->state = STATE_READY;
    if (hop->recipient == NULL) {
        io_deadline(hop->io, 0);
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
    emit(hop, HOP_RECIPIENT, reply);
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

static void take_extensions(struct hop *hop)
{
    const char *args;
    size_t len;

    hop->has_size = reply_keyword(&hop->reply, "SIZE", &args, &len);
    hop->has_8bitmime = reply_keyword(&hop->reply, "8BITMIME", &args, &len);
    hop->has_smtputf8 = reply_keyword(&hop->reply, "SMTPUTF8", &args, &len);
    hop->has_pipelining = reply_keyword(&hop->reply, "PIPELINING", &args, &len);
    hop->has_starttls = reply_keyword(&hop->reply, "STARTTLS", &args, &len);
}

static bool must_encrypt(const struct hop *hop)
{
    return hop->client->level >= TLS_LEVEL_ENCRYPT;
}

static void on_ehlo_reply(struct hop *hop)
{
    bool secured = io_facts(hop->io)->secured;

    if (hop->reply.code == 250) {
        take_extensions(hop);
    } else if (secured || must_encrypt(hop)) {
        fail_reply(hop, "451 4.4.1 Next hop refuses to talk to us, try again later", "EHLO");
        return;
    } else {
        command(hop, STATE_HELO, "HELO %s", hop->loop->gateway->settings->hostname);
        return;
    }
    if (secured || hop->client->level == TLS_LEVEL_NONE || hop->clear_only)
        ready(hop);
    else if (hop->has_starttls)
        command(hop, STATE_STARTTLS, "STARTTLS");
    else if (must_encrypt(hop))
        fail(hop, "451 4.7.4 Next hop does not offer the TLS that is required", "STARTTLS is not offered");
    else
        ready(hop);
}

static void on_starttls_reply(struct hop *hop)
{
    size_t more;

    (void)io_peek(hop->io, &more);
    if (hop->reply.code == 220 && more > 0) {
        /* CVE-2021-38371: sent in the clear, it would be believed as if it had come through TLS. */
        fail(hop, "451 4.7.0 Next hop broke STARTTLS, try again later",
             "%zu bytes came behind the reply to STARTTLS", more);
    } else if (hop->reply.code == 220) {
        hop->state = STATE_SECURING;
        if (!io_secure_client(hop->io, hop->client))
            fail(hop, "451 4.3.0 Out of resources, try again later", "out of memory");
    } else if (must_encrypt(hop)) {
        fail_reply(hop, "451 4.7.4 Next hop does not start the TLS that is required", "STARTTLS");
    } else {
        ready(hop);
    }
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

static const char bad_reply[] = "451 4.5.0 Next hop broke the protocol, try again later";

static void on_reply(struct hop *hop)
{
    struct reply *reply = &hop->reply;

    /* RFC 5321, 3.8: it closes, whatever was asked. Passed on, 421 would say that we close. */
    if (reply->code == 421 && hop->state >= STATE_READY && hop->state != STATE_QUIT) {
        snprintf(hop->error, sizeof hop->error, "421 %.450s", reply->text);
        reply->code = 451;
        fail_with(hop, reply);
        return;
    }
    switch (hop->state) {
    case STATE_BANNER:
        if (reply->code == 220)
            command(hop, STATE_EHLO, "EHLO %s", hop->loop->gateway->settings->hostname);
        else
            fail_reply(hop, "451 4.4.1 Next hop refuses to talk to us, try again later", "banner");
        break;
    case STATE_EHLO:
        on_ehlo_reply(hop);
        break;
    case STATE_HELO:
        if (reply->code == 250)
            ready(hop);
        else
            fail_reply(hop, "451 4.4.1 Next hop refuses to talk to us, try again later", "HELO");
        break;
    case STATE_STARTTLS:
        on_starttls_reply(hop);
        break;
    case STATE_MAIL:
        if (is_positive(reply->code) || is_negative(reply->code))
            on_mail_reply(hop);
        else
            fail_reply(hop, bad_reply, "MAIL");
        break;
    case STATE_RCPT:
        if (hop->mail_refused && is_negative(reply->code))
            answer_recipient(hop, &hop->refusal);
        else if (!hop->mail_refused && (is_positive(reply->code) || is_negative(reply->code)))
            answer_recipient(hop, reply);
        else
            fail_reply(hop, bad_reply, "RCPT");
        break;
    case STATE_DATA:
        if (reply->code != 354 && !is_negative(reply->code)) {
            fail_reply(hop, bad_reply, "DATA");
            break;
        }
        hop->state = reply->code == 354 ? STATE_CONTENT : STATE_READY;
        io_deadline(hop->io, 0);
        emit(hop, HOP_DATA, reply);
        break;
    case STATE_CONTENT: /* it gave up before the end */
        if (is_negative(reply->code)) {
            snprintf(hop->error, sizeof hop->error, "before the end of DATA: %d %.450s", reply->code,
                     reply->text);
            fail_with(hop, reply);
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
        io_deadline(hop->io, 0);
        emit(hop, HOP_FINAL, reply);
        break;
    case STATE_RSET:
        hop->mail_open = false;
        if (is_positive(reply->code))
            ready(hop);
        else
            fail_reply(hop, bad_reply, "RSET");
        break;
    case STATE_QUIT:
        if (reply->code == 221)
            leave(hop, true);
        break;
    case STATE_CONNECT:
    case STATE_SECURING:
    case STATE_READY:
        fail_reply(hop, bad_reply, "a reply to nothing");
        break;
    }
}

static void read_replies(struct hop *hop)
{
    const char *line;
    size_t len;

    while (hop->io != NULL && hop->state != STATE_SECURING) {
        switch (io_take_line(hop->io, REPLY_LINE_MAX, &line, &len)) {
        case IO_LINE_NONE:
            return;
        case IO_LINE_READY:
            break;
        case IO_LINE_TOO_LONG:
        case IO_LINE_BROKEN: /* RFC 5321, 2.3.8, counts for servers too */
            fail(hop, bad_reply, "a reply with a line that is too long or does not end in CRLF");
            return;
        }
        switch (reply_take_line(&hop->reply, line, len)) {
        case REPLY_MORE:
            break;
        case REPLY_BAD:
            fail(hop, bad_reply, "no SMTP reply: %.*s", (int)(len < 200 ? len : 200), line);
            return;
        case REPLY_DONE:
            on_reply(hop);
            reply_clear(&hop->reply);
            break;
        }
    }
}

/* ---- The connection ---- */

static bool start_connect(struct hop *hop)
{
    hop->state = STATE_CONNECT;
    reply_clear(&hop->reply);
    hop->io = io_connect(hop->loop, hop->route->host, hop->route->port, on_io, hop);
    if (hop->io == NULL)
        return false;
    io_deadline(hop->io, hop->timeouts->connect);
    return true;
}

/* Level may prefers clear text to no mail (RFC 7435, opportunistic security): once more, without TLS. */
static void reconnect_clear(struct hop *hop)
{
    struct io *old = hop->io;

    if (start_connect(hop)) {
        hop->clear_only = true;
        io_close(old);
        return;
    }
    hop->io = old;
    fail(hop, "451 4.3.0 Out of resources, try again later", "out of memory");
}

static void on_broken(struct hop *hop)
{
    const char *why = io_error(hop->io);

    switch (hop->state) {
    case STATE_CONNECT:
        fail(hop, "451 4.4.1 Next hop is not reachable, try again later", "cannot connect: %s", why);
        break;
    case STATE_SECURING:
        if (must_encrypt(hop)) {
            fail(hop, "451 4.7.5 No TLS with the next hop as it is required, try again later", "%s", why);
            break;
        }
        reconnect_clear(hop);
        break;
    case STATE_QUIT:
        leave(hop, false);
        break;
    default:
        fail(hop, "451 4.4.2 Connection to the next hop was lost, try again later", "%s", why);
    }
}

static void on_timeout(struct hop *hop)
{
    if (hop->state == STATE_QUIT)
        leave(hop, false);
    else if (hop->state == STATE_CONNECT)
        fail(hop, "451 4.4.1 Next hop is not reachable, try again later", "cannot connect: timed out");
    else
        fail(hop, "451 4.4.2 Next hop does not answer, try again later", "timed out");
}

static void on_io(void *owner, enum io_event event)
{
    struct hop *hop = owner;

    switch (event) {
    case IO_CONNECTED:
        hop->state = STATE_BANNER;
        io_deadline(hop->io, hop->timeouts->envelope);
        break;
    case IO_SECURED: /* RFC 3207, 4.2: what was said before counts for nothing */
        command(hop, STATE_EHLO, "EHLO %s", hop->loop->gateway->settings->hostname);
        break;
    case IO_INPUT:
        read_replies(hop);
        break;
    case IO_ROOM:
        if (hop->refuse_later) {
            answer_recipient(hop, &hop->refusal);
        } else if (hop->state == STATE_CONTENT) {
            io_deadline(hop->io, 0);
            emit(hop, HOP_ROOM, NULL);
        }
        break;
    case IO_EOF:
        if (hop->state == STATE_QUIT)
            leave(hop, true);
        else
            fail(hop, "451 4.4.2 Connection to the next hop was lost, try again later",
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

/* ---- For the owner ---- */

struct hop *hop_open(struct loop *loop, size_t route, hop_handler handler, void *owner)
{
    struct hop *hop = calloc(1, sizeof *hop);

    if (hop == NULL)
        return NULL;
    hop->loop = loop;
    hop->route = &loop->gateway->settings->routes[route];
    hop->client = &loop->gateway->tls->clients[route];
    hop->timeouts = &loop->gateway->settings->timeouts;
    hop->handler = handler;
    hop->owner = owner;
    if (!start_connect(hop)) {
        free(hop);
        return NULL;
    }
    return hop;
}

void hop_recipient(struct hop *hop, const struct envelope *envelope, const struct path *recipient)
{
    hop->envelope = envelope;
    hop->recipient = recipient;
    if (hop->state != STATE_READY)
        return; /* ready() comes back to it */
    io_deadline(hop->io, hop->timeouts->envelope);
    ready(hop);
}

void hop_data(struct hop *hop)
{
    io_deadline(hop->io, hop->timeouts->data);
    command(hop, STATE_DATA, "DATA");
}

size_t hop_room(const struct hop *hop)
{
    return io_room(hop->io);
}

void hop_wait_room(struct hop *hop)
{
    io_deadline(hop->io, hop->timeouts->block);
    io_wait_room(hop->io);
}

bool hop_write(struct hop *hop, const void *bytes, size_t len)
{
    return io_write(hop->io, bytes, len);
}

void hop_finish(struct hop *hop)
{
    size_t early;

    /* A reply that is here before the dot is no answer to it. It will be read, and breaks the connection. */
    (void)io_peek(hop->io, &early);
    io_deadline(hop->io, hop->timeouts->final);
    if (early == 0)
        command(hop, STATE_FINAL, ".");
}

void hop_reset(struct hop *hop)
{
    if (!hop->mail_open || hop->state != STATE_READY)
        return;
    io_deadline(hop->io, hop->timeouts->envelope);
    command(hop, STATE_RSET, "RSET");
}

void hop_release(struct hop *hop)
{
    hop->handler = NULL;
    hop->recipient = NULL;
    if (hop->state != STATE_READY && hop->state != STATE_RSET) {
        /* In the middle of a message the next hop must not take anything for complete. */
        leave(hop, false);
        return;
    }
    io_deadline(hop->io, QUIT_SECONDS);
    command(hop, STATE_QUIT, "QUIT");
}

void hop_abort(struct hop *hop)
{
    hop->handler = NULL;
    leave(hop, false);
}

const struct io_facts *hop_facts(const struct hop *hop)
{
    return io_facts(hop->io);
}
const char *hop_peer(const struct hop *hop)
{
    return io_peer(hop->io);
}
const char *hop_error(const struct hop *hop)
{
    return hop->error;
}
bool hop_is_finishing(const struct hop *hop)
{
    return hop->state == STATE_FINAL;
}
bool hop_is_reused(const struct hop *hop)
{
    return hop->reused;
}
