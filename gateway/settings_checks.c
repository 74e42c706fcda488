/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What each key of the settings file may have for a value: words, numbers, names, addresses, patterns, pins.
 *
 * Values are checked while libconfuse parses, so that its position is the value's; where a value stood is kept
 * for those who find something wrong with it later.
 */
#include "settings_private.h"
#include "command.h"

#include <arpa/inet.h>
#include <stdlib.h>
#include <string.h>

/* ---- Words ---- */

static const char *last_text(cfg_opt_t *opt)
{
    return cfg_opt_getnstr(opt, cfg_opt_size(opt) - 1);
}

static bool is_one_of(const char *word, const char *const *words)
{
    for (; *words != NULL; words++)
        if (strcmp(word, *words) == 0)
            return true;
    return false;
}

/* `words` ends with NULL; they are listed in the complaint. */
static int check_word(cfg_t *cfg, cfg_opt_t *opt, const char *const *words)
{
    char list[200] = "";

    if (is_one_of(last_text(opt), words))
        return note_place(cfg, opt);
    for (; *words != NULL; words++) {
        size_t used = strlen(list);
        snprintf(list + used, sizeof list - used, "%s%s", used > 0 ? ", " : "", *words);
    }
    cfg_error(cfg, "%s: \"%s\" is not one of: %s", opt->name, last_text(opt), list);
    return -1;
}

static int check_receive_tls(cfg_t *cfg, cfg_opt_t *opt)
{
    static const char *const words[] = {"may", "encrypt", "implicit", NULL};
    return check_word(cfg, opt, words);
}

#define SEND_LEVELS "none", "may", "encrypt", "fingerprint", "verify", "secure"

static int check_send_tls(cfg_t *cfg, cfg_opt_t *opt)
{
    static const char *const words[] = {SEND_LEVELS, NULL}, *const later[] = {"dane", "dane-only", NULL};

    if (!is_one_of(last_text(opt), later))
        return check_word(cfg, opt, words);
    cfg_error(cfg, "tls: \"%s\" comes later and is not offered yet; secure or fingerprint protect as well",
              last_text(opt));
    return -1;
}

static int check_inbound(cfg_t *cfg, cfg_opt_t *opt)
{
    static const char *const words[] = {"may", "encrypt", "fingerprint", "verify", NULL};
    return check_word(cfg, opt, words);
}

static int check_log(cfg_t *cfg, cfg_opt_t *opt)
{
    static const char *const words[] = {"plain", "json", NULL};
    return check_word(cfg, opt, words);
}

static int check_handshake(cfg_t *cfg, cfg_opt_t *opt)
{
    static const char *const words[] = {"async", "inline", NULL};
    return check_word(cfg, opt, words);
}

static int check_records(cfg_t *cfg, cfg_opt_t *opt)
{
    static const char *const words[] = {"engine", "libssl", NULL};
    return check_word(cfg, opt, words);
}

static int check_min_version(cfg_t *cfg, cfg_opt_t *opt)
{
    static const char *const words[] = {"TLSv1.2", "TLSv1.3", NULL}; /* RFC 8996: nothing below */
    return check_word(cfg, opt, words);
}

static int check_client_certificates(cfg_t *cfg, cfg_opt_t *opt)
{
    static const char *const words[] = {"none", "ask", "require", NULL};
    return check_word(cfg, opt, words);
}

/* ---- Ranges ---- */

static int check_range(cfg_t *cfg, cfg_opt_t *opt, long least, long most, const char *why)
{
    long value = cfg_opt_getnint(opt, cfg_opt_size(opt) - 1);

    if (value >= least && value <= most)
        return note_place(cfg, opt);
    cfg_error(cfg, "%s: %ld is not between %ld and %ld%s", opt->name, value, least, most, why);
    return -1;
}

static int check_port(cfg_t *cfg, cfg_opt_t *opt)
{
    return check_range(cfg, opt, 0, 65535, "");
}

static int check_loops(cfg_t *cfg, cfg_opt_t *opt)
{
    return check_range(cfg, opt, 0, 256, " (0: one per core)");
}

static int check_priority(cfg_t *cfg, cfg_opt_t *opt)
{
    return check_range(cfg, opt, 0, 65535, "");
}

/* A line must fit the buffer that it is looked for in, with room for what comes behind it. */
static int check_line(cfg_t *cfg, cfg_opt_t *opt)
{
    return check_range(cfg, opt, 512, 16384, " (RFC 5321, 4.5.3.1.4)");
}

static int check_recipients(cfg_t *cfg, cfg_opt_t *opt)
{
    return check_range(cfg, opt, 100, 100000, " (RFC 5321, 4.5.3.1.8)");
}

/* ---- Texts ---- */

static int check_text(cfg_t *cfg, cfg_opt_t *opt)
{
    if (last_text(opt)[0] != '\0')
        return note_place(cfg, opt);
    cfg_error(cfg, "%s: is empty", opt->name);
    return -1;
}

static int check_hostname(cfg_t *cfg, cfg_opt_t *opt)
{
    const char *name = last_text(opt);

    if (command_is_helo_name(name, strlen(name)))
        return note_place(cfg, opt);
    cfg_error(cfg, "%s: \"%s\" is not a host name", opt->name, name);
    return -1;
}

/* A name of a certificate: one star may stand for its first label. */
static int check_certificate_name(cfg_t *cfg, cfg_opt_t *opt)
{
    const char *name = last_text(opt), *host = strncmp(name, "*.", 2) == 0 ? name + 2 : name;

    if (command_is_helo_name(host, strlen(host)))
        return note_place(cfg, opt);
    cfg_error(cfg, "%s: \"%s\" is not a host name", opt->name, name);
    return -1;
}

static int check_address(cfg_t *cfg, cfg_opt_t *opt)
{
    struct in6_addr any;

    if (address_parse(&any, last_text(opt)))
        return note_place(cfg, opt);
    cfg_error(cfg, "address: \"%s\" is not a numeric IPv4 or IPv6 address", last_text(opt));
    return -1;
}

static int check_network(cfg_t *cfg, cfg_opt_t *opt)
{
    struct network any;

    if (network_parse(&any, last_text(opt)))
        return note_place(cfg, opt);
    cfg_error(cfg, "%s: \"%s\" is not an address or network such as 192.0.2.0/24", opt->name, last_text(opt));
    return -1;
}

static int check_pattern(cfg_t *cfg, cfg_opt_t *opt)
{
    if (pattern_is_valid(last_text(opt)))
        return note_place(cfg, opt);
    cfg_error(cfg, "%s: \"%s\" is not a domain, \"*.domain\", address, \"*\" or \"<>\"", opt->name,
              last_text(opt));
    return -1;
}

static int check_pin(cfg_t *cfg, cfg_opt_t *opt)
{
    struct pin any;

    if (pin_parse(&any, last_text(opt)))
        return note_place(cfg, opt);
    cfg_error(cfg,
              "%s: \"%s\" is not \"certificate:\" or \"key:\" and the 64 hexadecimal digits of a SHA-256",
              opt->name, last_text(opt));
    return -1;
}

static bool is_endpoint(const char *text)
{
    struct store store = {0};
    struct endpoint any;
    bool good = split_endpoint(&store, text, &any);

    store_free(&store);
    return good;
}

static int check_next_hop(cfg_t *cfg, cfg_opt_t *opt)
{
    if (is_endpoint(last_text(opt)))
        return note_place(cfg, opt);
    cfg_error(cfg, "%s: \"%s\" is not \"host:port\" or \"[IPv6]:port\"", opt->name, last_text(opt));
    return -1;
}

/* libconfuse checks a section when it is over; its title is where the endpoint stands. */
static int check_hop(cfg_t *cfg, cfg_opt_t *opt)
{
    const char *title = cfg_title(cfg_opt_getnsec(opt, cfg_opt_size(opt) - 1));

    if (title != NULL && is_endpoint(title))
        return 0;
    cfg_error(cfg, "hop: \"%s\" is not \"host:port\" or \"[IPv6]:port\"", title != NULL ? title : "");
    return -1;
}

/* Metrics say how a site mails, and anybody may ask for them: this machine only. */
static int check_metrics(cfg_t *cfg, cfg_opt_t *opt)
{
    const char *text = last_text(opt);

    if (text[0] == '/' ||
        (is_endpoint(text) && (strncmp(text, "127.", 4) == 0 || strncmp(text, "[::1]:", 6) == 0)))
        return note_place(cfg, opt);
    cfg_error(cfg, "metrics: \"%s\" is neither the path of a socket nor 127.0.0.1:PORT or [::1]:PORT", text);
    return -1;
}

static int check_control(cfg_t *cfg, cfg_opt_t *opt)
{
    if (last_text(opt)[0] == '/' && strlen(last_text(opt)) < 100) /* sun_path has 108 bytes */
        return note_place(cfg, opt);
    cfg_error(cfg, "control: \"%s\" is not an absolute path of less than 100 bytes", last_text(opt));
    return -1;
}

void values_set_checks(cfg_t *cfg)
{
    static const struct {
        const char *name;
        cfg_validate_callback_t check;
    } checks[] = {
        {"hostname", check_hostname},
        {"loops", check_loops},
        {"log", check_log},
        {"handshake", check_handshake},
        {"records", check_records},
        {"openssl_conf", check_text},
        {"control", check_control},
        {"metrics", check_metrics},
        {"queue", check_text},
        {"resolvers", check_text},
        {"trust_anchor", check_text},
        {"limits|line", check_line},
        {"limits|recipients", check_recipients},
        {"receive|limits|line", check_line},
        {"receive|limits|recipients", check_recipients},
        {"receive|address", check_address},
        {"receive|port", check_port},
        {"receive|tls", check_receive_tls},
        {"receive|certificate|chain", check_text},
        {"receive|certificate|key", check_text},
        {"receive|certificate|names", check_certificate_name},
        {"receive|proxy_from", check_network},
        {"receive|client_certificates", check_client_certificates},
        {"receive|client_ca", check_text},
        {"route|recipients", check_pattern},
        {"route|senders", check_pattern},
        {"route|connectors", check_text},
        {"route|clients", check_pin},
        {"route|send", check_text},
        {"partner|tls", check_send_tls},
        {"partner|ca", check_text},
        {"partner|server_name", check_text},
        {"partner|pins", check_pin},
        {"partner|inbound", check_inbound},
        {"partner|inbound_pins", check_pin},
    };
    static const struct {
        const char *name;
        cfg_validate_callback_t check;
    } shared[] =
        {
            {"next_hop", check_next_hop},     {"hop", check_hop},
            {"hop|priority", check_priority}, {"port", check_port},
            {"tls", check_send_tls},          {"ca", check_text},
            {"server_name", check_text},      {"pins", check_pin},
            {"fallback", check_text},         {"certificate|chain", check_text},
            {"certificate|key", check_text},
        },
      parameters[] = {
          {"min_version", check_min_version},
          {"ciphers", check_text},
          {"suites", check_text},
          {"groups", check_text},
      };
    static const char *const destinations[] = {"send", "route"}, *const speakers[] = {"receive", "send",
                                                                                      "route"};
    char name[64];

    for (size_t i = 0; i < sizeof checks / sizeof checks[0]; i++)
        cfg_set_validate_func(cfg, checks[i].name, checks[i].check);
    for (size_t i = 0; i < sizeof shared / sizeof shared[0]; i++)
        for (size_t k = 0; k < 2; k++) {
            snprintf(name, sizeof name, "%s|%s", destinations[k], shared[i].name);
            cfg_set_validate_func(cfg, name, shared[i].check);
        }
    for (size_t i = 0; i < sizeof parameters / sizeof parameters[0]; i++)
        for (size_t k = 0; k < 3; k++) {
            snprintf(name, sizeof name, "%s|%s", speakers[k], parameters[i].name);
            cfg_set_validate_func(cfg, name, parameters[i].check);
        }
}
