/* SPDX-License-Identifier: Apache-2.0 */
/* Who may talk: PROXY headers, how many of one address, and that the first word is ours; see session_private.h. */
#include "log.h"
#include "peers.h"
#include "proxy.h"
#include "session_private.h"

#include <stdio.h>

static bool is_proxy(const struct session *s)
{
    for (size_t i = 0; i < s->receive->proxy_count; i++)
        if (network_contains(&s->receive->proxies[i], &s->address))
            return true;
    return false;
}

void session_say_banner(struct session *s)
{
    char banner[300];

    snprintf(banner, sizeof banner, "220 %s ESMTP Sealane", session_settings(s)->hostname);
    session_say(s, banner);
}

/* The first word is ours: a sender that does not wait for it is no mail server (pregreet). */
static void greet(struct session *s, bool spoke_early)
{
    if (s->receive->implicit) {
        if (!session_secure(s, true))
            session_end(s, NO_GOODBYE);
        return;
    }
    if (spoke_early) {
        session_say_goodbye(s, "554 5.5.1 You spoke before the banner");
        return;
    }
    io_deadline(s->io, session_settings(s)->timeouts.command);
    session_say_banner(s);
}

/* Now it is known who it is. */
static void admit(struct session *s, bool spoke_early)
{
    struct gateway *gateway = s->loop->gateway;

    s->admitted = peers_enter(gateway->peers, s->config->connectors[s->connector], &s->address,
                              loop_now(s->loop), s->receive->limits.connections_per_address);
    if (s->admitted) {
        greet(s, spoke_early);
        return;
    }
    count(&s->loop->counters.refused_connections);
    if (s->receive->implicit)
        session_end(s, NO_GOODBYE);
    else
        session_say_goodbye(s, "421 4.7.0 Too many connections from your address");
}

void session_refuse_proxy(struct session *s, const char *why)
{
    struct log_line line;

    log_begin(&line, "proxy_refused");
    log_text(&line, "connector", s->receive->name);
    log_text(&line, "peer", io_peer(s->io));
    log_text(&line, "reason", why);
    log_end(&line);
    count(&s->loop->counters.refused_connections);
    session_end(s, NO_GOODBYE);
}

void session_take_proxy(struct session *s)
{
    struct proxy proxy;
    size_t len, more;
    const uint8_t *bytes = io_peek(s->io, &len);

    switch (proxy_parse(&proxy, bytes, len)) {
    case PROXY_MORE:
        return;
    case PROXY_BAD: /* 2: the connection must be dropped; no answer helps a balancer that is set up wrongly */
        session_refuse_proxy(s, "no PROXY header");
        return;
    case PROXY_DONE:
        break;
    }
    io_drop(s->io, proxy.length);
    if (proxy.address[0] != '\0') {
        io_set_peer(s->io, proxy.address);
        (void)address_parse(&s->address, proxy.address);
    }
    s->waiting = WAIT_NOTHING;
    (void)io_peek(s->io, &more);
    admit(s, more > 0);
}

void session_admit(struct session *s)
{
    (void)address_parse(&s->address, io_peer(s->io));
    if (is_proxy(s)) {
        s->waiting = WAIT_PROXY;
        io_deadline(s->io, session_settings(s)->timeouts.handshake);
    } else {
        admit(s, io_spoke_early(s->io));
    }
}
