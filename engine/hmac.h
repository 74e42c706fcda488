/* SPDX-License-Identifier: Apache-2.0 */
/* HMAC (RFC 2104) as TLS records use it: a key prepared once, messages of a 13-byte header and a body. */
#ifndef ENGINE_HMAC_H
#define ENGINE_HMAC_H

#include "sha.h"

/* RFC 5246 6.2.3.1, RFC 7366 3: sequence number, type, version, length. */
#define HMAC_HEADER_LEN 13

/* The states behind the key's inner and outer block. */
typedef struct hmac_key {
    sha_state inner;
    sha_state outer;
} hmac_key;

/* `len` is at most a block: RFC 5246 keys have the digest's length. */
void hmac_key_init(sha_id id, hmac_key *key, const uint8_t *secret, size_t len);

/* One message: `len` bytes of `body` behind the header. The MAC, digest_len bytes, must not overlap it. */
typedef struct hmac_op {
    const hmac_key *key;
    const uint8_t *header; /* HMAC_HEADER_LEN */
    const uint8_t *body;   /* not NULL */
    size_t len;
    uint8_t *mac;
} hmac_op;

/* The time depends on the lengths alone. */
void hmac_compute_many(sha_id id, const hmac_op ops[], size_t count);

/* ---- For who takes a message apart itself (cbc_check.c) ---- */

/*
 * The inner digest laid out as the one block that the outer hash has still to see; `block` holds block_len
 * bytes.
 */
void hmac_outer_block(sha_id id, const sha_state *inner, uint8_t *block);
/*
 * The last eight bytes of a padded message, as this machine would load them: its length in bits, of which the
 * key's block is part. The time does not depend on it.
 */
uint64_t hmac_length_bits(sha_id id, size_t message_len);

#endif
