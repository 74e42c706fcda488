/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Between a record as sealane/record.h has it and a message as a backend has it: a begin half that checks,
 * numbers and lays out, and a finish half that delivers. What runs in between, one message or many, is the
 * business of record.c and batch.c. What both directions of AEAD suites lay out is in frame_lay.h.
 */
#ifndef ENGINE_FRAME_H
#define ENGINE_FRAME_H

#include <sealane/aead.h>
#include <sealane/record.h>
#include "aead_key.h"
#include "backend.h"
#include "cbc.h"
#include "dispatch.h"

#define FRAME_EXPLICIT_LEN 8  /* RFC 5288 3, nonce_explicit; RFC 6655 3 the same */
#define FRAME_AAD_TYPE     8  /* where TLS 1.2's has the content type */
#define FRAME_AAD_MAX      13 /* RFC 5246 6.2.3.3; TLS 1.3 takes the 5 bytes of the header */

/* Its first line of the cache (line.h) holds all that a record of an AEAD suite needs but the expanded key. */
struct sealane_key {
    uint64_t sequence;
    uint64_t explicit_nonce;
    uint64_t iv_first, iv_last; /* bytes 0 to 7 and, in the lower half, 8 to 11, as they lie in memory */
    uint64_t seal_limit;        /* the cipher's */
    uint8_t direction;          /* sealane_direction */
    uint8_t cipher_id;          /* the cipher's id and tag_len */
    uint8_t tag_len;
    uint8_t prefix_len;          /* header and explicit nonce or IV */
    uint8_t around;              /* AEAD: by how much a record is longer than payload and padding */
    bool tls13, explicit_nonces; /* the suite's; explicit_nonces: eight bytes of them in each record */
    bool forged;                 /* a record was: nothing more is opened */
    sealane_aead aead;           /* one of the two; its first states are in the line, too */
    cbc_key *cbc;
    const sealane_suite *suite;
    const sealane_cipher *cipher;
};

/* A record on its way. `op` points into it, so it must not move. */
typedef struct frame {
    union {
        backend_op op;
        cbc_op cbc; /* if the key is one of CBC */
    };
    sealane_key *key;
    unsigned group; /* frames with the same one run together: frame_group() */
    /* Whole vectors, so that they are written at once and a load of any part of them finds what it wants. */
    _Alignas(16) uint8_t nonce[16]; /* SEALANE_NONCE_LEN */
    _Alignas(16) uint8_t aad[16];   /* FRAME_AAD_MAX, zeros behind */
} frame;

/* Cipher and the backend's index of dispatch.h. CBC's backends are its own business: DISPATCH_NONE. */
static inline unsigned frame_group(const sealane_key *key, unsigned index)
{
    return (unsigned)key->cipher_id << 8 | index;
}

static inline unsigned frame_backend(const frame *f)
{
    return f->group & 0xff;
}

/*
 * True if f->op is ready to run, with a sequence number taken; else op->result says why not. `batch` if
 * others will run with it.
 */
bool frame_seal_begin(frame *f, sealane_seal_op *op, bool batch);
void frame_seal_finish(frame *f, sealane_seal_op *op);
bool frame_open_begin(frame *f, sealane_open_op *op, bool batch);
void frame_open_finish(frame *f, sealane_open_op *op);
/*
 * AEAD suites: what came of a record that was run, its type and payload at f->op.out; wiped unless SEALANE_OK.
 * frame_open_finish() for who has no sealane_open_op.
 */
sealane_result frame_open_end(frame *f, uint8_t *type, size_t *payload_len);

/* Runs frames that have begun, those of one group in one go, in their order. Up to FRAMES_MAX. */
#define FRAMES_MAX 64
void frames_run(frame frames[], size_t count, bool sealing);

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
