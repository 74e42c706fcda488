/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A block is a matrix of four rows of four words (RFC 8439 2.3). A 256-bit register holds one row of two
 * blocks, so that four registers are a pair of consecutive blocks of one key. Rounds of one pair wait for
 * their own results most of the time; three or four pairs, of one key or of several, are worked on in turn
 * and fill the gaps. No row is ever transposed, and a pair is just what a record of up to 64 bytes needs:
 * block 0 for its Poly1305 key and block 1 for its bytes (2.6, 2.8).
 *
 * Eight blocks word by word in sixteen registers take fewer instructions in theory; compiled, they spill, and
 * were slower for every length.
 */
#include "chacha_stream.h"

#if defined(__x86_64__)

#include <stdbool.h>

/*
 * `what` for each pair, whose number is `i`. Written out, because gcc keeps an array in registers only where
 * it sees constant indices from the start.
 */
#define EACH_PAIR(what)                                                                                      \
    do {                                                                                                     \
        ONE_PAIR(0, what);                                                                                   \
        ONE_PAIR(1, what);                                                                                   \
        ONE_PAIR(2, what);                                                                                   \
        ONE_PAIR(3, what);                                                                                   \
    } while (0)
#define ONE_PAIR(number, what)                                                                               \
    if (pairs > number) {                                                                                    \
        enum { i = number };                                                                                 \
        what;                                                                                                \
    }

CHACHA_INLINE __m256i row_load(const uint8_t *bytes)
{
    return _mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i *)(const void *)bytes));
}

/* RFC 8439 2.3: constants, key, counter and nonce. */
CHACHA_INLINE block_pair pair_begin(const stream_source *source)
{
    uint64_t nonce_low = load_64(source->nonce);
    uint32_t nonce_high = load_32(source->nonce + 8);
    __m128i last = _mm_set_epi64x((long long)((uint64_t)nonce_high << 32 | nonce_low >> 32),
                                  (long long)(nonce_low << 32 | source->counter));

    return (block_pair){
        .a = _mm256_setr_epi32(0x61707865, 0x3320646e, 0x79622d32, 0x6b206574, 0x61707865, 0x3320646e,
                               0x79622d32, 0x6b206574),
        .b = row_load(source->key),
        .c = row_load(source->key + 16),
        .d = _mm256_add_epi32(_mm256_broadcastsi128_si256(last), _mm256_setr_epi32(0, 0, 0, 0, 1, 0, 0, 0)),
    };
}

CHACHA_INLINE __m256i bytes_rotate(__m256i words, const uint8_t table[32])
{
    return _mm256_shuffle_epi8(words, *(const __m256i *)(const void *)table);
}

CHACHA_INLINE __m256i rotate_16(__m256i words)
{
    static const _Alignas(32) uint8_t table[32] = {2, 3, 0, 1, 6, 7, 4, 5, 10, 11, 8, 9, 14, 15, 12, 13,
                                                   2, 3, 0, 1, 6, 7, 4, 5, 10, 11, 8, 9, 14, 15, 12, 13};
    return bytes_rotate(words, table);
}

CHACHA_INLINE __m256i rotate_8(__m256i words)
{
    static const _Alignas(32) uint8_t table[32] = {3, 0, 1, 2, 7, 4, 5, 6, 11, 8, 9, 10, 15, 12, 13, 14,
                                                   3, 0, 1, 2, 7, 4, 5, 6, 11, 8, 9, 10, 15, 12, 13, 14};
    return bytes_rotate(words, table);
}

CHACHA_INLINE __m256i rotate_by(__m256i x, const int bits)
{
    return _mm256_or_si256(_mm256_slli_epi32(x, bits), _mm256_srli_epi32(x, 32 - bits));
}

/* RFC 8439 2.1, on the four columns of all pairs; one step of each pair after the other. */
CHACHA_INLINE void quarter_rounds(block_pair *p, const int pairs)
{
    EACH_PAIR(p[i].a = _mm256_add_epi32(p[i].a, p[i].b));
    EACH_PAIR(p[i].d = rotate_16(_mm256_xor_si256(p[i].d, p[i].a)));
    EACH_PAIR(p[i].c = _mm256_add_epi32(p[i].c, p[i].d));
    EACH_PAIR(p[i].b = rotate_by(_mm256_xor_si256(p[i].b, p[i].c), 12));
    EACH_PAIR(p[i].a = _mm256_add_epi32(p[i].a, p[i].b));
    EACH_PAIR(p[i].d = rotate_8(_mm256_xor_si256(p[i].d, p[i].a)));
    EACH_PAIR(p[i].c = _mm256_add_epi32(p[i].c, p[i].d));
    EACH_PAIR(p[i].b = rotate_by(_mm256_xor_si256(p[i].b, p[i].c), 7));
}

/*
 * Turns diagonals into columns. Row b, which is ready last, stays where it is and the others turn about it:
 * the way through a round is a shuffle shorter.
 */
CHACHA_INLINE void diagonals_to_columns(block_pair *p, const int pairs)
{
    EACH_PAIR(p[i].a = _mm256_shuffle_epi32(p[i].a, _MM_SHUFFLE(2, 1, 0, 3)));
    EACH_PAIR(p[i].c = _mm256_shuffle_epi32(p[i].c, _MM_SHUFFLE(0, 3, 2, 1)));
    EACH_PAIR(p[i].d = _mm256_shuffle_epi32(p[i].d, _MM_SHUFFLE(1, 0, 3, 2)));
}

CHACHA_INLINE void columns_to_diagonals(block_pair *p, const int pairs)
{
    EACH_PAIR(p[i].a = _mm256_shuffle_epi32(p[i].a, _MM_SHUFFLE(0, 3, 2, 1)));
    EACH_PAIR(p[i].c = _mm256_shuffle_epi32(p[i].c, _MM_SHUFFLE(2, 1, 0, 3)));
    EACH_PAIR(p[i].d = _mm256_shuffle_epi32(p[i].d, _MM_SHUFFLE(1, 0, 3, 2)));
}

/* Adds what the rounds began with, and lays the two blocks out: the first of each in two vectors. */
CHACHA_INLINE void pair_end(__m256i out[4], block_pair p, const block_pair *start)
{
    p.a = _mm256_add_epi32(p.a, start->a);
    p.b = _mm256_add_epi32(p.b, start->b);
    p.c = _mm256_add_epi32(p.c, start->c);
    p.d = _mm256_add_epi32(p.d, start->d);
    out[0] = _mm256_permute2x128_si256(p.a, p.b, 0x20);
    out[1] = _mm256_permute2x128_si256(p.c, p.d, 0x20);
    out[2] = _mm256_permute2x128_si256(p.a, p.b, 0x31);
    out[3] = _mm256_permute2x128_si256(p.c, p.d, 0x31);
}

CHACHA_INLINE __m256i vector_load(const uint8_t *bytes)
{
    return _mm256_loadu_si256((const __m256i *)(const void *)bytes);
}

CHACHA_INLINE void vector_store(uint8_t *bytes, __m256i value)
{
    _mm256_storeu_si256((__m256i *)(void *)bytes, value);
}

/* STREAM_PAIR bytes to memory: the key stream itself, or, with bytes that it encrypts, those. */
CHACHA_INLINE void pair_deliver(block_pair p, const block_pair *start, const uint8_t *in, uint8_t *out)
{
    const size_t size = sizeof(__m256i);
    __m256i stream[4];

    pair_end(stream, p, start);
    for (size_t i = 0; i < 4; i++)
        vector_store(out + i * size,
                     in == NULL ? stream[i] : _mm256_xor_si256(stream[i], vector_load(in + i * size)));
}

CHACHA_INLINE void rounds_run(block_pair *p, const int pairs)
{
    for (int round = 0; round < 10; round++) {
        quarter_rounds(p, pairs);
        diagonals_to_columns(p, pairs);
        quarter_rounds(p, pairs);
        columns_to_diagonals(p, pairs);
    }
}

CHACHA_INLINE void pairs_make(const stream_source sources[], const int pairs, uint8_t *out)
{
    block_pair start[STREAM_PAIRS_MAX], p[STREAM_PAIRS_MAX];

    EACH_PAIR(p[i] = start[i] = pair_begin(&sources[i]));
    rounds_run(p, pairs);
    EACH_PAIR(pair_deliver(p[i], &start[i], NULL, out + i * STREAM_PAIR));
}

CHACHA_CODE void stream_make(const stream_source sources[], size_t pairs, uint8_t *out)
{
    switch (pairs) {
    case 1:
        pairs_make(sources, 1, out);
        break;
    case 2:
        pairs_make(sources, 2, out);
        break;
    case 3:
        pairs_make(sources, 3, out);
        break;
    default:
        pairs_make(sources, 4, out);
    }
}

/* ---- One long message ---- */

CHACHA_CODE void turn_begin(turn *t, const uint8_t *key, const uint8_t *nonce)
{
    for (uint32_t i = 0; i < TURN_PAIRS; i++)
        t->start[i] = pair_begin(&(stream_source){.key = key, .nonce = nonce, .counter = 2 * i});
}

CHACHA_INLINE void turn_next(turn *t)
{
    const int step = 2 * TURN_PAIRS;

    for (int i = 0; i < TURN_PAIRS; i++)
        t->start[i].d = _mm256_add_epi32(t->start[i].d, _mm256_setr_epi32(step, 0, 0, 0, step, 0, 0, 0));
}

CHACHA_INLINE void hash_block(poly1305 *poly, const uint8_t **data)
{
    poly1305_block(poly, load_64(*data), load_64(*data + 8));
    *data += POLY1305_BLOCK;
}

/*
 * Two blocks in each double round and the rest behind them: in a loop of equal turns gcc finds a register for
 * everything.
 */
CHACHA_CODE void turn_full(turn *t, const uint8_t *in, uint8_t *out, poly1305 *state, const uint8_t *data)
{
    const int pairs = TURN_PAIRS;
    block_pair p[TURN_PAIRS];
    poly1305 poly = *state;

    EACH_PAIR(p[i] = t->start[i]);
    for (int round = 0; round < 10; round++) {
        quarter_rounds(p, pairs);
        diagonals_to_columns(p, pairs);
        hash_block(&poly, &data);
        quarter_rounds(p, pairs);
        columns_to_diagonals(p, pairs);
        hash_block(&poly, &data);
    }
    for (int i = 20; i < TURN_BLOCKS; i++)
        hash_block(&poly, &data);
    EACH_PAIR(pair_deliver(p[i], &t->start[i], in + i * STREAM_PAIR, out + i * STREAM_PAIR));
    turn_next(t);
    *state = poly;
}

/* Up to `steps` blocks, of those that are left. */
CHACHA_INLINE void hash_some(poly1305 *poly, const uint8_t **data, size_t *blocks, int steps)
{
    for (; steps > 0 && *blocks > 0; steps--, --*blocks)
        hash_block(poly, data);
}

CHACHA_CODE void turn_part(turn *t, uint8_t stream[TURN_LEN], poly1305 *state, const uint8_t *data,
                           size_t blocks)
{
    const int pairs = TURN_PAIRS;
    block_pair p[TURN_PAIRS];
    poly1305 poly = *state;

    EACH_PAIR(p[i] = t->start[i]);
    for (int round = 0; round < 10; round++) {
        quarter_rounds(p, pairs);
        diagonals_to_columns(p, pairs);
        hash_some(&poly, &data, &blocks, 1);
        quarter_rounds(p, pairs);
        columns_to_diagonals(p, pairs);
        hash_some(&poly, &data, &blocks, 1);
    }
    hash_some(&poly, &data, &blocks, TURN_BLOCKS - 20);
    EACH_PAIR(pair_deliver(p[i], &t->start[i], NULL, stream + i * STREAM_PAIR));
    turn_next(t);
    *state = poly;
}

#endif
