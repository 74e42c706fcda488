/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the token*.c files share: the structures, and the steps that one of them takes for another. Each step
 * runs on a worker of the token, so `t->live` is this process's.
 */
#ifndef HSM_TOKEN_INT_H
#define HSM_TOKEN_INT_H

#include <pthread.h>

#include "process.h"
#include "token.h"

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
    unsigned probe_ms; /* the back-off now, 0 before the first */
};

struct token {
    struct token_owner *owner;
    struct slot slot; /* as first seen; slot.id may change */
    char where[64];
    struct pin
        *_Atomic pin; /* one that has opened the token; under live's lock (atomic for the sake of fork) */
    struct token_live *_Atomic live;
    struct stats stats;
};

/* ---- token.c ---- */

/* The part of this process, made at first use. NULL if out of memory. */
struct token_live *token_live(struct token *t);

/* ---- token_session.c ---- */

/*
 * Gives the worker a new session. The old one is closed after that, since with the last session the login
 * would go too (PKCS#11 2.40 section 5.6, C_CloseSession); before it only where the token has no more
 * sessions to give.
 */
CK_RV session_replace(struct token *t, struct worker *worker, CK_SLOT_ID slot_id, uint64_t epoch,
                      hsm_error *err);
void session_close(struct token *t, struct worker *worker);
/* The token is away, and with it all its sessions, whoever has them still in hand. Locked. */
int sessions_write_off(struct token_live *live);

/* ---- copy.c ---- */

/* The worker's session ends, and its copies with it. */
void copies_drop(struct worker *worker);

/* ---- token_login.c ---- */

/*
 * Logs in again with the PIN that has worked before; without one, returns false and leaves `*err` empty. If
 * the PIN was refused it is forgotten, and that does not fail the opening: public objects are there all the
 * same, and whoever misses a private key learns why. Any other failure may pass, and is worth another probe.
 */
bool login_again(struct token *t, struct worker *worker, CK_SLOT_ID slot_id, hsm_error *err);
/*
 * A process that initialises SoftHSM2 2.6.1 while another writes the token's file may know the token without
 * its PIN, and then does not learn better. So the module is made to read it again. False if it is not that,
 * or cannot be done.
 */
bool token_reread(struct token *t, struct worker *worker, CK_RV rv, unsigned attempt);

#endif
