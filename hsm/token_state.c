/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The states of a token: opening it, noticing that it is gone and taking it back.
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
#include "debug.h"
#include "error.h"
#include "token-int.h"

#include <errno.h>
#include <string.h>

enum { PROBE_FIRST_MS = 20, PROBE_LAST_MS = 250, OPENINGS_MAX = 4 };

static atomic_uint_fast64_t last_epoch;

/* ---- Opening ---- */

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
        if (token_is(t, &list[i])) {
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
        logged_in = login_again(t, worker, slot_id, &login_error);
        if (logged_in || !token_reread(t, worker, login_error.ckr, attempt))
            break;
    }
    if (status == HSM_OK && login_error.status != HSM_OK && !ckr_is_pin_refusal(login_error.ckr))
        status = error_copy(err, &login_error);
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

/* The back-off: twice the last one, between bounds. */
static unsigned probe_after(unsigned last_ms)
{
    if (last_ms == 0)
        return PROBE_FIRST_MS;
    return last_ms * 2 < PROBE_LAST_MS ? last_ms * 2 : PROBE_LAST_MS;
}

/* One thread has the token to itself (OPENING): do it and tell the others. */
static hsm_status token_reopen(struct token *t, struct token_live *live, struct worker *worker, bool again,
                               hsm_error *err)
{
    hsm_error why = {0};
    int lost = 0;
    hsm_status status = HSM_E_TOKEN;
    for (int i = 0; i < OPENINGS_MAX && status != HSM_OK; i++) {
        why = (hsm_error){0};
        status = token_open(t, live, worker, !again, &why);
        if (why.ckr != CKR_SESSION_HANDLE_INVALID && why.ckr != CKR_SESSION_CLOSED)
            break; /* only that: the new session was lost at once, the token is there */
    }
    if (status == HSM_OK && again)
        atomic_fetch_add(&t->owner->recoveries, 1);

    pthread_mutex_lock(&live->lock);
    if (status == HSM_OK) {
        live->state = TOKEN_READY;
        live->probe_ms = 0;
    } else {
        lost = sessions_write_off(live);
        live->state = TOKEN_AWAY;
        live->away = why;
        live->probe_ms = probe_after(live->probe_ms);
        live->next_probe = deadline_after(live->probe_ms);
    }
    pthread_cond_broadcast(&live->changed);
    pthread_mutex_unlock(&live->lock);
    debug_line("%s: %s%s", t->where, status == HSM_OK ? again ? "is back" : "is open" : "is away: ",
               status == HSM_OK ? "" : why.text);
    module_sessions_add(t->owner->module, -lost);
    return status == HSM_OK ? HSM_OK : error_copy(err, &why);
}

/* ---- Sessions ---- */

/* What token_session is to do next. */
enum step { STEP_USE, STEP_OPEN_SESSION, STEP_OPEN_TOKEN, STEP_PROBE, STEP_FAIL };

/* The module was started anew, for another of its tokens, and all its handles with it. Locked. */
static bool module_is_another(const struct token *t, const struct token_live *live,
                              const struct worker *worker)
{
    return worker->has_session && worker->epoch == live->epoch &&
           worker->incarnation != module_incarnation(t->owner->module);
}

/* Locked. */
static bool session_is_good(const struct token *t, const struct token_live *live, const struct worker *worker)
{
    return worker->has_session && !worker->dirty && worker->epoch == live->epoch &&
           !module_is_another(t, live, worker);
}

/* The next to come opens the token. Locked. */
static void token_void(struct token_live *live)
{
    live->state = TOKEN_NEW;
    live->logged_in = false;
}

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
    if (live->state == TOKEN_READY && module_is_another(t, live, worker))
        token_void(live);
    switch (live->state) {
    case TOKEN_READY:
        return session_is_good(t, live, worker) ? STEP_USE : STEP_OPEN_SESSION;
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
    worker->retire = rv == CKR_SESSION_COUNT; /* the token has less than it said, or others use it too */
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

/* Worth waiting for, since others may give one back; not if this process has another to use (worker->retire). */
static bool is_out_of_sessions(const struct worker *worker, const hsm_error *why)
{
    return why->ckr == CKR_SESSION_COUNT && !worker->retire;
}

hsm_status token_session_await(struct token *t, struct worker *worker, struct task *task, struct place *place,
                               hsm_error *err)
{
    hsm_error why = {0};
    hsm_status status = token_session(t, worker, place, &why);
    if (status == HSM_OK || !is_out_of_sessions(worker, &why))
        return error_copy(err, &why);
    struct timespec deadline = deadline_after(t->owner->timeout_ms / 4 * 3);
    while (status != HSM_OK && is_out_of_sessions(worker, &why) && task_is_wanted(task) && !gate_is_shut()) {
        if (deadline_passed(&deadline))
            return error_set(err, HSM_E_TOKEN, CKR_SESSION_COUNT,
                             "%s: all its sessions are in use by others; let each process have fewer of them",
                             t->where);
        pause_ms(PROBE_FIRST_MS);
        why = (hsm_error){0};
        status = token_session(t, worker, place, &why);
    }
    return error_copy(err, &why);
}

bool token_session_at_hand(struct token *t, const struct worker *worker, struct place *place)
{
    struct token_live *live = t->live;
    pthread_mutex_lock(&live->lock);
    bool good = live->state == TOKEN_READY && session_is_good(t, live, worker);
    pthread_mutex_unlock(&live->lock);
    *place = (struct place){module_functions(t->owner->module), worker->session, t->where};
    return good;
}

void token_lost(struct token *t, struct worker *worker)
{
    struct token_live *live = t->live;
    pthread_mutex_lock(&live->lock);
    /* Of the many that notice, the first of this epoch counts: NEW lets the next one open the token. */
    bool first = live->state == TOKEN_READY && live->epoch == worker->epoch;
    if (first)
        token_void(live);
    pthread_mutex_unlock(&live->lock);
    if (first)
        debug_line("%s: is lost", t->where);
}
