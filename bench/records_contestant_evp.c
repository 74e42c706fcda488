/* SPDX-License-Identifier: Apache-2.0 */
/*
 * OpenSSL's EVP in the call sequences of libssl's record layer, so that what is compared is what a daemon
 * pays today: tls13_enc() in ssl/record/ssl3_record_tls13.c, and tls1_enc() in ssl/record/ssl3_record.c with
 * the set-up of tls1_change_cipher_state() in ssl/t1_enc.c. Nonces and additional data are made outside of
 * the clock, as is libssl's random IV of CBC: all in OpenSSL's favour.
 */
#include "records_contestant.h"

#include <stdlib.h>
#include <string.h>
#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <openssl/params.h>
#include "records_reference.h"

struct evp {
    runner base;
    EVP_CIPHER_CTX *contexts[BATCH_MAX];
    uint8_t (*aads)[EVP_AEAD_TLS1_AAD_LEN]; /* TLS 1.2: with the length as tls1_enc() has it at that point */
};

static void evp_end(runner *r)
{
    struct evp *e = (struct evp *)r;

    for (size_t i = 0; i < BATCH_MAX; i++)
        EVP_CIPHER_CTX_free(e->contexts[i]);
    free(e->aads);
    free(e);
}

static struct evp *evp_new(const contestant *who, const workload *load, record_format format)
{
    struct evp *e = calloc(1, sizeof(*e));

    if (e == NULL)
        return NULL;
    e->base.who = who;
    e->base.ring = ring_new(load, format);
    if (e->base.ring == NULL)
        goto failed;
    e->base.count = e->base.ring->count;
    e->aads = calloc(e->base.count, sizeof(e->aads[0]));
    if (e->aads == NULL)
        goto failed;
    for (size_t i = 0; i < load->batch; i++)
        if ((e->contexts[i] = EVP_CIPHER_CTX_new()) == NULL)
            goto failed;
    return e;
failed:
    runner_end(&e->base);
    return NULL;
}

/* ---- TLS 1.3 ---- */

static bool tls13_carries(const contestant *who, const workload *load)
{
    (void)who;
    return load->subject->kind != SUBJECT_CBC_HMAC && reference_cipher(load->subject->openssl_name) != NULL;
}

/* derive_secret_key_and_iv() in ssl/tls13_enc.c */
static bool tls13_key(EVP_CIPHER_CTX *ctx, const workload *load, size_t index)
{
    traffic_key k = traffic_key_make(load->subject, index);
    int tag_len = (int)load->subject->tag_len;

    return EVP_CipherInit_ex(ctx, reference_cipher(load->subject->openssl_name), NULL, NULL, NULL,
                             load->sealing) &&
           EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_AEAD_SET_IVLEN, SEALANE_NONCE_LEN, NULL) > 0 &&
           (load->subject->kind != SUBJECT_CCM ||
            EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_AEAD_SET_TAG, tag_len, NULL) > 0) &&
           EVP_CipherInit_ex(ctx, NULL, NULL, k.key, NULL, -1);
}

static runner *tls13_begin(const contestant *who, const workload *load)
{
    struct evp *e = evp_new(who, load, FORMAT_TLS13);

    for (size_t i = 0; e != NULL && i < load->batch; i++) {
        if (tls13_key(e->contexts[i], load, i))
            continue;
        runner_end(&e->base);
        e = NULL;
    }
    return e == NULL ? NULL : &e->base;
}

static bool tls13_record(EVP_CIPHER_CTX *ctx, const ring *r, slot *s)
{
    bool ccm = r->load.subject->kind == SUBJECT_CCM, sealing = r->load.sealing;
    int size = (int)r->load.size, tag_len = (int)r->load.subject->tag_len, len, last;
    uint8_t *tag = s->data + r->load.size;

    if (EVP_CIPHER_CTX_get_iv_length(ctx) < 8)
        return false;
    if (ccm && sealing && EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_AEAD_SET_TAG, tag_len, NULL) <= 0)
        return false;
    if (EVP_CipherInit_ex(ctx, NULL, NULL, NULL, s->nonce, sealing) <= 0 ||
        (!sealing && EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_AEAD_SET_TAG, tag_len, tag) <= 0))
        return false;
    if ((ccm && EVP_CipherUpdate(ctx, NULL, &len, NULL, size) <= 0) ||
        EVP_CipherUpdate(ctx, NULL, &len, s->aad, (int)s->aad_len) <= 0 ||
        EVP_CipherUpdate(ctx, s->data, &len, s->data, size) <= 0 ||
        EVP_CipherFinal_ex(ctx, s->data + len, &last) <= 0 || len + last != size)
        return false;
    return !sealing || EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_AEAD_GET_TAG, tag_len, tag) > 0;
}

static bool tls13_run(runner *r)
{
    struct evp *e = (struct evp *)r;
    bool right = true;

    for (size_t i = 0; i < r->count; i++)
        right &= tls13_record(e->contexts[r->ring->slots[i].key], r->ring, &r->ring->slots[i]);
    return right;
}

const contestant contestant_evp_tls13 = {.name = "evp-tls13",
                                         .what = "OpenSSL's EVP, called as libssl does for TLS 1.3",
                                         .carries = tls13_carries,
                                         .begin = tls13_begin,
                                         .run = tls13_run,
                                         .end = evp_end};

/* ---- TLS 1.2 ---- */

static bool tls12_carries(const contestant *who, const workload *load)
{
    (void)who;
    return reference_cipher(load->subject->openssl_name) != NULL;
}

/* tls_provider_set_tls_params() in ssl/t1_enc.c */
static bool tls_params_set(EVP_CIPHER_CTX *ctx)
{
    int version = 0x0303;
    size_t mac_size = 0;
    OSSL_PARAM params[] = {OSSL_PARAM_construct_int(OSSL_CIPHER_PARAM_TLS_VERSION, &version),
                           OSSL_PARAM_construct_size_t(OSSL_CIPHER_PARAM_TLS_MAC_SIZE, &mac_size),
                           OSSL_PARAM_construct_end()};

    return EVP_CIPHER_CTX_set_params(ctx, params) > 0;
}

static bool tls12_key(EVP_CIPHER_CTX *ctx, const workload *load, size_t index)
{
    const EVP_CIPHER *cipher = reference_cipher(load->subject->openssl_name);
    traffic_key k = traffic_key_make(load->subject, index);
    int tag_len = (int)load->subject->tag_len;
    bool right = false;

    switch (load->subject->kind) {
    case SUBJECT_GCM:
        right = EVP_CipherInit_ex(ctx, cipher, NULL, k.key, NULL, load->sealing) &&
                EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_GCM_SET_IV_FIXED, EVP_GCM_TLS_FIXED_IV_LEN, k.iv) > 0;
        break;
    case SUBJECT_CCM:
        right = EVP_CipherInit_ex(ctx, cipher, NULL, NULL, NULL, load->sealing) &&
                EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_AEAD_SET_IVLEN, SEALANE_NONCE_LEN, NULL) > 0 &&
                EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_AEAD_SET_TAG, tag_len, NULL) > 0 &&
                EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_CCM_SET_IV_FIXED, EVP_CCM_TLS_FIXED_IV_LEN, k.iv) > 0 &&
                EVP_CipherInit_ex(ctx, NULL, NULL, k.key, NULL, -1);
        break;
    case SUBJECT_CHACHA:
        right = EVP_CipherInit_ex(ctx, cipher, NULL, k.key, k.iv, load->sealing);
        break;
    case SUBJECT_CBC_HMAC:
        right = EVP_CipherInit_ex(ctx, cipher, NULL, k.key, k.iv, load->sealing) &&
                EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_AEAD_SET_MAC_KEY, tag_len, k.mac) > 0;
        break;
    }
    return right && tls_params_set(ctx);
}

/* Of the record's fragment without header: explicit nonce or IV, message, and when opening what is behind. */
static size_t fragment_len(const workload *load)
{
    return format_explicit_len(load->subject, FORMAT_TLS12) + load->size +
           (load->sealing ? 0 : format_trailer_len(load->subject, load->size));
}

static runner *tls12_begin(const contestant *who, const workload *load)
{
    struct evp *e = evp_new(who, load, FORMAT_TLS12);
    size_t fragment = fragment_len(load);

    for (size_t i = 0; e != NULL && i < load->batch; i++) {
        if (tls12_key(e->contexts[i], load, i))
            continue;
        runner_end(&e->base);
        e = NULL;
    }
    for (size_t i = 0; e != NULL && i < e->base.count; i++) {
        memcpy(e->aads[i], e->base.ring->slots[i].aad, sizeof(e->aads[i]));
        e->aads[i][11] = (uint8_t)(fragment >> 8);
        e->aads[i][12] = (uint8_t)fragment;
    }
    return e == NULL ? NULL : &e->base;
}

static bool tls12_run(runner *r)
{
    struct evp *e = (struct evp *)r;
    size_t explicit_len = format_explicit_len(r->ring->load.subject, FORMAT_TLS12);
    int fragment = (int)fragment_len(&r->ring->load);
    bool right = true;

    for (size_t i = 0; i < r->count; i++) {
        slot *s = &r->ring->slots[i];
        EVP_CIPHER_CTX *ctx = e->contexts[s->key];
        uint8_t aad[EVP_AEAD_TLS1_AAD_LEN], *start = s->data - explicit_len;
        int pad, len;
        memcpy(aad, e->aads[i], sizeof(aad)); /* the stitched ciphers write to it */
        pad = EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_AEAD_TLS1_AAD, EVP_AEAD_TLS1_AAD_LEN, aad);
        right &= pad > 0 && EVP_CipherUpdate(ctx, start, &len, start,
                                             r->ring->load.sealing ? fragment + pad : fragment) > 0;
    }
    return right;
}

const contestant contestant_evp_tls12 = {
    .name = "evp-tls12",
    .what = "OpenSSL's EVP, called as libssl does for TLS 1.2; CBC: its stitched cipher",
    .carries = tls12_carries,
    .begin = tls12_begin,
    .run = tls12_run,
    .end = evp_end};
