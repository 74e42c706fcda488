/* SPDX-License-Identifier: Apache-2.0 */
/*
 * CBC (SP 800-38A 6.2). A record's blocks are decrypted up to eight side by side, which hides the latency of a
 * round; encryption is serial within a record, so there it is eight records. There is a routine for each number
 * of them.
 */
#include "cbc_aesni.h"

#if defined(__x86_64__)

#include <immintrin.h>

#define CBC_CODE   __attribute__((target("aes,sse4.1")))
#define CBC_INLINE static inline __attribute__((always_inline)) CBC_CODE
#define UNROLL     _Pragma("GCC unroll 8")

#define BLOCK        16
#define SIDE_BY_SIDE 8

CBC_INLINE __m128i block_load(const uint8_t *from)
{
    return _mm_loadu_si128((const __m128i *)(const void *)from);
}

/* All of `n` blocks is read before any is written. Returns the last one's ciphertext, the next IV. */
CBC_INLINE __m128i blocks_decrypt(const __m128i *keys, unsigned rounds, __m128i before, const uint8_t *in,
                                  uint8_t *out, unsigned n)
{
    __m128i cipher[SIDE_BY_SIDE], b[SIDE_BY_SIDE];

    UNROLL
    for (unsigned i = 0; i < n; i++) {
        cipher[i] = block_load(in + (size_t)i * BLOCK);
        b[i] = _mm_xor_si128(cipher[i], keys[0]);
    }
    for (unsigned round = 1; round < rounds; round++) {
        UNROLL
        for (unsigned i = 0; i < n; i++)
            b[i] = _mm_aesdec_si128(b[i], keys[round]);
    }
    UNROLL
    for (unsigned i = 0; i < n; i++) {
        b[i] = _mm_aesdeclast_si128(b[i], keys[rounds]);
        b[i] = _mm_xor_si128(b[i], i == 0 ? before : cipher[i - 1]);
        _mm_storeu_si128((__m128i *)(void *)(out + (size_t)i * BLOCK), b[i]);
    }
    return cipher[n - 1];
}

/* The next `blocks` of each of `n` records. */
CBC_INLINE void records_encrypt(unsigned rounds, const cbc_aesni_run runs[], size_t blocks, unsigned n)
{
    const __m128i *keys[SIDE_BY_SIDE];
    __m128i chain[SIDE_BY_SIDE];

    UNROLL
    for (unsigned i = 0; i < n; i++) {
        keys[i] = (const __m128i *)(const void *)runs[i].schedule;
        chain[i] = block_load(runs[i].at - BLOCK);
    }
    for (size_t at = 0; at < blocks * BLOCK; at += BLOCK) {
        UNROLL
        for (unsigned i = 0; i < n; i++)
            chain[i] = _mm_xor_si128(_mm_xor_si128(chain[i], block_load(runs[i].at + at)), keys[i][0]);
        for (unsigned round = 1; round < rounds; round++) {
            UNROLL
            for (unsigned i = 0; i < n; i++)
                chain[i] = _mm_aesenc_si128(chain[i], keys[i][round]);
        }
        UNROLL
        for (unsigned i = 0; i < n; i++) {
            chain[i] = _mm_aesenclast_si128(chain[i], keys[i][rounds]);
            _mm_storeu_si128((__m128i *)(void *)(runs[i].at + at), chain[i]);
        }
    }
}

CBC_CODE static void records_step(unsigned rounds, const cbc_aesni_run runs[], size_t blocks, unsigned n)
{
    switch (n) {
#define RECORDS(n)                                                                                           \
    case n:                                                                                                  \
        records_encrypt(rounds, runs, blocks, n);                                                            \
        break
        RECORDS(8);
        RECORDS(7);
        RECORDS(6);
        RECORDS(5);
        RECORDS(4);
        RECORDS(3);
        RECORDS(2);
        RECORDS(1);
#undef RECORDS
    default:
        break;
    }
}

/* Moves them on by what was encrypted; drops those that are done. Returns how many are left. */
static unsigned records_advance(cbc_aesni_run runs[], size_t len, unsigned n)
{
    unsigned left = 0;

    for (unsigned i = 0; i < n; i++) {
        runs[i].at += len;
        runs[i].len -= len;
        if (runs[i].len > 0)
            runs[left++] = runs[i];
    }
    return left;
}

void cbc_aesni_encrypt_many(unsigned rounds, const cbc_aesni_run runs[], size_t count)
{
    cbc_aesni_run now[SIDE_BY_SIDE];
    unsigned n = 0;

    for (;;) {
        size_t len = SIZE_MAX;

        for (; n < SIDE_BY_SIDE && count > 0; count--)
            now[n++] = *runs++;
        if (n == 0)
            break;
        for (unsigned i = 0; i < n; i++)
            len = now[i].len < len ? now[i].len : len;
        records_step(rounds, now, len / BLOCK, n);
        n = records_advance(now, len, n);
    }
}

CBC_CODE void cbc_aesni_decrypt(const uint8_t *schedule, unsigned rounds, const uint8_t *in, size_t len,
                                uint8_t *out)
{
    const __m128i *keys = (const __m128i *)(const void *)schedule;
    __m128i before = block_load(in - BLOCK);

    for (; len >= SIDE_BY_SIDE * BLOCK; len -= SIDE_BY_SIDE * BLOCK) {
        before = blocks_decrypt(keys, rounds, before, in, out, SIDE_BY_SIDE);
        in += SIDE_BY_SIDE * BLOCK;
        out += SIDE_BY_SIDE * BLOCK;
    }
    switch (len / BLOCK) {
#define REST(n)                                                                                              \
    case n:                                                                                                  \
        (void)blocks_decrypt(keys, rounds, before, in, out, n);                                              \
        break
        REST(7);
        REST(6);
        REST(5);
        REST(4);
        REST(3);
        REST(2);
        REST(1);
#undef REST
    default:
        break;
    }
}

#else

/* Never called: the lanes' library is for this architecture alone. */
void cbc_aesni_encrypt_many(unsigned rounds, const cbc_aesni_run runs[], size_t count)
{
    (void)rounds, (void)runs, (void)count;
}

void cbc_aesni_decrypt(const uint8_t *schedule, unsigned rounds, const uint8_t *in, size_t len, uint8_t *out)
{
    (void)schedule, (void)rounds, (void)in, (void)len, (void)out;
}

#endif
