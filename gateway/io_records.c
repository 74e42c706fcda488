/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Records by the engine: once a handshake is over, the connection is taken over from libssl (sealane/takeover.h), and
 * from then on all that came in one turn of the loop is opened, and all that is to be sent is sealed, in batches over
 * all its connections. A connection that cannot be taken over stays with libssl (io_tls.c); it is asked again as
 * long as it may come to it.
 *
 * A batch goes through the same code as one connection alone, so what a record means is decided in one place: the
 * session. Here are buffers, and what the connection's owner must know.
 */
#include "io_private.h"

#include <sealane/engine.h>

/* A record that is full, and whatever else the session may have to say: there must be room for it to be sealed. */
#define RECORD_ROOM (SEALANE_RECORD_MAX + 256u)

/* ---- Taking over ---- */

bool io_records_take(struct io *io)
{
    struct counters *counters = &io->loop->counters;

    if (io->session != NULL || !io->config->settings.records_engine || io->takeover_over)
        return io->session != NULL;
    io->takeover = sealane_takeover(io->ssl, &io->session);
    io->takeover_over = !sealane_takeover_may_come(io->takeover);
    if (io->session != NULL) {
        io->ssl = NULL;
        count(&counters->takeovers);
        return true;
    }
    if (io->takeover_over)
        count(&counters->takeovers_refused[io->takeover]);
    return false;
}

void io_records_free(struct io *io)
{
    /* It might have come to it, and never did. */
    if (io->takeover != SEALANE_TAKEN && !io->takeover_over)
        count(&io->loop->counters.takeovers_refused[io->takeover]);
    io->takeover_over = true;
    sealane_session_free(io->session);
    io->session = NULL;
}

/* ---- Batches ---- */

struct batch {
    struct io *of[IO_GROUP];
    sealane_session_op ops[IO_GROUP];
    size_t count;
};

static void batch_count(struct batch *b, _Atomic uint64_t *batches, _Atomic uint64_t *connections)
{
    if (b->count == 0)
        return;
    atomic_fetch_add_explicit(batches, 1, memory_order_relaxed);
    atomic_fetch_add_explicit(connections, b->count, memory_order_relaxed);
}

/* What `in` holds, to the end of `out`. */
static void batch_add(struct batch *b, struct io *io, const struct buffer *in, struct buffer *out)
{
    size_t room;
    uint8_t *to = buffer_reserve(&io->loop->buffers, out, &room);

    if (to == NULL) {
        io_break(io, "out of memory");
        return;
    }
    b->of[b->count] = io;
    b->ops[b->count++] = (sealane_session_op){.session = io->session,
                                              .in = buffer_bytes(in),
                                              .in_len = buffer_length(in),
                                              .out = to,
                                              .out_size = room};
}

/* The connection has failed: the alert goes out before the owner hears of it, who will most likely abort it. */
static void fail(struct io *io)
{
    int alert = sealane_session_alert_received(io->session);

    io_records_seal(io);
    io_last_words(io);
    if (alert >= 0)
        io_break(io, "TLS: the peer sent the alert %s", SSL_alert_desc_string_long(alert));
    else
        io_break(io, "TLS: %s", sealane_session_reason(io->session));
}

/* ---- Opening ---- */

static void open_add(struct batch *b, struct io *io)
{
    if (io->session != NULL && io->stage == STAGE_OPEN && !io->ended && buffer_length(&io->net_in) > 0)
        batch_add(b, io, &io->net_in, &io->text_in);
}

/* True if something came of it. */
static bool open_take(struct io *io, const sealane_session_op *op)
{
    buffer_drop(&io->net_in, op->consumed);
    buffer_commit(&io->text_in, op->produced);
    io->fresh |= op->produced > 0;
    if (sealane_session_wants_seal(io->session))
        io_mark_unsent(io);
    if (op->result != SEALANE_OK && op->result != SEALANE_SPACE) {
        fail(io);
        return false;
    }
    io->ended |= sealane_session_get_status(io->session) == SEALANE_SESSION_PEER_CLOSED;
    return op->consumed > 0;
}

void io_records_open_group(struct io *const group[], size_t group_count)
{
    struct batch b;

    b.count = 0;
    for (size_t i = 0; i < group_count; i++)
        open_add(&b, group[i]);
    if (b.count == 0)
        return;
    batch_count(&b, &group[0]->loop->counters.open_batches, &group[0]->loop->counters.open_connections);
    sealane_sessions_open(b.ops, b.count);
    for (size_t i = 0; i < b.count; i++)
        (void)open_take(b.of[i], &b.ops[i]);
}

bool io_records_open(struct io *io)
{
    size_t before = buffer_length(&io->text_in);
    struct batch b;

    for (bool more = true; more && io->stage == STAGE_OPEN;) {
        b.count = 0;
        open_add(&b, io);
        if (b.count == 0)
            break;
        sealane_sessions_open(b.ops, 1);
        more = open_take(io, &b.ops[0]);
        /* The end without a goodbye: SMTP says itself when something is complete, so it is just the end. */
        io->ended |= !more && b.ops[0].result == SEALANE_OK && io->eof;
    }
    io->ended |= io->eof && buffer_length(&io->net_in) == 0;
    return buffer_length(&io->text_in) > before;
}

/* ---- Sealing ---- */

static bool has_words(const struct io *io)
{
    return buffer_length(&io->text_out) > 0 || sealane_session_wants_seal(io->session);
}

static void seal_add(struct batch *b, struct io *io)
{
    if (io->session != NULL && has_words(io) && buffer_room(&io->net_out) >= RECORD_ROOM)
        batch_add(b, io, &io->text_out, &io->net_out);
}

/* True if something came of it. */
static bool seal_take(struct io *io, const sealane_session_op *op)
{
    buffer_drop(&io->text_out, op->consumed);
    buffer_commit(&io->net_out, op->produced);
    /* ENDED: somebody still writes to a connection that has failed, of which the owner knows or will be told. */
    if (op->result != SEALANE_OK && op->result != SEALANE_SPACE)
        buffer_clear(&io->loop->buffers, &io->text_out);
    if (op->result == SEALANE_LIMIT || op->result == SEALANE_MEMORY || op->result == SEALANE_INTERNAL)
        io_break(io, "TLS: %s", sealane_session_reason(io->session));
    return op->produced > 0;
}

void io_records_seal_group(struct io *const group[], size_t group_count)
{
    struct batch b;

    b.count = 0;
    for (size_t i = 0; i < group_count; i++)
        if (io_may_seal(group[i]))
            seal_add(&b, group[i]);
    if (b.count == 0)
        return;
    batch_count(&b, &group[0]->loop->counters.seal_batches, &group[0]->loop->counters.seal_connections);
    sealane_sessions_seal(b.ops, b.count);
    for (size_t i = 0; i < b.count; i++)
        (void)seal_take(b.of[i], &b.ops[i]);
}

void io_records_seal(struct io *io)
{
    struct batch b;

    for (bool more = true; more;) {
        b.count = 0;
        seal_add(&b, io);
        if (b.count == 0)
            return;
        sealane_sessions_seal(b.ops, 1);
        more = seal_take(io, &b.ops[0]);
    }
}

void io_records_goodbye(struct io *io)
{
    sealane_session_close(io->session);
    io_records_seal(io);
}

const char *io_records_sealed_by(const struct io *io)
{
    return sealane_backend_for_batch(sealane_session_get_suite(io->session)->cipher, 1, SEALANE_PLAINTEXT_MAX,
                                     NULL);
}
