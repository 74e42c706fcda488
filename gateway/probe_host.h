/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One host that mail may go to: the SMTP dialogue up to TLS, spoken as the gateway would, and what was found.
 *
 * Blocking, but never longer than PROBE_PATIENCE_SECONDS for a connection, a reply or a handshake. No mail is sent
 * and no private key is used, so a host that demands a certificate of ours may refuse.
 */
#ifndef GATEWAY_PROBE_HOST_H
#define GATEWAY_PROBE_HOST_H

#include <stdbool.h>
#include "config.h"
#include "routing.h"

#define PROBE_PATIENCE_SECONDS 30

/* As far as it was got to know. Texts are empty where there is nothing to say. */
struct finding {
    char name[DOMAIN_MAX_LEN + 1], address[64]; /* what it is called; where the DNS says it is */
    size_t policy;                              /* which counts for it, as in routing.h */
    char error[300];
    bool greeted;  /* it talks SMTP with us */
    bool starttls; /* ... and offers that */
    bool secured;
    char version[16], cipher[64], group[32];
    char subject[256], issuer[256], expires[32], names[512];
    char certificate_pin[PIN_TEXT_MAX], key_pin[PIN_TEXT_MAX];
    bool pinned;
    long verified; /* X509_V_... */
    bool satisfies;
};

/*
 * Talks to `name`, at `address` if that is not empty, about mail for `destination`. `config` needs its settings and
 * what tls_open_outbound makes. Fills all of `out`.
 */
void probe_host(struct finding *out, const struct config *config, const struct destination *destination,
                const char *name, const char *address, const char *port);

#endif
