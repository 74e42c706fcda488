/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Tokens: one `struct token` per hsm and token that was ever used, with its pool of workers, its login, and
 * what to do when it goes away and comes back.
 *
 * Identity (label, manufacturer, model, serial) and PIN live as long as the hsm and survive a fork.
 * Everything else is of one process: `struct token_live`, made anew at the first use in a child.
 */
#ifndef HSM_TOKEN_H
#define HSM_TOKEN_H

#include <stdint.h>

#include "module.h"
#include "object.h"
#include "pin.h"
#include "pool.h"
#include "sealane/hsm.h"
#include "slot.h"
#include "text.h"

struct token;

/* What a token needs of the hsm that it belongs to. */
struct token_owner {
    struct module *module;
    unsigned sessions, queue, timeout_ms, idle_ms;
    hsm_modules caller_thread, key_copies;
    atomic_bool stopped;
    atomic_uint_fast64_t signatures, failures, logins, recoveries;
};

/* A token that fits `slot`, which is copied. NULL if out of memory. */
struct token *token_new(struct token_owner *owner, const struct slot *slot);
/* Ends its workers, wipes its PIN. False if a worker hangs in the module: then nothing of the token may be
 * freed. */
bool token_stop(struct token *t, unsigned bound_ms);
void token_free(struct token *t);

struct token_owner *token_owner(struct token *t);
const struct slot *token_slot(const struct token *t);
const char *token_where(const struct token *t); /* for messages: token 'mail' */
bool token_is(const struct token *t, const struct slot *slot);
/* Logged in, or able to log in by itself: no PIN has to be asked for. */
bool token_knows_pin(struct token *t);
/* Somebody has seen it in its slot: if it was away, the next request may try at once. */
void token_seen(struct token *t);
/* In this process, now. */
unsigned token_queued(struct token *t);
unsigned token_sessions(struct token *t);
unsigned token_load(struct token *t); /* operations that wait or run */

/* Queues a task for the workers of this token. */
hsm_status token_submit(struct token *t, struct task *task, hsm_job_done done, void *arg, hsm_error *err);

/* What there is to tell of it, as a JSON object. */
void token_write(struct token *t, struct text *out);
/* Where to queue tasks. NULL if out of memory, or after the end. */
struct pool *token_pool(struct token *t);

/* ---- On a worker ---- */

/*
 * Gives the worker a session of the token as it is now, opening and logging in where needed. When the token
 * is away: HSM_E_NO_TOKEN at once, but for one caller per back-off, who tries whether it is back.
 */
hsm_status token_session(struct token *t, struct worker *worker, struct place *place, hsm_error *err);
/*
 * The same, but waits for a token that has no session left, as long as somebody waits for `task` and at most three
 * quarters of the time-out: other processes give back what they do not use (pool_settings, idle_ms).
 */
hsm_status token_session_await(struct token *t, struct worker *worker, struct task *task, struct place *place,
                               hsm_error *err);
/* The same if the worker has one that is good, and nothing is to be done for it. */
bool token_session_at_hand(struct token *t, const struct worker *worker, struct place *place);
/*
 * Logs in with `pin` unless the token is logged in already. The first to come logs in, others wait for his
 * result. Takes a copy of the PIN for later.
 */
hsm_status token_login(struct token *t, struct worker *worker, const struct pin *pin, hsm_error *err);
/*
 * Is a login that failed with `ckr` worth another attempt (they count from 0), starting from token_session?
 * Only where the module may have read the token's record while somebody wrote it; it has read it again then.
 */
bool token_retry_login(struct token *t, struct worker *worker, unsigned long ckr, unsigned attempt);
/* C_Login for one operation with a key that has CKA_ALWAYS_AUTHENTICATE (PKCS#11 2.40 section 5.6). */
hsm_status token_login_for_key(struct token *t, struct worker *worker, hsm_error *err);
/* The session told the worker that the token, the session or the login is lost: the next token_session
 * repairs it. */
void token_lost(struct token *t, struct worker *worker);
/* HSM_OK if private objects can be seen; else why not (HSM_E_PIN_NEEDED, HSM_E_PIN). */
hsm_status token_login_state(struct token *t, hsm_error *err);
/* Is the token, by its own account, still logged in? What it says, not what we remember. */
bool token_session_is_user(struct token *t, struct worker *worker);

/*
 * A number that changes with everything that invalidates object handles; unique in the process and its
 * parents. token_handle reads and writes a remembered handle under the token's lock.
 */
struct handle {
    uint64_t epoch;
    unsigned long object;
};
bool token_handle_get(struct token *t, const struct handle *h, unsigned long *object);
void token_handle_set(struct token *t, struct handle *h, uint64_t epoch, unsigned long object);

#endif
