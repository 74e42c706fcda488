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

/* Streams that are all tail, of one cipher, side by side. */
VAES512_INLINE void short_run(backend_op *const ops[], const size_t lanes, const size_t quads,
                              const bool room, const bool sealing)
{
    quad_stream s[LANES_MAX_512];
    __m128i tags[LANES_MAX_512];

    UNROLL_QUADS
    for (size_t lane = 0; lane < lanes; lane++)
        s[lane] = quad_stream_begin(ops[lane]);
    tails_run(s, tags, lanes, quads, room, true, sealing);
    UNROLL_QUADS
    for (size_t lane = 0; lane < lanes; lane++)
        ops[lane]->result = message_end(ops[lane], tags[lane], sealing);
}

/*
 * One routine for each number of lanes and quads and each place of the lengths, out of line and reached through
 * tables, as in backend `vaes`.
 */
typedef void short_routine(backend_op *const ops[]);

#define DEFINE(direction, lanes, quads, name, room, sealing)                                                 \
    __attribute__((noinline))                                                                                \
    VAES512_CODE static void direction##_##lanes##_##quads##_##name(backend_op *const ops[])                 \
    {                                                                                                        \
        short_run(ops, lanes, quads, room, sealing);                                                         \
    }
#define DEFINE_BOTH(direction, lanes, quads, sealing)                                                        \
    DEFINE(direction, lanes, quads, room, true, sealing) DEFINE(direction, lanes, quads, full, false, sealing)
#define DEFINE_ALL(direction, sealing)                                                                       \
    DEFINE_BOTH(direction, 1, 1, sealing)                                                                    \
    DEFINE_BOTH(direction, 1, 2, sealing)                                                                    \
    DEFINE_BOTH(direction, 1, 3, sealing)                                                                    \
    DEFINE_BOTH(direction, 1, 4, sealing)                                                                    \
    DEFINE(direction, 1, 5, room, true, sealing)
/* By class, which is the number of quads and whether the lengths have room in the last one. */
#define CLASSES            9
#define CLASS(quads, room) (2 * (quads)-1 - (room))
#define CLASS_ROUTINES(prefix)                                                                               \
    {                                                                                                        \
        prefix##_1_room, prefix##_1_full, prefix##_2_room, prefix##_2_full, prefix##_3_room,                 \
            prefix##_3_full, prefix##_4_room, prefix##_4_full, prefix##_5_room,                              \
    }

DEFINE_ALL(seal, true)
DEFINE_ALL(open, false)
DEFINE_BOTH(seal, 4, 1, true)
DEFINE_BOTH(seal, 2, 2, true)

static short_routine *const seal_one[CLASSES] = CLASS_ROUTINES(seal_1);
static short_routine *const open_one[CLASSES] = CLASS_ROUTINES(open_1);
/*
 * Classes of which several are sealed together in less time than one after the other, and how many: as many as
 * there are registers for. Opening, a message does not wait for its own ciphertext, and nothing is gained
 * (measured on Zen 5).
 */
#define CLASSES_TOGETHER 4

static const struct together {
    size_t lanes;
    short_routine *seal;
} together[CLASSES_TOGETHER] = {
    {4, seal_4_1_room},
    {4, seal_4_1_full},
    {2, seal_2_2_room},
    {2, seal_2_2_full},
};

static bool is_short(size_t len)
{
    return len <= (TAIL_BLOCKS - 1) * BLOCK;
}

static size_t class_of(size_t len)
{
    const size_t blocks = (len + BLOCK - 1) / BLOCK + 1; /* of the stream: 1 to 3 leave room, 4 do not */

    return CLASS((blocks + 3) / 4, blocks % 4 != 0);
}

VAES512_INLINE __m128i tail_of_long(quad_stream *s, const bool sealing)
{
    const size_t blocks = tail_blocks(s->left);
    const bool room = blocks % 4 != 0;

    switch ((blocks + 3) / 4) {
#define TAIL(quads)                                                                                          \
    case quads:                                                                                              \
        return room ? tail_run(s, quads, true, sealing) : tail_run(s, quads, false, sealing);
        TAIL(1)
        TAIL(2)
        TAIL(3)
        TAIL(4)
    default:
        return tail_run(s, 5, true, sealing);
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
    if (!is_short(op->len))
        return seal_long(op);
    seal_one[class_of(op->len)](&op);
    return op->result;
}

static sealane_result vaes512_open(backend_op *op)
{
    if (!is_short(op->len))
        return open_long(op);
    open_one[class_of(op->len)](&op);
    return op->result;
}

/* A short message waits for others of its class, and what is left in the end goes one by one. */
static void vaes512_seal_many(sealane_cipher_id cipher, backend_op *const ops[], size_t count)
{
    backend_op *waiting[CLASSES_TOGETHER][LANES_MAX_512];
    size_t waits[CLASSES_TOGETHER] = {0};

    (void)cipher;
    for (size_t i = 0; i < count; i++) {
        const size_t class_id = is_short(ops[i]->len) ? class_of(ops[i]->len) : CLASSES;

        if (class_id >= CLASSES_TOGETHER) {
            vaes512_seal(ops[i]);
            continue;
        }
        waiting[class_id][waits[class_id]++] = ops[i];
        if (waits[class_id] == together[class_id].lanes) {
            waits[class_id] = 0;
            together[class_id].seal(waiting[class_id]);
        }
    }
    for (size_t class_id = 0; class_id < CLASSES_TOGETHER; class_id++)
        for (size_t i = 0; i < waits[class_id]; i++)
            vaes512_seal(waiting[class_id][i]);
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
