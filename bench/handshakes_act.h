/* SPDX-License-Identifier: Apache-2.0 */
/* Between the benchmark and its actors (handshakes_actor.h), and among the files that make an actor. */
#ifndef BENCH_HANDSHAKES_ACT_H
#define BENCH_HANDSHAKES_ACT_H

#include "handshakes_actor.h"
#include "handshakes_tally.h"

#define ACTOR_ARGUMENT  "--actor"
#define ACTOR_ORDER_FD  100
#define ACTOR_ANSWER_FD 101

/* The first order. Then come uint32_t milliseconds, each answered by a stretch; 0 is answered by act_total. */
struct act_order {
    char contestant[32];
    work work;
    stage stage;
};
struct act_ready {
    char failure[TEXT_MAX]; /* "": ready */
};
struct act_total {
    uint64_t done; /* since the start, the untimed included */
};

/* One actor at its activity. */
struct act {
    const struct activity_ops *ops;
    const contestant *who;
    work work;
    stage stage;
    void *state; /* the activity's own */
};

/* An activity: prepared once, then either `once` is called by at_once threads, each with a number of its own
 * from 0, or `loop` does all of it on one thread. Failures leave a line in `why`. */
struct activity_ops {
    bool (*prepare)(struct act *a, char why[TEXT_MAX]);
    bool (*once)(struct act *a, unsigned seat, char why[TEXT_MAX]);
    void (*loop)(struct act *a, double until, struct tally *t); /* `until`: clock_now() */
    void (*end)(struct act *a);
};

extern const struct activity_ops activity_handshakes, activity_loop, activity_both, activity_token,
    activity_software;

/* `why`: what, and the oldest entry of this thread's OpenSSL error queue, which is emptied. Returns false. */
bool act_failed(char why[TEXT_MAX], const char *what);

#endif
