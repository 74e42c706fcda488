/* SPDX-License-Identifier: Apache-2.0 */
/* HMAC for TLS records, many at once: hmac.h. */
#include "hmac.h"

#include <string.h>
#include <openssl/crypto.h>
#include "wipe.h"

static void key_half(sha_id id, sha_state *state, const uint8_t *secret, size_t len, uint8_t pad)
{
    uint8_t block[SHA_BLOCK_MAX];

    memset(block, pad, sizeof(block));
    for (size_t i = 0; i < len; i++)
        block[i] ^= secret[i];
    sha_start(id, state);
    sha_blocks(id, state, block, 1);
    OPENSSL_cleanse(block, sizeof(block));
}

void hmac_key_init(sha_id id, hmac_key *key, const uint8_t *secret, size_t len)
{
    key_half(id, &key->inner, secret, len, 0x36);
    key_half(id, &key->outer, secret, len, 0x5c);
}

uint64_t hmac_length_bits(sha_id id, size_t message_len)
{
    return __builtin_bswap64(8 * ((uint64_t)message_len + sha_rows[id].block_len));
}

/* Behind zeros: longer lengths than of eight bytes there are none. */
static void length_put(sha_id id, size_t message_len, uint8_t *end)
{
    const uint64_t bits = hmac_length_bits(id, message_len);

    memcpy(end - sizeof(bits), &bits, sizeof(bits));
}

void hmac_outer_block(sha_id id, const sha_state *inner, uint8_t *block)
{
    const sha_row *row = &sha_rows[id];

    memset(block, 0, row->block_len);
    sha_store(id, inner, block);
    block[row->digest_len] = 0x80;
    length_put(id, row->digest_len, block + row->block_len);
}

/* ---- Many messages: the same part of each, side by side ---- */

#define LANES 16 /* on the stack */

struct lane {
    const hmac_op *op;
    sha_state state;
    size_t first_blocks; /* 1 if header and body fill one */
    size_t whole_blocks; /* of the body, behind that */
    size_t last_blocks;  /* what is left, with padding and length: 1 or 2 */
    uint8_t first[SHA_BLOCK_MAX];
    uint8_t last[2 * SHA_BLOCK_MAX];
};

static const uint8_t *whole_start(const sha_row *row, const struct lane *lane)
{
    return lane->op->body + (row->block_len - HMAC_HEADER_LEN);
}

static void lane_begin(sha_id id, struct lane *lane, const hmac_op *op)
{
    const sha_row *row = &sha_rows[id];
    const size_t message_len = HMAC_HEADER_LEN + op->len, rest = message_len % row->block_len;

    lane->op = op;
    lane->state = op->key->inner;
    lane->first_blocks = message_len >= row->block_len;
    lane->whole_blocks = message_len / row->block_len - lane->first_blocks;
    lane->last_blocks = rest + 1 + row->length_len > row->block_len ? 2 : 1;
    memset(lane->last, 0, lane->last_blocks * row->block_len);
    if (lane->first_blocks == 1) {
        memcpy(lane->first, op->header, HMAC_HEADER_LEN);
        memcpy(lane->first + HMAC_HEADER_LEN, op->body, row->block_len - HMAC_HEADER_LEN);
        memcpy(lane->last, op->body + op->len - rest, rest);
    } else {
        memcpy(lane->last, op->header, HMAC_HEADER_LEN);
        if (op->len > 0)
            memcpy(lane->last + HMAC_HEADER_LEN, op->body, op->len);
    }
    lane->last[rest] = 0x80;
    length_put(id, message_len, lane->last + lane->last_blocks * row->block_len);
}

static void lane_wipe(sha_id id, struct lane *lane)
{
    wipe(&lane->state, sizeof(lane->state));
    wipe(lane->first, lane->first_blocks * sha_rows[id].block_len);
    wipe(lane->last, lane->last_blocks * sha_rows[id].block_len);
}

static void lanes_run(sha_id id, struct lane lanes[], size_t count)
{
    sha_run runs[LANES];

    for (size_t i = 0; i < count; i++)
        runs[i] = (sha_run){&lanes[i].state, lanes[i].first, lanes[i].first_blocks};
    sha_blocks_many(id, runs, count);
    for (size_t i = 0; i < count; i++)
        runs[i] = (sha_run){&lanes[i].state, whole_start(&sha_rows[id], &lanes[i]), lanes[i].whole_blocks};
    sha_blocks_many(id, runs, count);
    for (size_t i = 0; i < count; i++)
        runs[i] = (sha_run){&lanes[i].state, lanes[i].last, lanes[i].last_blocks};
    sha_blocks_many(id, runs, count);
    for (size_t i = 0; i < count; i++) {
        hmac_outer_block(id, &lanes[i].state, lanes[i].last);
        lanes[i].state = lanes[i].op->key->outer;
        runs[i] = (sha_run){&lanes[i].state, lanes[i].last, 1};
    }
    sha_blocks_many(id, runs, count);
}

void hmac_compute_many(sha_id id, const hmac_op ops[], size_t count)
{
    struct lane lanes[LANES];

    while (count > 0) {
        size_t n = count < LANES ? count : LANES;
        for (size_t i = 0; i < n; i++)
            lane_begin(id, &lanes[i], &ops[i]);
        lanes_run(id, lanes, n);
        for (size_t i = 0; i < n; i++)
            sha_store(id, &lanes[i].state, ops[i].mac);
        for (size_t i = 0; i < n; i++)
            lane_wipe(id, &lanes[i]);
        ops += n;
        count -= n;
    }
}
