/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Tasks, their queue, and the threads that run them. What a task does is its own matter (sign.c, find.c);
 * nothing here knows of Cryptoki.
 *
 * Locks: the pool's guards queue and threads, the task's guards its result. They are never held together.
 */
#include "pool.h"
#include "error.h"
#include "process.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include <openssl/crypto.h>

struct pool {
    unsigned generation;
    char name[16];
    char where[80]; /* for messages: which token */
    void (*end)(struct worker *);
    struct pool *next_pool; /* in the list of all pools, under the registry lock */

    pthread_mutex_t lock;
    pthread_cond_t work;  /* something to do, or stopping */
    pthread_cond_t ended; /* a thread has ended */
    struct task *head, *tail;
    unsigned queued, queue_max;
    unsigned limit, alive, idle;
    struct worker *gone; /* ended, to be joined */
    bool stopping;
};

/*
 * All pools that were ever made and not freed. Those of the parent stay in it after a fork: never touched
 * again, but known, so that leak checkers see that they are kept on purpose.
 */
static struct pool *all_pools;

/* ---- Tasks ---- */

void task_init(struct task *task, const struct task_ops *ops)
{
    task->ops = ops;
    atomic_init(&task->refs, 1);
    pthread_mutex_init(&task->lock, NULL);
    cond_init(&task->changed);
}

static bool task_is_foreign(const struct task *task)
{
    return task->pool && task->pool->generation != process_generation();
}

void task_release(struct task *task)
{
    if (atomic_fetch_sub(&task->refs, 1) != 1)
        return;
    if (!task_is_foreign(task)) { /* destroying a lock that a thread of the parent holds is undefined */
        pthread_mutex_destroy(&task->lock);
        pthread_cond_destroy(&task->changed);
    }
    task->ops->destroy(task);
}

void task_discard(struct task *task)
{
    task_release(task);
}

/* The pool's part is over: tell whoever waits, unless he has gone. */
static void task_complete(struct task *task)
{
    pthread_mutex_lock(&task->lock);
    task->ready = true;
    if (task->done && !task->abandoned)
        task->done(task->done_arg);
    pthread_cond_broadcast(&task->changed);
    pthread_mutex_unlock(&task->lock);
    task_release(task);
}

bool task_is_ready(struct task *task)
{
    if (task_is_foreign(task))
        return true; /* to be found out by task_wait: nobody will ever finish it here */
    pthread_mutex_lock(&task->lock);
    bool ready = task->ready;
    pthread_mutex_unlock(&task->lock);
    return ready;
}

/* Takes the task out of the queue if it still waits there. */
static void queue_remove(struct pool *pool, struct task *task)
{
    pthread_mutex_lock(&pool->lock);
    bool was_queued = task->queued;
    if (was_queued) {
        *(task->prev ? &task->prev->next : &pool->head) = task->next;
        *(task->next ? &task->next->prev : &pool->tail) = task->prev;
        task->queued = false;
        pool->queued--;
    }
    pthread_mutex_unlock(&pool->lock);
    if (was_queued)
        task_release(task); /* the pool's reference */
}

void task_abandon(struct task *task)
{
    if (!task_is_foreign(task)) {
        pthread_mutex_lock(&task->lock);
        task->abandoned = true;
        pthread_mutex_unlock(&task->lock);
        queue_remove(task->pool, task);
    }
    task_release(task);
}

bool task_wait(struct task *task, unsigned timeout_ms, hsm_error *err)
{
    if (task_is_foreign(task)) {
        error_set(err, HSM_E_SHUTDOWN, 0,
                  "%s: the operation was begun before a fork and stays with the parent", task->pool->where);
        task_release(task);
        return false;
    }
    struct timespec deadline = deadline_after(timeout_ms);
    pthread_mutex_lock(&task->lock);
    while (!task->ready) {
        if (pthread_cond_timedwait(&task->changed, &task->lock, &deadline) == ETIMEDOUT)
            break;
    }
    bool ready = task->ready;
    pthread_mutex_unlock(&task->lock);
    if (ready)
        return true;
    error_set(err, HSM_E_TIMEOUT, 0, "%s: no answer within %u ms", task->pool->where, timeout_ms);
    task_abandon(task);
    return false;
}

/* ---- Workers ---- */

static struct task *queue_pop(struct pool *pool)
{
    struct task *task = pool->head;
    if (!task)
        return NULL;
    pool->head = task->next;
    *(task->next ? &task->next->prev : &pool->tail) = NULL;
    task->next = NULL;
    task->queued = false;
    pool->queued--;
    return task;
}

/* Gives a task back to be run by another thread, before all others. False if there is no other thread. */
static bool queue_return(struct pool *pool, struct task *task)
{
    pthread_mutex_lock(&pool->lock);
    bool others = pool->alive > 1 && !pool->stopping;
    if (others) {
        pool->limit = pool->alive - 1; /* do not try that again with every task */
        task->err = (hsm_error){0};
        task->prev = NULL;
        task->next = pool->head;
        *(pool->head ? &pool->head->prev : &pool->tail) = task;
        pool->head = task;
        task->queued = true;
        pool->queued++;
        pthread_cond_signal(&pool->work);
    }
    pthread_mutex_unlock(&pool->lock);
    return others;
}

/* The next task, or NULL when the thread is to end. */
static struct task *worker_next(struct worker *worker)
{
    struct pool *pool = worker->pool;
    struct task *task = NULL;
    pthread_mutex_lock(&pool->lock);
    while (!pool->stopping && !worker->retire) {
        task = queue_pop(pool);
        if (task)
            break;
        pool->idle++;
        pthread_cond_wait(&pool->work, &pool->lock);
        pool->idle--;
    }
    pthread_mutex_unlock(&pool->lock);
    return task;
}

static void *worker_main(void *arg)
{
    struct worker *worker = arg;
    struct pool *pool = worker->pool;
    (void)pthread_setname_np(pthread_self(), pool->name);

    struct task *task;
    while ((task = worker_next(worker))) {
        pthread_mutex_lock(&task->lock);
        bool wanted = !task->abandoned;
        pthread_mutex_unlock(&task->lock);
        if (wanted)
            task->ops->run(task, worker);
        if (!worker->retire || !queue_return(pool, task))
            task_complete(task);
    }
    if (pool->end)
        pool->end(worker);

    pthread_mutex_lock(&pool->lock);
    pool->alive--;
    worker->next = pool->gone;
    pool->gone = worker;
    pthread_cond_broadcast(&pool->ended);
    pthread_mutex_unlock(&pool->lock);
    return NULL;
}

/* Starts one more thread; the pool is locked. */
static bool worker_start(struct pool *pool)
{
    sigset_t all, old;
    struct worker *worker = OPENSSL_zalloc(sizeof(*worker));
    if (!worker)
        return false;
    worker->pool = pool;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    bool started = pthread_create(&worker->thread, NULL, worker_main, worker) == 0;
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    if (started)
        pool->alive++;
    else
        OPENSSL_free(worker);
    return started;
}

hsm_status task_submit(struct pool *pool, struct task *task, hsm_job_done done, void *arg, hsm_error *err)
{
    hsm_status status = HSM_OK;
    task->pool = pool;
    task->done = done;
    task->done_arg = arg;

    pthread_mutex_lock(&pool->lock);
    if (pool->stopping || gate_is_shut()) {
        status = error_set(err, HSM_E_SHUTDOWN, 0, "%s: the process is ending", pool->where);
        goto out;
    }
    if (pool->queued >= pool->queue_max) {
        status =
            error_set(err, HSM_E_BUSY, 0, "%s: %u operations wait already; try again later or allow more",
                      pool->where, pool->queued);
        goto out;
    }
    /* A thread that was woken but does not run yet still counts as idle, so compare with what waits. */
    if (pool->queued + 1 > pool->idle && pool->alive < pool->limit && !worker_start(pool) &&
        pool->alive == 0) {
        status = error_set(err, HSM_E_MEMORY, 0, "%s: cannot start a thread", pool->where);
        goto out;
    }
    atomic_fetch_add(&task->refs, 1);
    task->prev = pool->tail;
    *(pool->tail ? &pool->tail->next : &pool->head) = task;
    pool->tail = task;
    task->queued = true;
    pool->queued++;
    pthread_cond_signal(&pool->work);
out:
    pthread_mutex_unlock(&pool->lock);
    return status;
}

/* ---- Pools ---- */

struct pool *pool_new(const char *name, const char *where, unsigned limit, unsigned queue_max,
                      void (*end)(struct worker *))
{
    struct pool *pool = OPENSSL_zalloc(sizeof(*pool));
    if (!pool)
        return NULL;
    pool->generation = process_generation();
    (void)snprintf(pool->name, sizeof(pool->name), "%s", name);
    (void)snprintf(pool->where, sizeof(pool->where), "%s", where);
    pool->limit = limit > 0 ? limit : 1;
    pool->queue_max = queue_max;
    pool->end = end;
    pthread_mutex_init(&pool->lock, NULL);
    cond_init(&pool->work);
    cond_init(&pool->ended);
    registry_lock();
    pool->next_pool = all_pools;
    all_pools = pool;
    registry_unlock();
    return pool;
}

void pool_limit(struct pool *pool, unsigned limit)
{
    pthread_mutex_lock(&pool->lock);
    if (limit < pool->limit)
        pool->limit = limit > 0 ? limit : 1;
    pthread_mutex_unlock(&pool->lock);
}

unsigned pool_queued(struct pool *pool)
{
    pthread_mutex_lock(&pool->lock);
    unsigned queued = pool->queued;
    pthread_mutex_unlock(&pool->lock);
    return queued;
}

static void pool_refuse_queue(struct pool *pool)
{
    for (;;) {
        pthread_mutex_lock(&pool->lock);
        struct task *task = queue_pop(pool);
        pthread_mutex_unlock(&pool->lock);
        if (!task)
            return;
        error_set(&task->err, HSM_E_SHUTDOWN, 0, "%s: the process is ending", pool->where);
        task_complete(task);
    }
}

bool pool_stop(struct pool *pool, unsigned bound_ms)
{
    if (pool->generation != process_generation())
        return true;
    struct timespec deadline = deadline_after(bound_ms);
    pthread_mutex_lock(&pool->lock);
    pool->stopping = true;
    pthread_cond_broadcast(&pool->work);
    pthread_mutex_unlock(&pool->lock);
    pool_refuse_queue(pool);

    pthread_mutex_lock(&pool->lock);
    while (pool->alive > 0) {
        if (pthread_cond_timedwait(&pool->ended, &pool->lock, &deadline) == ETIMEDOUT)
            break;
    }
    bool all = pool->alive == 0;
    struct worker *gone = pool->gone;
    pool->gone = NULL;
    pthread_mutex_unlock(&pool->lock);
    while (gone) {
        struct worker *next = gone->next;
        pthread_join(gone->thread, NULL);
        OPENSSL_free(gone);
        gone = next;
    }
    return all;
}

void pool_free(struct pool *pool)
{
    /* At exit another thread may be walking the list (pools_stop_all): let the process take the memory along.
     */
    if (!pool || pool->generation != process_generation() || gate_is_shut())
        return;
    registry_lock();
    for (struct pool **p = &all_pools; *p; p = &(*p)->next_pool) {
        if (*p == pool) {
            *p = pool->next_pool;
            break;
        }
    }
    registry_unlock();
    pthread_mutex_destroy(&pool->lock);
    pthread_cond_destroy(&pool->work);
    pthread_cond_destroy(&pool->ended);
    OPENSSL_free(pool);
}

bool pools_stop_all(unsigned bound_ms)
{
    /* Only new pools could change the list behind us, at its head; at exit nobody may make use of one any
     * more. */
    registry_lock();
    struct pool *pool = all_pools;
    registry_unlock();
    bool all = true;
    for (; pool; pool = pool->next_pool)
        all = pool_stop(pool, bound_ms) && all;
    return all;
}
