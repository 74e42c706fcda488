/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One message on its way through: what was asked, what became of it, and the two things written about it, the
 * Received field and the log line. The states it goes through are session.c's.
 */
#ifndef GATEWAY_TRANSACTION_H
#define GATEWAY_TRANSACTION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "content.h"
#include "hop.h"
#include "loop.h"

struct transaction {
    char id[32];
    bool open;      /* between MAIL and its log line */
    uint64_t began; /* loop_now */
    struct envelope envelope;
    struct path recipient; /* the one being asked for */
    unsigned recipients;   /* accepted by the next hop */
    struct content content;
    bool refused; /* nothing more goes to the next hop; `verdict` is what the sender is told at the end */
    struct reply verdict;

    /* Of the next hop, kept because it may be gone when the line is written. */
    const struct route_settings *route; /* NULL before the first recipient */
    struct io_facts out;
    char out_peer[48];
    struct reply answer; /* its last word; code 0 if none */
    char error[400];     /* of the connection to it; "" if none */
    const char *sealed_by;
};

/* How a transaction ended, for the log and the counters. */
enum transaction_result {
    RESULT_DELIVERED, /* the next hop's 2xx, and the sender was told */
    RESULT_REFUSED,   /* 5xx */
    RESULT_DEFERRED,  /* 4xx */
    RESULT_ABORTED,   /* the sender gave it up: RSET, a new greeting, QUIT */
    RESULT_LOST,      /* the sender's connection ended in the middle */
};

/* What the log says about the sender's side. */
struct sender {
    const struct receive_settings *receive;
    const char *peer, *helo;
    const struct io_facts *facts;
    bool esmtp;
};

/* Forgets everything and gives a new id. */
void transaction_start(struct transaction *tx, struct loop *loop);
/* Notes what is known of the next hop now. */
void transaction_note_hop(struct transaction *tx, const struct hop *hop);
/* The Received field (RFC 5321, 4.4; RFC 8314, 4.3) with its CRLFs; returns the length. */
size_t transaction_received(const struct transaction *tx, const struct sender *sender, const char *hostname,
                            char *out, size_t size);
/* Counts it and writes its log line; it is closed after this. Does nothing if it is not open. */
void transaction_end(struct transaction *tx, struct loop *loop, const struct sender *sender,
                     enum transaction_result result);

#endif
