/* SPDX-License-Identifier: Apache-2.0 */
/* hmac.h. */
#include "hmac.h"

#include <string.h>
#include <openssl/crypto.h>

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

void hmac_length_put(sha_id id, size_t message_len, uint8_t *out)
{
    uint64_t bits = 8 * ((uint64_t)message_len + sha_rows[id].block_len);
    size_t len = sha_rows[id].length_len;

    for (size_t i = 0; i < len; i++, bits >>= 8)
        out[len - 1 - i] = i < 8 ? (uint8_t)bits : 0;
}

void hmac_outer_block(sha_id id, const sha_state *inner, uint8_t *block)
{
    const sha_row *row = &sha_rows[id];

    memset(block, 0, row->block_len);
    sha_store(id, inner, block);
    block[row->digest_len] = 0x80;
    hmac_length_put(id, row->digest_len, block + row->block_len - row->length_len);
}

/* What is left after the whole blocks, `len` bytes, with padding and length: one block or two. */
static void message_end(sha_id id, sha_state *state, const uint8_t *rest, size_t len, size_t message_len)
{
    const sha_row *row = &sha_rows[id];
    uint8_t last[2 * SHA_BLOCK_MAX] = {0};
    size_t blocks = len + 1 + row->length_len > row->block_len ? 2 : 1;

    memcpy(last, rest, len);
    last[len] = 0x80;
    hmac_length_put(id, message_len, last + blocks * row->block_len - row->length_len);
    sha_blocks(id, state, last, blocks);
    OPENSSL_cleanse(last, sizeof(last));
}

void hmac_compute(sha_id id, const hmac_key *key, const uint8_t header[HMAC_HEADER_LEN], const uint8_t *body,
                  size_t len, uint8_t *mac)
{
    const size_t block_len = sha_rows[id].block_len, message_len = HMAC_HEADER_LEN + len;
    sha_state inner = key->inner, outer = key->outer;
    uint8_t block[SHA_BLOCK_MAX];
    size_t first = len < block_len - HMAC_HEADER_LEN ? len : block_len - HMAC_HEADER_LEN, whole;

    memcpy(block, header, HMAC_HEADER_LEN);
    if (first > 0)
        memcpy(block + HMAC_HEADER_LEN, body, first);
    if (message_len < block_len) {
        message_end(id, &inner, block, message_len, message_len);
    } else {
        whole = (len - first) / block_len;
        sha_blocks(id, &inner, block, 1);
        sha_blocks(id, &inner, body + first, whole);
        first += whole * block_len;
        message_end(id, &inner, body + first, len - first, message_len);
    }
    hmac_outer_block(id, &inner, block);
    sha_blocks(id, &outer, block, 1);
    sha_store(id, &outer, mac);
    OPENSSL_cleanse(block, sizeof(block));
    OPENSSL_cleanse(&inner, sizeof(inner));
    OPENSSL_cleanse(&outer, sizeof(outer));
}
