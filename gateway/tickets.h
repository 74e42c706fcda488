/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Keys of session tickets (RFC 5077, RFC 8446, 4.6.1), made anew every lifetime and shared by all loops.
 *
 * A key seals tickets for one lifetime and opens them for one more, then it is wiped: a machine that is taken over
 * gives away the tickets of two lifetimes and no more. Keys live in locked memory that core dumps leave out.
 * All functions may be called from any thread.
 */
#ifndef GATEWAY_TICKETS_H
#define GATEWAY_TICKETS_H

#include <stdbool.h>
#include <stdint.h>

#define TICKET_NAME_LEN 16u

struct ticket_key {
    uint8_t name[TICKET_NAME_LEN];
    uint8_t cipher[32]; /* AES-256 */
    uint8_t mac[32];    /* HMAC-SHA-256 */
};

struct tickets;

/* NULL: out of memory or of random bytes. */
struct tickets *tickets_new(void);
void tickets_free(struct tickets *tickets);
/* Begins a new lifetime. False, and nothing changed, without random bytes. */
bool tickets_rotate(struct tickets *tickets);

/* Copies, which the caller wipes. */
void tickets_current(struct tickets *tickets, struct ticket_key *out);
/* False if no key has that name (any more). `*old`: the ticket should be replaced. */
bool tickets_find(struct tickets *tickets, const uint8_t name[TICKET_NAME_LEN], struct ticket_key *out,
                  bool *old);

#endif
