/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The record layer against libssl: a handshake over memory BIOs, then the engine opens what libssl wrote, on
 * the keys that libssl's key log gives, and libssl reads what the engine sealed. Each suite, both directions.
 */
#include "support_libssl.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <openssl/kdf.h>
#include <openssl/params.h>
#include <sealane/record.h>

#define STREAM_MAX  (1 << 20)
#define PAYLOAD_MAX 16384
#define ROUNDS      40

/* One connection; `secrets` are TLS 1.3's, from the key log. */
struct pair {
    SSL_CTX *ctx[2];
    SSL *ssl[2];
    const sealane_suite *suite;
    const EVP_MD *digest;
    bool encrypt_then_mac; /* CBC: offered; libssl takes it if both sides do */
    uint8_t secrets[2][EVP_MAX_MD_SIZE];
    sealane_key *opens[2]; /* opens what that side of libssl writes */
    sealane_key *seals[2]; /* seals in the name of that side; takes over its sequence */
};

static struct pair *logging; /* the key log callback has no argument of ours */

static void keylog(const SSL *ssl, const char *line)
{
    static const char *const labels[2] = {"CLIENT_TRAFFIC_SECRET_0 ", "SERVER_TRAFFIC_SECRET_0 "};

    (void)ssl;
    for (int side = CLIENT; side <= SERVER; side++) {
        const char *hex = strrchr(line, ' ') + 1;
        if (strncmp(line, labels[side], strlen(labels[side])) != 0)
            continue;
        for (size_t i = 0; hex[2 * i] != '\0'; i++) {
            unsigned byte = 0;
            CU_ASSERT_EQUAL_FATAL(sscanf(hex + 2 * i, "%2x", &byte), 1);
            logging->secrets[side][i] = (uint8_t)byte;
        }
    }
}

/* All that one side has written goes to the other. */
static void move(struct pair *p, int from)
{
    static uint8_t buffer[STREAM_MAX];
    int len;

    while ((len = BIO_read(SSL_get_wbio(p->ssl[from]), buffer, sizeof(buffer))) > 0)
        CU_ASSERT_EQUAL(BIO_write(SSL_get_rbio(p->ssl[!from]), buffer, len), len);
}

static void handshake(struct pair *p)
{
    for (int turn = 0;
         turn < 10 && !(SSL_is_init_finished(p->ssl[CLIENT]) && SSL_is_init_finished(p->ssl[SERVER]));
         turn++) {
        (void)SSL_do_handshake(p->ssl[CLIENT]);
        move(p, CLIENT);
        (void)SSL_do_handshake(p->ssl[SERVER]);
        /* TLS 1.3's tickets stay in the server's BIO: they are the first records for the engine. */
        if (!SSL_is_init_finished(p->ssl[SERVER]) || !SSL_is_init_finished(p->ssl[CLIENT]))
            move(p, SERVER);
    }
    CU_ASSERT_FATAL(SSL_is_init_finished(p->ssl[CLIENT]) && SSL_is_init_finished(p->ssl[SERVER]));
}

static void kdf_run(const char *name, const OSSL_PARAM params[], uint8_t *out, size_t len)
{
    EVP_KDF *kdf = EVP_KDF_fetch(NULL, name, NULL);
    EVP_KDF_CTX *ctx = EVP_KDF_CTX_new(kdf);

    CU_ASSERT_EQUAL_FATAL(EVP_KDF_derive(ctx, out, len, params), 1);
    EVP_KDF_CTX_free(ctx);
    EVP_KDF_free(kdf);
}

static OSSL_PARAM octets(const char *name, const void *bytes, size_t len)
{
    return OSSL_PARAM_construct_octet_string(name, (void *)(uintptr_t)bytes, len);
}

/* RFC 8446 7.1 and 7.3 */
static void expand_label(const struct pair *p, int side, const char *label, uint8_t *out, size_t len)
{
    int mode = EVP_KDF_HKDF_MODE_EXPAND_ONLY;
    OSSL_PARAM params[] = {
        OSSL_PARAM_construct_int(OSSL_KDF_PARAM_MODE, &mode),
        OSSL_PARAM_construct_utf8_string(OSSL_KDF_PARAM_DIGEST,
                                         (char *)(uintptr_t)EVP_MD_get0_name(p->digest), 0),
        octets(OSSL_KDF_PARAM_KEY, p->secrets[side], (size_t)EVP_MD_get_size(p->digest)),
        octets(OSSL_KDF_PARAM_PREFIX, "tls13 ", 6),
        octets(OSSL_KDF_PARAM_LABEL, label, strlen(label)),
        OSSL_PARAM_construct_end(),
    };

    kdf_run("TLS13-KDF", params, out, len);
}

/* RFC 5246 6.3: MAC keys of client and server (CBC), their keys, their IVs (AEADs). */
static void key_block(const struct pair *p, uint8_t *out, size_t len)
{
    uint8_t master[SSL_MAX_MASTER_KEY_LENGTH], randoms[2][SSL3_RANDOM_SIZE];
    size_t master_len = SSL_SESSION_get_master_key(SSL_get_session(p->ssl[SERVER]), master, sizeof(master));
    OSSL_PARAM params[] = {
        OSSL_PARAM_construct_utf8_string(OSSL_KDF_PARAM_DIGEST,
                                         (char *)(uintptr_t)EVP_MD_get0_name(p->digest), 0),
        octets(OSSL_KDF_PARAM_SECRET, master, master_len),
        octets(OSSL_KDF_PARAM_SEED, "key expansion", 13),
        octets(OSSL_KDF_PARAM_SEED, randoms[0], SSL3_RANDOM_SIZE),
        octets(OSSL_KDF_PARAM_SEED, randoms[1], SSL3_RANDOM_SIZE),
        OSSL_PARAM_construct_end(),
    };

    SSL_get_server_random(p->ssl[SERVER], randoms[0], SSL3_RANDOM_SIZE);
    SSL_get_client_random(p->ssl[SERVER], randoms[1], SSL3_RANDOM_SIZE);
    kdf_run("TLS1-PRF", params, out, len);
}

static void traffic_key(const struct pair *p, int side, const sealane_key_params *lengths, uint8_t *mac_key,
                        uint8_t *key, uint8_t *iv)
{
    uint8_t block[2 * (SEALANE_MAC_MAX + SEALANE_KEY_MAX + SEALANE_NONCE_LEN)], *at = block;
    const size_t mac_len = lengths->mac_key_len, key_len = lengths->key_len, iv_len = lengths->iv_len;

    if (p->suite->version == SEALANE_TLS1_3) {
        expand_label(p, side, "key", key, key_len);
        expand_label(p, side, "iv", iv, iv_len);
        return;
    }
    key_block(p, block, 2 * (mac_len + key_len + iv_len));
    memcpy(mac_key, at + (size_t)side * mac_len, mac_len);
    at += 2 * mac_len;
    memcpy(key, at + (size_t)side * key_len, key_len);
    at += 2 * key_len;
    memcpy(iv, at + (size_t)side * iv_len, iv_len);
}

/* TLS 1.2 has sealed Finished under these keys already. */
static sealane_key *key_make(const struct pair *p, int side, sealane_direction direction, uint64_t sequence)
{
    const sealane_cipher *cipher = sealane_cipher_get(p->suite->cipher);
    uint8_t key[SEALANE_KEY_MAX], iv[SEALANE_NONCE_LEN], mac_key[SEALANE_MAC_MAX];
    sealane_key_params params = {.suite = p->suite,
                                 .direction = direction,
                                 .key = key,
                                 .key_len = cipher->key_len,
                                 .iv = iv,
                                 .iv_len = sealane_suite_iv_len(p->suite),
                                 .sequence = sequence,
                                 .explicit_nonce =
                                     UINT64_MAX - 5, /* wraps on the way: any unused value will do */
                                 .mac_key = mac_key,
                                 .encrypt_then_mac = p->encrypt_then_mac};
    sealane_key *made = NULL;

    if (cipher->tls12_nonce == SEALANE_NONCE_RANDOM)
        params.mac_key_len = cipher->tag_len;
    traffic_key(p, side, &params, mac_key, key, iv);
    CU_ASSERT_EQUAL_FATAL(sealane_key_new(&made, &params), SEALANE_OK);
    return made;
}

/* The PRF's digest. TLS 1.2 gives SHA-256 to suites from before it (RFC 5246 5). */
static const EVP_MD *digest_of(const SSL *ssl)
{
    const EVP_MD *digest = SSL_CIPHER_get_handshake_digest(SSL_get_current_cipher(ssl));

    return EVP_MD_is_a(digest, "MD5-SHA1") ? EVP_sha256() : digest;
}

static void pair_start(struct pair *p, uint16_t suite, bool encrypt_then_mac)
{
    logging = p;
    memset(p, 0, sizeof(*p));
    p->suite = sealane_suite_find(suite);
    p->encrypt_then_mac = encrypt_then_mac;
    for (int side = CLIENT; side <= SERVER; side++) {
        p->ctx[side] = SSL_CTX_new(side == CLIENT ? TLS_client_method() : TLS_server_method());
        SSL_CTX_set_min_proto_version(p->ctx[side], p->suite->version);
        SSL_CTX_set_max_proto_version(p->ctx[side], p->suite->version);
        SSL_CTX_set_security_level(p->ctx[side], 0); /* CCM_8's short tag counts as 64 bits */
        if (p->suite->version == SEALANE_TLS1_3) {
            CU_ASSERT_EQUAL_FATAL(SSL_CTX_set_ciphersuites(p->ctx[side], p->suite->openssl_name), 1);
        } else {
            CU_ASSERT_EQUAL_FATAL(SSL_CTX_set_cipher_list(p->ctx[side], p->suite->openssl_name), 1);
        }
        SSL_CTX_set_block_padding(p->ctx[side], 256);
        SSL_CTX_set_security_level(p->ctx[side], 0); /* anonymous suites too */
        SSL_CTX_set_dh_auto(p->ctx[side], 1);
        if (!encrypt_then_mac)
            SSL_CTX_set_options(p->ctx[side], SSL_OP_NO_ENCRYPT_THEN_MAC);
    }
    SSL_CTX_set_keylog_callback(p->ctx[SERVER], keylog);
    certificate_use(p->ctx[SERVER], false);
    for (int side = CLIENT; side <= SERVER; side++) {
        p->ssl[side] = SSL_new(p->ctx[side]);
        SSL_set_bio(p->ssl[side], BIO_new(BIO_s_mem()), BIO_new(BIO_s_mem()));
    }
    SSL_set_connect_state(p->ssl[CLIENT]);
    SSL_set_accept_state(p->ssl[SERVER]);
    handshake(p);
    CU_ASSERT_EQUAL_FATAL(SSL_CIPHER_get_protocol_id(SSL_get_current_cipher(p->ssl[SERVER])), suite);
    p->digest = digest_of(p->ssl[SERVER]);
    for (int side = CLIENT; side <= SERVER; side++)
        p->opens[side] = key_make(p, side, SEALANE_OPENING, p->suite->version == SEALANE_TLS1_2);
}

static void pair_end(struct pair *p)
{
    for (int side = CLIENT; side <= SERVER; side++) {
        sealane_key_free(p->opens[side]);
        sealane_key_free(p->seals[side]);
        SSL_free(p->ssl[side]);
        SSL_CTX_free(p->ctx[side]);
    }
}

/*
 * Takes what libssl has written on one side, opens it as one batch of records, hands the payload of
 * application data to `out`, and the records on to the other libssl. Returns the payload's length; counts the
 * others.
 */
static size_t open_written(struct pair *p, int side, uint8_t *out, size_t *handshakes)
{
    static uint8_t stream[STREAM_MAX], plain[64][PAYLOAD_MAX + 512];
    sealane_open_op ops[64];
    size_t count = 0, total = 0;
    int len = BIO_read(SSL_get_wbio(p->ssl[side]), stream, sizeof(stream));

    for (size_t at = 0; len > 0 && at < (size_t)len; at += ops[count++].record_len) {
        ops[count] = (sealane_open_op){.key = p->opens[side],
                                       .record = stream + at,
                                       .out = plain[count],
                                       .out_size = sizeof(plain[count])};
        CU_ASSERT_EQUAL_FATAL(
            sealane_record_length(p->opens[side], stream + at, (size_t)len - at, &ops[count].record_len),
            SEALANE_OK);
        CU_ASSERT_FATAL(at + ops[count].record_len <= (size_t)len && count + 1 < COUNT(ops));
    }
    sealane_batch_open(ops, count);
    for (size_t i = 0; i < count; i++) {
        CU_ASSERT_EQUAL(ops[i].result, SEALANE_OK);
        *handshakes += ops[i].type == SEALANE_HANDSHAKE;
        if (ops[i].type != SEALANE_APPLICATION_DATA)
            continue;
        memcpy(out + total, ops[i].out, ops[i].payload_len);
        total += ops[i].payload_len;
    }
    if (len > 0)
        CU_ASSERT_EQUAL(BIO_write(SSL_get_rbio(p->ssl[!side]), stream, len), len);
    return total;
}

static uint8_t data[64 * 1024], got[STREAM_MAX];

static void read_exactly(SSL *ssl, const uint8_t *expected, size_t len)
{
    size_t total = 0, part = 0;

    while (total < len && SSL_read_ex(ssl, got + total, sizeof(got) - total, &part) == 1)
        total += part;
    CU_ASSERT_EQUAL(total, len);
    CU_ASSERT_EQUAL(memcmp(got, expected, len), 0);
}

/* libssl writes, the engine opens; libssl's own peer still reads the same. */
static void libssl_writes(struct pair *p, prng *random)
{
    size_t handshakes[2] = {0, 0}, written;

    for (int round = 0; round < ROUNDS; round++)
        for (int side = CLIENT; side <= SERVER; side++) {
            size_t len = 1 + prng_below(random, round % 8 == 7 ? sizeof(data) : 3000);
            prng_fill(random, data, len);
            CU_ASSERT_EQUAL(SSL_write_ex(p->ssl[side], data, len, &written), 1);
            CU_ASSERT_EQUAL(open_written(p, side, got, &handshakes[side]), len);
            CU_ASSERT_EQUAL(memcmp(got, data, len), 0);
            read_exactly(p->ssl[!side], data, len);
        }
    /* TLS 1.3: two tickets of the server came first. */
    CU_ASSERT_EQUAL(handshakes[CLIENT], 0);
    CU_ASSERT_EQUAL(handshakes[SERVER], p->suite->version == SEALANE_TLS1_3 ? 2 : 0);
}

/* The engine goes on in the name of a side, from the sequence where libssl stopped, padding included. */
static void engine_writes(struct pair *p, prng *random)
{
    static uint8_t record[SEALANE_RECORD_MAX];

    for (int side = CLIENT; side <= SERVER; side++)
        p->seals[side] = key_make(p, side, SEALANE_SEALING, sealane_key_sequence(p->opens[side]));
    for (int round = 0; round < ROUNDS; round++)
        for (int side = CLIENT; side <= SERVER; side++) {
            size_t len = round == 0 ? PAYLOAD_MAX : 1 + prng_below(random, 3000), half = len / 2;
            struct iovec pieces[2] = {{data, half}, {data + half, len - half}};
            sealane_seal_op op = {.key = p->seals[side],
                                  .payload = pieces,
                                  .payload_count = 2,
                                  .out = record,
                                  .out_size = sizeof(record),
                                  .type = SEALANE_APPLICATION_DATA};
            if (p->suite->version == SEALANE_TLS1_3 && round > 0)
                op.padding = prng_below(random, 1000);
            prng_fill(random, data, len);
            CU_ASSERT_EQUAL(sealane_record_seal(&op), SEALANE_OK);
            CU_ASSERT_EQUAL(BIO_write(SSL_get_rbio(p->ssl[!side]), record, (int)op.out_len), (int)op.out_len);
            read_exactly(p->ssl[!side], data, len);
        }
}

/* An alert of ours ends libssl's connection as its own would. */
static void engine_closes(struct pair *p)
{
    static const uint8_t close_notify[2] = {1, 0}; /* RFC 8446 6 */
    uint8_t record[128];
    struct iovec piece = {(void *)(uintptr_t)close_notify, sizeof(close_notify)};
    sealane_seal_op op = {.key = p->seals[SERVER],
                          .payload = &piece,
                          .payload_count = 1,
                          .out = record,
                          .out_size = sizeof(record),
                          .type = SEALANE_ALERT};
    size_t part;

    CU_ASSERT_EQUAL(sealane_record_seal(&op), SEALANE_OK);
    CU_ASSERT_EQUAL(BIO_write(SSL_get_rbio(p->ssl[CLIENT]), record, (int)op.out_len), (int)op.out_len);
    CU_ASSERT_EQUAL(SSL_read_ex(p->ssl[CLIENT], got, sizeof(got), &part), 0);
    CU_ASSERT_EQUAL(SSL_get_shutdown(p->ssl[CLIENT]), SSL_RECEIVED_SHUTDOWN);
}

static void check(uint16_t suite, bool encrypt_then_mac)
{
    prng random = {suite};
    struct pair p;

    pair_start(&p, suite, encrypt_then_mac);
    libssl_writes(&p, &random);
    engine_writes(&p, &random);
    engine_closes(&p);
    pair_end(&p);
}

static void check_suite(uint16_t suite)
{
    check(suite, false);
}

static void check_cbc(uint16_t suite)
{
    check(suite, false);
    check(suite, true);
}

static void test_tls13_aes128(void)
{
    check_suite(0x1301);
}
static void test_tls13_aes256(void)
{
    check_suite(0x1302);
}
static void test_tls12_aes128(void)
{
    check_suite(0xc02b);
}
static void test_tls12_aes256(void)
{
    check_suite(0xc02c);
}
static void test_cbc_128_sha1(void)
{
    check_cbc(0xc009);
}
static void test_cbc_256_sha1(void)
{
    check_cbc(0xc00a);
}
static void test_cbc_128_sha256(void)
{
    check_cbc(0xc023);
}
static void test_cbc_256_sha256(void)
{
    check_cbc(0x006d); /* anonymous: no suite with our kind of certificate has it */
}
static void test_cbc_256_sha384(void)
{
    check_cbc(0xc024);
}

static void test_tls13_chacha20(void)
{
    check_suite(0x1303);
}
static void test_tls13_ccm(void)
{
    check_suite(0x1304);
}
static void test_tls13_ccm_8(void)
{
    check_suite(0x1305);
}
static void test_tls12_chacha20(void)
{
    check_suite(0xcca9);
}
static void test_tls12_ccm(void)
{
    check_suite(0xc0ac);
}
static void test_tls12_ccm_8(void)
{
    check_suite(0xc0ae);
}

int main(void)
{
    static const CU_TestInfo tests[] = {
        {"TLS 1.3, AES-128-GCM", test_tls13_aes128},
        {"TLS 1.3, AES-256-GCM", test_tls13_aes256},
        {"TLS 1.2, AES-128-GCM", test_tls12_aes128},
        {"TLS 1.2, AES-256-GCM", test_tls12_aes256},
        {"TLS 1.3, ChaCha20-Poly1305", test_tls13_chacha20},
        {"TLS 1.3, AES-128-CCM", test_tls13_ccm},
        {"TLS 1.3, AES-128-CCM-8", test_tls13_ccm_8},
        {"TLS 1.2, ChaCha20-Poly1305", test_tls12_chacha20},
        {"TLS 1.2, AES-128-CCM", test_tls12_ccm},
        {"TLS 1.2, AES-128-CCM-8", test_tls12_ccm_8},
        {"TLS 1.2, AES-128-CBC, SHA-1, MAC-then-encrypt and encrypt-then-MAC", test_cbc_128_sha1},
        {"TLS 1.2, AES-256-CBC, SHA-1, both orders", test_cbc_256_sha1},
        {"TLS 1.2, AES-128-CBC, SHA-256, both orders", test_cbc_128_sha256},
        {"TLS 1.2, AES-256-CBC, SHA-256, both orders", test_cbc_256_sha256},
        {"TLS 1.2, AES-256-CBC, SHA-384, both orders", test_cbc_256_sha384},
        CU_TEST_INFO_NULL,
    };
    return suite_run("libssl", tests);
}
