/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The backend for AES-GCM on CPUs with VAES and VPCLMULQDQ but not necessarily AVX-512: AMD from Zen 3, Intel
 * from Alder Lake. Here are the table of functions, the check of the CPU, and the decision which messages of
 * a batch are worked on side by side. The cipher itself: vaes_turn.h (long messages) and vaes_ending.h (short
 * ones, and the ends of long ones), on top of vaes_key.h, vaes_counter.h, vaes_ghash.h and vaes_bytes.h.
 */
#include "../backend.h"

#if defined(__x86_64__)

#include "vaes_probe.h"
#include "vaes_turn.h"

/* Messages of up to so many blocks are worked on by twos. */
#define TWO_BLOCKS_MAX 6

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
    round_keys_expand(&key->aes, bytes, cipher == SEALANE_AES_128_GCM);
    powers_derive(key);
    return SEALANE_OK;
}

static void vaes_key_clear(void *state)
{
    (void)state; /* refers to nothing */
}

/* Short messages of one cipher and of equally many blocks, side by side. */
VAES_INLINE void short_run(backend_op *const ops[], const size_t lanes, const size_t blocks,
                           const bool sealing)
{
    ending ends[LANES_MAX];
    __m128i tags[LANES_MAX];

    UNROLL
    for (size_t lane = 0; lane < lanes; lane++)
        ends[lane] = ending_begin(ops[lane]);
    endings_run(ends, tags, lanes, blocks, sealing, false);
    UNROLL
    for (size_t lane = 0; lane < lanes; lane++)
        ops[lane]->result = message_end(ops[lane], tags[lane], tag_received(ops[lane], sealing), sealing);
}

/*
 * The routines for each number of blocks, of one short message and of two. Out of line and reached through
 * tables: in one function they would be slow to compile, and what they have in common would be computed, and
 * spilled, before it branches to one of them.
 */
#define VAES_OUT_OF_LINE __attribute__((noinline)) VAES_CODE static

typedef void short_routine(backend_op *const ops[]);

#define DEFINE_TWO(n)                                                                                        \
    VAES_OUT_OF_LINE void seal_two_##n(backend_op *const ops[])                                              \
    {                                                                                                        \
        short_run(ops, 2, n, true);                                                                          \
    }                                                                                                        \
    VAES_OUT_OF_LINE void open_two_##n(backend_op *const ops[])                                              \
    {                                                                                                        \
        short_run(ops, 2, n, false);                                                                         \
    }
#define DEFINE_ONE(n)                                                                                        \
    VAES_OUT_OF_LINE void seal_one_##n(backend_op *const ops[])                                              \
    {                                                                                                        \
        short_run(ops, 1, n, true);                                                                          \
    }                                                                                                        \
    VAES_OUT_OF_LINE void open_one_##n(backend_op *const ops[])                                              \
    {                                                                                                        \
        short_run(ops, 1, n, false);                                                                         \
    }

/* clang-format off */
#define EACH_TO_6(DO, prefix) DO(prefix, 0) DO(prefix, 1) DO(prefix, 2) DO(prefix, 3) DO(prefix, 4) \
    DO(prefix, 5) DO(prefix, 6)
#define EACH_TO_16(DO, prefix) EACH_TO_6(DO, prefix) DO(prefix, 7) DO(prefix, 8) DO(prefix, 9) \
    DO(prefix, 10) DO(prefix, 11) DO(prefix, 12) DO(prefix, 13) DO(prefix, 14) DO(prefix, 15) DO(prefix, 16)
#define DEFINE(which, n) DEFINE_##which(n)
#define NAME(prefix, n) prefix##_##n,

EACH_TO_6(DEFINE, TWO)
EACH_TO_16(DEFINE, ONE)

static short_routine *const seal_two[] = {EACH_TO_6(NAME, seal_two)};
static short_routine *const open_two[] = {EACH_TO_6(NAME, open_two)};
static short_routine *const seal_one[] = {EACH_TO_16(NAME, seal_one)};
static short_routine *const open_one[] = {EACH_TO_16(NAME, open_one)};
/* clang-format on */

/*
 * No instruction, but compilers do not know any more what the pointer points to. The endings of a long
 * message have much in common, and gcc would compute that before it branches to one of them, and spill it
 * all.
 */
#define FORGET_VALUES_AT(pointer) __asm__ volatile("" : "+r"(pointer))

/*
 * Not through a table, like the short ones: what is known of a message lies in registers here, and a routine
 * that loads from memory what has just been stored in pieces waits a hundred cycles for it.
 */
VAES_INLINE sealane_result long_run(backend_op *op, const bool sealing)
{
    ending end;
    __m128i tag = _mm_setzero_si128();

    if (op->len > GCM_MESSAGE_MAX)
        return op->result = SEALANE_ARGUMENT;
    end = ending_begin(op);
    message_turns(&end, op->nonce, sealing);
    switch (ending_blocks(end.left)) {
#define RUN(unused, blocks)                                                                                  \
    case blocks:                                                                                             \
        FORGET_VALUES_AT(end.key);                                                                           \
        FORGET_VALUES_AT(end.in);                                                                            \
        FORGET_VALUES_AT(end.turn.rest);                                                                     \
        endings_run(&end, &tag, 1, blocks, sealing, true);                                                   \
        break;
        EACH_TO_16(RUN, unused)
#undef RUN
    }
    return op->result = message_end(op, tag, tag_received(op, sealing), sealing);
}

/* Out of line, so that a short message need not save and restore what a long one uses. */
VAES_OUT_OF_LINE sealane_result seal_long(backend_op *op)
{
    return long_run(op, true);
}

VAES_OUT_OF_LINE sealane_result open_long(backend_op *op)
{
    return long_run(op, false);
}

VAES_CODE static sealane_result vaes_seal(backend_op *op)
{
    if (op->len > ENDING_MAX)
        return seal_long(op);
    seal_one[ending_blocks(op->len)](&op);
    return op->result;
}

VAES_CODE static sealane_result vaes_open(backend_op *op)
{
    if (op->len > ENDING_MAX)
        return open_long(op);
    open_one[ending_blocks(op->len)](&op);
    return op->result;
}

/*
 * A batch: each message of up to TWO_BLOCKS_MAX blocks waits for another of as many blocks and is worked on
 * together with it. Longer ones keep the units busy alone (measured on Zen 3: opening, two of 8 blocks
 * together take longer than one after the other), and one call follows another closely enough for the CPU to
 * overlap them.
 */
VAES_INLINE void many_run(backend_op *const ops[], size_t count, const bool sealing)
{
    backend_op *waiting[TWO_BLOCKS_MAX + 1] = {NULL};

    for (size_t i = 0; i < count; i++) {
        const size_t blocks = ending_blocks(ops[i]->len);
        backend_op *two[2];

        if (blocks > TWO_BLOCKS_MAX) {
            sealing ? vaes_seal(ops[i]) : vaes_open(ops[i]);
        } else if (waiting[blocks] == NULL) {
            waiting[blocks] = ops[i];
        } else {
            two[0] = waiting[blocks];
            two[1] = ops[i];
            waiting[blocks] = NULL;
            (sealing ? seal_two : open_two)[blocks](two);
        }
    }
    for (size_t blocks = 0; blocks <= TWO_BLOCKS_MAX; blocks++) {
        if (waiting[blocks] != NULL)
            sealing ? vaes_seal(waiting[blocks]) : vaes_open(waiting[blocks]);
    }
}

VAES_CODE static void vaes_seal_many(sealane_cipher_id cipher, backend_op *const ops[], size_t count)
{
    (void)cipher;
    many_run(ops, count, true);
}

VAES_CODE static void vaes_open_many(sealane_cipher_id cipher, backend_op *const ops[], size_t count)
{
    (void)cipher;
    many_run(ops, count, false);
}

const backend backend_vaes = {
    .name = "vaes",
    .probe = vaes_cpu_missing,
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
