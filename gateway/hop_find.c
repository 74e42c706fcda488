/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Finding a host for a hop: which ones there are, in which order, and on to the next where one fails.
 *
 * Hosts come from the settings (in the order of their priority, by chance within it as their weights say, those that
 * failed a moment ago last) or from the DNS. Nothing of a transaction has been said to a host that is left here.
 */
#include "hop_private.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <openssl/rand.h>

#define FAILED_MS 30000u /* so long a host that failed is tried after all others */

static void no_memory(struct hop *hop)
{
    hop_fail(hop, HOP_FAILURE_DOWN, "451 4.3.0 Out of resources, try again later", "out of memory");
}

/* ---- Connecting ---- */

static bool start_connect(struct hop *hop)
{
    const struct host *host = &hop->hosts[hop->host];
    bool v6 = strchr(host->name, ':') != NULL;

    snprintf(hop->host_name, sizeof hop->host_name, "%s", host->name);
    snprintf(hop->name, sizeof hop->name, "%s%s%s:%s", v6 ? "[" : "", host->name, v6 ? "]" : "", host->port);
    hop->policy = routing_policy_of_host(&hop->config->settings, &hop->destination, host->name);
    hop->state = STATE_CONNECT;
    reply_clear(&hop->reply);
    hop->io = io_connect(hop->loop, hop->config, host->address[0] != '\0' ? host->address : host->name,
                         host->port, hop_on_io, hop);
    if (hop->io == NULL)
        return false;
    count(&hop->loop->counters.hop_connections);
    io_deadline(hop->io, hop_timeouts(hop)->connect);
    return true;
}

static void try_host(struct hop *hop)
{
    hop->clear_only = false;
    if (!start_connect(hop))
        no_memory(hop);
}

void hop_next_host(struct hop *hop, enum hop_failure failure, const char *told, const char *format, ...)
{
    struct host *host = hop->hosts != NULL ? &hop->hosts[hop->host] : NULL;
    va_list args;

    va_start(args, format);
    vsnprintf(hop->error, sizeof hop->error, format, args);
    va_end(args);
    if (host != NULL && host->failed_at != NULL)
        atomic_store(host->failed_at, loop_now(hop->loop));
    if (failure == HOP_FAILURE_POLICY)
        count(&hop->loop->counters.policy_failures);
    /* What went wrong with the policy is the news, even if the host after it was only down. */
    if (hop->failure != HOP_FAILURE_POLICY)
        hop->failure = failure;
    if (host == NULL || hop->host + 1 >= hop->host_count) {
        struct reply reply;
        reply_set(&reply, told);
        hop_fail_with(hop, &reply);
        return;
    }
    if (hop->io != NULL)
        io_close(hop->io);
    hop->io = NULL;
    hop->host++;
    try_host(hop);
}

/* Level may prefers clear text to no mail (RFC 7435, opportunistic security): once more, without TLS. */
void hop_reconnect_clear(struct hop *hop)
{
    io_close(hop->io);
    hop->io = NULL;
    hop->clear_only = true;
    if (!start_connect(hop))
        no_memory(hop);
}

void hop_keep_host(struct hop *hop)
{
    if (hop->hosts != NULL && hop->hosts[hop->host].failed_at != NULL)
        atomic_store(hop->hosts[hop->host].failed_at, 0);
    free(hop->hosts);
    hop->hosts = NULL;
}

/* ---- Hosts of the settings ---- */

static bool failed_lately(const struct hop *hop, const _Atomic uint64_t *failed_at)
{
    uint64_t at = atomic_load(failed_at);

    return at != 0 && loop_now(hop->loop) < at + FAILED_MS;
}

/* What to compare first: whether it works, then its priority. */
static long rank(const struct hop *hop, const struct endpoint *e, const _Atomic uint64_t *failed_at)
{
    return e->priority + (failed_lately(hop, failed_at) ? 1L << 20 : 0);
}

/* RFC 2782's way: the lowest rank; within it one by chance, as likely as its weight. */
static size_t choose(const struct hop *hop, const struct send_settings *send, _Atomic uint64_t *failed_at,
                     const bool *taken)
{
    long best = -1, sum = 0, at;
    size_t chosen = 0;
    uint32_t chance = 0;

    for (size_t i = 0; i < send->endpoint_count; i++) {
        long r = rank(hop, &send->endpoints[i], &failed_at[i]);
        if (!taken[i] && (best < 0 || r < best))
            best = r;
    }
    for (size_t i = 0; i < send->endpoint_count; i++)
        if (!taken[i] && rank(hop, &send->endpoints[i], &failed_at[i]) == best)
            sum += send->endpoints[i].weight;
    (void)RAND_bytes((unsigned char *)&chance, sizeof chance);
    at = (long)(chance % (unsigned long)sum);
    for (size_t i = 0; i < send->endpoint_count; i++) {
        if (taken[i] || rank(hop, &send->endpoints[i], &failed_at[i]) != best)
            continue;
        chosen = i;
        at -= send->endpoints[i].weight;
        if (at < 0)
            break;
    }
    return chosen;
}

static void take_endpoints(struct hop *hop, const struct send_settings *send)
{
    _Atomic uint64_t *failed_at = hop->config->failed_at[hop->destination.send];
    bool taken[ENDPOINTS_MAX] = {false};

    for (; hop->host_count < send->endpoint_count; hop->host_count++) {
        size_t i = send->endpoint_count > 1 ? choose(hop, send, failed_at, taken) : 0;
        struct host *host = &hop->hosts[hop->host_count];
        taken[i] = true;
        snprintf(host->name, sizeof host->name, "%s", send->endpoints[i].host);
        host->port = send->endpoints[i].port;
        host->failed_at = &failed_at[i];
    }
}

/* ---- Hosts of the DNS ---- */

static void take_mail_hosts(struct hop *hop, const struct mail_hosts *found)
{
    const struct send_settings *send = &hop->config->settings.sends[hop->destination.send];

    hop->hosts = calloc(found->count, sizeof *hop->hosts);
    if (hop->hosts == NULL) {
        no_memory(hop);
        return;
    }
    for (; hop->host_count < found->count; hop->host_count++) {
        struct host *host = &hop->hosts[hop->host_count];
        snprintf(host->name, sizeof host->name, "%s", found->hosts[hop->host_count].name);
        snprintf(host->address, sizeof host->address, "%s", found->hosts[hop->host_count].address);
        host->port = send->port;
    }
    try_host(hop);
}

static void on_mail_hosts(void *owner, const struct mail_hosts *found)
{
    struct hop *hop = owner;

    hop->lookup = NULL;
    switch (found->answer) {
    case MAIL_HOSTS:
        take_mail_hosts(hop, found);
        break;
    case MAIL_NO_DOMAIN:
        hop_fail(hop, HOP_FAILURE_DOMAIN, "550 5.1.2 Recipient's domain does not exist or takes no mail",
                 "%s: no MX, no address", hop->destination.domain);
        break;
    case MAIL_NULL_MX:
        hop_fail(hop, HOP_FAILURE_DOMAIN, "556 5.1.10 Recipient's domain takes no mail (null MX)",
                 "%s: null MX", hop->destination.domain);
        break;
    case MAIL_FAILED:
        hop_fail(hop, HOP_FAILURE_DOWN,
                 "451 4.4.3 Recipient's domain cannot be looked up now, try again later", "%s: %s",
                 hop->destination.domain, found->error);
        break;
    }
}

bool hop_find(struct hop *hop)
{
    const struct send_settings *send = &hop->config->settings.sends[hop->destination.send];

    if (send->mx) {
        hop->lookup = resolver_find(hop->loop, hop->config, hop->destination.domain, on_mail_hosts, hop);
        return hop->lookup != NULL;
    }
    hop->hosts = calloc(send->endpoint_count, sizeof *hop->hosts);
    if (hop->hosts == NULL)
        return false;
    take_endpoints(hop, send);
    return start_connect(hop);
}
