/* SPDX-License-Identifier: Apache-2.0 */
/* What all loops share. Read-only once they run, but for what locks or counts itself. */
#ifndef GATEWAY_GATEWAY_H
#define GATEWAY_GATEWAY_H

#include <stdint.h>
#include <uv.h>
#include "config.h"

struct loop;
struct peers;

struct gateway {
    struct tls_library library;
    struct tickets *tickets;
    struct peers *peers;
    struct loop *loops;
    unsigned loop_count;
    uint32_t run_id;   /* makes message ids differ between runs */
    uv_async_t *ended; /* wakes the main thread when a loop is over */

    /* The main thread's. */
    const char *file; /* of settings */
    struct config *config;
    struct connector_state *connectors;
    uint64_t started; /* seconds since 1970 */
};

#endif
