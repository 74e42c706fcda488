/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The settings file, read and judged as a whole before anything is started.
 *
 * settings_read knows the language: keys, types, ranges, what must be there. It opens no certificate and no
 * socket (that is tls.h's and loop.h's). Every value that others may find wrong later carries its line.
 */
#ifndef GATEWAY_SETTINGS_H
#define GATEWAY_SETTINGS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include "log.h"

/* How much TLS is wanted; Postfix's words, in rising order. On a receive connector: MAY or ENCRYPT. */
enum tls_level { TLS_LEVEL_NONE, TLS_LEVEL_MAY, TLS_LEVEL_ENCRYPT, TLS_LEVEL_VERIFY };

const char *tls_level_name(enum tls_level level);

/* A text of the file and the line it stands on. */
struct setting {
    char *text; /* NULL if not set */
    int line;
};

struct limits {
    long connections;    /* open at once on one connector */
    long recipients;     /* of one message */
    long bad_recipients; /* refused ones in one connection */
    long errors;         /* bad commands in one connection */
    long message_size;   /* bytes */
    long header_size;    /* bytes */
    long line;           /* bytes of a line in a message or command */
    long hops;           /* Received fields */
    long minimum_rate;   /* bytes per second that a sender in DATA must keep up, measured over rate_window */
};

/* Seconds. */
struct timeouts {
    long command;     /* a sender's next whole command line */
    long handshake;   /* a sender's TLS handshake */
    long key_retry;   /* after a signature that failed: STARTTLS is answered 454 for so long */
    long rate_window; /* over which minimum_rate is measured */
    long connect;     /* TCP connection to a next hop, all its addresses */
    long envelope;    /* next hop: from connected to the answer to RCPT, and for each further RCPT */
    long data;        /* next hop: the answer to DATA */
    long block;       /* next hop: it must take some bytes of the message within */
    long final;       /* next hop: the answer to the final dot */
    long drain;       /* what is in flight when we are told to stop */
};

struct certificate_settings {
    struct setting chain; /* PEM file: certificate first, then intermediates */
    struct setting key;   /* file or URI, whatever OSSL_STORE opens */
};

struct receive_settings {
    char *name;
    int line;
    struct setting address; /* numeric */
    int port;               /* 0: any free one */
    enum tls_level tls;
    struct certificate_settings *certificates;
    size_t certificate_count;
    struct limits limits; /* the global ones where the section has none of its own */
};

struct route_settings {
    char *name;
    int line;
    struct setting next_hop; /* as written */
    char *host;              /* its parts; no brackets */
    char *port;
    enum tls_level tls;
    struct setting ca;          /* PEM file of roots; the system's if not set */
    struct setting server_name; /* what the certificate must say and SNI names; the host if not set */
};

struct settings {
    char *file;
    char *hostname;
    long loops;         /* never 0 after reading: one per core by default */
    long signing_queue; /* handshakes of one loop that may wait for the token at once */
    struct setting openssl_conf;
    enum log_format log;
    bool handshake_async;
    struct limits limits;
    struct timeouts timeouts;
    struct receive_settings *receives;
    size_t receive_count;
    struct route_settings *routes;
    size_t route_count;
};

/*
 * Reads `file`. On failure writes "FILE:LINE: what is wrong" lines to `errors` and returns false; `out` needs
 * settings_free in either case.
 */
bool settings_read(struct settings *out, const char *file, FILE *errors);
void settings_free(struct settings *s);

/* "FILE:LINE: KEY: ..." to `errors`, for what others find wrong with a value. */
void settings_complain(const struct settings *s, FILE *errors, int line, const char *key, const char *format,
                       ...) __attribute__((format(printf, 5, 6)));

#endif
