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

#define FRAME_AAD_MAX 13 /* RFC 5246 6.2.3.3; TLS 1.3 takes the 5 bytes of the header */

struct sealane_key {
    sealane_aead *aead; /* one of the two */
    cbc_key *cbc;
    const sealane_suite *suite;
    const sealane_cipher *cipher;
    sealane_direction direction;
    bool forged; /* a record was: nothing more is opened */
    uint64_t sequence;
    uint64_t explicit_nonce;
    uint8_t iv[SEALANE_NONCE_LEN];
};

/* A record on its way. `op` points into it, so it must not move. */
typedef struct frame {
    backend_op op;
    cbc_op cbc;       /* in its place if the key is one of CBC */
    unsigned backend; /* index of dispatch.h */
    sealane_key *key;
    uint8_t nonce[SEALANE_NONCE_LEN];
    uint8_t aad[FRAME_AAD_MAX];
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
