/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From libconfuse's tree to our structures, section by section, and what can be seen only when a section is
 * whole: what is missing in it and what does not go together. Such complaints carry the section's last line.
 */
#include "settings_private.h"
#include "command.h"

#include <string.h>

void missing(cfg_t *cfg, const char *what, const char *section)
{
    cfg_error(cfg, "%s: is missing in %s", what, section);
}

/* ---- Pieces ---- */

bool take_text(struct settings *s, cfg_t *cfg, const char *name, struct setting *out)
{
    cfg_opt_t *opt = cfg_getopt(cfg, name);
    const char *text = cfg_opt_size(opt) > 0 ? cfg_opt_getstr(opt) : NULL;

    if (text == NULL)
        return true;
    out->text = store_text(&s->store, text, strlen(text));
    out->line = place_of(opt);
    return out->text != NULL;
}

bool take_list(struct settings *s, cfg_t *cfg, const char *name, struct setting_list *out)
{
    cfg_opt_t *opt = cfg_getopt(cfg, name);

    out->count = cfg_opt_size(opt);
    out->items = store_take(&s->store, out->count + 1, sizeof *out->items);
    for (unsigned i = 0; out->items != NULL && i < out->count; i++) {
        const char *text = cfg_opt_getnstr(opt, i);
        out->items[i].text = store_text(&s->store, text, strlen(text));
        out->items[i].line = place_of(opt);
        if (out->items[i].text == NULL)
            return false;
    }
    return out->items != NULL;
}

static bool take_pins(struct settings *s, cfg_t *cfg, const char *name, struct pin **pins, size_t *count)
{
    cfg_opt_t *opt = cfg_getopt(cfg, name);

    *count = cfg_opt_size(opt);
    *pins = store_take(&s->store, *count + 1, sizeof **pins);
    for (unsigned i = 0; *pins != NULL && i < *count; i++)
        (void)pin_parse(&(*pins)[i], cfg_opt_getnstr(opt, i)); /* checked while it was read */
    return *pins != NULL;
}

static bool take_name(struct settings *s, cfg_t *cfg, const char *section, char **name)
{
    *name = store_text(&s->store, cfg_title(cfg), strlen(cfg_title(cfg)));
    if (!command_is_helo_name(cfg_title(cfg), strlen(cfg_title(cfg))))
        cfg_error(cfg, "%s: the name \"%s\" may have letters, digits and -_.: only", section, cfg_title(cfg));
    return *name != NULL;
}

void take_limits(cfg_t *cfg, struct limits *l)
{
    const struct {
        const char *name;
        long *to;
    } rows[] = {
        {"connections", &l->connections},
        {"connections_per_address", &l->connections_per_address},
        {"handshakes_per_second", &l->handshakes_per_second},
        {"recipients", &l->recipients},
        {"bad_recipients", &l->bad_recipients},
        {"errors", &l->errors},
        {"message_size", &l->message_size},
        {"header_size", &l->header_size},
        {"line", &l->line},
        {"hops", &l->hops},
        {"minimum_rate", &l->minimum_rate},
    };

    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        long value = cfg_getint(cfg, rows[i].name);
        if (value != INHERIT)
            *rows[i].to = value;
    }
}

static bool take_parameters(struct settings *s, cfg_t *cfg, struct tls_parameters *p)
{
    return take_text(s, cfg, "min_version", &p->min_version) && take_text(s, cfg, "ciphers", &p->ciphers) &&
           take_text(s, cfg, "suites", &p->suites) && take_text(s, cfg, "groups", &p->groups);
}

static bool take_certificate(struct settings *s, cfg_t *cfg, struct certificate_settings *c)
{
    if (!take_text(s, cfg, "chain", &c->chain) || !take_text(s, cfg, "key", &c->key))
        return false;
    if (c->chain.text == NULL)
        missing(cfg, "chain", "certificate");
    if (c->key.text == NULL)
        missing(cfg, "key", "certificate");
    return true;
}

/* ---- receive ---- */

static bool take_certificates(struct settings *s, cfg_t *cfg, struct receive_settings *r)
{
    r->certificate_count = cfg_size(cfg, "certificate");
    r->certificates = store_take(&s->store, r->certificate_count + 1, sizeof *r->certificates);
    if (r->certificates == NULL)
        return false;
    for (size_t i = 0; i < r->certificate_count; i++) {
        cfg_t *section = cfg_getnsec(cfg, "certificate", (unsigned)i);
        if (!take_certificate(s, section, &r->certificates[i]) ||
            !take_list(s, section, "names", &r->certificates[i].names))
            return false;
    }
    if (r->certificate_count == 0)
        missing(cfg, "certificate", "receive");
    return true;
}

static bool take_proxies(struct settings *s, cfg_t *cfg, struct receive_settings *r)
{
    cfg_opt_t *opt = cfg_getopt(cfg, "proxy_from");

    r->proxy_count = cfg_opt_size(opt);
    r->proxies = store_take(&s->store, r->proxy_count + 1, sizeof *r->proxies);
    for (unsigned i = 0; r->proxies != NULL && i < r->proxy_count; i++)
        (void)network_parse(&r->proxies[i], cfg_opt_getnstr(opt, i));
    return r->proxies != NULL;
}

static enum client_certificates client_certificates_of(const char *word)
{
    return strcmp(word, "require") == 0 ? CLIENT_CERTIFICATES_REQUIRE
           : strcmp(word, "ask") == 0   ? CLIENT_CERTIFICATES_ASK
                                        : CLIENT_CERTIFICATES_NONE;
}

bool take_receive(struct settings *s, cfg_t *cfg, struct receive_settings *r)
{
    cfg_opt_t *port = cfg_getopt(cfg, "port");

    r->line = cfg->line;
    r->limits = s->limits;
    if (!take_name(s, cfg, "receive", &r->name) || !take_text(s, cfg, "address", &r->address) ||
        !take_certificates(s, cfg, r) || !take_parameters(s, cfg, &r->parameters) ||
        !take_proxies(s, cfg, r) || !take_text(s, cfg, "client_ca", &r->client_ca))
        return false;
    r->implicit = strcmp(cfg_getstr(cfg, "tls"), "implicit") == 0;
    r->tls = r->implicit ? TLS_LEVEL_ENCRYPT : level_of(cfg_getstr(cfg, "tls"));
    r->from_queue = cfg_getbool(cfg, "from_queue") == cfg_true;
    r->client_certificates = client_certificates_of(cfg_getstr(cfg, "client_certificates"));
    take_limits(cfg_getsec(cfg, "limits"), &r->limits);
    if (r->address.text == NULL)
        missing(cfg, "address", "receive");
    if (cfg_opt_size(port) == 0)
        missing(cfg, "port", "receive");
    else
        r->port = (int)cfg_opt_getnint(port, 0);
    if (r->client_ca.text != NULL && r->client_certificates == CLIENT_CERTIFICATES_NONE)
        cfg_error(cfg, "client_ca: is only used with client_certificates = ask or require");
    return true;
}

/* ---- send and route ---- */

/* What the words demand must be there, and what is there must have a use: a demand that does nothing is a
 * trap. */
static void judge_policy(cfg_t *cfg, const struct policy_settings *p)
{
    if (p->level == TLS_LEVEL_FINGERPRINT && p->pin_count == 0)
        cfg_error(cfg, "pins: is missing for tls = fingerprint");
    if (p->level != TLS_LEVEL_FINGERPRINT && p->pin_count > 0)
        cfg_error(cfg, "pins: are only used with tls = fingerprint");
    if (p->ca.text != NULL && p->level < TLS_LEVEL_VERIFY)
        cfg_error(cfg, "ca: is only used with tls = verify or secure");
}

static bool take_policy(struct settings *s, cfg_t *cfg, struct policy_settings *p)
{
    p->line = cfg->line;
    p->level = level_of(cfg_getstr(cfg, "tls"));
    return take_text(s, cfg, "ca", &p->ca) && take_text(s, cfg, "server_name", &p->server_name) &&
           take_pins(s, cfg, "pins", &p->pins, &p->pin_count);
}

static bool take_endpoint(struct settings *s, cfg_t *cfg, const char *text, long priority, long weight,
                          struct send_settings *send)
{
    struct endpoint *e = &send->endpoints[send->endpoint_count];

    if (!split_endpoint(&s->store, text, e)) {
        cfg_error(cfg, "next_hop: \"%s\" is not \"host:port\"", text);
        return false;
    }
    e->priority = priority;
    e->weight = weight;
    send->endpoint_count++;
    return true;
}

static bool take_endpoints(struct settings *s, cfg_t *cfg, struct send_settings *send)
{
    cfg_opt_t *single = cfg_getopt(cfg, "next_hop");
    unsigned count = cfg_size(cfg, "hop");

    if (count > ENDPOINTS_MAX)
        cfg_error(cfg, "hop: %u are more than %u", count, ENDPOINTS_MAX);
    send->endpoints = store_take(&s->store, count + 1, sizeof *send->endpoints);
    if (send->endpoints == NULL)
        return false;
    if (cfg_opt_size(single) > 0 && !take_endpoint(s, cfg, cfg_opt_getstr(single), 0, 1, send))
        return false;
    for (unsigned i = 0; i < count; i++) {
        cfg_t *hop = cfg_getnsec(cfg, "hop", i);
        if (cfg_opt_size(single) > 0)
            cfg_error(hop, "hop: next_hop is there already; write hop sections alone");
        else if (!take_endpoint(s, hop, cfg_title(hop), cfg_getint(hop, "priority"),
                                cfg_getint(hop, "weight"), send))
            return false;
    }
    return true;
}

static bool has_destination(cfg_t *cfg)
{
    return cfg_size(cfg, "next_hop") > 0 || cfg_size(cfg, "hop") > 0 || cfg_getbool(cfg, "mx") == cfg_true;
}

bool take_send(struct settings *s, cfg_t *cfg, struct send_settings *send)
{
    char port[8];

    send->line = cfg->line;
    send->fallback = SETTINGS_NONE;
    send->mx = cfg_getbool(cfg, "mx") == cfg_true;
    send->messages = cfg_getint(cfg, "messages");
    snprintf(port, sizeof port, "%ld", cfg_getint(cfg, "port"));
    send->port = store_text(&s->store, port, strlen(port));
    if (send->port == NULL || !take_name(s, cfg, cfg_name(cfg), &send->name) ||
        !take_endpoints(s, cfg, send) || !take_policy(s, cfg, &send->policy) ||
        !take_parameters(s, cfg, &send->parameters) || !take_text(s, cfg, "fallback", &send->fallback_name))
        return false;
    if (cfg_size(cfg, "certificate") > 0 &&
        !take_certificate(s, cfg_getnsec(cfg, "certificate", 0), &send->certificate))
        return false;
    if (cfg_size(cfg, "certificate") > 1)
        cfg_error(cfg, "certificate: one is enough for a client");
    if (!has_destination(cfg))
        missing(cfg, "next_hop (or hop, mx)", cfg_name(cfg));
    if (send->mx && send->endpoint_count > 0)
        cfg_error(cfg, "mx: either the recipient's domain is looked up, or next_hop says where to go");
    judge_policy(cfg, &send->policy);
    return true;
}

/* An MX route that takes any recipient from anybody is an open relay. Sender addresses prove nothing. */
static bool is_open_relay(const struct settings *s, const struct route_settings *r)
{
    bool any = r->recipients.count == 0;

    for (size_t i = 0; i < r->recipients.count; i++) {
        const char *at = strrchr(r->recipients.items[i].text, '@');
        any |= strcmp(at != NULL ? at + 1 : r->recipients.items[i].text, "*") == 0;
    }
    return s->sends[r->send].mx && any && r->connectors.count == 0 && r->client_count == 0;
}

static size_t find_send(const struct settings *s, const char *name)
{
    for (size_t i = 0; i < s->send_count; i++)
        if (strcmp(s->sends[i].name, name) == 0)
            return i;
    return SETTINGS_NONE;
}

static bool has_receive(const struct settings *s, const char *name)
{
    for (size_t i = 0; i < s->receive_count; i++)
        if (strcmp(s->receives[i].name, name) == 0)
            return true;
    return false;
}

bool take_route(struct settings *s, cfg_t *cfg, struct route_settings *r)
{
    r->line = cfg->line;
    if (!take_name(s, cfg, "route", &r->name) || !take_list(s, cfg, "recipients", &r->recipients) ||
        !take_list(s, cfg, "senders", &r->senders) || !take_list(s, cfg, "connectors", &r->connectors) ||
        !take_pins(s, cfg, "clients", &r->clients, &r->client_count) ||
        !take_text(s, cfg, "send", &r->send_name))
        return false;
    if (r->send_name.text == NULL) { /* it is its own send connector */
        r->send = s->send_count++;
        if (!take_send(s, cfg, &s->sends[r->send]))
            return false;
    } else {
        r->send = find_send(s, r->send_name.text);
        if (r->send == SETTINGS_NONE)
            cfg_error(cfg, "send: there is no send section \"%s\"", r->send_name.text);
        if (has_destination(cfg))
            cfg_error(cfg, "send: the route names a send section and has a next hop of its own as well");
    }
    for (size_t i = 0; i < r->connectors.count; i++)
        if (!has_receive(s, r->connectors.items[i].text))
            cfg_error(cfg, "connectors: there is no receive section \"%s\"", r->connectors.items[i].text);
    if (r->send != SETTINGS_NONE && is_open_relay(s, r))
        cfg_error(
            cfg,
            "route: with mx it would relay anything for anybody; name connectors, clients or recipients");
    return true;
}

/* ---- partner ---- */

bool take_partner(struct settings *s, cfg_t *cfg, struct partner_settings *p)
{
    p->line = cfg->line;
    p->name = store_text(&s->store, cfg_title(cfg), strlen(cfg_title(cfg)));
    if (p->name == NULL || !take_policy(s, cfg, &p->policy) ||
        !take_pins(s, cfg, "inbound_pins", &p->inbound_pins, &p->inbound_pin_count))
        return false;
    if (!pattern_is_valid(p->name) || strchr(p->name, '@') != NULL || p->name[0] == '<')
        cfg_error(cfg, "partner: \"%s\" is not a domain or \"*.domain\"", p->name);
    p->has_policy = place_of(cfg_getopt(cfg, "tls")) != 0;
    p->inbound = level_of(cfg_getstr(cfg, "inbound"));
    if (p->inbound_pin_count == 0) {
        p->inbound_pins = p->policy.pins;
        p->inbound_pin_count = p->policy.pin_count;
    }
    if (p->inbound == TLS_LEVEL_FINGERPRINT && p->inbound_pin_count == 0)
        cfg_error(cfg, "inbound_pins: is missing for inbound = fingerprint");
    if (p->has_policy)
        judge_policy(cfg, &p->policy);
    if (!p->has_policy && p->inbound == TLS_LEVEL_MAY)
        cfg_error(cfg, "partner: neither tls nor inbound demands anything");
    return true;
}
