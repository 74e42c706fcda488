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

#define FRAME_AAD_MAX 13 /* RFC 5246 6.2.3.3; TLS 1.3 takes the 5 bytes of the header */

struct sealane_key {
    sealane_aead *aead;
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

#endif
