/* SPDX-License-Identifier: Apache-2.0 */
/* The counters by name; see counters.h. */
#include "counters.h"
#include "log.h"
#include "loop.h"

#include <sealane/provider.h>

#define ROW(member, text)                                                                                    \
    {                                                                                                        \
#member, text, offsetof(struct counters, member)                                                     \
    }

const struct counter counter_table[] = {
    ROW(connections, "connections accepted"),
    ROW(refused_connections, "connections refused by a limit"),
    ROW(handshakes, "TLS handshakes with senders that succeeded"),
    ROW(handshakes_failed, "... that failed"),
    ROW(handshakes_refused,
        "... that were answered 454: too many at once or of one address, or the key fails"),
    ROW(resumed, "... that resumed a session"),
    ROW(signatures_waited, "handshakes that left the loop while the key signed"),
    ROW(signing_microseconds, "time that they waited for the key, in all"),
    ROW(key_failures, "handshakes that failed because the key did not sign"),
    ROW(delivered, "messages answered 2xx, as the next hop had answered"),
    ROW(rejected, "messages and transactions refused for good (5xx)"),
    ROW(deferred, "messages and transactions refused for now (4xx)"),
    ROW(aborted, "transactions that the sender gave up"),
    ROW(possible_duplicates, "messages that the sender may send again although the next hop has them"),
    ROW(policy_failures, "partners and next hops whose TLS was not as demanded"),
    ROW(queued, "transactions given to the queue"),
    ROW(fallbacks, "transactions given to a fallback"),
    ROW(hop_connections, "connections to next hops begun"),
    ROW(hop_reused, "transactions that used a connection again"),
    ROW(hop_handshakes, "TLS handshakes with next hops that succeeded"),
    ROW(hop_resumed, "... that resumed a session"),
    ROW(hop_failures, "next hops that failed or closed the connection"),
    ROW(bytes, "bytes of messages"),
    ROW(takeovers, "TLS connections that the engine took over from libssl after the handshake"),
    ROW(open_batches, "batches of records opened by the engine"),
    ROW(open_connections, "connections that had a part in them"),
    ROW(seal_batches, "batches of records sealed by the engine"),
    ROW(seal_connections, "connections that had a part in them"),
};
const size_t counter_count = sizeof counter_table / sizeof counter_table[0];

uint64_t counters_sum(const struct gateway *gateway, const struct counter *counter)
{
    uint64_t sum = 0;

    for (unsigned i = 0; i < gateway->loop_count; i++) {
        const char *counters = (const char *)&gateway->loops[i].counters;
        sum += atomic_load_explicit((const _Atomic uint64_t *)(const void *)(counters + counter->offset),
                                    memory_order_relaxed);
    }
    return sum;
}

const struct provider_counter provider_counters[] = {
    {"token_signatures", SEALANE_PARAM_TOKEN_SIGNATURES, "signatures made by tokens"},
    {"token_failures", SEALANE_PARAM_TOKEN_FAILURES, "operations that tokens failed"},
    {"records_sealed", SEALANE_PARAM_RECORDS_SEALED, "TLS records sealed by the engine"},
    {"records_opened", SEALANE_PARAM_RECORDS_OPENED, "TLS records opened by the engine"},
    {"records_forged", SEALANE_PARAM_RECORDS_FORGED, "TLS records that were not genuine"},
};
const size_t provider_counter_count = sizeof provider_counters / sizeof provider_counters[0];

static void log_certificate(const char *key, const char *owner, const struct tls_certificate *c)
{
    struct log_line line;

    log_begin(&line, "certificate");
    log_text(&line, key, owner);
    log_text(&line, "name", c->name);
    log_text(&line, "key", c->key_type);
    log_text(&line, "key_held_by", c->key_provider);
    log_text(&line, "expires", c->expires);
    log_end(&line);
}

void log_certificates(const struct config *config)
{
    for (size_t i = 0; i < config->tls.server_count; i++)
        for (size_t k = 0; k < config->tls.servers[i].certificate_count; k++)
            log_certificate("connector", config->settings.receives[i].name,
                            &config->tls.servers[i].certificates[k]);
    for (size_t i = 0; i < config->tls.client_count; i++)
        if (config->tls.clients[i].certificate.x509 != NULL)
            log_certificate("send", config->settings.sends[i].name, &config->tls.clients[i].certificate);
}
