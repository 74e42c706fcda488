/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The compression functions of SHA-1, SHA-256 and SHA-384 (FIPS 180-4) on states that the caller holds. This
 * is what the constant-time check of a MAC needs and no digest interface gives: going on from the middle of a
 * message, and looking at the state after each block. Padding, lengths and HMAC are the business of hmac.c
 * and cbc_check.c.
 *
 * No function branches or indexes on state or data. A state that began with a key is a secret: the caller
 * wipes it.
 */
#ifndef ENGINE_SHA_H
#define ENGINE_SHA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef enum sha_id {
    SHA_ID_1,
    SHA_ID_256,
    SHA_ID_384, /* SHA-512 with another start, cut to 48 bytes */
    SHA_IDS
} sha_id;

#define SHA_BLOCK_MAX  128
#define SHA_DIGEST_MAX 48

typedef struct sha_row {
    uint8_t block_len;
    uint8_t digest_len;
    uint8_t length_len; /* bytes of the bit count at the message's end: FIPS 180-4 5.1 */
} sha_row;

extern const sha_row sha_rows[SHA_IDS];

/* The working variables in the order of FIPS 180-4, as words of this machine. */
typedef union sha_state {
    uint32_t w32[8]; /* SHA-1: five of them */
    uint64_t w64[8];
} sha_state;

void sha_start(sha_id id, sha_state *state);
void sha_blocks(sha_id id, sha_state *state, const uint8_t *data, size_t blocks);
/* The state as the digest's bytes: digest_len of them. */
void sha_store(sha_id id, const sha_state *state, uint8_t *out);

/* Blocks of one message among many; `data` and `blocks` are consumed. */
typedef struct sha_run {
    sha_state *state;
    const uint8_t *data;
    size_t blocks;
} sha_run;

/* Has this CPU instructions for it, and with them two messages at the cost of little more than one? */
bool sha_is_quick(sha_id id);

/* The same as sha_blocks() for each, side by side where this CPU gains by it. */
void sha_blocks_many(sha_id id, sha_run runs[], size_t count);

#endif
