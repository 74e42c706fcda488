/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Logging in: the only way for a PIN to a token, who does it when several workers would, and the PIN that is
 * kept for the next time. Where PINs come from is pin.c's matter.
 */
#include "token-int.h"
#include "error.h"

#include <errno.h>
#include <string.h>

/* Our own, of no token: pin_is_welcome has said why. */
#define PIN_NOT_SHOWN (CKR_VENDOR_DEFINED | 0x5ea1a9e)

enum { LOGIN_PAUSE_MAX_MS = 64 };

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

bool login_again(struct token *t, struct worker *worker, CK_SLOT_ID slot_id, hsm_error *err)
{
    struct token_live *live = t->live;
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

bool token_reread(struct token *t, struct worker *worker, CK_RV rv, unsigned attempt)
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
