/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Counting without a locked instruction per record: each thread writes a block of its own, readers sum the
 * blocks. Reading is done through sealane/engine.h.
 */
#ifndef ENGINE_COUNTERS_H
#define ENGINE_COUNTERS_H

#include <stddef.h>

/* `index` is one of dispatch.h. */
void counters_sealed(unsigned index, size_t records);
void counters_opened(unsigned index, size_t records);
void counters_forged(size_t records);

#endif
