/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sealanectl probe: what the hosts of a domain offer, whether it would satisfy the policy, and which pins to store.
 *
 * It speaks to each host as the gateway would, up to TLS, and sends no mail. No private key is touched. One thread,
 * blocking, in a process of its own.
 */
#ifndef GATEWAY_PROBE_H
#define GATEWAY_PROBE_H

#include <stdbool.h>

/* The exit status: 0 if all hosts that answer would do. */
int probe_run(const char *file, const char *domain, bool json);

#endif
