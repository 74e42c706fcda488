/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The thread that ends the waiting of paused jobs. It is started with the first of them and wakes at most
 * once per time-out, however many tasks come and go: each new one's deadline lies behind the one it sleeps
 * for, so only a thread without any deadline has to be told.
 *
 * Locks: the watch's is a leaf; task_expire is called without it.
 */
#include "watch.h"
#include "pool-int.h"
#include "process.h"

#include <signal.h>

void watch_init(struct watch *w, unsigned timeout_ms)
{
    *w = (struct watch){.timeout_ms = timeout_ms};
    pthread_mutex_init(&w->lock, NULL);
    cond_init(&w->changed);
}

/* Locked. */
static void entry_remove(struct watch *w, struct task *task)
{
    struct watch_entry *e = &task->watched;
    *(e->prev ? &e->prev->watched.next : &w->head) = e->next;
    *(e->next ? &e->next->watched.prev : &w->tail) = e->prev;
    e->next = e->prev = NULL;
    e->listed = false;
}

/* Sleeps until the oldest task is too late, and takes it out of the list. NULL: the end. */
static struct task *late_task(struct watch *w)
{
    struct task *task = NULL;
    pthread_mutex_lock(&w->lock);
    while (!w->stopping) {
        if (!w->head) {
            w->idle = true;
            pthread_cond_wait(&w->changed, &w->lock);
            w->idle = false;
        } else if (!deadline_passed(&w->head->watched.deadline)) {
            struct timespec deadline = w->head->watched.deadline; /* the head may go while we sleep */
            (void)pthread_cond_timedwait(&w->changed, &w->lock, &deadline);
        } else {
            task = w->head;
            entry_remove(w, task);
            break;
        }
    }
    pthread_mutex_unlock(&w->lock);
    return task;
}

static void *watch_main(void *arg)
{
    struct watch *w = arg;
    struct task *task;
    (void)pthread_setname_np(pthread_self(), "sealane-watch");
    while ((task = late_task(w))) {
        task_expire(task);
        task_release(task);
    }
    return NULL;
}

/* Locked. */
static bool watch_start(struct watch *w)
{
    if (!w->started)
        w->started = thread_start(&w->thread, watch_main, w);
    return w->started;
}

bool watch_add(struct watch *w, struct task *task)
{
    pthread_mutex_lock(&w->lock);
    bool ok = watch_start(w);
    if (ok) {
        task_hold(task);
        task->watched =
            (struct watch_entry){.prev = w->tail, .deadline = deadline_after(w->timeout_ms), .listed = true};
        *(w->tail ? &w->tail->watched.next : &w->head) = task;
        w->tail = task;
        if (w->idle)
            pthread_cond_signal(&w->changed);
    }
    pthread_mutex_unlock(&w->lock);
    return ok;
}

void watch_remove(struct watch *w, struct task *task)
{
    pthread_mutex_lock(&w->lock);
    bool was_listed = task->watched.listed;
    if (was_listed)
        entry_remove(w, task);
    pthread_mutex_unlock(&w->lock);
    if (was_listed)
        task_release(task);
}

void watch_stop(struct watch *w)
{
    pthread_mutex_lock(&w->lock);
    bool started = w->started;
    w->stopping = true;
    w->started = false;
    pthread_cond_signal(&w->changed);
    pthread_mutex_unlock(&w->lock);
    if (started)
        pthread_join(w->thread, NULL);
}

void watch_destroy(struct watch *w)
{
    pthread_mutex_destroy(&w->lock);
    pthread_cond_destroy(&w->changed);
}
