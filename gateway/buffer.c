/* SPDX-License-Identifier: Apache-2.0 */
/* Byte buffers of one fixed size; see buffer.h. */
#include "buffer.h"

#include <stdlib.h>
#include <string.h>

uint8_t *buffer_reserve(struct buffer_pool *pool, struct buffer *b, size_t *room)
{
    if (b->data == NULL) {
        b->data = pool->count > 0 ? pool->spare[--pool->count] : malloc(BUFFER_SIZE);
        b->start = b->end = 0;
        if (b->data == NULL) {
            *room = 0;
            return NULL;
        }
    }
    if (b->start > 0) {
        memmove(b->data, b->data + b->start, buffer_length(b));
        b->end -= b->start;
        b->start = 0;
    }
    *room = BUFFER_SIZE - b->end;
    return b->data + b->end;
}

void buffer_commit(struct buffer *b, size_t len)
{
    b->end += len;
}

bool buffer_append(struct buffer_pool *pool, struct buffer *b, const void *in, size_t len)
{
    size_t room;
    uint8_t *to;

    if (len == 0)
        return true;
    if (len > buffer_room(b))
        return false;
    /* Moving what is held to the front costs; do it only when the tail is too short. */
    if (b->data != NULL && len <= BUFFER_SIZE - b->end) {
        to = b->data + b->end;
    } else {
        to = buffer_reserve(pool, b, &room);
        if (to == NULL)
            return false;
    }
    memcpy(to, in, len);
    b->end += len;
    return true;
}

void buffer_drop(struct buffer *b, size_t len)
{
    b->start += len;
    if (b->start == b->end)
        b->start = b->end = 0;
}

void buffer_tidy(struct buffer_pool *pool, struct buffer *b)
{
    if (b->data == NULL || buffer_length(b) > 0)
        return;
    if (pool->count < BUFFER_POOL_KEEP)
        pool->spare[pool->count++] = b->data;
    else
        free(b->data);
    b->data = NULL;
    b->start = b->end = 0;
}

void buffer_clear(struct buffer_pool *pool, struct buffer *b)
{
    b->start = b->end = 0;
    buffer_tidy(pool, b);
}

void buffer_pool_free(struct buffer_pool *pool)
{
    while (pool->count > 0)
        free(pool->spare[--pool->count]);
}
