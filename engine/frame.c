/* SPDX-License-Identifier: Apache-2.0 */
/*
 * TLS 1.2 and 1.3 framing, nonces, additional data, inner plaintext: frame.h. What is peculiar to CBC suites
 * is in frame_cbc.c.
 */
#include "frame.h"

#include <emmintrin.h>
#include <string.h>
#include <openssl/crypto.h>
#include "aead_key.h"

#define INNER_TYPE_LEN 1 /* RFC 8446 5.2, TLSInnerPlaintext.type */
#define SCAN_BLOCK     64

/*
 * Header, nonce and additional data are put together in registers and written in one piece each: the cipher
 * reads them back at once and in pieces of its own, and a load that spans several stores has to wait until they
 * have left the store queue.
 */
static void store_16(uint8_t to[16], uint64_t first, uint64_t last)
{
    _mm_store_si128((__m128i *)(void *)to, _mm_set_epi64x((long long)last, (long long)first));
}

/* Type, version and length (RFC 5246 6.2.1, RFC 8446 5.1) as they lie in memory. */
static uint64_t header_make(uint8_t type, size_t len)
{
    const uint64_t version = SEALANE_TLS1_2 >> 8 | (uint64_t)(SEALANE_TLS1_2 & 0xff) << 8;

    return type | version << 8 | (uint64_t)__builtin_bswap16((uint16_t)len) << 24;
}

static void header_store(uint8_t *to, uint64_t header)
{
    const uint32_t first = (uint32_t)header;

    memcpy(to, &first, sizeof(first));
    to[sizeof(first)] = (uint8_t)(header >> 32);
}

static uint64_t load_64(const uint8_t *from)
{
    uint64_t value;

    memcpy(&value, from, sizeof(value));
    return value;
}

static uint64_t header_load(const uint8_t *from)
{
    uint32_t first;

    memcpy(&first, from, sizeof(first));
    return first | (uint64_t)from[sizeof(first)] << 32;
}

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
    size_t inner = key->tls13 ? INNER_TYPE_LEN + padding : 0;

    if (key->cbc != NULL)
        return key->prefix_len + cbc_sealed_len(key->cbc, payload_len);
    return key->prefix_len + payload_len + inner + key->tag_len;
}

void frame_header12_make(uint8_t header[FRAME_AAD_MAX], uint64_t sequence, const uint8_t *record, size_t len)
{
    const uint64_t number = __builtin_bswap64(sequence);

    memcpy(header, &number, sizeof(number));
    memcpy(header + 8, record, 3);
    header[11] = (uint8_t)(len >> 8);
    header[12] = (uint8_t)len;
}

/*
 * RFC 8446 5.2: the additional data is the header as it stands; RFC 5246 6.2.3.3: sequence number, type,
 * version, and the plaintext's length.
 */
static void aad_make(frame *f, uint64_t sequence, uint64_t header)
{
    f->op.aad = f->aad;
    if (f->key->tls13) {
        store_16(f->aad, header, 0);
        f->op.aad_len = SEALANE_RECORD_HEADER_LEN;
        return;
    }
    store_16(f->aad, __builtin_bswap64(sequence), header_make((uint8_t)header, f->op.len));
    f->op.aad_len = FRAME_AAD_MAX;
}

/*
 * RFC 8446 5.3 and RFC 7905 2: the sequence number XORed to the IV's end; RFC 5288 3 and RFC 6655 3: salt and
 * explicit part.
 */
static void nonce_make(frame *f, uint64_t sequence, uint64_t explicit_part)
{
    const uint64_t tail = f->key->explicit_nonces ? explicit_part : __builtin_bswap64(sequence);

    f->op.nonce = f->nonce;
    store_16(f->nonce, f->key->iv_first ^ tail << 32, f->key->iv_last ^ tail >> 32);
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

/* Lays the plaintext out where the ciphertext will be. One piece without anything behind it stays where it
 * is. */
static void payload_gather(frame *f, const sealane_seal_op *op, size_t payload_len)
{
    uint8_t *end = f->op.out + payload_len;

    f->op.in = f->op.out;
    f->op.len = payload_len;
    if (!f->key->tls13 && op->payload_count == 1) {
        f->op.in = op->payload[0].iov_base;
        return;
    }
    frame_payload_copy(op, f->op.out);
    if (!f->key->tls13)
        return;
    *end = op->type;
    if (op->padding > 0)
        memset(end + INNER_TYPE_LEN, 0, op->padding);
    f->op.len += INNER_TYPE_LEN + op->padding;
}

bool frame_seal_begin(frame *f, sealane_seal_op *op, bool batch)
{
    sealane_key *key = op->key;
    size_t payload_len;
    uint64_t header, explicit_part = 0;

    op->out_len = 0;
    op->result = SEALANE_ARGUMENT;
    if (key == NULL || key->direction != SEALANE_SEALING || op->out == NULL || !payload_sum(op, &payload_len))
        return false;
    op->result = seal_check(op, payload_len);
    if (op->result != SEALANE_OK)
        return false;
    f->key = key;
    if (key->cbc != NULL)
        return frame_cbc_seal_begin(f, op, payload_len);
    f->op.out = op->out + key->prefix_len;
    payload_gather(f, op, payload_len);
    f->op.tag = f->op.out + f->op.len;
    /* RFC 8446 5.2: legacy_record_version too is TLS 1.2's */
    header = header_make(key->tls13 ? SEALANE_APPLICATION_DATA : op->type,
                         key->prefix_len - SEALANE_RECORD_HEADER_LEN + f->op.len + key->tag_len);
    header_store(op->out, header);
    if (key->explicit_nonces) {
        explicit_part = __builtin_bswap64(key->explicit_nonce++);
        memcpy(op->out + SEALANE_RECORD_HEADER_LEN, &explicit_part, sizeof(explicit_part));
    }
    aad_make(f, key->sequence, header);
    nonce_make(f, key->sequence, explicit_part);
    key->sequence++;
    f->backend = aead_op_place(key->aead, true, batch, &f->op);
    return true;
}

void frame_seal_finish(frame *f, sealane_seal_op *op)
{
    size_t record_len;

    if (f->key->cbc != NULL) {
        frame_cbc_seal_finish(f, op);
        return;
    }
    record_len = (size_t)(f->op.tag - op->out) + f->key->tag_len;
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
    size_t overhead = (size_t)key->prefix_len - SEALANE_RECORD_HEADER_LEN + key->tag_len;
    size_t inner_type = key->tls13 ? INNER_TYPE_LEN : 0;

    if (key->tls13 ? header[0] != SEALANE_APPLICATION_DATA : !type_allowed(key, header[0]))
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
    uint64_t explicit_part = 0;
    size_t len;

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
    len = op->record_len - key->prefix_len - key->tag_len;
    op->result = frame_open_allowed(op, len);
    if (op->result != SEALANE_OK)
        return false;
    f->op.in = op->record + key->prefix_len;
    f->op.len = len;
    f->op.out = op->out;
    f->op.tag = (uint8_t *)(uintptr_t)(f->op.in + len); /* open only reads it */
    if (key->explicit_nonces)
        explicit_part = load_64(op->record + SEALANE_RECORD_HEADER_LEN);
    aad_make(f, key->sequence, header_load(op->record));
    nonce_make(f, key->sequence, explicit_part);
    key->sequence++;
    f->backend = aead_op_place(key->aead, false, batch, &f->op);
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

static sealane_result inner_deliver(const frame *f, sealane_open_op *op)
{
    size_t payload_len = f->op.len;
    uint8_t type = op->record[0];

    if (f->key->tls13)
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
        op->result = SEALANE_FORGED; /* a record before it was, in this batch or earlier */
    if (op->result == SEALANE_FORGED)
        f->key->forged = true;
    if (op->result == SEALANE_OK)
        op->result = inner_deliver(f, op);
    if (op->result != SEALANE_OK && f->op.len > 0)
        OPENSSL_cleanse(op->out, f->op.len);
}
