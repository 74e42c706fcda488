/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The backend for AES-GCM on CPUs with VAES and VPCLMULQDQ but not necessarily AVX-512: AMD from Zen 3, Intel
 * from Alder Lake. Here are the table of functions, the check of the CPU, and the decision which messages of
 * a batch are worked on side by side. The cipher itself: vaes_message.h, on top of vaes_key.h (the expanded
 * key), vaes_ghash.h (the hash) and vaes_bytes.h (blocks that are not whole).
 */
#include "../backend.h"

#if defined(__x86_64__)

#include <cpuid.h>
#include <openssl/crypto.h>
#include "vaes_message.h"

/* SP 800-38D 5.2.1.1: 2^39 - 256 bits, or the 32-bit counter would come round to the tag's block. */
#define MESSAGE_MAX (((uint64_t)1 << 36) - 32)

/* XCR0 as XGETBV gives it: which registers the operating system saves. Without its leave no AVX. */
__attribute__((target("xsave"))) static uint64_t xcr0_read(void)
{
    return (uint64_t)_xgetbv(0);
}

static const char *vaes_probe(void)
{
    const unsigned need_1c = bit_AES | bit_PCLMUL | bit_SSSE3 | bit_SSE4_1 | bit_OSXSAVE | bit_AVX;
    const unsigned need_7b = bit_AVX2, need_7c = bit_VAES | bit_VPCLMULQDQ;
    const uint64_t xmm_and_ymm = 6;
    unsigned a, b, c, d;

    if (!__get_cpuid(1, &a, &b, &c, &d) || (c & need_1c) != need_1c)
        return "CPU lacks AES-NI, PCLMULQDQ or AVX";
    if ((xcr0_read() & xmm_and_ymm) != xmm_and_ymm)
        return "operating system does not save AVX registers";
    if (!__get_cpuid_count(7, 0, &a, &b, &c, &d) || (b & need_7b) != need_7b || (c & need_7c) != need_7c)
        return "CPU lacks AVX2, VAES or VPCLMULQDQ";
    return NULL;
}

static const char *vaes_version(void)
{
    return "built in";
}

static size_t vaes_state_size(sealane_cipher_id cipher)
{
    return cipher == SEALANE_AES_128_GCM || cipher == SEALANE_AES_256_GCM ? sizeof(gcm_key) : 0;
}

VAES_CODE static sealane_result vaes_key_init(void *state, sealane_cipher_id cipher, const uint8_t *bytes)
{
    gcm_key *key = state;

    if (vaes_state_size(cipher) == 0)
        return SEALANE_UNSUPPORTED;
    if (cipher == SEALANE_AES_128_GCM)
        round_keys_expand_128(key, bytes);
    else
        round_keys_expand_256(key, bytes);
    powers_derive(key);
    return SEALANE_OK;
}

static void vaes_key_clear(void *state)
{
    (void)state; /* refers to nothing */
}

/* Delivers the tag, or compares it: in constant time, all sixteen bytes at once. */
VAES_INLINE sealane_result message_end(backend_op *op, __m128i tag, const bool sealing)
{
    __m128i difference;

    if (sealing) {
        store_block(op->tag, tag);
        return SEALANE_OK;
    }
    difference = _mm_xor_si128(tag, load_block(op->tag));
    if (_mm_testz_si128(difference, difference))
        return SEALANE_OK;
    if (op->len > 0)
        OPENSSL_cleanse(op->out, op->len);
    return SEALANE_FORGED;
}

#define ONE_CASE(pairs)                                                                                      \
    case pairs:                                                                                              \
        endings_run(&end, &tag, 1, pairs, sealing);                                                          \
        break

VAES_INLINE sealane_result message_run(backend_op *op, const bool sealing)
{
    ending end;
    __m128i tag;

    if (op->len > MESSAGE_MAX)
        return op->result = SEALANE_ARGUMENT;
    end = message_begin(op);
    if (end.left > TURN)
        message_turns(&end, sealing);
    switch (ending_pairs(end.left)) {
        ONE_CASE(1);
        ONE_CASE(2);
        ONE_CASE(3);
        ONE_CASE(4);
        ONE_CASE(5);
        ONE_CASE(6);
        ONE_CASE(7);
        ONE_CASE(8);
    default:
        endings_run(&end, &tag, 1, 9, sealing);
    }
    return op->result = message_end(op, tag, sealing);
}

VAES_CODE static sealane_result vaes_seal(backend_op *op)
{
    return message_run(op, true);
}

VAES_CODE static sealane_result vaes_open(backend_op *op)
{
    return message_run(op, false);
}

VAES_CODE static void vaes_seal_many(sealane_cipher_id cipher, backend_op *const ops[], size_t count)
{
    (void)cipher;
    for (size_t i = 0; i < count; i++)
        vaes_seal(ops[i]);
}

VAES_CODE static void vaes_open_many(sealane_cipher_id cipher, backend_op *const ops[], size_t count)
{
    (void)cipher;
    for (size_t i = 0; i < count; i++)
        vaes_open(ops[i]);
}

const backend backend_vaes = {
    .name = "vaes",
    .probe = vaes_probe,
    .version = vaes_version,
    .state_size = vaes_state_size,
    .key_init = vaes_key_init,
    .key_clear = vaes_key_clear,
    .seal = vaes_seal,
    .open = vaes_open,
    .seal_many = vaes_seal_many,
    .open_many = vaes_open_many,
};

#endif
