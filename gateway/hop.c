/* SPDX-License-Identifier: Apache-2.0 */
/* Life of a hop: who owns it, how it ends, how it waits for work; see hop.h. */
#include "hop_private.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define IDLE_MAX 1024u /* connections that wait for work, per loop */

/* ---- Lists ---- */

static void enter_list(struct hop *hop)
{
    struct loop *loop = hop->loop;

    hop->next = loop->hops;
    if (loop->hops != NULL)
        loop->hops->previous = hop;
    loop->hops = hop;
    atomic_fetch_add_explicit(&loop->hop_count, 1, memory_order_relaxed);
}

static void leave_list(struct hop *hop)
{
    struct loop *loop = hop->loop;

    if (hop->previous != NULL)
        hop->previous->next = hop->next;
    else
        loop->hops = hop->next;
    if (hop->next != NULL)
        hop->next->previous = hop->previous;
    atomic_fetch_sub_explicit(&loop->hop_count, 1, memory_order_relaxed);
}

static void enter_idle(struct hop *hop)
{
    struct loop *loop = hop->loop;

    hop->is_idle = true;
    hop->idle_previous = NULL;
    hop->idle_next = loop->idle;
    if (loop->idle != NULL)
        loop->idle->idle_previous = hop;
    loop->idle = hop;
    atomic_fetch_add_explicit(&loop->idle_count, 1, memory_order_relaxed);
}

static void leave_idle(struct hop *hop)
{
    struct loop *loop = hop->loop;

    if (!hop->is_idle)
        return;
    hop->is_idle = false;
    if (hop->idle_previous != NULL)
        hop->idle_previous->idle_next = hop->idle_next;
    else
        loop->idle = hop->idle_next;
    if (hop->idle_next != NULL)
        hop->idle_next->idle_previous = hop->idle_previous;
    atomic_fetch_sub_explicit(&loop->idle_count, 1, memory_order_relaxed);
}

/* ---- Ends ---- */

void hop_leave(struct hop *hop, bool in_order)
{
    if (hop->over)
        return;
    hop->over = true;
    hop->handler = NULL;
    leave_idle(hop);
    leave_list(hop);
    if (hop->lookup != NULL)
        resolver_cancel(hop->lookup);
    hop->lookup = NULL;
    if (hop->io != NULL && in_order)
        io_close(hop->io);
    else if (hop->io != NULL)
        io_abort(hop->io);
    hop->io = NULL;
    free(hop->hosts);
    hop->hosts = NULL;
    config_drop(hop->config);
    loop_bury(hop->loop, &hop->grave);
}

/*
 * Tells the owner and ends it, without QUIT: the peer may be in any state. Before DATA what is written may
 * still go out (a TLS alert, say); from then on not a byte, or the next hop might take the message for
 * complete.
 */
void hop_fail_with(struct hop *hop, const struct reply *reply)
{
    hop_handler handler = hop->handler;
    bool in_order = hop->state < STATE_DATA;

    count(&hop->loop->counters.hop_failures);
    hop->handler = NULL;
    if (handler != NULL)
        handler(hop->owner, HOP_FAILED, reply);
    hop_leave(hop, in_order);
}

void hop_fail(struct hop *hop, enum hop_failure failure, const char *told, const char *format, ...)
{
    struct reply reply;
    va_list args;

    va_start(args, format);
    vsnprintf(hop->error, sizeof hop->error, format, args);
    va_end(args);
    hop->failure = failure;
    reply_set(&reply, told);
    hop_fail_with(hop, &reply);
}

void hop_emit(struct hop *hop, enum hop_event event, const struct reply *reply)
{
    if (hop->handler != NULL)
        hop->handler(hop->owner, event, reply);
}

/* ---- Waiting for work ---- */

void hop_quit(struct hop *hop)
{
    leave_idle(hop);
    io_deadline(hop->io, QUIT_SECONDS);
    hop_command(hop, STATE_QUIT, "QUIT");
}

static void quit_oldest(struct loop *loop)
{
    struct hop *hop = loop->idle;

    while (hop->idle_next != NULL)
        hop = hop->idle_next;
    hop_quit(hop);
}

void hop_park(struct hop *hop)
{
    struct loop *loop = hop->loop;

    if (loop->draining || hop->config != loop->config ||
        hop->messages >= hop->config->settings.sends[hop->destination.send].messages) {
        hop_quit(hop);
        return;
    }
    if (atomic_load_explicit(&loop->idle_count, memory_order_relaxed) >= IDLE_MAX)
        quit_oldest(loop);
    enter_idle(hop);
    io_deadline(hop->io, hop_timeouts(hop)->reuse);
}

static struct hop *take_idle(struct loop *loop, const struct config *config,
                             const struct destination *destination)
{
    for (struct hop *hop = loop->idle; hop != NULL; hop = hop->idle_next) {
        if (hop->config == config && destination_equal(&hop->destination, destination)) {
            leave_idle(hop);
            io_deadline(hop->io, 0);
            count(&loop->counters.hop_reused);
            return hop;
        }
    }
    return NULL;
}

void hop_quit_idle(struct loop *loop)
{
    while (loop->idle != NULL)
        hop_quit(loop->idle);
}

void hop_abort_all(struct loop *loop)
{
    while (loop->hops != NULL)
        hop_leave(loop->hops, false);
}

/* ---- For the owner ---- */

struct hop *hop_open(struct loop *loop, struct config *config, const struct destination *destination,
                     hop_handler handler, void *owner)
{
    struct hop *hop = take_idle(loop, config, destination);

    if (hop == NULL) {
        hop = calloc(1, sizeof *hop);
        if (hop == NULL)
            return NULL;
        hop->loop = loop;
        hop->config = config_hold(config);
        hop->destination = *destination;
        hop->policy = destination->policy;
        hop->state = STATE_LOOKUP;
        enter_list(hop);
    }
    hop->handler = handler;
    hop->owner = owner;
    return hop;
}

bool hop_recipient(struct hop *hop, const struct envelope *envelope, const struct path *recipient,
                   const struct recipient_parameters *params, bool data_follows)
{
    bool found = hop->io != NULL || hop->lookup != NULL || hop->hosts != NULL;

    hop->envelope = envelope;
    hop->recipient = recipient;
    hop->recipient_params = params;
    hop->data_follows = data_follows;
    if (!found && !hop_find(hop)) {
        hop_leave(hop, false);
        return false;
    }
    if (hop->state == STATE_READY) { /* otherwise hop_ready comes back to it */
        io_deadline(hop->io, hop_timeouts(hop)->envelope);
        hop_ready(hop);
    }
    return true;
}

void hop_data(struct hop *hop)
{
    io_deadline(hop->io, hop_timeouts(hop)->data);
    if (hop->data_sent) {
        hop->data_sent = false;
        hop->state = STATE_DATA;
        io_resume(hop->io); /* its answer may be here */
    } else {
        hop_command(hop, STATE_DATA, "DATA");
    }
}

size_t hop_room(const struct hop *hop)
{
    return io_room(hop->io);
}

void hop_wait_room(struct hop *hop)
{
    io_deadline(hop->io, hop_timeouts(hop)->block);
    io_wait_room(hop->io);
}

bool hop_write(struct hop *hop, const void *bytes, size_t len)
{
    return io_write(hop->io, bytes, len);
}

void hop_finish(struct hop *hop)
{
    size_t early;

    /* A reply that is here before the dot is no answer to it. It will be read, and breaks the connection. */
    (void)io_peek(hop->io, &early);
    io_deadline(hop->io, hop_timeouts(hop)->final);
    if (early == 0)
        hop_command(hop, STATE_FINAL, ".");
}

void hop_release(struct hop *hop)
{
    hop->handler = NULL;
    hop->recipient = NULL;
    if (hop->state == STATE_READY && !hop->mail_open) {
        hop_park(hop);
    } else if (hop->state == STATE_READY && !hop->data_sent) {
        io_deadline(hop->io, hop_timeouts(hop)->envelope);
        hop_command(hop, STATE_RSET, "RSET");
    } else if (hop->state != STATE_RSET) {
        /* In the middle of a message the next hop must not take anything for complete. */
        hop_leave(hop, false);
    }
}

void hop_abort(struct hop *hop)
{
    hop->handler = NULL;
    hop_leave(hop, false);
}

const struct io_facts *hop_facts(const struct hop *hop)
{
    static const struct io_facts none;

    return hop->io != NULL ? io_facts(hop->io) : &none;
}
const char *hop_peer(const struct hop *hop)
{
    return hop->io != NULL ? io_peer(hop->io) : "";
}
const char *hop_name(const struct hop *hop)
{
    return hop->name;
}
size_t hop_policy(const struct hop *hop)
{
    return hop->policy;
}
const char *hop_error(const struct hop *hop)
{
    return hop->error;
}
enum hop_failure hop_failure(const struct hop *hop)
{
    return hop->failure;
}
bool hop_is_finishing(const struct hop *hop)
{
    return hop->state == STATE_FINAL;
}
bool hop_is_reused(const struct hop *hop)
{
    return hop->reused;
}
