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
#include <sealane/takeover.h>
#include "buffer.h"
#include "gateway.h"
#include "resumption.h"

struct io;
struct session;
struct hop;
struct resolver;

/* Written by the loop's thread only; others may read them at any time. */
struct counters {
    _Atomic uint64_t connections, refused_connections;
    _Atomic uint64_t handshakes, handshakes_failed, resumed, handshakes_refused;
    _Atomic uint64_t signatures_waited;    /* handshakes that left the loop while the key signed */
    _Atomic uint64_t signing_microseconds; /* ... and for how long, in all */
    _Atomic uint64_t key_failures;
    _Atomic uint64_t delivered, deferred, rejected, aborted;
    _Atomic uint64_t possible_duplicates;
    _Atomic uint64_t policy_failures;   /* partners or next hops that did not come up to what is demanded */
    _Atomic uint64_t queued, fallbacks; /* transactions given to the queue, to a fallback */
    _Atomic uint64_t hop_connections, hop_reused, hop_handshakes, hop_resumed, hop_failures;
    _Atomic uint64_t bytes;
    _Atomic uint64_t takeovers;                                   /* connections whose records the engine has */
    _Atomic uint64_t takeovers_refused[SEALANE_TAKEOVER_VERDICTS]; /* that stay with libssl, by reason */
    _Atomic uint64_t open_batches, open_connections;              /* calls of the engine, and of how many each */
    _Atomic uint64_t seal_batches, seal_connections;
};

static inline void count(_Atomic uint64_t *counter)
{
    atomic_fetch_add_explicit(counter, 1, memory_order_relaxed);
}

/* First member of what loop_bury takes. */
struct grave {
    struct grave *next;
};

struct listener {
    struct listener *next;
    uv_poll_t poll;
    uv_timer_t rest; /* out of file descriptors: try again later */
    struct loop *loop;
    struct config *config; /* held */
    size_t connector;
    int fd;
    unsigned handles; /* of libuv, still open: they keep this memory */
};

/* Something that another thread wants done on the loop's. The caller keeps the memory until `run` is called. */
struct loop_call {
    struct loop_call *next;
    void (*run)(struct loop *loop, struct loop_call *call);
};

struct loop {
    uv_loop_t uv;
    pthread_t thread;
    struct gateway *gateway;
    unsigned index;
    uv_prepare_t turn;
    uv_async_t wake;
    uv_timer_t drain;
    struct config *config; /* held: what new connections get */
    bool draining;         /* no new connections */
    bool ending;           /* nothing is left: handles are being closed */
    _Atomic bool over;     /* the thread carries nothing any more */
    bool abandoned; /* the drain timeout came while signatures were under way: memory is left as it is */
    struct listener *listeners;
    struct counters counters;
    struct buffer_pool buffers;
    uint64_t messages; /* message ids */

    /* io.c */
    struct io *all;                  /* every io that is not freed */
    struct io *active, *active_tail; /* those with something to open or deliver in this turn */
    struct io *unsent, *unsent_tail; /* those with something to seal or send */
    _Atomic unsigned signing;        /* handshakes paused while the key signs */
    pthread_mutex_t woken_lock;
    struct io *woken;        /* under woken_lock: handshakes whose signature is there */
    struct loop_call *calls; /* under woken_lock */
    struct resumptions resumptions;

    /* session.c and hop.c */
    struct session *sessions;
    struct hop *hops; /* all of them */
    struct hop *idle; /* those that wait for work: the one used last comes first */
    _Atomic unsigned idle_count, hop_count, session_count;
    struct resolver *resolver; /* made when it is first needed */
    struct grave *graves;      /* what ended in this turn and may still be on the stack: freed after it */
};

/* Makes the loop, without listening yet. */
bool loop_open(struct loop *loop, struct gateway *gateway, unsigned index, FILE *errors);
/* Starts and joins the thread. */
bool loop_start(struct loop *loop);
void loop_join(struct loop *loop);
/* From any thread: `call` is run on the loop's, after those posted before. */
void loop_post(struct loop *loop, struct loop_call *call);
/* On the loop's thread: from now on these settings count, with the sockets in them. */
void loop_configure(struct loop *loop, struct config *config);
/* On the loop's thread: no new connections, let what is in flight finish within the drain timeout, then end. */
void loop_drain(struct loop *loop);
/* After the thread has ended. */
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
