/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Operations with private keys: C_Sign, C_Decrypt and C_DeriveKey on a worker, tried again after a loss
 * (the token's files repair, this file repeats). Hashing and padding have been done by the caller, or are
 * done by him with the result.
 */
#include "cluster.h"
#include "copy.h"
#include "error.h"
#include "hsm-int.h"
#include "key.h"
#include "process.h"

#include <string.h>

#include <openssl/crypto.h>

struct hsm_job {
    struct task task; /* first: a job is a task */
    hsm_key *key;     /* the caller's reference; NULL once he has gone */
    unsigned timeout_ms;
    struct keydata *data;    /* the key in the token that does it */
    struct cluster *cluster; /* the tokens that could; NULL if it is one alone */
    uint32_t tried;          /* members of it */
    hsm_mechanism mech;      /* its label points behind the input */
    uint8_t out[HSM_OUTPUT_MAX];
    CK_ULONG out_len;
    size_t in_len;
    uint8_t in[]; /* and the label */
};

static size_t job_size(const hsm_mechanism *mech, size_t in_len)
{
    return sizeof(struct hsm_job) + in_len + mech->label_len;
}

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

/* What there is to know of a scheme; the types of keys as bits. */
static const struct scheme {
    const char *name;
    enum stats_op kind;
    CK_MECHANISM_TYPE mechanism;
    unsigned types;
} schemes[HSM_SCHEMES] = {
#define TYPE(t)   (1u << HSM_KEY_##t)
#define RSA_TYPES (TYPE(RSA) | TYPE(RSA_PSS))
#define EDWARDS   (TYPE(ED25519) | TYPE(ED448))
    [HSM_RSA_PKCS1] = {"an RSA signature", STATS_SIGN, CKM_RSA_PKCS, TYPE(RSA)},
    [HSM_RSA_PSS] = {"an RSA-PSS signature", STATS_SIGN, CKM_RSA_PKCS_PSS, RSA_TYPES},
    [HSM_RSA_RAW] = {"a raw RSA signature", STATS_SIGN, CKM_RSA_X_509, RSA_TYPES},
    [HSM_ECDSA] = {"an ECDSA signature", STATS_SIGN, CKM_ECDSA, TYPE(EC)},
    [HSM_EDDSA] = {"an EdDSA signature", STATS_SIGN, CKM_EDDSA, EDWARDS},
    [HSM_RSA_PKCS1_DECRYPT] = {"RSA decryption", STATS_DECRYPT, CKM_RSA_PKCS, TYPE(RSA)},
    [HSM_RSA_OAEP_DECRYPT] = {"RSA-OAEP decryption", STATS_DECRYPT, CKM_RSA_PKCS_OAEP, TYPE(RSA)},
    [HSM_RSA_RAW_DECRYPT] = {"raw RSA decryption", STATS_DECRYPT, CKM_RSA_X_509, TYPE(RSA)},
    [HSM_ECDH] = {"ECDH", STATS_DERIVE, CKM_ECDH1_DERIVE, TYPE(EC)},
#undef EDWARDS
#undef RSA_TYPES
#undef TYPE
};

size_t hsm_output_len(const hsm_key *key, hsm_scheme scheme)
{
    const hsm_public *p = hsm_key_public(key);
    if (scheme >= HSM_SCHEMES || !(schemes[scheme].types & (1u << p->type)))
        return 0;
    switch (p->type) {
    case HSM_KEY_RSA:
    case HSM_KEY_RSA_PSS:
        return p->n_len;
    case HSM_KEY_EC:
        return ((size_t)p->bits + 7) / 8 * (scheme == HSM_ECDSA ? 2 : 1);
    case HSM_KEY_ED25519: /* RFC 8032 sections 5.1.6 and 5.2.6: twice the length of the key */
    case HSM_KEY_ED448:
        return 2 * p->point_len;
    }
    return 0;
}

/* ---- On the worker ---- */

/* PKCS#11 3.0 section 6.3.15; for headers that do not have it yet. */
struct eddsa_params {
    CK_BBOOL prehash;
    CK_ULONG context_len;
    CK_BYTE_PTR context;
};

/* A mechanism as Cryptoki wants it, with room for its parameters. */
struct mechanism {
    CK_MECHANISM m;
    union {
        CK_RSA_PKCS_PSS_PARAMS pss;
        CK_RSA_PKCS_OAEP_PARAMS oaep;
        struct eddsa_params eddsa;
        CK_ECDH1_DERIVE_PARAMS ecdh;
    } params;
};

static void mechanism_fill(struct hsm_job *job, struct mechanism *out)
{
    const hsm_mechanism *mech = &job->mech;
    *out = (struct mechanism){.m = {schemes[mech->scheme].mechanism, NULL, 0}};
    switch (mech->scheme) {
    case HSM_RSA_PSS:
        out->params.pss =
            (CK_RSA_PKCS_PSS_PARAMS){hashes[mech->hash].hash, hashes[mech->mgf_hash].mgf, mech->salt_len};
        out->m.ulParameterLen = sizeof(out->params.pss);
        break;
    case HSM_RSA_OAEP_DECRYPT:
        out->params.oaep = (CK_RSA_PKCS_OAEP_PARAMS){
            hashes[mech->hash].hash, hashes[mech->mgf_hash].mgf, CKZ_DATA_SPECIFIED,
            mech->label_len > 0 ? (void *)(uintptr_t)mech->label : NULL, mech->label_len};
        out->m.ulParameterLen = sizeof(out->params.oaep);
        break;
    case HSM_EDDSA: /* Ed25519 without parameters is pure; Ed448 always has a context, if an empty one */
        if (job->data->public.type == HSM_KEY_ED448)
            out->m.ulParameterLen = sizeof(out->params.eddsa);
        break;
    case HSM_ECDH:
        out->params.ecdh =
            (CK_ECDH1_DERIVE_PARAMS){.kdf = CKD_NULL, .ulPublicDataLen = job->in_len, .pPublicData = job->in};
        out->m.ulParameterLen = sizeof(out->params.ecdh);
        break;
    default:
        break;
    }
    if (out->m.ulParameterLen > 0)
        out->m.pParameter = &out->params;
}

/* What the token answers when this operation, or these parameters, are not for this key or this token. */
static bool is_unable(CK_RV rv)
{
    return ckr_status(rv) == HSM_E_UNSUPPORTED || rv == CKR_ARGUMENTS_BAD;
}

static hsm_status begin_failed(CK_RV rv, hsm_error *err)
{
    hsm_status status = is_unable(rv) ? HSM_E_UNSUPPORTED : ckr_status(rv);
    if (err && err->status != HSM_OK)
        err->status = status;
    return status;
}

/* C_SignInit or C_DecryptInit, and the PIN once more for keys that want it each time. */
static hsm_status cipher_begin(struct hsm_job *job, struct worker *worker, const struct place *place,
                               CK_MECHANISM *m, CK_OBJECT_HANDLE object, hsm_error *err)
{
    bool sign = schemes[job->mech.scheme].kind == STATS_SIGN;
    CK_RV rv = sign ? CK(place->functions, err, place->where, C_SignInit, place->session, m, object)
                    : CK(place->functions, err, place->where, C_DecryptInit, place->session, m, object);
    if (rv != CKR_OK)
        return begin_failed(rv, err);
    if (!job->data->always_authenticate)
        return HSM_OK;
    hsm_status status = token_login_for_key(job->data->token, worker, err);
    worker->dirty = status != HSM_OK; /* the only way to end the begun operation */
    return status;
}

static hsm_status cipher_once(struct hsm_job *job, struct worker *worker, const struct place *place,
                              CK_OBJECT_HANDLE object, hsm_error *err)
{
    struct mechanism mechanism;
    mechanism_fill(job, &mechanism);
    hsm_status status = cipher_begin(job, worker, place, &mechanism.m, object, err);
    if (status != HSM_OK)
        return status;
    bool sign = schemes[job->mech.scheme].kind == STATS_SIGN;
    job->out_len = sizeof(job->out);
    CK_RV rv = sign ? CK(place->functions, err, place->where, C_Sign, place->session, job->in, job->in_len,
                         job->out, &job->out_len)
                    : CK(place->functions, err, place->where, C_Decrypt, place->session, job->in, job->in_len,
                         job->out, &job->out_len);
    /* Not every token ends the operation on every error (PKCS#11 2.40 section 5.11). */
    worker->dirty = rv != CKR_OK;
    return ckr_status(rv);
}

/* Reads the derived secret and destroys it in the token. */
static hsm_status secret_take(struct hsm_job *job, const struct place *place, CK_OBJECT_HANDLE secret,
                              hsm_error *err)
{
    CK_ATTRIBUTE value = {CKA_VALUE, job->out, sizeof(job->out)};
    CK_RV rv =
        CK(place->functions, err, place->where, C_GetAttributeValue, place->session, secret, &value, 1);
    job->out_len = rv == CKR_OK ? value.ulValueLen : 0;
    (void)CK(place->functions, NULL, place->where, C_DestroyObject, place->session, secret);
    return ckr_status(rv);
}

/*
 * ECDH's result is the caller's to use (it becomes a session key in his hands), so it is an ordinary session
 * object that can be read and is destroyed at once.
 */
static hsm_status derive_once(struct hsm_job *job, const struct place *place, CK_OBJECT_HANDLE object,
                              hsm_error *err)
{
    CK_OBJECT_CLASS class = CKO_SECRET_KEY;
    CK_KEY_TYPE type = CKK_GENERIC_SECRET;
    CK_BBOOL yes = CK_TRUE, no = CK_FALSE;
    CK_ULONG len = (job->data->public.bits + 7) / 8;
    CK_ATTRIBUTE template[] = {{CKA_CLASS, &class, sizeof(class)},   {CKA_KEY_TYPE, &type, sizeof(type)},
                               {CKA_TOKEN, &no, sizeof(no)},         {CKA_SENSITIVE, &no, sizeof(no)},
                               {CKA_EXTRACTABLE, &yes, sizeof(yes)}, {CKA_VALUE_LEN, &len, sizeof(len)}};
    struct mechanism mechanism;
    CK_OBJECT_HANDLE secret = CK_INVALID_HANDLE;
    mechanism_fill(job, &mechanism);
    CK_RV rv = CK(place->functions, err, place->where, C_DeriveKey, place->session, &mechanism.m, object,
                  template, sizeof(template) / sizeof(template[0]), &secret);
    return rv == CKR_OK ? secret_take(job, place, secret, err) : begin_failed(rv, err);
}

static hsm_status job_do(struct hsm_job *job, struct worker *worker, const struct place *place,
                         CK_OBJECT_HANDLE object, hsm_error *err)
{
    return schemes[job->mech.scheme].kind == STATS_DERIVE ? derive_once(job, place, object, err)
                                                          : cipher_once(job, worker, place, object, err);
}

/* One try, from finding a session to the token's answer. `reached`: there was a session to try it with. */
static hsm_status operate_once(struct hsm_job *job, struct worker *worker, bool *reached, hsm_error *err)
{
    struct place place;
    CK_OBJECT_HANDLE object = 0;
    struct token *token = job->data->token; /* one of a group need not be waited for: there are others */
    hsm_status status = job->cluster ? token_session(token, worker, &place, err)
                                     : token_session_await(token, worker, &job->task, &place, err);
    *reached = status == HSM_OK;
    if (status == HSM_OK)
        status = copy_locate(job->data, worker, &place, &object, err);
    return status == HSM_OK ? job_do(job, worker, &place, object, err) : status;
}

/* ---- Trying again ---- */

/*
 * A storm of losses may hit one operation several times, so it is tried again more than once: at once, then
 * after 1, 2, 4 ... ms, over an eighth of a second in all. That outlasts the first probes of a token that was away for
 * a moment, and costs a token that loses its session with every call one login each time, ever more slowly.
 * Nothing is repeated that nobody waits for any more, so a caller's time-out bounds it too.
 */
enum { TRIES_MAX = 9 };

/* What a failure can be answered with. */
enum repair { REPAIR_NONE, REPAIR_REOPEN, REPAIR_FIND_KEY, REPAIR_NEW_SESSION, REPAIR_PROBE };

/*
 * `seen`: this operation has had a session. One that finds the token away from the start fails at once, and so
 * does one that another token of a group can do.
 */
static enum repair repair_for(const struct hsm_job *job, bool reached, bool seen, const hsm_error *why)
{
    bool loss = ckr_is_loss(why->ckr);
    if (!reached)
        return seen && !job->cluster && (loss || why->status == HSM_E_NO_TOKEN) ? REPAIR_PROBE : REPAIR_NONE;
    if (loss)
        return REPAIR_REOPEN;
    if (ckr_is_stale_object(why->ckr))
        return REPAIR_FIND_KEY;
    return why->ckr == CKR_OPERATION_ACTIVE ? REPAIR_NEW_SESSION : REPAIR_NONE;
}

static void repair(enum repair what, struct keydata *data, struct worker *worker)
{
    switch (what) {
    case REPAIR_REOPEN:
        token_lost(data->token, worker);
        break;
    case REPAIR_FIND_KEY:
        copy_forget(data, worker);
        break;
    case REPAIR_NEW_SESSION:
        worker->dirty = true;
        break;
    case REPAIR_PROBE: /* token_session does, when its back-off is over */
    case REPAIR_NONE:
        break;
    }
}

static hsm_status operate(struct hsm_job *job, struct worker *worker, hsm_error *why)
{
    bool seen = false;
    for (unsigned tries = 1;; tries++) {
        bool reached = false;
        *why = (hsm_error){0};
        hsm_status status = operate_once(job, worker, &reached, why);
        seen = seen || reached;
        enum repair what = status == HSM_OK ? REPAIR_NONE : repair_for(job, reached, seen, why);
        if (what == REPAIR_NONE)
            return status;
        repair(what, job->data, worker); /* also for the next operation */
        if (tries == TRIES_MAX || !task_is_wanted(&job->task))
            return status;
        if (tries > 1)
            pause_ms(1u << (tries - 2));
    }
}

static void operation_end(struct hsm_job *job, const struct worker *worker, hsm_status status,
                          const hsm_error *why)
{
    struct token_owner *owner = token_owner(job->data->token);
    if (status == HSM_OK)
        atomic_fetch_add(&owner->signatures, 1);
    else if (!worker->retire)
        atomic_fetch_add(&owner->failures, 1);
    job->task.err = status == HSM_OK ? (hsm_error){0} : *why;
}

static void operation_run(struct task *task, struct worker *worker)
{
    struct hsm_job *job = (struct hsm_job *)task;
    hsm_error why;
    hsm_status status = operate(job, worker, &why);
    if (status == HSM_OK && job->cluster)
        (void)cluster_report(job->cluster, job->data, &(hsm_error){.status = HSM_OK});
    operation_end(job, worker, status, &why);
}

/* ---- On the caller's thread ---- */

/*
 * A key that wants the PIN for each use may bring up a login that fails, and a member of a group that hangs is to be
 * replaced by another: both are the workers'.
 */
static bool may_be_on_loan(const struct hsm_job *job)
{
    const struct token_owner *owner = token_owner(job->data->token);
    return !job->cluster && !job->data->always_authenticate &&
           (owner->caller_thread == HSM_ALL ||
            (owner->caller_thread == HSM_NEAR && module_is_near(owner->module)));
}

/* One try, with what is at hand. Whatever could be repaired is left to a worker, from the start. */
static bool operation_run_on_loan(struct task *task, struct worker *worker)
{
    struct hsm_job *job = (struct hsm_job *)task;
    struct place place;
    CK_OBJECT_HANDLE object = 0;
    hsm_error why = {0};
    if (!token_session_at_hand(job->data->token, worker, &place) || !copy_at_hand(job->data, worker, &object))
        return false;
    hsm_status status = job_do(job, worker, &place, object, &why);
    bool over = status == HSM_OK || repair_for(job, true, true, &why) == REPAIR_NONE;
    if (over)
        operation_end(job, worker, status, &why);
    return over;
}

static void job_destroy(struct task *task)
{
    struct hsm_job *job = (struct hsm_job *)task;
    keydata_free(job->data);
    cluster_free(job->cluster);
    OPENSSL_clear_free(job, job_size(&job->mech, job->in_len));
}

/* The operation has failed in one token of several: the next one, if it was the token's failure. */
static struct pool *job_elsewhere(struct task *task)
{
    struct hsm_job *job = (struct hsm_job *)task;
    struct keydata *next = NULL;
    if (job->cluster && cluster_report(job->cluster, job->data, &task->err))
        next = cluster_pick(job->cluster, &job->tried);
    if (!next)
        return NULL;
    registry_lock(); /* for job_again, on a thread that has lost patience meanwhile */
    struct keydata *last = job->data;
    job->data = next;
    registry_unlock();
    keydata_free(last);
    return token_pool(next->token);
}

static const struct task_ops operation_ops = {
    .run = operation_run,
    .destroy = job_destroy,
    .elsewhere = job_elsewhere,
    .run_on_loan = operation_run_on_loan,
};

/* ---- The caller's side ---- */

/* Does the input have a length that the scheme can take? */
static bool input_fits(const hsm_public *p, const hsm_mechanism *mech, size_t in_len)
{
    if (mech->scheme == HSM_EDDSA)
        return in_len <= HSM_MESSAGE_MAX;
    if (in_len == 0 || in_len > HSM_BLOCK_MAX)
        return false;
    switch (mech->scheme) {
    case HSM_RSA_PKCS1: /* RFC 8017 section 9.2 */
        return in_len + 11 <= p->n_len;
    case HSM_RSA_RAW:
    case HSM_RSA_PKCS1_DECRYPT:
    case HSM_RSA_OAEP_DECRYPT:
    case HSM_RSA_RAW_DECRYPT:
        return in_len == p->n_len;
    case HSM_ECDH:
        return in_len == p->point_len;
    default:
        return true;
    }
}

/* Refuses what no token could do before it costs a round trip to one. */
static hsm_status input_check(hsm_key *key, const hsm_mechanism *mech, size_t in_len, hsm_error *err)
{
    const hsm_public *p = hsm_key_public(key);
    const char *label = hsm_key_label(key);
    bool hashed = mech->scheme == HSM_RSA_PSS || mech->scheme == HSM_RSA_OAEP_DECRYPT;
    if (!hsm_key_is_private(key))
        return error_set(err, HSM_E_UNSUPPORTED, 0, "key '%s': it is a public key and cannot sign or decrypt",
                         label);
    if (hsm_output_len(key, mech->scheme) == 0)
        return error_set(err, HSM_E_UNSUPPORTED, 0, "key '%s': this type of key cannot do %s", label,
                         mech->scheme < HSM_SCHEMES ? schemes[mech->scheme].name : "that");
    if (!input_fits(p, mech, in_len))
        return error_set(err, HSM_E_UNSUPPORTED, 0, "key '%s' (%u bits): %zu bytes are no input for %s",
                         label, p->bits, in_len, schemes[mech->scheme].name);
    if ((hashed && (!hash_is_known(mech->hash) || !hash_is_known(mech->mgf_hash))) ||
        (mech->scheme == HSM_RSA_PSS && in_len != hashes[mech->hash].len))
        return error_set(err, HSM_E_UNSUPPORTED, 0, "key '%s': %s wants a hash and a digest of its length",
                         label, schemes[mech->scheme].name);
    return HSM_OK;
}

/* `tried`: members of the key's group that shall not do it. */
static struct hsm_job *job_new(hsm_key *key, const hsm_mechanism *mech, const uint8_t *in, size_t in_len,
                               uint32_t tried)
{
    /* FIPS 186-4 section 6.4: the leftmost bits of a longer digest; some tokens refuse to do that themselves.
     */
    size_t order = hsm_output_len(key, HSM_ECDSA) / 2;
    if (mech->scheme == HSM_ECDSA && in_len > order)
        in_len = order;
    struct hsm_job *job = OPENSSL_malloc(job_size(mech, in_len));
    if (!job)
        return NULL;
    memset(job, 0, sizeof(*job));
    task_init(&job->task, &operation_ops);
    job->task.op = schemes[mech->scheme].kind;
    job->timeout_ms = hsm_owner(key_hsm(key))->timeout_ms;
    job->cluster = cluster_ref(key_cluster(key));
    job->tried = tried;
    job->data = job->cluster ? cluster_pick(job->cluster, &job->tried) : keydata_ref(key_data(key));
    job->task.on_loan = job->data && may_be_on_loan(job);
    job->mech = *mech;
    job->in_len = in_len;
    if (in_len > 0)
        memcpy(job->in, in, in_len);
    if (mech->label_len > 0)
        memcpy(job->in + in_len, mech->label, mech->label_len);
    job->mech.label = job->in + in_len;
    return job;
}

/* To the first member that takes it, if there are several. */
static hsm_status job_submit(struct hsm_job *job, hsm_job_done done, void *arg, hsm_error *err)
{
    hsm_error why = {0};
    hsm_status status = token_submit(job->data->token, &job->task, done, arg, &why);
    while (status != HSM_OK && job->cluster && cluster_report(job->cluster, job->data, &why)) {
        struct keydata *next = cluster_pick(job->cluster, &job->tried);
        if (!next)
            break;
        keydata_free(job->data);
        job->data = next;
        status = token_submit(next->token, &job->task, done, arg, &why);
    }
    return status == HSM_OK ? HSM_OK : error_copy(err, &why);
}

hsm_status hsm_submit(hsm_key *key, const hsm_mechanism *mech, const uint8_t *in, size_t in_len,
                      hsm_job_done done, void *arg, hsm_job **out, hsm_error *err)
{
    *out = NULL;
    hsm_status status = input_check(key, mech, in_len, err);
    if (status != HSM_OK)
        return status;
    struct hsm_job *job = job_new(key, mech, in, in_len, 0);
    if (!job)
        return error_set(err, HSM_E_MEMORY, 0, "key '%s': out of memory", hsm_key_label(key));
    job->key = hsm_key_ref(key);
    *out = job;
    if (job->cluster)
        cluster_tend(job->cluster, key_hsm(key));
    status = job->data ? job_submit(job, done, arg, err)
                       : error_set(err, HSM_E_NO_OBJECT, 0, "key '%s': no token of its group has it any more",
                                   hsm_key_label(key));
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

/* Is the token's answer of the length that it must have? A decrypted message may be shorter. */
static bool output_fits(const hsm_job *job, const hsm_key *key)
{
    size_t most = hsm_output_len(key, job->mech.scheme);
    bool shorter = job->mech.scheme == HSM_RSA_PKCS1_DECRYPT || job->mech.scheme == HSM_RSA_OAEP_DECRYPT;
    return shorter ? job->out_len <= most : job->out_len == most;
}

/*
 * The token has not answered in time. If others could do it the same operation begins anew in one of them;
 * NULL if not. The old job is still a worker's and may not come back.
 */
static struct hsm_job *job_again(struct hsm_job *old, hsm_key *key, const hsm_error *why)
{
    registry_lock();
    struct keydata *data = keydata_ref(old->data);
    uint32_t tried = old->tried;
    registry_unlock();
    bool others = cluster_report(old->cluster, data, why);
    keydata_free(data);
    struct hsm_job *job = others ? job_new(key, &old->mech, old->in, old->in_len, tried) : NULL;
    if (job && (!job->data || job_submit(job, NULL, NULL, NULL) != HSM_OK)) {
        task_discard(&job->task);
        job = NULL;
    }
    return job;
}

/* Waits for the result, in one token or, if that hangs, in another. NULL: there is none, `err` says why. */
static struct hsm_job *job_wait(struct hsm_job *job, hsm_key *key, hsm_error *err)
{
    while (job) {
        struct hsm_job *late = job->cluster ? job : NULL;
        if (late)
            task_hold(&late->task);
        bool ready = task_wait(&job->task, job->timeout_ms, err);
        if (!ready)
            job = late && err->status == HSM_E_TIMEOUT ? job_again(late, key, err) : NULL;
        if (late)
            task_release(&late->task);
        if (ready)
            break;
    }
    return job;
}

/* The key is let go last: it may hold the hsm that the job's token belongs to. */
hsm_status hsm_job_finish(hsm_job *job, uint8_t *out, size_t *out_len, hsm_error *err)
{
    hsm_key *key = job->key;
    hsm_status status = HSM_OK;
    hsm_error why = {0};
    job = job_wait(job, key, &why);
    if (!job) {
        status = error_copy(err, &why);
        goto out;
    }
    if (job->task.err.status != HSM_OK)
        status = error_copy(err, &job->task.err);
    else if (!output_fits(job, key))
        status = error_set(err, HSM_E_TOKEN, 0, "key '%s': the token's answer has %lu bytes instead of %zu",
                           hsm_key_label(key), job->out_len, hsm_output_len(key, job->mech.scheme));
    else if (*out_len < job->out_len)
        status = error_set(err, HSM_E_SPACE, 0, "key '%s': the buffer is too small for %lu bytes",
                           hsm_key_label(key), job->out_len);
    if (status == HSM_OK) {
        memcpy(out, job->out, job->out_len);
        *out_len = job->out_len;
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

hsm_status hsm_operate(hsm_key *key, const hsm_mechanism *mech, const uint8_t *in, size_t in_len,
                       uint8_t *out, size_t *out_len, hsm_error *err)
{
    hsm_job *job = NULL;
    hsm_status status = hsm_submit(key, mech, in, in_len, NULL, NULL, &job, err);
    return status == HSM_OK ? hsm_job_finish(job, out, out_len, err) : status;
}
