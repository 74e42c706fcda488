/* SPDX-License-Identifier: Apache-2.0 */
/* The next hop of the benchmark; see gateway_sink.h. One thread, one epoll loop. */
#include "gateway_sink.h"
#include "gateway_wire.h"

#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#define EVENTS 256

struct guest {
    struct wire wire;
    enum { COMMANDS, HEADER, BODY } state;
    uint32_t number; /* of the message; LEDGER_MESSAGES: unknown */
    size_t size, at; /* of its body */
    bool wrong;
    uint8_t dot; /* how much of ".\r\n" has come behind the body */
};

static SSL_CTX *tls;
static struct ledger *ledger;

static void note_message(struct guest *g)
{
    uint8_t before;

    if (g->number >= LEDGER_MESSAGES) {
        atomic_fetch_add(&ledger->unknown, 1);
    } else if (g->wrong || g->at != g->size) {
        atomic_fetch_add(&ledger->corrupted, 1);
    } else {
        before = atomic_fetch_or(&ledger->fate[g->number], LEDGER_ARRIVED);
        if (before & LEDGER_ARRIVED)
            atomic_fetch_or(&ledger->fate[g->number], LEDGER_TWICE);
    }
}

static void take_header(struct guest *g, const char *line, size_t len)
{
    if (len > 9 && strncmp(line, "X-Bench: ", 9) == 0) {
        char *end;
        g->number = (uint32_t)strtoul(line + 9, &end, 10);
        g->size = strtoul(end, NULL, 10);
    } else if (len == 0) {
        g->state = BODY;
        g->at = 0;
        g->dot = 0;
        g->wrong = false;
    }
}

/* Compares what is there with what it must be. True when the final dot has come. */
static bool take_body(struct guest *g)
{
    struct wire *w = &g->wire;
    size_t there = w->end - w->start, want = g->size - g->at, part = there < want ? there : want;

    if (part > 0) {
        g->wrong |= memcmp(message_body(g->size) + g->at, w->in + w->start, part) != 0;
        g->at += part;
        w->start += part;
    }
    while (g->at == g->size && w->start < w->end && g->dot < 3)
        g->wrong |= w->in[w->start++] != ".\r\n"[g->dot++];
    return g->dot == 3;
}

static bool begins(const char *line, size_t len, const char *verb)
{
    return len >= strlen(verb) && strncasecmp(line, verb, strlen(verb)) == 0;
}

/* False: it has said QUIT. */
static bool take_command(struct guest *g, const char *line, size_t len)
{
    struct wire *w = &g->wire;

    if (begins(line, len, "EHLO") || begins(line, len, "HELO")) {
        wire_puts(w, "250-sink.bench\r\n250-PIPELINING\r\n250-SIZE 104857600\r\n250-8BITMIME\r\n");
        wire_puts(w, tls != NULL && w->ssl == NULL ? "250-STARTTLS\r\n250 SMTPUTF8\r\n" : "250 SMTPUTF8\r\n");
    } else if (begins(line, len, "STARTTLS") && tls != NULL) {
        wire_puts(w, "220 go\r\n");
        wire_secure(w, SSL_new(tls), true);
    } else if (begins(line, len, "DATA")) {
        wire_puts(w, "354 go\r\n");
        g->state = HEADER;
        g->number = LEDGER_MESSAGES;
        g->size = 0;
    } else if (begins(line, len, "QUIT")) {
        wire_puts(w, "221 bye\r\n");
        return false;
    } else {
        wire_puts(w, "250 ok\r\n");
    }
    return true;
}

/* False: it is over. */
static bool serve(struct guest *g)
{
    struct wire *w = &g->wire;
    char *line;
    size_t len;

    while (w->start < w->end) {
        if (g->state == BODY) {
            if (!take_body(g))
                return true;
            note_message(g);
            g->state = COMMANDS;
            wire_puts(w, "250 2.0.0 taken\r\n");
            continue;
        }
        line = wire_line(w, &len);
        if (line == NULL)
            return true;
        if (g->state == HEADER)
            take_header(g, line, len);
        else if (!take_command(g, line, len))
            return false;
    }
    return true;
}

static void count_handshake(const struct guest *g)
{
    atomic_fetch_add(&ledger->sink_handshakes, 1);
    if (SSL_session_reused(g->wire.ssl))
        atomic_fetch_add(&ledger->sink_resumed, 1);
}

/* Goes on until nothing more can be done: what TLS has opened already no event will tell. */
static void on_event(struct guest *g)
{
    struct wire *w = &g->wire;
    bool securing, good, full;

    do {
        securing = w->ssl != NULL && w->handshaking;
        good = wire_turn(w, g);
        if (securing && !w->handshaking)
            count_handshake(g);
        full = w->end - w->start == WIRE_IN;
        good = good && serve(g);
    } while (good && ((w->out_length > 0 && !w->wants_write) || full));
    if (good)
        return;
    if (w->out_length > 0)
        (void)wire_turn(w, g);
    wire_close(w);
    free(g);
}

static int open_listener(const struct sink_options *options)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)options->port)};
    socklen_t len = sizeof address;
    const int on = 1;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

    inet_pton(AF_INET, "127.0.0.1", &address.sin_addr);
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bind(fd, (struct sockaddr *)&address, sizeof address) != 0 || listen(fd, 4096) != 0 ||
        getsockname(fd, (struct sockaddr *)&address, &len) != 0) {
        perror("sink");
        return -1;
    }
    printf("sink %d\n", ntohs(address.sin_port));
    fflush(stdout);
    return fd;
}

static void accept_all(int epoll, int listener)
{
    const int on = 1;
    int fd;

    while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
        struct guest *g = malloc(sizeof *g);
        if (g == NULL)
            abort();
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        g->state = COMMANDS;
        atomic_fetch_add(&ledger->sink_connections, 1);
        wire_open(&g->wire, epoll, fd, g);
        wire_puts(&g->wire, "220 sink.bench ESMTP\r\n");
    }
}

int sink_run(const struct sink_options *options, struct ledger *shared)
{
    struct epoll_event events[EVENTS], event = {.events = EPOLLIN, .data.ptr = NULL};
    int epoll = epoll_create1(EPOLL_CLOEXEC), listener = open_listener(options);

    if (listener < 0)
        return EXIT_FAILURE;
    ledger = shared;
    if (options->chain != NULL) {
        tls = SSL_CTX_new(TLS_server_method());
        SSL_CTX_set_read_ahead(tls, 1);
        SSL_CTX_set_mode(tls, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
        if (SSL_CTX_use_certificate_chain_file(tls, options->chain) != 1 ||
            SSL_CTX_use_PrivateKey_file(tls, options->key, SSL_FILETYPE_PEM) != 1) {
            fprintf(stderr, "sink: cannot use %s\n", options->chain);
            return EXIT_FAILURE;
        }
    }
    epoll_ctl(epoll, EPOLL_CTL_ADD, listener, &event);
    for (;;) {
        int count = epoll_wait(epoll, events, EVENTS, -1);
        for (int i = 0; i < count; i++) {
            if (events[i].data.ptr == NULL)
                accept_all(epoll, listener);
            else
                on_event(events[i].data.ptr);
        }
    }
}
