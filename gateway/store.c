/* SPDX-License-Identifier: Apache-2.0 */
/* Memory that is freed together; see store.h. */
#include "store.h"

#include <stdalign.h>
#include <stdlib.h>
#include <string.h>

struct store_piece {
    struct store_piece *next;
    alignas(max_align_t) unsigned char bytes[];
};

void *store_take(struct store *store, size_t count, size_t size)
{
    struct store_piece *piece = NULL;

    if (size == 0 || count <= ((size_t)-1 - sizeof *piece) / size)
        piece = calloc(1, sizeof *piece + count * size);
    if (piece == NULL)
        return NULL;
    piece->next = store->pieces;
    store->pieces = piece;
    return piece->bytes;
}

char *store_text(struct store *store, const char *text, size_t len)
{
    char *copy = store_take(store, len + 1, 1);

    if (copy != NULL)
        memcpy(copy, text, len);
    return copy;
}

void store_free(struct store *store)
{
    while (store->pieces != NULL) {
        struct store_piece *piece = store->pieces;
        store->pieces = piece->next;
        free(piece);
    }
}
