/* SPDX-License-Identifier: Apache-2.0 */
/* support_libssl.h */
#include "support_libssl.h"

#include <stdlib.h>
#include <string.h>
#include <openssl/ec.h>
#include <openssl/rsa.h>
#include <openssl/x509.h>

void certificate_use(SSL_CTX *ctx, bool rsa)
{
    static EVP_PKEY *rsa_key; /* making one takes its time, and another is no different */
    EVP_PKEY *key;
    X509 *certificate = X509_new();

    if (rsa && rsa_key == NULL)
        rsa_key = EVP_RSA_gen(2048);
    key = rsa ? rsa_key : EVP_EC_gen("P-256");
    CU_ASSERT_FATAL(key != NULL && certificate != NULL);
    if (rsa)
        EVP_PKEY_up_ref(key);
    X509_set_version(certificate, 2);
    ASN1_INTEGER_set(X509_get_serialNumber(certificate), 1);
    X509_gmtime_adj(X509_getm_notBefore(certificate), -3600);
    X509_gmtime_adj(X509_getm_notAfter(certificate), 86400);
    X509_NAME_add_entry_by_txt(X509_get_subject_name(certificate), "CN", MBSTRING_ASC,
                               (const unsigned char *)"engine test", -1, -1, 0);
    X509_set_issuer_name(certificate, X509_get_subject_name(certificate));
    X509_set_pubkey(certificate, key);
    CU_ASSERT_FATAL(X509_sign(certificate, key, EVP_sha256()) > 0);
    CU_ASSERT_EQUAL_FATAL(SSL_CTX_use_certificate(ctx, certificate), 1);
    CU_ASSERT_EQUAL_FATAL(SSL_CTX_use_PrivateKey(ctx, key), 1);
    X509_free(certificate);
    EVP_PKEY_free(key);
}

/* ---- Life ---- */

static void versions_set(SSL_CTX *ctx, const sealane_suite *suite)
{
    SSL_CTX_set_min_proto_version(ctx, suite->version);
    SSL_CTX_set_max_proto_version(ctx, suite->version);
    if (suite->version == SEALANE_TLS1_3)
        CU_ASSERT_EQUAL_FATAL(SSL_CTX_set_ciphersuites(ctx, suite->openssl_name), 1);
    if (suite->version == SEALANE_TLS1_2)
        CU_ASSERT_EQUAL_FATAL(SSL_CTX_set_cipher_list(ctx, suite->openssl_name), 1);
}

/* For suites with a key that both know: RFC 4279. */
static unsigned psk_client(SSL *ssl, const char *hint, char *name, unsigned name_max, unsigned char *key,
                           unsigned key_max)
{
    (void)ssl, (void)hint;
    CU_ASSERT_FATAL(name_max > 4 && key_max >= 16);
    memcpy(name, "duo", 4);
    memset(key, 7, 16);
    return 16;
}

static unsigned psk_server(SSL *ssl, const char *name, unsigned char *key, unsigned key_max)
{
    (void)ssl, (void)name;
    CU_ASSERT_FATAL(key_max >= 16);
    memset(key, 7, 16);
    return 16;
}

void duo_prepare(duo *d, uint16_t suite, int ours)
{
    memset(d, 0, sizeof(*d));
    d->suite = suite != 0 ? sealane_suite_find(suite) : NULL;
    d->ours = ours;
    d->wire = malloc(DUO_WIRE);
    CU_ASSERT_PTR_NOT_NULL_FATAL(d->wire);
    for (int side = CLIENT; side <= SERVER; side++) {
        d->ctx[side] = SSL_CTX_new(side == CLIENT ? TLS_client_method() : TLS_server_method());
        SSL_CTX_set_security_level(d->ctx[side], 0); /* CCM_8's short tag, anonymous suites */
        SSL_CTX_set_dh_auto(d->ctx[side], 1);
        SSL_CTX_set_options(d->ctx[side], SSL_OP_NO_RENEGOTIATION);
        if (d->suite != NULL)
            versions_set(d->ctx[side], d->suite);
    }
    if (d->suite != NULL && strstr(d->suite->name, "PSK") != NULL) {
        SSL_CTX_set_psk_client_callback(d->ctx[CLIENT], psk_client);
        SSL_CTX_set_psk_server_callback(d->ctx[SERVER], psk_server);
    }
    certificate_use(d->ctx[SERVER], d->suite != NULL && strstr(d->suite->name, "RSA") != NULL);
    CU_ASSERT_FATAL(sealane_takeover_prepare(d->ctx[ours]));
}

void duo_connect(duo *d, bool watched)
{
    for (int side = CLIENT; side <= SERVER; side++) {
        d->ssl[side] = SSL_new(d->ctx[side]);
        SSL_set_bio(d->ssl[side], BIO_new(BIO_s_mem()), BIO_new(BIO_s_mem()));
    }
    SSL_set_connect_state(d->ssl[CLIENT]);
    SSL_set_accept_state(d->ssl[SERVER]);
    d->in = SSL_get_rbio(d->ssl[d->ours]);
    d->out = SSL_get_wbio(d->ssl[d->ours]);
    BIO_set_mem_eof_return(d->in, -1);
    BIO_up_ref(d->in);
    BIO_up_ref(d->out);
    d->wire_len = 0;
    if (watched)
        CU_ASSERT_FATAL(sealane_takeover_watch(d->ssl[d->ours]));
}

void duo_move(duo *d, int from)
{
    static uint8_t buffer[DUO_WIRE];
    BIO *out = from == d->ours ? d->out : SSL_get_wbio(d->ssl[from]);
    BIO *in = from == d->ours ? SSL_get_rbio(d->ssl[!from]) : d->in;
    int len;

    while ((len = BIO_read(out, buffer, sizeof(buffer))) > 0)
        CU_ASSERT_EQUAL_FATAL(BIO_write(in, buffer, len), len);
}

void duo_shake(duo *d)
{
    uint8_t none;

    for (int turn = 0;
         turn < 10 && !(SSL_is_init_finished(d->ssl[CLIENT]) && SSL_is_init_finished(d->ssl[SERVER]));
         turn++) {
        (void)SSL_do_handshake(d->ssl[CLIENT]);
        duo_move(d, CLIENT);
        (void)SSL_do_handshake(d->ssl[SERVER]);
        duo_move(d, SERVER);
    }
    CU_ASSERT_FATAL(SSL_is_init_finished(d->ssl[CLIENT]) && SSL_is_init_finished(d->ssl[SERVER]));
    if (d->ours == SERVER) /* tickets */
        CU_ASSERT_EQUAL(SSL_peek(d->ssl[CLIENT], &none, 1), -1);
}

void duo_begin(duo *d)
{
    duo_connect(d, true);
    duo_shake(d);
    if (d->suite != NULL)
        CU_ASSERT_EQUAL_FATAL(SSL_CIPHER_get_protocol_id(SSL_get_current_cipher(d->ssl[SERVER])),
                              d->suite->id);
}

void duo_end(duo *d)
{
    sealane_session_free(d->session);
    d->session = NULL;
    for (int side = CLIENT; side <= SERVER; side++)
        SSL_free(d->ssl[side]);
    BIO_free(d->in);
    BIO_free(d->out);
}

void duo_free(duo *d)
{
    duo_end(d);
    for (int side = CLIENT; side <= SERVER; side++)
        SSL_CTX_free(d->ctx[side]);
    free(d->wire);
}

sealane_takeover_verdict duo_take(duo *d)
{
    sealane_takeover_verdict verdict = sealane_takeover(d->ssl[d->ours], &d->session);

    if (verdict == SEALANE_TAKEN)
        d->ssl[d->ours] = NULL;
    return verdict;
}

/* ---- Talk ---- */

sealane_result duo_seal(duo *d, const uint8_t *data, size_t len)
{
    size_t size = sealane_session_seal_size(d->session, len);
    uint8_t *out = malloc(size);
    sealane_session_op op = {.session = d->session, .in = data, .in_len = len, .out = out, .out_size = size};

    CU_ASSERT_PTR_NOT_NULL_FATAL(out);
    sealane_sessions_seal(&op, 1);
    if (op.produced > 0)
        CU_ASSERT_EQUAL_FATAL(BIO_write(SSL_get_rbio(d->ssl[!d->ours]), out, (int)op.produced),
                              (int)op.produced);
    if (op.result == SEALANE_OK)
        CU_ASSERT_EQUAL(op.consumed, len);
    free(out);
    return op.result;
}

sealane_result duo_open(duo *d, uint8_t *out, size_t size, size_t *len)
{
    sealane_session_op op;
    int n;

    duo_move(d, !d->ours);
    n = BIO_read(d->in, d->wire + d->wire_len, (int)(DUO_WIRE - d->wire_len));
    d->wire_len += n > 0 ? (size_t)n : 0;
    op = (sealane_session_op){
        .session = d->session, .in = d->wire, .in_len = d->wire_len, .out = out, .out_size = size};
    sealane_sessions_open(&op, 1);
    d->wire_len -= op.consumed;
    memmove(d->wire, d->wire + op.consumed, d->wire_len);
    *len = op.produced;
    return op.result;
}

void peer_write(duo *d, const uint8_t *data, size_t len)
{
    size_t written = 0;

    CU_ASSERT_EQUAL_FATAL(SSL_write_ex(d->ssl[!d->ours], data, len, &written), 1);
    CU_ASSERT_EQUAL(written, len);
}

bool peer_reads(duo *d, const uint8_t *data, size_t len)
{
    uint8_t *got = malloc(len + 1);
    size_t total = 0, part = 0;
    bool same;

    CU_ASSERT_PTR_NOT_NULL_FATAL(got);
    while (total < len && SSL_read_ex(d->ssl[!d->ours], got + total, len + 1 - total, &part) == 1)
        total += part;
    same = total == len && memcmp(got, data, len) == 0;
    free(got);
    return same;
}

bool duo_talks(duo *d, prng *random)
{
    static const size_t lengths[] = {1, 2, 64, 1000, 16383, 16384, 16385, 100000};
    static uint8_t data[100000], got[100000 + SEALANE_SESSION_OPEN_ROOM];
    bool all = true;

    for (size_t i = 0; i < COUNT(lengths); i++) {
        size_t len = 0;
        prng_fill(random, data, lengths[i]);
        all &= duo_seal(d, data, lengths[i]) == SEALANE_OK && peer_reads(d, data, lengths[i]);
        prng_fill(random, data, lengths[i]);
        peer_write(d, data, lengths[i]);
        all &= duo_open(d, got, sizeof(got), &len) == SEALANE_OK && len == lengths[i] &&
               memcmp(got, data, len) == 0;
    }
    return all;
}

/* TLS 1.3 clients have nothing to prove their keys with until something was said. */
void duo_say_hello(duo *d)
{
    if (d->ours == CLIENT && SSL_version(d->ssl[CLIENT]) == TLS1_3_VERSION) {
        CU_ASSERT_EQUAL(SSL_write(d->ssl[CLIENT], "hello", 5), 5);
        duo_move(d, CLIENT);
        CU_ASSERT(peer_reads(d, (const uint8_t *)"hello", 5));
    }
}

/* Goes on with libssl on both sides. */
bool duo_libssl_talks(duo *d)
{
    static const uint8_t text[] = "nothing has happened";
    uint8_t got[sizeof(text)];
    bool all = true;

    for (int from = CLIENT; from <= SERVER; from++) {
        all &= SSL_write(d->ssl[from], text, sizeof(text)) == sizeof(text);
        duo_move(d, from);
        all &=
            SSL_read(d->ssl[!from], got, sizeof(got)) == sizeof(got) && memcmp(got, text, sizeof(got)) == 0;
    }
    return all;
}

void duo_then_taken(duo *d)
{
    prng random = {7};

    CU_ASSERT_EQUAL_FATAL(duo_take(d), SEALANE_TAKEN);
    CU_ASSERT(duo_talks(d, &random));
    duo_free(d);
}
