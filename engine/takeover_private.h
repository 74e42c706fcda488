/* SPDX-License-Identifier: Apache-2.0 */
/* What is known of a connection while libssl still carries it: takeover_watch.c fills it, takeover.c reads it. */
#ifndef ENGINE_TAKEOVER_PRIVATE_H
#define ENGINE_TAKEOVER_PRIVATE_H

#include <sealane/takeover.h>

#define TAKEOVER_SECRET_MAX 48 /* SHA-384 is the longest digest of a key schedule: RFC 8446 B.4 */

/* One direction: the records that passed the BIO. */
typedef struct stream {
    uint8_t header[SEALANE_RECORD_HEADER_LEN];
    size_t header_have;
    size_t body_left; /* of the record under way */
    bool keeping;     /* records are protected from here on: counted, and the last one kept */
    bool broken;      /* out of memory, or no record at all */
    uint64_t count;   /* whole records since the present keys began */
    uint8_t *record;  /* the last one, or the one under way */
    size_t record_len, record_size;
} stream;

typedef struct watch {
    unsigned holders; /* the SSL and its two BIOs */
    BIO *reads, *writes;
    stream in, out;
    bool server;
    size_t secret_len; /* TLS 1.3; 0: the key log said nothing */
    bool client_known, server_known;
    uint8_t client_secret[TAKEOVER_SECRET_MAX], server_secret[TAKEOVER_SECRET_MAX];
} watch;

/* Of an SSL that is being watched through the BIOs that it has now; else NULL. */
watch *watch_of(const SSL *ssl);
/* Wipes what is known of it, once its BIOs are others. */
void watch_end(SSL *ssl);
/* True between two records. */
bool stream_is_between(const stream *s);

#endif
