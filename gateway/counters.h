/* SPDX-License-Identifier: Apache-2.0 */
/* The counters of all loops by name, for the log, sealanectl and Prometheus: one table, so that all three agree. */
#ifndef GATEWAY_COUNTERS_H
#define GATEWAY_COUNTERS_H

#include <stddef.h>
#include <stdint.h>
#include "gateway.h"

struct counter {
    const char *name, *help;
    size_t offset; /* in struct counters */
};

extern const struct counter counter_table[];
extern const size_t counter_count;

uint64_t counters_sum(const struct gateway *gateway, const struct counter *counter);

/* Those of the sealane provider (provider.h), by our names. */
struct provider_counter {
    const char *name, *parameter, *help;
};

extern const struct provider_counter provider_counters[];
extern const size_t provider_counter_count;

/* A log line for each certificate in use. */
void log_certificates(const struct config *config);

#endif
