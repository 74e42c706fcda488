/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The running gateway: signals, drain, the beginning and the end; see daemon.h. Reload is daemon_reload.c's.
 *
 * Problems with the settings at the start go to stderr as plain lines "FILE:LINE: ..."; once the gateway runs, everything
 * it has to say is a log line (log.h).
 */
#include "daemon_private.h"
#include "control.h"
#include "log.h"
#include "loop.h"
#include "metrics.h"
#include "notify.h"
#include "peers.h"
#include "sockets.h"
#include "tickets.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>
#include <openssl/rand.h>

/* ---- Drain ---- */

static void run_drain(struct loop *loop, struct loop_call *call)
{
    free(call);
    loop_drain(loop);
}

void daemon_drain(struct daemon *d, const char *why)
{
    if (d->stopping)
        return;
    d->stopping = true;
    log_message("stopping", "%s: finishing what is in flight", why);
    notify_stopping("finishing what is in flight");
    for (unsigned i = 0; i < d->gateway.loop_count; i++) {
        struct loop_call *call = calloc(1, sizeof *call);
        if (call == NULL) { /* nothing can be finished in good order */
            log_message("stopped", "out of memory: stopped at once");
            _exit(EXIT_FAILURE);
        }
        call->run = run_drain;
        loop_post(&d->gateway.loops[i], call);
    }
}

/* ---- Events of the main thread ---- */

static void on_signal(uv_signal_t *handle, int number)
{
    struct daemon *d = handle->data;
    char *text = NULL;
    size_t len = 0;
    FILE *errors;

    if (number != SIGHUP && d->stopping) {
        log_message("stopped", "second signal: stopped at once");
        _exit(EXIT_FAILURE);
    }
    if (number != SIGHUP) {
        daemon_drain(d, strsignal(number));
        return;
    }
    if (d->stopping)
        return;
    errors = open_memstream(&text, &len);
    if (errors == NULL)
        return;
    bool good = daemon_reload(d, errors);
    fclose(errors);
    for (char *line = strtok(text, "\n"); line != NULL; line = strtok(NULL, "\n"))
        log_message(good ? "warning" : "reload_failed", "%s", line);
    free(text);
}

static void on_tickets(uv_timer_t *timer)
{
    struct daemon *d = timer->data;

    if (!tickets_rotate(d->gateway.tickets))
        log_message("warning", "no random bytes for a new ticket key: the old one stays");
}

static void on_watchdog(uv_timer_t *timer)
{
    (void)timer;
    notify_watchdog();
}

static void on_memory(uv_timer_t *timer)
{
    struct daemon *d = timer->data;
    size_t connections = 0;

    for (unsigned i = 0; i < d->gateway.loop_count; i++)
        connections += atomic_load_explicit(&d->gateway.loops[i].session_count, memory_order_relaxed);
    (void)memory_look(&d->memory, connections);
}

static void close_handles(struct daemon *d)
{
    control_close(d->control);
    metrics_close(d->metrics);
    uv_close((uv_handle_t *)&d->term, NULL);
    uv_close((uv_handle_t *)&d->interrupt, NULL);
    uv_close((uv_handle_t *)&d->hangup, NULL);
    uv_close((uv_handle_t *)&d->tickets, NULL);
    uv_close((uv_handle_t *)&d->watchdog, NULL);
    uv_close((uv_handle_t *)&d->memory_timer, NULL);
    uv_close((uv_handle_t *)&d->ended, NULL);
}

static void on_ended(uv_async_t *ended)
{
    struct daemon *d = ended->data;

    for (unsigned i = 0; i < d->gateway.loop_count; i++)
        if (!atomic_load(&d->gateway.loops[i].over))
            return;
    if (!uv_is_closing((uv_handle_t *)&d->ended))
        close_handles(d);
}

static void start_timer(struct daemon *d, uv_timer_t *timer, uv_timer_cb callback, uint64_t interval)
{
    timer->data = d;
    if (interval > 0)
        uv_timer_start(timer, callback, interval, interval);
}

static void start_signal(struct daemon *d, uv_signal_t *handle, int number)
{
    uv_signal_init(&d->uv, handle);
    handle->data = d;
    uv_signal_start(handle, on_signal, number);
}

static void open_handles(struct daemon *d)
{
    uv_loop_init(&d->uv);
    start_signal(d, &d->term, SIGTERM);
    start_signal(d, &d->interrupt, SIGINT);
    start_signal(d, &d->hangup, SIGHUP);
    uv_timer_init(&d->uv, &d->tickets);
    uv_timer_init(&d->uv, &d->watchdog);
    uv_timer_init(&d->uv, &d->memory_timer);
    start_timer(d, &d->tickets, on_tickets, (uint64_t)d->gateway.config->settings.ticket_lifetime * 1000);
    start_timer(d, &d->watchdog, on_watchdog, notify_watchdog_interval());
    start_timer(d, &d->memory_timer, on_memory, MEMORY_LOOK_MS);
    uv_async_init(&d->uv, &d->ended, on_ended);
    d->ended.data = d;
    d->gateway.ended = &d->ended;
}

/* ---- Starting ---- */

static void raise_descriptor_limit(void)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < limit.rlim_max) {
        limit.rlim_cur = limit.rlim_max;
        setrlimit(RLIMIT_NOFILE, &limit);
    }
}

static bool open_shared(struct gateway *gateway, const char *file)
{
    gateway->file = file;
    gateway->started = (uint64_t)time(NULL);
    gateway->tickets = tickets_new();
    gateway->peers = peers_new();
    if (gateway->tickets != NULL && gateway->peers != NULL &&
        RAND_bytes((unsigned char *)&gateway->run_id, sizeof gateway->run_id) == 1)
        return true;
    fprintf(stderr, "%s: out of memory or of random bytes\n", file);
    return false;
}

static bool open_loops(struct gateway *gateway)
{
    unsigned count = (unsigned)gateway->config->settings.loops;

    gateway->loops = calloc(count, sizeof *gateway->loops);
    if (gateway->loops == NULL) {
        fprintf(stderr, "%s: out of memory\n", gateway->file);
        return false;
    }
    for (; gateway->loop_count < count; gateway->loop_count++)
        if (!loop_open(&gateway->loops[gateway->loop_count], gateway, gateway->loop_count, stderr))
            return false;
    if (!config_attach(gateway->config, &gateway->connectors)) {
        fprintf(stderr, "%s: out of memory\n", gateway->file);
        return false;
    }
    return sockets_open(gateway->config, NULL, count, stderr);
}

/* Starts the loops and stays until they are over. */
static void run_loops(struct daemon *d)
{
    struct gateway *gateway = &d->gateway;
    unsigned started = 0;

    for (unsigned i = 0; i < gateway->loop_count; i++)
        loop_configure(&gateway->loops[i], gateway->config);
    log_start(gateway);
    while (started < gateway->loop_count && loop_start(&gateway->loops[started]))
        started++;
    if (started < gateway->loop_count) {
        log_message("error", "cannot start thread %u: %s", started, strerror(errno));
        _exit(EXIT_FAILURE);
    }
    notify_ready("relaying mail");
    uv_run(&d->uv, UV_RUN_DEFAULT);
    for (unsigned i = 0; i < started; i++)
        loop_join(&gateway->loops[i]);
}

static void close_all(struct daemon *d)
{
    struct gateway *gateway = &d->gateway;

    for (unsigned i = 0; i < gateway->loop_count; i++)
        loop_close(&gateway->loops[i]);
    free(gateway->loops);
    config_drop(gateway->config);
    while (gateway->connectors != NULL) {
        struct connector_state *state = gateway->connectors;
        gateway->connectors = state->next;
        free(state->name);
        free(state);
    }
    tls_library_close(&gateway->library);
    tickets_free(gateway->tickets);
    peers_free(gateway->peers);
}

int daemon_run(const char *file)
{
    struct daemon d = {.generation = 1};
    bool good, abandoned = false;

    signal(SIGPIPE, SIG_IGN);
    raise_descriptor_limit();
    good = open_shared(&d.gateway, file);
    if (good) {
        d.gateway.config = config_open(file, 1, &d.gateway.library, d.gateway.tickets, stderr);
        good = d.gateway.config != NULL && open_loops(&d.gateway);
    }
    if (good) {
        log_set_format(d.gateway.config->settings.log);
        open_handles(&d);
        good = control_open(&d.control, &d, stderr) && metrics_open(&d.metrics, &d, stderr);
        if (!good)
            _exit(EXIT_FAILURE);
        run_loops(&d);
        log_end_of_run(&d.gateway);
        uv_loop_close(&d.uv);
        for (unsigned i = 0; i < d.gateway.loop_count; i++)
            abandoned |= d.gateway.loops[i].abandoned;
    }
    if (abandoned) /* jobs of the token are still under way: nothing under them may be freed */
        _exit(EXIT_SUCCESS);
    close_all(&d);
    return good ? EXIT_SUCCESS : EXIT_FAILURE;
}
