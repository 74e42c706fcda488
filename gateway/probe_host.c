/* SPDX-License-Identifier: Apache-2.0 */
/* Getting to know one host; see probe_host.h. */
#include "probe_host.h"
#include "reply.h"

#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>
#include <openssl/err.h>

#define LINE_MAX_LEN 2048u

/* A conversation. The socket never blocks: whoever waits does so in wait_for, which knows for how long. */
struct talk {
    struct finding *f;
    const struct config *config;
    const struct destination *destination;
    int fd; /* -1 if there is no connection */
    SSL *ssl;
    struct timespec until;
};

static bool fail(struct talk *t, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* A stranger's text goes to somebody's terminal. */
static void tame(char *text)
{
    for (; *text != '\0'; text++)
        if (*text < 0x20 || *text > 0x7e)
            *text = '?';
}

static bool fail(struct talk *t, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    vsnprintf(t->f->error, sizeof t->f->error, format, args);
    va_end(args);
    tame(t->f->error);
    return false;
}

/* ---- Waiting ---- */

static void begin_step(struct talk *t)
{
    clock_gettime(CLOCK_MONOTONIC, &t->until);
    t->until.tv_sec += PROBE_PATIENCE_SECONDS;
}

static bool wait_for(struct talk *t, short events)
{
    struct pollfd fd = {.fd = t->fd, .events = events};
    struct timespec now;
    long left;
    int ready;

    do {
        clock_gettime(CLOCK_MONOTONIC, &now);
        left = (t->until.tv_sec - now.tv_sec) * 1000 + (t->until.tv_nsec - now.tv_nsec) / 1000000;
        ready = poll(&fd, 1, left > 0 ? (int)left : 0);
    } while (ready < 0 && errno == EINTR);
    if (ready == 0)
        errno = ETIMEDOUT;
    return ready > 0;
}

/* ---- SMTP ---- */

static bool say(struct talk *t, const char *text)
{
    size_t len = strlen(text);

    while (len > 0) {
        ssize_t n = send(t->fd, text, len, MSG_NOSIGNAL);
        if (n >= 0) {
            text += n;
            len -= (size_t)n;
        } else if (errno == EAGAIN ? !wait_for(t, POLLOUT) : errno != EINTR) {
            return fail(t, "%s", strerror(errno));
        }
    }
    return true;
}

/* Byte by byte: what comes behind the answer to STARTTLS must stay unread. */
static bool read_byte(struct talk *t, char *byte)
{
    for (;;) {
        ssize_t n = recv(t->fd, byte, 1, 0);
        if (n == 1)
            return true;
        if (n == 0)
            return fail(t, "closed the connection");
        if (errno == EAGAIN ? !wait_for(t, POLLIN) : errno != EINTR)
            return fail(t, "%s", strerror(errno));
    }
}

/* The next line of a reply without its line end. */
static bool read_line(struct talk *t, char *line, size_t *len)
{
    for (*len = 0; *len < LINE_MAX_LEN; ++*len) {
        if (!read_byte(t, &line[*len]))
            return false;
        if (line[*len] != '\n')
            continue;
        if (*len > 0 && line[*len - 1] == '\r')
            --*len;
        return true;
    }
    return fail(t, "a line that is too long");
}

/* `command` may be NULL: the banner comes by itself. */
static bool ask(struct talk *t, const char *command, struct reply *reply)
{
    char line[LINE_MAX_LEN];
    size_t len;

    begin_step(t);
    if (command != NULL && !say(t, command))
        return false;
    reply_clear(reply);
    for (;;) {
        if (!read_line(t, line, &len))
            return false;
        switch (reply_take_line(reply, line, len)) {
        case REPLY_MORE:
            break;
        case REPLY_BAD:
            return fail(t, "no SMTP reply: %.*s", (int)(len < 200 ? len : 200), line);
        case REPLY_DONE:
            return true;
        }
    }
}

/* ---- Connecting ---- */

static bool connect_to(struct talk *t, const struct addrinfo *a)
{
    int error = 0;
    socklen_t len = sizeof error;

    begin_step(t);
    t->fd = socket(a->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (t->fd < 0)
        return fail(t, "cannot connect: %s", strerror(errno));
    if (connect(t->fd, a->ai_addr, a->ai_addrlen) != 0)
        error = errno;
    if (error == EINPROGRESS || error == EINTR) {
        error = 0;
        if (!wait_for(t, POLLOUT) || getsockopt(t->fd, SOL_SOCKET, SO_ERROR, &error, &len) != 0)
            error = errno;
    }
    if (error == 0)
        return true;
    close(t->fd);
    t->fd = -1;
    return fail(t, "cannot connect: %s", strerror(error));
}

/* The first of its addresses that answers. */
static bool reach(struct talk *t, const char *port)
{
    const struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_ADDRCONFIG};
    struct addrinfo *list = NULL;
    int error = getaddrinfo(t->f->address[0] != '\0' ? t->f->address : t->f->name, port, &hints, &list);

    if (error != 0)
        return fail(t, "cannot look the host up: %s", gai_strerror(error));
    for (const struct addrinfo *a = list; a != NULL && t->fd < 0; a = a->ai_next)
        (void)connect_to(t, a);
    freeaddrinfo(list);
    if (t->fd < 0)
        return false;
    t->f->error[0] = '\0'; /* of the addresses before */
    return true;
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

static void note_certificate(struct talk *t, X509 *x509)
{
    const struct policy_settings *policy = routing_policy(&t->config->settings, t->f->policy);
    struct finding *f = t->f;
    struct fingerprints prints;
    struct tm end;

    X509_NAME_oneline(X509_get_subject_name(x509), f->subject, sizeof f->subject);
    X509_NAME_oneline(X509_get_issuer_name(x509), f->issuer, sizeof f->issuer);
    if (ASN1_TIME_to_tm(X509_get0_notAfter(x509), &end) == 1)
        strftime(f->expires, sizeof f->expires, "%Y-%m-%dT%H:%M:%SZ", &end);
    (void)tls_certificate_names(x509, add_name, f);
    tame(f->names);
    fingerprints_take(&prints, t->config->tls.library->ctx, x509);
    pin_format(PIN_CERTIFICATE, prints.certificate, f->certificate_pin);
    pin_format(PIN_KEY, prints.key, f->key_pin);
    f->pinned = fingerprints_match(&prints, policy->pins, policy->pin_count);
}

static void note_text(char *out, size_t size, const char *text)
{
    snprintf(out, size, "%s", text != NULL ? text : "");
}

static void note_tls(struct talk *t)
{
    X509 *x509 = SSL_get1_peer_certificate(t->ssl);
    struct finding *f = t->f;

    f->secured = true;
    note_text(f->version, sizeof f->version, SSL_get_version(t->ssl));
    note_text(f->cipher, sizeof f->cipher, SSL_CIPHER_standard_name(SSL_get_current_cipher(t->ssl)));
    note_text(f->group, sizeof f->group, SSL_group_to_name(t->ssl, (int)SSL_get_negotiated_group(t->ssl)));
    f->verified = SSL_get_verify_result(t->ssl);
    if (x509 != NULL)
        note_certificate(t, x509);
    X509_free(x509);
}

static bool shake_hands(struct talk *t)
{
    char reason[256];
    int result;

    begin_step(t);
    for (;;) {
        ERR_clear_error();
        result = SSL_connect(t->ssl);
        if (result == 1)
            return true;
        switch (SSL_get_error(t->ssl, result)) {
        case SSL_ERROR_WANT_READ:
        case SSL_ERROR_WANT_WRITE:
            if (wait_for(t, SSL_want_write(t->ssl) ? POLLOUT : POLLIN))
                break;
            return fail(t, "TLS: %s", strerror(errno));
        default:
            tls_take_errors(reason, sizeof reason);
            return fail(t, "TLS: %s", reason);
        }
    }
}

static bool start_tls(struct talk *t)
{
    const struct tls_policy *policy = &t->config->tls.policies[t->f->policy];

    t->ssl = SSL_new(t->config->tls.clients[t->destination->send].ctx);
    if (t->ssl == NULL || !tls_demand(t->ssl, policy, t->f->name, t->destination->domain) ||
        SSL_set_fd(t->ssl, t->fd) != 1)
        return fail(t, "TLS: out of memory");
    SSL_set_verify(t->ssl, policy->level >= TLS_LEVEL_VERIFY ? SSL_VERIFY_PEER : SSL_VERIFY_NONE, go_on);
    if (!shake_hands(t))
        return false;
    note_tls(t);
    SSL_shutdown(t->ssl);
    return true;
}

/* ---- All of it ---- */

static bool converse(struct talk *t, const char *port)
{
    char ehlo[300];
    const char *args;
    struct reply reply;
    size_t len;

    snprintf(ehlo, sizeof ehlo, "EHLO %s\r\n", t->config->settings.hostname);
    if (!reach(t, port) || !ask(t, NULL, &reply))
        return false;
    if (reply.code != 220)
        return fail(t, "it refuses to talk: %d %.200s", reply.code, reply.text);
    if (!ask(t, ehlo, &reply))
        return false;
    t->f->greeted = true;
    t->f->starttls = reply.code == 250 && reply_keyword(&reply, "STARTTLS", &args, &len);
    if (!t->f->starttls)
        return say(t, "QUIT\r\n");
    if (!ask(t, "STARTTLS\r\n", &reply))
        return false;
    if (reply.code != 220)
        return fail(t, "STARTTLS: %d %.200s", reply.code, reply.text);
    return start_tls(t);
}

/* Would mail go there? */
static bool judge(const struct finding *f, enum tls_level level)
{
    switch (level) {
    case TLS_LEVEL_NONE:
    case TLS_LEVEL_MAY:
        return f->greeted;
    case TLS_LEVEL_ENCRYPT:
        return f->secured;
    case TLS_LEVEL_FINGERPRINT:
        return f->secured && f->pinned;
    default:
        return f->secured && f->verified == X509_V_OK;
    }
}

void probe_host(struct finding *out, const struct config *config, const struct destination *destination,
                const char *name, const char *address, const char *port)
{
    struct talk t = {.f = out, .config = config, .destination = destination, .fd = -1};

    memset(out, 0, sizeof *out);
    note_text(out->name, sizeof out->name, name);
    note_text(out->address, sizeof out->address, address);
    out->policy = routing_policy_of_host(&config->settings, destination, name);
    (void)converse(&t, port);
    out->satisfies = judge(out, routing_policy(&config->settings, out->policy)->level);
    SSL_free(t.ssl);
    if (t.fd >= 0)
        close(t.fd);
}
