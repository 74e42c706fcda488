/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The backend for AES-GCM on CPUs with VAES and VPCLMULQDQ on 512-bit vectors: Intel from Ice Lake, AMD from
 * Zen 4. Here are the table of functions, the check of the CPU, and which routine takes a message. The cipher
 * itself: vaes512_message.h, on top of vaes512_key.h and of what it has in common with backend `vaes`.
 */
#include "../backend.h"

#if defined(__x86_64__)

#include "vaes512_message.h"
#include "vaes_probe.h"

static const char *vaes512_probe(void)
{
    const char *missing = vaes_cpu_missing();
    const unsigned need = bit_AVX512F | bit_AVX512DQ | bit_AVX512BW | bit_AVX512VL | bit_BMI2;
    unsigned a, b, c, d;

    if (missing != NULL)
        return missing;
    if (!vaes_saves(XCR0_AVX512))
        return "operating system does not save AVX-512 registers";
    if (!__get_cpuid_count(7, 0, &a, &b, &c, &d) || (b & need) != need)
        return "CPU lacks AVX-512 F, DQ, BW or VL";
    return NULL;
}

static const char *vaes512_version(void)
{
    return "built in";
}

static size_t vaes512_state_size(sealane_cipher_id cipher)
{
    return cipher == SEALANE_AES_128_GCM || cipher == SEALANE_AES_256_GCM ? sizeof(quad_key) : 0;
}

VAES512_CODE static sealane_result vaes512_key_init(void *state, sealane_cipher_id cipher,
                                                    const uint8_t *bytes)
{
    quad_key *key = state;

    if (vaes512_state_size(cipher) == 0)
        return SEALANE_UNSUPPORTED;
    round_keys_expand(&key->aes, bytes, cipher == SEALANE_AES_128_GCM);
    quad_powers_derive(key);
    return SEALANE_OK;
}

static void vaes512_key_clear(void *state)
{
    (void)state; /* refers to nothing */
}

/* A stream that is all tail. */
VAES512_INLINE void short_run(backend_op *op, const size_t quads, const bool room, const bool sealing)
{
    quad_stream s = quad_stream_begin(op);

    op->result = message_end(op, tail_run(&s, quads, room, true, sealing), sealing);
}

/*
 * One routine for each number of quads and place of the lengths, out of line and reached through tables, as in
 * backend `vaes`.
 */
typedef void short_routine(backend_op *op);

#define DEFINE_SHORT(quads, name, room)                                                                      \
    __attribute__((noinline)) VAES512_CODE static void seal_##quads##_##name(backend_op *op)                 \
    {                                                                                                        \
        short_run(op, quads, room, true);                                                                    \
    }                                                                                                        \
    __attribute__((noinline)) VAES512_CODE static void open_##quads##_##name(backend_op *op)                 \
    {                                                                                                        \
        short_run(op, quads, room, false);                                                                   \
    }
#define DEFINE_BOTH(quads) DEFINE_SHORT(quads, room, true) DEFINE_SHORT(quads, full, false)
/* By the number of blocks in the stream: 1 to 3 leave room in the quad, the fourth fills it. */
#define FOUR(prefix, quads)                                                                                  \
    prefix##_##quads##_room, prefix##_##quads##_room, prefix##_##quads##_room, prefix##_##quads##_full

DEFINE_BOTH(1)
DEFINE_BOTH(2)
DEFINE_BOTH(3)
DEFINE_BOTH(4)
DEFINE_SHORT(5, room, true)

static short_routine *const seal_short[TAIL_BLOCKS] = {
    FOUR(seal, 1), FOUR(seal, 2), FOUR(seal, 3), FOUR(seal, 4), seal_5_room, seal_5_room, seal_5_room,
};
static short_routine *const open_short[TAIL_BLOCKS] = {
    FOUR(open, 1), FOUR(open, 2), FOUR(open, 3), FOUR(open, 4), open_5_room, open_5_room, open_5_room,
};

VAES512_INLINE __m128i tail_of_long(quad_stream *s, const bool sealing)
{
    const size_t blocks = tail_blocks(s->left);
    const bool room = blocks % 4 != 0;

    switch ((blocks + 3) / 4) {
#define TAIL(quads)                                                                                          \
    case quads:                                                                                              \
        return room ? tail_run(s, quads, true, false, sealing) : tail_run(s, quads, false, false, sealing);
        TAIL(1)
        TAIL(2)
        TAIL(3)
        TAIL(4)
    default:
        return tail_run(s, 5, true, false, sealing);
#undef TAIL
    }
}

VAES512_INLINE sealane_result long_run(backend_op *op, const bool sealing)
{
    quad_stream s;

    if (op->len > GCM_MESSAGE_MAX)
        return op->result = SEALANE_ARGUMENT;
    s = quad_stream_begin(op);
    turns_run(&s, sealing);
    return op->result = message_end(op, tail_of_long(&s, sealing), sealing);
}

__attribute__((noinline)) VAES512_CODE static sealane_result seal_long(backend_op *op)
{
    return long_run(op, true);
}

__attribute__((noinline)) VAES512_CODE static sealane_result open_long(backend_op *op)
{
    return long_run(op, false);
}

static sealane_result vaes512_seal(backend_op *op)
{
    if (op->len > (TAIL_BLOCKS - 1) * BLOCK)
        return seal_long(op);
    seal_short[(op->len + BLOCK - 1) / BLOCK](op);
    return op->result;
}

static sealane_result vaes512_open(backend_op *op)
{
    if (op->len > (TAIL_BLOCKS - 1) * BLOCK)
        return open_long(op);
    open_short[(op->len + BLOCK - 1) / BLOCK](op);
    return op->result;
}

/* One call follows another closely enough for the CPU to overlap them: nothing is gained by two at once. */
static void vaes512_seal_many(sealane_cipher_id cipher, backend_op *const ops[], size_t count)
{
    (void)cipher;
    for (size_t i = 0; i < count; i++)
        vaes512_seal(ops[i]);
}

static void vaes512_open_many(sealane_cipher_id cipher, backend_op *const ops[], size_t count)
{
    (void)cipher;
    for (size_t i = 0; i < count; i++)
        vaes512_open(ops[i]);
}

const backend backend_vaes512 = {
    .name = "vaes512",
    .probe = vaes512_probe,
    .version = vaes512_version,
    .state_size = vaes512_state_size,
    .key_init = vaes512_key_init,
    .key_clear = vaes512_key_clear,
    .seal = vaes512_seal,
    .open = vaes512_open,
    .seal_many = vaes512_seal_many,
    .open_many = vaes512_open_many,
};

#endif
