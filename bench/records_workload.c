/* SPDX-License-Identifier: Apache-2.0 */
#include "records_workload.h"

#include <stdlib.h>
#include <string.h>
#include "records_reference.h"

#define CACHE_LINE 64
/*
 * A ring is short enough to stay in the first-level cache for short records and in the second-level cache for
 * long ones, where records are in a server that has just read them, and long enough to be timed.
 */
#define RING_BYTES   (128u * 1024)
#define RING_RECORDS 64u

#define APPLICATION_DATA 23
#define TLS12            0x0303

/* Marsaglia, "Xorshift RNGs" (2003): xorshift64. Data that looks random and is the same in every run. */
static void fill(uint64_t seed, uint8_t *out, size_t len)
{
    uint64_t x = seed * 0x9e3779b97f4a7c15u + 1;

    for (size_t i = 0; i < len; i++) {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        out[i] = (uint8_t)(x >> 24);
    }
}

traffic_key traffic_key_make(const subject *s, size_t index)
{
    traffic_key k;

    fill(1000 * (index + 1) + (uint64_t)s->kind, (uint8_t *)&k, sizeof(k));
    return k;
}

size_t format_explicit_len(const subject *s, record_format format)
{
    if (s->kind == SUBJECT_CBC_HMAC)
        return 16; /* RFC 5246 6.2.3.2 */
    if (format == FORMAT_TLS13 || s->kind == SUBJECT_CHACHA)
        return 0;
    return 8; /* RFC 5288 3, RFC 6655 3 */
}

size_t format_trailer_len(const subject *s, size_t size)
{
    size_t end = size + s->tag_len;

    return s->kind == SUBJECT_CBC_HMAC ? s->tag_len + 16 - end % 16 : s->tag_len;
}

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

/* RFC 8446 5.2: the header as it stands; RFC 5246 6.2.3.3: with sequence number and plaintext length. */
static void slot_aad(const ring *r, slot *s)
{
    uint8_t *header = s->aad;

    if (r->format == FORMAT_TLS12) {
        put64(s->aad, s->sequence);
        header += 8;
    }
    header[0] = APPLICATION_DATA;
    put16(header + 1, TLS12);
    put16(header + 3, r->load.size + (r->format == FORMAT_TLS13 ? r->load.subject->tag_len : 0));
    s->aad_len = (size_t)(header - s->aad) + 5;
}

/* RFC 8446 5.3, RFC 7905 2; RFC 5288 3 with the sequence number for its explicit part. */
static void slot_nonce(const ring *r, slot *s)
{
    traffic_key k = traffic_key_make(r->load.subject, s->key);
    uint8_t sequence[8];

    put64(sequence, s->sequence);
    memcpy(s->nonce, k.iv, sizeof(s->nonce));
    for (size_t i = 0; i < sizeof(sequence); i++)
        s->nonce[4 + i] =
            (uint8_t)(format_explicit_len(r->load.subject, r->format) == 8 ? sequence[i]
                                                                           : s->nonce[4 + i] ^ sequence[i]);
}

static void slots_fill(ring *r)
{
    for (size_t i = 0; i < r->count; i++) {
        slot *s = &r->slots[i];
        uint8_t *plain = r->plain + i * r->stride + ROOM_BEFORE;
        s->data = r->memory + i * r->stride + ROOM_BEFORE;
        s->key = i % r->load.batch;
        s->sequence = i / r->load.batch;
        slot_aad(r, s);
        slot_nonce(r, s);
        fill(i + 77, plain, r->load.size);
        if (r->format == FORMAT_TLS13)
            plain[r->load.size - 1] = APPLICATION_DATA; /* TLSInnerPlaintext.type */
    }
}

static size_t ring_count(size_t stride, size_t batch)
{
    size_t count = RING_BYTES / stride;

    if (count > RING_RECORDS)
        count = RING_RECORDS;
    return count < batch ? batch : count - count % batch;
}

ring *ring_new(const workload *load, record_format format)
{
    ring *r = calloc(1, sizeof(*r));
    size_t bytes;

    if (r == NULL)
        return NULL;
    r->load = *load;
    r->format = format;
    r->stride = (ROOM_BEFORE + load->size + ROOM_BEHIND + CACHE_LINE - 1) / CACHE_LINE * CACHE_LINE;
    r->count = ring_count(r->stride, load->batch);
    bytes = r->count * r->stride;
    r->memory = aligned_alloc(CACHE_LINE, bytes);
    r->plain = calloc(1, bytes);
    r->sealed = malloc(bytes);
    r->slots = calloc(r->count, sizeof(r->slots[0]));
    if (r->memory == NULL || r->plain == NULL || r->sealed == NULL || r->slots == NULL)
        goto failed;
    slots_fill(r);
    memcpy(r->sealed, r->plain, bytes);
    for (size_t i = 0; i < r->count; i++)
        if (!reference_seal(r, &r->slots[i], r->sealed + i * r->stride + ROOM_BEFORE))
            goto failed;
    ring_restore(r);
    return r;
failed:
    ring_free(r);
    return NULL;
}

void ring_free(ring *r)
{
    if (r == NULL)
        return;
    free(r->slots);
    free(r->sealed);
    free(r->plain);
    free(r->memory);
    free(r);
}

void ring_restore(ring *r)
{
    memcpy(r->memory, r->load.sealing ? r->plain : r->sealed, r->count * r->stride);
}

bool ring_verify(const ring *r)
{
    uint8_t *copy = malloc(r->stride);
    bool right = copy != NULL;

    for (size_t i = 0; right && i < r->count; i++) {
        memcpy(copy, r->slots[i].data - ROOM_BEFORE, r->stride);
        if (r->load.sealing)
            right = reference_open(r, &r->slots[i], copy + ROOM_BEFORE);
        right =
            right && memcmp(copy + ROOM_BEFORE, r->plain + i * r->stride + ROOM_BEFORE, r->load.size) == 0;
    }
    free(copy);
    return right;
}
