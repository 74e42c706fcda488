/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What single addresses do, over all loops: how many connections they have open, how many handshakes they begin.
 *
 * An address is an IPv4 address or an IPv6 /64, the least that one customer has. Memory is bounded: an address is
 * forgotten when it has no connection and has begun no handshake for a second, and where the table is full of
 * others, a new one is not limited at all rather than refused for what others do. Any thread may call.
 */
#ifndef GATEWAY_PEERS_H
#define GATEWAY_PEERS_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>

struct peers;

/* NULL: out of memory. */
struct peers *peers_new(void);
void peers_free(struct peers *peers);

/* One connection more of `address` at a connector, which any address of memory may stand for. False, and not counted, if it has `most` already. */
bool peers_enter(struct peers *peers, const void *connector, const struct in6_addr *address, uint64_t now,
                 long most);
/* One less; only after a peers_enter that was true. */
void peers_leave(struct peers *peers, const void *connector, const struct in6_addr *address);
/* One handshake more. `now` is in milliseconds, monotonic. False if there were `rate` of them within a second. */
bool peers_handshake(struct peers *peers, const void *connector, const struct in6_addr *address, uint64_t now,
                     long rate);

#endif
