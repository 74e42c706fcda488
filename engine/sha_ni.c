/* SPDX-License-Identifier: Apache-2.0 */
/*
 * SHA-1 and SHA-256 by the CPU's SHA instructions (Intel SDM volume 2, SHA1RNDS4 and SHA256RNDS2 and their
 * kin), one message or two side by side. A single message waits for the latency of its rounds most of the
 * time; a second one runs in those gaps, which makes two cost little more than one. There is no third: the
 * 16 registers hold two.
 *
 * Straight-line code: no branch or address depends on what is hashed.
 */
#include "sha_ni.h"

#if defined(__x86_64__)
#include <cpuid.h>
#include <immintrin.h>

#define SHA_NI __attribute__((target("sha,sse4.1")))
/* Loops of a constant count that must dissolve, so that arrays become registers. */
#define INLINE static inline SHA_NI __attribute__((always_inline))
#define UNROLL _Pragma("GCC unroll 20")

#define LANES 2

#define LEAF1_ECX_SSSE3 (1u << 9)
#define LEAF1_ECX_SSE41 (1u << 19)
#define LEAF7_EBX_SHA   (1u << 29)

bool sha_ni_present(void)
{
    unsigned eax, ebx, ecx, edx;

    if (!__get_cpuid(1, &eax, &ebx, &ecx, &edx) || (ecx & LEAF1_ECX_SSSE3) == 0 ||
        (ecx & LEAF1_ECX_SSE41) == 0)
        return false;
    return __get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx) && (ebx & LEAF7_EBX_SHA) != 0;
}

INLINE __m128i load(const void *at)
{
    return _mm_loadu_si128((const __m128i *)at);
}

INLINE void store(void *at, __m128i value)
{
    _mm_storeu_si128((__m128i *)at, value);
}

/* ---- SHA-1: the instructions want A in the highest word and the message's words in that order too ---- */

struct lane1 {
    __m128i abcd, e;   /* e: alone in the highest word, or the abcd of four rounds ago */
    __m128i words[4];  /* the last 16 of the message schedule */
    __m128i abcd0, e0; /* at the block's start */
};

INLINE void lane1_load(struct lane1 *l, const sha_state *state)
{
    l->abcd = _mm_shuffle_epi32(load(state->w32), 0x1b);
    l->e = _mm_insert_epi32(_mm_setzero_si128(), (int)state->w32[4], 3);
}

INLINE void lane1_store(const struct lane1 *l, sha_state *state)
{
    store(state->w32, _mm_shuffle_epi32(l->abcd, 0x1b));
    state->w32[4] = (uint32_t)_mm_extract_epi32(l->e, 3);
}

/* The schedule's words 4g to 4g+3: FIPS 180-4 6.1.2, step 1. */
INLINE void lane1_schedule(struct lane1 *l, unsigned g, const uint8_t *block)
{
    const __m128i big_endian = _mm_set_epi64x(0x0001020304050607, 0x08090a0b0c0d0e0f);
    __m128i *w = l->words;

    if (g < 4)
        w[g] = _mm_shuffle_epi8(load(block + 16 * g), big_endian);
    else
        w[g % 4] = _mm_sha1msg2_epu32(
            _mm_xor_si128(_mm_sha1msg1_epu32(w[g % 4], w[(g + 1) % 4]), w[(g + 2) % 4]), w[(g + 3) % 4]);
}

/* Rounds 4g to 4g+3; their function and constant change every 20 rounds. */
INLINE void lane1_rounds(struct lane1 *l, unsigned g)
{
    const __m128i word = l->words[g % 4], before = l->abcd;
    const __m128i e = g == 0 ? _mm_add_epi32(l->e, word) : _mm_sha1nexte_epu32(l->e, word);

    if (g < 5)
        l->abcd = _mm_sha1rnds4_epu32(l->abcd, e, 0);
    else if (g < 10)
        l->abcd = _mm_sha1rnds4_epu32(l->abcd, e, 1);
    else if (g < 15)
        l->abcd = _mm_sha1rnds4_epu32(l->abcd, e, 2);
    else
        l->abcd = _mm_sha1rnds4_epu32(l->abcd, e, 3);
    l->e = before;
}

INLINE void sha1_run(unsigned lanes, sha_state *const states[], const uint8_t *const data[], size_t blocks)
{
    struct lane1 l[LANES];

    for (unsigned i = 0; i < lanes; i++)
        lane1_load(&l[i], states[i]);
    for (size_t at = 0; at < 64 * blocks; at += 64) {
        for (unsigned i = 0; i < lanes; i++) {
            l[i].abcd0 = l[i].abcd;
            l[i].e0 = l[i].e;
        }
        UNROLL
        for (unsigned g = 0; g < 20; g++)
            for (unsigned i = 0; i < lanes; i++) {
                lane1_schedule(&l[i], g, data[i] + at);
                lane1_rounds(&l[i], g);
            }
        for (unsigned i = 0; i < lanes; i++) {
            l[i].e = _mm_sha1nexte_epu32(l[i].e, l[i].e0);
            l[i].abcd = _mm_add_epi32(l[i].abcd, l[i].abcd0);
        }
    }
    for (unsigned i = 0; i < lanes; i++)
        lane1_store(&l[i], states[i]);
}

/* ---- SHA-256 ---- */

struct lane256 {
    __m128i abef, cdgh; /* the instructions' own order, A and C in the highest word */
    __m128i words[4];
    __m128i abef0, cdgh0;
};

/* FIPS 180-4 4.2.2 */
static const uint32_t constants256[64] = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
    0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
    0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
    0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
    0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
    0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
    0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
    0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2,
};

INLINE void lane256_load(struct lane256 *l, const sha_state *state)
{
    const __m128i badc = _mm_shuffle_epi32(load(state->w32), 0xb1);
    const __m128i hgfe = _mm_shuffle_epi32(load(state->w32 + 4), 0x1b);

    l->abef = _mm_alignr_epi8(badc, hgfe, 8);
    l->cdgh = _mm_blend_epi16(hgfe, badc, 0xf0);
}

INLINE void lane256_store(const struct lane256 *l, sha_state *state)
{
    const __m128i feba = _mm_shuffle_epi32(l->abef, 0x1b), dchg = _mm_shuffle_epi32(l->cdgh, 0xb1);

    store(state->w32, _mm_blend_epi16(feba, dchg, 0xf0));
    store(state->w32 + 4, _mm_alignr_epi8(dchg, feba, 8));
}

/* FIPS 180-4 6.2.2, step 1 */
INLINE void lane256_schedule(struct lane256 *l, unsigned g, const uint8_t *block)
{
    const __m128i big_endian = _mm_set_epi64x(0x0c0d0e0f08090a0b, 0x0405060700010203);
    __m128i *w = l->words;

    if (g < 4)
        w[g] = _mm_shuffle_epi8(load(block + 16 * g), big_endian);
    else
        w[g % 4] = _mm_sha256msg2_epu32(_mm_add_epi32(_mm_sha256msg1_epu32(w[g % 4], w[(g + 1) % 4]),
                                                      _mm_alignr_epi8(w[(g + 3) % 4], w[(g + 2) % 4], 4)),
                                        w[(g + 3) % 4]);
}

INLINE void lane256_rounds(struct lane256 *l, unsigned g)
{
    const __m128i added = _mm_add_epi32(l->words[g % 4], load(constants256 + 4 * g));

    l->cdgh = _mm_sha256rnds2_epu32(l->cdgh, l->abef, added);
    l->abef = _mm_sha256rnds2_epu32(l->abef, l->cdgh, _mm_shuffle_epi32(added, 0x0e));
}

INLINE void sha256_run(unsigned lanes, sha_state *const states[], const uint8_t *const data[], size_t blocks)
{
    struct lane256 l[LANES];

    for (unsigned i = 0; i < lanes; i++)
        lane256_load(&l[i], states[i]);
    for (size_t at = 0; at < 64 * blocks; at += 64) {
        for (unsigned i = 0; i < lanes; i++) {
            l[i].abef0 = l[i].abef;
            l[i].cdgh0 = l[i].cdgh;
        }
        UNROLL
        for (unsigned g = 0; g < 16; g++)
            for (unsigned i = 0; i < lanes; i++) {
                lane256_schedule(&l[i], g, data[i] + at);
                lane256_rounds(&l[i], g);
            }
        for (unsigned i = 0; i < lanes; i++) {
            l[i].abef = _mm_add_epi32(l[i].abef, l[i].abef0);
            l[i].cdgh = _mm_add_epi32(l[i].cdgh, l[i].cdgh0);
        }
    }
    for (unsigned i = 0; i < lanes; i++)
        lane256_store(&l[i], states[i]);
}

/* ---- */

SHA_NI void sha_ni_one(sha_id id, sha_state *state, const uint8_t *data, size_t blocks)
{
    if (id == SHA_ID_1)
        sha1_run(1, &state, &data, blocks);
    else
        sha256_run(1, &state, &data, blocks);
}

SHA_NI void sha_ni_two(sha_id id, sha_state *const states[2], const uint8_t *const data[2], size_t blocks)
{
    if (id == SHA_ID_1)
        sha1_run(2, states, data, blocks);
    else
        sha256_run(2, states, data, blocks);
}

#else

bool sha_ni_present(void)
{
    return false;
}

/* Never called where they are not present. */
void sha_ni_one(sha_id id, sha_state *state, const uint8_t *data, size_t blocks)
{
    sha_blocks(id, state, data, blocks);
}

void sha_ni_two(sha_id id, sha_state *const states[2], const uint8_t *const data[2], size_t blocks)
{
    sha_blocks(id, states[0], data[0], blocks);
    sha_blocks(id, states[1], data[1], blocks);
}

#endif
