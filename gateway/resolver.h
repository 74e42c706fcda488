/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who takes mail for a domain (RFC 5321, 5.1): MX records and the addresses of their hosts, through libunbound.
 *
 * One resolver per loop and settings. libunbound asks in a thread of its own, caches, and validates DNSSEC where a
 * trust anchor is set; answers come as calls on the loop's thread, never from inside one of these functions.
 */
#ifndef GATEWAY_RESOLVER_H
#define GATEWAY_RESOLVER_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include "command.h"
#include "config.h"

struct loop;
struct mail_lookup;

#define MAIL_HOSTS_MAX 32u /* addresses tried for one domain */

enum mail_answer {
    MAIL_HOSTS,     /* there are some */
    MAIL_NO_DOMAIN, /* the name does not exist, or has neither MX nor address */
    MAIL_NULL_MX,   /* RFC 7505: it takes no mail */
    MAIL_FAILED,    /* no answer, a broken or a forged one: it may work later */
};

struct mail_host {
    char name[DOMAIN_MAX_LEN + 1];
    char address[INET6_ADDRSTRLEN];
};

struct mail_hosts {
    enum mail_answer answer;
    bool secure; /* DNSSEC vouches for all of it */
    char error[160];
    struct mail_host hosts[MAIL_HOSTS_MAX]; /* in the order in which they are to be tried */
    size_t count;
};

typedef void (*mail_handler)(void *owner, const struct mail_hosts *hosts);

/* NULL: out of memory or libunbound cannot be set up. One call of `handler` follows, within the connect timeout. */
struct mail_lookup *resolver_find(struct loop *loop, struct config *config, const char *domain,
                                  mail_handler handler, void *owner);
/* The handler is not called any more. */
void resolver_cancel(struct mail_lookup *lookup);
/* Settings have changed, or the loop ends: the next lookup makes a new resolver, this one ends with its lookups. */
void resolver_retire(struct loop *loop);

#endif
