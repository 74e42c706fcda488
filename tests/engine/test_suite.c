/* SPDX-License-Identifier: Apache-2.0 */
/* The tables of suites and ciphers say what libssl and libcrypto say. */
#include "support.h"

#include <string.h>
#include <openssl/evp.h>
#include <openssl/ssl.h>
#include <sealane/record.h>

static void test_ciphers_are_libcryptos(void)
{
    for (sealane_cipher_id id = 0; id < SEALANE_CIPHERS; id++) {
        const sealane_cipher *cipher = sealane_cipher_get(id);
        EVP_CIPHER *evp = EVP_CIPHER_fetch(NULL, cipher->openssl_name, NULL);
        CU_ASSERT_PTR_NOT_NULL_FATAL(evp);
        CU_ASSERT_EQUAL(cipher->id, id);
        CU_ASSERT_EQUAL(cipher->key_len, EVP_CIPHER_get_key_length(evp));
        if (!cipher->length_first) /* CCM has many: 12 is set on each context */
            CU_ASSERT_EQUAL(SEALANE_NONCE_LEN, EVP_CIPHER_get_iv_length(evp));
        CU_ASSERT_EQUAL(cipher->length_first, EVP_CIPHER_get_mode(evp) == EVP_CIPH_CCM_MODE);
        CU_ASSERT(cipher->tag_len <= SEALANE_TAG_MAX && cipher->key_len <= SEALANE_KEY_MAX);
        EVP_CIPHER_free(evp);
    }
    CU_ASSERT_PTR_NULL(sealane_cipher_get(SEALANE_CIPHERS));
    CU_ASSERT_PTR_NULL(sealane_cipher_get((sealane_cipher_id)-1));
}

/* A row's names, version and cipher against libssl's own table, found by the value on the wire. */
static void check_suite(const sealane_suite *row, SSL *ssl)
{
    unsigned char wire[2] = {(unsigned char)(row->id >> 8), (unsigned char)row->id};
    const sealane_cipher *cipher = sealane_cipher_get(row->cipher);
    const SSL_CIPHER *theirs = SSL_CIPHER_find(ssl, wire);
    const EVP_CIPHER *evp = EVP_get_cipherbynid(SSL_CIPHER_get_cipher_nid(theirs));

    int mode = EVP_CIPHER_get_mode(evp); /* 0 of ChaCha20-Poly1305: RFC 7905 2 */

    CU_ASSERT_PTR_NOT_NULL_FATAL(theirs);
    CU_ASSERT_STRING_EQUAL(row->openssl_name, SSL_CIPHER_get_name(theirs));
    CU_ASSERT_STRING_EQUAL(row->name, SSL_CIPHER_standard_name(theirs));
    CU_ASSERT_EQUAL(row->id, SSL_CIPHER_get_protocol_id(theirs));
    CU_ASSERT_EQUAL(sealane_cipher_get(row->cipher)->key_len, EVP_CIPHER_get_key_length(evp));
    if (cipher->tls12_nonce == SEALANE_NONCE_RANDOM) {
        /* libssl says from which version on it has the suite, and the engine has it for TLS 1.2 alone. */
        CU_ASSERT_EQUAL(row->version, SEALANE_TLS1_2);
        CU_ASSERT_STRING_NOT_EQUAL(SSL_CIPHER_get_version(theirs), "TLSv1.3");
        CU_ASSERT_EQUAL(EVP_MD_get_size(EVP_get_digestbynid(SSL_CIPHER_get_digest_nid(theirs))),
                        cipher->tag_len);
        CU_ASSERT_EQUAL(sealane_suite_iv_len(row), 0);
        return;
    }
    CU_ASSERT_STRING_EQUAL(row->version == SEALANE_TLS1_3 ? "TLSv1.3" : "TLSv1.2",
                           SSL_CIPHER_get_version(theirs));
    CU_ASSERT_EQUAL(sealane_suite_iv_len(row), row->version == SEALANE_TLS1_3 || mode == 0 ? 12 : 4);
    CU_ASSERT_EQUAL(sealane_cipher_get(row->cipher)->tag_len, strstr(row->name, "CCM_8") != NULL ? 8 : 16);
}

static void test_suites_are_libssls(void)
{
    SSL_CTX *ctx = SSL_CTX_new(TLS_method());
    SSL *ssl = SSL_new(ctx);
    size_t count;
    const sealane_suite *rows = sealane_suites(&count);

    CU_ASSERT(count >= 40);
    for (size_t i = 0; i < count; i++)
        check_suite(&rows[i], ssl);
    SSL_free(ssl);
    SSL_CTX_free(ctx);
}

/* Every suite of `list` (ciphers(1)) whose standard name has `part` is a row; the number of them. */
static int suites_known(const char *list, const char *part)
{
    SSL_CTX *ctx = SSL_CTX_new(TLS_method());
    STACK_OF(SSL_CIPHER) * theirs;
    int known = 0;

    CU_ASSERT_EQUAL_FATAL(SSL_CTX_set_cipher_list(ctx, list), 1);
    CU_ASSERT_EQUAL_FATAL(SSL_CTX_set_ciphersuites(ctx, "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:"
                                                        "TLS_CHACHA20_POLY1305_SHA256:"
                                                        "TLS_AES_128_CCM_SHA256:TLS_AES_128_CCM_8_SHA256"),
                          1);
    theirs = SSL_CTX_get_ciphers(ctx);
    for (int i = 0; i < sk_SSL_CIPHER_num(theirs); i++) {
        const SSL_CIPHER *cipher = sk_SSL_CIPHER_value(theirs, i);
        if (strstr(SSL_CIPHER_standard_name(cipher), part) == NULL)
            continue;
        known++;
        CU_ASSERT_PTR_NOT_NULL(sealane_suite_find(SSL_CIPHER_get_protocol_id(cipher)));
    }
    SSL_CTX_free(ctx);
    return known;
}

/* A handshake never ends in a suite of these ciphers that the engine does not know. */
static void test_no_suite_is_missing(void)
{
    CU_ASSERT(suites_known("AESGCM:@SECLEVEL=0", "_AES_128_GCM") >= 7);
    CU_ASSERT(suites_known("AESGCM:@SECLEVEL=0", "_AES_256_GCM") >= 7);
    CU_ASSERT(suites_known("CHACHA20:@SECLEVEL=0", "_CHACHA20_POLY1305") >= 8);
    CU_ASSERT(suites_known("AESCCM:@SECLEVEL=0", "_AES_128_CCM") >= 12);
}

/* The same for AES-CBC, whose suites are what old mail servers have. */
static void test_no_cbc_suite_is_missing(void)
{
    SSL_CTX *ctx = SSL_CTX_new(TLS_method());
    STACK_OF(SSL_CIPHER) * theirs;
    int cbc = 0;

    CU_ASSERT_EQUAL_FATAL(SSL_CTX_set_cipher_list(ctx, "ALL:COMPLEMENTOFALL:@SECLEVEL=0"), 1);
    theirs = SSL_CTX_get_ciphers(ctx);
    for (int i = 0; i < sk_SSL_CIPHER_num(theirs); i++) {
        const SSL_CIPHER *cipher = sk_SSL_CIPHER_value(theirs, i);
        int nid = SSL_CIPHER_get_cipher_nid(cipher);
        if (nid != NID_aes_128_cbc && nid != NID_aes_256_cbc)
            continue;
        cbc++;
        CU_ASSERT_PTR_NOT_NULL(sealane_suite_find(SSL_CIPHER_get_protocol_id(cipher)));
    }
    CU_ASSERT(cbc >= 16);
    SSL_CTX_free(ctx);
}

static void test_find_gives_the_row_or_nothing(void)
{
    size_t count, found = 0;
    const sealane_suite *rows = sealane_suites(&count);

    for (size_t i = 0; i < count; i++)
        CU_ASSERT_PTR_EQUAL(sealane_suite_find(rows[i].id), &rows[i]);
    for (unsigned id = 0; id <= UINT16_MAX; id++)
        found += sealane_suite_find((uint16_t)id) != NULL;
    CU_ASSERT_EQUAL(found, count);
}

int main(void)
{
    static const CU_TestInfo tests[] = {
        {"ciphers are libcrypto's", test_ciphers_are_libcryptos},
        {"suites are libssl's", test_suites_are_libssls},
        {"no suite of libssl is missing", test_no_suite_is_missing},
        {"no AES-CBC suite of libssl is missing", test_no_cbc_suite_is_missing},
        {"find gives the row or nothing", test_find_gives_the_row_or_nothing},
        CU_TEST_INFO_NULL,
    };
    return suite_run("suite", tests);
}
