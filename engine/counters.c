/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Blocks stand in a list that only grows: a thread that ends leaves its block, sums and all, to the next
 * thread that begins. So no lock is ever held (fork cannot inherit a locked one), sums survive their threads,
 * and there are never more blocks than there were threads at once. Only its owner writes a block: a relaxed
 * load and store, which is a plain addition in memory.
 */
#include "counters.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sealane/engine.h>
#include "dispatch.h"

struct block {
    _Alignas(64) struct block *next; /* of a cache line's alignment: no two owners in one line */
    atomic_bool owned;
    const char *last_sealed_by; /* of the owner */
    _Atomic uint64_t sealed[SEALANE_BACKENDS_MAX];
    _Atomic uint64_t opened[SEALANE_BACKENDS_MAX];
    _Atomic uint64_t forged;
};

static _Atomic(struct block *) blocks;
/* For the moment when no block can be had: counts are lost between threads then, records are not. */
static struct block spare;
static pthread_once_t key_once = PTHREAD_ONCE_INIT;
static pthread_key_t key;
static bool key_made;
/* "initial-exec" saves a call per record in a shared object; 8 bytes of the static TLS reserve. */
static _Thread_local struct block *mine __attribute__((tls_model("initial-exec")));

static void block_release(void *block)
{
    mine = NULL;
    atomic_store_explicit(&((struct block *)block)->owned, false, memory_order_release);
}

static void key_make(void)
{
    key_made = pthread_key_create(&key, block_release) == 0;
}

static struct block *block_reuse(void)
{
    for (struct block *b = atomic_load(&blocks); b != NULL; b = b->next) {
        bool free_one = false;
        if (atomic_compare_exchange_strong(&b->owned, &free_one, true))
            return b;
    }
    return NULL;
}

static struct block *block_add(void)
{
    struct block *b = aligned_alloc(_Alignof(struct block), sizeof(*b));

    if (b == NULL)
        return NULL;
    *b = (struct block){.owned = true};
    b->next = atomic_load(&blocks);
    while (!atomic_compare_exchange_weak(&blocks, &b->next, b))
        ;
    return b;
}

static struct block *block_claim(void)
{
    struct block *b = block_reuse();

    if (b == NULL)
        b = block_add();
    if (b == NULL)
        return &spare;
    b->last_sealed_by = NULL;
    /* Without a key the block is never released: the thread keeps it beyond its end, sums included. */
    if (pthread_once(&key_once, key_make) == 0 && key_made)
        (void)pthread_setspecific(key, b);
    mine = b;
    return b;
}

static struct block *block_get(void)
{
    return mine != NULL ? mine : block_claim();
}

static void count(_Atomic uint64_t *counter, size_t records)
{
    uint64_t value = atomic_load_explicit(counter, memory_order_relaxed);

    atomic_store_explicit(counter, value + records, memory_order_relaxed);
}

void counters_sealed(unsigned index, size_t records)
{
    struct block *b = block_get();

    count(&b->sealed[index], records);
    if (b != &spare)
        b->last_sealed_by = dispatch_backend(index)->name;
}

void counters_opened(unsigned index, size_t records)
{
    count(&block_get()->opened[index], records);
}

void counters_forged(size_t records)
{
    count(&block_get()->forged, records);
}

static void block_sum(sealane_counters *sum, struct block *b)
{
    for (size_t i = 0; i < SEALANE_BACKENDS_MAX; i++) {
        sum->sealed[i] += atomic_load_explicit(&b->sealed[i], memory_order_relaxed);
        sum->opened[i] += atomic_load_explicit(&b->opened[i], memory_order_relaxed);
    }
    sum->forged += atomic_load_explicit(&b->forged, memory_order_relaxed);
}

void sealane_counters_read(sealane_counters *out)
{
    sealane_counters sum = {0};

    for (struct block *b = atomic_load(&blocks); b != NULL; b = b->next)
        block_sum(&sum, b);
    block_sum(&sum, &spare);
    *out = sum;
}

const char *sealane_last_sealed_by(void)
{
    return mine != NULL && mine->last_sealed_by != NULL ? mine->last_sealed_by : "none";
}
