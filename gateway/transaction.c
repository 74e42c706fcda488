/* SPDX-License-Identifier: Apache-2.0 */
/* One message on its way through; see transaction.h. */
#include "transaction.h"
#include "log.h"
#include "routing.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

struct transaction *transaction_new(struct loop *loop)
{
    struct transaction *tx = calloc(1, sizeof *tx);

    if (tx == NULL)
        return NULL;
    tx->began = loop_now(loop);
    tx->out_policy = SETTINGS_NONE;
    snprintf(tx->id, sizeof tx->id, "%08x%02x%06llx", loop->gateway->run_id, loop->index,
             (unsigned long long)loop->messages++);
    return tx;
}

void transaction_free(struct transaction *tx)
{
    if (tx != NULL)
        free(tx->told);
    free(tx);
}

/* ---- Recipients ---- */

bool transaction_accept(struct transaction *tx)
{
    const char *const parts[] = {tx->recipient.text, tx->recipient_params.notify, tx->recipient_params.orcpt};
    size_t need = 3;

    for (int i = 0; i < 3; i++)
        need += strlen(parts[i]);
    if (tx->told_length + need > tx->told_room) {
        size_t room = 2 * tx->told_room + need + 64;
        char *told = realloc(tx->told, room);
        if (told == NULL)
            return false;
        tx->told = told;
        tx->told_room = room;
    }
    for (int i = 0; i < 3; i++) {
        size_t len = strlen(parts[i]) + 1;
        memcpy(tx->told + tx->told_length, parts[i], len);
        tx->told_length += len;
    }
    tx->accepted++;
    return true;
}

static void take_part(struct transaction *tx, char *out, size_t size)
{
    const char *part = tx->told + tx->replay_at;

    snprintf(out, size, "%s", part);
    tx->replay_at += strlen(part) + 1;
}

bool transaction_next_accepted(struct transaction *tx)
{
    if (tx->replay_at == tx->told_length)
        return false;
    take_part(tx, tx->replayed.text, sizeof tx->replayed.text);
    take_part(tx, tx->replayed_params.notify, sizeof tx->replayed_params.notify);
    take_part(tx, tx->replayed_params.orcpt, sizeof tx->replayed_params.orcpt);
    tx->replayed.utf8 = false;
    for (const char *c = tx->replayed.text; *c != '\0'; c++)
        tx->replayed.utf8 |= (*c & 0x80) != 0;
    return true;
}

void transaction_note_hop(struct transaction *tx, const struct hop *hop)
{
    tx->out = *hop_facts(hop);
    snprintf(tx->out_peer, sizeof tx->out_peer, "%s", hop_peer(hop));
    snprintf(tx->out_name, sizeof tx->out_name, "%s", hop_name(hop));
    tx->out_policy = hop_policy(hop);
}

/* ---- The Received field ---- */

/* RFC 3848 and RFC 6531, 4.3: which protocol the message came with. */
static const char *protocol_name(const struct transaction *tx, const struct sender *sender)
{
    if (tx->envelope.params.smtputf8)
        return sender->facts->secured ? "UTF8SMTPS" : "UTF8SMTP";
    if (!sender->esmtp)
        return "SMTP";
    return sender->facts->secured ? "ESMTPS" : "ESMTP";
}

/* RFC 5322, 3.3; strftime's names of days and months would follow the locale. */
static void format_date(char *out, size_t size)
{
    static const char days[][4] = {"Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"};
    static const char months[][4] = {"Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                     "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
    time_t now = time(NULL);
    struct tm utc;

    gmtime_r(&now, &utc);
    snprintf(out, size, "%s, %d %s %d %02d:%02d:%02d +0000", days[utc.tm_wday % 7], utc.tm_mday,
             months[utc.tm_mon % 12], utc.tm_year + 1900, utc.tm_hour, utc.tm_min, utc.tm_sec);
}

void transaction_queue_mark(const char *hostname, char *out, size_t size)
{
    snprintf(out, size, "\tby %s (Sealane, to the queue)", hostname);
}

size_t transaction_received(const struct transaction *tx, const struct sender *sender, const char *hostname,
                            char *out, size_t size)
{
    const struct io_facts *f = sender->facts;
    bool v6 = strchr(sender->peer, ':') != NULL;
    char date[64], tls[256] = "", by[CONTENT_MARK_MAX];
    int len;

    format_date(date, sizeof date);
    if (f->secured) /* the clause of RFC 8314, with a comment for what it has no word for */
        snprintf(tls, sizeof tls, "\r\n\ttls %s (%s%s%s)", f->cipher, f->version,
                 f->group[0] != '\0' ? " " : "", f->group);
    if (tx->queued)
        transaction_queue_mark(hostname, by, sizeof by);
    else
        snprintf(by, sizeof by, "\tby %s (Sealane)", hostname);
    len = snprintf(out, size, "Received: from %s ([%s%s])\r\n%s with %s id %s%s;\r\n\t%s\r\n", sender->helo,
                   v6 ? "IPv6:" : "", sender->peer, by, protocol_name(tx, sender), tx->id, tls, date);
    return len < 0 || (size_t)len >= size ? 0 : (size_t)len;
}

/* ---- The log line ---- */

static const char *result_name(enum transaction_result result)
{
    static const char *const names[] = {"delivered", "refused", "deferred", "aborted", "lost"};
    return names[result];
}

static void count_result(struct counters *c, enum transaction_result result)
{
    _Atomic uint64_t *const counters[] = {&c->delivered, &c->rejected, &c->deferred, &c->aborted,
                                          &c->aborted};
    count(counters[result]);
}

static const char *achieved(const struct io_facts *f)
{
    return tls_level_name(f->secured ? f->achieved : TLS_LEVEL_NONE);
}

static const char *or_null(const char *text)
{
    return text != NULL && text[0] != '\0' ? text : NULL;
}

static void log_sender(struct log_line *line, const struct sender *sender)
{
    const struct io_facts *f = sender->facts;

    log_text(line, "connector", sender->receive->name);
    log_text(line, "peer", sender->peer);
    log_text(line, "helo", or_null(sender->helo));
    log_text(line, "tls_wanted", tls_level_name(sender->receive->tls));
    log_text(line, "tls_achieved", f->secured ? "encrypt" : "none");
    if (!f->secured)
        return;
    log_text(line, "tls", f->version);
    log_text(line, "cipher", f->cipher);
    log_text(line, "group", or_null(f->group));
    log_text(line, "resumed", f->resumed ? "yes" : "no");
    log_text(line, "key", or_null(f->key_type));
    log_text(line, "certificate", or_null(f->certificate));
    log_number(line, "handshake_ms", f->handshake_ms);
    if (!f->peer.known)
        return;
    log_text(line, "client_certificate", or_null(f->peer_name));
    log_text(line, "client_trusted", f->trusted ? "yes" : "no");
}

static void log_route(struct log_line *line, const struct transaction *tx, const struct settings *s)
{
    if (!tx->has_destination)
        return;
    if (tx->destination.route != SETTINGS_NONE)
        log_text(line, "route", s->routes[tx->destination.route].name);
    log_text(line, "send", s->sends[tx->destination.send].name);
    if (tx->direct)
        log_text(line, "instead", tx->queued ? "queue" : "fallback");
}

static void log_hop(struct log_line *line, const struct transaction *tx, const struct settings *s)
{
    char reply[LOG_VALUE_MAX];

    log_text(line, "next_hop", or_null(tx->out_name));
    log_text(line, "next_hop_address", or_null(tx->out_peer));
    if (tx->out_policy != SETTINGS_NONE) {
        log_text(line, "next_hop_tls_wanted", tls_level_name(routing_policy(s, tx->out_policy)->level));
        log_text(line, "next_hop_tls_achieved", achieved(&tx->out));
        if (tx->out_policy >= s->send_count)
            log_text(line, "partner", routing_policy_owner(s, tx->out_policy));
    }
    if (tx->out.secured) {
        log_text(line, "next_hop_tls", tx->out.version);
        log_text(line, "next_hop_cipher", tx->out.cipher);
        log_text(line, "next_hop_group", or_null(tx->out.group));
        log_text(line, "next_hop_resumed", tx->out.resumed ? "yes" : "no");
    }
    if (tx->answer.code != 0) {
        snprintf(reply, sizeof reply, "%d %.380s", tx->answer.code, tx->answer.text);
        log_text(line, "reply", reply);
    }
    log_text(line, "error", or_null(tx->error));
}

void transaction_log(const struct transaction *tx, struct loop *loop, const struct settings *s,
                     const struct sender *sender, enum transaction_result result)
{
    struct log_line line;

    count_result(&loop->counters, result);
    atomic_fetch_add_explicit(&loop->counters.bytes, tx->content.size, memory_order_relaxed);

    log_begin(&line, "transaction");
    log_text(&line, "id", tx->id);
    log_text(&line, "result", result_name(result));
    log_text(&line, "from", tx->envelope.from.text[0] != '\0' ? tx->envelope.from.text : "<>");
    log_number(&line, "recipients", tx->accepted);
    log_number(&line, "bytes", (long long)tx->content.size);
    log_sender(&line, sender);
    log_route(&line, tx, s);
    log_hop(&line, tx, s);
    if (tx->verdict.code != 0 && tx->verdict.code != tx->answer.code) {
        char told[LOG_VALUE_MAX];
        snprintf(told, sizeof told, "%d %.380s", tx->verdict.code, tx->verdict.text);
        log_text(&line, "told", told);
    }
    log_text(&line, "sealed_by", tx->sealed_by);
    log_number(&line, "total_ms", (long long)(loop_now(loop) - tx->began));
    log_end(&line);
}
