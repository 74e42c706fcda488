/* SPDX-License-Identifier: Apache-2.0 */
/* Metrics for Prometheus (its text format, version 0.0.4), over HTTP on a unix socket or on this machine alone. */
#ifndef GATEWAY_METRICS_H
#define GATEWAY_METRICS_H

#include <stdbool.h>
#include <stdio.h>

struct metrics;
struct daemon;

/* Nothing (and true) if the settings name no address. */
bool metrics_open(struct metrics **out, struct daemon *daemon, FILE *errors);
void metrics_close(struct metrics *metrics);

#endif
