/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A client that hands its connection over as soon as it can: what comes on standard input goes to the server, what
 * comes from the server to standard output. For tests with servers that are not ours.
 *
 *     takeover_client PORT 1.2|1.3 SUITE|- [must]
 *
 * Lines that begin with a dot are orders: ".K" renews keys and asks for the server's, ".k" only ours; "[renewed N]" is
 * printed when the server has, for the Nth time, renewed its own. At the end of
 * the input it says goodbye and waits for the server's. The last line on standard error tells what came of it.
 */
#include <arpa/inet.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <openssl/err.h>
#include <sealane/takeover.h>

#define ROOM (4 * SEALANE_RECORD_MAX)

static int fd;
static SSL *ssl;
static sealane_session *session;
static sealane_takeover_verdict verdict;
static unsigned tickets;

static int on_ticket(SSL *from, SSL_SESSION *ticket)
{
    (void)from, (void)ticket;
    tickets++;
    return 0;
}

static void fail(const char *what)
{
    fprintf(stderr, "takeover_client: %s\n", what);
    ERR_print_errors_fp(stderr);
    exit(EXIT_FAILURE);
}

static SSL_CTX *context_new(const char *version, const char *suite)
{
    int number = strcmp(version, "1.2") == 0 ? TLS1_2_VERSION : TLS1_3_VERSION;
    SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());

    SSL_CTX_set_min_proto_version(ctx, number);
    SSL_CTX_set_max_proto_version(ctx, number);
    SSL_CTX_set_security_level(ctx, 0);
    SSL_CTX_set_options(ctx, SSL_OP_NO_RENEGOTIATION);
    SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL_STORE);
    SSL_CTX_sess_set_new_cb(ctx, on_ticket);
    if (strcmp(suite, "-") != 0 && (number == TLS1_2_VERSION ? SSL_CTX_set_cipher_list(ctx, suite)
                                                             : SSL_CTX_set_ciphersuites(ctx, suite)) != 1)
        fail("no such suite");
    if (!sealane_takeover_prepare(ctx))
        fail("cannot prepare");
    return ctx;
}

static void dial(SSL_CTX *ctx, const char *port)
{
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};

    to.sin_port = htons((uint16_t)atoi(port));
    fd = socket(AF_INET, SOCK_STREAM, 0);
    if (connect(fd, (struct sockaddr *)&to, sizeof(to)) != 0)
        fail("cannot connect");
    ssl = SSL_new(ctx);
    SSL_clear_mode(ssl, SSL_MODE_AUTO_RETRY); /* the socket blocks: not to wait for more behind a ticket */
    if (SSL_set_fd(ssl, fd) != 1 || !sealane_takeover_watch(ssl) || SSL_connect(ssl) != 1)
        fail("no handshake");
}

static void take(void)
{
    if (session != NULL)
        return;
    verdict = sealane_takeover(ssl, &session);
    if (verdict == SEALANE_TAKEN)
        ssl = NULL;
}

static void send_all(const uint8_t *bytes, size_t len)
{
    for (ssize_t n = 0; len > 0 && (n = write(fd, bytes, len)) > 0; bytes += n)
        len -= (size_t)n;
}

static void session_says(const uint8_t *bytes, size_t len)
{
    static uint8_t out[ROOM];
    sealane_session_op op = {
        .session = session, .in = bytes, .in_len = len, .out = out, .out_size = sizeof(out)};

    sealane_sessions_seal(&op, 1);
    send_all(out, op.produced);
}

static void say(const char *line, size_t len)
{
    if (session != NULL && line[0] == '.') {
        sealane_session_renew(session, line[1] == 'K');
        session_says(NULL, 0);
    } else if (session != NULL) {
        session_says((const uint8_t *)line, len);
    } else if (SSL_write(ssl, line, (int)len) <= 0) {
        fail("libssl cannot write");
    }
    take();
}

/* A line at a time, since a line may be an order. */
static void say_lines(const char *text, size_t len)
{
    while (len > 0) {
        const char *end = memchr(text, '\n', len);
        size_t line = end != NULL ? (size_t)(end - text) + 1 : len;
        say(text, line);
        text += line;
        len -= line;
    }
}

static void print(const uint8_t *bytes, size_t len)
{
    if (fwrite(bytes, 1, len, stdout) != len || fflush(stdout) != 0)
        fail("standard output");
}

static void renewal_tell(void)
{
    static uint64_t told;
    sealane_session_counts counts;

    sealane_session_get_counts(session, &counts);
    while (told < counts.open_renewals) {
        char line[40];
        print((const uint8_t *)line, (size_t)snprintf(line, sizeof(line), "[renewed %d]", (int)++told));
    }
}

/* False when the server has nothing more to say. */
static bool session_hears(void)
{
    static uint8_t in[ROOM], out[ROOM];
    static size_t in_len;
    ssize_t n = read(fd, in + in_len, sizeof(in) - in_len);
    sealane_session_op op = {.session = session, .in = in, .out = out, .out_size = sizeof(out)};

    in_len += n > 0 ? (size_t)n : 0;
    op.in_len = in_len;
    sealane_sessions_open(&op, 1);
    print(out, op.produced);
    renewal_tell();
    in_len -= op.consumed;
    memmove(in, in + op.consumed, in_len);
    if (sealane_session_wants_seal(session))
        session_says(NULL, 0);
    return n > 0 && sealane_session_get_status(session) == SEALANE_SESSION_OPEN;
}

static bool libssl_hears(void)
{
    static uint8_t out[16384];
    int n = SSL_read(ssl, out, sizeof(out));
    bool more = n > 0 || SSL_get_error(ssl, n) == SSL_ERROR_WANT_READ; /* a ticket */

    if (n > 0)
        print(out, (size_t)n);
    take();
    return more;
}

static void talk(void)
{
    struct pollfd from[2] = {{.fd = STDIN_FILENO, .events = POLLIN}, {.fd = fd, .events = POLLIN}};
    static char line[SEALANE_PLAINTEXT_MAX];
    bool more = true;

    while (more) {
        poll(from, 2, -1);
        if (from[1].revents != 0)
            more = session != NULL ? session_hears() : libssl_hears();
        if (from[0].revents == 0)
            continue;
        ssize_t n = read(STDIN_FILENO, line, sizeof(line));
        if (n > 0) {
            say_lines(line, (size_t)n);
            continue;
        }
        from[0].fd = -1;
        if (session != NULL) {
            sealane_session_close(session);
            session_says(NULL, 0);
        } else {
            SSL_shutdown(ssl);
        }
    }
}

int main(int argc, char **argv)
{
    sealane_session_counts counts = {0};
    SSL_CTX *ctx;

    if (argc < 4)
        fail("PORT 1.2|1.3 SUITE|- [must]");
    ctx = context_new(argv[2], argv[3]);
    dial(ctx, argv[1]);
    take();
    talk();
    if (session != NULL)
        sealane_session_get_counts(session, &counts);
    fprintf(stderr, "%s status=%d reason=%s alert=%d tickets=%u renewed=%d/%d\n",
            sealane_takeover_name(verdict), session != NULL ? (int)sealane_session_get_status(session) : -1,
            session != NULL ? sealane_session_reason(session) : "",
            session != NULL ? sealane_session_alert_received(session) : -1, tickets,
            (int)counts.seal_renewals, (int)counts.open_renewals);
    sealane_session_free(session);
    SSL_free(ssl);
    SSL_CTX_free(ctx);
    close(fd);
    return argc > 4 && verdict != SEALANE_TAKEN ? EXIT_FAILURE : EXIT_SUCCESS;
}
