/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Sessions of a token: opening, closing and counting them. Which worker needs one, and when, is
 * token_state.c's matter.
 */
#include "token-int.h"

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

int sessions_write_off(struct token_live *live)
{
    int lost = live->sessions;
    live->sessions = 0;
    live->account++;
    return lost;
}

void session_close(struct token *t, struct worker *worker)
{
    if (!worker->has_session)
        return;
    worker->has_session = false;
    copies_drop(worker);
    session_count(t, worker, -1);
    if (worker->incarnation == module_incarnation(t->owner->module))
        (void)CK(module_functions(t->owner->module), NULL, t->where, C_CloseSession, worker->session);
}

static CK_RV session_open(struct token *t, CK_SLOT_ID slot_id, CK_SESSION_HANDLE *session, hsm_error *err)
{
    return CK(module_functions(t->owner->module), err, t->where, C_OpenSession, slot_id, CKF_SERIAL_SESSION,
              NULL, NULL, session);
}

CK_RV session_replace(struct token *t, struct worker *worker, CK_SLOT_ID slot_id, uint64_t epoch,
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

bool token_session_is_user(struct token *t, struct worker *worker)
{
    CK_SESSION_INFO info;
    CK_RV rv =
        CK(module_functions(t->owner->module), NULL, t->where, C_GetSessionInfo, worker->session, &info);
    return rv == CKR_OK && (info.state == CKS_RO_USER_FUNCTIONS || info.state == CKS_RW_USER_FUNCTIONS);
}
