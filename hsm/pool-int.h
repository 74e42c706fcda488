/* SPDX-License-Identifier: Apache-2.0 */
/* What pool.c, task.c and watch.c share. */
#ifndef HSM_POOL_INT_H
#define HSM_POOL_INT_H

#include "here.h"
#include "pool.h"
#include "stats.h"
#include "watch.h"

struct pool {
    unsigned generation;
    struct pool_settings set; /* its strings are the two below */
    char name[16];
    char where[80];
    struct pool *next_pool; /* in the list of all pools, under the registry lock */
    struct watch watch;
    struct here here;
    atomic_uint load; /* tasks that wait or run */

    pthread_mutex_t lock;
    pthread_cond_t ended; /* a thread has ended */
    struct task *head, *tail;
    unsigned queued;
    unsigned limit, most;     /* threads: now, and if no session were refused */
    struct timespec again;    /* when to try more than `limit` again */
    unsigned alive, retiring; /* of those alive, so many have given their task back and are at their end */
    struct worker *idle;      /* the last to become idle first: its caches are warm. Then nothing waits. */
    struct worker *hung;      /* at tasks that were given up: the module may never return */
    struct worker *gone;      /* ended, to be joined */
    struct worker *joined;    /* of those no thread is left */
    bool stopping;
};

/* ---- pool.c ---- */

/* A thread of ours: all signals blocked, since the daemon's handlers are not for it. */
bool thread_start(pthread_t *thread, void *(*run)(void *), void *arg);

/*
 * Puts a task behind the others. On failure (HSM_E_BUSY, _TIMEOUT, _SHUTDOWN) nothing has happened; HSM_E_MEMORY: the
 * pool has no thread and cannot start one.
 */
hsm_status pool_push(struct pool *pool, struct task *task, hsm_error *err);
/* The next of those that wait, taken out of the queue; NULL if none does. Locked. */
struct task *queue_pop(struct pool *pool);
/* A thread and its task, whose time with the module begins. Locked. */
void worker_take(struct worker *worker, struct task *task);
/* Its thread is no longer at a task. Locked. */
void worker_leave(struct worker *worker);
/* Nothing waits, so the worker is among the idle ones from now on. Locked. */
void worker_rest(struct worker *worker);
/* Wakes a thread that is not among the idle ones any more; NULL: none. Without the lock. */
void worker_wake(struct worker *worker);
/* In the statistics, with its result. */
void task_count(struct pool *pool, const struct task *task);
/* For a process that may have no threads: runs the task before it returns, on the caller's thread. */
void pool_run_here(struct pool *pool, struct task *task);
/* Takes a task out of the queue. False if it does not wait there. */
bool pool_take_out(struct pool *pool, struct task *task);
/* The caller has lost patience with a task that is still running, if it is: its worker counts as stuck. */
void pool_give_up(struct pool *pool, struct task *task);

/* ---- loan.c ---- */

/*
 * Runs the task on the caller's thread, with the session of a worker that has nothing to do. False if there is
 * none, or the task wants more than that.
 */
bool pool_run_on_loan(struct pool *pool, struct task *task);

/* ---- task.c ---- */

/* It ran, or was refused: it goes to another pool if it can, or else is complete. */
void task_end(struct task *task);
bool task_is_expired(struct task *task);
/* Its time is over: wakes whoever sleeps. */
void task_expire(struct task *task);

#endif
