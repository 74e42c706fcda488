/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Many records in one call: begins them all, hands each group of one cipher and one backend over in one run,
 * and finishes them in the order of the array. A long batch goes through in portions, so that the frames fit
 * the stack and the first level cache, and nothing is allocated.
 */
#include <sealane/record.h>

#include "aead_key.h"
#include "dispatch.h"
#include "frame.h"

#define PORTION 64

struct portion {
    frame frames[PORTION];
    bool waiting[PORTION]; /* begun and not yet run */
    bool begun[PORTION];
    size_t count;
};

/* Runs all waiting frames of the same cipher and backend as the one at `first`. */
static void group_run(struct portion *p, size_t first, bool sealing)
{
    backend_op *ops[PORTION];
    unsigned index = p->frames[first].backend;
    sealane_cipher_id cipher = p->frames[first].key->cipher_id;
    const backend *be = dispatch_backend(index);
    size_t count = 0;

    for (size_t i = first; i < p->count; i++) {
        const frame *f = &p->frames[i];
        if (!p->waiting[i] || f->key->cipher_id != cipher || f->backend != index)
            continue;
        ops[count++] = &p->frames[i].op;
        p->waiting[i] = false;
    }
    (sealing ? be->seal_many : be->open_many)(cipher, ops, count);
    aead_ops_count(index, sealing, ops, count);
}

/* Runs all waiting frames of the same CBC cipher as the one at `first`. */
static void cbc_group_run(struct portion *p, size_t first, bool sealing)
{
    sealane_cipher_id cipher = p->frames[first].key->cipher_id;
    cbc_op *ops[PORTION];
    size_t count = 0;

    for (size_t i = first; i < p->count; i++) {
        if (!p->waiting[i] || p->frames[i].key->cipher_id != cipher)
            continue;
        ops[count++] = &p->frames[i].cbc;
        p->waiting[i] = false;
    }
    (sealing ? cbc_seal : cbc_open)(ops, count);
}

static void groups_run(struct portion *p, bool sealing)
{
    for (size_t i = 0; i < p->count; i++)
        if (p->waiting[i])
            (p->frames[i].key->cbc != NULL ? cbc_group_run : group_run)(p, i, sealing);
}

/* How many operations have a key of that cipher: whether one of them is alone. */
struct census {
    size_t of[SEALANE_CBC_END];
};

static void census_add(struct census *c, const sealane_key *key)
{
    if (key != NULL)
        c->of[key->cipher_id]++;
}

static bool has_company(const struct census *c, const sealane_key *key)
{
    return key != NULL && c->of[key->cipher_id] > 1;
}

static void portion_seal(sealane_seal_op ops[], size_t count)
{
    struct portion p;
    struct census census = {{0}};

    p.count = count;
    for (size_t i = 0; i < count; i++)
        census_add(&census, ops[i].key);
    for (size_t i = 0; i < count; i++)
        p.begun[i] = p.waiting[i] = frame_seal_begin(&p.frames[i], &ops[i], has_company(&census, ops[i].key));
    groups_run(&p, true);
    for (size_t i = 0; i < count; i++)
        if (p.begun[i])
            frame_seal_finish(&p.frames[i], &ops[i]);
}

static void portion_open(sealane_open_op ops[], size_t count)
{
    struct portion p;
    struct census census = {{0}};

    p.count = count;
    for (size_t i = 0; i < count; i++)
        census_add(&census, ops[i].key);
    for (size_t i = 0; i < count; i++)
        p.begun[i] = p.waiting[i] = frame_open_begin(&p.frames[i], &ops[i], has_company(&census, ops[i].key));
    groups_run(&p, false);
    for (size_t i = 0; i < count; i++)
        if (p.begun[i])
            frame_open_finish(&p.frames[i], &ops[i]);
}

void sealane_batch_seal(sealane_seal_op ops[], size_t count)
{
    for (; count > PORTION; ops += PORTION, count -= PORTION)
        portion_seal(ops, PORTION);
    portion_seal(ops, count);
}

void sealane_batch_open(sealane_open_op ops[], size_t count)
{
    for (; count > PORTION; ops += PORTION, count -= PORTION)
        portion_open(ops, PORTION);
    portion_open(ops, count);
}
