/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Connections: the socket, the buffers and the turn; see io.h. TLS is io_tls.c's, getting connected
 * io_connect.c's.
 *
 * libuv only tells what a socket is ready for. Its callbacks receive bytes and put the connection on the
 * turn's list; everything else happens in io_turn, just before the loop would sleep: first all that came is
 * opened and handed to the owners, then all that they wrote is sealed and sent. So the records of one turn,
 * whatever connections they belong to, can be worked on together.
 */
#include "io_private.h"
#include "log.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define CLOSING_SECONDS 10            /* for the last bytes, the goodbye and the peer's own close */
#define SWALLOW_MAX     (1024 * 1024) /* of a peer that talks on after we said goodbye */

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

/* ---- Birth and death ---- */

static void on_timer(uv_timer_t *timer);
static void timer_set(struct io *io, uint64_t at);
static void on_ready(uv_poll_t *poll, int status, int events);

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

static void break_socket(struct io *io, int error)
{
    io->socket_dead = true;
    io_break(io, "%s", strerror(error));
}

/* ---- The socket ---- */

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

static void tell(struct io *io, enum io_event event)
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
            tell(io, IO_INPUT);
            more = io->stage == STAGE_OPEN && (io_is_secure(io) || io->fresh) &&
                   (buffer_length(&io->text_in) < before || io->fresh);
        }
    }
    if (io->stage == STAGE_OPEN && io->ended && !io->eof_told &&
        (!io->paused || buffer_length(&io->text_in) == 0)) {
        io->eof_told = true;
        tell(io, IO_EOF);
    }
}

static void advance(struct io *io)
{
    if (io->stage == STAGE_CONNECTING)
        io_connect_advance(io);
    if (io->stage == STAGE_OPEN && io->connected_untold) {
        io->connected_untold = false;
        tell(io, IO_CONNECTED);
    }
    if (io->stage == STAGE_HANDSHAKE) {
        io_tls_handshake(io);
        if (io->stage == STAGE_OPEN)
            tell(io, IO_SECURED);
    }
    if (io->stage == STAGE_OPEN && io->room_wanted && io_room(io) >= BUFFER_SIZE / 2) {
        io->room_wanted = false;
        tell(io, IO_ROOM);
    }
    if (io->stage == STAGE_OPEN)
        deliver(io);
    if (io->stage == STAGE_BROKEN && !io->broken_told) {
        io->broken_told = true;
        tell(io, IO_FAILED);
    }
    if (io->stage == STAGE_DEAD)
        return;
    buffer_tidy(&io->loop->buffers, &io->net_in);
    buffer_tidy(&io->loop->buffers, &io->text_in);
    watch(io);
}

enum io_line io_take_line(struct io *io, size_t max, const char **line, size_t *len)
{
    const uint8_t *bytes = buffer_bytes(&io->text_in);
    size_t held = buffer_length(&io->text_in);
    const uint8_t *lf = held > 0 ? memchr(bytes, '\n', held) : NULL;
    size_t length = lf != NULL ? (size_t)(lf - bytes) : held;
    size_t text = length > 0 && bytes[length - 1] == '\r' ? length - 1 : length;

    if (held == 0)
        return IO_LINE_NONE;
    if (memchr(bytes, '\0', text) != NULL || memchr(bytes, '\r', text) != NULL ||
        (lf != NULL && text == length))
        return IO_LINE_BROKEN;
    if (text > max)
        return IO_LINE_TOO_LONG;
    if (lf == NULL)
        return IO_LINE_NONE;
    *line = (const char *)bytes;
    *len = text;
    buffer_drop(&io->text_in, length + 1);
    return IO_LINE_READY;
}

const uint8_t *io_peek(const struct io *io, size_t *len)
{
    *len = buffer_length(&io->text_in);
    return buffer_bytes(&io->text_in);
}

void io_drop(struct io *io, size_t len)
{
    buffer_drop(&io->text_in, len);
}

void io_pause(struct io *io)
{
    io->paused = true;
}

void io_resume(struct io *io)
{
    io->paused = false;
    io->fresh = true;
    io_mark_active(io);
}

/* ---- Output ---- */

size_t io_room(const struct io *io)
{
    return buffer_room(io_is_secure(io) ? &io->text_out : &io->net_out);
}

bool io_write(struct io *io, const void *bytes, size_t len)
{
    struct buffer *out = io_is_secure(io) ? &io->text_out : &io->net_out;

    if (io->stage == STAGE_BROKEN || io->stage == STAGE_DEAD)
        return false;
    if (!buffer_append(&io->loop->buffers, out, bytes, len)) {
        io_break(io, "the peer does not take what we send");
        return false;
    }
    io_mark_unsent(io);
    return true;
}

void io_wait_room(struct io *io)
{
    io->room_wanted = true;
    io_mark_unsent(io);
}

void io_hold(struct io *io, bool held)
{
    if (io->held && !held)
        io_mark_unsent(io);
    io->held = held;
}

static void io_seal(struct io *io)
{
    if (io_is_secure(io) && (io->stage == STAGE_OPEN || io->stage == STAGE_CLOSING))
        io_tls_seal(io);
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

void io_abort_all(struct loop *loop)
{
    for (struct io *io = loop->all, *next; io != NULL; io = next) {
        next = io->next;
        io_kill(io);
    }
}

/* ---- The owner's side ---- */

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
        tell(io, IO_TIMEOUT);
}

void io_deadline(struct io *io, long seconds)
{
    if (io->stage == STAGE_CLOSING || io->stage == STAGE_DEAD)
        return;
    timer_set(io, seconds > 0 ? uv_now(&io->loop->uv) + (uint64_t)seconds * 1000 : 0);
}

const char *io_error(const struct io *io)
{
    return io->error;
}
bool io_key_failed(const struct io *io)
{
    return io->key_failed;
}
const char *io_sealed_by(struct io *io)
{
    if (io->session != NULL)
        return io_records_sealed_by(io);
    io_seal(io);
    return tls_sealed_by(io->config->tls.library);
}
const char *io_peer(const struct io *io)
{
    return io->peer;
}
const struct io_facts *io_facts(const struct io *io)
{
    return &io->facts;
}

bool io_spoke_early(const struct io *io)
{
    uint8_t byte;

    return recv(io->fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) > 0;
}

void io_set_peer(struct io *io, const char *address)
{
    snprintf(io->peer, sizeof io->peer, "%s", address);
}

bool io_may_sign(const struct io *io, const struct tls_server *server)
{
    return (long)atomic_load_explicit(&io->loop->signing, memory_order_relaxed) < server->queue;
}
