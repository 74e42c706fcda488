/* SPDX-License-Identifier: Apache-2.0 */
/* Shared by the daemon*.c files; nobody else includes it. */
#ifndef GATEWAY_DAEMON_PRIVATE_H
#define GATEWAY_DAEMON_PRIVATE_H

#include "daemon.h"

/* daemon_log.c */
void log_start(const struct gateway *gateway);
void log_settings(const struct config *config);
void log_end_of_run(const struct gateway *gateway); /* with all that was counted */

#endif
