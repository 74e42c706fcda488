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

/* sealane_aead_new() in memory of the caller's that is all zeros; clears it if it fails. */
sealane_result aead_init(sealane_aead *aead, sealane_cipher_id cipher, const uint8_t *key, size_t key_len);
/* Wipes it, and what it refers to. */
void aead_clear(sealane_aead *aead);

/* For a backend that has not expanded this key yet; gives the index of one that now has. */
unsigned aead_expand(sealane_aead *aead, unsigned index);

/* That index, or that of another backend: one for which states[] has the expanded key. */
static inline unsigned aead_expanded(sealane_aead *aead, unsigned index)
{
    return aead->states[index] != NULL ? index : aead_expand(aead, index);
}

/*
 * The index of the backend for a message of that length. `batch` if others come with it; `cipher` is the key's, by
 * whoever knows it without a look.
 */
static inline unsigned aead_place(sealane_aead *aead, sealane_cipher_id cipher, bool sealing, bool batch,
                                  size_t len)
{
    return aead_expanded(aead, dispatch_pick(cipher, dispatch_use_of(sealing, batch), len));
}

/* Counts finished operations of one backend. */
void aead_ops_count(unsigned index, bool sealing, backend_op *const ops[], size_t count);

#endif
