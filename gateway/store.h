/* SPDX-License-Identifier: Apache-2.0 */
/* Memory that is freed together: what belongs to one settings file. */
#ifndef GATEWAY_STORE_H
#define GATEWAY_STORE_H

#include <stddef.h>

struct store {
    struct store_piece *pieces;
};

/* Zeroed; NULL if out of memory. Aligned for anything. */
void *store_take(struct store *store, size_t count, size_t size);
char *store_text(struct store *store, const char *text, size_t len);
void store_free(struct store *store);

#endif
