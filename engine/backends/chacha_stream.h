/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Key stream of ChaCha20 (RFC 8439 2.3, 2.4) on AVX2, for several short messages side by side, or for a long
 * one with its Poly1305 going on in the shadow of the rounds. Used by chacha_avx2.c only.
 */
#ifndef ENGINE_CHACHA_STREAM_H
#define ENGINE_CHACHA_STREAM_H

#include <immintrin.h>
#include <stddef.h>
#include <stdint.h>
#include "chacha_poly1305.h"

#define STREAM_BLOCK     64
#define STREAM_PAIR      128 /* two consecutive blocks of one key: what the routines work in */
#define STREAM_PAIRS_MAX 4

/* What a pair is made from: its key, its nonce, and the number of its first block. */
typedef struct stream_source {
    const uint8_t *key;   /* 32 bytes */
    const uint8_t *nonce; /* 12 bytes */
    uint32_t counter;
} stream_source;

/* Makes 1 to STREAM_PAIRS_MAX pairs, each from its source, one after the other to `out`. */
void stream_make(const stream_source sources[], size_t pairs, uint8_t *out);

/*
 * A long message goes in turns of TURN_LEN bytes. A turn encrypts (or decrypts) and hashes as many bytes, not
 * necessarily the same: Poly1305's multiplications run on other ports of the CPU than the rounds do, so a
 * block of it between two rounds costs little more than its place in the instruction stream.
 */
#define TURN_PAIRS  3 /* four leave no registers */
#define TURN_LEN    (TURN_PAIRS * STREAM_PAIR)
#define TURN_BLOCKS (TURN_LEN / POLY1305_BLOCK)

typedef struct block_pair {
    __m256i a, b, c, d;
} block_pair;

/* Where the next turn starts. Holds the key: for the caller to wipe. */
typedef struct turn {
    block_pair start[TURN_PAIRS];
} turn;

/* From block 0 on. */
void turn_begin(turn *t, const uint8_t *key, const uint8_t *nonce);
/* TURN_LEN bytes from `in` to `out`, and as many of `data` hashed, before any is written. */
void turn_full(turn *t, const uint8_t *in, uint8_t *out, poly1305 *poly, const uint8_t *data);
/* For a turn that is not whole: its key stream to `stream`, and `blocks` of `data` hashed, TURN_BLOCKS at
 * most. */
void turn_part(turn *t, uint8_t stream[TURN_LEN], poly1305 *poly, const uint8_t *data, size_t blocks);

#endif
