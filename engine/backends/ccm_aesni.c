/* SPDX-License-Identifier: Apache-2.0 */
/*
 * CCM (RFC 3610): a CBC-MAC of the plaintext, each block of which waits for the one before, and counter mode.
 * The key stream of the next block is computed in the MAC's shadow, so the MAC's latency is all that a block
 * takes, sealing as well as opening.
 */
#include "ccm_aesni.h"

#if defined(__x86_64__)

#include <immintrin.h>
#include <string.h>
#include <openssl/crypto.h>

#define CCM_CODE   __attribute__((target("aes,ssse3")))
#define CCM_INLINE static inline __attribute__((always_inline)) CCM_CODE

#define BLOCK  16
#define ROUNDS 10
/* RFC 3610 2.2 and 2.3: L - 1, with L = 3 bytes for the length; "Adata". */
#define FLAGS_LENGTH 2
#define FLAGS_AAD    0x40

typedef struct ccm {
    const __m128i *keys;
    __m128i counter; /* A_i with its number in the lowest 32 bits, as a little-endian number */
    __m128i mac;     /* X_i */
} ccm;

CCM_INLINE __m128i block_reverse(__m128i block)
{
    return _mm_shuffle_epi8(block, _mm_setr_epi8(15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0));
}

CCM_INLINE __m128i counter_next(ccm *c)
{
    const __m128i block = block_reverse(c->counter);

    c->counter = _mm_add_epi32(c->counter, _mm_set_epi32(0, 0, 0, 1));
    return block;
}

/* The next block of the MAC, and the next one of the key stream. */
CCM_INLINE __m128i step(ccm *c, __m128i block)
{
    __m128i mac = _mm_xor_si128(_mm_xor_si128(c->mac, block), c->keys[0]);
    __m128i stream = _mm_xor_si128(counter_next(c), c->keys[0]);

    for (int i = 1; i < ROUNDS; i++) {
        mac = _mm_aesenc_si128(mac, c->keys[i]);
        stream = _mm_aesenc_si128(stream, c->keys[i]);
    }
    c->mac = _mm_aesenclast_si128(mac, c->keys[ROUNDS]);
    return _mm_aesenclast_si128(stream, c->keys[ROUNDS]);
}

/* The next block of the MAC alone. */
CCM_INLINE void mac_step(ccm *c, __m128i block)
{
    __m128i mac = _mm_xor_si128(_mm_xor_si128(c->mac, block), c->keys[0]);

    for (int i = 1; i < ROUNDS; i++)
        mac = _mm_aesenc_si128(mac, c->keys[i]);
    c->mac = _mm_aesenclast_si128(mac, c->keys[ROUNDS]);
}

/* Flags, nonce, and a number in the last three bytes: B_0 and the A_i. */
CCM_INLINE __m128i block_numbered(const uint8_t *nonce, uint8_t flags, uint32_t number)
{
    uint8_t block[BLOCK] = {flags};

    memcpy(block + 1, nonce, SEALANE_NONCE_LEN);
    block[13] = (uint8_t)(number >> 16);
    block[14] = (uint8_t)(number >> 8);
    block[15] = (uint8_t)number;
    return _mm_loadu_si128((const __m128i *)(const void *)block);
}

CCM_INLINE __m128i load_part(const uint8_t *from, size_t len)
{
    uint8_t block[BLOCK] = {0};

    memcpy(block, from, len);
    return _mm_loadu_si128((const __m128i *)(const void *)block);
}

CCM_INLINE void store_part(uint8_t *to, __m128i block, size_t len)
{
    uint8_t bytes[BLOCK];

    _mm_storeu_si128((__m128i *)(void *)bytes, block);
    memcpy(to, bytes, len);
}

/* RFC 3610 2.2: two bytes of length before the additional data, zeros behind it. */
CCM_INLINE void aad_add(ccm *c, const uint8_t *aad, size_t len)
{
    uint8_t first[BLOCK] = {(uint8_t)(len >> 8), (uint8_t)len};
    size_t some = len < BLOCK - 2 ? len : BLOCK - 2;

    memcpy(first + 2, aad, some);
    mac_step(c, _mm_loadu_si128((const __m128i *)(const void *)first));
    for (aad += some, len -= some; len > 0; aad += some, len -= some) {
        some = len < BLOCK ? len : BLOCK;
        mac_step(c, load_part(aad, some));
    }
}

/* Data and key stream of one block; what the MAC takes is the plaintext. */
CCM_INLINE __m128i block_run(ccm *c, __m128i *stream, __m128i data, const bool sealing)
{
    const __m128i text = _mm_xor_si128(data, *stream);

    *stream = step(c, sealing ? data : text);
    return text;
}

CCM_INLINE void message_run(ccm *c, __m128i stream, const backend_op *op, const bool sealing)
{
    const size_t rest = op->len % BLOCK, whole = op->len - rest;

    for (size_t i = 0; i < whole; i += BLOCK) {
        const __m128i data = _mm_loadu_si128((const __m128i *)(const void *)(op->in + i));

        _mm_storeu_si128((__m128i *)(void *)(op->out + i), block_run(c, &stream, data, sealing));
    }
    if (rest > 0) {
        const __m128i data = load_part(op->in + whole, rest);

        store_part(op->out + whole, _mm_xor_si128(data, stream), rest);
        mac_step(c, sealing ? data : load_part(op->out + whole, rest));
    }
}

CCM_CODE void ccm_aesni_run(const uint8_t *round_keys, const backend_op *op, bool sealing, uint8_t *tag,
                            size_t tag_len)
{
    const uint8_t flags =
        (uint8_t)((op->aad_len > 0 ? FLAGS_AAD : 0) | (tag_len - 2) / 2 << 3 | FLAGS_LENGTH);
    ccm c = {
        .keys = (const __m128i *)(const void *)round_keys,
        .counter = block_reverse(block_numbered(op->nonce, FLAGS_LENGTH, 0)),
        .mac = _mm_setzero_si128(),
    };
    const __m128i first = block_numbered(op->nonce, flags, (uint32_t)op->len);
    __m128i tag_mask = step(&c, first), stream;

    if (op->aad_len > 0)
        aad_add(&c, op->aad, op->aad_len);
    stream = _mm_xor_si128(counter_next(&c), c.keys[0]);
    for (int i = 1; i < ROUNDS; i++)
        stream = _mm_aesenc_si128(stream, c.keys[i]);
    stream = _mm_aesenclast_si128(stream, c.keys[ROUNDS]);
    if (sealing)
        message_run(&c, stream, op, true);
    else
        message_run(&c, stream, op, false);
    store_part(tag, _mm_xor_si128(c.mac, tag_mask), tag_len);
}

#endif
