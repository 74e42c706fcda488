/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Running a task on its caller's thread, for processes that may have no other: some daemons forbid themselves
 * new threads before they serve (RLIMIT_NPROC of 0: HAProxy, Dovecot's login processes).
 *
 * One task at a time and no time-outs: it is the caller itself who is in the module. A pool's own threads are
 * better in every respect, so they are tried first each time.
 */
#ifndef HSM_HERE_H
#define HSM_HERE_H

#include <pthread.h>
#include <ucontext.h>

#include "pool.h"

/* In each pool. */
struct here {
    pthread_mutex_t lock; /* of all that follows, and held while a task runs */
    struct worker worker; /* with the session that these tasks use */
    bool used;
    void *stack; /* for callers that are on a small one */
    ucontext_t caller, own;
};

void here_init(struct here *here, struct pool *pool);
/* Runs the task. On a stack of its own if the caller's may be small: an ASYNC job has 32 KB. */
void here_run(struct here *here, struct task *task, bool small_stack);
/* Lets `end` close the session. False if somebody is still in the module. */
bool here_stop(struct here *here, void (*end)(struct worker *));
void here_destroy(struct here *here);

#endif
