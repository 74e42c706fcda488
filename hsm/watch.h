/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Deadlines of tasks whose callers sleep somewhere else and can only be woken: paused jobs of event loops.
 * Whoever waits in task_wait keeps his own deadline.
 */
#ifndef HSM_WATCH_H
#define HSM_WATCH_H

#include <pthread.h>
#include <stdbool.h>
#include <time.h>

struct task;

/* In each task. */
struct watch_entry {
    struct task *next, *prev;
    struct timespec deadline;
    bool listed;
};

/* All tasks of a watch have the same time, so the oldest one is always the next to be too late. */
struct watch {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    pthread_t thread;
    unsigned timeout_ms;
    bool started, stopping, idle; /* idle: the thread sleeps without an end */
    struct task *head, *tail;
};

void watch_init(struct watch *w, unsigned timeout_ms);
/* Takes a reference to the task. False if there is no thread to be had. */
bool watch_add(struct watch *w, struct task *task);
/* The task is over; may be called for one that is not listed. */
void watch_remove(struct watch *w, struct task *task);
/* Ends the thread; the tasks are not told. */
void watch_stop(struct watch *w);
void watch_destroy(struct watch *w);

#endif
