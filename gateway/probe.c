/* SPDX-License-Identifier: Apache-2.0 */
/* sealanectl probe; see probe.h. */
#include "probe.h"
#include "loop.h"
#include "reply.h"
#include "resolver.h"
#include "routing.h"

#include <errno.h>
#include <netdb.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>
#include <openssl/err.h>

#define PATIENCE_SECONDS 30
#define LINE_MAX_LEN     2048u

struct probe {
    struct config *config;
    struct tls_library library;
    struct destination destination;
    const char *route;
    bool json;
    bool first;
};

/* One host, as far as it was got to know. */
struct finding {
    char name[DOMAIN_MAX_LEN + 1], address[64];
    size_t policy;
    int fd;
    SSL *ssl;
    char error[300];
    bool starttls;
    bool secured;
    const char *version, *cipher, *group;
    char subject[256], issuer[256], expires[32], names[512];
    char certificate_pin[PIN_TEXT_MAX], key_pin[PIN_TEXT_MAX];
    bool pinned;
    long verified; /* X509_V_... */
    bool satisfies;
};

/* ---- Talking ---- */

static bool fail(struct finding *f, const char *format, ...) __attribute__((format(printf, 2, 3)));

static bool fail(struct finding *f, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    vsnprintf(f->error, sizeof f->error, format, args);
    va_end(args);
    return false;
}

/* The next line of a reply without its line end, byte by byte: what comes behind STARTTLS must stay unread. */
static bool read_line(struct finding *f, char *line, size_t *len)
{
    for (*len = 0; *len < LINE_MAX_LEN; ++*len) {
        ssize_t n = recv(f->fd, line + *len, 1, 0);
        if (n <= 0)
            return fail(f, "%s", n == 0 ? "closed the connection" : strerror(errno));
        if (line[*len] != '\n')
            continue;
        if (*len > 0 && line[*len - 1] == '\r')
            --*len;
        return true;
    }
    return fail(f, "a line that is too long");
}

static bool ask(struct finding *f, const char *command, struct reply *reply)
{
    char line[LINE_MAX_LEN];
    size_t len;

    if (command != NULL && send(f->fd, command, strlen(command), MSG_NOSIGNAL) < 0)
        return fail(f, "%s", strerror(errno));
    reply_clear(reply);
    for (;;) {
        if (!read_line(f, line, &len))
            return false;
        switch (reply_take_line(reply, line, len)) {
        case REPLY_MORE:
            break;
        case REPLY_BAD:
            return fail(f, "no SMTP reply: %.*s", (int)(len < 200 ? len : 200), line);
        case REPLY_DONE:
            return true;
        }
    }
}

static bool connect_to(struct finding *f, const char *port)
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_ADDRCONFIG}, *list = NULL;
    const struct timeval patience = {.tv_sec = PATIENCE_SECONDS};
    int error = getaddrinfo(f->address[0] != '\0' ? f->address : f->name, port, &hints, &list);

    if (error != 0)
        return fail(f, "cannot look the host up: %s", gai_strerror(error));
    for (struct addrinfo *a = list; a != NULL && f->fd < 0; a = a->ai_next) {
        f->fd = socket(a->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
        setsockopt(f->fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
        setsockopt(f->fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
        if (f->fd >= 0 && connect(f->fd, a->ai_addr, a->ai_addrlen) != 0) {
            fail(f, "cannot connect: %s", strerror(errno));
            close(f->fd);
            f->fd = -1;
        }
    }
    freeaddrinfo(list);
    return f->fd >= 0;
}

/* ---- TLS ---- */

/* What is wrong with a certificate is to be shown, not to end the handshake; libssl keeps the first fault. */
static int go_on(int good, X509_STORE_CTX *store)
{
    (void)good;
    (void)store;
    return 1;
}

static bool add_name(void *arg, const char *name)
{
    struct finding *f = arg;
    size_t used = strlen(f->names);

    snprintf(f->names + used, sizeof f->names - used, "%s%s", used > 0 ? " " : "", name);
    return true;
}

static void show_certificate(const struct probe *p, struct finding *f, X509 *x509)
{
    const struct policy_settings *policy = routing_policy(&p->config->settings, f->policy);
    struct fingerprints prints;
    struct tm end;

    X509_NAME_oneline(X509_get_subject_name(x509), f->subject, sizeof f->subject);
    X509_NAME_oneline(X509_get_issuer_name(x509), f->issuer, sizeof f->issuer);
    if (ASN1_TIME_to_tm(X509_get0_notAfter(x509), &end) == 1)
        strftime(f->expires, sizeof f->expires, "%Y-%m-%dT%H:%M:%SZ", &end);
    (void)tls_certificate_names(x509, add_name, f);
    fingerprints_take(&prints, p->library.ctx, x509);
    pin_format(PIN_CERTIFICATE, prints.certificate, f->certificate_pin);
    pin_format(PIN_KEY, prints.key, f->key_pin);
    f->pinned = fingerprints_match(&prints, policy->pins, policy->pin_count);
}

static void show_tls(const struct probe *p, struct finding *f)
{
    const char *group = SSL_group_to_name(f->ssl, (int)SSL_get_negotiated_group(f->ssl));
    const char *cipher = SSL_CIPHER_standard_name(SSL_get_current_cipher(f->ssl));
    X509 *x509 = SSL_get1_peer_certificate(f->ssl);

    f->secured = true;
    f->version = SSL_get_version(f->ssl);
    f->cipher = cipher != NULL ? cipher : "";
    f->group = group != NULL ? group : "";
    f->verified = SSL_get_verify_result(f->ssl);
    if (x509 != NULL)
        show_certificate(p, f, x509);
    X509_free(x509);
}

static bool start_tls(const struct probe *p, struct finding *f)
{
    SSL_CTX *ctx = SSL_CTX_new_ex(p->library.ctx, NULL, TLS_client_method());
    const struct tls_policy *policy = &p->config->tls.policies[f->policy];
    char reason[256];
    bool good = false;

    ERR_clear_error();
    f->ssl = ctx != NULL ? SSL_new(ctx) : NULL;
    if (f->ssl != NULL && tls_demand(f->ssl, policy, f->name, p->destination.domain)) {
        SSL_set_verify(f->ssl, policy->level >= TLS_LEVEL_VERIFY ? SSL_VERIFY_PEER : SSL_VERIFY_NONE, go_on);
        good = SSL_set_fd(f->ssl, f->fd) == 1 && SSL_connect(f->ssl) == 1;
    }
    if (good) {
        show_tls(p, f);
        SSL_shutdown(f->ssl);
    } else {
        tls_take_errors(reason, sizeof reason);
        fail(f, "TLS: %s", reason);
    }
    SSL_CTX_free(ctx);
    return good;
}

static bool talk(const struct probe *p, struct finding *f, const char *port)
{
    char ehlo[300];
    const char *args;
    struct reply reply;
    size_t len;

    snprintf(ehlo, sizeof ehlo, "EHLO %s\r\n", p->config->settings.hostname);
    if (!connect_to(f, port) || !ask(f, NULL, &reply))
        return false;
    if (reply.code != 220)
        return fail(f, "it refuses to talk: %d %.200s", reply.code, reply.text);
    if (!ask(f, ehlo, &reply))
        return false;
    f->starttls = reply.code == 250 && reply_keyword(&reply, "STARTTLS", &args, &len);
    if (!f->starttls) {
        (void)!send(f->fd, "QUIT\r\n", 6, MSG_NOSIGNAL);
        return true;
    }
    if (!ask(f, "STARTTLS\r\n", &reply))
        return false;
    if (reply.code != 220)
        return fail(f, "STARTTLS: %d %.200s", reply.code, reply.text);
    return start_tls(p, f);
}

static bool judge(const struct probe *p, const struct finding *f)
{
    switch (routing_policy(&p->config->settings, f->policy)->level) {
    case TLS_LEVEL_NONE:
    case TLS_LEVEL_MAY:
        return f->error[0] == '\0';
    case TLS_LEVEL_ENCRYPT:
        return f->secured;
    case TLS_LEVEL_FINGERPRINT:
        return f->secured && f->pinned;
    default:
        return f->secured && f->verified == X509_V_OK;
    }
}

/* ---- Showing ---- */

static void show_json_text(const char *key, const char *value, const char *end)
{
    printf("\"%s\":\"", key);
    for (; *value != '\0'; value++) {
        if (*value == '"' || *value == '\\')
            putchar('\\');
        if ((unsigned char)*value >= 0x20)
            putchar(*value);
    }
    printf("\"%s", end);
}

static void show_json(struct probe *p, const struct finding *f, const char *wanted)
{
    printf("%s{", p->first ? "" : ",");
    p->first = false;
    show_json_text("host", f->name, ",");
    show_json_text("address", f->address, ",");
    show_json_text("policy_of", routing_policy_owner(&p->config->settings, f->policy), ",");
    show_json_text("tls_wanted", wanted, ",");
    show_json_text("error", f->error, ",");
    printf("\"starttls\":%s,", f->starttls ? "true" : "false");
    if (f->secured) {
        show_json_text("tls", f->version, ",");
        show_json_text("cipher", f->cipher, ",");
        show_json_text("group", f->group, ",");
        show_json_text("subject", f->subject, ",");
        show_json_text("issuer", f->issuer, ",");
        show_json_text("names", f->names, ",");
        show_json_text("expires", f->expires, ",");
        show_json_text("certificate_pin", f->certificate_pin, ",");
        show_json_text("key_pin", f->key_pin, ",");
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

static bool probe_host(struct probe *p, const char *name, const char *address, const char *port)
{
    struct finding f = {.fd = -1};
    const char *wanted;

    snprintf(f.name, sizeof f.name, "%s", name);
    snprintf(f.address, sizeof f.address, "%s", address);
    f.policy = routing_policy_of_host(&p->config->settings, &p->destination, name);
    (void)talk(p, &f, port);
    f.satisfies = judge(p, &f);
    wanted = tls_level_name(routing_policy(&p->config->settings, f.policy)->level);
    if (p->json)
        show_json(p, &f, wanted);
    else
        show_plain(p, &f, wanted);
    SSL_free(f.ssl);
    if (f.fd >= 0)
        close(f.fd);
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
        good &= probe_host(p, hosts->hosts[i].name, hosts->hosts[i].address, port);
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
        good &= probe_host(p, send->endpoints[i].host, "", send->endpoints[i].port);
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
             !tls_open_policies(&p.config->tls, &p.config->settings, &p.library, stderr))
        fprintf(stderr, "sealanectl: %s cannot be used\n", file);
    else if (!find_route(&p, domain))
        fprintf(stderr, "sealanectl: no route takes mail to %s\n", domain);
    else if (probe_all(&p, domain))
        status = EXIT_SUCCESS;
    config_drop(p.config);
    tls_library_close(&p.library);
    return status;
}
