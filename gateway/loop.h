/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One thread with one libuv loop: its listeners, its connections, its counters.
 *
 * A connection stays on the loop that accepted it for its whole life, next hop included, so nothing above
 * this file locks anything. Each loop has listening sockets of its own (SO_REUSEPORT): the kernel spreads new
 * connections by their addresses, and no thread hands sockets to another. The price, a spread that is even
 * only over many connections, does not matter to a mail server; the gain is that loops share nothing.
 */
#ifndef GATEWAY_LOOP_H
#define GATEWAY_LOOP_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <uv.h>
#include "buffer.h"
#include "settings.h"
#include "tls.h"

struct io;
struct session;

/* Written by the loop's thread only; others may read them at any time. */
struct counters {
    _Atomic uint64_t connections, refused_connections;
    _Atomic uint64_t handshakes, handshakes_failed, resumed;
    _Atomic uint64_t signatures_waited; /* handshakes that left the loop while the key signed */
    _Atomic uint64_t delivered, deferred, rejected, aborted;
    _Atomic uint64_t possible_duplicates;
    _Atomic uint64_t bytes;
};

static inline void count(_Atomic uint64_t *counter)
{
    atomic_fetch_add_explicit(counter, 1, memory_order_relaxed);
}

/* What all loops share, read-only once they run but for the atomics. */
struct gateway {
    const struct settings *settings;
    const struct tls *tls;
    _Atomic long *open_connections; /* by connector */
    _Atomic uint64_t
        *key_failed_at; /* by connector: uv_hrtime in ms of the last signature that failed, 0 never */
    uint32_t run_id;    /* makes message ids differ between runs */
};

/* First member of what loop_bury takes. */
struct grave {
    struct grave *next;
};

struct listener {
    uv_poll_t poll;
    uv_timer_t rest; /* out of file descriptors: try again later */
    struct loop *loop;
    size_t connector;
    int fd;
};

struct loop {
    uv_loop_t uv;
    pthread_t thread;
    struct gateway *gateway;
    unsigned index;
    uv_prepare_t turn;
    uv_async_t wake;
    uv_timer_t drain;
    _Atomic bool stop; /* set by the main thread before it wakes us */
    bool draining;     /* no new connections */
    bool ending;       /* nothing is left: handles are being closed */
    bool abandoned;    /* the drain timeout came while signatures were under way: memory is left as it is */
    struct listener *listeners;
    size_t listener_count, listeners_open;
    struct counters counters;
    struct buffer_pool buffers;
    uint64_t messages; /* message ids */

    /* io.c */
    struct io *all;                  /* every io that is not freed */
    struct io *active, *active_tail; /* those with something to open or deliver in this turn */
    struct io *unsent, *unsent_tail; /* those with something to seal or send */
    unsigned signing;                /* handshakes paused while the key signs */
    pthread_mutex_t woken_lock;
    struct io *woken; /* under woken_lock: handshakes whose signature is there */

    /* session.c */
    struct session *sessions;
    struct grave *graves; /* what ended in this turn and may still be on the stack: freed after it */
};

/* Makes the loop and its listening sockets. With port 0 the first loop's choice is used by the others. */
bool loop_open(struct loop *loop, struct gateway *gateway, unsigned index, int *ports, FILE *errors);
/* Starts and joins the thread. */
bool loop_start(struct loop *loop);
void loop_join(struct loop *loop);
/* From any thread: no new connections, let what is in flight finish within the drain timeout, then end. */
void loop_stop(struct loop *loop);
void loop_close(struct loop *loop);

/* Frees what starts with `grave` at the end of this turn: somebody further up the stack may still look at it.
 */
void loop_bury(struct loop *loop, struct grave *grave);
/* Monotonic milliseconds, of the start of this turn. */
static inline uint64_t loop_now(const struct loop *loop)
{
    return uv_now(&loop->uv);
}

#endif
