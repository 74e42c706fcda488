/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The work that contestants are given: one kind of record, sealed or opened in place, as libssl does it, over
 * and over again in a ring of records. Before every run the ring is laid out anew, outside of the clock, from
 * images: plain for sealing, sealed for opening. What a contestant did is proved afterwards by the
 * reference (records_reference.h).
 *
 * A record's size is what the cipher protects: in TLS 1.3 the payload and its type byte, in TLS 1.2 the
 * payload. So the same size is the same work for everyone, whatever the framing.
 */
#ifndef BENCH_RECORDS_WORKLOAD_H
#define BENCH_RECORDS_WORKLOAD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "records_subject.h"

#define BATCH_MAX       64
#define RECORD_SIZE_MIN 2 /* a payload byte and TLS 1.3's type */
#define RECORD_SIZE_MAX 16384
#define AAD_LEN_MAX     13
/* Room before a message (header, explicit nonce or IV) and behind it (tag, or MAC and padding). */
#define ROOM_BEFORE 32
#define ROOM_BEHIND (SUBJECT_MAC_MAX + 16)

/* One case: what a table's line, a plot's point and a target speak of. */
typedef struct workload {
    const subject *subject;
    bool sealing;
    size_t size;
    size_t batch; /* records of so many different keys go together: 1 to BATCH_MAX */
} workload;

/* How the records are framed; it decides nonce and additional data. */
typedef enum record_format {
    FORMAT_TLS13, /* RFC 8446 5.2 */
    FORMAT_TLS12, /* RFC 5246 6.2.3, RFC 5288, RFC 6655, RFC 7905 */
} record_format;

/* One direction's keys as a handshake would give them, made up but the same in every run. */
typedef struct traffic_key {
    uint8_t key[SUBJECT_KEY_MAX];
    uint8_t mac[SUBJECT_MAC_MAX];
    uint8_t iv[SUBJECT_IV_MAX];
} traffic_key;

traffic_key traffic_key_make(const subject *s, size_t index);

/* One record in a ring. */
typedef struct slot {
    uint8_t *data; /* the message; what stands before and behind it is the format's */
    size_t key;    /* index of the traffic key, 0 to batch - 1 */
    uint64_t sequence;
    uint8_t nonce[SEALANE_NONCE_LEN]; /* of the AEADs: where the explicit part is the sequence number */
    uint8_t aad[AAD_LEN_MAX];
    size_t aad_len;
} slot;

typedef struct ring {
    workload load;
    record_format format;
    size_t count; /* slots, a multiple of the batch; neighbours have different keys */
    size_t stride;
    uint8_t *memory; /* what slots point into */
    uint8_t *plain;  /* images of `memory` */
    uint8_t *sealed;
    slot *slots;
} ring;

/* NULL if memory is short or the reference fails. */
ring *ring_new(const workload *load, record_format format);
void ring_free(ring *r);
/* Lays all records out for the next run. */
void ring_restore(ring *r);
/* True if the ring, as a run left it, holds all records rightly sealed or opened. */
bool ring_verify(const ring *r);

/* Bytes of a record's explicit nonce or IV, which stand right before the message. */
size_t format_explicit_len(const subject *s, record_format format);
/* Bytes behind the message: the tag, or MAC and padding. */
size_t format_trailer_len(const subject *s, size_t size);

#endif
