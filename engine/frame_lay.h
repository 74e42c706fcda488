/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How a record of an AEAD suite is laid out for its cipher: header, nonce, additional data. Inlined, because a short
 * record spends as much time here as in its cipher. Frames of records as sealane/record.h has them are laid out by
 * frame.c, those of sessions by session_seal.c and session_open.c. Nothing is checked here: whether the key may be
 * used once more, whether lengths are right and there is room, is known by who calls.
 */
#ifndef ENGINE_FRAME_LAY_H
#define ENGINE_FRAME_LAY_H

#include <emmintrin.h>
#include <stdint.h>
#include <string.h>
#include "frame.h"

#define FRAME_INNER_TYPE_LEN 1 /* RFC 8446 5.2, TLSInnerPlaintext.type */

static inline uint64_t lay_load_64(const uint8_t *from)
{
    uint64_t value;

    memcpy(&value, from, sizeof(value));
    return value;
}

/* Type, version and length (RFC 5246 6.2.1, RFC 8446 5.1) as they lie in memory. */
static inline uint64_t lay_header(uint8_t type, size_t len)
{
    const uint64_t version = SEALANE_TLS1_2 >> 8 | (uint64_t)(SEALANE_TLS1_2 & 0xff) << 8;

    return type | version << 8 | (uint64_t)__builtin_bswap16((uint16_t)len) << 24;
}

static inline void lay_header_store(uint8_t *to, uint64_t header)
{
    const uint32_t first = (uint32_t)header;

    memcpy(to, &first, sizeof(first));
    to[sizeof(first)] = (uint8_t)(header >> 32);
}

static inline uint64_t lay_header_load(const uint8_t *from)
{
    uint32_t first;

    memcpy(&first, from, sizeof(first));
    return first | (uint64_t)from[sizeof(first)] << 32;
}

/*
 * RFC 8446 5.2: the additional data is the header as it stands; RFC 5246 6.2.3.3: sequence number, type,
 * version, and the plaintext's length.
 */
static inline __m128i lay_aad(const sealane_key *key, uint64_t header, size_t len)
{
    if (key->tls13)
        return _mm_set_epi64x(0, (long long)header);
    return _mm_set_epi64x((long long)lay_header((uint8_t)header, len),
                          (long long)__builtin_bswap64(key->sequence));
}

/*
 * RFC 8446 5.3 and RFC 7905 2: the sequence number XORed to the IV's end; RFC 5288 3 and RFC 6655 3: salt and
 * explicit part.
 */
static inline __m128i lay_nonce(const sealane_key *key, uint64_t explicit_part)
{
    const uint64_t tail = key->explicit_nonces ? explicit_part : __builtin_bswap64(key->sequence);

    return _mm_set_epi64x((long long)(key->iv_last ^ tail >> 32), (long long)(key->iv_first ^ tail << 32));
}

/*
 * The frame of a message at `in`. Takes the key's sequence number.
 *
 * Nonce and additional data are put together in registers and written in one piece each: the cipher reads them back
 * at once and in pieces of its own, and a load that spans several stores has to wait until they have left the store
 * queue.
 */
static inline void lay_frame(frame *f, sealane_key *key, unsigned index, const uint8_t *in, size_t len,
                             uint8_t *out, uint64_t header, uint64_t explicit_part)
{
    const __m128i nonce = lay_nonce(key, explicit_part), aad = lay_aad(key, header, len);

    f->op.aad_len = key->tls13 ? SEALANE_RECORD_HEADER_LEN : FRAME_AAD_MAX;
    f->op.state = key->aead.states[index];
    f->group = frame_group(key, index);
    key->sequence++;
    f->key = key;
    f->op.nonce = f->nonce;
    f->op.aad = f->aad;
    f->op.in = in;
    f->op.len = len;
    f->op.out = out;
    _mm_store_si128((__m128i *)(void *)f->nonce, nonce);
    _mm_store_si128((__m128i *)(void *)f->aad, aad);
}

/* RFC 8446 5.2: what is sealed, laid out where the ciphertext will be. */
static inline void lay_inner(uint8_t *text, const uint8_t *payload, size_t len, uint8_t type, size_t padding)
{
    if (len > 0 && payload != text)
        memcpy(text, payload, len);
    text[len] = type;
    if (padding > 0)
        memset(text + len + FRAME_INNER_TYPE_LEN, 0, padding);
}

/* Where the ciphertext of a record at `out` begins. */
static inline uint8_t *frame_seal_text(const sealane_key *key, uint8_t *out)
{
    return out + key->prefix_len;
}

/*
 * Takes a sequence number for a record at `out`. Its payload is at frame_seal_text(), or anywhere else without
 * overlap. `padding` is TLS 1.3's. `batch` if others will run with it.
 */
static inline void frame_seal_lay(frame *f, sealane_key *key, uint8_t type, const uint8_t *payload,
                                  size_t payload_len, size_t padding, uint8_t *out, bool batch)
{
    const bool tls13 = key->tls13;
    const size_t len = tls13 ? payload_len + FRAME_INNER_TYPE_LEN + padding : payload_len;
    const unsigned index = aead_place(&key->aead, key->cipher_id, true, batch, len);
    /* The type is put behind the payload by the backend if it can: then there is nothing to be laid out. */
    const bool append = tls13 && padding == 0 && dispatch_backend(index)->appends;
    uint8_t *text = frame_seal_text(key, out);
    /* RFC 8446 5.2: the type outside is always the same, and legacy_record_version too is TLS 1.2's */
    const uint64_t header = lay_header(tls13 ? SEALANE_APPLICATION_DATA : type,
                                       len + key->prefix_len + key->tag_len - SEALANE_RECORD_HEADER_LEN);
    uint64_t explicit_part = 0;

    if (key->explicit_nonces)
        explicit_part = __builtin_bswap64(key->explicit_nonce++);
    lay_frame(f, key, index, tls13 && !append ? text : payload, len, text, header, explicit_part);
    f->op.tag = text + len;
    f->op.append = append;
    f->op.appended = type;
    if (key->explicit_nonces)
        memcpy(out + SEALANE_RECORD_HEADER_LEN, &explicit_part, sizeof(explicit_part));
    lay_header_store(out, header);
    if (tls13 && !append)
        lay_inner(text, payload, payload_len, type, padding);
}

/* Bytes of the frame's record, which begins at `record`. */
static inline size_t frame_record_len(const frame *f, const uint8_t *record)
{
    return (size_t)(f->op.tag - record) + f->key->tag_len;
}

/*
 * True for the header of application data in an AEAD suite (of TLS 1.3, all that is protected), with its record's
 * length; else sealane_record_length() knows what it is.
 */
static inline bool frame_is_data(const sealane_key *key, const uint8_t *header, size_t *record_len)
{
    const uint64_t bytes = lay_header_load(header), all_but_length = 0xffffff;
    const size_t len = __builtin_bswap16((uint16_t)(bytes >> 24)) + (size_t)SEALANE_RECORD_HEADER_LEN;

    *record_len = len;
    return (bytes & all_but_length) == lay_header(SEALANE_APPLICATION_DATA, 0) &&
           len - key->around <= SEALANE_PLAINTEXT_MAX;
}

/* Bytes that opening a record of that length writes. */
static inline size_t frame_open_len(const sealane_key *key, size_t record_len)
{
    return record_len - key->prefix_len - key->tag_len;
}

/* Takes a sequence number for a record of that length, whose header is right. `batch` if others will run with it. */
static inline void frame_open_lay(frame *f, sealane_key *key, const uint8_t *record, size_t record_len,
                                  uint8_t *out, bool batch)
{
    const size_t len = frame_open_len(key, record_len);
    const unsigned index = aead_place(&key->aead, key->cipher_id, false, batch, len);
    const uint8_t *in = record + key->prefix_len;
    uint64_t explicit_part = 0;

    if (key->explicit_nonces)
        explicit_part = lay_load_64(record + SEALANE_RECORD_HEADER_LEN);
    lay_frame(f, key, index, in, len, out, lay_header_load(record), explicit_part);
    f->op.tag = (uint8_t *)(uintptr_t)(in + len); /* open only reads it */
}

#endif
