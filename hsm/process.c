/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Fork, the gate in front of Cryptoki, and the registry lock. What is done at exit stands in exit.c.
 *
 * Why fork waits: the child gets a copy of the module and of libcrypto as they are at that instant. If a
 * thread of the parent is in the middle of C_Sign, the copy has locks that nobody will ever release and
 * half-changed lists, and C_Finalize in the child hangs or crashes on them. So the handler that runs before
 * fork keeps further threads from entering and waits until those inside have left: one signature long. It
 * waits for a bound at most, since a token may hang, and not at all where the module itself forks. Apart from
 * that the handlers only count.
 */
#include "process.h"
#include "debug.h"

#include <dlfcn.h>
#include <errno.h>
#include <stdatomic.h>
#include <stddef.h>

#include "sealane/hsm.h"

enum { FORK_WAIT_MS = 1000 };

static atomic_uint generation;
static _Thread_local unsigned depth;   /* of this thread inside Cryptoki */
static _Thread_local uint32_t entered; /* the gate's era when it went in */

static struct {
    atomic_uint_fast64_t inside; /* threads in Cryptoki; above ERA, how often those inside were written off */
    atomic_uint holders;         /* forks and finalisations that wait for them */
    atomic_bool shut;
    pthread_mutex_t lock; /* for waiting only */
    pthread_cond_t changed;
} gate = {.lock = PTHREAD_MUTEX_INITIALIZER};

static pthread_mutex_t registry = PTHREAD_MUTEX_INITIALIZER;

/* ---- The gate ---- */

#define ERA (UINT64_C(1) << 32)

static unsigned gate_inside(void)
{
    return (uint32_t)atomic_load(&gate.inside);
}

static bool gate_is_closed(void)
{
    return atomic_load(&gate.holders) > 0 || atomic_load(&gate.shut);
}

/* One who was written off is not counted any more. */
static void gate_count_out(void)
{
    uint_fast64_t inside = atomic_load(&gate.inside);
    do {
        if (inside / ERA != entered)
            return;
    } while (!atomic_compare_exchange_weak(&gate.inside, &inside, inside - 1));
    if (inside % ERA == 1 && gate_is_closed()) {
        pthread_mutex_lock(&gate.lock);
        pthread_cond_broadcast(&gate.changed);
        pthread_mutex_unlock(&gate.lock);
    }
}

bool gate_enter(void)
{
    if (depth > 0) {
        depth++;
        return true;
    }
    for (;;) {
        /* Counted first and checked then, so that whoever closes the gate sees us or we see that it is
         * closed. */
        entered = (uint32_t)(atomic_fetch_add(&gate.inside, 1) / ERA);
        if (!gate_is_closed())
            break;
        gate_count_out();
        if (atomic_load(&gate.shut))
            return false;
        pthread_mutex_lock(&gate.lock);
        while (atomic_load(&gate.holders) > 0 && !atomic_load(&gate.shut))
            pthread_cond_wait(&gate.changed, &gate.lock);
        pthread_mutex_unlock(&gate.lock);
    }
    depth = 1;
    return true;
}

void gate_leave(void)
{
    if (--depth == 0)
        gate_count_out();
}

/* Waits until nobody but the caller itself is inside. */
static bool gate_drain(unsigned bound_ms)
{
    struct timespec deadline = deadline_after(bound_ms);
    unsigned own = depth > 0 ? 1 : 0;
    pthread_mutex_lock(&gate.lock);
    while (gate_inside() > own) {
        if (pthread_cond_timedwait(&gate.changed, &gate.lock, &deadline) == ETIMEDOUT)
            break;
    }
    pthread_mutex_unlock(&gate.lock);
    return gate_inside() <= own;
}

static void gate_release(void)
{
    pthread_mutex_lock(&gate.lock);
    atomic_fetch_sub(&gate.holders, 1);
    pthread_cond_broadcast(&gate.changed);
    pthread_mutex_unlock(&gate.lock);
}

bool gate_claim(unsigned bound_ms)
{
    atomic_fetch_add(&gate.holders, 1);
    if (gate_drain(bound_ms))
        return true;
    gate_release();
    return false;
}

bool gate_claim_over(unsigned bound_ms)
{
    atomic_fetch_add(&gate.holders, 1);
    if (gate_drain(bound_ms))
        return false;
    uint_fast64_t inside = atomic_load(&gate.inside), own = depth > 0 ? 1 : 0;
    while (!atomic_compare_exchange_weak(&gate.inside, &inside, (inside / ERA + 1) * ERA + own))
        ;
    entered = (uint32_t)(inside / ERA + 1);
    return true;
}

void gate_disclaim(void)
{
    gate_release();
}

bool gate_shut(unsigned bound_ms)
{
    atomic_store(&gate.shut, true);
    pthread_mutex_lock(&gate.lock);
    pthread_cond_broadcast(&gate.changed);
    pthread_mutex_unlock(&gate.lock);
    return gate_drain(bound_ms);
}

bool gate_is_shut(void)
{
    return atomic_load(&gate.shut);
}

bool hsm_inside_cryptoki(void)
{
    return depth > 0;
}

/* ---- Fork ---- */

unsigned process_generation(void)
{
    return atomic_load(&generation);
}

static void fork_prepare(void)
{
    if (depth == 0) { /* else the module itself forks: it would wait for its own return */
        atomic_fetch_add(&gate.holders, 1);
        (void)gate_drain(FORK_WAIT_MS);
    }
    pthread_mutex_lock(&registry);
}

static void fork_parent(void)
{
    pthread_mutex_unlock(&registry);
    if (depth == 0)
        gate_release();
}

/* Only one thread exists here: locks are made anew, whoever held them in the parent. */
static void fork_child(void)
{
    pthread_mutex_unlock(&registry);
    pthread_mutex_init(&gate.lock, NULL);
    cond_init(&gate.changed);
    atomic_store(&gate.holders, 0);
    atomic_store(&gate.inside, entered * ERA + (depth > 0 ? 1 : 0));
    atomic_fetch_add(&generation, 1);
}

static void process_init_once(void)
{
    cond_init(&gate.changed);
    debug_init();
    (void)pthread_atfork(fork_prepare, fork_parent, fork_child);
}

void process_init(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, process_init_once);
}

/* ---- Small things ---- */

void registry_lock(void)
{
    pthread_mutex_lock(&registry);
}

void registry_unlock(void)
{
    pthread_mutex_unlock(&registry);
}

void cond_init(pthread_cond_t *cond)
{
    pthread_condattr_t attr;
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(cond, &attr);
    pthread_condattr_destroy(&attr);
}

struct timespec deadline_after(unsigned ms)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    t.tv_sec += (time_t)(ms / 1000);
    t.tv_nsec += (long)(ms % 1000) * 1000000L;
    if (t.tv_nsec >= 1000000000L) {
        t.tv_sec++;
        t.tv_nsec -= 1000000000L;
    }
    return t;
}

bool deadline_passed(const struct timespec *deadline)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec > deadline->tv_sec ||
           (now.tv_sec == deadline->tv_sec && now.tv_nsec >= deadline->tv_nsec);
}

void pause_ms(unsigned ms)
{
    (void)nanosleep(
        &(struct timespec){.tv_sec = (time_t)(ms / 1000), .tv_nsec = (long)(ms % 1000) * 1000000L}, NULL);
}

void library_pin(const void *symbol)
{
    Dl_info info;
    if (dladdr(symbol, &info) != 0 && info.dli_fname)
        (void)dlopen(info.dli_fname, RTLD_NOW | RTLD_NOLOAD | RTLD_NODELETE);
}
