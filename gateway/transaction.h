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
    uint64_t began; /* loop_now */
    struct envelope envelope;
    struct path recipient; /* the one being asked for */
    struct recipient_parameters recipient_params;
    struct content content;
    bool received_put; /* our Received field was passed on */
    bool refused; /* nothing more goes to the next hop; `verdict` is what the sender is told at the end */
    struct reply verdict;

    /* Where it goes. */
    bool has_destination;
    struct destination destination;
    bool direct;    /* to the queue or a fallback, whoever the recipients are */
    bool queued;    /* to the queue */
    bool fell_back; /* the fallback was tried */
    char mark[CONTENT_MARK_MAX];

    /* The recipients that the sender was told 250 for, to be told again to another next hop. */
    unsigned accepted;
    char *told; /* path, NOTIFY and ORCPT of each, with NULs behind them */
    size_t told_length, told_room;
    size_t replay_at; /* in `told` */
    bool replay_data; /* DATA comes behind the last of them */
    struct path replayed;
    struct recipient_parameters replayed_params;

    /* Of the next hop, kept because it may be gone when the line is written. */
    struct io_facts out;
    char out_peer[48], out_name[DOMAIN_MAX_LEN + 16];
    size_t out_policy;   /* SETTINGS_NONE if no host was tried */
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

/* A new one with a new id; NULL if out of memory. */
struct transaction *transaction_new(struct loop *loop);
void transaction_free(struct transaction *tx);
/* The next hop has taken tx->recipient. False: out of memory. */
bool transaction_accept(struct transaction *tx);
/* The next of those accepted, from replay_at on, into `replayed`; false if that was all. */
bool transaction_next_accepted(struct transaction *tx);
/* Notes what is known of the next hop now. */
void transaction_note_hop(struct transaction *tx, const struct hop *hop);
/* How the second line of our Received field begins in a message that goes to the queue. */
void transaction_queue_mark(const char *hostname, char *out, size_t size);
/* The Received field (RFC 5321, 4.4; RFC 8314, 4.3) with its CRLFs; returns the length. */
size_t transaction_received(const struct transaction *tx, const struct sender *sender, const char *hostname,
                            char *out, size_t size);
/* Counts it and writes its log line. */
void transaction_log(const struct transaction *tx, struct loop *loop, const struct settings *settings,
                     const struct sender *sender, enum transaction_result result);

#endif
