/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Connections: the socket and the turn; see io.h. Their beginning and end are io_life.c's, what owners read and write
 * io_owner.c's, TLS is io_tls.c's, getting connected io_connect.c's.
 *
 * libuv only tells what a socket is ready for. Its callbacks receive bytes and put the connection on the
 * turn's list; everything else happens in io_turn, just before the loop would sleep: first all that came is
 * opened and handed to the owners, then all that they wrote is sealed and sent. So the records of one turn,
 * whatever connections they belong to, can be worked on together.
 */
#include "io_private.h"
#include "log.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>

#define SWALLOW_MAX (1024 * 1024) /* of a peer that talks on after we said goodbye */

/* ---- The turn's lists ---- */

void io_mark_active(struct io *io)
{
    struct loop *loop = io->loop;

    if (io->is_active || io->stage == STAGE_DEAD)
        return;
    io->is_active = true;
    io->active_next = NULL;
    if (loop->active == NULL)
        loop->active = io;
    else
        loop->active_tail->active_next = io;
    loop->active_tail = io;
}

void io_mark_unsent(struct io *io)
{
    struct loop *loop = io->loop;

    if (io->is_unsent || io->stage == STAGE_DEAD)
        return;
    io->is_unsent = true;
    io->unsent_next = NULL;
    if (loop->unsent == NULL)
        loop->unsent = io;
    else
        loop->unsent_tail->unsent_next = io;
    loop->unsent_tail = io;
}

/* ---- The socket ---- */

static void on_ready(uv_poll_t *poll, int status, int events);

static void break_socket(struct io *io, int error)
{
    io->socket_dead = true;
    io_break(io, "%s", strerror(error));
}

static void watch(struct io *io)
{
    struct buffer *in = io_is_secure(io) ? &io->net_in : &io->text_in;
    int want = 0;

    if (io->fd < 0 || io->stage == STAGE_CONNECTING || io->stage == STAGE_DEAD)
        return;
    if (!io->eof && !io->socket_dead && (io->stage == STAGE_CLOSING || buffer_room(in) > 0) &&
        io->stage != STAGE_BROKEN)
        want |= UV_READABLE;
    if (io->blocked)
        want |= UV_WRITABLE;
    if (want == io->interest)
        return;
    io->interest = want;
    if (want == 0)
        uv_poll_stop(io->poll);
    else
        uv_poll_start(io->poll, want, on_ready);
}

void io_watch_connect(struct io *io)
{
    uv_poll_start(io->poll, UV_WRITABLE, on_ready);
}

/* While closing, input only has to leave the socket, so that closing it does not reset our last words. */
static void swallow(struct io *io)
{
    uint8_t waste[4096];
    ssize_t n = recv(io->fd, waste, sizeof waste, 0);

    if (n > 0)
        io->swallowed += (size_t)n;
    if (n == 0)
        io->eof = true;
    if ((n < 0 && errno != EAGAIN && errno != EINTR) || io->swallowed > SWALLOW_MAX)
        io_kill(io);
    else
        io_mark_unsent(io); /* where closing goes on */
}

static void receive(struct io *io)
{
    struct buffer *in = io_is_secure(io) ? &io->net_in : &io->text_in;
    size_t room;
    uint8_t *to;
    ssize_t n;

    if (io->stage == STAGE_CLOSING) {
        swallow(io);
        return;
    }
    if (io->eof || io->stage == STAGE_BROKEN)
        return;
    to = buffer_reserve(&io->loop->buffers, in, &room);
    if (to == NULL) {
        io_break(io, "out of memory");
        return;
    }
    if (room == 0)
        return;
    n = recv(io->fd, to, room, 0);
    if (n > 0) {
        buffer_commit(in, (size_t)n);
        io->fresh |= in == &io->text_in;
    } else if (n == 0) {
        io->eof = true;
    } else if (errno != EAGAIN && errno != EINTR) {
        break_socket(io, errno);
    }
    io_mark_active(io);
}

static void on_ready(uv_poll_t *poll, int status, int events)
{
    struct io *io = poll->data;

    if (io->stage == STAGE_CONNECTING) {
        uv_poll_stop(io->poll);
        io->connect_ready = true;
        io_mark_active(io);
        return;
    }
    if (status < 0) { /* libuv has stopped watching: the socket has an error, which recv tells */
        io->interest = 0;
        events = UV_READABLE | UV_WRITABLE;
    }
    if (events & UV_WRITABLE) {
        io->blocked = false;
        io_mark_unsent(io);
    }
    if (events & UV_READABLE)
        receive(io);
    if (status < 0 && io->stage != STAGE_DEAD && !io->eof && !io->socket_dead) {
        int error = 0;
        socklen_t len = sizeof error;
        getsockopt(io->fd, SOL_SOCKET, SO_ERROR, &error, &len);
        break_socket(io, error != 0 ? error : ECONNRESET);
    }
}

/* ---- Input ---- */

void io_tell(struct io *io, enum io_event event)
{
    if (io->handler != NULL)
        io->handler(io->owner, event);
}

/* Opens and delivers until nothing new comes of it. */
static void deliver(struct io *io)
{
    bool more = true;

    while (more && io->stage == STAGE_OPEN) {
        more = false;
        if (io_is_secure(io))
            io->fresh |= io_tls_open(io);
        else
            io->ended = io->eof;
        if (io->stage != STAGE_OPEN)
            break;
        if (io->fresh && !io->paused && buffer_length(&io->text_in) > 0) {
            size_t before = buffer_length(&io->text_in);
            io->fresh = false;
            io_tell(io, IO_INPUT);
            more = io->stage == STAGE_OPEN && (io_is_secure(io) || io->fresh) &&
                   (buffer_length(&io->text_in) < before || io->fresh);
        }
    }
    if (io->stage == STAGE_OPEN && io->ended && !io->eof_told &&
        (!io->paused || buffer_length(&io->text_in) == 0)) {
        io->eof_told = true;
        io_tell(io, IO_EOF);
    }
}

static void advance(struct io *io)
{
    if (io->stage == STAGE_CONNECTING)
        io_connect_advance(io);
    if (io->stage == STAGE_OPEN && io->connected_untold) {
        io->connected_untold = false;
        io_tell(io, IO_CONNECTED);
    }
    if (io->stage == STAGE_HANDSHAKE) {
        io_tls_handshake(io);
        if (io->stage == STAGE_OPEN)
            io_tell(io, IO_SECURED);
    }
    if (io->stage == STAGE_OPEN && io->room_wanted && io_room(io) >= BUFFER_SIZE / 2) {
        io->room_wanted = false;
        io_tell(io, IO_ROOM);
    }
    if (io->stage == STAGE_OPEN)
        deliver(io);
    if (io->stage == STAGE_BROKEN && !io->broken_told) {
        io->broken_told = true;
        io_tell(io, IO_FAILED);
    }
    if (io->stage == STAGE_DEAD)
        return;
    buffer_tidy(&io->loop->buffers, &io->net_in);
    buffer_tidy(&io->loop->buffers, &io->text_in);
    watch(io);
}

/* ---- Output ---- */

static void io_seal(struct io *io)
{
    if (io_is_secure(io) && (io->stage == STAGE_OPEN || io->stage == STAGE_CLOSING))
        io_tls_seal(io);
}

const char *io_sealed_by(struct io *io)
{
    if (io->session != NULL)
        return io_records_sealed_by(io);
    io_seal(io);
    return tls_sealed_by(io->config->tls.library);
}
/* Everything was sent and we are leaving: say so, and stay until the peer has heard it. */
static void finish_closing(struct io *io)
{
    if (!io->shut) {
        io->shut = true;
        shutdown(io->fd, SHUT_WR);
    }
    if (io->eof)
        io_kill(io);
}

/* Hands net_out to the socket. False if the socket is broken. */
static bool send_sealed(struct io *io)
{
    while (buffer_length(&io->net_out) > 0 && !io->blocked) {
        ssize_t n = send(io->fd, buffer_bytes(&io->net_out), buffer_length(&io->net_out), MSG_NOSIGNAL);
        if (n >= 0) {
            buffer_drop(&io->net_out, (size_t)n);
        } else if (errno == EAGAIN) {
            io->blocked = true;
        } else if (errno != EINTR) {
            break_socket(io, errno);
            return false;
        }
    }
    return true;
}

void io_last_words(struct io *io)
{
    if (io->fd >= 0 && !io->socket_dead && io->stage != STAGE_DEAD)
        (void)send_sealed(io);
}

static bool may_send(const struct io *io)
{
    if (io->stage == STAGE_CONNECTING || io->stage == STAGE_DEAD || io->socket_dead || io->fd < 0)
        return false;
    return !io->held || io->stage != STAGE_OPEN || io->room_wanted;
}

bool io_may_seal(const struct io *io)
{
    return may_send(io) && (io->stage == STAGE_OPEN || io->stage == STAGE_CLOSING);
}

static void seal_and_send(struct io *io)
{
    struct buffer_pool *pool = &io->loop->buffers;

    if (!may_send(io))
        return;
    do {
        io_seal(io);
        if (io->stage == STAGE_CLOSING && buffer_length(&io->text_out) == 0)
            io_tls_goodbye(io);
        if (io->stage == STAGE_DEAD || !send_sealed(io))
            return;
    } while (buffer_length(&io->text_out) > 0 && !io->blocked && io->stage != STAGE_BROKEN);

    buffer_tidy(pool, &io->text_out);
    buffer_tidy(pool, &io->net_out);
    if (io->room_wanted || io->stage == STAGE_HANDSHAKE)
        io_mark_active(io);
    if (io->stage == STAGE_CLOSING && buffer_length(&io->net_out) == 0)
        finish_closing(io);
    watch(io);
}

/* ---- The turn ---- */

/*
 * Off the list, up to a group. They stay marked until it is their turn, so that what others do meanwhile neither
 * frees them nor puts them on the list a second time.
 */
static size_t take_active(struct loop *loop, struct io *group[IO_GROUP])
{
    size_t n = 0;

    for (; loop->active != NULL && n < IO_GROUP; loop->active = loop->active->active_next)
        group[n++] = loop->active;
    return n;
}

static size_t take_unsent(struct loop *loop, struct io *group[IO_GROUP])
{
    size_t n = 0;

    for (; loop->unsent != NULL && n < IO_GROUP; loop->unsent = loop->unsent->unsent_next)
        group[n++] = loop->unsent;
    return n;
}

static void advance_group(struct io *const group[], size_t n)
{
    io_records_open_group(group, n);
    for (size_t i = 0; i < n; i++) {
        group[i]->is_active = false;
        if (group[i]->stage != STAGE_DEAD)
            advance(group[i]);
        else
            io_free_if_done(group[i]);
    }
}

static void send_group(struct io *const group[], size_t n)
{
    io_records_seal_group(group, n);
    for (size_t i = 0; i < n; i++) {
        group[i]->is_unsent = false;
        if (group[i]->stage != STAGE_DEAD)
            seal_and_send(group[i]);
        else
            io_free_if_done(group[i]);
    }
}

void io_turn(struct loop *loop)
{
    struct io *group[IO_GROUP];
    size_t n;

    do {
        while ((n = take_active(loop, group)) > 0)
            advance_group(group, n);
        log_flush();
        while ((n = take_unsent(loop, group)) > 0)
            send_group(group, n);
    } while (loop->active != NULL || loop->unsent != NULL);
}
