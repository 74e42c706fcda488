/* SPDX-License-Identifier: Apache-2.0 */
#include "records_bound.h"

#include <stdlib.h>
#include "cpu.h"
#include "clock.h"
#include "records_contestant.h"
#include "stats.h"

#define ROUNDS     51
#define ITERATIONS 400
#define AAD_BLOCKS 1 /* the additional data of either TLS version is less than one block */
#define STREAM_LEN 32

/* One turn of the mixed stream is the work of some whole blocks. */
struct mix {
    void (*run)(size_t turns);
    double aes, products; /* operations in one turn */
};

struct width {
    int bits;
    void (*aes)(size_t turns); /* STREAM_LEN operations per turn */
    void (*products)(size_t turns);
    struct mix mixes[2]; /* AES-128, AES-256 */
};

#if defined(__x86_64__)

/*
 * Destinations are written and never read, and registers are renamed, so that only the ports limit a stream.
 * In a mix each kind comes in one run: that is faster than spreading them, on Zen 3.
 */
#define STREAM(name, body)                                                                                   \
    static void name(size_t turns)                                                                           \
    {                                                                                                        \
        __asm__ volatile("1:\n\t" body "dec %0\n\tjnz 1b\n\tvzeroupper"                                      \
                         : "+r"(turns)                                                                       \
                         :                                                                                   \
                         : "xmm0", "xmm1", "cc");                                                            \
    }
#define A(w, n) ".rept " #n "\n\tvaesenc %%" w "mm14, %%" w "mm15, %%" w "mm0\n\t.endr\n\t"
#define P(w, n) ".rept " #n "\n\tvpclmulqdq $0, %%" w "mm14, %%" w "mm15, %%" w "mm1\n\t.endr\n\t"

/* clang-format off */
STREAM(aes_x, A("x", 32))
STREAM(aes_y, A("y", 32))
STREAM(aes_z, A("z", 32))
STREAM(products_x, P("x", 32))
STREAM(products_y, P("y", 32))
STREAM(products_z, P("z", 32))
/* 4 blocks in 128-bit vectors: 4 * 10 or 4 * 14 AES steps, 4 * 3 products and half a reduction. */
STREAM(mix128_x, A("x", 40) P("x", 13))
STREAM(mix256_x, A("x", 56) P("x", 13))
/* 4 blocks in 256-bit vectors: 2 * 10 or 2 * 14, 2 * 3 and half a reduction. */
STREAM(mix128_y, A("y", 20) P("y", 7))
STREAM(mix256_y, A("y", 28) P("y", 7))
/* 8 blocks in 512-bit vectors: 2 * 10 or 2 * 14, 2 * 3 and one reduction. */
STREAM(mix128_z, A("z", 20) P("z", 8))
STREAM(mix256_z, A("z", 28) P("z", 8))
/* clang-format on */

static const struct width widths[] = {
    {512, aes_z, products_z, {{mix128_z, 20, 8}, {mix256_z, 28, 8}}},
    {256, aes_y, products_y, {{mix128_y, 20, 7}, {mix256_y, 28, 7}}},
    {128, aes_x, products_x, {{mix128_x, 40, 13}, {mix256_x, 56, 13}}},
};

static const struct width *width_of_cpu(void)
{
    switch (cpu_classify()) {
    case CPU_VAES_AVX512:
        return &widths[0];
    case CPU_VAES_AVX2:
        return &widths[1];
    case CPU_AES: /* the streams are in AVX's encoding */
        return __builtin_cpu_supports("avx") ? &widths[2] : NULL;
    default:
        return NULL;
    }
}

#else

static const struct width *width_of_cpu(void)
{
    return NULL;
}

#endif

/* Asked once: in a virtual machine CPUID takes microseconds, which must not be within what is timed. */
static const struct width *width_choose(void)
{
    static const struct width *chosen;
    static bool asked;

    if (!asked)
        chosen = width_of_cpu();
    asked = true;
    return chosen;
}

static double stream_time(void (*run)(size_t turns))
{
    double start = clock_now();

    run(ITERATIONS);
    return (clock_now() - start) / ITERATIONS;
}

/* Alone and mixed, in turn: a change of the clock rate in between meets all of them. */
static void ports_measure(const struct width *w, bound_ports *p)
{
    double aes[ROUNDS], products[ROUNDS], mixed[2][ROUNDS], apart[2][ROUNDS], room[ROUNDS];

    for (int i = 0; i < ROUNDS; i++) {
        aes[i] = stream_time(w->aes) / STREAM_LEN;
        products[i] = stream_time(w->products) / STREAM_LEN;
        for (int k = 0; k < 2; k++) {
            mixed[k][i] = stream_time(w->mixes[k].run);
            apart[k][i] = w->mixes[k].aes * aes[i] + w->mixes[k].products * products[i];
        }
    }
    p->vector_bits = w->bits;
    for (int k = 0; k < 2; k++)
        p->mixed[k] = stats_ratio(mixed[k], apart[k], ROUNDS, room).median;
    p->aes_ns = stats_spread(aes, ROUNDS).median;
    p->product_ns = stats_spread(products, ROUNDS).median;
}

const bound_ports *bound_measure(void)
{
    static bound_ports ports;
    static bool measured;
    const struct width *w = width_choose();

    if (!measured && w != NULL)
        ports_measure(w, &ports);
    measured = true;
    return &ports;
}

/* ---- In turn with the others ---- */

struct stream {
    runner base;
    const struct width *width;
    const struct mix *mix;
    double aes, products; /* operations of all records */
};

static bool stream_carries(const contestant *who, const workload *load)
{
    (void)who;
    return load->subject->kind == SUBJECT_GCM && width_choose() != NULL;
}

static runner *stream_begin(const contestant *who, const workload *load)
{
    struct stream *s = calloc(1, sizeof(*s));
    double blocks = (double)((load->size + 15) / 16), hashed = blocks + AAD_BLOCKS + 1, vector;

    if (s == NULL)
        return NULL;
    s->base.who = who;
    /* As many records as make a part of a turn not matter. */
    s->base.count = load->size >= 1024 ? 16 : 256;
    s->width = width_choose();
    s->mix = &s->width->mixes[load->subject->key_len == 16 ? 0 : 1];
    vector = s->width->bits / 128;
    s->aes = (double)s->base.count * (double)subject_aes_rounds(load->subject) * (blocks + 1) / vector;
    s->products = (double)s->base.count * (3 * hashed / vector + 2 * (double)(((size_t)hashed + 7) / 8));
    return &s->base;
}

static bool sum_run(runner *r)
{
    const struct stream *s = (const struct stream *)r;

    s->width->aes((size_t)(s->aes / STREAM_LEN + 0.5));
    s->width->products((size_t)(s->products / STREAM_LEN + 0.5));
    return true;
}

/*
 * The mix has long records' proportion of steps and products; a short record, which has more products, counts
 * for so many turns as take its time when both kinds run alone.
 */
static bool mixed_run(runner *r)
{
    const struct stream *s = (const struct stream *)r;
    const bound_ports *p = bound_measure();
    double all = s->aes * p->aes_ns + s->products * p->product_ns;
    double turn = s->mix->aes * p->aes_ns + s->mix->products * p->product_ns;

    s->mix->run((size_t)(all / turn + 0.5));
    return true;
}

/* There is nothing that could be wrong. */
static bool stream_verify(runner *r)
{
    (void)r;
    return true;
}

static void stream_end(runner *r)
{
    free(r);
}

const contestant contestant_bound = {.name = "bound",
                                     .what = "the ports' limit: so many AES steps, then so many products",
                                     .carries = stream_carries,
                                     .begin = stream_begin,
                                     .run = sum_run,
                                     .verify = stream_verify,
                                     .end = stream_end};

const contestant contestant_bound_mixed = {.name = "bound-mixed",
                                           .what = "the same work in one stream, where ports can overlap it",
                                           .carries = stream_carries,
                                           .begin = stream_begin,
                                           .run = mixed_run,
                                           .verify = stream_verify,
                                           .end = stream_end};
