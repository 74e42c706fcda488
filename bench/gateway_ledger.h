/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What was sent, answered and arrived, in a file that the load generator and the sink both map.
 *
 * Every message has a number, and its body follows from its size alone, so the sink compares every byte and
 * knows what came twice; the generator knows what it was told 250 for.
 */
#ifndef BENCH_GATEWAY_LEDGER_H
#define BENCH_GATEWAY_LEDGER_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define LEDGER_MESSAGES (1u << 24)

enum { LEDGER_ANSWERED = 1, LEDGER_ARRIVED = 2, LEDGER_TWICE = 4 };

struct ledger {
    _Atomic uint32_t next; /* number of the next message */
    _Atomic uint32_t corrupted, unknown;
    _Atomic uint32_t sink_connections, sink_handshakes, sink_resumed;
    _Atomic uint8_t fate[LEDGER_MESSAGES]; /* the flags above */
};

/* NULL, after a line on stderr, if the file cannot be mapped. It is made if it is not there. */
struct ledger *ledger_map(const char *path);

struct ledger_sum {
    uint32_t answered, arrived, twice, lost; /* lost: answered and not arrived */
};

/* Of the messages from number `first` on. */
struct ledger_sum ledger_count(struct ledger *ledger, uint32_t first);

/* The body of all messages of `size` bytes: lines of 78 bytes, no dot in front. Kept for the next call. */
const char *message_body(size_t size);

#endif
