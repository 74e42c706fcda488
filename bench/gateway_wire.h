/* SPDX-License-Identifier: Apache-2.0 */
/* A non-blocking connection with lines, in the clear or under TLS, for one epoll loop. */
#ifndef BENCH_GATEWAY_WIRE_H
#define BENCH_GATEWAY_WIRE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <openssl/ssl.h>

#define WIRE_IN  32768u
#define WIRE_OUT 4096u

struct wire {
    int fd, epoll;
    SSL *ssl;
    bool handshaking, wants_write, ended;
    uint32_t watched;
    char in[WIRE_IN];
    size_t start, end;
    char out[WIRE_OUT]; /* small things: commands, replies */
    size_t out_length;
    const char *body, *tail; /* a big thing behind them, and what ends it */
    size_t body_length, tail_length;
};

void wire_open(struct wire *w, int epoll, int fd, void *owner);
void wire_close(struct wire *w);
/* Goes on with TLS: what is written from here on is sealed. */
void wire_secure(struct wire *w, SSL *ssl, bool server);
/* Reads what is there and writes what is due. False: the connection is over. */
bool wire_turn(struct wire *w, void *owner);
/* The next line without its CRLF, NULL if there is none yet. Good until the next call of anything. */
char *wire_line(struct wire *w, size_t *len);
void wire_put(struct wire *w, const char *text, size_t len);
void wire_puts(struct wire *w, const char *text);
/*
 * Behind all that, a body and what ends it, which both stay where they are until they have left: as MTAs do (Postfix's
 * smtp, swaks, Python's smtplib), with the header before it and the dot behind it in one record if they fit.
 */
void wire_body(struct wire *w, const char *body, size_t len, const char *tail);
/* True if there is something to be written. */
bool wire_is_full(const struct wire *w);

#endif
