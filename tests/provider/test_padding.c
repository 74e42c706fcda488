/* SPDX-License-Identifier: Apache-2.0 */
/*
 * provider/rsa_padding.c against libcrypto: what one encodes the other decodes; what is wrong is refused, or gets what
 * the rules say. Under valgrind (secrets): no branch and no address depends on the encoded message, up to the length
 * that is returned.
 */
#include <stdbool.h>
#include <stdlib.h>
#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <openssl/rand.h>
#include <openssl/rsa.h>
#include "check.h"
#include "rsa_padding.h"

static EVP_PKEY *pair;
static size_t k;

static int cipher(bool decrypt, int padding, const char *hash, const char *mgf, const char *label,
                  const uint8_t *in, size_t in_len, uint8_t *out, size_t *out_len)
{
    EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new(pair, NULL);
    OSSL_PARAM params[5], *p = params;

    *p++ = OSSL_PARAM_construct_int(OSSL_ASYM_CIPHER_PARAM_PAD_MODE, &padding);
    if (hash != NULL) {
        *p++ = OSSL_PARAM_construct_utf8_string(OSSL_ASYM_CIPHER_PARAM_OAEP_DIGEST, (char *)hash, 0);
        *p++ = OSSL_PARAM_construct_utf8_string(OSSL_ASYM_CIPHER_PARAM_MGF1_DIGEST, (char *)mgf, 0);
        *p++ = OSSL_PARAM_construct_octet_string(OSSL_ASYM_CIPHER_PARAM_OAEP_LABEL, (char *)label,
                                                 strlen(label));
    }
    *p = OSSL_PARAM_construct_end();
    int ok = (decrypt ? EVP_PKEY_decrypt_init_ex(ctx, params) : EVP_PKEY_encrypt_init_ex(ctx, params)) == 1 &&
             (decrypt ? EVP_PKEY_decrypt(ctx, out, out_len, in, in_len)
                      : EVP_PKEY_encrypt(ctx, out, out_len, in, in_len)) == 1;
    EVP_PKEY_CTX_free(ctx);
    return ok;
}

/* Encrypts with a padding of libcrypto's and takes the padded block out again. */
static void block_make(int padding, const char *hash, const char *mgf, const char *label, const uint8_t *in,
                       size_t len, uint8_t *em)
{
    uint8_t secret[RSA_BYTES_MAX];
    size_t secret_len = sizeof(secret), em_len = RSA_BYTES_MAX;

    CU_ASSERT_TRUE_FATAL(cipher(false, padding, hash, mgf, label, in, len, secret, &secret_len));
    CU_ASSERT_TRUE_FATAL(cipher(true, RSA_NO_PADDING, NULL, NULL, NULL, secret, secret_len, em, &em_len));
    CU_ASSERT_EQUAL_FATAL(em_len, k);
}

static void pkcs1_is_removed(void)
{
    uint8_t message[RSA_BYTES_MAX], em[RSA_BYTES_MAX], out[RSA_BYTES_MAX], secret[REJECTION_LEN] = {1};

    RAND_bytes(message, sizeof(message));
    for (size_t len = 0; len <= k - 11; len += 7) {
        block_make(RSA_PKCS1_PADDING, NULL, NULL, NULL, message, len, em);
        size_t got = sizeof(out);
        CU_ASSERT_TRUE(pkcs1_take(NULL, out, &got, em, k, em, secret));
        CU_ASSERT_TRUE(got == len && memcmp(out, message, len) == 0);
        got = sizeof(out);
        CU_ASSERT_TRUE(pkcs1_take_or_fail(out, &got, em, k) && got == len && memcmp(out, message, len) == 0);
        if (len > 0) {
            got = len - 1;
            CU_ASSERT_FALSE(pkcs1_take_or_fail(out, &got, em, k));
        }
    }
}

/* Each is one byte away from a good block. */
static void spoil(uint8_t *em, size_t separator, int how)
{
    switch (how) {
    case 0:
        em[0] = 1;
        break;
    case 1:
        em[1] = 1;
        break;
    case 2:
        em[9] = 0; /* seven bytes of padding */
        break;
    case 3:
        em[separator] = 1; /* and no zero behind it */
        break;
    }
}

static void bad_pkcs1_gets_an_invented_message(void)
{
    uint8_t message[32], good[RSA_BYTES_MAX], em[RSA_BYTES_MAX], first[RSA_BYTES_MAX], again[RSA_BYTES_MAX];
    uint8_t secret[REJECTION_LEN] = {1}, other[REJECTION_LEN] = {2}, ciphertext[RSA_BYTES_MAX] = {0};

    memset(message, 0x55, sizeof(message));
    block_make(RSA_PKCS1_PADDING, NULL, NULL, NULL, message, sizeof(message), good);
    size_t separator = k - sizeof(message) - 1;
    for (int how = 0; how < 4; how++) {
        size_t len = sizeof(first), len_again = sizeof(again);
        memcpy(em, good, k);
        spoil(em, separator, how);
        CU_ASSERT_FALSE(pkcs1_take_or_fail(first, &len, em, k));
        len = sizeof(first);
        CU_ASSERT_TRUE(pkcs1_take(NULL, first, &len, em, k, ciphertext, secret));
        CU_ASSERT_TRUE(pkcs1_invent(NULL, again, &len_again, k, ciphertext, secret));
        CU_ASSERT_TRUE(len == len_again && memcmp(first, again, len) == 0); /* the same, whatever was wrong */
        CU_ASSERT_FALSE(len == sizeof(message) && memcmp(first, message, len) == 0);
        len_again = sizeof(again);
        CU_ASSERT_TRUE(pkcs1_invent(NULL, again, &len_again, k, ciphertext, other));
        CU_ASSERT_FALSE(len == len_again && memcmp(first, again, len) == 0);
    }
}

static void invented_lengths_are_spread_over_all(void)
{
    uint8_t out[RSA_BYTES_MAX], secret[REJECTION_LEN] = {3}, ciphertext[RSA_BYTES_MAX] = {0};
    unsigned quarter[4] = {0};

    for (unsigned i = 0; i < 2000; i++) {
        size_t len = sizeof(out);
        memcpy(ciphertext, &i, sizeof(i));
        CU_ASSERT_TRUE(pkcs1_invent(NULL, out, &len, k, ciphertext, secret));
        CU_ASSERT_TRUE(len <= k - 11);
        quarter[len * 4 / (k - 10)]++;
    }
    for (int i = 0; i < 4; i++)
        CU_ASSERT_TRUE(quarter[i] > 350 && quarter[i] < 650);
}

static void premaster_is_real_or_random(void)
{
    uint8_t premaster[PREMASTER_LEN], random[PREMASTER_LEN], em[RSA_BYTES_MAX], good[RSA_BYTES_MAX],
        out[PREMASTER_LEN];

    RAND_bytes(premaster, sizeof(premaster));
    RAND_bytes(random, sizeof(random));
    premaster[0] = premaster[1] = 3;
    block_make(RSA_PKCS1_PADDING, NULL, NULL, NULL, premaster, sizeof(premaster), good);
    premaster_take(out, good, k, 0x0303, 0, random);
    CU_ASSERT_EQUAL(memcmp(out, premaster, sizeof(out)), 0);
    premaster_take(out, good, k, 0x0302, 0, random); /* rolled back */
    CU_ASSERT_EQUAL(memcmp(out, random, sizeof(out)), 0);
    premaster_take(out, good, k, 0x0302, 0x0303, random);
    CU_ASSERT_EQUAL(memcmp(out, premaster, sizeof(out)), 0);
    for (int how = 0; how < 4; how++) {
        memcpy(em, good, k);
        spoil(em, k - PREMASTER_LEN - 1, how);
        premaster_take(out, em, k, 0x0303, 0, random);
        CU_ASSERT_EQUAL(memcmp(out, random, sizeof(out)), 0);
    }
    for (size_t len = 47; len <= 49; len += 2) { /* good padding, wrong length */
        block_make(RSA_PKCS1_PADDING, NULL, NULL, NULL, good, len, em);
        premaster_take(out, em, k, 0x0303, 0, random);
        CU_ASSERT_EQUAL(memcmp(out, random, sizeof(out)), 0);
    }
    premaster_choose(out, premaster, 48, true, 0x0303, 0, random);
    CU_ASSERT_EQUAL(memcmp(out, premaster, sizeof(out)), 0);
    premaster_choose(out, premaster, 48, false, 0x0303, 0, random);
    CU_ASSERT_EQUAL(memcmp(out, random, sizeof(out)), 0);
    premaster_choose(out, premaster, 47, true, 0x0303, 0, random);
    CU_ASSERT_EQUAL(memcmp(out, random, sizeof(out)), 0);
}

static void oaep_is_removed(void)
{
    static const struct {
        const char *hash, *mgf, *label;
    } cases[] = {{"SHA1", "SHA1", ""},
                 {"SHA256", "SHA256", ""},
                 {"SHA512", "SHA1", "a label"},
                 {"SHA384", "SHA256", "b"}};
    uint8_t message[RSA_BYTES_MAX], em[RSA_BYTES_MAX], copy[RSA_BYTES_MAX], out[RSA_BYTES_MAX];

    RAND_bytes(message, sizeof(message));
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        EVP_MD *hash = EVP_MD_fetch(NULL, cases[i].hash, NULL), *mgf = EVP_MD_fetch(NULL, cases[i].mgf, NULL);
        const uint8_t *label = (const uint8_t *)cases[i].label;
        size_t most = k - 2 * (size_t)EVP_MD_get_size(hash) - 2;
        for (size_t len = 0; len <= most; len += most / 4) {
            size_t got = sizeof(out);
            block_make(RSA_PKCS1_OAEP_PADDING, cases[i].hash, cases[i].mgf, cases[i].label, message, len, em);
            memcpy(copy, em, k);
            CU_ASSERT_TRUE(oaep_take(out, &got, copy, k, hash, mgf, label, strlen(cases[i].label)));
            CU_ASSERT_TRUE(got == len && memcmp(out, message, len) == 0);
            for (size_t at = 0; at < k; at += 17) {
                got = sizeof(out);
                memcpy(copy, em, k);
                copy[at] ^= 1;
                CU_ASSERT_FALSE(oaep_take(out, &got, copy, k, hash, mgf, label, strlen(cases[i].label)));
            }
            memcpy(copy, em, k);
            CU_ASSERT_FALSE(oaep_take(out, &got, copy, k, hash, mgf, (const uint8_t *)"another", 7));
        }
        EVP_MD_free(hash);
        EVP_MD_free(mgf);
    }
}

/* The made block, signed bare by libcrypto, is a PSS signature to libcrypto. */
static bool pss_verifies(EVP_PKEY *key, const char *hash_name, const char *mgf_name, int salt_len)
{
    EVP_MD *hash = EVP_MD_fetch(NULL, hash_name, NULL), *mgf = EVP_MD_fetch(NULL, mgf_name, NULL);
    uint8_t digest[EVP_MAX_MD_SIZE], em[RSA_BYTES_MAX], sig[RSA_BYTES_MAX];
    size_t len = (size_t)EVP_PKEY_get_size(key), sig_len = sizeof(sig);
    EVP_PKEY_CTX *sign = EVP_PKEY_CTX_new(key, NULL), *verify = EVP_PKEY_CTX_new(key, NULL);

    RAND_bytes(digest, sizeof(digest));
    bool ok = pss_make(em, len, (unsigned)EVP_PKEY_get_bits(key), digest, hash, mgf, (size_t)salt_len) &&
              EVP_PKEY_sign_init(sign) == 1 && EVP_PKEY_CTX_set_rsa_padding(sign, RSA_NO_PADDING) == 1 &&
              EVP_PKEY_sign(sign, sig, &sig_len, em, len) == 1 && EVP_PKEY_verify_init(verify) == 1 &&
              EVP_PKEY_CTX_set_rsa_padding(verify, RSA_PKCS1_PSS_PADDING) == 1 &&
              EVP_PKEY_CTX_set_signature_md(verify, hash) == 1 &&
              EVP_PKEY_CTX_set_rsa_mgf1_md(verify, mgf) == 1 &&
              EVP_PKEY_CTX_set_rsa_pss_saltlen(verify, salt_len) == 1 &&
              EVP_PKEY_verify(verify, sig, sig_len, digest, (size_t)EVP_MD_get_size(hash)) == 1;
    EVP_PKEY_CTX_free(sign);
    EVP_PKEY_CTX_free(verify);
    EVP_MD_free(hash);
    EVP_MD_free(mgf);
    return ok;
}

static void pss_is_made(void)
{
    for (unsigned bits = 1024; bits <= 1032; bits++) { /* every alignment of the topmost bit */
        EVP_PKEY *key = EVP_RSA_gen(bits);
        CU_ASSERT_TRUE(pss_verifies(key, "SHA256", "SHA256", 32));
        CU_ASSERT_TRUE(pss_verifies(key, "SHA384", "SHA1", 0));
        CU_ASSERT_TRUE(pss_verifies(key, "SHA256", "SHA512", (int)((bits - 1 + 7) / 8) - 34));
        CU_ASSERT_FALSE(pss_verifies(key, "SHA256", "SHA256", (int)((bits - 1 + 7) / 8) - 33));
        EVP_PKEY_free(key);
    }
}

int main(int argc, char **argv)
{
    static const check_case cases[] = {
        {"PKCS#1 v1.5 is removed", pkcs1_is_removed},
        {"bad PKCS#1 v1.5 gets an invented message", bad_pkcs1_gets_an_invented_message},
        {"invented lengths are spread over all", invented_lengths_are_spread_over_all},
        {"a premaster secret is the real one or random", premaster_is_real_or_random},
        {"OAEP is removed", oaep_is_removed},
        {"PSS is made", pss_is_made},
    };
    pair = EVP_RSA_gen(2048);
    k = 256;
    int failed = check_run("provider-padding", cases, sizeof(cases) / sizeof(cases[0]), argc, argv);
    EVP_PKEY_free(pair);
    return failed;
}
