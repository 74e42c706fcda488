/* SPDX-License-Identifier: Apache-2.0 */
/* What the record layer and batches use of an AEAD key beyond sealane/aead.h. */
#ifndef ENGINE_AEAD_KEY_H
#define ENGINE_AEAD_KEY_H

#include <stdbool.h>
#include <sealane/aead.h>
#include "backend.h"

/*
 * Gives the backend for a message of `len` bytes (an index of dispatch.h) and points op->state to the key as
 * that backend expanded it, expanding it now if this is its first message. `batch` if others come with it.
 */
unsigned aead_op_place(sealane_aead *aead, bool sealing, bool batch, backend_op *op);
/* Counts finished operations of one backend. */
void aead_ops_count(unsigned index, bool sealing, backend_op *const ops[], size_t count);

#endif
