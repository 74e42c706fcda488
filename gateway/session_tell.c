/* SPDX-License-Identifier: Apache-2.0 */
/* What sealanectl sessions shows of a loop's senders. */
#include "hop.h"
#include "session.h"
#include "session_private.h"

static const char *doing(const struct session *s)
{
    static const char *const waits[] = {
        [WAIT_PROXY] = "proxy",       [WAIT_SECURED] = "handshake", [WAIT_RECIPIENT] = "recipient",
        [WAIT_REPLAY] = "recipient",  [WAIT_DATA] = "data",         [WAIT_ROOM] = "next hop is slow",
        [WAIT_FINAL] = "final reply",
    };
    static const char *const states[] = {"not greeted", "idle", "envelope", "envelope", "message"};

    return s->waiting != WAIT_NOTHING ? waits[s->waiting] : states[s->state];
}

void session_tell_all(struct loop *loop, FILE *out, bool json)
{
    const char *separator = "";

    for (const struct session *s = loop->sessions; s != NULL; s = s->next, separator = json ? "," : "") {
        const struct io_facts *f = io_facts(s->io);
        /* Names are limited to what a HELO name may have, so nothing needs an escape. */
        fprintf(
            out,
            json ? "%s{\"connector\":\"%s\",\"peer\":\"%s\",\"helo\":\"%s\",\"tls\":\"%s\",\"doing\":\"%s\","
                   "\"messages\":%llu,\"id\":\"%s\",\"bytes\":%llu,\"next_hop\":\"%s\",\"seconds\":%llu}"
                 : "%s%s %s helo=%s tls=%s %s messages=%llu id=%s bytes=%llu next_hop=%s %llus\n",
            separator, s->receive->name, io_peer(s->io), s->helo, f->secured ? f->version : "none", doing(s),
            (unsigned long long)s->messages, s->tx != NULL ? s->tx->id : "",
            (unsigned long long)(s->tx != NULL ? s->tx->content.size : 0),
            s->hop != NULL ? hop_name(s->hop) : "", (unsigned long long)(loop_now(loop) - s->began) / 1000);
    }
}
