/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which mail goes where, and what is demanded of TLS on both sides. Pure decisions on the settings: no I/O.
 */
#ifndef GATEWAY_ROUTING_H
#define GATEWAY_ROUTING_H

#include <stdbool.h>
#include <stddef.h>
#include "settings.h"

/* Where one transaction goes. Recipients with equal destinations may share a transaction and a connection. */
struct destination {
    size_t route;                    /* SETTINGS_NONE for the queue and for a fallback */
    size_t send;                     /* index of the send connector */
    size_t policy;                   /* see routing_policy */
    char domain[DOMAIN_MAX_LEN + 1]; /* the recipient's, in lower case, where host or demands depend on it */
};

/* Who wants to send. */
struct origin {
    size_t connector;
    const struct fingerprints *client; /* of the certificate of the sending host */
    const struct path *from;
};

/* False: no route names this mail. */
bool routing_choose(const struct settings *s, const struct origin *origin, const struct path *recipient,
                    struct destination *out);
/* A send connector by itself, for a fallback or the queue: its own demands, whoever the recipient is. */
void routing_direct(size_t send, struct destination *out);
bool destination_equal(const struct destination *a, const struct destination *b);
/* True if mail of this route may need several destinations, so that a transaction must keep to one domain. */
bool routing_depends_on_domain(const struct settings *s);

/* Policies are numbered: first each send connector's own, then each partner's. */
static inline size_t routing_policy_count(const struct settings *s)
{
    return s->send_count + s->partner_count;
}
const struct policy_settings *routing_policy(const struct settings *s, size_t policy);
/* "send NAME" or "partner NAME", for the log. */
const char *routing_policy_owner(const struct settings *s, size_t policy);
/* The policy for a host found for `d`: the destination's, or that of a partner who is named by its host. */
size_t routing_policy_of_host(const struct settings *s, const struct destination *d, const char *host);

/* The partner whose mail `from` claims to be, NULL if none. */
const struct partner_settings *routing_partner_of(const struct settings *s, const char *domain);

#endif
