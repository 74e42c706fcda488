/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Byte buffers of one fixed size, borrowed from a pool while they hold something.
 *
 * What a stranger can make us remember is a small number of these per connection; an idle connection holds
 * none. A pool belongs to one loop and is used on its thread only.
 */
#ifndef GATEWAY_BUFFER_H
#define GATEWAY_BUFFER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Two full TLS records with their headers and tags fit (RFC 8446, 5.2: 5 + 2^14 + 256 bytes each). */
#define BUFFER_SIZE 34816u

struct buffer {
    uint8_t *data; /* NULL while nothing is held */
    size_t start, end;
};

/*
 * Spares that a pool keeps. It comes to have as many as were ever borrowed at once: a process whose busiest moments
 * are rare creeps up to this bound, 4.4 MB for a loop, and stays there.
 */
#define BUFFER_POOL_KEEP 128u

struct buffer_pool {
    uint8_t *spare[BUFFER_POOL_KEEP];
    size_t count;
};

static inline size_t buffer_length(const struct buffer *b)
{
    return b->end - b->start;
}
static inline size_t buffer_room(const struct buffer *b)
{
    return BUFFER_SIZE - buffer_length(b);
}
static inline const uint8_t *buffer_bytes(const struct buffer *b)
{
    return b->data + b->start;
}

/* Where the next bytes go; `*room` is how many fit in one piece (all of buffer_room). NULL: out of memory. */
uint8_t *buffer_reserve(struct buffer_pool *pool, struct buffer *b, size_t *room);
/* `len` bytes were written where buffer_reserve pointed. */
void buffer_commit(struct buffer *b, size_t len);
/* Copies all of `in` to the end, or nothing and false if it does not fit. */
bool buffer_append(struct buffer_pool *pool, struct buffer *b, const void *in, size_t len);
/* Forgets the first `len` bytes. The memory stays where it is until buffer_tidy or buffer_reserve. */
void buffer_drop(struct buffer *b, size_t len);
/* Hands the memory back to the pool if nothing is held. */
void buffer_tidy(struct buffer_pool *pool, struct buffer *b);
/* Forgets everything and hands the memory back. */
void buffer_clear(struct buffer_pool *pool, struct buffer *b);
void buffer_pool_free(struct buffer_pool *pool);

#endif
