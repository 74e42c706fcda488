/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Between a record as sealane/record.h has it and a message as a backend has it: a begin half that checks,
 * numbers and lays out, and a finish half that delivers. What runs in between, one message or many, is the
 * business of record.c and batch.c.
 */
#ifndef ENGINE_FRAME_H
#define ENGINE_FRAME_H

#include <sealane/aead.h>
#include <sealane/record.h>
#include "backend.h"
#include "cbc.h"

#define FRAME_EXPLICIT_LEN 8  /* RFC 5288 3, nonce_explicit; RFC 6655 3 the same */
#define FRAME_AAD_MAX      13 /* RFC 5246 6.2.3.3; TLS 1.3 takes the 5 bytes of the header */

struct sealane_key {
    sealane_aead *aead; /* one of the two */
    cbc_key *cbc;
    const sealane_suite *suite;
    const sealane_cipher *cipher;
    uint64_t sequence;
    uint64_t explicit_nonce;
    uint64_t seal_limit;        /* the cipher's */
    uint64_t iv_first, iv_last; /* bytes 0 to 7 and, in the lower half, 8 to 11, as they lie in memory */
    uint8_t direction;          /* sealane_direction */
    uint8_t cipher_id;          /* the cipher's id and tag_len */
    uint8_t tag_len;
    uint8_t prefix_len;          /* header and explicit nonce or IV */
    bool tls13, explicit_nonces; /* the suite's; explicit_nonces: eight bytes of them in each record */
    bool forged;                 /* a record was: nothing more is opened */
};

/* A record on its way. `op` points into it, so it must not move. */
typedef struct frame {
    union {
        backend_op op;
        cbc_op cbc; /* if the key is one of CBC */
    };
    sealane_key *key;
    unsigned backend; /* index of dispatch.h */
    /* Whole vectors, so that they are written at once and a load of any part of them finds what it wants. */
    _Alignas(16) uint8_t nonce[16]; /* SEALANE_NONCE_LEN */
    _Alignas(16) uint8_t aad[16];   /* FRAME_AAD_MAX, zeros behind */
} frame;

/*
 * True if f->op is ready to run, with a sequence number taken; else op->result says why not. `batch` if
 * others will run with it.
 */
bool frame_seal_begin(frame *f, sealane_seal_op *op, bool batch);
void frame_seal_finish(frame *f, sealane_seal_op *op);
bool frame_open_begin(frame *f, sealane_open_op *op, bool batch);
void frame_open_finish(frame *f, sealane_open_op *op);

/* The payload's pieces one behind the other; a piece that is in its place already stays. */
void frame_payload_copy(const sealane_seal_op *op, uint8_t *to);
/* RFC 5246 6.2.3.1: sequence number, type, version and, for two bytes to be filled in, length. */
void frame_header12_make(uint8_t header[FRAME_AAD_MAX], uint64_t sequence, const uint8_t *record, size_t len);
/* Room, and whether the key may open anything. */
sealane_result frame_open_allowed(const sealane_open_op *op, size_t len);
/* Which content types may be protected, and be empty. */
bool frame_type_allowed(const sealane_key *key, uint8_t type, size_t payload_len);

/* ---- frame_cbc.c: what differs for CBC suites, behind the checks of frame.c that all have in common ---- */

bool frame_cbc_seal_begin(frame *f, sealane_seal_op *op, size_t payload_len);
void frame_cbc_seal_finish(frame *f, sealane_seal_op *op);
/* RFC 5246 6.2.3: may a fragment of a CBC suite be that long? */
sealane_result frame_cbc_length_check(const sealane_key *key, size_t fragment_len);
bool frame_cbc_open_begin(frame *f, sealane_open_op *op);
void frame_cbc_open_finish(frame *f, sealane_open_op *op);

#endif
