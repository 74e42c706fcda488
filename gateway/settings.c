/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The settings file; see settings.h.
 *
 * libconfuse parses and reports syntax, unknown keys and wrong types. Here are the language's tables, the file as a
 * whole, and the names by which sections refer to each other.
 */
#include "settings_private.h"
#include "command.h"

#include <errno.h>
#include <stdarg.h>
#include <string.h>
#include <unistd.h>

void settings_complain(const struct settings *s, FILE *errors, int line, const char *key, const char *format,
                       ...)
{
    va_list args;

    fprintf(errors, "%s:%d: %s: ", s->file, line, key);
    va_start(args, format);
    vfprintf(errors, format, args);
    va_end(args);
    fputc('\n', errors);
}

/* ---- The language ---- */

#define LIMIT(name, value, parse) CFG_INT_CB(name, value, CFGF_NONE, parse)
#define LIMITS(connections, per_address, handshakes, recipients, bad, errors, size, header, line, hops,      \
               rate)                                                                                         \
    {                                                                                                        \
        LIMIT("connections", connections, parse_count),                                                      \
            LIMIT("connections_per_address", per_address, parse_count),                                      \
            LIMIT("handshakes_per_second", handshakes, parse_count),                                         \
            LIMIT("recipients", recipients, parse_count), LIMIT("bad_recipients", bad, parse_count),         \
            LIMIT("errors", errors, parse_count), LIMIT("message_size", size, parse_size),                   \
            LIMIT("header_size", header, parse_size), LIMIT("line", line, parse_size),                       \
            LIMIT("hops", hops, parse_count), LIMIT("minimum_rate", rate, parse_size), CFG_END()             \
    }

static cfg_opt_t global_limits[] =
    LIMITS(10000, 1000, 1000, 1000, 100, 20, 50L * 1024 * 1024, 100L * 1024, 2048, 50, 500);
static cfg_opt_t receive_limits[] =
    LIMITS(INHERIT, INHERIT, INHERIT, INHERIT, INHERIT, INHERIT, INHERIT, INHERIT, INHERIT, INHERIT, INHERIT);

/*
 * A sender waits 5 minutes for RCPT, 2 for DATA and 10 for the final dot (RFC 5321, 4.5.3.2). We give up
 * downstream before that, or it would send the message again while the next hop still takes it (RFC 1047).
 */
static cfg_opt_t timeout_opts[] = {
    CFG_INT_CB("command", 300, CFGF_NONE, parse_time), CFG_INT_CB("handshake", 60, CFGF_NONE, parse_time),
    CFG_INT_CB("key_retry", 1, CFGF_NONE, parse_time), CFG_INT_CB("rate_window", 60, CFGF_NONE, parse_time),
    CFG_INT_CB("connect", 30, CFGF_NONE, parse_time),  CFG_INT_CB("envelope", 240, CFGF_NONE, parse_time),
    CFG_INT_CB("data", 100, CFGF_NONE, parse_time),    CFG_INT_CB("block", 150, CFGF_NONE, parse_time),
    CFG_INT_CB("final", 540, CFGF_NONE, parse_time),   CFG_INT_CB("reuse", 10, CFGF_NONE, parse_time),
    CFG_INT_CB("drain", 30, CFGF_NONE, parse_time),    CFG_END(),
};

#define TLS_PARAMETERS                                                                                       \
    CFG_STR("min_version", NULL, CFGF_NODEFAULT), CFG_STR("ciphers", NULL, CFGF_NODEFAULT),                  \
        CFG_STR("suites", NULL, CFGF_NODEFAULT), CFG_STR("groups", NULL, CFGF_NODEFAULT)

static cfg_opt_t certificate_opts[] = {
    CFG_STR("chain", NULL, CFGF_NODEFAULT),
    CFG_STR("key", NULL, CFGF_NODEFAULT),
    CFG_STR_LIST("names", NULL, CFGF_NODEFAULT),
    CFG_END(),
};

static cfg_opt_t client_certificate_opts[] = {
    CFG_STR("chain", NULL, CFGF_NODEFAULT),
    CFG_STR("key", NULL, CFGF_NODEFAULT),
    CFG_END(),
};

static cfg_opt_t receive_opts[] = {
    CFG_STR("address", NULL, CFGF_NODEFAULT),
    CFG_INT("port", 0, CFGF_NODEFAULT),
    CFG_STR("tls", "may", CFGF_NONE),
    CFG_BOOL("from_queue", cfg_false, CFGF_NONE),
    CFG_SEC("certificate", certificate_opts, CFGF_MULTI),
    TLS_PARAMETERS,
    CFG_STR("client_certificates", "none", CFGF_NONE),
    CFG_STR("client_ca", NULL, CFGF_NODEFAULT),
    CFG_STR_LIST("proxy_from", NULL, CFGF_NODEFAULT),
    CFG_SEC("limits", receive_limits, CFGF_NONE),
    CFG_END(),
};

static cfg_opt_t hop_opts[] = {
    CFG_INT("priority", 10, CFGF_NONE),
    CFG_INT_CB("weight", 1, CFGF_NONE, parse_count),
    CFG_END(),
};

#define POLICY                                                                                               \
    CFG_STR("tls", "may", CFGF_NONE), CFG_STR("ca", NULL, CFGF_NODEFAULT),                                   \
        CFG_STR("server_name", NULL, CFGF_NODEFAULT), CFG_STR_LIST("pins", NULL, CFGF_NODEFAULT)

#define DESTINATION                                                                                          \
    CFG_STR("next_hop", NULL, CFGF_NODEFAULT),                                                               \
        CFG_SEC("hop", hop_opts, CFGF_MULTI | CFGF_TITLE | CFGF_NO_TITLE_DUPES),                             \
        CFG_BOOL("mx", cfg_false, CFGF_NONE), CFG_INT("port", 25, CFGF_NONE), POLICY, TLS_PARAMETERS,        \
        CFG_SEC("certificate", client_certificate_opts, CFGF_MULTI),                                         \
        CFG_STR("fallback", NULL, CFGF_NODEFAULT), CFG_INT_CB("messages", 100, CFGF_NONE, parse_count)

static cfg_opt_t send_opts[] = {
    DESTINATION,
    CFG_END(),
};

static cfg_opt_t route_opts[] = {
    CFG_STR_LIST("recipients", NULL, CFGF_NODEFAULT),
    CFG_STR_LIST("senders", NULL, CFGF_NODEFAULT),
    CFG_STR_LIST("connectors", NULL, CFGF_NODEFAULT),
    CFG_STR_LIST("clients", NULL, CFGF_NODEFAULT),
    CFG_STR("send", NULL, CFGF_NODEFAULT),
    DESTINATION,
    CFG_END(),
};

static cfg_opt_t partner_opts[] = {
    POLICY,
    CFG_STR("inbound", "may", CFGF_NONE),
    CFG_STR_LIST("inbound_pins", NULL, CFGF_NODEFAULT),
    CFG_END(),
};

static cfg_opt_t file_opts[] = {
    CFG_STR("hostname", NULL, CFGF_NODEFAULT),
    CFG_INT("loops", 0, CFGF_NONE),
    CFG_INT_CB("signing_queue", 1000, CFGF_NONE, parse_count),
    CFG_STR("openssl_conf", NULL, CFGF_NODEFAULT),
    CFG_STR("log", "plain", CFGF_NONE),
    CFG_STR("handshake", "async", CFGF_NONE),
    CFG_STR("records", "engine", CFGF_NONE),
    CFG_INT_CB("ticket_lifetime", 3600, CFGF_NONE, parse_time),
    CFG_STR("control", NULL, CFGF_NODEFAULT),
    CFG_STR("metrics", NULL, CFGF_NODEFAULT),
    CFG_STR_LIST("resolvers", NULL, CFGF_NODEFAULT),
    CFG_STR("trust_anchor", NULL, CFGF_NODEFAULT),
    CFG_STR("queue", NULL, CFGF_NODEFAULT),
    CFG_SEC("limits", global_limits, CFGF_NONE),
    CFG_SEC("timeouts", timeout_opts, CFGF_NONE),
    CFG_SEC("receive", receive_opts, CFGF_MULTI | CFGF_TITLE | CFGF_NO_TITLE_DUPES),
    CFG_SEC("send", send_opts, CFGF_MULTI | CFGF_TITLE | CFGF_NO_TITLE_DUPES),
    CFG_SEC("route", route_opts, CFGF_MULTI | CFGF_TITLE | CFGF_NO_TITLE_DUPES),
    CFG_SEC("partner", partner_opts, CFGF_MULTI | CFGF_TITLE | CFGF_NO_TITLE_DUPES),
    CFG_END(),
};

/* ---- The file as a whole ---- */

static void take_timeouts(cfg_t *cfg, struct timeouts *t)
{
    t->command = cfg_getint(cfg, "command");
    t->handshake = cfg_getint(cfg, "handshake");
    t->key_retry = cfg_getint(cfg, "key_retry");
    t->rate_window = cfg_getint(cfg, "rate_window");
    t->connect = cfg_getint(cfg, "connect");
    t->envelope = cfg_getint(cfg, "envelope");
    t->data = cfg_getint(cfg, "data");
    t->block = cfg_getint(cfg, "block");
    t->final = cfg_getint(cfg, "final");
    t->reuse = cfg_getint(cfg, "reuse");
    t->drain = cfg_getint(cfg, "drain");
}

static char *own_hostname(struct store *store)
{
    char name[256] = "";

    if (gethostname(name, sizeof name - 1) != 0 || !command_is_helo_name(name, strlen(name)))
        return store_text(store, "localhost", 9);
    return store_text(store, name, strlen(name));
}

static bool take_head(cfg_t *cfg, struct settings *out)
{
    const char *hostname = cfg_size(cfg, "hostname") > 0 ? cfg_getstr(cfg, "hostname") : NULL;

    out->hostname =
        hostname != NULL ? store_text(&out->store, hostname, strlen(hostname)) : own_hostname(&out->store);
    out->loops = cfg_getint(cfg, "loops");
    if (out->loops == 0)
        out->loops = sysconf(_SC_NPROCESSORS_ONLN);
    out->signing_queue = cfg_getint(cfg, "signing_queue");
    out->log = strcmp(cfg_getstr(cfg, "log"), "json") == 0 ? LOG_JSON : LOG_PLAIN;
    out->handshake_async = strcmp(cfg_getstr(cfg, "handshake"), "async") == 0;
    out->records_engine = strcmp(cfg_getstr(cfg, "records"), "engine") == 0;
    out->ticket_lifetime = cfg_getint(cfg, "ticket_lifetime");
    take_limits(cfg_getsec(cfg, "limits"), &out->limits);
    take_timeouts(cfg_getsec(cfg, "timeouts"), &out->timeouts);
    return out->hostname != NULL && take_text(out, cfg, "openssl_conf", &out->openssl_conf) &&
           take_text(out, cfg, "control", &out->control) && take_text(out, cfg, "metrics", &out->metrics) &&
           take_list(out, cfg, "resolvers", &out->resolvers) &&
           take_text(out, cfg, "trust_anchor", &out->trust_anchor) &&
           take_text(out, cfg, "queue", &out->queue_name);
}

/* Sections in an order in which those that are named come before those that name them. */
static bool take_sections(cfg_t *cfg, struct settings *out)
{
    unsigned receives = cfg_size(cfg, "receive"), sends = cfg_size(cfg, "send");
    unsigned routes = cfg_size(cfg, "route"), partners = cfg_size(cfg, "partner");

    out->receives = store_take(&out->store, receives + 1, sizeof *out->receives);
    out->sends = store_take(&out->store, sends + routes + 1, sizeof *out->sends);
    out->routes = store_take(&out->store, routes + 1, sizeof *out->routes);
    out->partners = store_take(&out->store, partners + 1, sizeof *out->partners);
    if (out->receives == NULL || out->sends == NULL || out->routes == NULL || out->partners == NULL)
        return false;
    for (unsigned i = 0; i < receives; i++, out->receive_count++)
        if (!take_receive(out, cfg_getnsec(cfg, "receive", i), &out->receives[i]))
            return false;
    for (unsigned i = 0; i < sends; i++, out->send_count++)
        if (!take_send(out, cfg_getnsec(cfg, "send", i), &out->sends[i]))
            return false;
    for (unsigned i = 0; i < routes; i++, out->route_count++)
        if (!take_route(out, cfg_getnsec(cfg, "route", i), &out->routes[i]))
            return false;
    for (unsigned i = 0; i < partners; i++, out->partner_count++)
        if (!take_partner(out, cfg_getnsec(cfg, "partner", i), &out->partners[i]))
            return false;
    return true;
}

/* The index of the send connector that `name` names; complains if there is none. */
static size_t resolve(cfg_t *cfg, const struct settings *s, const char *key, const struct setting *name)
{
    if (name->text == NULL)
        return SETTINGS_NONE;
    for (size_t i = 0; i < s->send_count; i++)
        if (strcmp(s->sends[i].name, name->text) == 0)
            return i;
    cfg->line = name->line;
    cfg_error(cfg, "%s: there is no send section or route \"%s\"", key, name->text);
    return SETTINGS_NONE;
}

static void judge_names(cfg_t *cfg, struct settings *s)
{
    for (size_t i = 0; i < s->send_count; i++) {
        struct send_settings *send = &s->sends[i];
        send->fallback = resolve(cfg, s, "fallback", &send->fallback_name);
        if (send->fallback == i)
            cfg_error(cfg, "fallback: \"%s\" cannot be its own", send->name);
        for (size_t k = 0; k < i; k++)
            if (strcmp(s->sends[k].name, send->name) == 0)
                cfg_error(
                    cfg,
                    "send: \"%s\" is the name of a send section and of a route with a next hop of its own",
                    send->name);
    }
    s->queue = resolve(cfg, s, "queue", &s->queue_name);
    if (s->queue != SETTINGS_NONE && s->sends[s->queue].mx)
        cfg_error(cfg, "queue: \"%s\" must have a next hop, not mx", s->sends[s->queue].name);
}

static bool take_file(cfg_t *cfg, struct settings *out)
{
    if (!take_head(cfg, out) || !take_sections(cfg, out))
        return false;
    judge_names(cfg, out);
    if (out->receive_count == 0)
        missing(cfg, "receive", "the file");
    if (out->route_count == 0)
        missing(cfg, "route", "the file");
    return true;
}

bool settings_read(struct settings *out, const char *file, FILE *errors)
{
    cfg_t *cfg;
    int result;

    memset(out, 0, sizeof *out);
    out->queue = SETTINGS_NONE;
    values_begin(file, errors);
    out->file = store_text(&out->store, file, strlen(file));
    cfg = cfg_init(file_opts, CFGF_NONE);
    if (out->file == NULL || cfg == NULL)
        goto no_memory;
    cfg_set_error_function(cfg, values_reporter());
    values_set_checks(cfg);
    result = cfg_parse(cfg, file);
    if (result == CFG_FILE_ERROR) {
        fprintf(errors, "%s: cannot read: %s\n", file, strerror(errno));
        values_count_error();
    } else if (result != CFG_SUCCESS && values_errors() == 0) {
        fprintf(errors, "%s:%d: syntax error\n", file, cfg->line);
        values_count_error();
    } else if (result == CFG_SUCCESS && !take_file(cfg, out)) {
        goto no_memory;
    }
    cfg_free(cfg);
    return values_errors() == 0;

no_memory:
    if (values_errors() == 0)
        fprintf(errors, "%s: out of memory\n", file);
    if (cfg != NULL)
        cfg_free(cfg);
    return false;
}

void settings_free(struct settings *s)
{
    store_free(&s->store);
    memset(s, 0, sizeof *s);
}
