/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What sealanectl asks the running gateway, over a unix socket that its owner alone may use.
 *
 * One line: a verb and, if wanted, "json". The answer's first line is "ok" or "error", the rest is for people or one
 * JSON object.
 */
#ifndef GATEWAY_CONTROL_H
#define GATEWAY_CONTROL_H

#include <stdbool.h>
#include <stdio.h>

struct control;
struct daemon;

/* Nothing (and true) if the settings name no socket. */
bool control_open(struct control **out, struct daemon *daemon, FILE *errors);
void control_close(struct control *control);

#endif
