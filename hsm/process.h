/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The process as this room sees it: forks are counted, Cryptoki is entered through a gate, the registry lock
 * guards what is shared in the whole process.
 */
#ifndef HSM_PROCESS_H
#define HSM_PROCESS_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <time.h>

/* Registers the fork handlers, once. Before anything else here. */
void process_init(void);

/*
 * Counts the forks between the first process and this one. Whatever has threads or locks remembers under
 * which generation it was made; of another generation it is a dead copy of the parent's, not to be touched.
 */
unsigned process_generation(void);

/* Between them a thread may be inside the module. Enter returns false once the process is ending. Nests. */
bool gate_enter(void);
void gate_leave(void);

/*
 * Between them the calling thread is the only one inside; others wait at the gate. Claim returns false, and
 * has changed nothing, if the others did not leave within `bound_ms`. For what must not meet a call in
 * progress: C_Finalize. The caller may be inside itself.
 */
bool gate_claim(unsigned bound_ms);
/*
 * The same, but those who have not left within `bound_ms` are written off: they are known never to return, or not to
 * mind. True if there were any.
 */
bool gate_claim_over(unsigned bound_ms);
void gate_disclaim(void);

/* The process ends: nobody enters any more. True if everybody left within `bound_ms`. */
bool gate_shut(unsigned bound_ms);
bool gate_is_shut(void);

/*
 * A leaf lock for lists of the whole process: hold it for a few instructions, call nothing that blocks, take
 * no other lock under it. Valid in a child of fork.
 */
void registry_lock(void);
void registry_unlock(void);

/* Condition variables on the monotonic clock, and deadlines for them. */
void cond_init(pthread_cond_t *cond);
struct timespec deadline_after(unsigned ms);
bool deadline_passed(const struct timespec *deadline);
void pause_ms(unsigned ms);

/* Keeps this library's code mapped for ever, for threads that may still return into it. */
void library_pin(const void *symbol);

#endif
