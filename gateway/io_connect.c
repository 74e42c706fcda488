/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Getting connected: looking a name up and trying its addresses, one after the other, until one answers.
 *
 * The deadline for all of it is the owner's (io_deadline).
 */
#include "io_private.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>

static void on_looked_up(uv_getaddrinfo_t *lookup, int status, struct addrinfo *list)
{
    struct io *io = lookup->data;

    io->looking_up = false;
    if (io->stage == STAGE_DEAD) {
        uv_freeaddrinfo(list);
    } else if (status != 0) {
        io_break(io, "cannot look the host up: %s", uv_strerror(status));
    } else {
        io->addresses = io->address = list;
        io_mark_active(io);
    }
    io_release(io);
}

struct io *io_connect(struct loop *loop, struct config *config, const char *host, const char *port,
                      io_handler handler, void *owner)
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICSERV | AI_NUMERICHOST};
    struct io *io = io_new(loop, config, handler, owner);
    int result;

    if (io == NULL)
        return NULL;
    io->stage = STAGE_CONNECTING;
    if (getaddrinfo(host, port, &hints, &io->addresses) == 0) { /* numeric: no question leaves the process */
        io->address = io->addresses;
        io->addresses_ours = true;
        io_mark_active(io);
        return io;
    }
    io->addresses = NULL;
    io->lookup.data = io;
    hints.ai_flags = AI_NUMERICSERV | AI_ADDRCONFIG;
    result = uv_getaddrinfo(&loop->uv, &io->lookup, on_looked_up, host, port, &hints);
    if (result == 0) {
        io->looking_up = true;
        io->handles++;
    } else {
        io_break(io, "cannot look the host up: %s", uv_strerror(result));
    }
    return io;
}

static void free_addresses(struct io *io)
{
    if (io->addresses == NULL)
        return;
    if (io->addresses_ours)
        freeaddrinfo(io->addresses);
    else
        uv_freeaddrinfo(io->addresses);
    io->addresses = io->address = NULL;
}

void io_connect_cancel(struct io *io)
{
    if (io->looking_up)
        uv_cancel((uv_req_t *)&io->lookup); /* on_looked_up comes in any case, and releases */
    free_addresses(io);
}

/* Starts on io->address. False, with connect_error set, if that fails at once. */
static bool start_connect(struct io *io)
{
    const struct addrinfo *a = io->address;
    int fd = socket(a->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

    if (fd < 0 || !io_attach(io, fd)) {
        io->connect_error = errno;
        return false;
    }
    io->connect_ready = false;
    if (connect(fd, a->ai_addr, a->ai_addrlen) == 0) {
        io->connect_ready = true;
    } else if (errno != EINPROGRESS) {
        io->connect_error = errno;
        io_detach(io);
        return false;
    } else {
        io_watch_connect(io);
    }
    return true;
}

/* True if the socket is connected; otherwise it is closed and connect_error set. */
static bool finish_connect(struct io *io)
{
    int error = 0;
    socklen_t len = sizeof error;

    if (getsockopt(io->fd, SOL_SOCKET, SO_ERROR, &error, &len) != 0)
        error = errno;
    if (error == 0)
        return true;
    io->connect_error = error;
    io_detach(io);
    return false;
}

void io_connect_advance(struct io *io)
{
    if (io->addresses == NULL)
        return;
    while (io->address != NULL) {
        if (io->fd < 0 && !start_connect(io)) {
            io->address = io->address->ai_next;
            continue;
        }
        if (!io->connect_ready)
            return;
        if (finish_connect(io))
            break;
        io->address = io->address->ai_next;
    }
    if (io->address == NULL) {
        io_break(io, "%s", strerror(io->connect_error));
        return;
    }
    getnameinfo(io->address->ai_addr, io->address->ai_addrlen, io->peer, sizeof io->peer, NULL, 0,
                NI_NUMERICHOST);
    free_addresses(io);
    io->stage = STAGE_OPEN;
    io->connected_untold = true;
}
