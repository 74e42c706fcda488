/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The record half of sealane.so, loaded by libcrypto as an application has it: a cipher used through EVP gives
 * what the default provider gives, and libssl on one side talks to libssl with the default provider on the
 * other.
 */
#include <stdbool.h>
#include <stdlib.h>
#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <openssl/provider.h>
#include <openssl/rand.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>
#include "check.h"
#include "provider_pair.h"

static const char *const names[] = {
    "AES-128-GCM",           "AES-256-GCM",           "ChaCha20-Poly1305",       "AES-128-CCM",
    "AES-128-CBC-HMAC-SHA1", "AES-256-CBC-HMAC-SHA1", "AES-128-CBC-HMAC-SHA256", "AES-256-CBC-HMAC-SHA256"};

static uint64_t provider_count(const char *name)
{
    uint64_t value = 0;
    OSSL_PARAM params[] = {OSSL_PARAM_construct_uint64(name, &value), OSSL_PARAM_construct_end()};
    CU_ASSERT_EQUAL(OSSL_PROVIDER_get_params(pair_sealane, params), 1);
    return value;
}

static unsigned random_below(unsigned n)
{
    unsigned r;
    RAND_bytes((unsigned char *)&r, sizeof(r));
    return r % n;
}

/* One cipher context of each provider with the same key. */
typedef struct pair {
    EVP_CIPHER_CTX *ours, *theirs;
    unsigned char key[32];
} pair;

static void pair_open(pair *p, const char *name, int sealing)
{
    EVP_CIPHER *ours = EVP_CIPHER_fetch(pair_with_sealane, name, NULL),
               *theirs = EVP_CIPHER_fetch(pair_without, name, NULL);

    CU_ASSERT_STRING_EQUAL(OSSL_PROVIDER_get0_name(EVP_CIPHER_get0_provider(ours)), "sealane");
    CU_ASSERT_STRING_EQUAL(OSSL_PROVIDER_get0_name(EVP_CIPHER_get0_provider(theirs)), "default");
    RAND_bytes(p->key, sizeof(p->key));
    p->ours = EVP_CIPHER_CTX_new();
    p->theirs = EVP_CIPHER_CTX_new();
    CU_ASSERT_EQUAL(EVP_CipherInit_ex2(p->ours, ours, p->key, NULL, sealing, NULL), 1);
    CU_ASSERT_EQUAL(EVP_CipherInit_ex2(p->theirs, theirs, p->key, NULL, sealing, NULL), 1);
    EVP_CIPHER_free(ours);
    EVP_CIPHER_free(theirs);
}

static void pair_close(pair *p)
{
    EVP_CIPHER_CTX_free(p->ours);
    EVP_CIPHER_CTX_free(p->theirs);
}

/* ---- properties ---- */

static void properties_agree(void)
{
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        EVP_CIPHER *ours = EVP_CIPHER_fetch(pair_with_sealane, names[i], NULL),
                   *theirs = EVP_CIPHER_fetch(pair_without, names[i], NULL);
        CU_ASSERT_EQUAL(EVP_CIPHER_get_key_length(ours), EVP_CIPHER_get_key_length(theirs));
        CU_ASSERT_EQUAL(EVP_CIPHER_get_iv_length(ours), EVP_CIPHER_get_iv_length(theirs));
        CU_ASSERT_EQUAL(EVP_CIPHER_get_block_size(ours), EVP_CIPHER_get_block_size(theirs));
        CU_ASSERT_EQUAL(EVP_CIPHER_get_mode(ours), EVP_CIPHER_get_mode(theirs));
        CU_ASSERT_EQUAL(EVP_CIPHER_get_nid(ours), EVP_CIPHER_get_nid(theirs));
        CU_ASSERT_EQUAL(EVP_CIPHER_get_flags(ours), EVP_CIPHER_get_flags(theirs));
        EVP_CIPHER_free(ours);
        EVP_CIPHER_free(theirs);
    }
}

/* ---- streaming ---- */

/* The same message, cut in the same random pieces, through both. */
static void stream_once(EVP_CIPHER_CTX *ctx, const unsigned char *iv, int iv_len, const unsigned char *aad,
                        const unsigned cuts[8], const unsigned char *in, unsigned char *out, int tag_len,
                        unsigned char *tag, bool sealing, bool copy)
{
    unsigned at = 0, aad_at = 0;
    int n;
    EVP_CIPHER_CTX *work = EVP_CIPHER_CTX_new();

    CU_ASSERT_EQUAL(EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_AEAD_SET_IVLEN, iv_len, NULL), 1);
    CU_ASSERT_EQUAL(EVP_CipherInit_ex2(ctx, NULL, NULL, iv, -1, NULL), 1);
    if (!sealing)
        CU_ASSERT_EQUAL(EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_AEAD_SET_TAG, tag_len, tag), 1);
    for (int i = 0; i < 3; aad_at += cuts[i++])
        CU_ASSERT_EQUAL(EVP_CipherUpdate(ctx, NULL, &n, aad + aad_at, (int)cuts[i]), 1);
    for (int i = 3; i < 8; i++) {
        CU_ASSERT_EQUAL(EVP_CipherUpdate(ctx, out + at, &n, in + at, (int)cuts[i]), 1);
        CU_ASSERT_EQUAL(n, (int)cuts[i]);
        at += cuts[i];
        if (copy && i == 5) { /* go on with a copy taken in mid-message */
            CU_ASSERT_EQUAL(EVP_CIPHER_CTX_copy(work, ctx), 1);
            ctx = work;
        }
    }
    CU_ASSERT_EQUAL(EVP_CipherFinal_ex(ctx, out + at, &n), 1);
    if (sealing)
        CU_ASSERT_EQUAL(EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_AEAD_GET_TAG, tag_len, tag), 1);
    EVP_CIPHER_CTX_free(work);
}

static void streams_agree(void)
{
    unsigned char iv[128], aad[300], in[2000], ours[2016], theirs[2016], back[2016], tag[2][16];

    for (int round = 0; round < 400; round++) {
        pair seal, open;
        int iv_len = round % 3 == 0 ? 12 : 1 + (int)random_below(128), tag_len = 4 + (int)random_below(13);
        unsigned cuts[8], total = 0;

        pair_open(&seal, names[round % 2], 1);
        pair_open(&open, names[round % 2], 0);
        CU_ASSERT_EQUAL(EVP_CipherInit_ex2(open.ours, NULL, seal.key, NULL, 0, NULL), 1);
        RAND_bytes(iv, sizeof(iv));
        RAND_bytes(aad, sizeof(aad));
        RAND_bytes(in, sizeof(in));
        for (int i = 0; i < 8; i++)
            cuts[i] = random_below(i < 3 ? 100 : 400);
        for (int i = 3; i < 8; i++)
            total += cuts[i];
        stream_once(seal.ours, iv, iv_len, aad, cuts, in, ours, tag_len, tag[0], true, round % 5 == 0);
        stream_once(seal.theirs, iv, iv_len, aad, cuts, in, theirs, tag_len, tag[1], true, false);
        CU_ASSERT_EQUAL(memcmp(ours, theirs, total), 0);
        CU_ASSERT_EQUAL(memcmp(tag[0], tag[1], (size_t)tag_len), 0);
        stream_once(open.ours, iv, iv_len, aad, cuts, theirs, back, tag_len, tag[1], false, round % 5 == 0);
        CU_ASSERT_EQUAL(memcmp(back, in, total), 0);
        pair_close(&seal);
        pair_close(&open);
    }
}

static void stream_forgery_fails_in_final(void)
{
    pair p;
    unsigned char iv[12] = {0}, in[50] = {1}, out[50], tag[16] = {0};
    int n;

    pair_open(&p, names[0], 0);
    CU_ASSERT_EQUAL(EVP_CipherInit_ex2(p.ours, NULL, NULL, iv, 0, NULL), 1);
    CU_ASSERT_EQUAL(EVP_CIPHER_CTX_ctrl(p.ours, EVP_CTRL_AEAD_SET_TAG, 16, tag), 1);
    CU_ASSERT_EQUAL(EVP_CipherUpdate(p.ours, out, &n, in, 50), 1);
    CU_ASSERT_EQUAL(EVP_CipherFinal_ex(p.ours, out, &n), 0);
    pair_close(&p);
}

static void an_iv_serves_one_message(void)
{
    pair p;
    unsigned char iv[12] = {0}, in[20] = {1}, out[20];
    int n;

    pair_open(&p, names[0], 1);
    CU_ASSERT_EQUAL(EVP_CipherInit_ex2(p.ours, NULL, NULL, iv, 1, NULL), 1);
    CU_ASSERT_EQUAL(EVP_CipherUpdate(p.ours, out, &n, in, 20), 1);
    CU_ASSERT_EQUAL(EVP_CipherFinal_ex(p.ours, out, &n), 1);
    CU_ASSERT_EQUAL(EVP_CipherUpdate(p.ours, out, &n, in, 20), 0);
    pair_close(&p);
}

static void an_empty_message_has_the_same_tag(void)
{
    unsigned char iv[12] = {7}, aad[5] = {0x17, 3, 3, 0, 16}, out[1], tag[2][16];
    int n;

    for (int with_aad = 0; with_aad < 2; with_aad++) {
        pair p;
        pair_open(&p, names[1], 1);
        EVP_CIPHER_CTX *both[] = {p.ours, p.theirs};
        for (int i = 0; i < 2; i++) {
            CU_ASSERT_EQUAL(EVP_CipherInit_ex2(both[i], NULL, NULL, iv, 1, NULL), 1);
            if (with_aad)
                CU_ASSERT_EQUAL(EVP_CipherUpdate(both[i], NULL, &n, aad, 5), 1);
            CU_ASSERT_EQUAL(EVP_CipherFinal_ex(both[i], out, &n), 1);
            CU_ASSERT_EQUAL(EVP_CIPHER_CTX_ctrl(both[i], EVP_CTRL_AEAD_GET_TAG, 16, tag[i]), 1);
        }
        CU_ASSERT_EQUAL(memcmp(tag[0], tag[1], 16), 0);
        pair_close(&p);
    }
}

/* ---- the two call sequences of libssl ---- */

static void tls13_records_agree(void)
{
    static unsigned char in[17000], ours[17016], theirs[17016], back[17016];
    unsigned char tag[2][16], iv[12], header[5] = {0x17, 3, 3};

    RAND_bytes(in, sizeof(in));
    for (size_t round = 0; round < 600; round++) {
        pair seal, open;
        int len = round < 300 ? 1 + (int)round : 1 + (int)random_below(16999), n;
        pair_open(&seal, names[round % 2], 1);
        pair_open(&open, names[round % 2], 0);
        CU_ASSERT_EQUAL(EVP_CipherInit_ex2(open.ours, NULL, seal.key, NULL, 0, NULL), 1);
        RAND_bytes(iv, sizeof(iv));
        header[3] = (unsigned char)((len + 16) >> 8);
        header[4] = (unsigned char)(len + 16);
        unsigned before = (unsigned)provider_count(SEALANE_PARAM_RECORDS_SEALED);
        EVP_CIPHER_CTX *both[] = {seal.ours, seal.theirs};
        unsigned char *outs[] = {ours, theirs};
        for (int i = 0; i < 2; i++) {
            CU_ASSERT_EQUAL(EVP_CipherInit_ex2(both[i], NULL, NULL, iv, 1, NULL), 1);
            CU_ASSERT_EQUAL(EVP_CipherUpdate(both[i], NULL, &n, header, 5), 1);
            CU_ASSERT_EQUAL(EVP_CipherUpdate(both[i], outs[i], &n, in, len), 1);
            CU_ASSERT_EQUAL(EVP_CipherFinal_ex(both[i], outs[i] + n, &n), 1);
            CU_ASSERT_EQUAL(EVP_CIPHER_CTX_ctrl(both[i], EVP_CTRL_AEAD_GET_TAG, 16, tag[i]), 1);
        }
        CU_ASSERT_EQUAL(memcmp(ours, theirs, (size_t)len), 0);
        CU_ASSERT_EQUAL(memcmp(tag[0], tag[1], 16), 0);
        CU_ASSERT_EQUAL(provider_count(SEALANE_PARAM_RECORDS_SEALED), before + 1);

        for (int forged = 0; forged < 2; forged++) {
            memcpy(back, theirs, (size_t)len);
            back[random_below((unsigned)len)] ^= (unsigned char)(forged << random_below(8));
            CU_ASSERT_EQUAL(EVP_CipherInit_ex2(open.ours, NULL, NULL, iv, 0, NULL), 1);
            CU_ASSERT_EQUAL(EVP_CIPHER_CTX_ctrl(open.ours, EVP_CTRL_AEAD_SET_TAG, 16, tag[1]), 1);
            CU_ASSERT_EQUAL(EVP_CipherUpdate(open.ours, NULL, &n, header, 5), 1);
            CU_ASSERT_EQUAL(EVP_CipherUpdate(open.ours, back, &n, back, len), 1);
            CU_ASSERT_EQUAL(EVP_CipherFinal_ex(open.ours, back + n, &n), !forged);
            if (!forged)
                CU_ASSERT_EQUAL(memcmp(back, in, (size_t)len), 0);
            for (int i = 0; forged && i < len; i++)
                if (back[i] != 0) {
                    CU_FAIL("plaintext of a forged record left in the buffer");
                    break;
                }
        }
        pair_close(&seal);
        pair_close(&open);
    }
}

static void tls12_aad(EVP_CIPHER_CTX *ctx, unsigned char aad[13], unsigned seq, size_t len)
{
    memset(aad, 0, 13);
    aad[6] = (unsigned char)(seq >> 8);
    aad[7] = (unsigned char)seq;
    aad[8] = 23;
    aad[9] = aad[10] = 3;
    aad[11] = (unsigned char)(len >> 8);
    aad[12] = (unsigned char)len;
    CU_ASSERT_EQUAL(EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_AEAD_TLS1_AAD, 13, aad), 16);
}

static void tls12_records_agree(void)
{
    static unsigned char record[17100], in[17000];
    unsigned char fixed[4] = {1, 2, 3, 4}, aad[13];

    RAND_bytes(in, sizeof(in));
    for (int ours_seals = 0; ours_seals < 2; ours_seals++)
        for (size_t i = 0; i < 2; i++) {
            pair seal, open;
            pair_open(&seal, names[i], 1);
            pair_open(&open, names[i], 0);
            EVP_CIPHER_CTX *sealer = ours_seals ? seal.ours : seal.theirs,
                           *opener = ours_seals ? open.theirs : open.ours;
            CU_ASSERT_EQUAL(EVP_CipherInit_ex2(opener, NULL, seal.key, NULL, 0, NULL), 1);
            CU_ASSERT_EQUAL(EVP_CipherInit_ex2(sealer, NULL, seal.key, NULL, 1, NULL), 1);
            CU_ASSERT_EQUAL(EVP_CIPHER_CTX_ctrl(sealer, EVP_CTRL_GCM_SET_IV_FIXED, 4, fixed), 1);
            CU_ASSERT_EQUAL(EVP_CIPHER_CTX_ctrl(opener, EVP_CTRL_GCM_SET_IV_FIXED, 4, fixed), 1);
            unsigned char last[8] = {0};
            for (unsigned seq = 0; seq < 300; seq++) {
                int len = seq < 150 ? (int)seq : (int)random_below(16385), n;
                memcpy(record + 8, in, (size_t)len);
                tls12_aad(sealer, aad, seq, (size_t)len + 8);
                CU_ASSERT_EQUAL(EVP_CipherUpdate(sealer, record, &n, record, len + 24), 1);
                CU_ASSERT_EQUAL(n, len + 24);
                CU_ASSERT_NOT_EQUAL(memcmp(record, last, 8), 0); /* an explicit nonce is never repeated */
                memcpy(last, record, 8);
                bool forged = seq % 7 == 3;
                if (forged)
                    record[random_below((unsigned)len + 24)] ^= 1;
                tls12_aad(opener, aad, seq, (size_t)len + 24);
                CU_ASSERT_EQUAL(EVP_CipherUpdate(opener, record, &n, record, len + 24), !forged);
                if (!forged) {
                    CU_ASSERT_EQUAL(n, len);
                    CU_ASSERT_EQUAL(memcmp(record + 8, in, (size_t)len), 0);
                }
            }
            pair_close(&seal);
            pair_close(&open);
        }
}

/* What libssl asks when it offers a connection to the kernel, which then may decline. */
static void the_iv_can_be_asked_for(void)
{
    unsigned char fixed[4] = {1, 2, 3, 4}, aad[13], record[100], before[12], after[12];
    int n;

    for (size_t i = 0; i < 2; i++) {
        pair p;
        pair_open(&p, names[i], 1);
        CU_ASSERT_EQUAL(EVP_CIPHER_CTX_ctrl(p.ours, EVP_CTRL_GCM_SET_IV_FIXED, 4, fixed), 1);
        CU_ASSERT_EQUAL(EVP_CIPHER_CTX_get_updated_iv(p.ours, before, sizeof(before)), 1);
        CU_ASSERT_EQUAL(memcmp(before, fixed, 4), 0);
        uint64_t sealed = provider_count(SEALANE_PARAM_RECORDS_SEALED);
        tls12_aad(p.ours, aad, 1, 8 + 50);
        CU_ASSERT_EQUAL(EVP_CipherUpdate(p.ours, record, &n, record, 8 + 50 + 16), 1);
        CU_ASSERT_EQUAL(memcmp(record, before + 4, 8), 0); /* the record has the nonce that was told */
        CU_ASSERT_EQUAL(provider_count(SEALANE_PARAM_RECORDS_SEALED), sealed + 1);
        CU_ASSERT_EQUAL(EVP_CIPHER_CTX_get_updated_iv(p.ours, after, sizeof(after)), 1);
        tls12_aad(p.ours, aad, 2, 8 + 50);
        CU_ASSERT_EQUAL(EVP_CipherUpdate(p.ours, record, &n, record, 8 + 50 + 16), 1);
        CU_ASSERT_EQUAL(memcmp(record, after + 4, 8), 0);
        CU_ASSERT_EQUAL(provider_count(SEALANE_PARAM_RECORDS_SEALED), sealed + 2); /* still the engine's */
        pair_close(&p);
    }
}

/* ---- AES-CBC with HMAC ---- */

static const char *const composites[] = {"AES-128-CBC-HMAC-SHA1", "AES-256-CBC-HMAC-SHA1",
                                         "AES-128-CBC-HMAC-SHA256", "AES-256-CBC-HMAC-SHA256"};

static EVP_CIPHER_CTX *composite_open(OSSL_LIB_CTX *lib, const char *name, int sealing, unsigned version)
{
    static unsigned char key[32] = {1, 2, 3}, iv[16] = {4}, mac_key[32] = {5, 6, 7};
    EVP_CIPHER *cipher = EVP_CIPHER_fetch(lib, name, NULL);
    EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();
    size_t mac_size = 0;
    OSSL_PARAM params[] = {OSSL_PARAM_construct_uint(OSSL_CIPHER_PARAM_TLS_VERSION, &version),
                           OSSL_PARAM_construct_size_t(OSSL_CIPHER_PARAM_TLS_MAC_SIZE, &mac_size),
                           OSSL_PARAM_construct_end()};

    CU_ASSERT_EQUAL(EVP_CipherInit_ex2(ctx, cipher, key, iv, sealing, NULL), 1);
    CU_ASSERT_EQUAL(EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_AEAD_SET_MAC_KEY,
                                        strstr(name, "SHA256") != NULL ? 32 : 20, mac_key),
                    1);
    CU_ASSERT_EQUAL(EVP_CIPHER_CTX_set_params(ctx, params), 1);
    EVP_CIPHER_free(cipher);
    return ctx;
}

static int composite_aad(EVP_CIPHER_CTX *ctx, unsigned seq, unsigned version, int len)
{
    unsigned char aad[13] = {0, 0, 0, 0, 0, 0, (unsigned char)(seq >> 8), (unsigned char)seq, 23};

    aad[9] = (unsigned char)(version >> 8);
    aad[10] = (unsigned char)version;
    aad[11] = (unsigned char)(len >> 8);
    aad[12] = (unsigned char)len;
    return EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_AEAD_TLS1_AAD, 13, aad);
}

static void composite_record(EVP_CIPHER_CTX *seal, EVP_CIPHER_CTX *open[2], unsigned version, unsigned seq,
                             int len, bool forged)
{
    static unsigned char in[16500], record[17000], opened[2][17000];
    int explicit_len = version > TLS1_VERSION ? 16 : 0, n, pad, total, result[2];

    RAND_bytes(in, (int)sizeof(in));
    memcpy(record, in, (size_t)(explicit_len + len));
    pad = composite_aad(seal, seq, version, explicit_len + len);
    CU_ASSERT_FATAL(pad > 0 && pad < 80);
    total = explicit_len + len + pad;
    CU_ASSERT_EQUAL(EVP_CipherUpdate(seal, record, &n, record, total), 1);
    CU_ASSERT_EQUAL(n, total);
    if (forged) /* of TLS 1.0 the first block's change is seen as well, by the MAC */
        record[random_below((unsigned)total)] ^= (unsigned char)(1 << random_below(8));
    for (int i = 0; i < 2; i++) {
        memcpy(opened[i], record, (size_t)total);
        CU_ASSERT_TRUE(composite_aad(open[i], seq, version, total) > 0);
        result[i] = EVP_CipherUpdate(open[i], opened[i], &n, opened[i], total);
        if (result[i] == 1) {
            CU_ASSERT_EQUAL(n, len);
            CU_ASSERT_EQUAL(memcmp(opened[i] + explicit_len, in + explicit_len, (size_t)len), 0);
        }
    }
    CU_ASSERT_EQUAL(result[0], !forged);
    CU_ASSERT_EQUAL(result[1], !forged);
}

static void composite_records_agree(void)
{
    static const unsigned versions[] = {TLS1_VERSION, TLS1_1_VERSION, TLS1_2_VERSION};

    for (size_t i = 0; i < 4; i++)
        for (size_t v = 0; v < 3; v++)
            for (int ours_seals = 0; ours_seals < 2; ours_seals++) {
                EVP_CIPHER_CTX *seal = composite_open(ours_seals ? pair_with_sealane : pair_without,
                                                      composites[i], 1, versions[v]);
                EVP_CIPHER_CTX *open[] = {composite_open(pair_with_sealane, composites[i], 0, versions[v]),
                                          composite_open(pair_without, composites[i], 0, versions[v])};
                for (unsigned seq = 0; seq < 260; seq++)
                    composite_record(seal, open, versions[v], seq,
                                     seq < 200 ? 1 + (int)seq : 1 + (int)random_below(16384),
                                     v > 0 && seq % 5 == 4); /* in TLS 1.0 it would be the last record */
                EVP_CIPHER_CTX_free(seal);
                EVP_CIPHER_CTX_free(open[0]);
                EVP_CIPHER_CTX_free(open[1]);
            }
}

/* The multiblock records of one write, at least as many as asked for: returns their length in all. */
static int multiblock_seal(EVP_CIPHER_CTX *ctx, unsigned seq, unsigned *records, const unsigned char *in,
                           size_t len, unsigned char *out)
{
    unsigned char aad[13] = {0, 0, 0, 0, 0, 0, (unsigned char)(seq >> 8), (unsigned char)seq, 23, 3, 3};
    EVP_CTRL_TLS1_1_MULTIBLOCK_PARAM p = {.inp = aad, .len = len, .interleave = *records};
    int packed = EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_TLS1_1_MULTIBLOCK_AAD, sizeof(p), &p);

    CU_ASSERT_TRUE(packed > (int)len);
    CU_ASSERT_TRUE(p.interleave >= *records && p.interleave % *records == 0);
    *records = p.interleave;
    p.out = out;
    p.inp = in;
    p.len = len;
    CU_ASSERT_EQUAL(EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_TLS1_1_MULTIBLOCK_ENCRYPT, sizeof(p), &p), packed);
    return packed;
}

/* Opens them one by one, and returns how much payload there was. */
static size_t multiblock_open(EVP_CIPHER_CTX *ctx, unsigned seq, unsigned records, unsigned char *at,
                              unsigned char *back)
{
    size_t got = 0;

    for (unsigned i = 0; i < records; i++) {
        int len = at[3] << 8 | at[4], n = 0;
        CU_ASSERT_EQUAL(at[0], 23);
        CU_ASSERT_TRUE(composite_aad(ctx, seq + i, TLS1_2_VERSION, len) > 0);
        CU_ASSERT_EQUAL(EVP_CipherUpdate(ctx, at + 5, &n, at + 5, len), 1);
        memcpy(back + got, at + 5 + 16, (size_t)n);
        got += (size_t)n;
        at += 5 + len;
    }
    return got;
}

static void multiblock_agrees(void)
{
    static unsigned char in[131072], out[2][140000], back[131072];

    RAND_bytes(in, (int)sizeof(in));
    for (size_t i = 0; i < 4; i++) {
        EVP_CIPHER_CTX *seal[] = {composite_open(pair_with_sealane, composites[i], 1, TLS1_2_VERSION),
                                  composite_open(pair_without, composites[i], 1, TLS1_2_VERSION)};
        EVP_CIPHER_CTX *open = composite_open(pair_without, composites[i], 0, TLS1_2_VERSION);
        for (unsigned round = 0; round < 120; round++) {
            unsigned wanted = round % 2 == 0 ? 4 : 8, seq = 250 + round * 16, records[2] = {wanted, wanted};
            size_t fragment = round < 100 ? 512 + random_below(2000) : 15872, len = wanted * fragment;
            int sealed[2], room = 0;
            bool as_libssl = round >= 50; /* it asks for the room that a fragment needs */
            if (as_libssl)
                room =
                    EVP_CIPHER_CTX_ctrl(seal[0], EVP_CTRL_TLS1_1_MULTIBLOCK_MAX_BUFSIZE, (int)fragment, NULL);
            for (int k = 0; k < 2; k++)
                sealed[k] = multiblock_seal(seal[k], seq, &records[k], in, len, out[k]);
            if (as_libssl) {
                CU_ASSERT_TRUE(sealed[0] <= room * (int)wanted);
            } else {
                CU_ASSERT_EQUAL(sealed[0], sealed[1]);
                CU_ASSERT_EQUAL(records[0], wanted);
            }
            CU_ASSERT_EQUAL(multiblock_open(open, seq, records[0], out[0], back), len);
            CU_ASSERT_EQUAL(memcmp(in, back, len), 0);
        }
        EVP_CIPHER_CTX_free(seal[0]);
        EVP_CIPHER_CTX_free(seal[1]);
        EVP_CIPHER_CTX_free(open);
    }
}

/* ---- libssl ---- */

static void certificate_make(EVP_PKEY **key, X509 **cert)
{
    *key = EVP_PKEY_Q_keygen(pair_without, NULL, "EC", "P-256");
    *cert = X509_new();
    X509_gmtime_adj(X509_getm_notBefore(*cert), 0);
    X509_gmtime_adj(X509_getm_notAfter(*cert), 3600);
    X509_set_pubkey(*cert, *key);
    X509_sign(*cert, *key, EVP_sha256());
}

typedef struct tls_end {
    SSL_CTX *ctx;
    SSL *ssl;
} tls_end;

static void tls_end_open(tls_end *end, OSSL_LIB_CTX *lib, bool server, int version, const char *suite,
                         EVP_PKEY *key, X509 *cert)
{
    end->ctx = SSL_CTX_new_ex(lib, NULL, server ? TLS_server_method() : TLS_client_method());
    SSL_CTX_set_options(end->ctx, SSL_OP_NO_ENCRYPT_THEN_MAC); /* with it no composite cipher is used */
    SSL_CTX_set_security_level(end->ctx, 0); /* CCM's short tag is below libssl's first level */
    SSL_CTX_set_min_proto_version(end->ctx, version);
    SSL_CTX_set_max_proto_version(end->ctx, version);
    if (version == TLS1_3_VERSION)
        CU_ASSERT_EQUAL(SSL_CTX_set_ciphersuites(end->ctx, suite), 1)
    else
        CU_ASSERT_EQUAL(SSL_CTX_set_cipher_list(end->ctx, suite), 1)
    if (server) {
        CU_ASSERT_EQUAL(SSL_CTX_use_certificate(end->ctx, cert), 1);
        CU_ASSERT_EQUAL(SSL_CTX_use_PrivateKey(end->ctx, key), 1);
    }
    end->ssl = SSL_new(end->ctx);
    if (server)
        SSL_set_accept_state(end->ssl);
    else
        SSL_set_connect_state(end->ssl);
}

static void tls_connect(tls_end *server, tls_end *client)
{
    BIO *a, *b;

    BIO_new_bio_pair(&a, 1 << 18, &b, 1 << 18);
    SSL_set_bio(server->ssl, a, a);
    SSL_set_bio(client->ssl, b, b);
    for (int i = 0; i < 20 && !(SSL_is_init_finished(server->ssl) && SSL_is_init_finished(client->ssl));
         i++) {
        SSL_do_handshake(client->ssl);
        SSL_do_handshake(server->ssl);
    }
    CU_ASSERT_TRUE(SSL_is_init_finished(server->ssl) && SSL_is_init_finished(client->ssl));
}

static void tls_send(SSL *from, SSL *to, int len)
{
    static unsigned char in[140000], out[140000];
    int got = 0;

    RAND_bytes(in, len);
    CU_ASSERT_EQUAL(SSL_write(from, in, len), len);
    while (got < len) {
        int n = SSL_read(to, out + got, len - got);
        CU_ASSERT_FATAL(n > 0);
        got += n;
    }
    CU_ASSERT_EQUAL(memcmp(in, out, (size_t)len), 0);
}

static void tls_talk(SSL *from, SSL *to)
{
    for (int round = 0; round < 60; round++) {
        tls_send(from, to, round < 30 ? 1 + round * 7 : 1 + (int)random_below(40000));
        if (round % 10 == 9 && SSL_version(from) == TLS1_3_VERSION)
            CU_ASSERT_EQUAL(SSL_key_update(from, SSL_KEY_UPDATE_REQUESTED), 1);
    }
}

static void tls_both_ways(OSSL_LIB_CTX *server_lib, OSSL_LIB_CTX *client_lib, int version, const char *suite)
{
    EVP_PKEY *key;
    X509 *cert;
    tls_end server, client;

    certificate_make(&key, &cert);
    tls_end_open(&server, server_lib, true, version, suite, key, cert);
    tls_end_open(&client, client_lib, false, version, suite, NULL, NULL);
    tls_connect(&server, &client);
    uint64_t before = provider_count(SEALANE_PARAM_RECORDS_SEALED);
    tls_talk(server.ssl, client.ssl);
    tls_talk(client.ssl, server.ssl);
    CU_ASSERT_TRUE(provider_count(SEALANE_PARAM_RECORDS_SEALED) >= before + 60);
    tls_end ends[] = {server, client};
    for (int i = 0; i < 2; i++) {
        SSL_free(ends[i].ssl);
        SSL_CTX_free(ends[i].ctx);
    }
    EVP_PKEY_free(key);
    X509_free(cert);
}

static void libssl_talks_to_libssl_without_us(void)
{
    static const struct {
        int version;
        const char *suite;
    } rows[] = {
        {TLS1_2_VERSION, "ECDHE-ECDSA-AES128-GCM-SHA256"}, {TLS1_2_VERSION, "ECDHE-ECDSA-AES256-GCM-SHA384"},
        {TLS1_3_VERSION, "TLS_AES_128_GCM_SHA256"},        {TLS1_3_VERSION, "TLS_AES_256_GCM_SHA384"},
        {TLS1_2_VERSION, "ECDHE-ECDSA-CHACHA20-POLY1305"}, {TLS1_3_VERSION, "TLS_CHACHA20_POLY1305_SHA256"},
        {TLS1_2_VERSION, "ECDHE-ECDSA-AES128-CCM"},        {TLS1_2_VERSION, "ECDHE-ECDSA-AES128-CCM8"},
        {TLS1_3_VERSION, "TLS_AES_128_CCM_SHA256"},        {TLS1_3_VERSION, "TLS_AES_128_CCM_8_SHA256"},
        {TLS1_1_VERSION, "ECDHE-ECDSA-AES128-SHA"},        {TLS1_2_VERSION, "ECDHE-ECDSA-AES128-SHA"},
        {TLS1_2_VERSION, "ECDHE-ECDSA-AES256-SHA"},        {TLS1_2_VERSION, "ECDHE-ECDSA-AES128-SHA256"},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        tls_both_ways(pair_with_sealane, pair_without, rows[i].version, rows[i].suite);
        tls_both_ways(pair_without, pair_with_sealane, rows[i].version, rows[i].suite);
    }
}

/* Long writes: libssl hands four or eight fragments at once to a cipher that can multiblock. */
static void long_writes_arrive(void)
{
    static const struct {
        int version;
        const char *suite;
    } rows[] = {
        {TLS1_2_VERSION, "ECDHE-ECDSA-AES128-GCM-SHA256"}, {TLS1_3_VERSION, "TLS_CHACHA20_POLY1305_SHA256"},
        {TLS1_1_VERSION, "ECDHE-ECDSA-AES256-SHA"},        {TLS1_2_VERSION, "ECDHE-ECDSA-AES128-SHA"},
        {TLS1_2_VERSION, "ECDHE-ECDSA-AES128-SHA256"},
    };
    static const int fragments[] = {512, 1000, 4096, 16384};

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        for (size_t f = 0; f < sizeof(fragments) / sizeof(fragments[0]); f++)
            for (int ours_sends = 0; ours_sends < 2; ours_sends++) {
                EVP_PKEY *key;
                X509 *cert;
                tls_end server, client;
                certificate_make(&key, &cert);
                tls_end_open(&server, ours_sends ? pair_with_sealane : pair_without, true, rows[i].version,
                             rows[i].suite, key, cert);
                tls_end_open(&client, ours_sends ? pair_without : pair_with_sealane, false, rows[i].version,
                             rows[i].suite, NULL, NULL);
                SSL_set_max_send_fragment(server.ssl, fragments[f]);
                if (f == 1)
                    SSL_set_tlsext_max_fragment_length(client.ssl, TLSEXT_max_fragment_length_1024);
                tls_connect(&server, &client);
                uint64_t before = provider_count(SEALANE_PARAM_RECORDS_SEALED);
                tls_send(server.ssl, client.ssl, 65536);
                if (ours_sends)
                    CU_ASSERT_TRUE(provider_count(SEALANE_PARAM_RECORDS_SEALED) - before >= 4);
                tls_send(server.ssl, client.ssl, 65535);
                tls_send(server.ssl, client.ssl, 131072 + 777);
                tls_end ends[] = {server, client};
                for (int k = 0; k < 2; k++) {
                    SSL_free(ends[k].ssl);
                    SSL_CTX_free(ends[k].ctx);
                }
                EVP_PKEY_free(key);
                X509_free(cert);
            }
}

static void the_provider_tells_who_sealed(void)
{
    const char *name = NULL;
    OSSL_PARAM params[] = {OSSL_PARAM_construct_utf8_ptr(SEALANE_PARAM_LAST_SEALED_BY, (char **)&name, 0),
                           OSSL_PARAM_construct_end()};

    CU_ASSERT_EQUAL(OSSL_PROVIDER_get_params(pair_sealane, params), 1);
    CU_ASSERT_PTR_NOT_NULL_FATAL(name);
    CU_ASSERT_STRING_NOT_EQUAL(name, "none");
}

int main(int argc, char **argv)
{
    static const check_case cases[] = {
        {"a fetched cipher has the default provider's properties", properties_agree},
        {"streaming gives what the default provider gives", streams_agree},
        {"a forged stream fails in final", stream_forgery_fails_in_final},
        {"an IV serves one message", an_iv_serves_one_message},
        {"an empty message has the same tag", an_empty_message_has_the_same_tag},
        {"TLS 1.3 records: libssl's call sequence", tls13_records_agree},
        {"TLS 1.2 records: libssl's call sequence", tls12_records_agree},
        {"libssl with us talks to libssl without us, both roles, KeyUpdate",
         libssl_talks_to_libssl_without_us},
        {"who asks for the IV gets the next record's, and the engine goes on", the_iv_can_be_asked_for},
        {"long writes and short fragments arrive", long_writes_arrive},
        {"AES-CBC with HMAC: each opens what the other sealed, and refuses the same forgeries",
         composite_records_agree},
        {"AES-CBC with HMAC, multiblock: there is room for what it says, and each record opens",
         multiblock_agrees},
        {"the provider tells which backend sealed", the_provider_tells_who_sealed},
    };
    pair_setup();
    int status = check_run("provider-records", cases, sizeof(cases) / sizeof(cases[0]), argc, argv);
    pair_teardown();
    return status;
}
