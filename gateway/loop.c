/* SPDX-License-Identifier: Apache-2.0 */
/* One thread with one libuv loop; see loop.h. What happens on a connection is session.c's. */
#include "loop.h"
#include "hop.h"
#include "io.h"
#include "log.h"
#include "resolver.h"
#include "session.h"
#include "sockets.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <openssl/crypto.h>

#define ACCEPT_BATCH   64  /* connections taken in one go, so that those who are there get their turn */
#define ACCEPT_REST_MS 200 /* after running out of descriptors */

/* ---- Accepting ---- */

/* Too many connections, or the end is near: one line and out (RFC 5321, 3.1 and 3.8). */
static void refuse(struct listener *listener, int fd, const char *why)
{
    const struct settings *s = &listener->config->settings;
    char line[400];
    int len = snprintf(line, sizeof line, "421 4.3.2 %s %s\r\n", s->hostname, why);

    /* Whether it still hears that makes no difference; who waits for TLS would not understand it. */
    if (!s->receives[listener->connector].implicit)
        (void)!send(fd, line, (size_t)(len > 0 && (size_t)len < sizeof line ? len : 0),
                    MSG_NOSIGNAL | MSG_DONTWAIT);
    count(&listener->loop->counters.refused_connections);
    close(fd);
}

static void take_connection(struct listener *listener, int fd)
{
    struct loop *loop = listener->loop;
    struct config *config = listener->config;
    const struct receive_settings *r = &config->settings.receives[listener->connector];

    if (loop->draining)
        refuse(listener, fd, "Service is closing");
    else if (atomic_load(&config->connectors[listener->connector]->open) >= r->limits.connections)
        refuse(listener, fd, "Too many connections");
    else
        session_start(loop, config, listener->connector, fd);
}

/* False if nothing is left to accept, or nothing can be. */
static bool accept_one(struct listener *listener)
{
    int fd = accept4(listener->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);

    if (fd >= 0) {
        take_connection(listener, fd);
        return true;
    }
    return errno == ECONNABORTED || errno == EINTR;
}

static void on_connection(uv_poll_t *poll, int status, int events);

static void on_rested(uv_timer_t *timer)
{
    struct listener *listener = timer->data;
    uv_poll_start(&listener->poll, UV_READABLE, on_connection);
}

static void on_connection(uv_poll_t *poll, int status, int events)
{
    struct listener *listener = poll->data;

    (void)status;
    (void)events;
    for (int i = 0; i < ACCEPT_BATCH; i++) {
        if (accept_one(listener))
            continue;
        if (errno != EAGAIN) { /* EMFILE and its like: asking again at once would only burn the processor */
            uv_poll_stop(poll);
            uv_timer_start(&listener->rest, on_rested, ACCEPT_REST_MS, 0);
        }
        break;
    }
}

/* ---- Listeners ---- */

static void on_listener_closed(uv_handle_t *handle)
{
    struct listener *listener = handle->data;

    if (--listener->handles > 0)
        return;
    config_drop(listener->config);
    free(listener);
}

/* Whoever is in the queue gets an answer instead of a reset, unless others listen on the same socket. */
static void close_listener(struct listener *listener)
{
    while (listener->loop->draining && accept_one(listener))
        ;
    uv_close((uv_handle_t *)&listener->poll, on_listener_closed);
    uv_close((uv_handle_t *)&listener->rest, on_listener_closed);
    close(listener->fd);
}

/* Takes `fd` over. Out of memory, the socket is closed: the other loops still listen. */
static struct listener *open_listener(struct loop *loop, struct config *config, size_t connector, int fd)
{
    struct listener *listener = calloc(1, sizeof *listener);

    if (listener == NULL || uv_poll_init(&loop->uv, &listener->poll, fd) != 0) {
        free(listener);
        close(fd);
        return NULL;
    }
    listener->loop = loop;
    listener->config = config_hold(config);
    listener->connector = connector;
    listener->fd = fd;
    listener->handles = 2;
    uv_timer_init(&loop->uv, &listener->rest);
    listener->poll.data = listener->rest.data = listener;
    uv_poll_start(&listener->poll, UV_READABLE, on_connection);
    return listener;
}

static struct listener *take_old(struct loop *loop, const struct receive_settings *r)
{
    for (struct listener **at = &loop->listeners, *l; (l = *at) != NULL; at = &l->next) {
        if (sockets_same(&l->config->settings.receives[l->connector], r)) {
            *at = l->next;
            return l;
        }
    }
    return NULL;
}

static struct listener *find_listener(struct loop *loop, struct config *config, size_t connector)
{
    int *socket = &config->sockets[loop->index * config->settings.receive_count + connector];
    struct listener *listener;
    int fd = *socket;

    *socket = -1; /* ours from here on */
    if (fd >= 0)
        return open_listener(loop, config, connector, fd);
    listener = take_old(loop, &config->settings.receives[connector]);
    if (listener != NULL) {
        config_drop(listener->config);
        listener->config = config_hold(config);
        listener->connector = connector;
    }
    return listener;
}

static void close_listeners(struct loop *loop)
{
    while (loop->listeners != NULL) {
        struct listener *listener = loop->listeners;
        loop->listeners = listener->next;
        close_listener(listener);
    }
}

void loop_configure(struct loop *loop, struct config *config)
{
    struct listener *listeners = NULL;

    if (loop->draining)
        return;
    for (size_t i = 0; i < config->settings.receive_count; i++) {
        struct listener *listener = find_listener(loop, config, i);
        if (listener == NULL)
            continue;
        listener->next = listeners;
        listeners = listener;
    }
    close_listeners(loop); /* those that the new settings do not name */
    loop->listeners = listeners;
    config_hold(config);
    config_drop(loop->config);
    loop->config = config;
    /* What was opened or remembered under the old settings serves nobody any more. */
    hop_quit_idle(loop);
    resumptions_clear(&loop->resumptions);
    resolver_retire(loop);
}

/* ---- The turn and the end ---- */

void loop_bury(struct loop *loop, struct grave *grave)
{
    grave->next = loop->graves;
    loop->graves = grave;
}

static void free_graves(struct loop *loop)
{
    while (loop->graves != NULL) {
        struct grave *grave = loop->graves;
        loop->graves = grave->next;
        free(grave);
    }
}

static void end(struct loop *loop)
{
    loop->ending = true;
    resolver_retire(loop);
    uv_close((uv_handle_t *)&loop->turn, NULL);
    uv_close((uv_handle_t *)&loop->wake, NULL);
    uv_close((uv_handle_t *)&loop->drain, NULL);
}

static void on_turn(uv_prepare_t *turn)
{
    struct loop *loop = turn->data;

    io_turn(loop);
    free_graves(loop);
    if (loop->draining && !loop->ending && loop->all == NULL && loop->sessions == NULL && loop->hops == NULL)
        end(loop);
}

static void on_drain_timeout(uv_timer_t *timer)
{
    struct loop *loop = timer->data;

    session_abort_all(loop);
    hop_abort_all(loop);
    io_abort_all(loop);
    /* The token may never answer, and nothing of a job can be freed before it does. */
    if (atomic_load(&loop->signing) > 0) {
        loop->abandoned = true;
        uv_stop(&loop->uv);
    }
}

void loop_drain(struct loop *loop)
{
    if (loop->draining)
        return;
    loop->draining = true;
    close_listeners(loop);
    uv_timer_start(&loop->drain, on_drain_timeout, (uint64_t)loop->config->settings.timeouts.drain * 1000, 0);
    session_drain_all(loop);
    hop_quit_idle(loop);
}

static struct loop_call *take_calls(struct loop *loop)
{
    struct loop_call *calls, *in_order = NULL;

    pthread_mutex_lock(&loop->woken_lock);
    calls = loop->calls;
    loop->calls = NULL;
    pthread_mutex_unlock(&loop->woken_lock);
    while (calls != NULL) {
        struct loop_call *next = calls->next;
        calls->next = in_order;
        in_order = calls;
        calls = next;
    }
    return in_order;
}

static void on_wake(uv_async_t *wake)
{
    struct loop *loop = wake->data;
    struct loop_call *call = take_calls(loop);

    io_wake(loop);
    while (call != NULL) {
        struct loop_call *next = call->next;
        call->run(loop, call);
        call = next;
    }
}

void loop_post(struct loop *loop, struct loop_call *call)
{
    pthread_mutex_lock(&loop->woken_lock);
    call->next = loop->calls;
    loop->calls = call;
    pthread_mutex_unlock(&loop->woken_lock);
    uv_async_send(&loop->wake);
}

static void *run(void *arg)
{
    struct loop *loop = arg;
    char name[16];

    snprintf(name, sizeof name, "loop %u", loop->index);
    pthread_setname_np(pthread_self(), name);
    log_gather();
    uv_run(&loop->uv, UV_RUN_DEFAULT);
    log_flush();
    /* libcrypto keeps finished jobs' stacks and error queues by thread. */
    OPENSSL_thread_stop();
    atomic_store(&loop->over, true);
    uv_async_send(loop->gateway->ended);
    return NULL;
}

/* ---- For main ---- */

bool loop_open(struct loop *loop, struct gateway *gateway, unsigned index, FILE *errors)
{
    memset(loop, 0, sizeof *loop);
    loop->gateway = gateway;
    loop->index = index;
    if (uv_loop_init(&loop->uv) != 0 || pthread_mutex_init(&loop->woken_lock, NULL) != 0) {
        fprintf(errors, "%s: cannot start a loop: out of memory or descriptors\n", gateway->file);
        return false;
    }
    uv_prepare_init(&loop->uv, &loop->turn);
    uv_async_init(&loop->uv, &loop->wake, on_wake);
    uv_timer_init(&loop->uv, &loop->drain);
    loop->turn.data = loop->wake.data = loop->drain.data = loop;
    uv_prepare_start(&loop->turn, on_turn);
    return true;
}

bool loop_start(struct loop *loop)
{
    return pthread_create(&loop->thread, NULL, run, loop) == 0;
}

void loop_join(struct loop *loop)
{
    pthread_join(loop->thread, NULL);
}

void loop_close(struct loop *loop)
{
    resumptions_clear(&loop->resumptions);
    uv_loop_close(&loop->uv);
    pthread_mutex_destroy(&loop->woken_lock);
    buffer_pool_free(&loop->buffers);
    config_drop(loop->config);
}
