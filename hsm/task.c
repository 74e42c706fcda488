/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Tasks from their caller's side: submitting, waiting, going away, being too late; and a task's way from one
 * pool to another. What a task does is its own matter (operation.c, find.c), who runs it pool.c's.
 *
 * Locks: the task's guards its result and where it is. A pool's is taken under it in task_move only; nothing
 * takes a task's lock under a pool's.
 */
#include "pool-int.h"
#include "debug.h"
#include "error.h"
#include "process.h"

void task_init(struct task *task, const struct task_ops *ops)
{
    task->ops = ops;
    atomic_init(&task->refs, 1);
    pthread_mutex_init(&task->lock, NULL);
    bell_reset(&task->over);
}

/* Of a parent. */
static bool task_is_foreign(const struct task *task)
{
    return task->home && !pool_is_own(task->home);
}

void task_hold(struct task *task)
{
    atomic_fetch_add(&task->refs, 1);
}

void task_release(struct task *task)
{
    if (atomic_fetch_sub(&task->refs, 1) != 1)
        return;
    if (!task_is_foreign(task)) /* destroying a lock that a thread of the parent holds is undefined */
        pthread_mutex_destroy(&task->lock);
    task->ops->destroy(task);
}

void task_discard(struct task *task)
{
    task_release(task);
}

/* ---- Its end ---- */

/* Tells the owner of a job, unless he has gone or has been told. Locked, so that nobody goes meanwhile. */
static void task_tell(struct task *task)
{
    hsm_job_done done = task->done;
    task->done = NULL;
    if (done && !task->abandoned)
        done(task->done_arg);
}

/* Wakes the thread that waits, which then finds the lock free. The caller holds a reference. */
static void task_unlock_and_wake(struct task *task)
{
    pthread_mutex_unlock(&task->lock);
    bell_ring(&task->over);
}

static void task_ready(struct task *task)
{
    pthread_mutex_lock(&task->lock);
    task->ready = !task->expired; /* who was told that it is too late must not find a result */
    task_tell(task);
    task_unlock_and_wake(task);
}

/* The pool's part is over. */
static void task_complete(struct task *task)
{
    watch_remove(&task->home->watch, task);
    task_ready(task);
    task_release(task);
}

/* Hands a task that has failed to another pool, with the reference that this pool had. */
static bool task_move(struct task *task, struct pool *to)
{
    hsm_error why = task->err;
    pthread_mutex_lock(&task->lock);
    bool moved = !task->abandoned && !task->expired;
    if (moved) {
        task->err = (hsm_error){0};
        moved = pool_push(to, task, NULL) == HSM_OK;
        if (moved)
            task->pool = to;
        else
            task->err = why;
    }
    pthread_mutex_unlock(&task->lock);
    return moved;
}

void task_end(struct task *task)
{
    for (;;) {
        struct pool *next =
            task->err.status != HSM_OK && task->ops->elsewhere ? task->ops->elsewhere(task) : NULL;
        if (!next)
            break;
        if (task_move(task, next))
            return;
    }
    task_complete(task);
}

bool task_is_wanted(struct task *task)
{
    pthread_mutex_lock(&task->lock);
    bool wanted = !task->abandoned && !task->expired;
    pthread_mutex_unlock(&task->lock);
    return wanted;
}

bool task_is_expired(struct task *task)
{
    pthread_mutex_lock(&task->lock);
    bool expired = task->expired;
    pthread_mutex_unlock(&task->lock);
    return expired;
}

/* Nobody waits for it any more because it took too long. */
static void task_give_up(struct task *task, struct pool *pool)
{
    hsm_error why = {.status = HSM_E_TIMEOUT};
    debug_line("%s: an operation is given up", pool->where);
    if (pool->set.stats)
        stats_add(pool->set.stats, task->op, &why, stats_now() - task->asked);
    if (pool_take_out(pool, task))
        task_release(task); /* the pool's reference */
    else
        pool_give_up(pool, task);
}

void task_expire(struct task *task)
{
    pthread_mutex_lock(&task->lock);
    struct pool *pool = task->pool;
    bool late = !task->ready;
    if (late) {
        task->expired = true;
        task_tell(task);
    }
    task_unlock_and_wake(task);
    if (late)
        task_give_up(task, pool);
}

/* ---- The caller's thread ---- */

hsm_status task_submit(struct pool *pool, struct task *task, hsm_job_done done, void *arg, hsm_error *err)
{
    hsm_error why = {0};
    task->pool = task->home = pool;
    task->done = done;
    task->done_arg = arg;
    task->asked = stats_now();
    if (task->on_loan && !done && pool_run_on_loan(pool, task)) {
        task_ready(task);
        return HSM_OK;
    }
    task_hold(task); /* the pool's */
    if (done)
        (void)watch_add(&pool->watch, task); /* where there is no thread for it, late is better than never */
    hsm_status status = pool_push(pool, task, &why);
    if (status == HSM_OK)
        return HSM_OK;
    if (status == HSM_E_MEMORY) {
        pool_run_here(pool, task);
        return HSM_OK;
    }
    if (pool->set.stats)
        stats_add(pool->set.stats, task->op, &why, 0);
    watch_remove(&pool->watch, task);
    task_release(task);
    return error_copy(err, &why);
}

bool task_is_ready(struct task *task)
{
    if (task_is_foreign(task))
        return true; /* to be found out by task_wait: nobody will ever finish it here */
    pthread_mutex_lock(&task->lock);
    bool ready = task->ready || task->expired;
    pthread_mutex_unlock(&task->lock);
    return ready;
}

/* One that is running stays watched: it may be stuck in the module all the same. */
void task_abandon(struct task *task)
{
    if (!task_is_foreign(task)) {
        pthread_mutex_lock(&task->lock);
        task->abandoned = true;
        struct pool *pool = task->pool;
        pthread_mutex_unlock(&task->lock);
        if (pool_take_out(pool, task)) {
            watch_remove(&task->home->watch, task);
            task_release(task); /* the pool's reference */
        }
    }
    task_release(task);
}

bool task_wait(struct task *task, unsigned timeout_ms, hsm_error *err)
{
    if (task_is_foreign(task)) {
        error_set(err, HSM_E_SHUTDOWN, 0,
                  "%s: the operation was begun before a fork and stays with the parent", task->home->where);
        task_release(task);
        return false;
    }
    struct timespec deadline = deadline_after(timeout_ms);
    (void)bell_wait(&task->over, &deadline);
    pthread_mutex_lock(&task->lock);
    bool ready = task->ready, told = task->expired;
    if (!ready)
        task->abandoned = task->expired = true;
    struct pool *pool = task->pool;
    pthread_mutex_unlock(&task->lock);
    if (ready)
        return true;
    error_set(err, HSM_E_TIMEOUT, 0, "%s: no answer within %u ms", pool->where, timeout_ms);
    if (!told)
        task_give_up(task, pool);
    watch_remove(&task->home->watch, task);
    task_release(task);
    return false;
}
