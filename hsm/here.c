/* SPDX-License-Identifier: Apache-2.0 */
/* Tasks on their caller's thread; see here.h. */
#include "here.h"

#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <openssl/err.h>

enum { STACK_LEN = 1024 * 1024 }; /* what a module may need; untouched pages cost nothing */

/* What the other stack is to do: makecontext hands over no pointers. */
static _Thread_local struct call {
    struct task *task;
    struct worker *worker;
} call;

void here_init(struct here *here, struct pool *pool)
{
    memset(here, 0, sizeof(*here));
    pthread_mutex_init(&here->lock, NULL);
    here->worker.pool = pool;
}

/* With a page below it that catches whoever needs more. */
static bool stack_make(struct here *here)
{
    if (here->stack)
        return true;
    void *stack =
        mmap(NULL, STACK_LEN, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK, -1, 0);
    if (stack == MAP_FAILED)
        return false;
    (void)mprotect(stack, (size_t)sysconf(_SC_PAGESIZE), PROT_NONE);
    here->stack = stack;
    return true;
}

static void run(void)
{
    call.task->ops->run(call.task, call.worker);
}

void here_run(struct here *here, struct task *task, bool small_stack)
{
    pthread_mutex_lock(&here->lock);
    struct call outer = call;
    (void)ERR_set_mark();
    call = (struct call){task, &here->worker};
    here->used = true;
    if (small_stack && stack_make(here) && getcontext(&here->own) == 0) {
        here->own.uc_stack.ss_sp = here->stack;
        here->own.uc_stack.ss_size = STACK_LEN;
        here->own.uc_link = &here->caller;
        makecontext(&here->own, run, 0);
        (void)swapcontext(&here->caller, &here->own);
    } else {
        run();
    }
    call = outer;
    /* Modules use libcrypto too, and what they leave in the queue libssl would take for an error of its own. */
    (void)ERR_pop_to_mark();
    here->worker.retire = false; /* there is nobody else who could take over */
    pthread_mutex_unlock(&here->lock);
}

bool here_stop(struct here *here, void (*end)(struct worker *))
{
    if (pthread_mutex_trylock(&here->lock) != 0)
        return false;
    if (here->used && end)
        end(&here->worker);
    here->used = false;
    pthread_mutex_unlock(&here->lock);
    return true;
}

void here_destroy(struct here *here)
{
    if (here->stack)
        (void)munmap(here->stack, STACK_LEN);
    pthread_mutex_destroy(&here->lock);
}
