/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One thread sleeps until another rings, on a futex. A condition variable of glibc would do, but leaves its
 * mutex marked as contended after each wait, and so costs a system call more on either side of an operation.
 */
#ifndef HSM_BELL_H
#define HSM_BELL_H

#include <stdatomic.h>
#include <stdbool.h>
#include <time.h>

/* Zero: neither has anybody rung nor does anybody sleep. */
typedef atomic_uint bell;

/* The next bell_wait shall sleep again. By the thread that waits, before anybody may ring. */
void bell_reset(bell *b);
/* Sleeps until it has been rung, or the deadline (CLOCK_MONOTONIC; NULL: none) has passed: false. */
bool bell_wait(bell *b, const struct timespec *deadline);
/*
 * Whatever was written before is seen by who wakes. The bell must stay allocated until this returns, though
 * the sleeper may be gone by then.
 */
void bell_ring(bell *b);

#endif
