/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A bounded queue of tasks and the worker threads that run them, first come, first served.
 *
 * Worker threads are started while work waits and all of them are busy, up to a limit. They have all signals
 * blocked, since the daemon's handlers are not for them. A pool belongs to one process: a child of fork makes
 * its own.
 */
#ifndef HSM_POOL_H
#define HSM_POOL_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "bell.h"
#include "sealane/hsm.h"
#include "stats.h"
#include "watch.h"

struct pool;
struct task;
struct token;

/* A thread of a pool and the session that it alone uses. */
struct worker {
    struct pool *pool;
    struct token *token; /* whose session it is */
    pthread_t thread;
    struct worker *next;   /* among those that are idle, hang or have ended */
    unsigned long session; /* CK_SESSION_HANDLE */
    struct copies *copies; /* of keys, in the session (copy.c); NULL: none */
    bool has_session;
    bool dirty;       /* an operation may be left half done in the session */
    uint64_t epoch;   /* of the token when the session was opened */
    unsigned account; /* of the token's sessions then: of a later one, this session is written off */
    unsigned
        incarnation; /* of the module then: after another C_Initialize the handle may be somebody else's */
    bool retire;     /* set by a task that could not run: end this thread, another one shall run it */
    /* private to pool.c, under the pool's lock */
    struct task *current;
    unsigned age; /* pool_settings.age when `current` was taken */
    bool stuck;   /* `current` was given up */
    bool used;    /* since it was last asked */
    bell wake;    /* idle: `current` is set, or the pool stops */
};

struct task_ops {
    void (*run)(struct task *task, struct worker *worker); /* on a worker; leaves its result in task->err */
    void (*destroy)(struct task *task);                    /* by whoever drops the last reference */
    /*
     * May be NULL. The same as run, on the thread of the task's caller, with the session of a worker that sleeps
     * meanwhile. False: it takes more than that; nothing has been done, and run shall do it.
     */
    bool (*run_on_loan)(struct task *task, struct worker *worker);
    /* May be NULL. The task has failed (task->err): the pool that shall try it next, or NULL. On any thread. */
    struct pool *(*elsewhere)(struct task *task);
};

/*
 * Embedded at the start of what is to be done. Two references: the caller's, until task_wait or task_abandon,
 * and the pool's, until it has run. So the caller may go while the token still works.
 */
struct task {
    const struct task_ops *ops;
    hsm_error err; /* status HSM_OK unless run says otherwise */
    /* These may be set between task_init and task_submit: */
    enum stats_op op; /* what it is counted as */
    bool on_loan;     /* without a `done`, it may run on the caller's thread */
    /* private to pool.c, task.c and watch.c */
    struct pool *home; /* where it was submitted; keeps its deadline */
    uint64_t asked;    /* stats_now() then */
    struct watch_entry watched;
    struct task *next, *prev; /* under the pool's lock, as are: */
    bool queued;
    struct worker *worker; /* that has taken it */
    atomic_uint refs;
    bell over;            /* rung once it is ready or expired */
    pthread_mutex_t lock; /* of what follows, and held while `done` runs */
    struct pool *pool;    /* where it is now */
    bool ready, expired, abandoned;
    hsm_job_done done;
    void *done_arg;
};

void task_init(struct task *task, const struct task_ops *ops);
/* For a task that was never submitted, or whose submission failed. */
void task_discard(struct task *task);

/*
 * Queues the task. On failure it is still the caller's: HSM_E_BUSY, too many wait; HSM_E_TIMEOUT, every thread
 * is stuck in a token that does not answer; HSM_E_SHUTDOWN. With `done`, the task is also ended
 * at the pool's time-out: `done` is called, task_is_ready says true and task_wait says that it was too late. Where the
 * pool can have no thread, the task has been run before this returns (here.h); so it has if it was run on loan.
 */
hsm_status task_submit(struct pool *pool, struct task *task, hsm_job_done done, void *arg, hsm_error *err);
bool task_is_ready(struct task *task);
bool task_is_wanted(struct task *task); /* somebody waits for it still, and it is not too late */
/*
 * Waits for the result. True: it is there, and the caller still holds the task (task_release). False: too
 * late, or the task belongs to the parent of this process; it has been abandoned, err says so.
 */
bool task_wait(struct task *task, unsigned timeout_ms, hsm_error *err);
void task_release(struct task *task);
void task_hold(struct task *task); /* one more reference, for task_release */
/* The caller goes. A task that still waits is taken out of the queue; `done` will not be called any more. */
void task_abandon(struct task *task);

struct pool_settings {
    const char *name;  /* of the threads, at most 15 characters */
    const char *where; /* for messages: which token */
    unsigned limit;    /* most threads */
    unsigned queue_max;
    unsigned timeout_ms; /* of tasks with a `done` */
    unsigned idle_ms;    /* a thread with nothing to do for so long ends, but the last; 0: none does */
    void (*end)(struct worker *); /* runs as the last thing on each thread; may be NULL */
    /* Whether who hangs now will ever return: not, once this has changed since he went in. May be NULL. */
    unsigned (*age)(void *arg);
    void *age_arg;
    struct stats *stats; /* where tasks are counted; may be NULL; outlives the pool */
};
struct pool *pool_new(const struct pool_settings *settings); /* NULL if out of memory */
/* Lowers the number of threads that may be started from now on; never below 1. */
void pool_limit(struct pool *pool, unsigned limit);
bool pool_is_own(const struct pool *pool); /* of this process, not of a parent */
unsigned pool_queued(struct pool *pool);
/* Tasks that wait or run. */
unsigned pool_load(struct pool *pool);
/* No thread is left that could run anything: all of them are in a module that does not return. */
bool pool_is_stuck(struct pool *pool);
/*
 * Ends the pool: what waits fails with HSM_E_SHUTDOWN, what runs may finish. True if all threads ended within
 * `bound_ms`; false leaves the rest running, and then the pool must stay allocated.
 */
bool pool_stop(struct pool *pool, unsigned bound_ms);
/* After a pool_stop that returned true, or for a pool of the parent process (which is only forgotten). */
void pool_free(struct pool *pool);
/* Stops all pools of this process. */
bool pools_stop_all(unsigned bound_ms);

#endif
