/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Signing: C_SignInit and C_Sign on a worker, with one retry after a loss (token.c repairs, this file
 * repeats). The hashing has been done by the caller, in libcrypto.
 */
#include "error.h"
#include "hsm-int.h"
#include "key.h"

#include <string.h>

#include <openssl/crypto.h>

struct hsm_job {
    struct task task; /* first: a job is a task */
    hsm_key *key;     /* the caller's reference; NULL once he has gone */
    unsigned timeout_ms;
    struct keydata *data;
    hsm_mechanism mech;
    uint8_t in[HSM_INPUT_MAX];
    size_t in_len;
    uint8_t out[HSM_SIGNATURE_MAX];
    CK_ULONG out_len;
};

/* PKCS#11 2.40 table of mechanisms: the hash and the MGF1 on it. */
static const struct {
    size_t len;
    CK_MECHANISM_TYPE hash;
    CK_RSA_PKCS_MGF_TYPE mgf;
} hashes[] = {
    [HSM_SHA1] = {20, CKM_SHA_1, CKG_MGF1_SHA1},      [HSM_SHA224] = {28, CKM_SHA224, CKG_MGF1_SHA224},
    [HSM_SHA256] = {32, CKM_SHA256, CKG_MGF1_SHA256}, [HSM_SHA384] = {48, CKM_SHA384, CKG_MGF1_SHA384},
    [HSM_SHA512] = {64, CKM_SHA512, CKG_MGF1_SHA512},
};

static bool hash_is_known(hsm_hash hash)
{
    return hash >= HSM_SHA1 && hash <= HSM_SHA512;
}

size_t hsm_signature_len(const hsm_key *key)
{
    const hsm_public *p = hsm_key_public(key);
    return p->type == HSM_KEY_RSA ? p->n_len : 2 * (((size_t)p->bits + 7) / 8);
}

/* ---- On the worker ---- */

/* The mechanism as Cryptoki wants it. `params` must live as long as `*out`. */
static void mechanism_fill(const hsm_mechanism *mech, CK_MECHANISM *out, CK_RSA_PKCS_PSS_PARAMS *params)
{
    *out = (CK_MECHANISM){0};
    switch (mech->scheme) {
    case HSM_RSA_PKCS1:
        out->mechanism = CKM_RSA_PKCS;
        break;
    case HSM_RSA_PSS:
        *params =
            (CK_RSA_PKCS_PSS_PARAMS){hashes[mech->hash].hash, hashes[mech->mgf_hash].mgf, mech->salt_len};
        *out = (CK_MECHANISM){CKM_RSA_PKCS_PSS, params, sizeof(*params)};
        break;
    case HSM_ECDSA:
        out->mechanism = CKM_ECDSA;
        break;
    }
}

/* One signature, from finding a session to checking the result's length. */
static hsm_status sign_once(struct hsm_job *job, struct worker *worker, hsm_error *err)
{
    struct token *token = job->data->token;
    struct place place;
    CK_OBJECT_HANDLE object = 0;
    CK_MECHANISM mechanism;
    CK_RSA_PKCS_PSS_PARAMS params;

    hsm_status status = token_session(token, worker, &place, err);
    if (status == HSM_OK)
        status = keydata_locate(job->data, worker, &place, &object, err);
    if (status != HSM_OK)
        return status;
    mechanism_fill(&job->mech, &mechanism, &params);
    CK_RV rv = CK(place.functions, err, place.where, C_SignInit, place.session, &mechanism, object);
    if (rv != CKR_OK)
        return ckr_status(rv);
    if (job->data->always_authenticate) {
        status = token_login_for_key(token, worker, err);
        if (status != HSM_OK) {
            worker->dirty = true; /* the only way to end the begun operation */
            return status;
        }
    }
    job->out_len = sizeof(job->out);
    rv = CK(place.functions, err, place.where, C_Sign, place.session, job->in, job->in_len, job->out,
            &job->out_len);
    /* Not every token ends the operation on every error (PKCS#11 2.40 section 5.11). */
    worker->dirty = rv != CKR_OK;
    return ckr_status(rv);
}

/* What a failure can be answered with; each once per operation. */
enum repair { REPAIR_NONE, REPAIR_REOPEN, REPAIR_FIND_KEY, REPAIR_NEW_SESSION };

static enum repair repair_for(const struct worker *worker, CK_RV rv)
{
    if (!worker->has_session) /* no session to be had: token_session has tried what there is to try */
        return REPAIR_NONE;
    if (ckr_is_loss(rv))
        return REPAIR_REOPEN;
    if (ckr_is_stale_object(rv))
        return REPAIR_FIND_KEY;
    return rv == CKR_OPERATION_ACTIVE ? REPAIR_NEW_SESSION : REPAIR_NONE;
}

static void repair(enum repair what, struct keydata *data, struct worker *worker)
{
    switch (what) {
    case REPAIR_REOPEN:
        token_lost(data->token, worker);
        break;
    case REPAIR_FIND_KEY:
        token_handle_set(data->token, &data->handle, 0, 0);
        break;
    case REPAIR_NEW_SESSION:
        worker->dirty = true;
        break;
    case REPAIR_NONE:
        break;
    }
}

static void sign_run(struct task *task, struct worker *worker)
{
    struct hsm_job *job = (struct hsm_job *)task;
    struct token_owner *owner = token_owner(job->data->token);
    hsm_error why;
    hsm_status status;
    unsigned tried = 1u << REPAIR_NONE;
    for (;;) {
        why = (hsm_error){0};
        status = sign_once(job, worker, &why);
        enum repair what = status == HSM_OK ? REPAIR_NONE : repair_for(worker, why.ckr);
        if (tried & (1u << what))
            break;
        tried |= 1u << what;
        repair(what, job->data, worker);
    }
    if (status == HSM_OK)
        atomic_fetch_add(&owner->signatures, 1);
    else if (!worker->retire)
        atomic_fetch_add(&owner->failures, 1);
    task->err = status == HSM_OK ? (hsm_error){0} : why;
}

static void job_destroy(struct task *task)
{
    struct hsm_job *job = (struct hsm_job *)task;
    keydata_free(job->data);
    OPENSSL_clear_free(job, sizeof(*job));
}

static const struct task_ops sign_ops = {.run = sign_run, .destroy = job_destroy};

/* ---- On the caller's thread ---- */

/* Refuses what no token could do before it costs a round trip to one. */
static hsm_status input_check(hsm_key *key, const hsm_mechanism *mech, size_t in_len, hsm_error *err)
{
    const hsm_public *p = hsm_key_public(key);
    const char *label = hsm_key_label(key);
    hsm_key_type wanted = mech->scheme == HSM_ECDSA ? HSM_KEY_EC : HSM_KEY_RSA;
    if (!hsm_key_is_private(key))
        return error_set(err, HSM_E_UNSUPPORTED, 0, "key '%s': it is a public key and cannot sign", label);
    if (p->type != wanted)
        return error_set(err, HSM_E_UNSUPPORTED, 0, "key '%s': wrong kind of signature for this type of key",
                         label);
    if (in_len == 0 || in_len > HSM_INPUT_MAX)
        return error_set(err, HSM_E_UNSUPPORTED, 0, "key '%s': %zu bytes cannot be signed", label, in_len);
    if (mech->scheme == HSM_RSA_PKCS1 && in_len + 11 > p->n_len) /* RFC 8017 section 9.2 */
        return error_set(err, HSM_E_UNSUPPORTED, 0, "key '%s': %zu bytes are too many for %u bits", label,
                         in_len, p->bits);
    if (mech->scheme == HSM_RSA_PSS &&
        (!hash_is_known(mech->hash) || !hash_is_known(mech->mgf_hash) || in_len != hashes[mech->hash].len))
        return error_set(err, HSM_E_UNSUPPORTED, 0, "key '%s': PSS wants a hash and a digest of its length",
                         label);
    return HSM_OK;
}

static struct hsm_job *job_new(hsm_key *key, const hsm_mechanism *mech, const uint8_t *in, size_t in_len)
{
    struct hsm_job *job = OPENSSL_zalloc(sizeof(*job));
    if (!job)
        return NULL;
    task_init(&job->task, &sign_ops);
    job->task.op = STATS_SIGN;
    job->timeout_ms = hsm_owner(key_hsm(key))->timeout_ms;
    job->data = keydata_ref(key_data(key));
    job->mech = *mech;
    /* FIPS 186-4 section 6.4: the leftmost bits of a longer digest; some tokens refuse to do that themselves.
     */
    size_t order = hsm_signature_len(key) / 2;
    job->in_len = mech->scheme == HSM_ECDSA && in_len > order ? order : in_len;
    memcpy(job->in, in, job->in_len);
    return job;
}

hsm_status hsm_sign_submit(hsm_key *key, const hsm_mechanism *mech, const uint8_t *in, size_t in_len,
                           hsm_job_done done, void *arg, hsm_job **out, hsm_error *err)
{
    *out = NULL;
    hsm_status status = input_check(key, mech, in_len, err);
    if (status != HSM_OK)
        return status;
    struct hsm_job *job = job_new(key, mech, in, in_len);
    if (!job)
        return error_set(err, HSM_E_MEMORY, 0, "key '%s': out of memory", hsm_key_label(key));
    job->key = hsm_key_ref(key);
    *out = job;
    status = token_submit(job->data->token, &job->task, done, arg, err);
    if (status != HSM_OK) {
        *out = NULL;
        job->key = NULL;
        task_discard(&job->task);
        hsm_key_free(key);
    }
    return status;
}

bool hsm_job_ready(hsm_job *job)
{
    return task_is_ready(&job->task);
}

/* The key is let go last: it may hold the hsm that the job's token belongs to. */
hsm_status hsm_job_finish(hsm_job *job, uint8_t *sig, size_t *sig_len, hsm_error *err)
{
    hsm_key *key = job->key;
    hsm_status status = HSM_OK;
    hsm_error why = {0};
    if (!task_wait(&job->task, job->timeout_ms, &why)) {
        status = error_copy(err, &why);
        goto out;
    }
    if (job->task.err.status != HSM_OK)
        status = error_copy(err, &job->task.err);
    else if (job->out_len != hsm_signature_len(key))
        status =
            error_set(err, HSM_E_TOKEN, 0, "key '%s': the token's signature has %lu bytes instead of %zu",
                      hsm_key_label(key), job->out_len, hsm_signature_len(key));
    else if (*sig_len < job->out_len)
        status =
            error_set(err, HSM_E_SPACE, 0, "key '%s': the buffer is too small for a signature of %lu bytes",
                      hsm_key_label(key), job->out_len);
    if (status == HSM_OK) {
        memcpy(sig, job->out, job->out_len);
        *sig_len = job->out_len;
    }
    task_release(&job->task);
out:
    hsm_key_free(key);
    return status;
}

void hsm_job_abandon(hsm_job *job)
{
    hsm_key *key = job->key;
    task_abandon(&job->task);
    hsm_key_free(key);
}

hsm_status hsm_sign(hsm_key *key, const hsm_mechanism *mech, const uint8_t *in, size_t in_len, uint8_t *sig,
                    size_t *sig_len, hsm_error *err)
{
    hsm_job *job = NULL;
    hsm_status status = hsm_sign_submit(key, mech, in, in_len, NULL, NULL, &job, err);
    return status == HSM_OK ? hsm_job_finish(job, sig, sig_len, err) : status;
}
