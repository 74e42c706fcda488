/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The SMTP client side: one connection to a next hop, from its banner to QUIT.
 *
 * The owner (a session) asks for one thing at a time and gets one event for it. A hop connects, greets,
 * starts TLS and greets again by itself when first asked. It never decides what the sender is told beyond the
 * reply it hands up; it never calls its owner from inside one of these functions.
 */
#ifndef GATEWAY_HOP_H
#define GATEWAY_HOP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "command.h"
#include "io.h"
#include "reply.h"

struct hop;
struct loop;

enum hop_event {
    HOP_RECIPIENT, /* the answer to hop_recipient; if MAIL was refused, the answer to MAIL */
    HOP_DATA,      /* the answer to hop_data: 354 or a refusal */
    HOP_ROOM,      /* after hop_wait_room */
    HOP_FINAL,     /* the answer to hop_finish, or one that came before the end: then it is no 2xx */
    HOP_FAILED, /* broken, whatever was asked; `reply` is a 451 for the sender. The hop is gone after this. */
};

typedef void (*hop_handler)(void *owner, enum hop_event event, const struct reply *reply);

struct envelope {
    struct path from;
    struct mail_parameters params;
};

/* Starts connecting to the next hop of route number `route`. NULL: out of memory. */
struct hop *hop_open(struct loop *loop, size_t route, hop_handler handler, void *owner);
/* MAIL if this transaction has had none, then RCPT. The envelope must stay as it is until the event. */
void hop_recipient(struct hop *hop, const struct envelope *envelope, const struct path *recipient);
void hop_data(struct hop *hop);
size_t hop_room(const struct hop *hop);
void hop_wait_room(struct hop *hop);
bool hop_write(struct hop *hop, const void *bytes, size_t len);
/* The final dot. */
void hop_finish(struct hop *hop);
/* Gives the transaction up; only between hop_recipient's event and hop_data. */
void hop_reset(struct hop *hop);

/* The owner leaves: QUIT if that is in order now, between transactions; otherwise as hop_abort. */
void hop_release(struct hop *hop);
/* The owner leaves in the middle: the connection ends without a final dot. */
void hop_abort(struct hop *hop);

/* For the log. */
const struct io_facts *hop_facts(const struct hop *hop);
const char *hop_peer(const struct hop *hop);
/* Why HOP_FAILED came, in more words than the sender gets. Valid in the handler. */
const char *hop_error(const struct hop *hop);
/* True if the final dot was passed on: whatever happens now, the next hop may have the message. */
bool hop_is_finishing(const struct hop *hop);
/* True if this hop has already carried a transaction: it may have been closed meanwhile. */
bool hop_is_reused(const struct hop *hop);

#endif
