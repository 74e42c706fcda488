/* SPDX-License-Identifier: Apache-2.0 */
/* The next hop of the benchmark: takes mail as fast as it comes, with TLS (Debian's smtp-sink has none), and compares it. */
#ifndef BENCH_GATEWAY_SINK_H
#define BENCH_GATEWAY_SINK_H

#include "gateway_ledger.h"

struct sink_options {
    int port;                /* 0: any; it is printed */
    const char *chain, *key; /* NULL: no TLS */
};

/* Runs until it is killed; the exit status if it cannot start. */
int sink_run(const struct sink_options *options, struct ledger *ledger);

#endif
