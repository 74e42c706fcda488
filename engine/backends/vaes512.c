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
    if (!registers_are_saved(XCR0_AVX512))
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

/* Streams that are all tail, of one cipher and as many blocks, side by side. */
VAES512_INLINE void short_run(backend_op *const ops[], const size_t lanes, const size_t blocks,
                              const bool sealing)
{
    quad_stream s[LANES_MAX_512];
    __m128i tags[LANES_MAX_512], received[LANES_MAX_512];

    UNROLL_QUADS
    for (size_t lane = 0; lane < lanes; lane++) {
        received[lane] = tag_received(ops[lane], sealing);
        s[lane] = quad_stream_begin(ops[lane], sealing);
    }
    tails_run(s, tags, lanes, blocks, true, sealing);
    UNROLL_QUADS
    for (size_t lane = 0; lane < lanes; lane++)
        ops[lane]->result = message_end(ops[lane], tags[lane], received[lane], sealing);
}

/*
 * One routine for each number of lanes and blocks, out of line and reached through tables, as in backend `vaes`; for
 * any number of messages that is a multiple of the lanes. Blocks are those of the stream, so there is at least one.
 */
typedef void short_routine(backend_op *const ops[], size_t count);

#define DEFINE(direction, lanes, blocks, sealing)                                                            \
    __attribute__((noinline))                                                                                \
    VAES512_CODE static void direction##_##lanes##_##blocks(backend_op *const ops[], size_t count)           \
    {                                                                                                        \
        for (size_t i = 0; i < count; i += (lanes))                                                          \
            short_run(ops + i, lanes, blocks, sealing);                                                      \
    }

/*
 * Up to so many blocks, four messages are sealed together in less time than one after the other. With more there
 * are not enough registers; and opening, a message does not wait for its own ciphertext, and nothing is gained
 * (measured on Zen 5).
 */
#define FOUR_BLOCKS 4

/* clang-format off */
#define EACH_TO_4(DO, ...) DO(__VA_ARGS__, 1) DO(__VA_ARGS__, 2) DO(__VA_ARGS__, 3) DO(__VA_ARGS__, 4)
#define EACH_TO_19(DO, ...) EACH_TO_4(DO, __VA_ARGS__) DO(__VA_ARGS__, 5) DO(__VA_ARGS__, 6) \
    DO(__VA_ARGS__, 7) DO(__VA_ARGS__, 8) DO(__VA_ARGS__, 9) DO(__VA_ARGS__, 10) DO(__VA_ARGS__, 11) \
    DO(__VA_ARGS__, 12) DO(__VA_ARGS__, 13) DO(__VA_ARGS__, 14) DO(__VA_ARGS__, 15) DO(__VA_ARGS__, 16) \
    DO(__VA_ARGS__, 17) DO(__VA_ARGS__, 18) DO(__VA_ARGS__, 19)
#define SEAL(lanes, blocks) DEFINE(seal, lanes, blocks, true)
#define OPEN(lanes, blocks) DEFINE(open, lanes, blocks, false)
#define NAME(prefix, blocks) [blocks] = prefix##_##blocks,

EACH_TO_19(SEAL, 1)
EACH_TO_19(OPEN, 1)
EACH_TO_4(SEAL, 4)

static short_routine *const seal_one[TAIL_BLOCKS + 1] = {EACH_TO_19(NAME, seal_1)};
static short_routine *const open_one[TAIL_BLOCKS + 1] = {EACH_TO_19(NAME, open_1)};
static short_routine *const seal_four[FOUR_BLOCKS + 1] = {EACH_TO_4(NAME, seal_4)};
/* clang-format on */

static size_t stream_blocks(size_t len)
{
    return (len + BLOCK - 1) / BLOCK + 1;
}

static bool is_short(size_t len)
{
    return len <= (TAIL_BLOCKS - 1) * BLOCK;
}

/* Not through a table: what is known of the stream is in registers (see vaes.c, long_run()). */
VAES512_INLINE __m128i tail_of_long(quad_stream *s, const bool sealing)
{
    __m128i tag = _mm_setzero_si128();

    switch (tail_blocks(s->left)) {
#define TAIL(unused, blocks)                                                                                 \
    case blocks:                                                                                             \
        tails_run(s, &tag, 1, blocks, false, sealing);                                                       \
        break;
        EACH_TO_19(TAIL, unused)
#undef TAIL
    }
    return tag;
}

VAES512_INLINE sealane_result long_run(backend_op *op, const bool sealing)
{
    const __m128i received = tag_received(op, sealing);
    quad_stream s;

    if (op->len > GCM_MESSAGE_MAX)
        return op->result = SEALANE_ARGUMENT;
    s = quad_stream_begin(op, sealing);
    turns_run(&s, sealing);
    return op->result = message_end(op, tail_of_long(&s, sealing), received, sealing);
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
    seal_one[stream_blocks(op->len)](&op, 1);
    return op->result;
}

static sealane_result vaes512_open(backend_op *op)
{
    if (!is_short(op->len))
        return open_long(op);
    open_one[stream_blocks(op->len)](&op, 1);
    return op->result;
}

/* How many messages, from the first one on, are of as many blocks as it is. */
static size_t row_of(backend_op *const ops[], size_t count, size_t blocks)
{
    size_t row = 1;

    while (row < count && stream_blocks(ops[row]->len) == blocks)
        row++;
    return row;
}

/* A message of few blocks waits for three others of as many, and what is left in the end goes one by one. */
static void vaes512_seal_many(sealane_cipher_id cipher, backend_op *const ops[], size_t count)
{
    backend_op *waiting[FOUR_BLOCKS + 1][LANES_MAX_512];
    size_t waits[FOUR_BLOCKS + 1] = {0}, row;

    (void)cipher;
    for (size_t i = 0; i < count; i += row) {
        const size_t blocks = stream_blocks(ops[i]->len);

        row = 1;
        if (blocks > TAIL_BLOCKS) {
            seal_long(ops[i]);
            continue;
        }
        if (blocks > FOUR_BLOCKS) {
            row = row_of(ops + i, count - i, blocks);
            seal_one[blocks](ops + i, row);
            continue;
        }
        waiting[blocks][waits[blocks]++] = ops[i];
        if (waits[blocks] == LANES_MAX_512) {
            waits[blocks] = 0;
            seal_four[blocks](waiting[blocks], LANES_MAX_512);
        }
    }
    for (size_t blocks = 1; blocks <= FOUR_BLOCKS; blocks++)
        seal_one[blocks](waiting[blocks], waits[blocks]);
}

static void vaes512_open_many(sealane_cipher_id cipher, backend_op *const ops[], size_t count)
{
    (void)cipher;
    for (size_t i = 0, row; i < count; i += row) {
        const size_t blocks = stream_blocks(ops[i]->len);

        row = 1;
        if (blocks > TAIL_BLOCKS) {
            open_long(ops[i]);
            continue;
        }
        row = row_of(ops + i, count - i, blocks);
        open_one[blocks](ops + i, row);
    }
}

const backend backend_vaes512 = {
    .name = "vaes512",
    .appends = true,
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
