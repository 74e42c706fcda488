/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The SMTP server side: one sender's connection, from the banner to QUIT.
 */
#ifndef GATEWAY_SESSION_H
#define GATEWAY_SESSION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include "config.h"

struct loop;

/* Takes an accepted socket over. */
void session_start(struct loop *loop, struct config *config, size_t connector, int fd);
/* Between transactions: 421 and out; the others follow when their transaction is over. */
void session_drain_all(struct loop *loop);
/* Ends all of them at once. */
void session_abort_all(struct loop *loop);
/* What they are doing: a line each, or JSON objects with commas between. */
void session_tell_all(struct loop *loop, FILE *out, bool json);

#endif
