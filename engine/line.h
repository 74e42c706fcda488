/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Memory that begins with a line of the cache, full of zeros. A batch goes from key to key, none of which the first
 * level of the cache still has: what an object puts into its first line is fetched at once.
 */
#ifndef ENGINE_LINE_H
#define ENGINE_LINE_H

#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#define LINE_LEN 64

/* NULL if there is no memory; free() gives it back. */
static inline void *line_alloc(size_t size)
{
    void *block;

    /* Not aligned_alloc(), which wants a size that is a multiple, and would round most sizes up. */
    if (posix_memalign(&block, LINE_LEN, size) != 0)
        return NULL;
    return memset(block, 0, size);
}

/* Where a batch comes by again soon. */
static inline void line_fetch(const void *block)
{
    __builtin_prefetch(block);
}

#endif
