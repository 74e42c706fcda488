/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The running gateway: its loops, signals, reload and drain. All of it is on the main thread, which has a loop of
 * its own for them and carries no mail.
 */
#ifndef GATEWAY_DAEMON_H
#define GATEWAY_DAEMON_H

#include <stdbool.h>
#include <stdio.h>
#include <uv.h>
#include "gateway.h"
#include "memory.h"

struct daemon {
    struct gateway gateway;
    uv_loop_t uv;
    uv_signal_t term, interrupt, hangup;
    uv_timer_t tickets, watchdog, memory_timer;
    uv_async_t ended; /* a loop's thread is over */
    bool stopping;
    struct memory memory;
    struct control *control;
    struct metrics *metrics;
    unsigned generation;
    unsigned reloads, failed_reloads;
};

/* From the settings file to the end; the exit status. */
int daemon_run(const char *file);
/* Reads the settings again and, if all of it is good, puts it in force. One line per problem to `errors`. */
bool daemon_reload(struct daemon *daemon, FILE *errors);
/* No new connections; ends when what is in flight has. */
void daemon_drain(struct daemon *daemon, const char *why);

#endif
