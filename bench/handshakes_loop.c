/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One event-loop thread with many connections: each handshake is an ASYNC job, and when it pauses, the thread
 * goes on with the others until the job's descriptor says that the token has signed.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>
#include "clock.h"
#include "handshakes_tls.h"

#define EVENTS  64
#define WAIT_MS 30000 /* no token that is measured takes so long */

struct loop {
    struct tls tls;
    int epoll;
    struct connection connections[AT_ONCE_MAX];
    unsigned ready[AT_ONCE_MAX]; /* numbers of connections that can go on */
    unsigned ready_count, alive;
};

static bool loop_prepare(struct act *a, char why[TEXT_MAX])
{
    struct loop *l = calloc(1, sizeof(*l));

    a->state = l;
    if (l == NULL)
        return act_failed(why, "out of memory");
    l->epoll = epoll_create1(EPOLL_CLOEXEC);
    if (l->epoll < 0)
        return act_failed(why, "no epoll");
    return tls_prepare(&l->tls, a, why);
}

static void loop_end(struct act *a)
{
    struct loop *l = a->state;

    if (l == NULL)
        return;
    if (l->epoll >= 0)
        close(l->epoll);
    tls_end(&l->tls);
    free(l);
}

/* The job's descriptor leaves the set by itself when the provider closes it. */
static bool watch(struct loop *l, unsigned number)
{
    struct epoll_event event = {.events = EPOLLIN, .data.u32 = number};
    OSSL_ASYNC_FD fd;
    size_t count = 0;
    SSL *ssl = l->connections[number].server;

    return SSL_get_all_async_fds(ssl, NULL, &count) == 1 && count == 1 &&
           SSL_get_all_async_fds(ssl, &fd, &count) == 1 &&
           (epoll_ctl(l->epoll, EPOLL_CTL_ADD, fd, &event) == 0 || errno == EEXIST);
}

/* A connection takes the place of one that has ended, while there is time. */
static void seat_fill(struct act *a, unsigned number, double until, struct tally *t)
{
    struct loop *l = a->state;
    char why[TEXT_MAX];

    if (clock_now() >= until) {
        l->alive--;
    } else if (connection_begin(&l->connections[number], &l->tls, true, why)) {
        l->ready[l->ready_count++] = number;
    } else {
        tally_failed(t, why);
        l->alive--;
    }
}

static void connection_turn(struct act *a, unsigned number, double until, struct tally *t)
{
    struct loop *l = a->state;
    struct connection *c = &l->connections[number];
    char why[TEXT_MAX];

    switch (connection_step(c, a, why)) {
    case OUTCOME_PAUSED:
        if (watch(l, number))
            return;
        tally_failed(t, "a paused job has no descriptor to wait for");
        break;
    case OUTCOME_DONE:
        tally_done(t, clock_now() - c->began);
        break;
    case OUTCOME_FAILED:
        tally_failed(t, why);
        break;
    }
    connection_end(c);
    seat_fill(a, number, until, t);
}

static void loop_run(struct act *a, double until, struct tally *t)
{
    struct loop *l = a->state;
    struct epoll_event events[EVENTS];

    l->ready_count = 0;
    l->alive = a->work.at_once;
    for (unsigned i = 0; i < a->work.at_once; i++)
        seat_fill(a, i, until, t);
    while (l->alive > 0) {
        while (l->ready_count > 0)
            connection_turn(a, l->ready[--l->ready_count], until, t);
        if (l->alive == 0)
            break;
        int count = epoll_wait(l->epoll, events, EVENTS, WAIT_MS);
        if (count == 0) {
            tally_failed(t, "a paused job was never woken");
            return;
        }
        for (int i = 0; i < count; i++)
            l->ready[l->ready_count++] = events[i].data.u32;
    }
}

const struct activity_ops activity_loop = {loop_prepare, NULL, loop_run, loop_end};
