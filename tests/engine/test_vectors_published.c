/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Published vectors for ChaCha20-Poly1305 and AES-128-CCM, through every usable backend, alone and in a batch,
 * both ways, and refused when a bit of the tag is wrong. Those of RFC 3610 have nonces of 13 bytes, which TLS
 * does not use; NIST's have them of 12. GCM: test_vectors.c.
 */
#include "support.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FIELD_MAX 300

typedef struct field {
    uint8_t bytes[FIELD_MAX];
    size_t len;
} field;

static const struct vector {
    const char *source;
    sealane_cipher_id cipher;
    const char *key, *nonce, *aad, *plain, *sealed, *tag; /* in hexadecimal */
} vectors[] = {
    {"RFC 8439 2.8.2", SEALANE_CHACHA20_POLY1305,
     "808182838485868788898a8b8c8d8e8f909192939495969798999a9b9c9d9e9f", "070000004041424344454647",
     "50515253c0c1c2c3c4c5c6c7",
     "4c616469657320616e642047656e746c656d656e206f662074686520636c617373206f66202739393a2049662049"
     "20636f756c64206f6666657220796f75206f6e6c79206f6e652074697020666f7220746865206675747572652c20"
     "73756e73637265656e20776f756c642062652069742e",
     "d31a8d34648e60db7b86afbc53ef7ec2a4aded51296e08fea9e2b5a736ee62d63dbea45e8ca9671282fafb69da92"
     "728b1a71de0a9e060b2905d6a5b67ecd3b3692ddbd7f2d778b8c9803aee328091b58fab324e4fad675945585808b"
     "4831d7bc3ff4def08e4b7a9de576d26586cec64b6116",
     "1ae10b594f09e26a7e902ecbd0600691"},
    {"RFC 8439 A.5", SEALANE_CHACHA20_POLY1305,
     "1c9240a5eb55d38af333888604f6b5f0473917c1402b80099dca5cbc207075c0", "000000000102030405060708",
     "f33388860000000000004e91",
     "496e7465726e65742d4472616674732061726520647261667420646f63756d656e74732076616c696420666f7220"
     "61206d6178696d756d206f6620736978206d6f6e74687320616e64206d617920626520757064617465642c207265"
     "706c616365642c206f72206f62736f6c65746564206279206f7468657220646f63756d656e747320617420616e79"
     "2074696d652e20497420697320696e617070726f70726961746520746f2075736520496e7465726e65742d447261"
     "667473206173207265666572656e6365206d6174657269616c206f7220746f2063697465207468656d206f746865"
     "72207468616e206173202fe2809c776f726b20696e2070726f67726573732e2fe2809d",
     "64a0861575861af460f062c79be643bd5e805cfd345cf389f108670ac76c8cb24c6cfc18755d43eea09ee94e382d"
     "26b0bdb7b73c321b0100d4f03b7f355894cf332f830e710b97ce98c8a84abd0b948114ad176e008d33bd60f982b1"
     "ff37c8559797a06ef4f0ef61c186324e2b3506383606907b6a7c02b0f9f6157b53c867e4b9166c767b804d46a59b"
     "5216cde7a4e99040c5a40433225ee282a1b0a06c523eaf4534d7f83fa1155b0047718cbc546a0d072b04b3564eea"
     "1b422273f548271a0bb2316053fa76991955ebd63159434ecebb4e466dae5a1073a6727627097a1049e617d91d36"
     "1094fa68f0ff77987130305beaba2eda04df997b714d6c6f2c29a6ad5cb4022b02709b",
     "eead9d67890cbb22392336fea1851f38"},
    {"NIST SP 800-38C example 3", SEALANE_AES_128_CCM_8, "404142434445464748494a4b4c4d4e4f",
     "101112131415161718191a1b", "000102030405060708090a0b0c0d0e0f10111213",
     "202122232425262728292a2b2c2d2e2f3031323334353637", "e3b201a9f5b71a7a9b1ceaeccd97e70b6176aad9a4428aa5",
     "484392fbc1b09951"},
    {"NIST CAVP VNT128 50", SEALANE_AES_128_CCM, "005e8f4d8e0cbf4e1ceeb5d87a275848",
     "0ec3ac452b547b9062aac8fa", "2f1821aa57e5278ffd33c17d46615b77363149dbc98470413f6543a6b749f2ca",
     "b6f345204526439daf84998f380dcfb4b4167c959c04ff65", "9575e16f35da3c88a19c26a7b762044f4d7bbbafeff05d75",
     "4829e2a7752fa3a14890972884b511d8"},
    {"NIST CAVP VNT128 51", SEALANE_AES_128_CCM, "005e8f4d8e0cbf4e1ceeb5d87a275848",
     "472711261a9262bef077c0b7", "17c87889a2652636bcf712d111c86b9d68d64d18d531928030a5ec97c59931a4",
     "9d63df773b3799e361c5328d44bbb12f4154747ecf7cc667", "53323b82d7a754d82cebf0d4bc930ef06d11e162c5c027c4",
     "715a641834bbb75bb6572ca5a45c3183"},
    {"NIST CAVP VNT128 52", SEALANE_AES_128_CCM, "005e8f4d8e0cbf4e1ceeb5d87a275848",
     "6a7b80b6738ff0a23ad58fb2", "26c12e5cdfe225a5be56d7a8aaf9fd4eb327d2f29c2ebc7396022f884f33ce54",
     "ba1978d58492c7f827cafef87d00f1a137f3f05a2dedb14d", "aa1d9eacabdcdd0f54681653ac44042a3dd47e338d15604e",
     "86a0e926daf21d17b359253d0d5d5d00"},
    {"NIST CAVP VNT128 53", SEALANE_AES_128_CCM, "005e8f4d8e0cbf4e1ceeb5d87a275848",
     "d8e133e7ff8e0a0ec6c4096e", "ef9e432c15d8c93a4b5c0666608e61c824cd466d7940d642acd3dc33057c0395",
     "2836de99c0f641cd55e89f5af76638947b8227377ef88bfb", "5edb056d85dafeaaf74bdf4caa47339d6a75bf1ee998565e",
     "9f9cdf6ab825f6e026f5be2ad895033e"},
    {"NIST CAVP VNT128 54", SEALANE_AES_128_CCM, "005e8f4d8e0cbf4e1ceeb5d87a275848",
     "2fa8120398d1a946f391367c", "377cd407ad28dc02bd3835a31d92f8295c9dbe597f56662ceda112c588dc73a5",
     "7a37255b682766a0bfecf78e5162528885a339174c2a4932", "701f5f506fc7e9ea4a27a4db5cb890f7be3b4f6bcb20f97e",
     "d3021f6ad620648b8196ab1693710398"},
    {"NIST CAVP VNT128 55", SEALANE_AES_128_CCM, "005e8f4d8e0cbf4e1ceeb5d87a275848",
     "8d638ef43f56dece910139e9", "87ea7b095388de70ac0ed23e86f502400910028a8ab5e3bbb91d05821c0d2d61",
     "7370d9b453936955b9c9d336f4b283237986232de007bf41", "be2f03f6ce1731418a5f53b6f6e467b73992a0c8102d8ffc",
     "2d236162688096d80b8733d2afbcd244"},
    {"NIST CAVP VNT128 56", SEALANE_AES_128_CCM, "005e8f4d8e0cbf4e1ceeb5d87a275848",
     "f479ea8812b6b2f6ac78fe9d", "20c2b8f5d3a65a66ba8a25e2ee339a779a32d45f5db91077efae6cf308feef50",
     "59ff9f7581a781808d36fed378080963f35c00ea5a6e3932", "d127c956349c16e2186f55b72254c677f03c61f1c4ada9e6",
     "61bb9415b32d6a58f5f7647ed41de685"},
    {"NIST CAVP VNT128 57", SEALANE_AES_128_CCM, "005e8f4d8e0cbf4e1ceeb5d87a275848",
     "423515f7bd592d6a7a240866", "19eef6f798fc68086aad1cda6d7976cdcfe6b8af74598032972c939db300d8c1",
     "3c379f90b11c622a765756a15efc8fc3ca7b08b3281945f5", "15792e01fc17f5294c3405484291082c00a8f46dd9af8ca2",
     "30ba95c4058501234a1b97543c998e9d"},
    {"NIST CAVP VNT128 58", SEALANE_AES_128_CCM, "005e8f4d8e0cbf4e1ceeb5d87a275848",
     "c3f3da69e13c5733039744b1", "eedf00aab5edefdd6549d37ed44358e11c588c24f141dc5731303fe0bd56b11e",
     "9db6fe9adb8c0fee87cac9a7f01a7ed8a84f0512d09b1834", "9b6b829ca1dc4e90d4402188632ea3377cbec2ba60f0f072",
     "afca1b08b6dd589a17a32d49b6f7135b"},
    {"NIST CAVP VNT128 59", SEALANE_AES_128_CCM, "005e8f4d8e0cbf4e1ceeb5d87a275848",
     "0a57d59f21ead5b6d80cd2ce", "de5f2d413c98c6ea2a5640a7b1c424aebe75cbc78b06710b5bff8bec6afb5a76",
     "0b5f6389f7c20f4ba326e8f05d373ca27b7ebe59e6d729f0", "0b704e14bc7d2977d89e0b2e7ed7fe3c9e0f2ea80d2d6165",
     "f344f2f1b2218d9b4283fe640a6d315b"},
};

static field hex(const char *text)
{
    field f = {.len = strlen(text) / 2};

    for (size_t i = 0; i < f.len; i++) {
        unsigned byte = 0;
        CU_ASSERT_EQUAL_FATAL(sscanf(text + 2 * i, "%2x", &byte), 1);
        f.bytes[i] = (uint8_t)byte;
    }
    return f;
}

struct bench {
    const backend *be;
    const struct vector *v;
    field nonce, aad, plain, sealed, tag;
    uint8_t out[FIELD_MAX], tag_out[SEALANE_TAG_MAX];
    backend_op op;
};

static void run(struct bench *b, bool sealing, bool batch)
{
    backend_op *one = &b->op;

    b->op.result = SEALANE_INTERNAL;
    if (batch)
        (sealing ? b->be->seal_many : b->be->open_many)(b->v->cipher, &one, 1);
    else
        (sealing ? b->be->seal : b->be->open)(&b->op);
}

static void check_ways(struct bench *b, bool batch)
{
    b->op.in = b->plain.bytes;
    b->op.tag = b->tag_out;
    run(b, true, batch);
    CU_ASSERT_EQUAL(b->op.result, SEALANE_OK);
    CU_ASSERT_EQUAL(memcmp(b->out, b->sealed.bytes, b->sealed.len), 0);
    CU_ASSERT_EQUAL(memcmp(b->tag_out, b->tag.bytes, b->tag.len), 0);

    b->op.in = b->sealed.bytes;
    b->op.tag = b->tag.bytes;
    run(b, false, batch);
    CU_ASSERT_EQUAL(b->op.result, SEALANE_OK);
    CU_ASSERT_EQUAL(memcmp(b->out, b->plain.bytes, b->plain.len), 0);

    b->tag.bytes[b->tag.len - 1] ^= 1;
    run(b, false, batch);
    CU_ASSERT_EQUAL(b->op.result, SEALANE_FORGED);
    CU_ASSERT(all_zero(b->out, b->plain.len));
    b->tag.bytes[b->tag.len - 1] ^= 1;
}

static void check_vector(const backend *be, const struct vector *v)
{
    struct bench b = {.be = be, .v = v};
    field key = hex(v->key);

    b.nonce = hex(v->nonce);
    b.aad = hex(v->aad);
    b.plain = hex(v->plain);
    b.sealed = hex(v->sealed);
    b.tag = hex(v->tag);
    CU_ASSERT_EQUAL_FATAL(key.len, sealane_cipher_get(v->cipher)->key_len);
    CU_ASSERT_EQUAL_FATAL(b.nonce.len, SEALANE_NONCE_LEN);
    CU_ASSERT_EQUAL_FATAL(b.tag.len, sealane_cipher_get(v->cipher)->tag_len);
    CU_ASSERT_EQUAL_FATAL(b.plain.len, b.sealed.len);
    b.op = (backend_op){.state = state_new(be, v->cipher, key.bytes),
                        .nonce = b.nonce.bytes,
                        .aad = b.aad.bytes,
                        .aad_len = b.aad.len,
                        .len = b.plain.len,
                        .out = b.out};
    check_ways(&b, false);
    check_ways(&b, true);
    state_free(be, b.op.state);
}

static void check_cipher(sealane_cipher_id cipher, unsigned expected)
{
    size_t index = 0;
    unsigned backends = 0;

    for (const backend *be; (be = backend_next(&index, cipher)) != NULL; backends++) {
        unsigned ran = 0;
        for (size_t i = 0; i < COUNT(vectors); i++) {
            if (vectors[i].cipher != cipher)
                continue;
            check_vector(be, &vectors[i]);
            ran++;
        }
        CU_ASSERT_EQUAL(ran, expected);
        printf("\n    %s: %u", be->name, ran);
    }
    CU_ASSERT(backends >= 1);
}

static void test_chacha(void)
{
    check_cipher(SEALANE_CHACHA20_POLY1305, 2);
}
static void test_ccm(void)
{
    check_cipher(SEALANE_AES_128_CCM, 10);
}
static void test_ccm_8(void)
{
    check_cipher(SEALANE_AES_128_CCM_8, 1);
}

int main(void)
{
    static const CU_TestInfo tests[] = {
        {"ChaCha20-Poly1305", test_chacha},
        {"AES-128-CCM", test_ccm},
        {"AES-128-CCM-8", test_ccm_8},
        CU_TEST_INFO_NULL,
    };
    return suite_run("published vectors", tests);
}
