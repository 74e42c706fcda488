/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The record half of sealane.so, loaded by libcrypto as an application has it: a cipher used through EVP gives
 * what the default provider gives, and libssl on one side talks to libssl with the default provider on the
 * other.
 */
#include <stdbool.h>
#include <stdlib.h>
#include <openssl/evp.h>
#include <openssl/provider.h>
#include <openssl/rand.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>
#include "check.h"
#include "provider_pair.h"

static const char *const names[] = {"AES-128-GCM", "AES-256-GCM", "ChaCha20-Poly1305", "AES-128-CCM"};

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

static void tls_talk(SSL *from, SSL *to)
{
    static unsigned char in[40000], out[40000];

    RAND_bytes(in, sizeof(in));
    for (int round = 0; round < 60; round++) {
        int len = round < 30 ? 1 + round * 7 : 1 + (int)random_below(40000), got = 0;
        CU_ASSERT_EQUAL(SSL_write(from, in, len), len);
        while (got < len) {
            int n = SSL_read(to, out + got, len - got);
            CU_ASSERT_FATAL(n > 0);
            got += n;
        }
        CU_ASSERT_EQUAL(memcmp(in, out, (size_t)len), 0);
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
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        tls_both_ways(pair_with_sealane, pair_without, rows[i].version, rows[i].suite);
        tls_both_ways(pair_without, pair_with_sealane, rows[i].version, rows[i].suite);
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
        {"the provider tells which backend sealed", the_provider_tells_who_sealed},
    };
    pair_setup();
    int status = check_run("provider-records", cases, sizeof(cases) / sizeof(cases[0]), argc, argv);
    pair_teardown();
    return status;
}
