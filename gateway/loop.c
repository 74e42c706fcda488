/* SPDX-License-Identifier: Apache-2.0 */
/* One thread with one libuv loop; see loop.h. What happens on a connection is session.c's. */
#include "loop.h"
#include "io.h"
#include "session.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <openssl/crypto.h>

#define BACKLOG        1024
#define ACCEPT_BATCH   64  /* connections taken in one go, so that those who are there get their turn */
#define ACCEPT_REST_MS 200 /* after running out of descriptors */

/* ---- Listening ---- */

static socklen_t make_address(const char *text, int port, struct sockaddr_storage *out)
{
    struct sockaddr_in *v4 = (struct sockaddr_in *)out;
    struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)out;

    memset(out, 0, sizeof *out);
    if (inet_pton(AF_INET, text, &v4->sin_addr) == 1) {
        v4->sin_family = AF_INET;
        v4->sin_port = htons((uint16_t)port);
        return sizeof *v4;
    }
    inet_pton(AF_INET6, text, &v6->sin6_addr);
    v6->sin6_family = AF_INET6;
    v6->sin6_port = htons((uint16_t)port);
    return sizeof *v6;
}

/* A bound socket, -1 with errno set. Only sockets that share the port among our loops may say so. */
static int bind_socket(const struct sockaddr_storage *address, socklen_t len, bool shared)
{
    const int on = 1;
    int fd = socket(address->ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

    if (fd < 0)
        return -1;
    if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) == 0 &&
        (!shared || setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof on) == 0) &&
        (address->ss_family != AF_INET6 || setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof on) == 0) &&
        bind(fd, (const struct sockaddr *)address, len) == 0)
        return fd;
    int error = errno;
    close(fd);
    errno = error;
    return -1;
}

static int bound_port(int fd)
{
    struct sockaddr_storage address;
    socklen_t len = sizeof address;

    if (getsockname(fd, (struct sockaddr *)&address, &len) != 0)
        return 0;
    return ntohs(address.ss_family == AF_INET6 ? ((struct sockaddr_in6 *)&address)->sin6_port
                                               : ((struct sockaddr_in *)&address)->sin_port);
}

static int open_socket(const struct receive_settings *r, int *port, bool first)
{
    struct sockaddr_storage address;
    socklen_t len = make_address(r->address.text, *port, &address);
    int fd;

    if (first && *port != 0) {
        /* SO_REUSEPORT would let two gateways of one user share a port and nobody would notice. */
        fd = bind_socket(&address, len, false);
        if (fd < 0)
            return -1;
        close(fd);
    }
    fd = bind_socket(&address, len, true);
    if (fd < 0)
        return -1;
    if (listen(fd, BACKLOG) != 0) {
        int error = errno;
        close(fd);
        errno = error;
        return -1;
    }
    *port = bound_port(fd);
    return fd;
}

/* Too many connections, or the end is near: one line and out (RFC 5321, 3.1 and 3.8). */
static void refuse(struct loop *loop, int fd, const char *why)
{
    char line[400];
    int len = snprintf(line, sizeof line, "421 4.3.2 %s %s\r\n", loop->gateway->settings->hostname, why);

    /* Whether it still hears that makes no difference. */
    (void)!send(fd, line, (size_t)(len > 0 && (size_t)len < sizeof line ? len : 0),
                MSG_NOSIGNAL | MSG_DONTWAIT);
    count(&loop->counters.refused_connections);
    close(fd);
}

static void take_connection(struct listener *listener, int fd)
{
    struct loop *loop = listener->loop;
    const struct receive_settings *r = &loop->gateway->settings->receives[listener->connector];

    if (loop->draining)
        refuse(loop, fd, "Service is closing");
    else if (atomic_load(&loop->gateway->open_connections[listener->connector]) >= r->limits.connections)
        refuse(loop, fd, "Too many connections");
    else
        session_start(loop, listener->connector, fd);
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

static bool open_listener(struct loop *loop, size_t connector, int *port, FILE *errors)
{
    const struct settings *s = loop->gateway->settings;
    const struct receive_settings *r = &s->receives[connector];
    struct listener *listener = &loop->listeners[connector];
    int wanted = *port;

    listener->loop = loop;
    listener->connector = connector;
    listener->fd = open_socket(r, port, loop->index == 0);
    if (listener->fd < 0) {
        settings_complain(s, errors, r->address.line, "address", "cannot listen on %s port %d: %s",
                          r->address.text, wanted, strerror(errno));
        return false;
    }
    uv_poll_init(&loop->uv, &listener->poll, listener->fd);
    uv_timer_init(&loop->uv, &listener->rest);
    listener->poll.data = listener->rest.data = listener;
    uv_poll_start(&listener->poll, UV_READABLE, on_connection);
    loop->listener_count++;
    return true;
}

/* Whoever is in the queue gets an answer instead of a reset. */
static void close_listeners(struct loop *loop)
{
    for (size_t i = 0; i < loop->listener_count; i++) {
        struct listener *listener = &loop->listeners[i];
        while (accept_one(listener))
            ;
        uv_close((uv_handle_t *)&listener->poll, NULL);
        uv_close((uv_handle_t *)&listener->rest, NULL);
        close(listener->fd);
    }
    loop->listener_count = 0;
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
    uv_close((uv_handle_t *)&loop->turn, NULL);
    uv_close((uv_handle_t *)&loop->wake, NULL);
    uv_close((uv_handle_t *)&loop->drain, NULL);
}

static void on_turn(uv_prepare_t *turn)
{
    struct loop *loop = turn->data;

    io_turn(loop);
    free_graves(loop);
    if (loop->draining && !loop->ending && loop->all == NULL && loop->sessions == NULL)
        end(loop);
}

static void on_drain_timeout(uv_timer_t *timer)
{
    struct loop *loop = timer->data;

    session_abort_all(loop);
    io_abort_all(loop);
    /* The token may never answer, and nothing of a job can be freed before it does. */
    if (loop->signing > 0) {
        loop->abandoned = true;
        uv_stop(&loop->uv);
    }
}

static void start_drain(struct loop *loop)
{
    loop->draining = true;
    close_listeners(loop);
    uv_timer_start(&loop->drain, on_drain_timeout, (uint64_t)loop->gateway->settings->timeouts.drain * 1000,
                   0);
    session_drain_all(loop);
}

static void on_wake(uv_async_t *wake)
{
    struct loop *loop = wake->data;

    io_wake(loop);
    if (atomic_load(&loop->stop) && !loop->draining)
        start_drain(loop);
}

static void *run(void *arg)
{
    struct loop *loop = arg;
    char name[16];

    snprintf(name, sizeof name, "loop %u", loop->index);
    pthread_setname_np(pthread_self(), name);
    uv_run(&loop->uv, UV_RUN_DEFAULT);
    /* libcrypto keeps finished jobs' stacks and error queues by thread. */
    OPENSSL_thread_stop();
    return NULL;
}

/* ---- For main ---- */

bool loop_open(struct loop *loop, struct gateway *gateway, unsigned index, int *ports, FILE *errors)
{
    const struct settings *s = gateway->settings;

    memset(loop, 0, sizeof *loop);
    loop->gateway = gateway;
    loop->index = index;
    loop->listeners = calloc(s->receive_count, sizeof *loop->listeners);
    if (loop->listeners == NULL || uv_loop_init(&loop->uv) != 0 ||
        pthread_mutex_init(&loop->woken_lock, NULL) != 0) {
        fprintf(errors, "%s: cannot start a loop: out of memory or descriptors\n", s->file);
        return false;
    }
    uv_prepare_init(&loop->uv, &loop->turn);
    uv_async_init(&loop->uv, &loop->wake, on_wake);
    uv_timer_init(&loop->uv, &loop->drain);
    loop->turn.data = loop->wake.data = loop->drain.data = loop;
    uv_prepare_start(&loop->turn, on_turn);
    for (size_t i = 0; i < s->receive_count; i++)
        if (!open_listener(loop, i, &ports[i], errors))
            return false;
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

void loop_stop(struct loop *loop)
{
    atomic_store(&loop->stop, true);
    uv_async_send(&loop->wake);
}

void loop_close(struct loop *loop)
{
    uv_loop_close(&loop->uv);
    pthread_mutex_destroy(&loop->woken_lock);
    buffer_pool_free(&loop->buffers);
    free(loop->listeners);
}
