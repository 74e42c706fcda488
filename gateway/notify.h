/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Words to systemd (sd_notify(3), without its library): one datagram to the socket in $NOTIFY_SOCKET. Without one,
 * nothing happens.
 */
#ifndef GATEWAY_NOTIFY_H
#define GATEWAY_NOTIFY_H

#include <stdint.h>

void notify_ready(const char *status);
void notify_reloading(void);
void notify_stopping(const char *status);
void notify_watchdog(void);
/* How often the watchdog wants to hear of us, in milliseconds: half of its patience; 0: not at all. */
uint64_t notify_watchdog_interval(void);

#endif
