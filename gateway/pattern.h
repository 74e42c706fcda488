/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What settings say about mail addresses and network addresses, and whether a given one is meant. Pure: no
 * I/O, no allocation.
 */
#ifndef GATEWAY_PATTERN_H
#define GATEWAY_PATTERN_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "command.h"

/*
 * Mail patterns: "*" (all that have a domain, and "postmaster" without one), "example.org" (that domain, not
 * its subdomains), "*.example.org" or ".example.org" (its subdomains, not itself), "name@example.org",
 * "name@*.example.org", and "<>" (the null sender). Upper and lower case are one, in local parts as well:
 * nobody who runs mail distinguishes them, and who forges must not gain by it.
 */
bool pattern_is_valid(const char *pattern);
bool pattern_takes_path(const char *pattern, const struct path *path);
/* The domain's part alone: `pattern` has no "@". */
bool pattern_takes_domain(const char *pattern, const char *domain);

/* An IPv4 or IPv6 network; IPv4 is kept as ::ffff:0:0/96, so one comparison serves both. */
struct network {
    struct in6_addr address;
    unsigned bits;
};

/* "192.0.2.0/24", "2001:db8::/32", or an address alone. */
bool network_parse(struct network *out, const char *text);
bool network_contains(const struct network *network, const struct in6_addr *address);
/* A numeric address of either family, as networks keep it. */
bool address_parse(struct in6_addr *out, const char *text);

#endif
