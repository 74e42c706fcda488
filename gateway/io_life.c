/* SPDX-License-Identifier: Apache-2.0 */
/* The beginning and the end of a connection, and its deadlines; see io.h and, for what happens between, io.c. */
#include "io_private.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#define CLOSING_SECONDS 10 /* for the last bytes, the goodbye and the peer's own close */

/* ---- Birth and death ---- */

struct io *io_new(struct loop *loop, struct config *config, io_handler handler, void *owner)
{
    struct io *io = calloc(1, sizeof *io);

    if (io == NULL)
        return NULL;
    io->loop = loop;
    io->config = config_hold(config);
    io->handler = handler;
    io->owner = owner;
    io->fd = -1;
    io->stage = STAGE_OPEN;
    uv_timer_init(&loop->uv, &io->timer);
    io->timer.data = io;
    io->handles = 1;
    io->next = loop->all;
    if (loop->all != NULL)
        loop->all->previous = io;
    loop->all = io;
    return io;
}

static void on_closed(uv_handle_t *handle)
{
    io_release(handle->data);
}

void io_free_if_done(struct io *io)
{
    struct loop *loop = io->loop;

    /* A job that is paused runs on a stack of its own that refers to us: io_wake comes back here after it. On
     * a list of the turn: io_turn does. */
    if (io->handles > 0 || io->ssl != NULL || io->is_active || io->is_unsent)
        return;
    if (io->previous != NULL)
        io->previous->next = io->next;
    else
        loop->all = io->next;
    if (io->next != NULL)
        io->next->previous = io->previous;
    io_tls_forget(io);
    config_drop(io->config);
    free(io);
}

void io_release(struct io *io)
{
    io->handles--;
    io_free_if_done(io);
}

static void on_poll_closed(uv_handle_t *poll)
{
    struct io *io = poll->data;

    free(poll);
    io_release(io);
}

bool io_attach(struct io *io, int fd)
{
    const int on = 1;

    io->poll = malloc(sizeof *io->poll);
    if (io->poll == NULL || uv_poll_init(&io->loop->uv, io->poll, fd) != 0) {
        free(io->poll);
        io->poll = NULL;
        close(fd);
        return false;
    }
    /* We gather a turn's output ourselves; Nagle's algorithm on top would only add delay. */
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    io->poll->data = io;
    io->handles++;
    io->interest = 0;
    io->fd = fd;
    return true;
}

void io_detach(struct io *io)
{
    if (io->fd < 0)
        return;
    uv_close((uv_handle_t *)io->poll, on_poll_closed);
    close(io->fd);
    io->poll = NULL;
    io->fd = -1;
}

void io_kill(struct io *io)
{
    struct buffer_pool *pool = &io->loop->buffers;

    if (io->stage == STAGE_DEAD)
        return;
    io->stage = STAGE_DEAD;
    io->handler = NULL;
    io_connect_cancel(io);
    io_records_free(io);
    io_tls_free(io);
    io_detach(io);
    buffer_clear(pool, &io->net_in);
    buffer_clear(pool, &io->text_in);
    buffer_clear(pool, &io->text_out);
    buffer_clear(pool, &io->net_out);
    uv_close((uv_handle_t *)&io->timer, on_closed);
}

void io_break(struct io *io, const char *format, ...)
{
    va_list args;

    if (io->stage == STAGE_CLOSING) { /* nobody left to tell */
        io_kill(io);
        return;
    }
    if (io->stage == STAGE_BROKEN || io->stage == STAGE_DEAD)
        return;
    va_start(args, format);
    vsnprintf(io->error, sizeof io->error, format, args);
    va_end(args);
    io->stage = STAGE_BROKEN;
    io_mark_active(io);
}

/* ---- Deadlines ---- */

static void on_timer(uv_timer_t *timer);

/*
 * A deadline is set with every command and nearly never passes: the timer keeps running towards an earlier one, and only
 * then looks how much is left.
 */
static void timer_set(struct io *io, uint64_t at)
{
    uint64_t now = uv_now(&io->loop->uv);

    io->deadline = at;
    if (at == 0 || (uv_is_active((uv_handle_t *)&io->timer) && io->timer_at <= at))
        return;
    io->timer_at = at;
    uv_timer_start(&io->timer, on_timer, at > now ? at - now : 0, 0);
}

static void on_timer(uv_timer_t *timer)
{
    struct io *io = timer->data;

    if (io->deadline > uv_now(&io->loop->uv))
        timer_set(io, io->deadline);
    else if (io->deadline != 0 && io->stage == STAGE_CLOSING)
        io_kill(io);
    else if (io->deadline != 0)
        io_tell(io, IO_TIMEOUT);
}

void io_deadline(struct io *io, long seconds)
{
    if (io->stage == STAGE_CLOSING || io->stage == STAGE_DEAD)
        return;
    timer_set(io, seconds > 0 ? uv_now(&io->loop->uv) + (uint64_t)seconds * 1000 : 0);
}

/* ---- What the owner and the loop ask for ---- */

struct io *io_accept(struct loop *loop, struct config *config, int fd, io_handler handler, void *owner)
{
    struct io *io = io_new(loop, config, handler, owner);
    struct sockaddr_storage address;
    socklen_t len = sizeof address;

    if (io == NULL) {
        close(fd);
        return NULL;
    }
    if (!io_attach(io, fd)) {
        io_kill(io);
        return NULL;
    }
    if (getpeername(fd, (struct sockaddr *)&address, &len) == 0)
        getnameinfo((struct sockaddr *)&address, len, io->peer, sizeof io->peer, NULL, 0, NI_NUMERICHOST);
    io_mark_active(io);
    return io;
}

void io_close(struct io *io)
{
    bool alive = io->fd >= 0 && io->stage != STAGE_CONNECTING && !io->socket_dead && !io->job_paused;

    if (io->stage == STAGE_CLOSING || io->stage == STAGE_DEAD)
        return;
    if (!alive) {
        io_kill(io);
        return;
    }
    /* A handshake that failed left its alert in net_out; there is nothing to seal then. */
    if (io->stage != STAGE_OPEN)
        buffer_clear(&io->loop->buffers, &io->text_out);
    io->stage = STAGE_CLOSING;
    io->handler = NULL;
    buffer_clear(&io->loop->buffers, &io->text_in);
    buffer_clear(&io->loop->buffers, &io->net_in);
    timer_set(io, uv_now(&io->loop->uv) + CLOSING_SECONDS * 1000);
    io_mark_unsent(io);
}

void io_abort(struct io *io)
{
    io_kill(io);
}

void io_abort_all(struct loop *loop)
{
    for (struct io *io = loop->all, *next; io != NULL; io = next) {
        next = io->next;
        io_kill(io);
    }
}
