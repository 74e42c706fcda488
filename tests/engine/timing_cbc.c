/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How long does opening take, depending on what is wrong with a record and on where its padding begins?
 * Records of one length, of six kinds, are opened in random order, and each kind's times are held against the
 * first's by Welch's t (Reparaz, Balasch, Verbauwhede, "Dude, is my code constant time?", 2017). Beyond 4.5
 * one would suspect a difference; the contrast at the end is a check that stops at the first wrong byte, to
 * show what this sees.
 *
 *     engine_timing_cbc [rounds]
 */
#include "support.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include "cbc.h"
#include "reference_cbc.h"

#define INNER 1024 /* bytes behind the IV */
#define KINDS 6

static const char *const kinds[KINDS] = {"right, least padding",     "right, 255 bytes of padding",
                                         "right, 127 of padding",    "wrong MAC",
                                         "wrong first padding byte", "wrong padding length"};

struct sums {
    double count, mean, squares; /* Welford */
};

static void sums_add(struct sums *s, double value)
{
    double before = value - s->mean;

    s->count++;
    s->mean += before / s->count;
    s->squares += before * (value - s->mean);
}

static double welch(const struct sums *a, const struct sums *b)
{
    double variance = a->squares / (a->count - 1) / a->count + b->squares / (b->count - 1) / b->count;

    return (a->mean - b->mean) / sqrt(variance);
}

static double now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

static void record_make(const sealane_cipher *cipher, size_t kind, const uint8_t *key, const uint8_t *mac_key,
                        const uint8_t header[HMAC_HEADER_LEN], uint8_t *record)
{
    static const uint8_t payload[INNER], iv[CBC_IV_LEN] = {9};
    const size_t paddings[KINDS] = {15, 255, 127, 15, 255, 15};
    const size_t padding = paddings[kind];

    reference_cbc_spoil_padding = kind == 4 ? 1 : 0;
    reference_cbc_last_byte = kind == 5 ? 0xfe : -1;
    reference_cbc_seal(cipher, false, key, mac_key, header, iv, payload,
                       INNER - (size_t)cipher->tag_len - 1 - padding, padding, record);
    reference_cbc_spoil_padding = 0;
    reference_cbc_last_byte = -1;
    if (kind == 3)
        record[CBC_IV_LEN + INNER - 40] ^= 1;
}

static void measure(sealane_cipher_id id, size_t rounds)
{
    const sealane_cipher *cipher = sealane_cipher_get(id);
    uint8_t key[SEALANE_KEY_MAX] = {1}, mac_key[SEALANE_MAC_MAX] = {2}, out[INNER];
    uint8_t header[HMAC_HEADER_LEN] = {0, 0, 0, 0, 0, 0, 0, 1, 23, 3, 3}, records[KINDS][CBC_IV_LEN + INNER];
    cbc_key_params params = {.cipher = id, .key = key, .mac_key = mac_key};
    struct sums sums[KINDS] = {{0}};
    prng random = {0x71};
    cbc_key *opening = NULL;

    if (cbc_key_new_for(&opening, &params, &cbc_backend_ipsec_mb) != SEALANE_OK)
        exit(EXIT_FAILURE);
    for (size_t kind = 0; kind < KINDS; kind++)
        record_make(cipher, kind, key, mac_key, header, records[kind]);
    for (size_t i = 0; i < rounds; i++) {
        size_t kind = prng_below(&random, KINDS);
        uint8_t record[CBC_IV_LEN + INNER];
        cbc_op op = {.key = opening, .in = record + CBC_IV_LEN, .len = INNER, .out = out}, *ops[1] = {&op};
        double start, spent;

        memcpy(record, records[kind], sizeof(record));
        memcpy(op.header, header, sizeof(header));
        start = now();
        cbc_backend_ipsec_mb.decrypt(ops, opening->states + opening->home, 1);
        cbc_check_padded(ops, 1);
        spent = now() - start;
        if ((op.result == SEALANE_OK) != (kind < 3))
            exit(EXIT_FAILURE);
        if (i > rounds / 20 && spent < 20000) /* warm, and not interrupted */
            sums_add(&sums[kind], spent);
    }
    for (size_t kind = 0; kind < KINDS; kind++)
        printf("%-24s %-26s %9.1f ns  t %6.2f\n", cipher->name, kinds[kind], sums[kind].mean,
               kind == 0 ? 0.0 : welch(&sums[0], &sums[kind]));
    cbc_key_free(opening);
}

/* What a comparison that stops early looks like. */
static void contrast(size_t rounds)
{
    static volatile uint8_t a[256], b[2][256];
    struct sums sums[2] = {{0}};
    prng random = {0x72};

    b[1][100] = 1;
    for (size_t i = 0; i < rounds; i++) {
        size_t kind = prng_below(&random, 2), at = 0;
        double start = now(), spent;
        while (at < sizeof(a) && a[at] == b[kind][at])
            at++;
        spent = now() - start;
        if (i > rounds / 20 && spent < 20000)
            sums_add(&sums[kind], spent);
    }
    printf("%-24s %-26s %9.1f ns  t %6.2f\n", "contrast", "stops at a wrong byte", sums[1].mean,
           welch(&sums[0], &sums[1]));
}

int main(int argc, char **argv)
{
    size_t rounds = argc > 1 ? (size_t)strtoul(argv[1], NULL, 10) : 200000;

    for (sealane_cipher_id id = SEALANE_CBC_FIRST; id < SEALANE_CBC_END; id++)
        measure(id, rounds);
    contrast(rounds);
    return EXIT_SUCCESS;
}
