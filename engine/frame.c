/* SPDX-License-Identifier: Apache-2.0 */
/*
 * TLS 1.2 and 1.3 framing, nonces, additional data, inner plaintext: frame.h. What is peculiar to CBC suites
 * is in frame_cbc.c.
 */
#include "frame.h"

#include <emmintrin.h>
#include <string.h>
#include <openssl/crypto.h>
#include "frame_lay.h"

#define SCAN_BLOCK 64

/* RFC 8446 5: change_cipher_spec is never protected in TLS 1.3. */
static bool type_allowed(const sealane_key *key, uint8_t type)
{
    return type <= SEALANE_APPLICATION_DATA &&
           type >= (key->tls13 ? SEALANE_ALERT : SEALANE_CHANGE_CIPHER_SPEC);
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
    return key->prefix_len;
}

size_t sealane_record_seal_size(const sealane_key *key, size_t payload_len, size_t padding)
{
    if (key->cbc != NULL)
        return key->prefix_len + cbc_sealed_len(key->cbc, payload_len);
    return payload_len + (key->tls13 ? padding : 0) + key->around;
}

void frame_header12_make(uint8_t header[FRAME_AAD_MAX], uint64_t sequence, const uint8_t *record, size_t len)
{
    const uint64_t number = __builtin_bswap64(sequence);

    memcpy(header, &number, sizeof(number));
    memcpy(header + 8, record, 3);
    header[11] = (uint8_t)(len >> 8);
    header[12] = (uint8_t)len;
}

/* ---- Sealing ---- */

/* Adds the payload's pieces up, to at most SEALANE_PLAINTEXT_MAX + 1. False if one of them is not there. */
static bool payload_sum(const sealane_seal_op *op, size_t *sum)
{
    *sum = 0;
    if (op->payload == NULL)
        return op->payload_count == 0;
    for (size_t i = 0; i < op->payload_count; i++) {
        const struct iovec *piece = &op->payload[i];

        if (piece->iov_base == NULL && piece->iov_len > 0)
            return false;
        *sum =
            piece->iov_len > SEALANE_PLAINTEXT_MAX - *sum ? SEALANE_PLAINTEXT_MAX + 1 : *sum + piece->iov_len;
        if (*sum > SEALANE_PLAINTEXT_MAX)
            break;
    }
    return true;
}

static sealane_result seal_check(const sealane_seal_op *op, size_t payload_len)
{
    const sealane_key *key = op->key;

    if (!type_allowed(key, op->type) || !length_allowed(op->type, payload_len) ||
        (op->padding > 0 && !key->tls13))
        return SEALANE_ARGUMENT;
    /* RFC 8446 5.4: the limit on the inner plaintext counts padding too. */
    if (payload_len > SEALANE_PLAINTEXT_MAX || op->padding > SEALANE_PLAINTEXT_MAX - payload_len)
        return SEALANE_OVERFLOW;
    if (op->out_size < sealane_record_seal_size(key, payload_len, op->padding))
        return SEALANE_SPACE;
    if (key->sequence >= key->seal_limit)
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

/* Where the payload is to be sealed from: one piece stays where it is, several are laid out at `text`. */
static const uint8_t *payload_gather(const sealane_seal_op *op, uint8_t *text)
{
    if (op->payload_count == 1)
        return op->payload[0].iov_base;
    frame_payload_copy(op, text);
    return text;
}

bool frame_seal_begin(frame *f, sealane_seal_op *op, bool batch)
{
    sealane_key *key = op->key;
    size_t payload_len;

    op->out_len = 0;
    op->result = SEALANE_ARGUMENT;
    if (key == NULL || key->direction != SEALANE_SEALING || op->out == NULL || !payload_sum(op, &payload_len))
        return false;
    op->result = seal_check(op, payload_len);
    if (op->result != SEALANE_OK)
        return false;
    if (key->cbc != NULL)
        return frame_cbc_seal_begin(f, op, payload_len);
    frame_seal_lay(f, key, op->type, payload_gather(op, frame_seal_text(key, op->out)), payload_len,
                   op->padding, op->out, batch);
    return true;
}

void frame_seal_finish(frame *f, sealane_seal_op *op)
{
    size_t record_len;

    if (f->key->cbc != NULL) {
        frame_cbc_seal_finish(f, op);
        return;
    }
    record_len = frame_record_len(f, op->out);
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
    size_t least = (size_t)key->around - SEALANE_RECORD_HEADER_LEN;

    if (key->tls13 ? header[0] != SEALANE_APPLICATION_DATA : !type_allowed(key, header[0]))
        return SEALANE_RECORD;
    if (header[1] != SEALANE_TLS1_2 >> 8 || header[2] != (SEALANE_TLS1_2 & 0xff))
        return SEALANE_RECORD;
    *record_len = SEALANE_RECORD_HEADER_LEN + fragment_len;
    if (key->cbc != NULL)
        return frame_cbc_length_check(key, fragment_len);
    if (fragment_len > least + SEALANE_PLAINTEXT_MAX)
        return SEALANE_OVERFLOW;
    if (fragment_len < least)
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
    size_t around = key->prefix_len;

    if (key->cbc == NULL || key->cbc->encrypt_then_mac)
        around += key->tag_len;
    return record_len > around ? record_len - around : 0;
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

bool frame_open_begin(frame *f, sealane_open_op *op, bool batch)
{
    sealane_key *key = op->key;

    op->payload_len = 0;
    op->type = 0;
    op->result = SEALANE_ARGUMENT;
    if (key == NULL || key->direction != SEALANE_OPENING || op->record == NULL)
        return false;
    op->result = open_check(op);
    if (op->result != SEALANE_OK)
        return false;
    if (key->cbc != NULL)
        return frame_cbc_open_begin(f, op);
    op->result = frame_open_allowed(op, frame_open_len(key, op->record_len));
    if (op->result != SEALANE_OK)
        return false;
    frame_open_lay(f, key, op->record, op->record_len, op->out, batch);
    return true;
}

/* Bit i of the result: byte i of the block is not zero. */
static uint64_t bytes_not_zero(const __m128i block[SCAN_BLOCK / 16])
{
    uint64_t zero = 0;

    for (unsigned i = 0; i < SCAN_BLOCK / 16; i++)
        zero |= (uint64_t)_mm_movemask_epi8(_mm_cmpeq_epi8(block[i], _mm_setzero_si128())) << (16 * i);
    return ~zero;
}

/* block[index], with the same loads whatever the index is. */
static uint8_t byte_at(const __m128i block[SCAN_BLOCK / 16], unsigned index)
{
    __m128i places = _mm_setr_epi8(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    __m128i wanted = _mm_set1_epi8((char)index), found = _mm_setzero_si128();

    for (unsigned i = 0; i < SCAN_BLOCK / 16; i++) {
        found = _mm_or_si128(found, _mm_and_si128(block[i], _mm_cmpeq_epi8(places, wanted)));
        places = _mm_add_epi8(places, _mm_set1_epi8(16));
    }
    found = _mm_sad_epu8(found, _mm_setzero_si128()); /* sums: one byte is not zero at most */
    return (uint8_t)(_mm_cvtsi128_si32(found) | _mm_extract_epi16(found, 4));
}

/* The last SCAN_BLOCK bytes, or all there are with zeros behind. Returns how many bytes stand before them. */
static size_t tail_load(__m128i block[SCAN_BLOCK / 16], const uint8_t *inner, size_t len)
{
    uint8_t short_one[SCAN_BLOCK] = {0};
    size_t start = len > SCAN_BLOCK ? len - SCAN_BLOCK : 0;
    const uint8_t *from = inner + start;

    if (len < SCAN_BLOCK)
        from = memcpy(short_one, inner, len);
    for (unsigned i = 0; i < SCAN_BLOCK / 16; i++)
        block[i] = _mm_loadu_si128((const __m128i *)(const void *)(from + 16 * i));
    return start;
}

/*
 * RFC 8446 5.4: the content type is the last byte that is not zero. Returns it, 0 if there is none, with the
 * payload's length. What the time of this tells is the length of the padding in blocks of 64 bytes, which the
 * payload's length tells anyone who sees it processed (RFC 8446 E.3); no byte within a block is branched or
 * indexed on.
 */
static uint8_t inner_type_find(const uint8_t *inner, size_t len, size_t *payload_len)
{
    __m128i block[SCAN_BLOCK / 16];
    size_t start = tail_load(block, inner, len);
    uint64_t present = bytes_not_zero(block);

    while (present == 0 && start > 0) {
        len = start;
        start = tail_load(block, inner, len);
        present = bytes_not_zero(block);
    }
    if (present == 0)
        return 0;
    unsigned last = 63 - (unsigned)__builtin_clzll(present);
    *payload_len = start + last;
    return byte_at(block, last);
}

static sealane_result inner_deliver(const frame *f, uint8_t *type, size_t *payload_len)
{
    if (f->key->tls13) {
        *type = inner_type_find(f->op.out, f->op.len, payload_len);
    } else {
        *type = f->aad[FRAME_AAD_TYPE]; /* what was authenticated */
        *payload_len = f->op.len;
    }
    /* RFC 8446 5.2 and 5.4: unexpected_message for no type, a type out of place, an empty one but data. */
    return type_allowed(f->key, *type) && length_allowed(*type, *payload_len) ? SEALANE_OK : SEALANE_RECORD;
}

sealane_result frame_open_end(frame *f, uint8_t *type, size_t *payload_len)
{
    sealane_result result = f->op.result;

    if (f->key->forged)
        result = SEALANE_FORGED; /* a record before it was, in this batch or earlier */
    if (result == SEALANE_FORGED)
        f->key->forged = true;
    if (result == SEALANE_OK)
        result = inner_deliver(f, type, payload_len);
    if (result != SEALANE_OK && f->op.len > 0)
        OPENSSL_cleanse(f->op.out, f->op.len);
    return result;
}

void frame_open_finish(frame *f, sealane_open_op *op)
{
    uint8_t type = 0;
    size_t payload_len = 0;

    if (f->key->cbc != NULL) {
        frame_cbc_open_finish(f, op);
        return;
    }
    op->result = frame_open_end(f, &type, &payload_len);
    if (op->result != SEALANE_OK)
        return;
    op->type = type;
    op->payload_len = payload_len;
}
