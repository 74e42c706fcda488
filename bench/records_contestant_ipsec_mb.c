/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Intel IPsec-MB as its own documentation has it used: the direct calls for AES-GCM, jobs for everything
 * else, all jobs of a batch submitted before the first is waited for, so that its lanes fill. Bare: no wiping
 * of contexts, which a user with secrets has to add.
 *
 * Opening CBC with HMAC, the library cannot do what TLS needs, because it must be told the length to hash
 * before the padding is decrypted. Here it is told the right one: faster than any real opening can be.
 */
#include "records_contestant.h"

#include <stdlib.h>
#include <string.h>
#include <intel-ipsec-mb.h>
#include <openssl/crypto.h>

#define HASH_BLOCK_MAX IMB_SHA_512_BLOCK_SIZE
#define CBC_BLOCK      16
/* RFC 5246 6.2.3.1: sequence number and header go before the payload, over the IV, which is read by then. */
#define MAC_HEADER_LEN 13

struct lane_key {
    _Alignas(64) struct gcm_key_data gcm;
    _Alignas(16) uint8_t encrypt[16 * 15];
    _Alignas(16) uint8_t decrypt[16 * 15];
    _Alignas(16) uint8_t inner[64];
    _Alignas(16) uint8_t outer[64];
    uint8_t raw[SUBJECT_KEY_MAX];
};

struct lanes {
    runner base;
    IMB_MGR *manager;
    struct lane_key *keys;
    uint8_t (*ivs)[CBC_BLOCK];
    uint8_t (*tags)[SUBJECT_MAC_MAX];
};

static bool lanes_carries(const contestant *who, const workload *load)
{
    (void)who;
    (void)load;
    return true;
}

static void lanes_end(runner *r)
{
    struct lanes *l = (struct lanes *)r;

    free(l->tags);
    free(l->ivs);
    free(l->keys);
    if (l->manager != NULL)
        free_mb_mgr(l->manager);
    free(l);
}

/* ---- Keys ---- */

static void hash_block(IMB_MGR *manager, const char *digest, const uint8_t *block, uint8_t *out)
{
    if (strcmp(digest, "SHA1") == 0)
        IMB_SHA1_ONE_BLOCK(manager, block, out);
    else if (strcmp(digest, "SHA256") == 0)
        IMB_SHA256_ONE_BLOCK(manager, block, out);
    else
        IMB_SHA384_ONE_BLOCK(manager, block, out);
}

/* RFC 2104 4: the first block of either hash depends on the key alone. */
static void hmac_key(IMB_MGR *manager, const subject *s, const traffic_key *k, struct lane_key *out)
{
    uint8_t block[HASH_BLOCK_MAX];

    memset(block, 0x36, sizeof(block));
    for (size_t i = 0; i < s->tag_len; i++)
        block[i] ^= k->mac[i];
    hash_block(manager, s->digest, block, out->inner);
    for (size_t i = 0; i < sizeof(block); i++)
        block[i] ^= 0x36 ^ 0x5c;
    hash_block(manager, s->digest, block, out->outer);
}

static void lane_key_make(IMB_MGR *manager, const subject *s, size_t index, struct lane_key *out)
{
    traffic_key k = traffic_key_make(s, index);

    memcpy(out->raw, k.key, s->key_len);
    if (s->kind == SUBJECT_GCM && s->key_len == 16)
        IMB_AES128_GCM_PRE(manager, k.key, &out->gcm);
    else if (s->kind == SUBJECT_GCM)
        IMB_AES256_GCM_PRE(manager, k.key, &out->gcm);
    else if (s->kind != SUBJECT_CHACHA && s->key_len == 16)
        IMB_AES_KEYEXP_128(manager, k.key, out->encrypt, out->decrypt);
    else if (s->kind != SUBJECT_CHACHA)
        IMB_AES_KEYEXP_256(manager, k.key, out->encrypt, out->decrypt);
    if (s->kind == SUBJECT_CBC_HMAC)
        hmac_key(manager, s, &k, out);
}

static runner *lanes_begin(const contestant *who, const workload *load)
{
    struct lanes *l = calloc(1, sizeof(*l));
    bool cbc = load->subject->kind == SUBJECT_CBC_HMAC;
    IMB_ARCH arch;

    if (l == NULL)
        return NULL;
    l->base.who = who;
    l->base.ring = ring_new(load, cbc ? FORMAT_TLS12 : FORMAT_TLS13);
    l->manager = alloc_mb_mgr(0);
    if (l->base.ring == NULL || l->manager == NULL)
        goto failed;
    l->base.count = l->base.ring->count;
    init_mb_mgr_auto(l->manager, &arch);
    l->keys = aligned_alloc(64, load->batch * sizeof(l->keys[0]));
    l->ivs = calloc(l->base.count, sizeof(l->ivs[0]));
    l->tags = calloc(l->base.count, sizeof(l->tags[0]));
    if (imb_get_errno(l->manager) != 0 || l->keys == NULL || l->ivs == NULL || l->tags == NULL)
        goto failed;
    for (size_t i = 0; i < load->batch; i++)
        lane_key_make(l->manager, load->subject, i, &l->keys[i]);
    return &l->base;
failed:
    runner_end(&l->base);
    return NULL;
}

/* What a caller lays out for a record of CBC: an IV of its own, and padding (RFC 5246 6.2.3.2). */
static bool lanes_restore(runner *r)
{
    struct lanes *l = (struct lanes *)r;
    const workload *load = &r->ring->load;
    size_t mac_len = load->subject->tag_len;
    size_t pad_len = format_trailer_len(load->subject, load->size) - mac_len;

    if (load->subject->kind != SUBJECT_CBC_HMAC)
        return true;
    for (size_t i = 0; i < r->count; i++) {
        uint8_t *data = r->ring->slots[i].data;
        if (load->sealing) {
            memset(l->ivs[i], (int)(i + 1), CBC_BLOCK);
            memset(data + load->size + mac_len, (int)(pad_len - 1), pad_len);
        } else {
            memcpy(l->ivs[i], data - CBC_BLOCK, CBC_BLOCK);
        }
    }
    return true;
}

/* ---- AES-GCM ---- */

static void gcm_seal(struct lanes *l, const workload *load, const slot *s)
{
    struct gcm_context_data context;
    const struct gcm_key_data *key = &l->keys[s->key].gcm;

    if (load->subject->key_len == 16)
        IMB_AES128_GCM_ENC(l->manager, key, &context, s->data, s->data, load->size, s->nonce, s->aad,
                           s->aad_len, s->data + load->size, load->subject->tag_len);
    else
        IMB_AES256_GCM_ENC(l->manager, key, &context, s->data, s->data, load->size, s->nonce, s->aad,
                           s->aad_len, s->data + load->size, load->subject->tag_len);
}

static bool gcm_open(struct lanes *l, const workload *load, const slot *s)
{
    struct gcm_context_data context;
    const struct gcm_key_data *key = &l->keys[s->key].gcm;
    uint8_t tag[SEALANE_TAG_MAX];

    if (load->subject->key_len == 16)
        IMB_AES128_GCM_DEC(l->manager, key, &context, s->data, s->data, load->size, s->nonce, s->aad,
                           s->aad_len, tag, load->subject->tag_len);
    else
        IMB_AES256_GCM_DEC(l->manager, key, &context, s->data, s->data, load->size, s->nonce, s->aad,
                           s->aad_len, tag, load->subject->tag_len);
    return CRYPTO_memcmp(tag, s->data + load->size, load->subject->tag_len) == 0;
}

static bool gcm_run(struct lanes *l)
{
    const ring *r = l->base.ring;
    bool right = true;

    for (size_t i = 0; i < r->count; i++) {
        if (r->load.sealing)
            gcm_seal(l, &r->load, &r->slots[i]);
        else
            right &= gcm_open(l, &r->load, &r->slots[i]);
    }
    return right;
}

/* ---- Jobs ---- */

static void job_aead(IMB_JOB *job, const struct lane_key *key, const workload *load, const slot *s)
{
    bool ccm = load->subject->kind == SUBJECT_CCM;

    job->iv = s->nonce;
    job->iv_len_in_bytes = SEALANE_NONCE_LEN;
    job->cipher_start_src_offset_in_bytes = 0;
    job->msg_len_to_cipher_in_bytes = load->size;
    job->hash_start_src_offset_in_bytes = 0;
    job->msg_len_to_hash_in_bytes = load->size;
    job->src = s->data;
    job->dst = s->data;
    if (ccm) {
        job->cipher_mode = IMB_CIPHER_CCM;
        job->hash_alg = IMB_AUTH_AES_CCM;
        job->enc_keys = job->dec_keys = key->encrypt; /* counter mode: only ever encrypts */
        job->u.CCM.aad = s->aad;
        job->u.CCM.aad_len_in_bytes = s->aad_len;
        job->chain_order = load->sealing ? IMB_ORDER_HASH_CIPHER : IMB_ORDER_CIPHER_HASH;
        return;
    }
    job->cipher_mode = IMB_CIPHER_CHACHA20_POLY1305;
    job->hash_alg = IMB_AUTH_CHACHA20_POLY1305;
    job->enc_keys = job->dec_keys = key->raw;
    job->u.CHACHA20_POLY1305.aad = s->aad;
    job->u.CHACHA20_POLY1305.aad_len_in_bytes = s->aad_len;
    job->chain_order = load->sealing ? IMB_ORDER_CIPHER_HASH : IMB_ORDER_HASH_CIPHER;
}

static void job_cbc_hmac(IMB_JOB *job, const struct lane_key *key, const workload *load, const slot *s,
                         const uint8_t *iv)
{
    size_t hash_len = load->subject->tag_len;

    memcpy(s->data - MAC_HEADER_LEN, s->aad, MAC_HEADER_LEN);
    job->iv = iv;
    job->iv_len_in_bytes = CBC_BLOCK;
    job->src = s->data - CBC_BLOCK;
    job->dst = s->data;
    job->cipher_start_src_offset_in_bytes = CBC_BLOCK;
    job->msg_len_to_cipher_in_bytes = load->size + format_trailer_len(load->subject, load->size);
    job->hash_start_src_offset_in_bytes = CBC_BLOCK - MAC_HEADER_LEN;
    job->msg_len_to_hash_in_bytes = MAC_HEADER_LEN + load->size;
    job->cipher_mode = IMB_CIPHER_CBC;
    job->hash_alg = hash_len == 20   ? IMB_AUTH_HMAC_SHA_1
                    : hash_len == 32 ? IMB_AUTH_HMAC_SHA_256
                                     : IMB_AUTH_HMAC_SHA_384;
    job->enc_keys = key->encrypt;
    job->dec_keys = key->decrypt;
    job->u.HMAC._hashed_auth_key_xor_ipad = key->inner;
    job->u.HMAC._hashed_auth_key_xor_opad = key->outer;
    job->chain_order = load->sealing ? IMB_ORDER_HASH_CIPHER : IMB_ORDER_CIPHER_HASH;
}

static void job_submit(struct lanes *l, size_t i)
{
    const ring *r = l->base.ring;
    const slot *s = &r->slots[i];
    IMB_JOB *job = IMB_GET_NEXT_JOB(l->manager);

    job->cipher_direction = r->load.sealing ? IMB_DIR_ENCRYPT : IMB_DIR_DECRYPT;
    job->key_len_in_bytes = r->load.subject->key_len;
    job->auth_tag_output = r->load.sealing ? s->data + r->load.size : l->tags[i];
    job->auth_tag_output_len_in_bytes = r->load.subject->tag_len;
    if (r->load.subject->kind == SUBJECT_CBC_HMAC)
        job_cbc_hmac(job, &l->keys[s->key], &r->load, s, l->ivs[i]);
    else
        job_aead(job, &l->keys[s->key], &r->load, s);
}

/* Whatever of the batch is still in the lanes comes out. */
static size_t jobs_flush(IMB_MGR *manager)
{
    size_t done = 0;

    for (IMB_JOB *job; (job = IMB_FLUSH_JOB(manager)) != NULL;)
        done += job->status == IMB_STATUS_COMPLETED;
    return done;
}

static bool jobs_run(struct lanes *l)
{
    const ring *r = l->base.ring;
    bool cbc = r->load.subject->kind == SUBJECT_CBC_HMAC, right = true;
    size_t done = 0;

    for (size_t i = 0; i < r->count; i++) {
        job_submit(l, i);
        for (IMB_JOB *job = IMB_SUBMIT_JOB(l->manager); job != NULL; job = IMB_GET_COMPLETED_JOB(l->manager))
            done += job->status == IMB_STATUS_COMPLETED;
        if ((i + 1) % r->load.batch == 0)
            done += jobs_flush(l->manager);
    }
    for (size_t i = 0; i < r->count; i++) {
        const slot *s = &r->slots[i];
        if (!r->load.sealing)
            right &= CRYPTO_memcmp(l->tags[i], s->data + r->load.size, r->load.subject->tag_len) == 0;
        else if (cbc)
            memcpy(s->data - CBC_BLOCK, l->ivs[i], CBC_BLOCK);
    }
    return right && done == r->count;
}

static bool lanes_run(runner *r)
{
    struct lanes *l = (struct lanes *)r;

    return r->ring->load.subject->kind == SUBJECT_GCM ? gcm_run(l) : jobs_run(l);
}

const contestant contestant_ipsec_mb = {.name = "ipsec-mb",
                                        .what = "IPsec-MB's direct calls for GCM, its jobs for the others",
                                        .carries = lanes_carries,
                                        .begin = lanes_begin,
                                        .restore = lanes_restore,
                                        .run = lanes_run,
                                        .end = lanes_end};
