/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The life of a token: finding its slot, opening sessions, logging in, noticing that it is gone and taking it
 * back.
 *
 * The token is in one of four states, and one thread at a time works on changing it:
 *
 *     NEW ------> OPENING ------> READY            first use in this process
 *                  ^   |            | token_lost
 *                  |   v            v
 *                 AWAY <------- OPENING            the same steps again
 *
 * While OPENING after READY the other workers wait for the outcome. AWAY, they fail at once with the reason,
 * until the back-off is over; then the next one to come tries, alone, and the others still fail at once. So
 * an absent token costs nothing while nobody asks, and is back with the first request after it is.
 *
 * A token that comes back must be the very same (label, manufacturer, model, serial): the PIN of one token is
 * never shown to another. That the keys in it are the same is checked by key.c.
 */
#include "token.h"
#include "error.h"
#include "process.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include <openssl/crypto.h>

/* Our own, of no token: pin_is_welcome has said why. */
#define PIN_NOT_SHOWN (CKR_VENDOR_DEFINED | 0x5ea1a9e)

enum { PROBE_FIRST_MS = 20, PROBE_LAST_MS = 500, LOGIN_PAUSE_MAX_MS = 64 };

enum token_state { TOKEN_NEW, TOKEN_OPENING, TOKEN_READY, TOKEN_AWAY };

struct token_live {
    unsigned generation;
    struct token_live *parent; /* the one before the fork: kept, not touched */
    struct pool *pool;

    pthread_mutex_t lock;
    pthread_cond_t changed;
    int sessions;     /* open now, */
    unsigned account; /* as counted since the token was last away */
    enum token_state state;
    bool was_away; /* OPENING is a probe: others need not wait for it */
    uint64_t epoch;
    CK_SLOT_ID slot_id;
    bool logging_in, logged_in;
    hsm_error away;        /* why */
    hsm_error login_error; /* why the login could not be repeated, if so */
    struct timespec next_probe;
    unsigned probe_ms;
};

struct token {
    struct token_owner *owner;
    struct slot slot; /* as first seen; slot.id may change */
    char where[64];
    struct pin
        *_Atomic pin; /* one that has opened the token; under live's lock (atomic for the sake of fork) */
    struct token_live *_Atomic live;
};

static atomic_uint_fast64_t last_epoch;

/* ---- Life ---- */

static bool slot_dup(struct slot *to, const struct slot *from)
{
    *to = *from;
    to->label = OPENSSL_strdup(from->label);
    to->manufacturer = OPENSSL_strdup(from->manufacturer);
    to->model = OPENSSL_strdup(from->model);
    to->serial = OPENSSL_strdup(from->serial);
    to->description = OPENSSL_strdup(from->description);
    to->slot_manufacturer = OPENSSL_strdup(from->slot_manufacturer);
    return to->label && to->manufacturer && to->model && to->serial && to->description &&
           to->slot_manufacturer;
}

struct token *token_new(struct token_owner *owner, const struct slot *slot)
{
    struct token *t = OPENSSL_zalloc(sizeof(*t));
    if (!t)
        return NULL;
    t->owner = owner;
    (void)snprintf(t->where, sizeof(t->where), "token '%s'", slot->label);
    if (slot_dup(&t->slot, slot))
        return t;
    token_free(t);
    return NULL;
}

/* Called by workers only, so `live` is this process's. */
static void session_count(struct token *t, struct worker *worker, int change)
{
    struct token_live *live = t->live;
    pthread_mutex_lock(&live->lock);
    if (change > 0)
        worker->account = live->account;
    bool counts = worker->account == live->account;
    if (counts)
        live->sessions += change;
    pthread_mutex_unlock(&live->lock);
    if (counts)
        module_sessions_add(t->owner->module, change);
}

/* The token is away, and with it all its sessions, whoever has them still in hand. Locked. */
static int sessions_write_off(struct token_live *live)
{
    int lost = live->sessions;
    live->sessions = 0;
    live->account++;
    return lost;
}

static void session_close(struct token *t, struct worker *worker)
{
    if (!worker->has_session)
        return;
    worker->has_session = false;
    session_count(t, worker, -1);
    if (worker->incarnation == module_incarnation(t->owner->module))
        (void)CK(module_functions(t->owner->module), NULL, t->where, C_CloseSession, worker->session);
}

static void worker_end(struct worker *worker)
{
    if (worker->has_session)
        session_close(worker->token, worker);
}

/* The part of this process, made at first use. NULL if out of memory. */
static struct token_live *token_live(struct token *t)
{
    struct token_live *live = t->live;
    if (live && live->generation == process_generation())
        return live;
    struct token_live *fresh = OPENSSL_zalloc(sizeof(*fresh));
    if (!fresh)
        return NULL;
    fresh->generation = process_generation();
    fresh->slot_id = t->slot.id;
    fresh->probe_ms = PROBE_FIRST_MS;
    pthread_mutex_init(&fresh->lock, NULL);
    cond_init(&fresh->changed);
    fresh->pool = pool_new("sealane-hsm", t->where, t->owner->sessions, t->owner->queue, worker_end);

    registry_lock();
    live = t->live;
    bool first = !live || live->generation != process_generation();
    if (first && fresh->pool) {
        fresh->parent = live;
        t->live = fresh;
    }
    registry_unlock();
    if (first && fresh->pool) {
        pin_lock(t->pin);
        return fresh;
    }
    pool_free(fresh->pool);
    OPENSSL_free(fresh);
    return first ? NULL : live;
}

bool token_stop(struct token *t, unsigned bound_ms)
{
    struct token_live *live = t->live;
    if (live && live->generation == process_generation() && !pool_stop(live->pool, bound_ms))
        return false;
    pin_free(atomic_exchange(&t->pin, NULL));
    return true;
}

void token_free(struct token *t)
{
    struct token_live *live = t->live;
    if (live && live->generation == process_generation()) {
        pool_free(live->pool);
        pthread_mutex_destroy(&live->lock);
        pthread_cond_destroy(&live->changed);
    }
    while (live) {
        struct token_live *parent = live->parent;
        OPENSSL_free(live);
        live = parent;
    }
    OPENSSL_free(t->slot.label);
    OPENSSL_free(t->slot.manufacturer);
    OPENSSL_free(t->slot.model);
    OPENSSL_free(t->slot.serial);
    OPENSSL_free(t->slot.description);
    OPENSSL_free(t->slot.slot_manufacturer);
    OPENSSL_free(t);
}

struct token_owner *token_owner(struct token *t)
{
    return t->owner;
}

const struct slot *token_slot(const struct token *t)
{
    return &t->slot;
}

const char *token_where(const struct token *t)
{
    return t->where;
}

static bool same_token(const struct slot *a, const struct slot *b)
{
    return strcmp(a->label, b->label) == 0 && strcmp(a->manufacturer, b->manufacturer) == 0 &&
           strcmp(a->model, b->model) == 0 && strcmp(a->serial, b->serial) == 0;
}

bool token_is(const struct token *t, const struct slot *slot)
{
    return same_token(&t->slot, slot);
}

unsigned token_queued(struct token *t)
{
    struct token_live *live = t->live;
    return live && live->generation == process_generation() ? pool_queued(live->pool) : 0;
}

unsigned token_sessions(struct token *t)
{
    struct token_live *live = t->live;
    if (!live || live->generation != process_generation())
        return 0;
    pthread_mutex_lock(&live->lock);
    int sessions = live->sessions;
    pthread_mutex_unlock(&live->lock);
    return (unsigned)sessions;
}

hsm_status token_submit(struct token *t, struct task *task, hsm_job_done done, void *arg, hsm_error *err)
{
    struct token_live *live = token_live(t);
    if (!live)
        return error_set(err, HSM_E_MEMORY, 0, "%s: out of memory", t->where);
    if (t->owner->stopped)
        return error_set(err, HSM_E_SHUTDOWN, 0, "%s: the PKCS#11 module has been shut down", t->where);
    return task_submit(live->pool, task, done, arg, err);
}

/* ---- Login ---- */

/* Whether the token itself would rather not see a PIN now. */
static hsm_status pin_is_welcome(struct token *t, const struct pin *pin, CK_SLOT_ID slot_id, hsm_error *err)
{
    CK_TOKEN_INFO info;
    CK_RV rv = module_token_info(t->owner->module, slot_id, &info, t->where, err);
    if (rv != CKR_OK)
        return ckr_status(rv);
    if (info.flags & CKF_USER_PIN_LOCKED)
        return error_set(err, HSM_E_PIN, CKR_PIN_LOCKED,
                         "%s: its PIN is locked; the token's security officer can set a new one", t->where);
    if (info.flags & CKF_USER_PIN_FINAL_TRY)
        return error_set(
            err, HSM_E_PIN, 0,
            "%s: one wrong PIN more would lock it, so none is tried; log in by hand once to clear that",
            t->where);
    if (pin && module_pin_was_refused(t->owner->module, &t->slot, pin))
        return error_set(err, HSM_E_PIN, CKR_PIN_INCORRECT,
                         "%s: it has refused this PIN before; it is not tried again in this process",
                         t->where);
    return HSM_OK;
}

/* One C_Login. */
static CK_RV pin_try(struct token *t, CK_SESSION_HANDLE session, CK_SLOT_ID slot_id, CK_USER_TYPE user,
                     const struct pin *pin, hsm_error *err)
{
    if (pin_is_welcome(t, pin, slot_id, err) != HSM_OK)
        return PIN_NOT_SHOWN;
    atomic_fetch_add(&t->owner->logins, 1);
    return CK(module_functions(t->owner->module), err, t->where, C_Login, session, user,
              pin ? (CK_UTF8CHAR_PTR)(uintptr_t)pin->text : NULL, pin ? pin->len : 0);
}

/*
 * The only way for a PIN to a token. `user` is CKU_USER or CKU_CONTEXT_SPECIFIC; without a PIN the token has
 * a key pad of its own (CKF_PROTECTED_AUTHENTICATION_PATH). SoftHSM2 2.6.1 answers CKR_GENERAL_ERROR while
 * another process writes the token's file (see module_token_info); it has not judged the PIN then, so that
 * may be shown again.
 */
static hsm_status pin_present(struct token *t, CK_SESSION_HANDLE session, CK_SLOT_ID slot_id,
                              CK_USER_TYPE user, const struct pin *pin, hsm_error *err)
{
    hsm_error why = {0};
    CK_RV rv = pin_try(t, session, slot_id, user, pin, &why);
    for (unsigned pause = 1; rv == CKR_GENERAL_ERROR && pause <= LOGIN_PAUSE_MAX_MS; pause *= 2) {
        pause_ms(pause);
        rv = pin_try(t, session, slot_id, user, pin, &why);
    }
    if (rv == CKR_OK || rv == CKR_USER_ALREADY_LOGGED_IN)
        return HSM_OK;
    if (!ckr_is_pin_refusal(rv))
        return error_copy(err, &why);
    if (pin)
        module_pin_refuse(t->owner->module, &t->slot, pin);
    return error_set(err, HSM_E_PIN, rv, "%s: it refuses the PIN (%s); check the PIN before it locks",
                     t->where, hsm_ckr_name(rv));
}

bool token_knows_pin(struct token *t)
{
    struct token_live *live = token_live(t);
    if (!live)
        return false;
    pthread_mutex_lock(&live->lock);
    bool knows = live->logged_in || t->pin;
    pthread_mutex_unlock(&live->lock);
    return knows;
}

hsm_status token_login_state(struct token *t, hsm_error *err)
{
    struct token_live *live = t->live;
    pthread_mutex_lock(&live->lock);
    bool logged_in = live->logged_in;
    hsm_error why = live->login_error;
    pthread_mutex_unlock(&live->lock);
    if (logged_in || !t->slot.login_required)
        return HSM_OK;
    if (why.status != HSM_OK)
        return error_copy(err, &why);
    return error_set(err, HSM_E_PIN_NEEDED, 0, "%s: it wants a PIN, and none is given", t->where);
}

void token_seen(struct token *t)
{
    struct token_live *live = token_live(t);
    if (!live)
        return;
    pthread_mutex_lock(&live->lock);
    live->next_probe = deadline_after(0);
    pthread_mutex_unlock(&live->lock);
}

/* A copy of the kept PIN to work with: the kept one may be dropped at any time. */
static struct pin *pin_borrow(struct token *t, struct token_live *live)
{
    pthread_mutex_lock(&live->lock);
    struct pin *copy = pin_copy(t->pin);
    pthread_mutex_unlock(&live->lock);
    return copy;
}

static void pin_forget(struct token *t, struct token_live *live)
{
    pthread_mutex_lock(&live->lock);
    struct pin *old = t->pin;
    t->pin = NULL;
    pthread_mutex_unlock(&live->lock);
    pin_free(old);
}

hsm_status token_login(struct token *t, struct worker *worker, const struct pin *pin, hsm_error *err)
{
    struct token_live *live = t->live;
    struct timespec deadline = deadline_after(t->owner->timeout_ms);
    pthread_mutex_lock(&live->lock);
    while (live->logging_in && pthread_cond_timedwait(&live->changed, &live->lock, &deadline) != ETIMEDOUT)
        ;
    bool done = live->logged_in, busy = live->logging_in;
    CK_SLOT_ID slot_id = live->slot_id;
    if (!done && !busy)
        live->logging_in = true;
    pthread_mutex_unlock(&live->lock);
    if (done)
        return HSM_OK;
    if (busy)
        return error_set(err, HSM_E_TIMEOUT, 0, "%s: another login is still waiting for it", t->where);

    hsm_status status = pin_present(t, worker->session, slot_id, CKU_USER, pin, err);
    struct pin *keep = status == HSM_OK ? pin_copy(pin) : NULL;
    pthread_mutex_lock(&live->lock);
    live->logged_in = status == HSM_OK;
    live->logging_in = false;
    if (keep && !t->pin) {
        t->pin = keep;
        keep = NULL;
    }
    pthread_cond_broadcast(&live->changed);
    pthread_mutex_unlock(&live->lock);
    pin_free(keep);
    return status;
}

hsm_status token_login_for_key(struct token *t, struct worker *worker, hsm_error *err)
{
    struct token_live *live = t->live;
    struct pin *pin = pin_borrow(t, live);
    if (!pin && !t->slot.pin_pad)
        return error_set(err, HSM_E_PIN_NEEDED, 0,
                         "%s: the key wants the PIN for each signature, and none is known", t->where);
    pthread_mutex_lock(&live->lock);
    CK_SLOT_ID slot_id = live->slot_id;
    pthread_mutex_unlock(&live->lock);
    hsm_error why = {0};
    hsm_status status = pin_present(t, worker->session, slot_id, CKU_CONTEXT_SPECIFIC, pin, &why);
    if (status != HSM_OK && ckr_is_pin_refusal(why.ckr))
        pin_forget(t, live);
    pin_free(pin);
    return error_copy(err, &why);
}

/* ---- Opening ---- */

static CK_RV session_open(struct token *t, CK_SLOT_ID slot_id, CK_SESSION_HANDLE *session, hsm_error *err)
{
    return CK(module_functions(t->owner->module), err, t->where, C_OpenSession, slot_id, CKF_SERIAL_SESSION,
              NULL, NULL, session);
}

/*
 * Gives the worker a new session. The old one is closed after that, since with the last session the login
 * would go too (PKCS#11 2.40 section 5.6, C_CloseSession); before it only where the token has no more
 * sessions to give.
 */
static CK_RV session_replace(struct token *t, struct worker *worker, CK_SLOT_ID slot_id, uint64_t epoch,
                             hsm_error *err)
{
    CK_SESSION_HANDLE fresh = 0;
    CK_RV rv = session_open(t, slot_id, &fresh, err);
    if (rv == CKR_SESSION_COUNT && worker->has_session) {
        session_close(t, worker);
        rv = session_open(t, slot_id, &fresh, err);
    }
    session_close(t, worker);
    if (rv != CKR_OK)
        return rv;
    session_count(t, worker, 1);
    worker->token = t;
    worker->session = fresh;
    worker->has_session = true;
    worker->dirty = false;
    worker->epoch = epoch;
    worker->incarnation = module_incarnation(t->owner->module);
    return CKR_OK;
}

/* Looks for the token in the slots as they are. HSM_E_NO_TOKEN: it is in none. */
static hsm_status slot_search(struct token *t, CK_SLOT_ID *slot_id, hsm_error *err)
{
    struct slot *list = NULL;
    size_t count = 0;
    hsm_error why = {0};
    hsm_status status = module_slots(t->owner->module, &list, &count, &why);
    if (status != HSM_OK)
        return error_set(err, status, why.ckr, "%s: %s", t->where, why.text);
    status =
        error_set(err, HSM_E_NO_TOKEN, 0, "%s (serial %s) is not there any more", t->where, t->slot.serial);
    for (size_t i = 0; i < count; i++) {
        if (same_token(&list[i], &t->slot)) {
            *slot_id = list[i].id;
            status = HSM_OK;
            break;
        }
    }
    slots_free(list, count);
    return status;
}

/* Where is the token now? Slot numbers may have changed while it was away. */
static hsm_status slot_locate(struct token *t, CK_SLOT_ID *slot_id, bool patient, hsm_error *err)
{
    hsm_status status = slot_search(t, slot_id, err);
    if (status != HSM_OK && err->ckr == CKR_CRYPTOKI_NOT_INITIALIZED &&
        module_restart(t->owner->module, err) == HSM_OK)
        status = slot_search(t, slot_id, err);
    unsigned tries = patient ? RESCANS_MAX : 1;
    for (unsigned i = 0; i < tries && status != HSM_OK && module_rescan(t->owner->module, i); i++)
        status = slot_search(t, slot_id, err);
    return status;
}

/*
 * PKCS#11 2.40 section 3.2: 0 is CK_EFFECTIVELY_INFINITE, all ones CK_UNAVAILABLE_INFORMATION; neither is a
 * number of sessions. Anything else caps our workers.
 */
static hsm_status limits_read(struct token *t, struct token_live *live, CK_SLOT_ID slot_id, hsm_error *err)
{
    CK_TOKEN_INFO info;
    CK_RV rv = module_token_info(t->owner->module, slot_id, &info, t->where, err);
    if (rv != CKR_OK)
        return ckr_status(rv);
    CK_ULONG most = info.ulMaxSessionCount;
    if (most != CK_EFFECTIVELY_INFINITE && most != CK_UNAVAILABLE_INFORMATION && most < t->owner->sessions)
        pool_limit(live->pool, (unsigned)most);
    return HSM_OK;
}

/*
 * Logs in again with the PIN that has worked before. A failure does not fail the opening: public objects are
 * there all the same; but the PIN is forgotten if it was refused, and whoever misses a private key learns
 * why.
 */
static bool login_again(struct token *t, struct token_live *live, struct worker *worker, CK_SLOT_ID slot_id,
                        hsm_error *err)
{
    *err = (hsm_error){0};
    struct pin *pin = pin_borrow(t, live);
    if (!pin)
        return false;
    hsm_status status = pin_present(t, worker->session, slot_id, CKU_USER, pin, err);
    if (status != HSM_OK && ckr_is_pin_refusal(err->ckr))
        pin_forget(t, live);
    pin_free(pin);
    return status == HSM_OK;
}

/*
 * A process that initialises SoftHSM2 2.6.1 while another writes the token's file may know the token without
 * its PIN, and then does not learn better. So the module is made to read it again. False if it is not that,
 * or cannot be done.
 */
static bool token_reread(struct token *t, struct worker *worker, CK_RV rv, unsigned attempt)
{
    if (rv != CKR_USER_PIN_NOT_INITIALIZED || attempt >= RESCANS_MAX)
        return false;
    session_close(t, worker);
    return module_rescan(t->owner->module, attempt);
}

bool token_retry_login(struct token *t, struct worker *worker, unsigned long ckr, unsigned attempt)
{
    bool again = token_reread(t, worker, ckr, attempt);
    if (again)
        token_lost(t, worker);
    return again;
}

/* The steps from nothing to a logged-in session of this worker. */
static hsm_status token_open(struct token *t, struct token_live *live, struct worker *worker, bool patient,
                             hsm_error *err)
{
    CK_SLOT_ID slot_id = 0;
    bool logged_in = false;
    hsm_error login_error = {0};
    uint64_t epoch = atomic_fetch_add(&last_epoch, 1) + 1;
    hsm_status status = module_load(t->owner->module, err);
    for (unsigned attempt = 0; status == HSM_OK; attempt++) {
        status = slot_locate(t, &slot_id, patient, err);
        if (status == HSM_OK)
            status = limits_read(t, live, slot_id, err);
        if (status != HSM_OK)
            break;
        CK_RV rv = session_replace(t, worker, slot_id, epoch, err);
        if (rv != CKR_OK)
            return ckr_status(rv);
        logged_in = login_again(t, live, worker, slot_id, &login_error);
        if (logged_in || !token_reread(t, worker, login_error.ckr, attempt))
            break;
    }
    if (status != HSM_OK)
        return status;
    pthread_mutex_lock(&live->lock);
    live->epoch = epoch;
    live->slot_id = slot_id;
    live->logged_in = logged_in;
    live->login_error = login_error;
    pthread_mutex_unlock(&live->lock);
    return HSM_OK;
}

/* One thread has the token to itself (OPENING): do it and tell the others. */
static hsm_status token_reopen(struct token *t, struct token_live *live, struct worker *worker, bool again,
                               hsm_error *err)
{
    hsm_error why = {0};
    int lost = 0;
    hsm_status status = token_open(t, live, worker, !again, &why);
    if (status == HSM_OK && again)
        atomic_fetch_add(&t->owner->recoveries, 1);

    pthread_mutex_lock(&live->lock);
    if (status == HSM_OK) {
        live->state = TOKEN_READY;
        live->probe_ms = PROBE_FIRST_MS;
    } else {
        lost = sessions_write_off(live);
        live->state = TOKEN_AWAY;
        live->away = why;
        live->next_probe = deadline_after(live->probe_ms);
        live->probe_ms = live->probe_ms * 2 < PROBE_LAST_MS ? live->probe_ms * 2 : PROBE_LAST_MS;
    }
    pthread_cond_broadcast(&live->changed);
    pthread_mutex_unlock(&live->lock);
    module_sessions_add(t->owner->module, -lost);
    return status == HSM_OK ? HSM_OK : error_copy(err, &why);
}

/* ---- Sessions ---- */

/* What token_session is to do next. */
enum step { STEP_USE, STEP_OPEN_SESSION, STEP_OPEN_TOKEN, STEP_PROBE, STEP_FAIL };

/* Waits while another thread opens the token, then decides. Locked. */
static enum step next_step(struct token *t, struct token_live *live, struct worker *worker, hsm_error *err)
{
    struct timespec deadline = deadline_after(t->owner->timeout_ms);
    while (live->state == TOKEN_OPENING && !live->was_away) {
        if (pthread_cond_timedwait(&live->changed, &live->lock, &deadline) == ETIMEDOUT) {
            (void)error_set(err, HSM_E_TIMEOUT, 0, "%s: it does not open", t->where);
            return STEP_FAIL;
        }
    }
    switch (live->state) {
    case TOKEN_READY:
        return worker->has_session && !worker->dirty && worker->epoch == live->epoch ? STEP_USE
                                                                                     : STEP_OPEN_SESSION;
    case TOKEN_NEW:
        live->state = TOKEN_OPENING;
        live->was_away = false;
        return STEP_OPEN_TOKEN;
    case TOKEN_AWAY:
        if (deadline_passed(&live->next_probe)) {
            live->state = TOKEN_OPENING;
            live->was_away = true;
            return STEP_PROBE;
        }
        break;
    case TOKEN_OPENING:
        break;
    }
    (void)error_copy(err, &live->away);
    return STEP_FAIL;
}

/* A session for a worker that has none of this epoch, on a token that is open. */
static hsm_status worker_session(struct token *t, struct token_live *live, struct worker *worker,
                                 hsm_error *err)
{
    pthread_mutex_lock(&live->lock);
    uint64_t epoch = live->epoch;
    CK_SLOT_ID slot_id = live->slot_id;
    pthread_mutex_unlock(&live->lock);
    CK_RV rv = session_replace(t, worker, slot_id, epoch, err);
    if (rv == CKR_SESSION_COUNT) /* the token has less than it said, or others use it too */
        worker->retire = true;
    if (ckr_is_loss(rv)) {
        worker->epoch = epoch;
        token_lost(t, worker);
    }
    return rv == CKR_OK ? HSM_OK : ckr_status(rv);
}

hsm_status token_session(struct token *t, struct worker *worker, struct place *place, hsm_error *err)
{
    struct token_live *live = t->live;
    hsm_error why = {0}; /* the code here reads it, and the caller may have passed NULL */
    hsm_status status = HSM_OK;
    for (int turn = 0; turn < 3; turn++) {
        pthread_mutex_lock(&live->lock);
        enum step step = next_step(t, live, worker, &why);
        pthread_mutex_unlock(&live->lock);
        switch (step) {
        case STEP_USE:
            status = HSM_OK;
            break;
        case STEP_OPEN_SESSION:
            status = worker_session(t, live, worker, &why);
            break;
        case STEP_OPEN_TOKEN:
        case STEP_PROBE:
            status = token_reopen(t, live, worker, step == STEP_PROBE || worker->has_session, &why);
            break;
        case STEP_FAIL:
            return error_copy(err, &why);
        }
        if (status == HSM_OK ? worker->has_session : !ckr_is_loss(why.ckr))
            break;
    }
    if (status != HSM_OK)
        return error_copy(err, &why);
    if (!worker->has_session)
        return error_set(err, HSM_E_TOKEN, 0, "%s: it closes its sessions as fast as they are opened",
                         t->where);
    *place = (struct place){module_functions(t->owner->module), worker->session, t->where};
    return HSM_OK;
}

void token_lost(struct token *t, struct worker *worker)
{
    struct token_live *live = t->live;
    pthread_mutex_lock(&live->lock);
    /* Of the many that notice, the first of this epoch counts: NEW lets the next one open the token. */
    if (live->state == TOKEN_READY && live->epoch == worker->epoch) {
        live->state = TOKEN_NEW;
        live->logged_in = false;
    }
    pthread_mutex_unlock(&live->lock);
}

bool token_session_is_user(struct token *t, struct worker *worker)
{
    CK_SESSION_INFO info;
    CK_RV rv =
        CK(module_functions(t->owner->module), NULL, t->where, C_GetSessionInfo, worker->session, &info);
    return rv == CKR_OK && (info.state == CKS_RO_USER_FUNCTIONS || info.state == CKS_RW_USER_FUNCTIONS);
}

/* ---- Remembered handles ---- */

bool token_handle_get(struct token *t, const struct handle *h, unsigned long *object)
{
    struct token_live *live = t->live;
    pthread_mutex_lock(&live->lock);
    bool good = h->epoch != 0 && h->epoch == live->epoch;
    *object = h->object;
    pthread_mutex_unlock(&live->lock);
    return good;
}

void token_handle_set(struct token *t, struct handle *h, uint64_t epoch, unsigned long object)
{
    struct token_live *live = t->live;
    pthread_mutex_lock(&live->lock);
    *h = (struct handle){epoch, object};
    pthread_mutex_unlock(&live->lock);
}
