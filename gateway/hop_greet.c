/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The greeting of a hop: banner, EHLO, STARTTLS, EHLO again, until it is ready for mail or the next host is tried; see
 * hop.h. What is demanded of TLS is decided here, and from here on nothing goes out that falls short of it.
 */
#include "hop_private.h"

#include <stdio.h>

static void take_extensions(struct hop *hop)
{
    const char *args;
    size_t len;

    hop->has_size = reply_keyword(&hop->reply, "SIZE", &args, &len);
    hop->has_8bitmime = reply_keyword(&hop->reply, "8BITMIME", &args, &len);
    hop->has_smtputf8 = reply_keyword(&hop->reply, "SMTPUTF8", &args, &len);
    hop->has_pipelining = reply_keyword(&hop->reply, "PIPELINING", &args, &len);
    hop->has_starttls = reply_keyword(&hop->reply, "STARTTLS", &args, &len);
    hop->has_dsn = reply_keyword(&hop->reply, "DSN", &args, &len);
    atomic_store(&hop->config->offers_dsn[hop->destination.send], hop->has_dsn ? OFFER_YES : OFFER_NO);
}

bool hop_must_encrypt(const struct hop *hop)
{
    return hop_tls_policy(hop)->level >= TLS_LEVEL_ENCRYPT;
}

static void refuse_host(struct hop *hop, const char *when)
{
    hop_next_host(hop, HOP_FAILURE_DOWN, "451 4.4.1 Next hop refuses to talk to us, try again later",
                  "%s: %d %s", when, hop->reply.code, hop->reply.text);
}

/* A session is offered again only to the same host under the same demands. */
static void start_tls(struct hop *hop)
{
    char key[DOMAIN_MAX_LEN * 2 + 100];

    hop->state = STATE_SECURING;
    snprintf(key, sizeof key, "%u/%zu/%zu/%s/%s", hop->config->generation, hop->destination.send, hop->policy,
             hop->name, hop->destination.domain);
    if (!io_secure_client(hop->io, &hop->config->tls.clients[hop->destination.send], hop_tls_policy(hop),
                          hop->host_name, hop->destination.domain, key))
        hop_fail(hop, HOP_FAILURE_DOWN, "451 4.3.0 Out of resources, try again later", "out of memory");
}

static void on_ehlo_reply(struct hop *hop)
{
    bool secured = io_facts(hop->io)->secured;

    if (hop->reply.code != 250) {
        if (secured || !hop_must_encrypt(hop))
            hop_command(hop, STATE_HELO, "HELO %s", hop->config->settings.hostname);
        else
            hop_next_host(hop, HOP_FAILURE_POLICY,
                          "451 4.7.4 Next hop does not offer the TLS that is required", "EHLO: %d %s",
                          hop->reply.code, hop->reply.text);
        return;
    }
    take_extensions(hop);
    if (secured || hop_tls_policy(hop)->level == TLS_LEVEL_NONE || hop->clear_only)
        hop_ready(hop);
    else if (hop->has_starttls)
        hop_command(hop, STATE_STARTTLS, "STARTTLS");
    else if (hop_must_encrypt(hop))
        hop_next_host(hop, HOP_FAILURE_POLICY, "451 4.7.4 Next hop does not offer the TLS that is required",
                      "STARTTLS is not offered");
    else
        hop_ready(hop);
}

static void on_starttls_reply(struct hop *hop)
{
    size_t more;

    (void)io_peek(hop->io, &more);
    if (hop->reply.code == 220 && more > 0) {
        /* CVE-2021-38371: sent in the clear, it would be believed as if it had come through TLS. */
        hop_next_host(hop, HOP_FAILURE_POLICY, "451 4.7.0 Next hop broke STARTTLS, try again later",
                      "%zu bytes came behind the reply to STARTTLS", more);
    } else if (hop->reply.code == 220) {
        start_tls(hop);
    } else if (hop_must_encrypt(hop)) {
        hop_next_host(hop, HOP_FAILURE_POLICY, "451 4.7.4 Next hop does not start the TLS that is required",
                      "STARTTLS: %d %s", hop->reply.code, hop->reply.text);
    } else {
        hop_ready(hop);
    }
}

void hop_greet_reply(struct hop *hop)
{
    switch (hop->state) {
    case STATE_BANNER:
        if (hop->reply.code == 220)
            hop_command(hop, STATE_EHLO, "EHLO %s", hop->config->settings.hostname);
        else
            refuse_host(hop, "banner");
        break;
    case STATE_EHLO:
        on_ehlo_reply(hop);
        break;
    case STATE_HELO:
        if (hop->reply.code == 250)
            hop_ready(hop);
        else
            refuse_host(hop, "HELO");
        break;
    case STATE_STARTTLS:
        on_starttls_reply(hop);
        break;
    default: /* not ours */
        break;
    }
}

void hop_greet_secured(struct hop *hop)
{
    count(&hop->loop->counters.hop_handshakes);
    if (io_facts(hop->io)->resumed)
        count(&hop->loop->counters.hop_resumed);
    /* RFC 3207, 4.2: what was said before counts for nothing */
    hop_command(hop, STATE_EHLO, "EHLO %s", hop->config->settings.hostname);
}
