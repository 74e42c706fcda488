/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An echo server for any number of TLS connections: libuv waits, libssl does the handshakes, then sessions of
 * the engine carry them, and what came in one turn of the loop is opened, and its answers are sealed, in
 * batches. What cannot be taken over stays on libssl.
 *     cc echo.c $(pkg-config --cflags --libs sealane-ssl libuv) -o echo
 *     ./echo 4433 chain.pem key.pem        (and then: openssl s_client -connect localhost:4433)
 */
#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <openssl/err.h>
#include <sealane/takeover.h>
#include <uv.h>

#define BATCH 64
#define ROOM  (2 * SEALANE_RECORD_MAX)

typedef struct connection {
    uv_poll_t poll; /* first: libuv's pointer is ours */
    int fd, eof, over;
    SSL *ssl;                 /* until it is taken over */
    sealane_session *session; /* from then on */
    uint8_t *in, *out;        /* the beginning of a record, and what the socket did not take; mostly NULL */
    size_t in_len, out_len;
    struct connection *next;
} connection;

static SSL_CTX *ctx;
static connection *active; /* whose sockets are ready in this turn */

static void on_closed(uv_handle_t *handle)
{
    connection *c = (connection *)handle;

    SSL_free(c->ssl);
    sealane_session_free(c->session);
    close(c->fd);
    free(c->in);
    free(c->out);
    free(c);
}

static void on_ready(uv_poll_t *poll, int status, int events)
{
    connection *c = (connection *)poll;

    c->over |= status < 0 || events == 0;
    c->next = active;
    active = c;
}

/* Waits until the socket can take what is left to send, or else has something to read: no peer fills our memory. */
static void wait_or_close(connection *c)
{
    if (c->out_len == 0 && c->over)
        uv_close((uv_handle_t *)c, on_closed);
    else
        uv_poll_start(&c->poll, c->out_len > 0 ? UV_WRITABLE : UV_READABLE, on_ready);
}

/* Keeps `len` bytes in memory of their own, in place of what was there. */
static void keep(connection *c, uint8_t **kept, size_t *kept_len, const uint8_t *bytes, size_t len)
{
    uint8_t *copy = len > 0 ? malloc(len) : NULL;

    c->over |= copy == NULL && len > 0;
    if (copy != NULL)
        memcpy(copy, bytes, len);
    free(*kept);
    *kept = copy;
    *kept_len = copy != NULL ? len : 0;
}

static void send_or_keep(connection *c, const uint8_t *bytes, size_t len)
{
    ssize_t n = len > 0 ? send(c->fd, bytes, len, MSG_NOSIGNAL) : 0;

    c->over |= n < 0 && errno != EAGAIN;
    keep(c, &c->out, &c->out_len, bytes + (n > 0 ? n : 0), len - (size_t)(n > 0 ? n : 0));
}

/* As long as libssl has it: the handshake, and echoes too if it never can be taken over. */
static void libssl_turn(connection *c)
{
    static uint8_t text[16384];
    int n = -1;

    ERR_clear_error();
    if (SSL_do_handshake(c->ssl) == 1 && sealane_takeover(c->ssl, &c->session) == SEALANE_TAKEN)
        c->ssl = NULL; /* what libssl has not read is still in the socket */
    while (c->ssl != NULL && SSL_is_init_finished(c->ssl) && (n = SSL_read(c->ssl, text, sizeof(text))) > 0)
        SSL_write(c->ssl, text, n); /* a real server minds SSL_ERROR_WANT_WRITE */
    c->over |= c->ssl != NULL && SSL_get_error(c->ssl, n) != SSL_ERROR_WANT_READ;
    wait_or_close(c);
}

static void sessions_turn(connection *list[], size_t count)
{
    static uint8_t in[BATCH][ROOM], text[BATCH][ROOM], out[BATCH][2 * ROOM];
    sealane_session_op ops[BATCH];

    for (size_t i = 0; i < count; i++) {
        size_t had = list[i]->in_len;
        ssize_t n = recv(list[i]->fd, in[i] + had, sizeof(in[i]) - had, 0);
        list[i]->eof |= n == 0 || (n < 0 && errno != EAGAIN);
        memcpy(in[i], had > 0 ? list[i]->in : in[i], had);
        had += n > 0 ? (size_t)n : 0;
        ops[i] = (sealane_session_op){list[i]->session, in[i], had, text[i], sizeof(text[i]), 0, 0, 0};
    }
    sealane_sessions_open(ops, count); /* an error shows below: an alert is due then */
    for (size_t i = 0; i < count; i++) {
        size_t done = ops[i].consumed;
        keep(list[i], &list[i]->in, &list[i]->in_len, in[i] + done, ops[i].in_len - done);
        if (list[i]->eof || sealane_session_get_status(list[i]->session) == SEALANE_SESSION_PEER_CLOSED)
            sealane_session_close(list[i]->session);
        ops[i] =
            (sealane_session_op){list[i]->session, text[i], ops[i].produced, out[i], sizeof(out[i]), 0, 0, 0};
    }
    sealane_sessions_seal(ops, count);
    for (size_t i = 0; i < count; i++) {
        send_or_keep(list[i], out[i], ops[i].produced);
        list[i]->over |= sealane_session_has_closed(list[i]->session) ||
                         sealane_session_get_status(list[i]->session) == SEALANE_SESSION_FAILED;
        wait_or_close(list[i]);
    }
}

/* After the loop has seen all sockets of this turn. */
static void on_turn(uv_check_t *check)
{
    connection *list[BATCH], *c;
    size_t count = 0;

    (void)check;
    while ((c = active) != NULL) {
        active = c->next;
        if (c->out_len > 0)
            send_or_keep(c, c->out, c->out_len);
        if (c->over || c->out_len > 0)
            wait_or_close(c);
        else if (c->session == NULL)
            libssl_turn(c);
        else
            list[count++] = c;
        if (count == BATCH || (active == NULL && count > 0)) {
            sessions_turn(list, count);
            count = 0;
        }
    }
}

static void on_connection(uv_poll_t *listener, int status, int events)
{
    int fd = accept4(*(int *)listener->data, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    connection *c = fd >= 0 ? calloc(1, sizeof(*c)) : NULL;

    (void)status, (void)events;
    if (c == NULL || uv_poll_init(listener->loop, &c->poll, fd) != 0) {
        free(c);
        close(fd);
        return;
    }
    c->fd = fd;
    c->ssl = SSL_new(ctx);
    c->over = c->ssl == NULL || SSL_set_fd(c->ssl, fd) != 1 || !sealane_takeover_watch(c->ssl);
    if (!c->over)
        SSL_set_accept_state(c->ssl);
    wait_or_close(c);
}

int main(int argc, char **argv)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    socklen_t len = sizeof(at);
    uv_poll_t listener = {.data = &fd};
    uv_check_t turn;

    ctx = SSL_CTX_new(TLS_server_method());
    at.sin_port = htons((uint16_t)atoi(argc == 4 ? argv[1] : ""));
    if (argc != 4 || ctx == NULL || SSL_CTX_use_certificate_chain_file(ctx, argv[2]) != 1 ||
        SSL_CTX_use_PrivateKey_file(ctx, argv[3], SSL_FILETYPE_PEM) != 1 || !sealane_takeover_prepare(ctx) ||
        bind(fd, (struct sockaddr *)&at, len) != 0 || listen(fd, 128) != 0 ||
        getsockname(fd, (struct sockaddr *)&at, &len) != 0) {
        fprintf(stderr, "usage: echo PORT CHAIN.pem KEY.pem; the port must be free, the files readable\n");
        return EXIT_FAILURE;
    }
    fprintf(stderr, "listening on port %d\n", ntohs(at.sin_port));
    uv_check_init(uv_default_loop(), &turn);
    uv_check_start(&turn, on_turn);
    uv_poll_init(uv_default_loop(), &listener, fd);
    uv_poll_start(&listener, UV_READABLE, on_connection);
    return uv_run(uv_default_loop(), UV_RUN_DEFAULT);
}
