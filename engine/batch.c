/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Many records in one call: begins them all, hands each group of one cipher and one backend over in one run,
 * and finishes them in the order of the array. A long batch goes through in portions, so that the frames fit
 * the stack and the first level cache, and nothing is allocated.
 */
#include <sealane/record.h>

#include "aead_key.h"
#include "frame.h"

static void aead_group_run(backend_op *const ops[], size_t count, unsigned index, sealane_cipher_id cipher,
                           bool sealing)
{
    const backend *be = dispatch_backend(index);

    (sealing ? be->seal_many : be->open_many)(cipher, ops, count);
    aead_ops_count(index, sealing, ops, count);
}

/* Runs the frames of the first one's group; the others move up. Returns how many those are. */
static size_t group_run(frame *left[], size_t count, bool sealing)
{
    const frame *first = left[0];
    backend_op *ops[FRAMES_MAX];
    cbc_op *cbc_ops[FRAMES_MAX];
    size_t taken = 0, others = 0;

    for (size_t i = 0; i < count; i++) {
        if (left[i]->group != first->group) {
            left[others++] = left[i];
            continue;
        }
        ops[taken] = &left[i]->op;
        cbc_ops[taken++] = &left[i]->cbc;
    }
    if (first->key->cbc != NULL)
        (sealing ? cbc_seal : cbc_open)(cbc_ops, taken);
    else
        aead_group_run(ops, taken, frame_backend(first), first->key->cipher_id, sealing);
    return others;
}

void frames_run(frame frames[], size_t count, bool sealing)
{
    frame *left[FRAMES_MAX];

    for (size_t i = 0; i < count; i++)
        left[i] = &frames[i];
    while (count > 0)
        count = group_run(left, count, sealing);
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
    frame frames[FRAMES_MAX];
    sealane_seal_op *begun[FRAMES_MAX];
    struct census census = {{0}};
    size_t frame_count = 0;

    for (size_t i = 0; i < count; i++)
        census_add(&census, ops[i].key);
    for (size_t i = 0; i < count; i++) {
        begun[frame_count] = &ops[i];
        frame_count += frame_seal_begin(&frames[frame_count], &ops[i], has_company(&census, ops[i].key));
    }
    frames_run(frames, frame_count, true);
    for (size_t i = 0; i < frame_count; i++)
        frame_seal_finish(&frames[i], begun[i]);
}

static void portion_open(sealane_open_op ops[], size_t count)
{
    frame frames[FRAMES_MAX];
    sealane_open_op *begun[FRAMES_MAX];
    struct census census = {{0}};
    size_t frame_count = 0;

    for (size_t i = 0; i < count; i++)
        census_add(&census, ops[i].key);
    for (size_t i = 0; i < count; i++) {
        begun[frame_count] = &ops[i];
        frame_count += frame_open_begin(&frames[frame_count], &ops[i], has_company(&census, ops[i].key));
    }
    frames_run(frames, frame_count, false);
    for (size_t i = 0; i < frame_count; i++)
        frame_open_finish(&frames[i], begun[i]);
}

void sealane_batch_seal(sealane_seal_op ops[], size_t count)
{
    for (; count > FRAMES_MAX; ops += FRAMES_MAX, count -= FRAMES_MAX)
        portion_seal(ops, FRAMES_MAX);
    portion_seal(ops, count);
}

void sealane_batch_open(sealane_open_op ops[], size_t count)
{
    for (; count > FRAMES_MAX; ops += FRAMES_MAX, count -= FRAMES_MAX)
        portion_open(ops, FRAMES_MAX);
    portion_open(ops, count);
}
