/* SPDX-License-Identifier: Apache-2.0 */
/*
 * AES-CBC with HMAC in the lanes of Intel IPsec-MB's job manager: CBC encryption and SHA are serial within a
 * record, so eight records (two or four, for some hashes) go side by side, whatever their keys.
 *
 * Two passes over a batch, all MACs and then all encryptions or the other way round, and not the library's
 * chained jobs: with MAC-then-encrypt the padding comes in between, and lanes fill just as well.
 *
 * A manager keeps jobs in its lanes, so each thread has its own, made at its first record and gone with the
 * thread; nothing stays in it between calls.
 */
#include "../cbc.h"

#include <pthread.h>
#include <string.h>
#include <intel-ipsec-mb.h>
#include <openssl/crypto.h>
#include "cbc_aesni.h"

#define FEATURES_NEEDED (IMB_FEATURE_SSE4_2 | IMB_FEATURE_AESNI | IMB_FEATURE_PCLMULQDQ)
#define HMACS           16  /* that go by hmac.c at once, and records by cbc_aesni.c */
#define SHORT_MANY      256 /* of payload, among as many records as there are lanes */
#define SHORT_FEW       768
#define JOB_FROM        768       /* of ciphertext to be decrypted */
#define SCHEDULE_LEN    (15 * 16) /* AES-256: FIPS 197 5.2 */

struct ipsec_mb_state {
    _Alignas(16) uint8_t schedule[SCHEDULE_LEN]; /* of the key's direction */
    unsigned rounds;
};

/*
 * The library's AVX2 set of 1.3 hashes in eight vector lanes, its SSE set with the CPU's SHA instructions in
 * two, which is up to 2.4 times as fast for SHA-256 and a little for SHA-1; SHA-384 has no instructions, and
 * the AES lanes are better in AVX2. So there are two managers: `quick` hashes SHA-1 and SHA-256. The sixteen
 * lanes of the AVX-512 set are ahead of the instructions once half of them are filled (measured on Zen 5).
 */
#define LANES_AVX512       16
#define LANES              8
#define VECTOR_FROM_AVX512 8

struct managers {
    IMB_MGR *all;
    IMB_MGR *quick;     /* may be `all` */
    size_t lanes;       /* of the cipher */
    size_t vector_from; /* records for which `all` is the better hash, too */
};

static pthread_once_t key_once = PTHREAD_ONCE_INIT;
static pthread_key_t key;
static bool key_made;
static _Thread_local struct managers *mine __attribute__((tls_model("initial-exec")));

static void managers_free(void *managers)
{
    struct managers *m = managers;

    if (m->quick != NULL && m->quick != m->all)
        free_mb_mgr(m->quick);
    if (m->all != NULL)
        free_mb_mgr(m->all);
    mine = NULL;
    free(m);
}

static void key_make(void)
{
    key_made = pthread_key_create(&key, managers_free) == 0;
}

static bool managers_start(struct managers *m)
{
    IMB_ARCH arch = IMB_ARCH_NONE;

    m->all = alloc_mb_mgr(0);
    if (m->all == NULL || (m->all->features & FEATURES_NEEDED) != FEATURES_NEEDED)
        return false;
    init_mb_mgr_auto(m->all, &arch);
    if (imb_get_errno(m->all) != 0)
        return false;
    m->quick = m->all;
    m->lanes = arch == IMB_ARCH_AVX512 ? LANES_AVX512 : LANES;
    m->vector_from = arch == IMB_ARCH_AVX512 ? VECTOR_FROM_AVX512 : SIZE_MAX;
    if ((arch != IMB_ARCH_AVX2 && arch != IMB_ARCH_AVX512) || (m->all->features & IMB_FEATURE_SHANI) == 0)
        return true;
    m->quick = alloc_mb_mgr(0);
    if (m->quick == NULL)
        return false;
    init_mb_mgr_sse(m->quick);
    return imb_get_errno(m->quick) == 0;
}

static struct managers *managers_claim(void)
{
    struct managers *m;

    if (pthread_once(&key_once, key_make) != 0 || !key_made)
        return NULL;
    m = calloc(1, sizeof(*m));
    if (m == NULL)
        return NULL;
    if (managers_start(m) && pthread_setspecific(key, m) == 0) {
        mine = m;
        return m;
    }
    managers_free(m);
    return NULL;
}

static struct managers *managers_get(void)
{
    return mine != NULL ? mine : managers_claim();
}

static const char *ipsec_mb_probe(void)
{
    return managers_get() != NULL ? NULL : "IPsec-MB could not be set up";
}

static sealane_result ipsec_mb_key_init(void *state, const cbc_key *cbc)
{
    struct ipsec_mb_state *s = state;
    struct managers *m = managers_get();
    _Alignas(16) uint8_t unused[SCHEDULE_LEN];
    uint8_t *encrypt = cbc->sealing ? s->schedule : unused, *decrypt = cbc->sealing ? unused : s->schedule;

    if (m == NULL)
        return SEALANE_MEMORY;
    s->rounds = cbc->cipher->key_len == 16 ? 10 : 14; /* FIPS 197, figure 4 */
    if (cbc->cipher->key_len == 16)
        IMB_AES_KEYEXP_128(m->all, cbc->secret, encrypt, decrypt);
    else
        IMB_AES_KEYEXP_256(m->all, cbc->secret, encrypt, decrypt);
    OPENSSL_cleanse(unused, sizeof(unused));
    return SEALANE_OK;
}

static void ipsec_mb_key_clear(void *state)
{
    (void)state;
}

/* ---- Jobs ---- */

static void job_end(const IMB_JOB *job)
{
    cbc_op *op = job->user_data;

    if (job->status != IMB_STATUS_COMPLETED)
        op->result = SEALANE_INTERNAL;
}

static void job_submit(IMB_MGR *manager)
{
    IMB_JOB *job = IMB_SUBMIT_JOB(manager);

    for (; job != NULL; job = IMB_GET_COMPLETED_JOB(manager))
        job_end(job);
}

static void jobs_flush(IMB_MGR *manager)
{
    for (IMB_JOB *job = IMB_FLUSH_JOB(manager); job != NULL; job = IMB_FLUSH_JOB(manager))
        job_end(job);
}

/* `message` begins with the pseudo header. */
static void hash_job(IMB_MGR *manager, cbc_op *op, const uint8_t *message, size_t len, uint8_t *mac)
{
    static const IMB_HASH_ALG algorithms[SHA_IDS] = {
        [SHA_ID_1] = IMB_AUTH_HMAC_SHA_1,
        [SHA_ID_256] = IMB_AUTH_HMAC_SHA_256,
        [SHA_ID_384] = IMB_AUTH_HMAC_SHA_384,
    };
    IMB_JOB *job = IMB_GET_NEXT_JOB(manager);

    memset(job, 0, sizeof(*job));
    job->cipher_mode = IMB_CIPHER_NULL;
    job->cipher_direction = IMB_DIR_ENCRYPT;
    job->chain_order = IMB_ORDER_HASH_CIPHER;
    job->hash_alg = algorithms[op->key->hash];
    job->src = message;
    job->msg_len_to_hash_in_bytes = len;
    job->auth_tag_output = mac;
    job->auth_tag_output_len_in_bytes = op->key->mac_len;
    job->u.HMAC._hashed_auth_key_xor_ipad = (const uint8_t *)&op->key->mac.inner;
    job->u.HMAC._hashed_auth_key_xor_opad = (const uint8_t *)&op->key->mac.outer;
    job->user_data = op;
    job_submit(manager);
}

static void cipher_job(IMB_MGR *manager, cbc_op *op, const struct ipsec_mb_state *state, const uint8_t *in,
                       size_t len)
{
    IMB_JOB *job = IMB_GET_NEXT_JOB(manager);

    memset(job, 0, sizeof(*job));
    job->cipher_mode = IMB_CIPHER_CBC;
    job->cipher_direction = op->key->sealing ? IMB_DIR_ENCRYPT : IMB_DIR_DECRYPT;
    job->chain_order = op->key->sealing ? IMB_ORDER_CIPHER_HASH : IMB_ORDER_HASH_CIPHER;
    job->hash_alg = IMB_AUTH_NULL;
    job->enc_keys = state->schedule;
    job->dec_keys = state->schedule;
    job->key_len_in_bytes = op->key->cipher->key_len;
    job->src = in;
    job->dst = op->out;
    job->iv = in - CBC_IV_LEN;
    job->iv_len_in_bytes = CBC_IV_LEN;
    job->msg_len_to_cipher_in_bytes = len;
    job->user_data = op;
    job_submit(manager);
}

/* ---- Sealing ---- */

static IMB_MGR *hashes(const struct managers *m, const cbc_op *op, size_t count)
{
    return op->key->hash == SHA_ID_384 || count >= m->vector_from ? m->all : m->quick;
}

/*
 * The library hashes one run of bytes. The 13 of the pseudo header fit where the IV will be written later,
 * directly before the payload.
 */
static void mac_of_payload(const struct managers *m, cbc_op *op, size_t count)
{
    uint8_t *start = op->out - HMAC_HEADER_LEN;

    cbc_header_length(op, op->len);
    memcpy(start, op->header, HMAC_HEADER_LEN);
    hash_job(hashes(m, op, count), op, start, HMAC_HEADER_LEN + op->len, op->out + op->len);
}

/* IV and padding. Returns how many bytes the cipher has to go over. */
static size_t padding_add(cbc_op *op)
{
    const size_t inner = op->len + (op->key->encrypt_then_mac ? 0 : op->key->mac_len);
    const size_t padding = CBC_BLOCK_LEN - inner % CBC_BLOCK_LEN;

    memcpy(op->out - CBC_IV_LEN, op->iv, CBC_IV_LEN);
    memset(op->out + inner, (int)padding - 1, padding);
    return inner + padding;
}

/* What is hashed goes by hmac.c, so many at a time. */
struct macs {
    sha_id hash;
    size_t count;
    hmac_op ops[HMACS];
};

static void macs_run(struct macs *m)
{
    hmac_compute_many(m->hash, m->ops, m->count);
    m->count = 0;
}

static void macs_add(struct macs *m, const cbc_op *op, const uint8_t *body, size_t len, uint8_t *mac)
{
    m->hash = op->key->hash;
    m->ops[m->count++] = (hmac_op){&op->key->mac, op->header, body, len, mac};
    if (m->count == HMACS)
        macs_run(m);
}

/*
 * Encrypt-then-MAC hashes header, IV and ciphertext, and before the IV there is no room in the record for the
 * library's one run of bytes: instead of moving everything these go by hmac.c, two side by side.
 */
static void macs_of_ciphertext(cbc_op *const ops[], size_t count)
{
    struct macs macs = {.count = 0};

    for (size_t i = 0; i < count; i++) {
        const cbc_key *cbc = ops[i]->key;
        size_t len = cbc_sealed_len(cbc, ops[i]->len) - cbc->mac_len;
        if (!cbc->encrypt_then_mac)
            continue;
        cbc_header_length(ops[i], CBC_IV_LEN + len);
        macs_add(&macs, ops[i], ops[i]->out - CBC_IV_LEN, CBC_IV_LEN + len, ops[i]->out + len);
    }
    macs_run(&macs);
}

static void all_set(cbc_op *const ops[], size_t count, sealane_result result)
{
    for (size_t i = 0; i < count; i++)
        ops[i]->result = result;
}

/*
 * Is a record better done here than as two jobs? While lanes are empty that is so longer (measured on Zen 5;
 * without instructions for the hash there is nothing to gain).
 */
static bool is_short(const struct managers *m, const cbc_op *op, size_t count)
{
    return op->len < (count < m->lanes ? SHORT_FEW : SHORT_MANY) && sha_is_quick(op->key->hash);
}

/* MACs of payloads: of short records here, two side by side, of the others in the lanes. */
static void macs_of_payloads(struct managers *m, cbc_op *const ops[], size_t count)
{
    struct macs macs = {.count = 0};

    for (size_t i = 0; i < count; i++) {
        cbc_op *op = ops[i];
        if (op->key->encrypt_then_mac)
            continue;
        if (!is_short(m, op, count)) {
            mac_of_payload(m, op, count);
            continue;
        }
        cbc_header_length(op, op->len);
        macs_add(&macs, op, op->out, op->len, op->out + op->len);
    }
    macs_run(&macs);
    jobs_flush(m->quick);
    jobs_flush(m->all);
}

static void encrypt_all(struct managers *m, cbc_op *const ops[], void *const states[], size_t count)
{
    cbc_aesni_run runs[HMACS];
    size_t n = 0;
    unsigned rounds = 0;

    for (size_t i = 0; i < count; i++) {
        const struct ipsec_mb_state *state = states[i];
        const size_t len = padding_add(ops[i]);

        if (!is_short(m, ops[i], count)) {
            cipher_job(m->all, ops[i], state, ops[i]->out, len);
            continue;
        }
        rounds = state->rounds;
        runs[n++] = (cbc_aesni_run){state->schedule, ops[i]->out, len};
        if (n < HMACS)
            continue;
        cbc_aesni_encrypt_many(rounds, runs, n);
        n = 0;
    }
    cbc_aesni_encrypt_many(rounds, runs, n);
    jobs_flush(m->all);
}

static void ipsec_mb_seal(cbc_op *const ops[], void *const states[], size_t count)
{
    struct managers *m = managers_get();

    all_set(ops, count, m == NULL ? SEALANE_INTERNAL : SEALANE_OK);
    if (m == NULL)
        return;
    macs_of_payloads(m, ops, count);
    encrypt_all(m, ops, states, count);
    macs_of_ciphertext(ops, count);
}

/*
 * CBC decryption needs no lanes: its blocks are independent. A job is done when submitted; the library's wide
 * vectors make up for what it costs from JOB_FROM bytes on (measured on Zen 5).
 */
static void ipsec_mb_decrypt(cbc_op *const ops[], void *const states[], size_t count)
{
    struct managers *m = managers_get();

    all_set(ops, count, m == NULL ? SEALANE_INTERNAL : SEALANE_OK);
    if (m == NULL)
        return;
    for (size_t i = 0; i < count; i++) {
        const struct ipsec_mb_state *state = states[i];
        const size_t len = cbc_opened_room(ops[i]->key, ops[i]->len);

        if (len < JOB_FROM)
            cbc_aesni_decrypt(state->schedule, state->rounds, ops[i]->in, len, ops[i]->out);
        else
            cipher_job(m->all, ops[i], state, ops[i]->in, len);
    }
    jobs_flush(m->all);
}

static size_t ipsec_mb_lanes(void)
{
    const struct managers *m = managers_get();

    return m == NULL ? 1 : m->lanes;
}

const cbc_backend cbc_backend_ipsec_mb = {
    .name = "ipsec_mb",
    .probe = ipsec_mb_probe,
    .lanes = ipsec_mb_lanes,
    .state_size = sizeof(struct ipsec_mb_state),
    .key_init = ipsec_mb_key_init,
    .key_clear = ipsec_mb_key_clear,
    .seal = ipsec_mb_seal,
    .decrypt = ipsec_mb_decrypt,
};
