/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A small server on the main thread's loop: one question per connection, one answer, the end. For sealanectl and for
 * Prometheus; nothing of it is on the way of mail.
 */
#ifndef GATEWAY_ANSWERER_H
#define GATEWAY_ANSWERER_H

#include <stdbool.h>
#include <stddef.h>
#include <uv.h>

struct answerer;
struct answer;

/* `question` is what came up to and without `end`. The handler answers now or later, once, with answer_send. */
typedef void (*question_handler)(void *owner, struct answer *answer, const char *question);

/*
 * Listens on `address`: an absolute path (a socket file with `mode`; one that nobody listens on any more is
 * replaced) or "HOST:PORT". NULL with errno set on failure.
 */
struct answerer *answerer_open(uv_loop_t *uv, const char *address, unsigned mode, const char *end,
                               question_handler handler, void *owner);
/* Answers that are still due go nowhere. */
void answerer_close(struct answerer *answerer);
/* Takes `text` (malloc'd) over. */
void answer_send(struct answer *answer, char *text, size_t len);

#endif
