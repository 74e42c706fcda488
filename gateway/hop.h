/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The SMTP client side: connections to next hops, from the search for a host to QUIT.
 *
 * The owner (a session) asks for one thing at a time and gets one event for it. A hop looks its host up, connects,
 * greets, starts TLS and greets again by itself when first asked, and goes on to the next host where one fails. It
 * never decides what the sender is told beyond the reply it hands up; it never calls its owner from inside one of
 * these functions. A connection that its owner has released waits a moment for the next transaction to the same
 * destination.
 */
#ifndef GATEWAY_HOP_H
#define GATEWAY_HOP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "command.h"
#include "io.h"
#include "reply.h"
#include "routing.h"

struct hop;
struct loop;

enum hop_event {
    HOP_RECIPIENT, /* the answer to hop_recipient; if MAIL was refused, the answer to MAIL */
    HOP_DATA,      /* the answer to hop_data: 354 or a refusal */
    HOP_ROOM,      /* after hop_wait_room */
    HOP_FINAL,     /* the answer to hop_finish, or one that came before the end: then it is no 2xx */
    HOP_FAILED,    /* broken, whatever was asked; `reply` is for the sender. The hop is gone after this. */
};

/* Why HOP_FAILED came. */
enum hop_failure {
    HOP_FAILURE_LOST,   /* the connection broke, or the peer broke the protocol */
    HOP_FAILURE_DOWN,   /* no host could be reached or would talk: another way may be tried */
    HOP_FAILURE_POLICY, /* TLS is not as it is demanded: no other way may be tried */
    HOP_FAILURE_DOMAIN, /* the recipient's domain takes no mail */
};

typedef void (*hop_handler)(void *owner, enum hop_event event, const struct reply *reply);

struct envelope {
    struct path from;
    struct mail_parameters params;
};

/* A connection that waits, or a new one. NULL: out of memory. */
struct hop *hop_open(struct loop *loop, struct config *config, const struct destination *destination,
                     hop_handler handler, void *owner);
/*
 * MAIL if this transaction has had none, then RCPT. All three must stay as they are until the event. With
 * `data_follows` the owner promises to call hop_data next if this recipient or one before it is taken: then DATA goes
 * out at once behind RCPT. False: out of memory, and the hop is gone.
 */
bool hop_recipient(struct hop *hop, const struct envelope *envelope, const struct path *recipient,
                   const struct recipient_parameters *params, bool data_follows);
void hop_data(struct hop *hop);
size_t hop_room(const struct hop *hop);
void hop_wait_room(struct hop *hop);
bool hop_write(struct hop *hop, const void *bytes, size_t len);
/* The final dot. */
void hop_finish(struct hop *hop);

/*
 * The owner leaves. Between transactions the connection is kept for the next one; a transaction without content is
 * taken back; in all other cases as hop_abort.
 */
void hop_release(struct hop *hop);
/* The owner leaves in the middle: the connection ends without a final dot. */
void hop_abort(struct hop *hop);

/* For the log. What does not exist yet is empty. */
const struct io_facts *hop_facts(const struct hop *hop);
const char *hop_peer(const struct hop *hop);
/* "host:port" of the host that is being tried or was taken. */
const char *hop_name(const struct hop *hop);
/* The policy that counts for that host. */
size_t hop_policy(const struct hop *hop);
/* Why HOP_FAILED came, in more words than the sender gets. Valid in the handler. */
const char *hop_error(const struct hop *hop);
enum hop_failure hop_failure(const struct hop *hop);
/* True if the final dot was passed on: whatever happens now, the next hop may have the message. */
bool hop_is_finishing(const struct hop *hop);
/* True if this hop has already carried a transaction: it may have been closed meanwhile. */
bool hop_is_reused(const struct hop *hop);

/* ---- For loop.c only ---- */

void hop_quit_idle(struct loop *loop);
void hop_abort_all(struct loop *loop);

#endif
