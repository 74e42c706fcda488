/* SPDX-License-Identifier: Apache-2.0 */
/* Records of AES-CBC suites (RFC 5246 6.2.3.2, RFC 7366) as operations of cbc.h, and back: frame.h. */
#include "frame.h"

#include <string.h>
#include <openssl/crypto.h>
#include "random_iv.h"

#define PADDING_MAX 256 /* with its length byte */

_Static_assert(RANDOM_IV_LEN == CBC_IV_LEN, "one IV");

bool frame_cbc_seal_begin(frame *f, sealane_seal_op *op, size_t payload_len)
{
    sealane_key *key = op->key;
    const size_t fragment_len = CBC_IV_LEN + cbc_sealed_len(key->cbc, payload_len);

    f->key = key;
    f->group = frame_group(key, DISPATCH_NONE);
    op->result = SEALANE_INTERNAL;
    if (!random_iv_draw(f->cbc.iv))
        return false; /* nothing is written yet */
    op->result = SEALANE_OK;
    op->out[0] = op->type;
    op->out[1] = SEALANE_TLS1_2 >> 8;
    op->out[2] = SEALANE_TLS1_2 & 0xff;
    op->out[3] = (uint8_t)(fragment_len >> 8);
    op->out[4] = (uint8_t)fragment_len;
    f->cbc.key = key->cbc;
    f->cbc.out = op->out + key->prefix_len;
    f->cbc.len = payload_len;
    frame_payload_copy(op, f->cbc.out);
    frame_header12_make(f->cbc.header, key->sequence++, op->out, 0);
    return true;
}

void frame_cbc_seal_finish(frame *f, sealane_seal_op *op)
{
    const size_t record_len = sealane_record_seal_size(f->key, f->cbc.len, 0);

    op->result = f->cbc.result;
    if (op->result == SEALANE_OK)
        op->out_len = record_len;
    else
        OPENSSL_cleanse(op->out, record_len);
}

/*
 * What is no whole number of blocks, or too short for its MAC, no sender of this connection makes: seen
 * before anything is decrypted, and by anyone. Longer than payload, MAC and padding can be is too long,
 * though 6.2.3 would let it be longer still.
 */
sealane_result frame_cbc_length_check(const sealane_key *key, size_t fragment_len)
{
    if (fragment_len > CBC_IV_LEN + SEALANE_PLAINTEXT_MAX + key->cbc->mac_len + PADDING_MAX)
        return SEALANE_OVERFLOW;
    if (fragment_len < CBC_IV_LEN || !cbc_length_possible(key->cbc, fragment_len - CBC_IV_LEN))
        return SEALANE_RECORD;
    return SEALANE_OK;
}

bool frame_cbc_open_begin(frame *f, sealane_open_op *op)
{
    sealane_key *key = op->key;
    const size_t prefix = key->prefix_len;

    f->key = key;
    f->group = frame_group(key, DISPATCH_NONE);
    op->result = frame_open_allowed(op, cbc_opened_room(key->cbc, op->record_len - prefix));
    if (op->result != SEALANE_OK)
        return false;
    f->cbc.key = key->cbc;
    f->cbc.in = op->record + prefix;
    f->cbc.len = op->record_len - prefix;
    f->cbc.out = op->out;
    f->cbc.payload_len = 0;
    frame_header12_make(f->cbc.header, key->sequence++, op->record, 0);
    return true;
}

void frame_cbc_open_finish(frame *f, sealane_open_op *op)
{
    const uint8_t type =
        f->cbc.header[8]; /* in place the record's own header is still there, but this was hashed */

    op->result = f->cbc.result;
    if (f->key->forged)
        op->result = SEALANE_FORGED; /* a record before it in the same batch */
    if (op->result == SEALANE_FORGED)
        f->key->forged = true;
    /* Authentic from here on: its length is the peer's to know. */
    if (op->result == SEALANE_OK && f->cbc.payload_len > SEALANE_PLAINTEXT_MAX)
        op->result = SEALANE_OVERFLOW;
    if (op->result == SEALANE_OK && !frame_type_allowed(f->key, type, f->cbc.payload_len))
        op->result = SEALANE_RECORD;
    if (op->result == SEALANE_OK) {
        op->type = type;
        op->payload_len = f->cbc.payload_len;
    } else {
        OPENSSL_cleanse(op->out, cbc_opened_room(f->key->cbc, f->cbc.len));
    }
}
