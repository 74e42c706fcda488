/* SPDX-License-Identifier: Apache-2.0 */
/*
 * TLS 1.2 and 1.3 framing, nonces, additional data, inner plaintext: frame.h. What is peculiar to CBC suites
 * is in frame_cbc.c.
 */
#include "frame.h"

#include <string.h>
#include <openssl/crypto.h>
#include "aead_key.h"

#define INNER_TYPE_LEN 1 /* RFC 8446 5.2, TLSInnerPlaintext.type */
#define EXPLICIT_LEN   8 /* RFC 5288 3, nonce_explicit */
#define SALT_LEN       4 /* RFC 5288 3, salt */
#define SCAN_BLOCK     64

static void put16(uint8_t *out, size_t value)
{
    out[0] = (uint8_t)(value >> 8);
    out[1] = (uint8_t)value;
}

static void put64(uint8_t *out, uint64_t value)
{
    for (int i = 7; i >= 0; i--, value >>= 8)
        out[i] = (uint8_t)value;
}

static bool is_tls13(const sealane_key *key)
{
    return key->suite->version == SEALANE_TLS1_3;
}

static bool has_explicit_nonce(const sealane_key *key)
{
    return !is_tls13(key) && key->cipher->tls12_nonce == SEALANE_NONCE_EXPLICIT;
}

/* RFC 8446 5: change_cipher_spec is never protected in TLS 1.3. */
static bool type_allowed(const sealane_key *key, uint8_t type)
{
    return type <= SEALANE_APPLICATION_DATA &&
           type >= (is_tls13(key) ? SEALANE_ALERT : SEALANE_CHANGE_CIPHER_SPEC);
}

/* RFC 8446 5.1, RFC 5246 6.2.1: only application data may come in empty records. */
static bool length_allowed(uint8_t type, size_t payload_len)
{
    return payload_len > 0 || type == SEALANE_APPLICATION_DATA;
}

bool frame_type_allowed(const sealane_key *key, uint8_t type, size_t payload_len)
{
    return type_allowed(key, type) && length_allowed(type, payload_len);
}

size_t sealane_record_prefix_len(const sealane_key *key)
{
    if (key->cbc != NULL)
        return SEALANE_RECORD_HEADER_LEN + CBC_IV_LEN;
    return SEALANE_RECORD_HEADER_LEN + (has_explicit_nonce(key) ? EXPLICIT_LEN : 0u);
}

size_t sealane_record_seal_size(const sealane_key *key, size_t payload_len, size_t padding)
{
    size_t inner = is_tls13(key) ? INNER_TYPE_LEN + padding : 0;

    if (key->cbc != NULL)
        return sealane_record_prefix_len(key) + cbc_sealed_len(key->cbc, payload_len);
    return sealane_record_prefix_len(key) + payload_len + inner + key->cipher->tag_len;
}

void frame_header12_make(uint8_t header[FRAME_AAD_MAX], uint64_t sequence, const uint8_t *record, size_t len)
{
    put64(header, sequence);
    memcpy(header + 8, record, 3);
    put16(header + 11, len);
}

/* RFC 8446 5.2: in TLS 1.3 it is the header as it stands; RFC 5246 6.2.3.3: with sequence and plaintext
 * length. */
static void aad_make(frame *f, uint64_t sequence, const uint8_t *header)
{
    f->op.aad = f->aad;
    if (is_tls13(f->key)) {
        memcpy(f->aad, header, SEALANE_RECORD_HEADER_LEN);
        f->op.aad_len = SEALANE_RECORD_HEADER_LEN;
        return;
    }
    frame_header12_make(f->aad, sequence, header, f->op.len);
    f->op.aad_len = FRAME_AAD_MAX;
}

/* RFC 8446 5.3 and RFC 7905 2: the sequence number XORed to the IV's end; RFC 5288 3: salt and explicit part.
 */
static void nonce_make(frame *f, uint64_t sequence, const uint8_t *explicit_part)
{
    uint8_t *tail = f->nonce + SALT_LEN;

    f->op.nonce = f->nonce;
    memcpy(f->nonce, f->key->iv, SEALANE_NONCE_LEN);
    if (has_explicit_nonce(f->key)) {
        memcpy(tail, explicit_part, EXPLICIT_LEN);
        return;
    }
    for (int i = 7; i >= 0; i--, sequence >>= 8)
        tail[i] ^= (uint8_t)sequence;
}

/* ---- Sealing ---- */

/* Length of the payload, or SEALANE_PLAINTEXT_MAX + 1 if it is longer than that. */
static size_t payload_sum(const sealane_seal_op *op)
{
    size_t sum = 0;

    for (size_t i = 0; i < op->payload_count; i++) {
        if (op->payload[i].iov_len > SEALANE_PLAINTEXT_MAX - sum)
            return SEALANE_PLAINTEXT_MAX + 1;
        sum += op->payload[i].iov_len;
    }
    return sum;
}

static bool payload_there(const sealane_seal_op *op)
{
    if (op->payload == NULL)
        return op->payload_count == 0;
    for (size_t i = 0; i < op->payload_count; i++)
        if (op->payload[i].iov_base == NULL && op->payload[i].iov_len > 0)
            return false;
    return true;
}

static sealane_result seal_check(const sealane_seal_op *op, size_t payload_len)
{
    const sealane_key *key = op->key;

    if (!type_allowed(key, op->type) || !length_allowed(op->type, payload_len) ||
        (op->padding > 0 && !is_tls13(key)))
        return SEALANE_ARGUMENT;
    /* RFC 8446 5.4: the limit on the inner plaintext counts padding too. */
    if (payload_len > SEALANE_PLAINTEXT_MAX || op->padding > SEALANE_PLAINTEXT_MAX - payload_len)
        return SEALANE_OVERFLOW;
    if (op->out_size < sealane_record_seal_size(key, payload_len, op->padding))
        return SEALANE_SPACE;
    if (key->sequence >= key->cipher->seal_limit)
        return SEALANE_LIMIT;
    return SEALANE_OK;
}

void frame_payload_copy(const sealane_seal_op *op, uint8_t *to)
{
    for (size_t i = 0; i < op->payload_count; i++) {
        if (op->payload[i].iov_len > 0 && op->payload[i].iov_base != to)
            memcpy(to, op->payload[i].iov_base, op->payload[i].iov_len);
        to += op->payload[i].iov_len;
    }
}

/* Lays the plaintext out where the ciphertext will be. One piece without anything behind it stays where it
 * is. */
static void payload_gather(frame *f, const sealane_seal_op *op, size_t payload_len)
{
    uint8_t *end = f->op.out + payload_len;

    f->op.in = f->op.out;
    f->op.len = payload_len;
    if (!is_tls13(f->key) && op->payload_count == 1) {
        f->op.in = op->payload[0].iov_base;
        return;
    }
    frame_payload_copy(op, f->op.out);
    if (!is_tls13(f->key))
        return;
    *end = op->type;
    memset(end + INNER_TYPE_LEN, 0, op->padding);
    f->op.len += INNER_TYPE_LEN + op->padding;
}

bool frame_seal_begin(frame *f, sealane_seal_op *op)
{
    sealane_key *key = op->key;
    size_t payload_len, prefix;

    op->out_len = 0;
    op->result = SEALANE_ARGUMENT;
    if (key == NULL || key->direction != SEALANE_SEALING || op->out == NULL || !payload_there(op))
        return false;
    payload_len = payload_sum(op);
    op->result = seal_check(op, payload_len);
    if (op->result != SEALANE_OK)
        return false;
    f->key = key;
    if (key->cbc != NULL)
        return frame_cbc_seal_begin(f, op, payload_len);
    prefix = sealane_record_prefix_len(key);
    f->op.out = op->out + prefix;
    payload_gather(f, op, payload_len);
    f->op.tag = f->op.out + f->op.len;
    op->out[0] = is_tls13(key) ? SEALANE_APPLICATION_DATA : op->type;
    put16(op->out + 1, SEALANE_TLS1_2); /* RFC 8446 5.2: legacy_record_version */
    put16(op->out + 3, prefix - SEALANE_RECORD_HEADER_LEN + f->op.len + key->cipher->tag_len);
    if (has_explicit_nonce(key))
        put64(op->out + SEALANE_RECORD_HEADER_LEN, key->explicit_nonce++);
    aad_make(f, key->sequence, op->out);
    nonce_make(f, key->sequence, op->out + SEALANE_RECORD_HEADER_LEN);
    key->sequence++;
    f->backend = aead_op_place(key->aead, true, &f->op);
    return true;
}

void frame_seal_finish(frame *f, sealane_seal_op *op)
{
    size_t record_len;

    if (f->key->cbc != NULL) {
        frame_cbc_seal_finish(f, op);
        return;
    }
    record_len = (size_t)(f->op.tag - op->out) + f->key->cipher->tag_len;
    op->result = f->op.result;
    if (op->result == SEALANE_OK)
        op->out_len = record_len;
    else
        OPENSSL_cleanse(op->out, record_len); /* plaintext may have been gathered there */
}

/* ---- Opening ---- */

/*
 * Type, version and length of a header. RFC 8446 5.2: opaque_type is application_data, the version 0x0303.
 * RFC 5246 6.2.3: the length of a ciphertext at most 2^14 + 2048, of its plaintext at most 2^14.
 */
static sealane_result header_check(const sealane_key *key, const uint8_t *header, size_t *record_len)
{
    size_t fragment_len = (size_t)header[3] << 8 | header[4];
    size_t overhead = sealane_record_prefix_len(key) - SEALANE_RECORD_HEADER_LEN + key->cipher->tag_len;
    size_t inner_type = is_tls13(key) ? INNER_TYPE_LEN : 0;

    if (is_tls13(key) ? header[0] != SEALANE_APPLICATION_DATA : !type_allowed(key, header[0]))
        return SEALANE_RECORD;
    if (header[1] != SEALANE_TLS1_2 >> 8 || header[2] != (SEALANE_TLS1_2 & 0xff))
        return SEALANE_RECORD;
    *record_len = SEALANE_RECORD_HEADER_LEN + fragment_len;
    if (key->cbc != NULL)
        return frame_cbc_length_check(key, fragment_len);
    if (fragment_len > overhead + inner_type + SEALANE_PLAINTEXT_MAX)
        return SEALANE_OVERFLOW;
    if (fragment_len < overhead + inner_type)
        return SEALANE_RECORD;
    return SEALANE_OK;
}

sealane_result sealane_record_length(const sealane_key *key, const uint8_t *data, size_t len,
                                     size_t *record_len)
{
    if (key == NULL || (data == NULL && len > 0) || record_len == NULL)
        return SEALANE_ARGUMENT;
    if (len >= SEALANE_RECORD_HEADER_LEN)
        return header_check(key, data, record_len);
    *record_len = SEALANE_RECORD_HEADER_LEN;
    return SEALANE_OK;
}

size_t sealane_record_open_size(const sealane_key *key, size_t record_len)
{
    size_t prefix = sealane_record_prefix_len(key);
    size_t behind = key->cbc != NULL && !key->cbc->encrypt_then_mac ? 0 : key->cipher->tag_len;

    return record_len > prefix + behind ? record_len - prefix - behind : 0;
}

static sealane_result open_check(const sealane_open_op *op)
{
    size_t record_len;
    sealane_result result;

    if (op->record_len < SEALANE_RECORD_HEADER_LEN)
        return SEALANE_RECORD;
    result = header_check(op->key, op->record, &record_len);
    if (result == SEALANE_OK && record_len != op->record_len)
        result = SEALANE_RECORD;
    return result;
}

/* A forged record before this one speaks for all behind it. */
sealane_result frame_open_allowed(const sealane_open_op *op, size_t len)
{
    if (op->out_size < len || (op->out == NULL && len > 0))
        return SEALANE_SPACE;
    if (op->key->forged) {
        if (len > 0)
            OPENSSL_cleanse(op->out, len); /* as a batch would that had already opened it */
        return SEALANE_FORGED;
    }
    return op->key->sequence == SEALANE_SEQ_LIMIT ? SEALANE_LIMIT : SEALANE_OK;
}

bool frame_open_begin(frame *f, sealane_open_op *op)
{
    sealane_key *key = op->key;
    size_t prefix, len;

    op->payload_len = 0;
    op->type = 0;
    op->result = SEALANE_ARGUMENT;
    if (key == NULL || key->direction != SEALANE_OPENING || op->record == NULL)
        return false;
    op->result = open_check(op);
    if (op->result != SEALANE_OK)
        return false;
    f->key = key;
    if (key->cbc != NULL)
        return frame_cbc_open_begin(f, op);
    prefix = sealane_record_prefix_len(key);
    len = op->record_len - prefix - key->cipher->tag_len;
    op->result = frame_open_allowed(op, len);
    if (op->result != SEALANE_OK)
        return false;
    f->op.in = op->record + prefix;
    f->op.len = len;
    f->op.out = op->out;
    f->op.tag = (uint8_t *)(uintptr_t)(f->op.in + len); /* open only reads it */
    aad_make(f, key->sequence, op->record);
    nonce_make(f, key->sequence, op->record + SEALANE_RECORD_HEADER_LEN);
    key->sequence++;
    f->backend = aead_op_place(key->aead, false, &f->op);
    return true;
}

static bool block_is_zero(const uint8_t *block)
{
    uint64_t words[SCAN_BLOCK / 8], sum = 0;

    memcpy(words, block, sizeof(words));
    for (size_t i = 0; i < SCAN_BLOCK / 8; i++)
        sum |= words[i];
    return sum == 0;
}

/*
 * RFC 8446 5.4: the content type is the last byte that is not zero. Returns it, 0 if there is none, with the
 * payload's length. What the time of this tells is the length of the padding in blocks of 64 bytes, which the
 * payload's length tells anyone who sees it processed (RFC 8446 E.3); no byte within a block is branched on.
 */
static uint8_t inner_type_find(const uint8_t *inner, size_t len, size_t *payload_len)
{
    size_t start, last = 0;
    unsigned type = 0;

    while (len > SCAN_BLOCK && block_is_zero(inner + len - SCAN_BLOCK))
        len -= SCAN_BLOCK;
    start = len > SCAN_BLOCK ? len - SCAN_BLOCK : 0;
    for (size_t i = start; i < len; i++) {
        size_t present = (size_t)0 - (((size_t)inner[i] + 0xff) >> 8); /* all ones if the byte is not zero */
        last = (i & present) | (last & ~present);
        type = (inner[i] & (unsigned)present) | (type & ~(unsigned)present);
    }
    *payload_len = last;
    return (uint8_t)type;
}

static sealane_result inner_deliver(const frame *f, sealane_open_op *op)
{
    size_t payload_len = f->op.len;
    uint8_t type = op->record[0];

    if (is_tls13(f->key))
        type = inner_type_find(f->op.out, f->op.len, &payload_len);
    /* RFC 8446 5.2 and 5.4: unexpected_message for no type, a type out of place, an empty one but data. */
    if (!type_allowed(f->key, type) || !length_allowed(type, payload_len))
        return SEALANE_RECORD;
    op->type = type;
    op->payload_len = payload_len;
    return SEALANE_OK;
}

void frame_open_finish(frame *f, sealane_open_op *op)
{
    if (f->key->cbc != NULL) {
        frame_cbc_open_finish(f, op);
        return;
    }
    op->result = f->op.result;
    if (f->key->forged)
        op->result = SEALANE_FORGED; /* a record before it in the same batch */
    if (op->result == SEALANE_FORGED)
        f->key->forged = true;
    if (op->result == SEALANE_OK)
        op->result = inner_deliver(f, op);
    if (op->result != SEALANE_OK && f->op.len > 0)
        OPENSSL_cleanse(op->out, f->op.len);
}
