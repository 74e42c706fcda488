/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The engine as others use it, with the backend that dispatch chose: AEAD messages one by one
 * (sealane/aead.h), whole records one by one, and records of a batch in one call (sealane/record.h).
 */
#include "records_contestant.h"

#include <stdlib.h>
#include <string.h>
#include <sealane/aead.h>
#include <sealane/record.h>
#include "frame.h"

/* ---- Messages ---- */

struct messages {
    runner base;
    sealane_aead *keys[BATCH_MAX];
};

static bool aead_carries(const contestant *who, const workload *load)
{
    (void)who;
    return load->subject->carried && load->subject->kind != SUBJECT_CBC_HMAC;
}

static void aead_end(runner *r)
{
    struct messages *m = (struct messages *)r;

    for (size_t i = 0; i < BATCH_MAX; i++)
        sealane_aead_free(m->keys[i]);
    free(m);
}

static runner *aead_begin(const contestant *who, const workload *load)
{
    struct messages *m = calloc(1, sizeof(*m));

    if (m == NULL)
        return NULL;
    m->base.who = who;
    m->base.ring = ring_new(load, FORMAT_TLS13);
    if (m->base.ring == NULL)
        goto failed;
    m->base.count = m->base.ring->count;
    for (size_t i = 0; i < load->batch; i++) {
        traffic_key k = traffic_key_make(load->subject, i);
        if (sealane_aead_new(&m->keys[i], load->subject->cipher, k.key, load->subject->key_len) != SEALANE_OK)
            goto failed;
    }
    return &m->base;
failed:
    runner_end(&m->base);
    return NULL;
}

static bool aead_run(runner *r)
{
    struct messages *m = (struct messages *)r;
    size_t len = r->ring->load.size;
    bool right = true;

    for (size_t i = 0; i < r->count; i++) {
        slot *s = &r->ring->slots[i];
        if (r->ring->load.sealing)
            right &= sealane_aead_seal(m->keys[s->key], s->nonce, s->aad, s->aad_len, s->data, len, s->data,
                                       s->data + len) == SEALANE_OK;
        else
            right &= sealane_aead_open(m->keys[s->key], s->nonce, s->aad, s->aad_len, s->data, len,
                                       s->data + len, s->data) == SEALANE_OK;
    }
    return right;
}

const contestant contestant_aead = {.name = "aead",
                                    .what = "sealane_aead_seal() and _open(), one message per call",
                                    .carries = aead_carries,
                                    .begin = aead_begin,
                                    .run = aead_run,
                                    .end = aead_end};

/* ---- Records ---- */

struct records {
    runner base;
    sealane_key *keys[BATCH_MAX];
    sealane_seal_op *seals;
    sealane_open_op *opens;
    struct iovec *payloads;
};

/* The suite whose records are sealed: of TLS 1.3 if the cipher has one. */
static const sealane_suite *suite_of(const subject *s)
{
    size_t count;
    const sealane_suite *suites = sealane_suites(&count), *found = NULL;

    for (size_t i = 0; i < count; i++)
        if (suites[i].cipher == s->cipher && (found == NULL || suites[i].version > found->version))
            found = &suites[i];
    return found;
}

static bool record_carries(const contestant *who, const workload *load)
{
    (void)who;
    return load->subject->carried && suite_of(load->subject) != NULL;
}

static bool batch_carries(const contestant *who, const workload *load)
{
    return load->batch > 1 && record_carries(who, load);
}

static void record_end(runner *r)
{
    struct records *a = (struct records *)r;

    for (size_t i = 0; i < BATCH_MAX; i++)
        sealane_key_free(a->keys[i]);
    free(a->payloads);
    free(a->opens);
    free(a->seals);
    free(a);
}

static bool key_make(sealane_key **out, const workload *load, size_t index)
{
    const sealane_suite *suite = suite_of(load->subject);
    traffic_key k = traffic_key_make(load->subject, index);
    sealane_key_params params = {.suite = suite,
                                 .direction = load->sealing ? SEALANE_SEALING : SEALANE_OPENING,
                                 .key = k.key,
                                 .key_len = load->subject->key_len,
                                 .iv = k.iv,
                                 .iv_len = sealane_suite_iv_len(suite)};

#ifdef SEALANE_MAC_MAX /* an engine that carries CBC with HMAC */
    if (load->subject->kind == SUBJECT_CBC_HMAC) {
        params.mac_key = k.mac;
        params.mac_key_len = load->subject->tag_len;
    }
#endif
    return sealane_key_new(out, &params) == SEALANE_OK;
}

/* Payload and record lie where the message lies, so nothing is copied. Opened CBC has its padding behind. */
static void ops_fill(struct records *a)
{
    const ring *r = a->base.ring;
    size_t inner_type = r->format == FORMAT_TLS13;

    for (size_t i = 0; i < r->count; i++) {
        slot *s = &r->slots[i];
        sealane_key *key = a->keys[s->key];
        uint8_t *record = s->data - sealane_record_prefix_len(key);
        size_t payload_len = r->load.size - inner_type;
        a->payloads[i] = (struct iovec){.iov_base = s->data, .iov_len = payload_len};
        a->seals[i] = (sealane_seal_op){.key = key,
                                        .payload = &a->payloads[i],
                                        .payload_count = 1,
                                        .out = record,
                                        .out_size = sealane_record_seal_size(key, payload_len, 0),
                                        .type = SEALANE_APPLICATION_DATA};
        a->opens[i] = (sealane_open_op){.key = key,
                                        .record = record,
                                        .record_len = a->seals[i].out_size,
                                        .out = s->data,
                                        .out_size = r->load.size + ROOM_BEHIND};
    }
}

static runner *record_begin(const contestant *who, const workload *load)
{
    struct records *a = calloc(1, sizeof(*a));
    bool tls13 = suite_of(load->subject)->version == SEALANE_TLS1_3;

    if (a == NULL)
        return NULL;
    a->base.who = who;
    a->base.ring = ring_new(load, tls13 ? FORMAT_TLS13 : FORMAT_TLS12);
    if (a->base.ring == NULL)
        goto failed;
    a->base.count = a->base.ring->count;
    a->seals = calloc(a->base.count, sizeof(a->seals[0]));
    a->opens = calloc(a->base.count, sizeof(a->opens[0]));
    a->payloads = calloc(a->base.count, sizeof(a->payloads[0]));
    if (a->seals == NULL || a->opens == NULL || a->payloads == NULL)
        goto failed;
    for (size_t i = 0; i < load->batch; i++)
        if (!key_make(&a->keys[i], load, i))
            goto failed;
    ops_fill(a);
    return &a->base;
failed:
    runner_end(&a->base);
    return NULL;
}

/*
 * The same records again: the sequence number goes back, which the public interface rightly has no way to do.
 * A reader's header is written as it came from the wire.
 */
static bool record_restore(runner *r)
{
    struct records *a = (struct records *)r;

    for (size_t i = 0; i < r->ring->load.batch; i++) {
        a->keys[i]->sequence = 0;
        a->keys[i]->explicit_nonce = 0;
    }
    if (r->ring->load.sealing)
        return true;
    for (size_t i = 0; i < r->count; i++) {
        size_t fragment = a->opens[i].record_len - SEALANE_RECORD_HEADER_LEN;
        uint8_t header[] = {SEALANE_APPLICATION_DATA, 3, 3, (uint8_t)(fragment >> 8), (uint8_t)fragment};
        memcpy(r->ring->slots[i].data - sealane_record_prefix_len(a->opens[i].key), header, sizeof(header));
    }
    return true;
}

static bool results_right(const struct records *a)
{
    bool right = true;

    for (size_t i = 0; i < a->base.count; i++)
        right &= (a->base.ring->load.sealing ? a->seals[i].result : a->opens[i].result) == SEALANE_OK;
    return right;
}

static bool record_run(runner *r)
{
    struct records *a = (struct records *)r;

    for (size_t i = 0; i < r->count; i++) {
        if (r->ring->load.sealing)
            sealane_record_seal(&a->seals[i]);
        else
            sealane_record_open(&a->opens[i]);
    }
    return results_right(a);
}

static bool batch_run(runner *r)
{
    struct records *a = (struct records *)r;
    size_t batch = r->ring->load.batch;

    for (size_t i = 0; i < r->count; i += batch) {
        if (r->ring->load.sealing)
            sealane_batch_seal(a->seals + i, batch);
        else
            sealane_batch_open(a->opens + i, batch);
    }
    return results_right(a);
}

const contestant contestant_record = {.name = "record",
                                      .what = "sealane_record_seal() and _open(), one record per call",
                                      .carries = record_carries,
                                      .begin = record_begin,
                                      .restore = record_restore,
                                      .run = record_run,
                                      .end = record_end};

const contestant contestant_batch = {.name = "batch",
                                     .what = "sealane_batch_seal() and _open(), one call per batch",
                                     .carries = batch_carries,
                                     .begin = record_begin,
                                     .restore = record_restore,
                                     .run = batch_run,
                                     .end = record_end};
