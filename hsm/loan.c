/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A task on its caller's thread: a worker that has nothing to do lends its session, and sleeps on. That costs neither
 * of the two wake-ups that a worker and back cost, and the caller's caches stay his.
 *
 * What it cannot do is give up: the caller is in the module himself. So it is for modules that do not hang, or for
 * who would rather hang (hsm_settings, caller_thread). The watch counts him as stuck all the same, so that others
 * are told; and only the straight path is taken: whatever needs a login, a search or a repair is a worker's.
 */
#include "pool-int.h"

#include <pthread.h>

#include <openssl/err.h>

/* Only where all that is asked for is done at once: whoever waits has come before. */
static struct worker *worker_borrow(struct pool *pool, struct task *task)
{
    pthread_mutex_lock(&pool->lock);
    struct worker *worker = pool->stopping ? NULL : pool->idle;
    if (worker) {
        pool->idle = worker->next;
        worker_take(worker, task);
    }
    pthread_mutex_unlock(&pool->lock);
    return worker;
}

/* The thread has been asleep all the time: only for a task, or for its end, it is woken. */
static void worker_give_back(struct worker *worker)
{
    struct pool *pool = worker->pool;
    pthread_mutex_lock(&pool->lock);
    worker_leave(worker);
    bool stopping = pool->stopping;
    struct task *next = stopping ? NULL : queue_pop(pool);
    if (next)
        worker_take(worker, next);
    else if (!stopping)
        worker_rest(worker);
    pthread_mutex_unlock(&pool->lock);
    if (next || stopping)
        worker_wake(worker);
}

/*
 * A cancelled thread would take the session along, and the locks of the module. Modules use libcrypto too, and what
 * they leave in the queue of errors libssl would take for an error of its own.
 */
static bool run(struct task *task, struct worker *worker)
{
    int cancel;
    (void)pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &cancel);
    (void)ERR_set_mark();
    bool done = task->ops->run_on_loan(task, worker);
    (void)ERR_pop_to_mark();
    (void)pthread_setcancelstate(cancel, NULL);
    return done;
}

bool pool_run_on_loan(struct pool *pool, struct task *task)
{
    struct worker *worker = worker_borrow(pool, task);
    if (!worker)
        return false;
    atomic_fetch_add(&pool->load, 1);
    (void)watch_add(&pool->watch, task);
    bool done = run(task, worker);
    watch_remove(&pool->watch, task);
    worker_give_back(worker);
    if (done && !task_is_expired(task)) /* it was counted when it was given up */
        task_count(pool, task);
    atomic_fetch_sub(&pool->load, 1);
    return done;
}
