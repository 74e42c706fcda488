/* SPDX-License-Identifier: Apache-2.0 */
/*
 * CCM's tag is a CBC-MAC, each block of which waits for the one before: one message alone leaves the AES unit
 * idle most of the time, eight of them side by side do not. The library's lanes are that; a message enters
 * them as a job and comes out, in the order of submission, when its lanes were full or when it is flushed. A
 * message of ChaCha20-Poly1305 is done by the time it has been submitted; as a job it is faster than by the
 * library's direct calls, which go through contexts.
 */
#include "ipsec_mb_aead.h"

#include <string.h>
#include <openssl/crypto.h>
#include "ccm_aesni.h"
#include "ipsec_mb_jobs.h"

#define IN_FLIGHT_MAX 64    /* below the library's queue (IMB_MAX_JOBS): no job is pushed out early */
#define CCM_AAD_MAX   46    /* the library lays it out in three blocks, with two bytes of length */
#define CCM_ALONE_MAX 128   /* up to here one by one is faster than a job each */
#define LEN_MAX       32768 /* CCM's lanes count in 16 bits; twice a record */

void ipsec_mb_ccm_key_init(ipsec_mb_ccm_key *key, IMB_MGR *manager, const uint8_t *bytes)
{
    _Alignas(16) uint8_t decryption[11 * 16]; /* the call gives both; CCM only ever encrypts */

    key->tag_len = sealane_cipher_get(key->cipher)->tag_len;
    IMB_AES_KEYEXP_128(manager, bytes, key->round_keys, decryption);
    OPENSSL_cleanse(decryption, sizeof(decryption));
}

static void job_fill_ccm(IMB_JOB *job, const backend_op *op, bool sealing)
{
    const ipsec_mb_ccm_key *key = op->state;

    job->cipher_mode = IMB_CIPHER_CCM;
    job->hash_alg = IMB_AUTH_AES_CCM;
    job->chain_order = sealing ? IMB_ORDER_HASH_CIPHER : IMB_ORDER_CIPHER_HASH; /* MAC of the plaintext */
    job->enc_keys = key->round_keys;
    job->dec_keys = key->round_keys;
    job->key_len_in_bytes = 16;
    job->u.CCM.aad = op->aad;
    job->u.CCM.aad_len_in_bytes = op->aad_len;
    job->auth_tag_output_len_in_bytes = key->tag_len;
}

static void job_fill_chacha(IMB_JOB *job, const backend_op *op, bool sealing)
{
    const ipsec_mb_chacha_key *key = op->state;

    job->cipher_mode = IMB_CIPHER_CHACHA20_POLY1305;
    job->hash_alg = IMB_AUTH_CHACHA20_POLY1305;
    job->chain_order = sealing ? IMB_ORDER_CIPHER_HASH : IMB_ORDER_HASH_CIPHER; /* MAC of the ciphertext */
    job->enc_keys = key->bytes;
    job->dec_keys = key->bytes;
    job->key_len_in_bytes = sizeof(key->bytes);
    job->u.CHACHA20_POLY1305.aad = op->aad;
    job->u.CHACHA20_POLY1305.aad_len_in_bytes = op->aad_len;
    job->auth_tag_output_len_in_bytes = SEALANE_TAG_MAX;
}

/* Sealing, the tag goes where it belongs; opening, to `tag`, for us to compare. */
static void job_fill(IMB_JOB *job, bool ccm, backend_op *op, uint8_t *tag, bool sealing)
{
    (ccm ? job_fill_ccm : job_fill_chacha)(job, op, sealing);
    job->cipher_direction = sealing ? IMB_DIR_ENCRYPT : IMB_DIR_DECRYPT;
    job->src = op->in;
    job->dst = op->out;
    job->cipher_start_src_offset_in_bytes = 0;
    job->hash_start_src_offset_in_bytes = 0;
    job->msg_len_to_cipher_in_bytes = op->len;
    job->msg_len_to_hash_in_bytes = op->len;
    job->iv = op->nonce;
    job->iv_len_in_bytes = SEALANE_NONCE_LEN;
    job->auth_tag_output = sealing ? op->tag : tag;
    job->user_data = op;
}

static void tag_check(backend_op *op, const uint8_t *tag, size_t tag_len)
{
    if (op->result == SEALANE_OK && CRYPTO_memcmp(tag, op->tag, tag_len) != 0)
        op->result = SEALANE_FORGED;
    if (op->result != SEALANE_OK && op->len > 0)
        OPENSSL_cleanse(op->out, op->len);
}

static void job_finish(const IMB_JOB *job)
{
    backend_op *op = job->user_data;

    op->result = job->status == IMB_STATUS_COMPLETED ? SEALANE_OK : SEALANE_INTERNAL;
    if (job->cipher_direction == IMB_DIR_ENCRYPT)
        return;
    tag_check(op, job->auth_tag_output, job->auth_tag_output_len_in_bytes);
}

static void ccm_alone(backend_op *op, bool sealing)
{
    const ipsec_mb_ccm_key *key = op->state;
    uint8_t tag[SEALANE_TAG_MAX];

    op->result = SEALANE_UNSUPPORTED;
    if (op->aad_len > CCM_AESNI_AAD_MAX || op->len > CCM_AESNI_LEN_MAX)
        return;
    ccm_aesni_run(key->round_keys, op, sealing, sealing ? op->tag : tag, key->tag_len);
    op->result = SEALANE_OK;
    if (sealing)
        return;
    tag_check(op, tag, key->tag_len);
    OPENSSL_cleanse(tag, sizeof(tag));
}

static void portion_run(IMB_MGR *manager, bool ccm, backend_op *const ops[], size_t count, bool sealing)
{
    uint8_t tags[IN_FLIGHT_MAX][SEALANE_TAG_MAX];

    for (size_t i = 0; i < count; i++) {
        IMB_JOB *job;
        if (ccm && ops[i]->len <= CCM_ALONE_MAX) {
            ccm_alone(ops[i], sealing);
            continue;
        }
        if ((ccm && ops[i]->aad_len > CCM_AAD_MAX) || ops[i]->len > LEN_MAX) {
            ops[i]->result = SEALANE_UNSUPPORTED;
            continue;
        }
        job = IMB_GET_NEXT_JOB(manager);
        job_fill(job, ccm, ops[i], tags[i], sealing);
        for (job = IMB_SUBMIT_JOB_NOCHECK(manager); job != NULL; job = IMB_GET_COMPLETED_JOB(manager))
            job_finish(job);
    }
    for (IMB_JOB *job = ccm ? IMB_FLUSH_JOB(manager) : NULL; job != NULL; job = IMB_FLUSH_JOB(manager))
        job_finish(job);
    if (!sealing)
        OPENSSL_cleanse(tags, sizeof(tags[0]) * count); /* the right tag of a forged message is a secret */
}

void ipsec_mb_aead_run(sealane_cipher_id cipher, backend_op *const ops[], size_t count, bool sealing)
{
    bool ccm = cipher != SEALANE_CHACHA20_POLY1305;
    IMB_MGR *manager;

    if (ccm && count == 1) {
        ccm_alone(ops[0], sealing);
        return;
    }
    manager = ipsec_mb_jobs_manager();
    for (size_t i = 0; manager == NULL && i < count; i++)
        ops[i]->result = SEALANE_UNSUPPORTED; /* another backend needs no manager */
    for (size_t done = 0, some; manager != NULL && done < count; done += some) {
        some = count - done < IN_FLIGHT_MAX ? count - done : IN_FLIGHT_MAX;
        portion_run(manager, ccm, ops + done, some, sealing);
    }
}
