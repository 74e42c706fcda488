/* SPDX-License-Identifier: Apache-2.0 */
/* Which hosts a domain's mail goes to; each is looked at (probe_host.h) and shown. See probe.h. */
#include "probe.h"
#include "json.h"
#include "loop.h"
#include "probe_host.h"
#include "resolver.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct probe {
    struct config *config;
    struct tls_library library;
    struct destination destination;
    const char *route;
    bool json;
    bool first;
};

/* ---- Showing ---- */

static void show_json_text(const char *key, const char *value)
{
    printf("\"%s\":", key);
    json_string(stdout, value);
    putchar(',');
}

static void show_json(struct probe *p, const struct finding *f, const char *wanted)
{
    printf("%s{", p->first ? "" : ",");
    p->first = false;
    show_json_text("host", f->name);
    show_json_text("address", f->address);
    show_json_text("policy_of", routing_policy_owner(&p->config->settings, f->policy));
    show_json_text("tls_wanted", wanted);
    show_json_text("error", f->error);
    printf("\"starttls\":%s,", f->starttls ? "true" : "false");
    if (f->secured) {
        show_json_text("tls", f->version);
        show_json_text("cipher", f->cipher);
        show_json_text("group", f->group);
        show_json_text("subject", f->subject);
        show_json_text("issuer", f->issuer);
        show_json_text("names", f->names);
        show_json_text("expires", f->expires);
        show_json_text("certificate_pin", f->certificate_pin);
        show_json_text("key_pin", f->key_pin);
    }
    printf("\"satisfies\":%s}", f->satisfies ? "true" : "false");
}

static void show_plain(const struct probe *p, const struct finding *f, const char *wanted)
{
    enum tls_level level = routing_policy(&p->config->settings, f->policy)->level;

    printf("%s%s%s%s\n", f->name, f->address[0] != '\0' ? " (" : "", f->address,
           f->address[0] != '\0' ? ")" : "");
    if (f->error[0] != '\0')
        printf("  failed      %s\n", f->error);
    else if (!f->starttls)
        printf("  TLS         STARTTLS is not offered\n");
    if (f->secured) {
        printf("  TLS         %s %s %s\n", f->version, f->cipher, f->group);
        printf("  certificate %s\n  issuer      %s\n  names       %s\n  expires     %s\n", f->subject,
               f->issuer, f->names, f->expires);
        printf("  pin         \"%s\"\n  or          \"%s\"\n", f->certificate_pin, f->key_pin);
        if (level >= TLS_LEVEL_VERIFY && f->verified != X509_V_OK)
            printf("  verified    no: %s\n", X509_verify_cert_error_string(f->verified));
    }
    printf("  policy      %s of %s: %s\n", wanted, routing_policy_owner(&p->config->settings, f->policy),
           f->satisfies ? "satisfied" : "NOT satisfied");
}

static bool probe_one(struct probe *p, const char *name, const char *address, const char *port)
{
    struct finding f;
    const char *wanted;

    probe_host(&f, p->config, &p->destination, name, address, port);
    wanted = tls_level_name(routing_policy(&p->config->settings, f.policy)->level);
    if (p->json)
        show_json(p, &f, wanted);
    else
        show_plain(p, &f, wanted);
    return f.satisfies;
}

/* ---- Hosts ---- */

static void on_hosts(void *owner, const struct mail_hosts *hosts)
{
    struct mail_hosts *out = owner;

    *out = *hosts;
}

/* Runs the gateway's own resolver on a loop of its own until it has answered. */
static bool look_up(struct probe *p, const char *domain, struct mail_hosts *out)
{
    struct gateway gateway = {.file = p->config->settings.file};
    struct loop *loop = calloc(1, sizeof *loop);
    bool good = loop != NULL && loop_open(loop, &gateway, 0, stderr);

    out->answer = MAIL_FAILED;
    out->count = SETTINGS_NONE;
    if (good && resolver_find(loop, p->config, domain, on_hosts, out) != NULL)
        while (out->count == SETTINGS_NONE)
            uv_run(&loop->uv, UV_RUN_ONCE);
    if (good) { /* as a loop that was told to drain and has nothing left: it closes its handles and ends */
        loop->draining = true;
        uv_run(&loop->uv, UV_RUN_DEFAULT);
        loop_close(loop);
    }
    free(loop);
    return good && out->count != SETTINGS_NONE && out->answer == MAIL_HOSTS;
}

static bool probe_mx(struct probe *p, const char *domain, const char *port)
{
    struct mail_hosts *hosts = calloc(1, sizeof *hosts);
    bool good = hosts != NULL && look_up(p, domain, hosts);

    if (!good)
        fprintf(stderr, "sealanectl: no host takes mail for %s: %s\n", domain,
                hosts == NULL || hosts->error[0] == '\0' ? "no such domain, no address or a null MX"
                                                         : hosts->error);
    for (size_t i = 0; hosts != NULL && hosts->answer == MAIL_HOSTS && i < hosts->count; i++)
        good &= probe_one(p, hosts->hosts[i].name, hosts->hosts[i].address, port);
    free(hosts);
    return good;
}

/* The route that mail to the domain takes; the sender and the connector do not matter here if any will do. */
static bool find_route(struct probe *p, const char *domain)
{
    const struct settings *s = &p->config->settings;
    const struct fingerprints nobody = {.known = false};
    struct path from = {.text = "postmaster@localhost", .domain = 11}, to = {.domain = 11};

    snprintf(to.text, sizeof to.text, "postmaster@%s", domain);
    for (size_t i = 0; i < s->receive_count; i++) {
        const struct origin origin = {.connector = i, .client = &nobody, .from = &from};
        if (!routing_choose(s, &origin, &to, &p->destination))
            continue;
        p->route = s->routes[p->destination.route].name;
        return true;
    }
    return false;
}

static bool probe_all(struct probe *p, const char *domain)
{
    const struct send_settings *send = &p->config->settings.sends[p->destination.send];
    bool good = true;

    if (p->json) {
        printf("{\"domain\":\"%s\",\"route\":\"%s\",\"hosts\":[", domain, p->route);
    } else {
        printf("%s goes by route %s\n", domain, p->route);
    }
    p->first = true;
    if (send->mx)
        good = probe_mx(p, domain, send->port);
    for (size_t i = 0; i < send->endpoint_count; i++)
        good &= probe_one(p, send->endpoints[i].host, "", send->endpoints[i].port);
    if (p->json)
        puts("]}");
    return good;
}

int probe_run(const char *file, const char *domain, bool json)
{
    struct probe p = {.json = json};
    int status = EXIT_FAILURE;

    signal(SIGPIPE, SIG_IGN);
    p.config = calloc(1, sizeof *p.config);
    if (p.config == NULL)
        return EXIT_FAILURE;
    atomic_init(&p.config->references, 1);
    if (!command_is_helo_name(domain, strlen(domain)) || strlen(domain) > DOMAIN_MAX_LEN)
        fprintf(stderr, "sealanectl: \"%s\" is not a domain\n", domain);
    else if (!settings_read(&p.config->settings, file, stderr) ||
             !tls_library_open(&p.library, &p.config->settings, stderr) ||
             !tls_open_outbound(&p.config->tls, &p.config->settings, &p.library, stderr))
        fprintf(stderr, "sealanectl: %s cannot be used\n", file);
    else if (!find_route(&p, domain))
        fprintf(stderr, "sealanectl: no route takes mail to %s\n", domain);
    else if (probe_all(&p, domain))
        status = EXIT_SUCCESS;
    config_drop(p.config);
    tls_library_close(&p.library);
    return status;
}
