/* SPDX-License-Identifier: Apache-2.0 */
/* The load generator: senders with STARTTLS on one epoll loop, each a connection after the other. */
#ifndef BENCH_GATEWAY_LOAD_H
#define BENCH_GATEWAY_LOAD_H

#include "gateway_ledger.h"

struct load_options {
    const char *host;
    int port;
    int senders;  /* at once */
    int messages; /* over one connection */
    size_t size;  /* of a body */
    double seconds;
    double rate; /* messages per second in all; 0: as many as go */
    int idle;    /* connections with TLS that do nothing meanwhile */
    bool clear;  /* no TLS */
    bool resume; /* offer the session of the connection before */
    bool tls12;
};

struct load_result {
    double seconds;
    uint64_t messages, connections, handshakes, resumed, refused, broken;
    double
        *latencies; /* milliseconds, of each message; the first of a connection from connect on. malloc'd */
    struct ledger_sum sum;
    int idle; /* of those wanted, still open at the end */
};

/* False after a line on stderr: nothing could be measured. */
bool load_run(const struct load_options *options, struct ledger *ledger, struct load_result *out);

#endif
