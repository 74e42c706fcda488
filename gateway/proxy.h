/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The PROXY protocol, versions 1 and 2 (haproxy.org, doc/proxy-protocol.txt, 2.1 to 2.3): what a balancer in front of
 * us says about who the peer is. Pure: no I/O, no allocation.
 */
#ifndef GATEWAY_PROXY_H
#define GATEWAY_PROXY_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum proxy_result {
    PROXY_MORE, /* the beginning of a header */
    PROXY_DONE,
    PROXY_BAD, /* no header */
};

struct proxy {
    size_t length;                  /* bytes that the header takes */
    char address[INET6_ADDRSTRLEN]; /* the peer's; "" if the balancer speaks for itself (LOCAL, UNKNOWN) */
};

/* Looks at the bytes from the start of a connection. `out` is set when it is PROXY_DONE. */
enum proxy_result proxy_parse(struct proxy *out, const uint8_t *bytes, size_t len);

#endif
