/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Listening sockets: made, taken over from the settings before, or handed in by systemd (sd_listen_fds(3)).
 */
#ifndef GATEWAY_SOCKETS_H
#define GATEWAY_SOCKETS_H

#include <stdbool.h>
#include <stdio.h>
#include "config.h"

/*
 * Fills config->sockets and config->ports for `loops` loops. Where `old` (NULL at the start) listens on the same
 * address and port already, nothing is opened and the loops keep what they have. False after one line per problem.
 */
bool sockets_open(struct config *config, const struct config *old, unsigned loops, FILE *errors);
/* True if both mean the same listening socket. */
bool sockets_same(const struct receive_settings *a, const struct receive_settings *b);

#endif
