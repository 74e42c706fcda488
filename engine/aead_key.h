/* SPDX-License-Identifier: Apache-2.0 */
/* What the record layer and batches use of an AEAD key beyond sealane/aead.h. */
#ifndef ENGINE_AEAD_KEY_H
#define ENGINE_AEAD_KEY_H

#include <stdbool.h>
#include <sealane/aead.h>
#include "backend.h"
#include "dispatch.h"

/* More backends than a build has; each costs every key a pointer. */
#define AEAD_BACKENDS_MAX 6

struct sealane_aead {
    void *states[AEAD_BACKENDS_MAX]; /* expanded keys by index of dispatch.h; NULL: not expanded */
    uint8_t key[SEALANE_KEY_MAX];
    uint8_t cipher; /* sealane_cipher_id */
    uint8_t home;   /* index of the backend that was expanded at birth */
};

/* For a backend that has not expanded this key yet; gives the index of one that now has. */
unsigned aead_op_expand(sealane_aead *aead, unsigned index, backend_op *op);

/* Points op->state to the key as the backend of that index expanded it. Returns the index. */
static inline unsigned aead_op_point(sealane_aead *aead, unsigned index, backend_op *op)
{
    op->state = aead->states[index];
    return op->state != NULL ? index : aead_op_expand(aead, index, op);
}

/* The backend for a message of op->len bytes, ready to run. `batch` if others come with it. */
static inline unsigned aead_op_place(sealane_aead *aead, bool sealing, bool batch, backend_op *op)
{
    return aead_op_point(
        aead, dispatch_pick((sealane_cipher_id)aead->cipher, dispatch_use_of(sealing, batch), op->len), op);
}

/* Counts finished operations of one backend. */
void aead_ops_count(unsigned index, bool sealing, backend_op *const ops[], size_t count);

#endif
