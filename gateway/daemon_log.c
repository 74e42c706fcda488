/* SPDX-License-Identifier: Apache-2.0 */
/* What the log says of the gateway as a whole: at its start, with new settings, and at its end. */
#include "counters.h"
#include "daemon_private.h"
#include "log.h"

#include <openssl/crypto.h>
#include <sealane/provider.h>

void log_settings(const struct config *config)
{
    const struct settings *s = &config->settings;
    struct log_line line;

    log_certificates(config);
    for (size_t i = 0; i < s->route_count; i++) {
        const struct send_settings *send = &s->sends[s->routes[i].send];
        log_begin(&line, "route");
        log_text(&line, "name", s->routes[i].name);
        log_text(&line, "send", send->name);
        log_text(&line, "next_hop", send->mx ? "mx" : send->endpoints[0].text);
        log_text(&line, "tls", tls_level_name(send->policy.level));
        log_end(&line);
    }
    for (size_t i = 0; i < s->receive_count; i++) {
        log_begin(&line, "listening");
        log_text(&line, "connector", s->receives[i].name);
        log_text(&line, "address", s->receives[i].address.text);
        log_number(&line, "port", config->ports[i]);
        log_end(&line);
    }
}

void log_start(const struct gateway *gateway)
{
    const struct settings *s = &gateway->config->settings;
    struct log_line line;

    log_begin(&line, "starting");
    log_text(&line, "version", SEALANE_VERSION);
    log_text(&line, "openssl", OpenSSL_version(OPENSSL_VERSION_STRING));
    log_text(&line, "provider", gateway->library.sealane != NULL ? SEALANE_PROVIDER_NAME : "none");
    log_text(&line, "handshake", s->handshake_async ? "async" : "inline");
    log_text(&line, "records", s->records_engine ? "engine" : "libssl");
    log_number(&line, "loops", gateway->loop_count);
    log_end(&line);
    log_settings(gateway->config);
}

static void log_token(struct log_line *line, const struct tls_library *library)
{
    unsigned long long value;

    for (size_t i = 0; i < provider_counter_count; i++)
        if (tls_provider_counter(library, provider_counters[i].parameter, &value))
            log_number(line, provider_counters[i].name, (long long)value);
}

void log_end_of_run(const struct gateway *gateway)
{
    struct log_line line;

    log_begin(&line, "stopped");
    for (size_t i = 0; i < counter_count; i++)
        log_number(&line, counter_table[i].name, (long long)counters_sum(gateway, &counter_table[i]));
    log_token(&line, &gateway->library);
    log_end(&line);
}
