/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A backend called through its table, without dispatch, framing and counters: seal and open for single
 * records, seal_many and open_many for batches. What calibration compares.
 */
#include "records_contestant.h"

#include <stdio.h>
#include <stdlib.h>
#include <openssl/crypto.h>
#include <sealane/engine.h>

#define NAME_MAX_LEN 40

struct direct {
    runner base;
    const backend *backend;
    size_t batch, states_len;
    sealane_cipher_id cipher;
    bool sealing;
    void *states[BATCH_MAX];
    backend_op *ops;
    backend_op **list;
};

/* CBC with HMAC is framed by the record layer; a bare message of it is nothing to compare. */
static bool direct_carries(const contestant *who, const workload *load)
{
    return load->subject->carried && load->subject->kind != SUBJECT_CBC_HMAC &&
           who->backend->state_size(load->subject->cipher) != 0;
}

static void direct_end(runner *r)
{
    struct direct *d = (struct direct *)r;

    for (size_t i = 0; i < d->batch; i++) {
        if (d->states[i] == NULL)
            continue;
        d->backend->key_clear(d->states[i]);
        OPENSSL_cleanse(d->states[i], d->states_len);
        free(d->states[i]);
    }
    free(d->list);
    free(d->ops);
    free(d);
}

static void *state_new(const struct direct *d, const subject *s, size_t index)
{
    traffic_key k = traffic_key_make(s, index);
    void *state = aligned_alloc(BACKEND_STATE_ALIGN, d->states_len);

    if (state == NULL)
        return NULL;
    if (d->backend->key_init(state, d->cipher, k.key) == SEALANE_OK)
        return state;
    free(state);
    return NULL;
}

static void ops_fill(struct direct *d)
{
    for (size_t i = 0; i < d->base.count; i++) {
        slot *s = &d->base.ring->slots[i];
        d->ops[i] = (backend_op){.state = d->states[s->key],
                                 .nonce = s->nonce,
                                 .aad = s->aad,
                                 .aad_len = s->aad_len,
                                 .in = s->data,
                                 .len = d->base.ring->load.size,
                                 .out = s->data,
                                 .tag = s->data + d->base.ring->load.size};
        d->list[i] = &d->ops[i];
    }
}

static runner *direct_begin(const contestant *who, const workload *load)
{
    struct direct *d = calloc(1, sizeof(*d));

    if (d == NULL)
        return NULL;
    d->base.who = who;
    d->backend = who->backend;
    d->cipher = load->subject->cipher;
    d->sealing = load->sealing;
    d->states_len = (who->backend->state_size(d->cipher) + BACKEND_STATE_ALIGN - 1) / BACKEND_STATE_ALIGN *
                    BACKEND_STATE_ALIGN;
    d->base.ring = ring_new(load, FORMAT_TLS13);
    if (d->base.ring == NULL)
        goto failed;
    d->base.count = d->base.ring->count;
    d->ops = calloc(d->base.count, sizeof(d->ops[0]));
    d->list = calloc(d->base.count, sizeof(d->list[0]));
    if (d->ops == NULL || d->list == NULL)
        goto failed;
    for (; d->batch < load->batch; d->batch++)
        if ((d->states[d->batch] = state_new(d, load->subject, d->batch)) == NULL)
            goto failed;
    ops_fill(d);
    return &d->base;
failed:
    runner_end(&d->base);
    return NULL;
}

static bool direct_run(runner *r)
{
    struct direct *d = (struct direct *)r;
    bool right = true;

    if (d->batch == 1) {
        sealane_result (*one)(backend_op *) = d->sealing ? d->backend->seal : d->backend->open;
        for (size_t i = 0; i < r->count; i++)
            right &= one(&d->ops[i]) == SEALANE_OK;
        return right;
    }
    for (size_t i = 0; i < r->count; i += d->batch)
        (d->sealing ? d->backend->seal_many : d->backend->open_many)(d->cipher, d->list + i, d->batch);
    for (size_t i = 0; i < r->count; i++)
        right &= d->ops[i].result == SEALANE_OK;
    return right;
}

void contestant_of_backend(contestant *out, const backend *be)
{
    static char names[SEALANE_BACKENDS_MAX][NAME_MAX_LEN];
    static size_t used;

    snprintf(names[used], NAME_MAX_LEN, "backend-%s", be->name);
    *out = (contestant){.name = names[used++],
                        .what = "that backend of the engine, called directly",
                        .backend = be,
                        .carries = direct_carries,
                        .begin = direct_begin,
                        .run = direct_run,
                        .end = direct_end};
}
