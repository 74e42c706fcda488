/* SPDX-License-Identifier: Apache-2.0 */
/*
 * In ChaCha20-Poly1305 and CCM of our own (backends/chacha_avx2.c, ccm_aesni.c) no branch and no address depends
 * on a key or a plaintext. (valgrind does not know the instructions of AES-GCM's backends.) Runs under valgrind, as secrets_cbc.c does, which shows that the method sees what it must. Opening
 * runs the same code up to the comparison of the tag, whose result is public.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "backend.h"
#include "backends/ccm_aesni.h"

#define SKIPPED 77 /* what ctest is told */

#if __has_include(<valgrind/memcheck.h>)
#include <valgrind/memcheck.h>

#define MESSAGES 12
#define LEN_MAX  4000

static const size_t lengths[MESSAGES] = {0, 1, 16, 63, 64, 65, 192, 320, 321, 704, 1400, LEN_MAX};

static uint8_t keys[MESSAGES][SEALANE_KEY_MAX], nonce[SEALANE_NONCE_LEN], aad[13];
static uint8_t in[MESSAGES][LEN_MAX], out[MESSAGES][LEN_MAX], tag[MESSAGES][SEALANE_TAG_MAX];

static int still_secret(const uint8_t *at)
{
    uint8_t bits = 0;

    return VALGRIND_GET_VBITS(at, &bits, 1) == 1 && bits == 0xff;
}

static void must(int holds, const char *what)
{
    if (holds)
        return;
    fprintf(stderr, "secrets_aead: does not hold: %s\n", what);
    exit(1);
}

/* Alone, then as one batch. Or the secrets were lost on the way, and nothing was tested. */
static void run(const backend *be, backend_op ops[MESSAGES], backend_op *const order[MESSAGES], int batch)
{
    memset(tag, 0, sizeof(tag));
    if (batch)
        be->seal_many(SEALANE_CHACHA20_POLY1305, order, MESSAGES);
    for (size_t i = 0; i < MESSAGES; i++) {
        if (!batch)
            be->seal(&ops[i]);
        must(ops[i].result == SEALANE_OK, "a sealed message");
        must(still_secret(tag[i]), "a tag that depends on a secret");
        must(lengths[i] == 0 || still_secret(out[i]), "a ciphertext that depends on a secret");
    }
}

static void ops_make(backend_op ops[MESSAGES])
{
    for (size_t i = 0; i < MESSAGES; i++) {
        memset(keys[i], (int)i + 1, sizeof(keys[i]));
        (void)VALGRIND_MAKE_MEM_UNDEFINED(keys[i], sizeof(keys[i]));
        (void)VALGRIND_MAKE_MEM_UNDEFINED(in[i], sizeof(in[i]));
        ops[i] = (backend_op){.state = keys[i], /* its expanded key is the key: chacha_key_init() copies it */
                              .nonce = nonce,
                              .aad = aad,
                              .aad_len = sizeof(aad),
                              .in = in[i],
                              .len = lengths[i],
                              .out = out[i],
                              .tag = tag[i]};
    }
}

/* Both directions: opening does not compare the tag here. */
static void ccm_run(const backend_op ops[MESSAGES], int sealing)
{
    static _Alignas(16) uint8_t round_keys[11 * 16];

    (void)VALGRIND_MAKE_MEM_UNDEFINED(round_keys, sizeof(round_keys));
    for (size_t i = 0; i < MESSAGES; i++) {
        ccm_aesni_run(round_keys, &ops[i], sealing, tag[i], SEALANE_TAG_MAX);
        must(still_secret(tag[i]), "a tag of CCM that depends on a secret");
        must(lengths[i] == 0 || still_secret(out[i]), "an output of CCM that depends on a secret");
    }
}

int main(void)
{
    static backend_op ops[MESSAGES];
    backend_op *order[MESSAGES];
    const backend *be = &backend_chacha;

    if (!RUNNING_ON_VALGRIND || be->probe() != NULL)
        return SKIPPED;
    ops_make(ops);
    for (size_t i = 0; i < MESSAGES; i++)
        order[i] = &ops[i];
    run(be, ops, order, 0);
    run(be, ops, order, 1);
    ccm_run(ops, 1);
    ccm_run(ops, 0);
    return 0;
}

#else

int main(void)
{
    return SKIPPED;
}

#endif
