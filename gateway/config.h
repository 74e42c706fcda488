/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Settings in force: a settings file, the TLS made from it, and what is learned while it counts.
 *
 * A reload makes a new one beside the old. Each loop, connection and next hop holds the one it began with, so
 * nothing changes under anybody's feet; the last one to let go frees it. References may be taken and dropped
 * from any thread; the settings and TLS in it never change.
 */
#ifndef GATEWAY_CONFIG_H
#define GATEWAY_CONFIG_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include "settings.h"
#include "tls.h"

/* What belongs to a connector's name and outlives settings. */
struct connector_state {
    struct connector_state *next;
    char *name;
    _Atomic long open;              /* connections */
    _Atomic uint64_t key_failed_at; /* milliseconds of loop_now of the last signature that failed; 0 never */
};

/* What next hops of a send connector were last heard to offer. */
enum offer { OFFER_UNKNOWN, OFFER_NO, OFFER_YES };

struct config {
    atomic_uint references;
    unsigned generation; /* 1, 2, ... */
    struct settings settings;
    struct tls tls;
    struct connector_state **connectors; /* in the order of settings.receives */
    _Atomic int *offers_dsn;             /* enum offer, in the order of settings.sends */
    _Atomic uint64_t **failed_at;        /* as key_failed_at: [send][endpoint] */
    int *sockets;                        /* new listening sockets: [loop * receive_count + receive], or -1 */
    unsigned loops;                      /* that `sockets` is for */
    int *ports;                          /* what each connector listens on, for the log */
};

/*
 * Reads and opens all of it. `library` is opened if it is not yet. One line per problem to `errors`; NULL if there was
 * one. The caller holds one reference.
 */
struct config *config_open(const char *file, unsigned generation, struct tls_library *library,
                           struct tickets *tickets, FILE *errors);
/* Gives each connector its state: the one of that name in `*states`, or a new one. False: out of memory. */
bool config_attach(struct config *config, struct connector_state **states);
struct config *config_hold(struct config *config);
void config_drop(struct config *config);

#endif
