/* SPDX-License-Identifier: Apache-2.0 */
/* Metrics for Prometheus; see metrics.h. */
#include "metrics.h"
#include "answerer.h"
#include "counters.h"
#include "daemon.h"
#include "loop.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <sealane/engine.h>

struct metrics {
    struct answerer *answerer;
    struct daemon *daemon;
};

static void head(FILE *out, const char *name, const char *type, const char *help)
{
    fprintf(out, "# HELP sealane_%s %s\n# TYPE sealane_%s %s\n", name, help, name, type);
}

static void write_counters(FILE *out, const struct gateway *gateway)
{
    unsigned long long value;
    char name[80];

    for (size_t i = 0; i < counter_count; i++) {
        snprintf(name, sizeof name, "%s_total", counter_table[i].name);
        head(out, name, "counter", counter_table[i].help);
        fprintf(out, "sealane_%s %llu\n", name, (unsigned long long)counters_sum(gateway, &counter_table[i]));
    }
    for (size_t i = 0; i < provider_counter_count; i++) {
        if (!tls_provider_counter(&gateway->library, provider_counters[i].parameter, &value))
            continue;
        snprintf(name, sizeof name, "%s_total", provider_counters[i].name);
        head(out, name, "counter", provider_counters[i].help);
        fprintf(out, "sealane_%s %llu\n", name, value);
    }
}

/* By reason; what never happened is left out. */
static void write_takeovers(FILE *out, const struct gateway *gateway)
{
    head(out, "takeovers_refused_total", "counter", "TLS connections that stayed with libssl");
    for (int v = SEALANE_TAKEN + 1; v < SEALANE_TAKEOVER_VERDICTS; v++) {
        unsigned long long sum = 0;
        for (unsigned i = 0; i < gateway->loop_count; i++)
            sum += atomic_load_explicit(&gateway->loops[i].counters.takeovers_refused[v], memory_order_relaxed);
        if (sum > 0)
            fprintf(out, "sealane_takeovers_refused_total{reason=\"%s\"} %llu\n",
                    sealane_takeover_name((sealane_takeover_verdict)v), sum);
    }
}

/* Of connections that were taken over; what the provider does for libssl is among its own counters. */
static void write_engine(FILE *out)
{
    sealane_backend_info list[SEALANE_BACKENDS_MAX];
    size_t count = sealane_backends(list);
    sealane_counters counters;

    sealane_counters_read(&counters);
    head(out, "engine_records_total", "counter", "TLS records of connections taken over, by backend");
    for (size_t i = 0; i < count; i++) {
        if (counters.sealed[i] + counters.opened[i] == 0)
            continue;
        fprintf(out, "sealane_engine_records_total{backend=\"%s\",direction=\"sealed\"} %llu\n", list[i].name,
                (unsigned long long)counters.sealed[i]);
        fprintf(out, "sealane_engine_records_total{backend=\"%s\",direction=\"opened\"} %llu\n", list[i].name,
                (unsigned long long)counters.opened[i]);
    }
    head(out, "engine_records_forged_total", "counter", "... that were not genuine");
    fprintf(out, "sealane_engine_records_forged_total %llu\n", (unsigned long long)counters.forged);
}

static void write_gauge(FILE *out, const char *name, const char *help, unsigned long long value)
{
    head(out, name, "gauge", help);
    fprintf(out, "sealane_%s %llu\n", name, value);
}

static void write_gauges(FILE *out, const struct daemon *d)
{
    unsigned long long signing = 0, sessions = 0, hops = 0, idle = 0;

    for (unsigned i = 0; i < d->gateway.loop_count; i++) {
        const struct loop *loop = &d->gateway.loops[i];
        signing += atomic_load_explicit(&loop->signing, memory_order_relaxed);
        sessions += atomic_load_explicit(&loop->session_count, memory_order_relaxed);
        hops += atomic_load_explicit(&loop->hop_count, memory_order_relaxed);
        idle += atomic_load_explicit(&loop->idle_count, memory_order_relaxed);
    }
    write_gauge(out, "signing_queue", "handshakes that wait for the key now", signing);
    write_gauge(out, "sessions", "connections of senders that are open", sessions);
    write_gauge(out, "hops", "connections to next hops that are open", hops);
    write_gauge(out, "hops_idle", "... that wait for work", idle);
    write_gauge(out, "settings_generation",
                "which settings are in force: 1 at the start, one more each reload", d->generation);
    write_gauge(out, "reloads_failed", "reloads that changed nothing because the settings were wrong",
                d->failed_reloads);
    write_gauge(out, "start_time_seconds", "when the gateway was started, in seconds since 1970",
                d->gateway.started);
}

static void write_connections(FILE *out, const struct config *config)
{
    head(out, "connector_connections", "gauge", "connections open on a receive connector");
    for (size_t i = 0; i < config->settings.receive_count; i++)
        fprintf(out, "sealane_connector_connections{connector=\"%s\"} %ld\n",
                config->settings.receives[i].name, atomic_load(&config->connectors[i]->open));
}

static void write_expiry(FILE *out, const char *owner, const char *value, const struct tls_certificate *c,
                         time_t now)
{
    fprintf(out, "sealane_certificate_days_left{%s=\"%s\",key=\"%s\"} %.3f\n", owner, value, c->key_type,
            (double)(c->expires_at - (long long)now) / 86400.0);
}

static void write_certificates(FILE *out, const struct config *config)
{
    time_t now = time(NULL);

    head(out, "certificate_days_left", "gauge", "days until a certificate ends");
    for (size_t i = 0; i < config->tls.server_count; i++)
        for (size_t k = 0; k < config->tls.servers[i].certificate_count; k++)
            write_expiry(out, "connector", config->settings.receives[i].name,
                         &config->tls.servers[i].certificates[k], now);
    for (size_t i = 0; i < config->tls.client_count; i++)
        if (config->tls.clients[i].certificate.x509 != NULL)
            write_expiry(out, "send", config->settings.sends[i].name, &config->tls.clients[i].certificate,
                         now);
}

static bool wants_metrics(const char *question)
{
    return strncmp(question, "GET /metrics ", 13) == 0 || strncmp(question, "GET / ", 6) == 0;
}

static void on_question(void *owner, struct answer *answer, const char *question)
{
    struct metrics *m = owner;
    char *text = NULL, *whole = NULL;
    size_t len = 0, whole_len = 0;
    FILE *body = open_memstream(&text, &len), *out = open_memstream(&whole, &whole_len);
    bool good = wants_metrics(question);

    if (body == NULL || out == NULL) {
        if (body != NULL)
            fclose(body);
        if (out != NULL)
            fclose(out);
        free(text);
        free(whole);
        answer_send(answer, NULL, 0);
        return;
    }
    if (good) {
        write_counters(body, &m->daemon->gateway);
        write_takeovers(body, &m->daemon->gateway);
        write_engine(body);
        write_gauges(body, m->daemon);
        write_connections(body, m->daemon->gateway.config);
        write_certificates(body, m->daemon->gateway.config);
    } else {
        fputs("GET /metrics is all there is\n", body);
    }
    fclose(body);
    fprintf(out,
            "HTTP/1.1 %s\r\nContent-Type: text/plain; version=0.0.4\r\nContent-Length: %zu\r\nConnection: "
            "close\r\n\r\n",
            good ? "200 OK" : "404 Not Found", len);
    fwrite(text, 1, len, out);
    fclose(out);
    free(text);
    answer_send(answer, whole, whole_len);
}

bool metrics_open(struct metrics **out, struct daemon *daemon, FILE *errors)
{
    const struct settings *s = &daemon->gateway.config->settings;
    struct metrics *m;

    *out = NULL;
    if (s->metrics.text == NULL)
        return true;
    m = calloc(1, sizeof *m);
    if (m != NULL) {
        m->daemon = daemon;
        m->answerer = answerer_open(&daemon->uv, s->metrics.text, 0660, "\r\n\r\n", on_question, m);
    }
    if (m == NULL || m->answerer == NULL) {
        settings_complain(s, errors, s->metrics.line, "metrics", "cannot listen on %s: %s", s->metrics.text,
                          strerror(errno));
        free(m);
        return false;
    }
    *out = m;
    return true;
}

void metrics_close(struct metrics *m)
{
    if (m == NULL)
        return;
    answerer_close(m->answerer);
    free(m);
}
