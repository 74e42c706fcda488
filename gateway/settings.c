/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The settings file; see settings.h.
 *
 * libconfuse parses and reports syntax, unknown keys and wrong types. Ranges are checked while it parses, so
 * that its position is the value's. What is missing can only be seen at the end and is reported with the
 * section's last line.
 */
#include "settings.h"
#include "command.h"

#include <arpa/inet.h>
#include <confuse.h>
#include <errno.h>
#include <limits.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define INHERIT (-1) /* a limit that the section does not set */

static const char *const level_names[] = {"none", "may", "encrypt", "verify"};

const char *tls_level_name(enum tls_level level)
{
    return level_names[level];
}

/* ---- Where values stand ---- */

/* libconfuse gives its callbacks no argument of the caller's: these belong to the one parse that is running.
 */
static _Thread_local FILE *parse_errors;
static _Thread_local const char *parse_file; /* a section without title has lost the name by itself */
static _Thread_local unsigned parse_error_count;
static _Thread_local struct place {
    const cfg_opt_t *option;
    int line;
} places[512];
static _Thread_local size_t place_count;

static void report(cfg_t *cfg, const char *format, va_list args)
{
    parse_error_count++;
    fprintf(parse_errors, "%s:%d: ", parse_file, cfg != NULL ? cfg->line : 0);
    vfprintf(parse_errors, format, args);
    fputc('\n', parse_errors);
}

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

static int note_place(cfg_t *cfg, cfg_opt_t *opt)
{
    if (place_count == sizeof places / sizeof places[0]) {
        cfg_error(cfg, "more than %zu values: split the file", place_count);
        return -1;
    }
    places[place_count++] = (struct place){.option = opt, .line = cfg->line};
    return 0;
}

static int place_of(const cfg_opt_t *opt)
{
    for (size_t i = place_count; i > 0; i--)
        if (places[i - 1].option == opt)
            return places[i - 1].line;
    return 0;
}

/* ---- Values with units ---- */

struct unit {
    const char *name;
    long factor;
};
static const struct unit size_units[] = {
    {"", 1}, {"K", 1024}, {"M", 1024 * 1024}, {"G", 1024L * 1024 * 1024}, {NULL, 0}};
static const struct unit time_units[] = {{"", 1}, {"s", 1}, {"m", 60}, {"h", 3600}, {NULL, 0}};

/* A positive number with a unit of the table, into `result` (long). */
static int parse_quantity(cfg_t *cfg, cfg_opt_t *opt, const char *value, void *result,
                          const struct unit *units, const char *example)
{
    char *end;
    long number;

    errno = 0;
    number = strtol(value, &end, 10);
    for (; units->name != NULL; units++)
        if (strcmp(units->name, end) == 0)
            break;
    if (errno != 0 || end == value || number <= 0 || units->name == NULL ||
        number > LONG_MAX / units->factor) {
        cfg_error(cfg, "%s: \"%s\" is not a positive quantity such as %s", opt->name, value, example);
        return -1;
    }
    *(long *)result = number * units->factor;
    return 0;
}

static int parse_size(cfg_t *cfg, cfg_opt_t *opt, const char *value, void *result)
{
    return parse_quantity(cfg, opt, value, result, size_units, "2048, 100K or 50M");
}

static int parse_time(cfg_t *cfg, cfg_opt_t *opt, const char *value, void *result)
{
    return parse_quantity(cfg, opt, value, result, time_units, "30s, 5m or 1h");
}

static int parse_count(cfg_t *cfg, cfg_opt_t *opt, const char *value, void *result)
{
    static const struct unit none[] = {{"", 1}, {NULL, 0}};
    return parse_quantity(cfg, opt, value, result, none, "100");
}

/* ---- Single values ---- */

static const char *last_text(cfg_opt_t *opt)
{
    return cfg_opt_getnstr(opt, cfg_opt_size(opt) - 1);
}

static int find_word(const char *word, const char *const *words, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (strcmp(word, words[i]) == 0)
            return (int)i;
    return -1;
}

static int check_receive_tls(cfg_t *cfg, cfg_opt_t *opt)
{
    int level = find_word(last_text(opt), level_names, 4);
    if (level == TLS_LEVEL_MAY || level == TLS_LEVEL_ENCRYPT)
        return note_place(cfg, opt);
    cfg_error(cfg, "tls: \"%s\" is not one of: may, encrypt", last_text(opt));
    return -1;
}

static int check_route_tls(cfg_t *cfg, cfg_opt_t *opt)
{
    static const char *const later[] = {"dane", "dane-only", "fingerprint", "secure"};

    if (find_word(last_text(opt), level_names, 4) >= 0)
        return note_place(cfg, opt);
    if (find_word(last_text(opt), later, 4) >= 0)
        cfg_error(cfg, "tls: \"%s\" is not offered yet; it is one of: none, may, encrypt, verify",
                  last_text(opt));
    else
        cfg_error(cfg, "tls: \"%s\" is not one of: none, may, encrypt, verify", last_text(opt));
    return -1;
}

static int check_log(cfg_t *cfg, cfg_opt_t *opt)
{
    static const char *const words[] = {"plain", "json"};
    if (find_word(last_text(opt), words, 2) >= 0)
        return 0;
    cfg_error(cfg, "log: \"%s\" is not one of: plain, json", last_text(opt));
    return -1;
}

static int check_handshake(cfg_t *cfg, cfg_opt_t *opt)
{
    static const char *const words[] = {"async", "inline"};
    if (find_word(last_text(opt), words, 2) >= 0)
        return 0;
    cfg_error(cfg, "handshake: \"%s\" is not one of: async, inline", last_text(opt));
    return -1;
}

static int check_hostname(cfg_t *cfg, cfg_opt_t *opt)
{
    const char *name = last_text(opt);
    if (command_is_helo_name(name, strlen(name)))
        return 0;
    cfg_error(cfg, "hostname: \"%s\" is not a host name", name);
    return -1;
}

static int check_address(cfg_t *cfg, cfg_opt_t *opt)
{
    struct in6_addr any;
    const char *text = last_text(opt);

    if (inet_pton(AF_INET, text, &any) == 1 || inet_pton(AF_INET6, text, &any) == 1)
        return note_place(cfg, opt);
    cfg_error(cfg, "address: \"%s\" is not a numeric IPv4 or IPv6 address", text);
    return -1;
}

static int check_port(cfg_t *cfg, cfg_opt_t *opt)
{
    long port = cfg_opt_getnint(opt, cfg_opt_size(opt) - 1);
    if (port >= 0 && port <= 65535)
        return note_place(cfg, opt);
    cfg_error(cfg, "port: %ld is not between 0 and 65535", port);
    return -1;
}

static int check_loops(cfg_t *cfg, cfg_opt_t *opt)
{
    long loops = cfg_opt_getnint(opt, cfg_opt_size(opt) - 1);
    if (loops >= 0 && loops <= 256)
        return 0;
    cfg_error(cfg, "loops: %ld is not between 0 (one per core) and 256", loops);
    return -1;
}

/* A line must fit the buffer that it is looked for in, with room for what comes behind it. */
#define LINE_LIMIT_MAX   16384
#define LINE_LIMIT_MIN   512 /* RFC 5321, 4.5.3.1.4 */
#define RECIPIENTS_LEAST 100 /* RFC 5321, 4.5.3.1.8 */

static int check_line(cfg_t *cfg, cfg_opt_t *opt)
{
    long line = cfg_opt_getnint(opt, cfg_opt_size(opt) - 1);
    if (line >= LINE_LIMIT_MIN && line <= LINE_LIMIT_MAX)
        return 0;
    cfg_error(cfg, "line: %ld is not between %d and %d", line, LINE_LIMIT_MIN, LINE_LIMIT_MAX);
    return -1;
}

static int check_recipients(cfg_t *cfg, cfg_opt_t *opt)
{
    long recipients = cfg_opt_getnint(opt, cfg_opt_size(opt) - 1);
    if (recipients >= RECIPIENTS_LEAST)
        return 0;
    cfg_error(cfg, "recipients: %ld is less than the %d of RFC 5321", recipients, RECIPIENTS_LEAST);
    return -1;
}

static int check_text(cfg_t *cfg, cfg_opt_t *opt)
{
    if (last_text(opt)[0] != '\0')
        return note_place(cfg, opt);
    cfg_error(cfg, "%s: is empty", opt->name);
    return -1;
}

/* "host:port", "[v6]:port"; the parts are malloc'd. */
static bool split_next_hop(const char *text, char **host, char **port)
{
    const char *colon = strrchr(text, ':');
    const char *first = text, *last = colon;
    char *end;

    if (colon == NULL || colon == text)
        return false;
    if (text[0] == '[') {
        if (colon[-1] != ']')
            return false;
        first = text + 1;
        last = colon - 1;
    } else if (memchr(text, ':', (size_t)(colon - text)) != NULL) {
        return false; /* an IPv6 address without brackets: which colon is the port's? */
    }
    long number = strtol(colon + 1, &end, 10);
    if (last == first || *end != '\0' || end == colon + 1 || number < 1 || number > 65535)
        return false;
    *host = strndup(first, (size_t)(last - first));
    *port = strdup(colon + 1);
    return *host != NULL && *port != NULL;
}

static int check_next_hop(cfg_t *cfg, cfg_opt_t *opt)
{
    char *host = NULL, *port = NULL;
    bool good = split_next_hop(last_text(opt), &host, &port);

    free(host);
    free(port);
    if (good)
        return note_place(cfg, opt);
    cfg_error(cfg, "next_hop: \"%s\" is not \"host:port\" or \"[IPv6]:port\"", last_text(opt));
    return -1;
}

/* ---- The language ---- */

#define LIMIT(name, value, parse) CFG_INT_CB(name, value, CFGF_NONE, parse)
#define LIMITS(connections, recipients, bad, errors, size, header, line, hops, rate)                         \
    {                                                                                                        \
        LIMIT("connections", connections, parse_count), LIMIT("recipients", recipients, parse_count),        \
            LIMIT("bad_recipients", bad, parse_count), LIMIT("errors", errors, parse_count),                 \
            LIMIT("message_size", size, parse_size), LIMIT("header_size", header, parse_size),               \
            LIMIT("line", line, parse_size), LIMIT("hops", hops, parse_count),                               \
            LIMIT("minimum_rate", rate, parse_size), CFG_END()                                               \
    }

static cfg_opt_t global_limits[] =
    LIMITS(10000, 1000, 100, 20, 50L * 1024 * 1024, 100L * 1024, 2048, 50, 500);
static cfg_opt_t receive_limits[] =
    LIMITS(INHERIT, INHERIT, INHERIT, INHERIT, INHERIT, INHERIT, INHERIT, INHERIT, INHERIT);

/*
 * A sender waits 5 minutes for RCPT, 2 for DATA and 10 for the final dot (RFC 5321, 4.5.3.2). We give up
 * downstream before that, or it would send the message again while the next hop still takes it (RFC 1047).
 */
static cfg_opt_t timeout_opts[] = {
    CFG_INT_CB("command", 300, CFGF_NONE, parse_time),
    CFG_INT_CB("handshake", 60, CFGF_NONE, parse_time),
    CFG_INT_CB("key_retry", 1, CFGF_NONE, parse_time),
    CFG_INT_CB("rate_window", 60, CFGF_NONE, parse_time),
    CFG_INT_CB("connect", 30, CFGF_NONE, parse_time),
    CFG_INT_CB("envelope", 240, CFGF_NONE, parse_time),
    CFG_INT_CB("data", 100, CFGF_NONE, parse_time),
    CFG_INT_CB("block", 150, CFGF_NONE, parse_time),
    CFG_INT_CB("final", 540, CFGF_NONE, parse_time),
    CFG_INT_CB("drain", 30, CFGF_NONE, parse_time),
    CFG_END(),
};

static cfg_opt_t certificate_opts[] = {
    CFG_STR("chain", NULL, CFGF_NODEFAULT),
    CFG_STR("key", NULL, CFGF_NODEFAULT),
    CFG_END(),
};

static cfg_opt_t receive_opts[] = {
    CFG_STR("address", NULL, CFGF_NODEFAULT),
    CFG_INT("port", 0, CFGF_NODEFAULT),
    CFG_STR("tls", "may", CFGF_NONE),
    CFG_SEC("certificate", certificate_opts, CFGF_MULTI),
    CFG_SEC("limits", receive_limits, CFGF_NONE),
    CFG_END(),
};

static cfg_opt_t route_opts[] = {
    CFG_STR("next_hop", NULL, CFGF_NODEFAULT),
    CFG_STR("tls", "may", CFGF_NONE),
    CFG_STR("ca", NULL, CFGF_NODEFAULT),
    CFG_STR("server_name", NULL, CFGF_NODEFAULT),
    CFG_END(),
};

static cfg_opt_t file_opts[] = {
    CFG_STR("hostname", NULL, CFGF_NODEFAULT),
    CFG_INT("loops", 0, CFGF_NONE),
    CFG_INT_CB("signing_queue", 1000, CFGF_NONE, parse_count),
    CFG_STR("openssl_conf", NULL, CFGF_NODEFAULT),
    CFG_STR("log", "plain", CFGF_NONE),
    CFG_STR("handshake", "async", CFGF_NONE),
    CFG_SEC("limits", global_limits, CFGF_NONE),
    CFG_SEC("timeouts", timeout_opts, CFGF_NONE),
    CFG_SEC("receive", receive_opts, CFGF_MULTI | CFGF_TITLE | CFGF_NO_TITLE_DUPES),
    CFG_SEC("route", route_opts, CFGF_MULTI | CFGF_TITLE | CFGF_NO_TITLE_DUPES),
    CFG_END(),
};

static void set_checks(cfg_t *cfg)
{
    static const struct {
        const char *name;
        cfg_validate_callback_t check;
    } checks[] = {
        {"hostname", check_hostname},
        {"loops", check_loops},
        {"log", check_log},
        {"handshake", check_handshake},
        {"openssl_conf", check_text},
        {"limits|line", check_line},
        {"limits|recipients", check_recipients},
        {"receive|limits|line", check_line},
        {"receive|limits|recipients", check_recipients},
        {"receive|address", check_address},
        {"receive|port", check_port},
        {"receive|tls", check_receive_tls},
        {"receive|certificate|chain", check_text},
        {"receive|certificate|key", check_text},
        {"route|next_hop", check_next_hop},
        {"route|tls", check_route_tls},
        {"route|ca", check_text},
        {"route|server_name", check_text},
    };

    for (size_t i = 0; i < sizeof checks / sizeof checks[0]; i++)
        cfg_set_validate_func(cfg, checks[i].name, checks[i].check);
}

/* ---- From libconfuse's tree to ours ---- */

static bool take_setting(cfg_t *cfg, const char *name, struct setting *out)
{
    cfg_opt_t *opt = cfg_getopt(cfg, name);
    const char *text = cfg_opt_size(opt) > 0 ? cfg_opt_getstr(opt) : NULL;

    if (text == NULL)
        return true;
    out->text = strdup(text);
    out->line = place_of(opt);
    return out->text != NULL;
}

static void missing(cfg_t *cfg, const char *what, const char *section)
{
    cfg_error(cfg, "%s: is missing in %s", what, section);
}

static void take_limits(cfg_t *cfg, struct limits *l)
{
    const struct {
        const char *name;
        long *to;
    } rows[] = {
        {"connections", &l->connections},
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
    t->drain = cfg_getint(cfg, "drain");
}

static bool take_certificates(cfg_t *cfg, struct receive_settings *r)
{
    r->certificate_count = cfg_size(cfg, "certificate");
    r->certificates = calloc(r->certificate_count + 1, sizeof *r->certificates);
    if (r->certificates == NULL)
        return false;
    for (size_t i = 0; i < r->certificate_count; i++) {
        cfg_t *section = cfg_getnsec(cfg, "certificate", (unsigned)i);
        struct certificate_settings *c = &r->certificates[i];
        if (!take_setting(section, "chain", &c->chain) || !take_setting(section, "key", &c->key))
            return false;
        if (c->chain.text == NULL)
            missing(section, "chain", "certificate");
        if (c->key.text == NULL)
            missing(section, "key", "certificate");
    }
    return true;
}

static bool take_receive(cfg_t *cfg, const struct limits *limits, struct receive_settings *r)
{
    cfg_opt_t *port = cfg_getopt(cfg, "port");

    r->name = strdup(cfg_title(cfg));
    r->line = cfg->line;
    if (r->name == NULL || !take_setting(cfg, "address", &r->address) || !take_certificates(cfg, r))
        return false;
    r->tls = (enum tls_level)find_word(cfg_getstr(cfg, "tls"), level_names, 4);
    r->limits = *limits;
    take_limits(cfg_getsec(cfg, "limits"), &r->limits);
    if (!command_is_helo_name(r->name, strlen(r->name)))
        cfg_error(cfg, "receive: the name \"%s\" may have letters, digits and -_.: only", r->name);
    if (r->address.text == NULL)
        missing(cfg, "address", "receive");
    if (cfg_opt_size(port) == 0)
        missing(cfg, "port", "receive");
    else
        r->port = (int)cfg_opt_getnint(port, 0);
    if (r->certificate_count == 0)
        missing(cfg, "certificate", "receive");
    return true;
}

static bool take_route(cfg_t *cfg, struct route_settings *r)
{
    r->name = strdup(cfg_title(cfg));
    r->line = cfg->line;
    if (r->name == NULL || !take_setting(cfg, "next_hop", &r->next_hop) || !take_setting(cfg, "ca", &r->ca) ||
        !take_setting(cfg, "server_name", &r->server_name))
        return false;
    r->tls = (enum tls_level)find_word(cfg_getstr(cfg, "tls"), level_names, 4);
    if (!command_is_helo_name(r->name, strlen(r->name)))
        cfg_error(cfg, "route: the name \"%s\" may have letters, digits and -_.: only", r->name);
    if (r->next_hop.text == NULL)
        missing(cfg, "next_hop", "route");
    else if (!split_next_hop(r->next_hop.text, &r->host, &r->port))
        return false;
    if (r->ca.text != NULL && r->tls != TLS_LEVEL_VERIFY)
        cfg_error(cfg, "ca: is only used with tls = verify");
    return true;
}

static char *own_hostname(void)
{
    char name[256] = "";

    if (gethostname(name, sizeof name - 1) != 0 || !command_is_helo_name(name, strlen(name)))
        return strdup("localhost");
    return strdup(name);
}

static bool take_file(cfg_t *cfg, struct settings *out)
{
    const char *hostname = cfg_opt_size(cfg_getopt(cfg, "hostname")) > 0 ? cfg_getstr(cfg, "hostname") : NULL;

    out->hostname = hostname != NULL ? strdup(hostname) : own_hostname();
    out->loops = cfg_getint(cfg, "loops");
    if (out->loops == 0)
        out->loops = sysconf(_SC_NPROCESSORS_ONLN);
    out->signing_queue = cfg_getint(cfg, "signing_queue");
    out->log = strcmp(cfg_getstr(cfg, "log"), "json") == 0 ? LOG_JSON : LOG_PLAIN;
    out->handshake_async = strcmp(cfg_getstr(cfg, "handshake"), "async") == 0;
    take_limits(cfg_getsec(cfg, "limits"), &out->limits);
    take_timeouts(cfg_getsec(cfg, "timeouts"), &out->timeouts);
    out->receives = calloc(cfg_size(cfg, "receive") + 1, sizeof *out->receives);
    out->routes = calloc(cfg_size(cfg, "route") + 1, sizeof *out->routes);
    if (out->hostname == NULL || !take_setting(cfg, "openssl_conf", &out->openssl_conf) ||
        out->receives == NULL || out->routes == NULL)
        return false;

    for (unsigned i = 0; i < cfg_size(cfg, "receive"); i++) {
        out->receive_count++;
        if (!take_receive(cfg_getnsec(cfg, "receive", i), &out->limits, &out->receives[i]))
            return false;
    }
    for (unsigned i = 0; i < cfg_size(cfg, "route"); i++) {
        out->route_count++;
        if (!take_route(cfg_getnsec(cfg, "route", i), &out->routes[i]))
            return false;
    }
    if (out->receive_count == 0)
        missing(cfg, "receive", "the file");
    if (out->route_count == 0)
        missing(cfg, "route", "the file");
    if (out->route_count > 1) {
        cfg_t *second = cfg_getnsec(cfg, "route", 1);
        cfg_error(second, "route: only one route is supported, \"%s\" is one too many", cfg_title(second));
    }
    return true;
}

bool settings_read(struct settings *out, const char *file, FILE *errors)
{
    cfg_t *cfg;
    int result;

    memset(out, 0, sizeof *out);
    parse_errors = errors;
    parse_file = file;
    parse_error_count = 0;
    place_count = 0;
    out->file = strdup(file);
    cfg = cfg_init(file_opts, CFGF_NONE);
    if (out->file == NULL || cfg == NULL)
        goto no_memory;
    cfg_set_error_function(cfg, report);
    set_checks(cfg);
    result = cfg_parse(cfg, file);
    if (result == CFG_FILE_ERROR) {
        fprintf(errors, "%s: cannot read: %s\n", file, strerror(errno));
        parse_error_count++;
    } else if (result != CFG_SUCCESS && parse_error_count == 0) {
        fprintf(errors, "%s:%d: syntax error\n", file, cfg->line);
        parse_error_count++;
    } else if (result == CFG_SUCCESS && !take_file(cfg, out)) {
        goto no_memory;
    }
    cfg_free(cfg);
    return parse_error_count == 0;

no_memory:
    fprintf(errors, "%s: out of memory\n", file);
    if (cfg != NULL)
        cfg_free(cfg);
    return false;
}

void settings_free(struct settings *s)
{
    for (size_t i = 0; i < s->receive_count; i++) {
        struct receive_settings *r = &s->receives[i];
        for (size_t k = 0; k < r->certificate_count && r->certificates != NULL; k++) {
            free(r->certificates[k].chain.text);
            free(r->certificates[k].key.text);
        }
        free(r->certificates);
        free(r->name);
        free(r->address.text);
    }
    for (size_t i = 0; i < s->route_count; i++) {
        struct route_settings *r = &s->routes[i];
        free(r->name);
        free(r->next_hop.text);
        free(r->host);
        free(r->port);
        free(r->ca.text);
        free(r->server_name.text);
    }
    free(s->receives);
    free(s->routes);
    free(s->openssl_conf.text);
    free(s->hostname);
    free(s->file);
    memset(s, 0, sizeof *s);
}
