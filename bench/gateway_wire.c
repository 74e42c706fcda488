/* SPDX-License-Identifier: Apache-2.0 */
/* A non-blocking connection; see gateway_wire.h. */
#include "gateway_wire.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>
#include <openssl/err.h>

#define RECORD_TEXT 16384u /* RFC 8446 5.1 */

void wire_open(struct wire *w, int epoll, int fd, void *owner)
{
    struct epoll_event event = {.events = EPOLLIN | EPOLLOUT, .data.ptr = owner};

    w->fd = fd;
    w->epoll = epoll;
    w->ssl = NULL;
    w->handshaking = w->wants_write = w->ended = false;
    w->start = w->end = w->out_length = w->body_length = w->tail_length = 0;
    w->watched = event.events;
    epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event);
}

void wire_close(struct wire *w)
{
    SSL_free(w->ssl);
    w->ssl = NULL;
    if (w->fd >= 0)
        close(w->fd);
    w->fd = -1;
}

void wire_secure(struct wire *w, SSL *ssl, bool server)
{
    w->ssl = ssl;
    w->handshaking = true;
    SSL_set_fd(ssl, w->fd);
    if (server)
        SSL_set_accept_state(ssl);
    else
        SSL_set_connect_state(ssl);
}

/* True if it only has to be tried again later. */
static bool judge(struct wire *w, int result)
{
    int error = SSL_get_error(w->ssl, result);

    w->wants_write |= error == SSL_ERROR_WANT_WRITE;
    if (error == SSL_ERROR_WANT_READ || error == SSL_ERROR_WANT_WRITE)
        return true;
    ERR_clear_error();
    return false;
}

/* Bytes written, 0 if none can be now, -1 at the end. */
static long put(struct wire *w, const char *bytes, size_t len)
{
    long n;

    if (w->ssl != NULL) {
        n = SSL_write(w->ssl, bytes, (int)len);
        return n > 0 ? n : judge(w, (int)n) ? 0 : -1;
    }
    n = send(w->fd, bytes, len, MSG_NOSIGNAL);
    if (n >= 0)
        return n;
    w->wants_write = true;
    return errno == EAGAIN ? 0 : -1;
}

bool wire_is_full(const struct wire *w)
{
    return w->out_length > 0 || w->body_length > 0 || w->tail_length > 0;
}

/* As much of it as there is room for. */
static void gather(char *record, size_t *length, const char *from, size_t len)
{
    size_t part = len < RECORD_TEXT - *length ? len : RECORD_TEXT - *length;

    if (part > 0)
        memcpy(record + *length, from, part);
    *length += part;
}

static size_t drop(size_t *length, size_t *gone)
{
    size_t part = *length < *gone ? *length : *gone;

    *length -= part;
    *gone -= part;
    return part;
}

static void forget(struct wire *w, size_t gone)
{
    size_t part = drop(&w->out_length, &gone);

    memmove(w->out, w->out + part, w->out_length);
    w->body += drop(&w->body_length, &gone);
    w->tail += drop(&w->tail_length, &gone);
}

static bool flush(struct wire *w)
{
    char record[RECORD_TEXT];
    long n = 1;

    while (wire_is_full(w) && n > 0) {
        size_t length = 0;
        gather(record, &length, w->out, w->out_length);
        gather(record, &length, w->body, w->body_length);
        gather(record, &length, w->tail, w->tail_length);
        n = put(w, record, length);
        if (n > 0)
            forget(w, (size_t)n);
    }
    return n >= 0;
}

static bool fill(struct wire *w)
{
    for (;;) {
        if (w->start > 0) {
            memmove(w->in, w->in + w->start, w->end - w->start);
            w->end -= w->start;
            w->start = 0;
        }
        if (w->end == WIRE_IN)
            return true;
        if (w->ssl != NULL) {
            int n = SSL_read(w->ssl, w->in + w->end, (int)(WIRE_IN - w->end));
            if (n <= 0)
                return judge(w, n);
            w->end += (size_t)n;
        } else {
            ssize_t n = recv(w->fd, w->in + w->end, WIRE_IN - w->end, 0);
            if (n < 0)
                return errno == EAGAIN;
            if (n == 0)
                return false;
            w->end += (size_t)n;
            return true; /* what comes behind may be for TLS */
        }
    }
}

bool wire_turn(struct wire *w, void *owner)
{
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = owner};
    bool good = true;

    w->wants_write = false;
    if (w->handshaking && w->out_length == 0) {
        int result = SSL_do_handshake(w->ssl);
        good = result == 1 || judge(w, result);
        w->handshaking = result != 1;
    } else if (w->handshaking) { /* the 220 that comes before it still goes out in the clear */
        SSL *ssl = w->ssl;
        w->ssl = NULL;
        good = flush(w);
        w->ssl = ssl;
    }
    if (good && !w->handshaking)
        good = flush(w) && !w->ended;
    if (good && !w->handshaking && !fill(w)) {
        w->ended = true;
        good = w->end > w->start; /* lines that came before the end are still looked at */
    }
    if (w->wants_write)
        event.events |= EPOLLOUT;
    if (good && event.events != w->watched) {
        w->watched = event.events;
        epoll_ctl(w->epoll, EPOLL_CTL_MOD, w->fd, &event);
    }
    return good;
}

char *wire_line(struct wire *w, size_t *len)
{
    char *from = w->in + w->start;
    char *lf = memchr(from, '\n', w->end - w->start);

    if (lf == NULL)
        return NULL;
    *len = (size_t)(lf - from);
    w->start += *len + 1;
    if (*len > 0 && lf[-1] == '\r')
        --*len;
    return from;
}

void wire_put(struct wire *w, const char *text, size_t len)
{
    if (w->out_length + len > WIRE_OUT)
        abort(); /* commands and replies are small, and answered */
    memcpy(w->out + w->out_length, text, len);
    w->out_length += len;
}

void wire_puts(struct wire *w, const char *text)
{
    wire_put(w, text, strlen(text));
}

void wire_body(struct wire *w, const char *body, size_t len, const char *tail)
{
    w->body = body;
    w->body_length = len;
    w->tail = tail;
    w->tail_length = strlen(tail);
}
