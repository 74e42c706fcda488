/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The settings file, read and judged as a whole before anything is started.
 *
 * settings_read knows the language: keys, types, ranges, what must be there, which section names which. It
 * opens no certificate and no socket (that is tls.h's and sockets.h's). Every value that others may find wrong
 * later carries its line. All memory belongs to the settings' store.
 */
#ifndef GATEWAY_SETTINGS_H
#define GATEWAY_SETTINGS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include "log.h"
#include "pattern.h"
#include "pin.h"
#include "store.h"

#define SETTINGS_NONE ((size_t)-1) /* an index that names nothing */

/* How much TLS is wanted; Postfix's words, in rising order. From ENCRYPT on there is no clear text. */
enum tls_level {
    TLS_LEVEL_NONE,
    TLS_LEVEL_MAY,
    TLS_LEVEL_ENCRYPT,
    TLS_LEVEL_FINGERPRINT, /* the peer's certificate or key is one of the pins */
    TLS_LEVEL_VERIFY,      /* ... is signed by a CA and names the host that we talk to */
    TLS_LEVEL_SECURE,      /* ... names the recipient's domain, which no DNS answer can change */
    TLS_LEVEL_COUNT,
};

const char *tls_level_name(enum tls_level level);

/* A text of the file and the line it stands on. */
struct setting {
    char *text; /* NULL if not set */
    int line;
};

struct setting_list {
    struct setting *items;
    size_t count;
};

struct limits {
    long connections;             /* open at once on one connector */
    long connections_per_address; /* ... from one IPv4 address or IPv6 /64 */
    long handshakes_per_second;   /* ... begun by one address */
    long recipients;              /* of one message */
    long bad_recipients;          /* refused ones in one connection */
    long errors;                  /* bad commands in one connection */
    long message_size;            /* bytes */
    long header_size;             /* bytes */
    long line;                    /* bytes of a line in a message or command */
    long hops;                    /* Received fields */
    long minimum_rate; /* bytes per second that a sender in DATA must keep up, measured over rate_window */
};

/* Seconds. */
struct timeouts {
    long command;     /* a sender's next whole command line */
    long handshake;   /* a sender's PROXY header and TLS handshake */
    long key_retry;   /* after a signature that failed: STARTTLS is answered 454 for so long */
    long rate_window; /* over which minimum_rate is measured */
    long connect;     /* looking a next hop up; connecting to one host of it, all its addresses */
    long envelope;    /* next hop: from connected to the answer to RCPT, and for each further RCPT */
    long data;        /* next hop: the answer to DATA */
    long block;       /* next hop: it must take some bytes of the message within */
    long final;       /* next hop: the answer to the final dot */
    long reuse;       /* next hop: a connection without work is kept for so long */
    long drain;       /* what is in flight when we are told to stop */
};

struct certificate_settings {
    struct setting chain;      /* PEM file: certificate first, then intermediates */
    struct setting key;        /* file or URI, whatever OSSL_STORE opens */
    struct setting_list names; /* SNI names it is for; those in the certificate if there are none here */
};

/* What both sides of TLS can be told, in OpenSSL's words. Not set: OpenSSL's default. */
struct tls_parameters {
    struct setting min_version; /* "TLSv1.2" or "TLSv1.3" */
    struct setting ciphers;     /* TLS 1.2 */
    struct setting suites;      /* TLS 1.3 */
    struct setting groups;
};

enum client_certificates { CLIENT_CERTIFICATES_NONE, CLIENT_CERTIFICATES_ASK, CLIENT_CERTIFICATES_REQUIRE };

struct receive_settings {
    char *name;
    int line;
    struct setting address; /* numeric */
    int port;               /* 0: any free one */
    enum tls_level tls;     /* MAY or ENCRYPT */
    bool implicit;          /* TLS from the first byte (RFC 8314) */
    bool from_queue;        /* what comes in here is the queue's: it is never given to the queue */
    struct certificate_settings *certificates;
    size_t certificate_count;
    struct tls_parameters parameters;
    enum client_certificates client_certificates;
    struct setting client_ca; /* PEM file: who must have signed the client's certificate */
    struct network *proxies;  /* a PROXY header comes first from these, and from nobody else */
    size_t proxy_count;
    struct limits limits; /* the global ones where the section has none of its own */
};

/* What is demanded of a next hop's TLS: a send connector's own demands or a partner's. */
struct policy_settings {
    enum tls_level level;
    int line;
    struct setting ca;          /* PEM file of roots; the system's if not set */
    struct setting server_name; /* what the certificate must say and SNI names; see tls_client.c if not set */
    struct pin *pins;
    size_t pin_count;
};

#define ENDPOINTS_MAX 32u /* of one send connector */

struct endpoint {
    char *text; /* as written */
    char *host, *port;
    long priority; /* lower ones first */
    long weight;   /* among those of one priority: how often it is the first choice */
};

/* A send connector: where to, and how. */
struct send_settings {
    char *name;
    int line;
    bool mx;    /* look the recipient's domain up; otherwise `endpoints` */
    char *port; /* with mx */
    struct endpoint *endpoints;
    size_t endpoint_count;
    struct policy_settings policy;
    struct tls_parameters parameters;
    struct certificate_settings certificate; /* ours, if its chain is set */
    struct setting fallback_name;
    size_t fallback; /* index of the send connector to try when this one is down, or SETTINGS_NONE */
    long messages;   /* over one connection at most */
};

/* A rule: which mail goes by which send connector. The first that fits counts. A list left out fits all. */
struct route_settings {
    char *name;
    int line;
    struct setting_list recipients; /* mail patterns */
    struct setting_list senders;    /* mail patterns */
    struct setting_list connectors; /* names of receive connectors */
    struct pin *clients;            /* certificates of the sending host */
    size_t client_count;
    struct setting send_name;
    size_t send; /* index */
};

struct partner_settings {
    char *name; /* a domain pattern: a recipient's or sender's domain, or the name of a next hop */
    int line;
    bool has_policy;
    struct policy_settings policy; /* of mail to it */
    enum tls_level inbound;        /* of mail from it: NONE, MAY (no demands), ENCRYPT, FINGERPRINT, VERIFY */
    struct pin *inbound_pins;      /* the policy's if there are none of its own */
    size_t inbound_pin_count;
};

struct settings {
    struct store store;
    char *file;
    char *hostname;
    long loops;         /* never 0 after reading: one per core by default */
    long signing_queue; /* handshakes of one loop that may wait for the token at once */
    struct setting openssl_conf;
    enum log_format log;
    bool handshake_async;
    bool records_engine; /* the engine takes connections over once their handshake is done */
    long ticket_lifetime;
    struct setting control; /* path of sealanectl's socket */
    struct setting metrics; /* path, or "127.0.0.1:PORT" */
    struct setting_list
        resolvers; /* addresses of DNS servers, "ADDRESS" or "ADDRESS@PORT"; the system's if none */
    struct setting trust_anchor; /* file of DNSSEC's; none: no validation */
    struct setting queue_name;
    size_t queue; /* index of the send connector to an MTA with a queue, or SETTINGS_NONE */
    struct limits limits;
    struct timeouts timeouts;
    struct receive_settings *receives;
    size_t receive_count;
    struct send_settings *sends;
    size_t send_count;
    struct route_settings *routes;
    size_t route_count;
    struct partner_settings *partners;
    size_t partner_count;
};

/*
 * Reads `file`. On failure writes "FILE:LINE: what is wrong" lines to `errors` and returns false; `out` needs
 * settings_free in either case. One thread at a time.
 */
bool settings_read(struct settings *out, const char *file, FILE *errors);
void settings_free(struct settings *s);

/* "FILE:LINE: KEY: ..." to `errors`, for what others find wrong with a value. */
void settings_complain(const struct settings *s, FILE *errors, int line, const char *key, const char *format,
                       ...) __attribute__((format(printf, 5, 6)));

#endif
