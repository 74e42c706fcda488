/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sha.h: by the CPU's SHA instructions where it has them (sha_ni.c), else, and for SHA-384, by libcrypto's
 * SHA1_Update() and its like. They are the only public way to libcrypto's block functions; EVP_MD hides the
 * state, and IPsec-MB's ..._one_block calls always begin with a fresh one. They are deprecated since 3.0 and
 * there in every release since: hence the two lines before the include.
 */
#undef OPENSSL_NO_DEPRECATED
#define OPENSSL_SUPPRESS_DEPRECATED
#include <openssl/sha.h>

#include "sha.h"

#include <pthread.h>
#include <string.h>
#include "sha_ni.h"
#include "wipe.h"

static pthread_once_t ni_once = PTHREAD_ONCE_INIT;
static bool ni_present;

static void ni_ask(void)
{
    ni_present = sha_ni_present();
}

bool sha_is_quick(sha_id id)
{
    return id != SHA_ID_384 && pthread_once(&ni_once, ni_ask) == 0 && ni_present;
}

const sha_row sha_rows[SHA_IDS] = {
    [SHA_ID_1] = {64, 20, 8},
    [SHA_ID_256] = {64, 32, 8},
    [SHA_ID_384] = {128, 48, 16},
};

/* FIPS 180-4 5.3 */
static const sha_state starts[SHA_IDS] = {
    [SHA_ID_1] = {.w32 = {0x67452301, 0xefcdab89, 0x98badcfe, 0x10325476, 0xc3d2e1f0}},
    [SHA_ID_256] = {.w32 = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c,
                            0x1f83d9ab, 0x5be0cd19}},
    [SHA_ID_384] = {.w64 = {0xcbbb9d5dc1059ed8, 0x629a292a367cd507, 0x9159015a3070dd17, 0x152fecd8f70e5939,
                            0x67332667ffc00b31, 0x8eb44a8768581511, 0xdb0c2e0d64f98fa7, 0x47b5481dbefa4fa4}},
};

void sha_start(sha_id id, sha_state *state)
{
    memcpy(state, &starts[id], sizeof(*state)); /* all of it: also what the smaller digests do not use */
}

/* The contexts have public members (openssl/sha.h); whole blocks leave nothing in their buffers. */
static void blocks_1(sha_state *state, const uint8_t *data, size_t len)
{
    SHA_CTX ctx = {state->w32[0], state->w32[1], state->w32[2], state->w32[3], state->w32[4], 0, 0, {0}, 0};

    SHA1_Update(&ctx, data, len);
    state->w32[0] = ctx.h0;
    state->w32[1] = ctx.h1;
    state->w32[2] = ctx.h2;
    state->w32[3] = ctx.h3;
    state->w32[4] = ctx.h4;
    wipe(&ctx, sizeof(ctx));
}

static void blocks_256(sha_state *state, const uint8_t *data, size_t len)
{
    SHA256_CTX ctx = {.md_len = SHA256_DIGEST_LENGTH};

    memcpy(ctx.h, state->w32, sizeof(ctx.h));
    SHA256_Update(&ctx, data, len);
    memcpy(state->w32, ctx.h, sizeof(ctx.h));
    wipe(&ctx, sizeof(ctx));
}

static void blocks_512(sha_state *state, const uint8_t *data, size_t len)
{
    SHA512_CTX ctx = {.md_len = SHA384_DIGEST_LENGTH};

    _Static_assert(sizeof(ctx.h) == sizeof(state->w64), "one word, one word");
    memcpy(ctx.h, state->w64, sizeof(ctx.h));
    SHA384_Update(&ctx, data, len);
    memcpy(state->w64, ctx.h, sizeof(ctx.h));
    wipe(&ctx, sizeof(ctx));
}

void sha_blocks(sha_id id, sha_state *state, const uint8_t *data, size_t blocks)
{
    size_t len = blocks * sha_rows[id].block_len;

    if (len == 0)
        return;
    if (sha_is_quick(id))
        sha_ni_one(id, state, data, blocks);
    else if (id == SHA_ID_1)
        blocks_1(state, data, len);
    else if (id == SHA_ID_256)
        blocks_256(state, data, len);
    else
        blocks_512(state, data, len);
}

void sha_store(sha_id id, const sha_state *state, uint8_t *out)
{
    const size_t len = sha_rows[id].digest_len;

    if (id == SHA_ID_384) {
        for (size_t i = 0; i < len; i += 8) {
            const uint64_t word = __builtin_bswap64(state->w64[i / 8]);
            memcpy(out + i, &word, sizeof(word));
        }
        return;
    }
    for (size_t i = 0; i < len; i += 4) {
        const uint32_t word = __builtin_bswap32(state->w32[i / 4]);
        memcpy(out + i, &word, sizeof(word));
    }
}

/* Two at a time for as many blocks as both have; the one that ends first makes room for the next. */
static void many_in_pairs(sha_id id, sha_run runs[], size_t count)
{
    sha_run left = {NULL, NULL, 0};

    for (size_t i = 0; i < count; i++) {
        sha_run *run = &runs[i];
        size_t both = run->blocks < left.blocks ? run->blocks : left.blocks;

        if (both > 0) {
            sha_ni_two(id, (sha_state *const[2]){left.state, run->state},
                       (const uint8_t *const[2]){left.data, run->data}, both);
            left.data += both * sha_rows[id].block_len;
            left.blocks -= both;
            run->data += both * sha_rows[id].block_len;
            run->blocks -= both;
        }
        if (left.blocks == 0)
            left = *run;
    }
    if (left.blocks > 0)
        sha_ni_one(id, left.state, left.data, left.blocks);
}

void sha_blocks_many(sha_id id, sha_run runs[], size_t count)
{
    if (sha_is_quick(id)) {
        many_in_pairs(id, runs, count);
        return;
    }
    for (size_t i = 0; i < count; i++)
        sha_blocks(id, runs[i].state, runs[i].data, runs[i].blocks);
}
