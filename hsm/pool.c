/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The queue of a pool and the threads that run what is in it; nothing here knows of Cryptoki.
 *
 * A module may hang and never return. Whoever waits gives up after his time, and the thread counts as stuck
 * from then on. With all threads stuck nothing could run, so what waits and what comes is refused at once,
 * until one of them returns after all.
 */
#include "pool-int.h"
#include "error.h"
#include "process.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include <openssl/crypto.h>

/* Who was refused a session tries again after so long, if there is need of one: others may have given some back. */
enum { AGAIN_MS = 1000 };

/*
 * All pools that were ever made and not freed. Those of the parent stay in it after a fork: never touched
 * again, but known, so that leak checkers see that they are kept on purpose.
 */
static struct pool *all_pools;

/* ---- Workers ---- */

static void queue_append(struct pool *pool, struct task *task)
{
    task->prev = pool->tail;
    task->next = NULL;
    *(pool->tail ? &pool->tail->next : &pool->head) = task;
    pool->tail = task;
    task->queued = true;
    pool->queued++;
}

struct task *queue_pop(struct pool *pool)
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

bool pool_take_out(struct pool *pool, struct task *task)
{
    pthread_mutex_lock(&pool->lock);
    bool was_queued = task->queued;
    if (was_queued) {
        *(task->prev ? &task->prev->next : &pool->head) = task->next;
        *(task->next ? &task->next->prev : &pool->tail) = task->prev;
        task->queued = false;
        pool->queued--;
        atomic_fetch_sub(&pool->load, 1);
    }
    pthread_mutex_unlock(&pool->lock);
    return was_queued;
}

static unsigned pool_age(const struct pool *pool)
{
    return pool->set.age ? pool->set.age(pool->set.age_arg) : 0;
}

/*
 * Of those who hang: the lost ones, who went in at another age and never come back, or the others. A lost one that
 * comes back all the same is one thread more than the limit says.
 */
static unsigned hung_count(const struct pool *pool, bool lost)
{
    unsigned count = 0;
    for (const struct worker *w = pool->hung; w; w = w->next)
        count += (w->age != pool_age(pool)) == lost;
    return count;
}

/* Threads that there are to count on. Locked. */
static unsigned pool_alive(const struct pool *pool)
{
    return pool->alive - pool->retiring - hung_count(pool, true);
}

void worker_take(struct worker *worker, struct task *task)
{
    worker->current = task;
    worker->age = pool_age(worker->pool);
    worker->used = true;
    task->worker = worker;
}

void worker_leave(struct worker *worker)
{
    worker->current = NULL;
    if (worker->stuck) {
        struct worker **p = &worker->pool->hung;
        while (*p != worker)
            p = &(*p)->next;
        *p = worker->next;
        worker->stuck = false;
    }
}

void worker_rest(struct worker *worker)
{
    worker->next = worker->pool->idle;
    worker->pool->idle = worker;
}

/* Gives the task to a thread that has nothing to do, to be woken (worker_wake). NULL: there is none. Locked. */
static struct worker *idle_hand(struct pool *pool, struct task *task)
{
    struct worker *worker = pool->idle;
    if (worker) {
        pool->idle = worker->next;
        worker_take(worker, task);
    }
    return worker;
}

/*
 * Without the lock: woken under it, the thread would go back to sleep at once until it is free, two system
 * calls and two switches for nothing. Workers stay allocated as long as the pool, so it may have ended meanwhile.
 */
void worker_wake(struct worker *worker)
{
    if (worker)
        bell_ring(&worker->wake);
}

/*
 * Gives the task of a thread that is to end to another one, before all others. False if there is no other: then the
 * thread stays, for those that wait.
 */
static bool queue_return(struct worker *worker, struct task *task)
{
    struct pool *pool = worker->pool;
    struct worker *idle = NULL;
    pthread_mutex_lock(&pool->lock);
    bool others = pool_alive(pool) > 1 && !pool->stopping;
    worker->retire = others;
    if (others) {
        worker_leave(worker); /* whoever loses patience with the task now must not find this thread at it */
        pool->retiring++;     /* at once, for the next one who asks whether there are others */
        if (pool->limit > pool_alive(pool))
            pool->limit = pool_alive(pool); /* do not try that again with every task */
        pool->again = deadline_after(AGAIN_MS);
        task->err = (hsm_error){0};
        idle = idle_hand(pool, task);
        if (!idle) {
            task->prev = NULL;
            task->next = pool->head;
            *(pool->head ? &pool->head->prev : &pool->tail) = task;
            pool->head = task;
            task->queued = true;
            pool->queued++;
        }
    }
    pthread_mutex_unlock(&pool->lock);
    worker_wake(idle);
    return others;
}

/* False: somebody has a task for it already. Locked. */
static bool idle_leave(struct worker *worker)
{
    struct worker **p = &worker->pool->idle;
    while (*p && *p != worker)
        p = &(*p)->next;
    bool found = *p;
    if (found)
        *p = worker->next;
    return found;
}

/* With the last session the login would go, too: another that is idle as well must have one if this one has. Locked. */
static bool worker_is_spare(const struct worker *worker)
{
    for (const struct worker *w = worker->pool->idle; w; w = w->next)
        if (w != worker && w->has_session >= worker->has_session)
            return true;
    return false;
}

/*
 * Of a thread that has waited for a task in vain: whether it is to end, and give its session back. Other processes
 * may need it, and a token may have no more than a dozen.
 */
static bool worker_may_go(struct worker *worker)
{
    struct pool *pool = worker->pool;
    pthread_mutex_lock(&pool->lock);
    worker->retire = !worker->used && worker_is_spare(worker) && idle_leave(worker);
    worker->used = false;
    pool->retiring += worker->retire;
    pthread_mutex_unlock(&pool->lock);
    return worker->retire;
}

/* Until it has a task, the pool stops or nothing has come for long. Whoever takes it out of the list rings, once. */
static void worker_sleep(struct worker *worker)
{
    unsigned ms = worker->pool->set.idle_ms;
    struct timespec deadline;
    do
        deadline = deadline_after(ms);
    while (!bell_wait(&worker->wake, ms > 0 ? &deadline : NULL) && !worker_may_go(worker));
}

/* The next task, or NULL when the thread is to end. */
static struct task *worker_next(struct worker *worker)
{
    struct pool *pool = worker->pool;
    pthread_mutex_lock(&pool->lock);
    worker_leave(worker);
    struct task *task = pool->stopping || worker->retire ? NULL : queue_pop(pool);
    bool idle = !task && !worker->retire && !pool->stopping;
    if (task)
        worker_take(worker, task);
    if (idle) {
        bell_reset(&worker->wake);
        worker_rest(worker);
    }
    pthread_mutex_unlock(&pool->lock);
    if (idle) {
        worker_sleep(worker);
        task = worker->current;
    }
    return task;
}

void task_count(struct pool *pool, const struct task *task)
{
    if (pool->set.stats)
        stats_add(pool->set.stats, task->op, &task->err, stats_now() - task->asked);
}

/* Its thread is no more; who has just rung may still hold it. */
static void worker_bury(struct worker *worker)
{
    worker->next = worker->pool->joined;
    worker->pool->joined = worker;
}

static void *worker_main(void *arg)
{
    struct worker *worker = arg;
    struct pool *pool = worker->pool;
    (void)pthread_setname_np(pthread_self(), pool->name);

    struct task *task;
    while ((task = worker_next(worker))) {
        bool wanted = task_is_wanted(task);
        if (wanted)
            task->ops->run(task, worker);
        if (worker->retire && queue_return(worker, task))
            continue;
        if (wanted && !task_is_expired(task)) /* it was counted when it was given up */
            task_count(pool, task);
        atomic_fetch_sub(&pool->load, 1);
        task_end(task);
    }
    if (pool->set.end)
        pool->set.end(worker);

    pthread_mutex_lock(&pool->lock);
    pool->alive--;
    pool->retiring -= worker->retire;
    worker->next = pool->gone;
    pool->gone = worker;
    pthread_cond_broadcast(&pool->ended);
    pthread_mutex_unlock(&pool->lock);
    return NULL;
}

bool thread_start(pthread_t *thread, void *(*run)(void *), void *arg)
{
    sigset_t all, old;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    bool started = pthread_create(thread, NULL, run, arg) == 0;
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    return started;
}

/*
 * What one has left whose thread has ended, or a new one. Not waited for: a module may have something to do at the end
 * of a thread, and hang. Locked.
 */
static struct worker *worker_new(struct pool *pool)
{
    struct worker **p = &pool->gone, *worker;
    while (*p && pthread_tryjoin_np((*p)->thread, NULL) != 0)
        p = &(*p)->next;
    worker = *p;
    if (!worker)
        return OPENSSL_zalloc(sizeof(*worker));
    *p = worker->next;
    *worker = (struct worker){0};
    return worker;
}

/* Starts one more thread; the pool is locked. */
static bool worker_start(struct pool *pool)
{
    struct worker *worker = worker_new(pool);
    if (!worker)
        return false;
    worker->pool = pool;
    bool started = thread_start(&worker->thread, worker_main, worker);
    if (started)
        pool->alive++;
    else
        worker_bury(worker);
    return started;
}

/* Whether there may be one more; the limit rises by one when it is time to. Locked. */
static bool limit_allows(struct pool *pool)
{
    if (pool_alive(pool) >= pool->limit && pool->limit < pool->most && deadline_passed(&pool->again))
        pool->limit++;
    return pool_alive(pool) < pool->limit;
}

/* One more thread, if there may be. False if it cannot be had. Locked. */
static bool worker_more(struct pool *pool)
{
    return !limit_allows(pool) || worker_start(pool);
}

/* Locked. */
static bool all_stuck(const struct pool *pool)
{
    return pool_alive(pool) >= pool->limit && hung_count(pool, false) == pool_alive(pool);
}

static hsm_status refuse_stuck(const struct pool *pool, hsm_error *err)
{
    return error_set(err, HSM_E_TIMEOUT, 0, "%s: it does not answer any more: all its %u sessions hang",
                     pool->where, hung_count(pool, false));
}

static hsm_status refuse_ending(const struct pool *pool, hsm_error *err)
{
    return error_set(err, HSM_E_SHUTDOWN, 0, "%s: the process is ending", pool->where);
}

hsm_status pool_push(struct pool *pool, struct task *task, hsm_error *err)
{
    hsm_status status = HSM_OK;
    struct worker *idle = NULL;
    pthread_mutex_lock(&pool->lock);
    if (pool->stopping || gate_is_shut()) {
        status = refuse_ending(pool, err);
        goto out;
    }
    if (all_stuck(pool)) {
        status = refuse_stuck(pool, err);
        goto out;
    }
    if (pool->queued >= pool->set.queue_max) {
        status =
            error_set(err, HSM_E_BUSY, 0, "%s: %u operations wait already; try again later or allow more",
                      pool->where, pool->queued);
        goto out;
    }
    task->worker = NULL; /* a task that comes from another pool has had one there, whose lock is not ours */
    idle = idle_hand(pool, task);
    if (!idle) {
        if (!worker_more(pool) && pool_alive(pool) == 0) {
            status = error_set(err, HSM_E_MEMORY, 0, "%s: cannot start a thread", pool->where);
            goto out;
        }
        queue_append(pool, task);
    }
    atomic_fetch_add(&pool->load, 1);
    if (pool->set.stats)
        stats_queued(pool->set.stats, pool->queued);
out:
    pthread_mutex_unlock(&pool->lock);
    worker_wake(idle);
    return status;
}

void pool_run_here(struct pool *pool, struct task *task)
{
    atomic_fetch_add(&pool->load, 1);
    here_run(&pool->here, task, task->done != NULL); /* paused jobs are on small stacks */
    task_count(pool, task);
    atomic_fetch_sub(&pool->load, 1);
    task_end(task);
}

/* Ends everything that waits. */
static void queue_refuse(struct pool *pool, hsm_status (*refuse)(const struct pool *, hsm_error *))
{
    for (;;) {
        pthread_mutex_lock(&pool->lock);
        struct task *task = queue_pop(pool);
        if (task)
            (void)refuse(pool, &task->err);
        pthread_mutex_unlock(&pool->lock);
        if (!task)
            return;
        task_count(pool, task);
        atomic_fetch_sub(&pool->load, 1);
        task_end(task);
    }
}

void pool_give_up(struct pool *pool, struct task *task)
{
    pthread_mutex_lock(&pool->lock);
    struct worker *worker = task->worker;
    if (worker && worker->current == task && !worker->stuck) {
        worker->stuck = true;
        worker->next = pool->hung;
        pool->hung = worker;
        if (pool->head)
            (void)worker_more(pool);
    }
    bool hopeless = all_stuck(pool);
    pthread_mutex_unlock(&pool->lock);
    if (hopeless)
        queue_refuse(pool, refuse_stuck);
}

/* ---- Pools ---- */

struct pool *pool_new(const struct pool_settings *settings)
{
    struct pool *pool = OPENSSL_zalloc(sizeof(*pool));
    if (!pool)
        return NULL;
    pool->generation = process_generation();
    pool->set = *settings;
    pool->set.name = pool->name;
    pool->set.where = pool->where;
    (void)snprintf(pool->name, sizeof(pool->name), "%s", settings->name);
    (void)snprintf(pool->where, sizeof(pool->where), "%s", settings->where);
    pool->limit = pool->most = settings->limit > 0 ? settings->limit : 1;
    watch_init(&pool->watch, settings->timeout_ms);
    here_init(&pool->here, pool);
    pthread_mutex_init(&pool->lock, NULL);
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
    if (limit < pool->most)
        pool->most = limit > 0 ? limit : 1;
    if (pool->limit > pool->most)
        pool->limit = pool->most;
    pthread_mutex_unlock(&pool->lock);
}

bool pool_is_own(const struct pool *pool)
{
    return pool->generation == process_generation();
}

unsigned pool_queued(struct pool *pool)
{
    pthread_mutex_lock(&pool->lock);
    unsigned queued = pool->queued;
    pthread_mutex_unlock(&pool->lock);
    return queued;
}

unsigned pool_load(struct pool *pool)
{
    return atomic_load(&pool->load);
}

bool pool_is_stuck(struct pool *pool)
{
    pthread_mutex_lock(&pool->lock);
    bool stuck = all_stuck(pool);
    pthread_mutex_unlock(&pool->lock);
    return stuck;
}

bool pool_stop(struct pool *pool, unsigned bound_ms)
{
    if (!pool_is_own(pool))
        return true;
    struct timespec deadline = deadline_after(bound_ms);
    pthread_mutex_lock(&pool->lock);
    pool->stopping = true;
    struct worker *idle = pool->idle;
    pool->idle = NULL;
    pthread_mutex_unlock(&pool->lock);
    while (idle) {
        struct worker *next = idle->next; /* it may be at its end, and in another list, once it has heard */
        worker_wake(idle);
        idle = next;
    }
    queue_refuse(pool, refuse_ending);

    pthread_mutex_lock(&pool->lock);
    while (pool->alive > 0) {
        if (pthread_cond_timedwait(&pool->ended, &pool->lock, &deadline) == ETIMEDOUT)
            break;
    }
    bool all = pool->alive == 0;
    struct worker *gone = pool->gone;
    pool->gone = NULL;
    pthread_mutex_unlock(&pool->lock);
    for (struct worker *worker = gone, *next; worker; worker = next) {
        next = worker->next;
        pthread_join(worker->thread, NULL);
        worker_bury(worker);
    }
    watch_stop(&pool->watch);
    return here_stop(&pool->here, pool->set.end) && all;
}

void pool_free(struct pool *pool)
{
    /* At exit another thread may be walking the list (pools_stop_all): let the process take the memory along.
     */
    if (!pool || !pool_is_own(pool) || gate_is_shut())
        return;
    registry_lock();
    for (struct pool **p = &all_pools; *p; p = &(*p)->next_pool) {
        if (*p == pool) {
            *p = pool->next_pool;
            break;
        }
    }
    registry_unlock();
    while (pool->joined) {
        struct worker *next = pool->joined->next;
        OPENSSL_free(pool->joined);
        pool->joined = next;
    }
    watch_destroy(&pool->watch);
    here_destroy(&pool->here);
    pthread_mutex_destroy(&pool->lock);
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
