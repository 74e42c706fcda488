/* SPDX-License-Identifier: Apache-2.0 */
/* What the owner of a connection does with it: reading, writing, asking; see io.h. Everything else happens in its turn (io.c). */
#include "io_private.h"

#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

/* ---- Input ---- */

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

/* ---- Questions ---- */

const char *io_error(const struct io *io)
{
    return io->error;
}
bool io_key_failed(const struct io *io)
{
    return io->key_failed;
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
