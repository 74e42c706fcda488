/* SPDX-License-Identifier: Apache-2.0 */
/* The streams: order of calls, pieces, copies in mid-message, odd IVs and tags. Vectors: test_vectors.c. */
#include "support.h"

#include <string.h>
#include <sealane/stream.h>

#define LEN 1000

static uint8_t key[SEALANE_KEY_MAX], iv[200], aad[40], plain[LEN], cipher[LEN], right_tag[SEALANE_TAG_MAX];

/* The message that most tests use, sealed by libcrypto. */
static sealane_stream *stream_make(void)
{
    prng random = {0x57ea};
    sealane_stream *stream = NULL;

    prng_fill(&random, key, sizeof(key));
    prng_fill(&random, iv, sizeof(iv));
    prng_fill(&random, aad, sizeof(aad));
    prng_fill(&random, plain, sizeof(plain));
    reference_seal(SEALANE_AES_256_GCM, key, iv, aad, sizeof(aad), plain, LEN, cipher, right_tag);
    CU_ASSERT_EQUAL_FATAL(sealane_stream_new(&stream, SEALANE_AES_256_GCM, key, 32), SEALANE_OK);
    return stream;
}

static void test_pieces_equal_the_whole(void)
{
    sealane_stream *stream = stream_make();
    uint8_t out[LEN], tag[SEALANE_TAG_MAX];
    prng random = {0x91ece};

    for (int round = 0; round < 50; round++) {
        size_t done = 0, first = prng_below(&random, sizeof(aad) + 1);
        CU_ASSERT_EQUAL(sealane_stream_begin(stream, true, iv, SEALANE_NONCE_LEN), SEALANE_OK);
        CU_ASSERT_EQUAL(sealane_stream_aad(stream, aad, first), SEALANE_OK);
        CU_ASSERT_EQUAL(sealane_stream_aad(stream, aad + first, sizeof(aad) - first), SEALANE_OK);
        while (done < LEN) {
            size_t piece = prng_below(&random, LEN - done + 1);
            CU_ASSERT_EQUAL(sealane_stream_update(stream, plain + done, piece, out + done), SEALANE_OK);
            done += piece;
        }
        CU_ASSERT_EQUAL(sealane_stream_seal_finish(stream, tag, sizeof(tag)), SEALANE_OK);
        CU_ASSERT_EQUAL(memcmp(out, cipher, LEN), 0);
        CU_ASSERT_EQUAL(memcmp(tag, right_tag, sizeof(tag)), 0);
    }
    sealane_stream_free(stream);
}

static sealane_result open_with(sealane_stream *stream, const uint8_t *tag, size_t tag_len, uint8_t *out)
{
    CU_ASSERT_EQUAL(sealane_stream_begin(stream, false, iv, SEALANE_NONCE_LEN), SEALANE_OK);
    CU_ASSERT_EQUAL(sealane_stream_aad(stream, aad, sizeof(aad)), SEALANE_OK);
    CU_ASSERT_EQUAL(sealane_stream_update(stream, cipher, LEN, out), SEALANE_OK);
    return sealane_stream_open_finish(stream, tag, tag_len);
}

static void test_tags_of_any_length(void)
{
    sealane_stream *stream = stream_make();
    uint8_t out[LEN], tag[SEALANE_TAG_MAX];

    for (size_t len = 4; len <= SEALANE_TAG_MAX; len++) {
        memcpy(tag, right_tag, sizeof(tag));
        CU_ASSERT_EQUAL(open_with(stream, tag, len, out), SEALANE_OK);
        CU_ASSERT_EQUAL(memcmp(out, plain, LEN), 0);
        tag[len - 1] ^= 1;
        CU_ASSERT_EQUAL(open_with(stream, tag, len, out), SEALANE_FORGED);
    }
    CU_ASSERT_EQUAL(open_with(stream, right_tag, 3, out), SEALANE_ARGUMENT);
    CU_ASSERT_EQUAL(open_with(stream, right_tag, 17, out), SEALANE_ARGUMENT);
    CU_ASSERT_EQUAL(open_with(stream, NULL, 16, out), SEALANE_ARGUMENT);
    sealane_stream_free(stream);
}

/* One length after another on one stream: none may stick. */
static void test_ivs_of_any_length(void)
{
    sealane_stream *stream = stream_make();
    uint8_t out[LEN], back[LEN], tag[SEALANE_TAG_MAX];

    for (size_t len = 128; len >= 1; len--) {
        CU_ASSERT_EQUAL(sealane_stream_begin(stream, true, iv, len), SEALANE_OK);
        CU_ASSERT_EQUAL(sealane_stream_update(stream, plain, LEN, out), SEALANE_OK);
        CU_ASSERT_EQUAL(sealane_stream_seal_finish(stream, tag, 16), SEALANE_OK);
        CU_ASSERT_EQUAL(sealane_stream_begin(stream, false, iv, len), SEALANE_OK);
        CU_ASSERT_EQUAL(sealane_stream_update(stream, out, LEN, back), SEALANE_OK);
        CU_ASSERT_EQUAL(sealane_stream_open_finish(stream, tag, 16), SEALANE_OK);
        CU_ASSERT_EQUAL(memcmp(back, plain, LEN), 0);
    }
    CU_ASSERT_EQUAL(sealane_stream_begin(stream, true, iv, 0), SEALANE_ARGUMENT);
    CU_ASSERT_EQUAL(sealane_stream_begin(stream, true, iv, 129), SEALANE_ARGUMENT);
    CU_ASSERT_EQUAL(sealane_stream_begin(stream, true, NULL, 12), SEALANE_ARGUMENT);
    CU_ASSERT_EQUAL(open_with(stream, right_tag, 16, out), SEALANE_OK);
    sealane_stream_free(stream);
}

static void test_order_is_kept(void)
{
    sealane_stream *stream = stream_make(), *none = NULL;
    uint8_t out[LEN], tag[SEALANE_TAG_MAX];

    CU_ASSERT_EQUAL(sealane_stream_aad(stream, aad, 1), SEALANE_ARGUMENT);
    CU_ASSERT_EQUAL(sealane_stream_update(stream, plain, 1, out), SEALANE_ARGUMENT);
    CU_ASSERT_EQUAL(sealane_stream_seal_finish(stream, tag, 16), SEALANE_ARGUMENT);
    CU_ASSERT_EQUAL(sealane_stream_begin(stream, true, iv, 12), SEALANE_OK);
    CU_ASSERT_EQUAL(sealane_stream_open_finish(stream, tag, 16), SEALANE_ARGUMENT);
    CU_ASSERT_EQUAL(sealane_stream_update(stream, NULL, 1, out), SEALANE_ARGUMENT);
    CU_ASSERT_EQUAL(sealane_stream_update(stream, plain, 1, out), SEALANE_OK);
    CU_ASSERT_EQUAL(sealane_stream_aad(stream, aad, 1), SEALANE_ARGUMENT); /* too late */
    CU_ASSERT_EQUAL(sealane_stream_seal_finish(stream, tag, 16), SEALANE_OK);
    /* Nothing more under the same IV. */
    CU_ASSERT_EQUAL(sealane_stream_update(stream, plain, 1, out), SEALANE_ARGUMENT);
    CU_ASSERT_EQUAL(sealane_stream_seal_finish(stream, tag, 16), SEALANE_ARGUMENT);
    CU_ASSERT_EQUAL(sealane_stream_begin(stream, false, iv, 12), SEALANE_OK);
    CU_ASSERT_EQUAL(sealane_stream_seal_finish(stream, tag, 16), SEALANE_ARGUMENT);
    CU_ASSERT_EQUAL(sealane_stream_open_finish(stream, tag, 16), SEALANE_FORGED);
    CU_ASSERT_EQUAL(sealane_stream_update(stream, plain, 1, out), SEALANE_ARGUMENT);
    CU_ASSERT_EQUAL(sealane_stream_open_finish(stream, tag, 16), SEALANE_ARGUMENT);
    CU_ASSERT_EQUAL(sealane_stream_new(&none, SEALANE_AES_256_GCM, key, 16), SEALANE_ARGUMENT);
    CU_ASSERT_EQUAL(sealane_stream_new(&none, SEALANE_CIPHERS, key, 16), SEALANE_ARGUMENT);
    CU_ASSERT_EQUAL(sealane_stream_dup(&none, NULL), SEALANE_ARGUMENT);
    CU_ASSERT_PTR_NULL(none);
    sealane_stream_free(stream);
    sealane_stream_free(NULL);
}

static void test_copies_go_on_independently(void)
{
    for (size_t at = 0; at <= LEN; at += 77) {
        sealane_stream *stream = stream_make(), *copy = NULL;
        uint8_t out[LEN], tag[SEALANE_TAG_MAX], zero[LEN] = {0};
        CU_ASSERT_EQUAL(sealane_stream_begin(stream, true, iv, 12), SEALANE_OK);
        CU_ASSERT_EQUAL(sealane_stream_aad(stream, aad, sizeof(aad)), SEALANE_OK);
        CU_ASSERT_EQUAL(sealane_stream_update(stream, plain, at, out), SEALANE_OK);
        CU_ASSERT_EQUAL_FATAL(sealane_stream_dup(&copy, stream), SEALANE_OK);
        CU_ASSERT_EQUAL(sealane_stream_update(stream, zero, LEN - at, zero), SEALANE_OK);
        CU_ASSERT_EQUAL(sealane_stream_seal_finish(stream, tag, 16), SEALANE_OK);
        sealane_stream_free(stream);
        CU_ASSERT_EQUAL(sealane_stream_update(copy, plain + at, LEN - at, out + at), SEALANE_OK);
        CU_ASSERT_EQUAL(sealane_stream_seal_finish(copy, tag, 16), SEALANE_OK);
        CU_ASSERT_EQUAL(memcmp(out, cipher, LEN), 0);
        CU_ASSERT_EQUAL(memcmp(tag, right_tag, sizeof(tag)), 0);
        sealane_stream_free(copy);
    }
}

static void test_chacha_in_pieces(void)
{
    sealane_stream *stream = stream_make(), *chacha = NULL;
    uint8_t out[LEN], tag[SEALANE_TAG_MAX];

    reference_seal(SEALANE_CHACHA20_POLY1305, key, iv, aad, sizeof(aad), plain, LEN, cipher, right_tag);
    CU_ASSERT_EQUAL_FATAL(sealane_stream_new(&chacha, SEALANE_CHACHA20_POLY1305, key, 32), SEALANE_OK);
    CU_ASSERT_EQUAL(sealane_stream_begin(chacha, true, iv, 11), SEALANE_ARGUMENT);
    CU_ASSERT_EQUAL(sealane_stream_begin(chacha, true, iv, 13), SEALANE_ARGUMENT);
    for (size_t piece = 1; piece <= LEN; piece += 37) {
        CU_ASSERT_EQUAL(sealane_stream_begin(chacha, true, iv, SEALANE_NONCE_LEN), SEALANE_OK);
        CU_ASSERT_EQUAL(sealane_stream_aad(chacha, aad, sizeof(aad)), SEALANE_OK);
        for (size_t done = 0, some; done < LEN; done += some) {
            some = LEN - done < piece ? LEN - done : piece;
            CU_ASSERT_EQUAL(sealane_stream_update(chacha, plain + done, some, out + done), SEALANE_OK);
        }
        CU_ASSERT_EQUAL(sealane_stream_seal_finish(chacha, tag, sizeof(tag)), SEALANE_OK);
        CU_ASSERT_EQUAL(memcmp(out, cipher, LEN), 0);
        CU_ASSERT_EQUAL(memcmp(tag, right_tag, sizeof(tag)), 0);
    }
    CU_ASSERT_EQUAL(open_with(chacha, right_tag, 16, out), SEALANE_OK);
    CU_ASSERT_EQUAL(memcmp(out, plain, LEN), 0);
    right_tag[0] ^= 1;
    CU_ASSERT_EQUAL(open_with(chacha, right_tag, 16, out), SEALANE_FORGED);
    sealane_stream_free(chacha);
    sealane_stream_free(stream);
}

/* Its tag begins with the whole length. */
static void test_ccm_is_refused(void)
{
    sealane_stream *none = NULL;

    CU_ASSERT_EQUAL(sealane_stream_new(&none, SEALANE_AES_128_CCM, key, 16), SEALANE_UNSUPPORTED);
    CU_ASSERT_EQUAL(sealane_stream_new(&none, SEALANE_AES_128_CCM_8, key, 16), SEALANE_UNSUPPORTED);
    CU_ASSERT_PTR_NULL(none);
}

int main(void)
{
    static const CU_TestInfo tests[] = {
        {"pieces equal the whole", test_pieces_equal_the_whole},
        {"tags of 4 to 16 bytes", test_tags_of_any_length},
        {"IVs of 1 to 128 bytes", test_ivs_of_any_length},
        {"the order of calls is kept", test_order_is_kept},
        {"copies in mid-message go on independently", test_copies_go_on_independently},
        {"ChaCha20-Poly1305 in pieces", test_chacha_in_pieces},
        {"CCM is refused", test_ccm_is_refused},
        CU_TEST_INFO_NULL,
    };
    return suite_run("stream", tests);
}
