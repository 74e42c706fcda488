/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Whole libssl, unmodified: SSL_write() into and SSL_read() from memory BIOs, one record per call, as a
 * program that does its own socket work uses it. A batch is as many connections. TLS 1.3 where the cipher has
 * a suite of it; CBC with MAC-then-encrypt, so that the stitched cipher is used. The other end of each
 * connection makes the records to open, or reads back what was sealed, outside of the clock.
 *
 * All that twice: with the default provider, and with sealane.so beside it and preferred for records. And a
 * whole batch in one SSL_write() of one connection: what libssl batches by itself (multiblock, for CBC).
 */
#include "records_contestant.h"

#include <stdlib.h>
#include <string.h>
#include <openssl/err.h>
#include <openssl/provider.h>
#include <openssl/ssl.h>
#include "certificate.h"
#include "records_reference.h"

struct connection {
    SSL *client, *server;
    BIO *to_client, *to_server; /* owned by the SSL objects that read them */
};

struct libssl {
    runner base;
    workload load;
    SSL_CTX *client_ctx, *server_ctx;
    struct connection connections[BATCH_MAX];
    bool at_once; /* a batch is one write of one connection */
    size_t payload_len;
    uint8_t *payload, *received;
};

/* ---- Which provider ---- */

/* With sealane.so preferred for records; NULL if it cannot be loaded. Lives as long as the program. */
static OSSL_LIB_CTX *sealane_context(void)
{
    static OSSL_LIB_CTX *context;

    if (context != NULL)
        return context;
    context = OSSL_LIB_CTX_new();
    if (context != NULL && OSSL_PROVIDER_set_default_search_path(context, BENCH_PROVIDER_DIR) == 1 &&
        OSSL_PROVIDER_load(context, "default") != NULL && OSSL_PROVIDER_load(context, "sealane") != NULL &&
        EVP_set_default_properties(context, "?sealane.records=yes") == 1)
        return context;
    OSSL_LIB_CTX_free(context);
    context = NULL;
    return NULL;
}

static OSSL_LIB_CTX *context_of(const contestant *who)
{
    return strstr(who->name, "sealane") != NULL ? sealane_context() : reference_context();
}

static bool tls12_only(const contestant *who)
{
    return strstr(who->name, "tls12") != NULL;
}

/* ---- Which suite ---- */

/* The digest of a CBC suite; an AEAD's is in its cipher. */
static bool digest_fits(const SSL_CIPHER *c, const subject *s)
{
    int nid = s->digest == NULL ? NID_undef : EVP_MD_get_type(EVP_get_digestbyname(s->digest));

    return SSL_CIPHER_get_digest_nid(c) == nid;
}

/* CCM's suites with short and long tags are of one cipher; only their names tell which is which. */
static bool tag_fits(const SSL_CIPHER *c, const subject *s)
{
    const char *name = SSL_CIPHER_get_name(c);
    bool is_short = strstr(name, "CCM8") != NULL || strstr(name, "CCM_8") != NULL;

    return is_short == (s->kind == SUBJECT_CCM && s->tag_len == 8);
}

static bool cipher_fits(const SSL_CIPHER *c, const subject *s)
{
    int nid = s->kind != SUBJECT_CBC_HMAC ? EVP_CIPHER_get_nid(reference_cipher(s->openssl_name))
              : s->key_len == 16          ? NID_aes_128_cbc
                                          : NID_aes_256_cbc;
    bool tls13 = strcmp(SSL_CIPHER_get_version(c), "TLSv1.3") == 0;
    /* The key is ECDSA's and the exchange ECDHE, as in nearly every handshake of today. */
    bool reachable =
        tls13 || (SSL_CIPHER_get_auth_nid(c) == NID_auth_ecdsa && SSL_CIPHER_get_kx_nid(c) == NID_kx_ecdhe);

    return reachable && nid != NID_undef && SSL_CIPHER_get_cipher_nid(c) == nid && digest_fits(c, s) &&
           tag_fits(c, s);
}

/* Narrows both ends to the suite of that cipher, TLS 1.3 first unless it is not wanted. */
static bool suite_narrow(SSL_CTX *ctx, const subject *s, bool only_tls12)
{
    STACK_OF(SSL_CIPHER) * all;
    const SSL_CIPHER *found = NULL;
    const char *tls13_all = "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256:"
                            "TLS_AES_128_CCM_SHA256:TLS_AES_128_CCM_8_SHA256";
    bool tls13;

    if (!SSL_CTX_set_cipher_list(ctx, "ALL:@SECLEVEL=0") || !SSL_CTX_set_ciphersuites(ctx, tls13_all))
        return false;
    all = SSL_CTX_get_ciphers(ctx);
    for (int i = 0; i < sk_SSL_CIPHER_num(all); i++) {
        const SSL_CIPHER *c = sk_SSL_CIPHER_value(all, i);
        if (found == NULL && cipher_fits(c, s) &&
            !(only_tls12 && strcmp(SSL_CIPHER_get_version(c), "TLSv1.3") == 0))
            found = c;
    }
    if (found == NULL)
        return false;
    tls13 = strcmp(SSL_CIPHER_get_version(found), "TLSv1.3") == 0;
    SSL_CTX_set_options(ctx, SSL_OP_NO_ENCRYPT_THEN_MAC);
    return SSL_CTX_set_min_proto_version(ctx, tls13 ? TLS1_3_VERSION : TLS1_2_VERSION) &&
           SSL_CTX_set_max_proto_version(ctx, tls13 ? TLS1_3_VERSION : TLS1_2_VERSION) &&
           (tls13 ? SSL_CTX_set_ciphersuites(ctx, SSL_CIPHER_get_name(found))
                  : SSL_CTX_set_cipher_list(ctx, SSL_CIPHER_get_name(found)));
}

/* ---- Connections ---- */

static SSL_CTX *context_new(const SSL_METHOD *method, const contestant *who, const subject *s)
{
    OSSL_LIB_CTX *library = context_of(who);
    SSL_CTX *ctx = library == NULL ? NULL : SSL_CTX_new_ex(library, NULL, method);

    if (ctx == NULL)
        return NULL;
    /* Tickets and their bookkeeping are the handshake's business. */
    SSL_CTX_set_num_tickets(ctx, 0);
    SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF);
    if (suite_narrow(ctx, s, tls12_only(who)))
        return ctx;
    SSL_CTX_free(ctx);
    return NULL;
}

static bool connection_make(struct libssl *l, struct connection *c)
{
    c->client = SSL_new(l->client_ctx);
    c->server = SSL_new(l->server_ctx);
    c->to_client = BIO_new(BIO_s_mem());
    c->to_server = BIO_new(BIO_s_mem());
    if (c->client == NULL || c->server == NULL || c->to_client == NULL || c->to_server == NULL) {
        BIO_free(c->to_client);
        BIO_free(c->to_server);
        return false;
    }
    BIO_up_ref(c->to_client);
    BIO_up_ref(c->to_server);
    SSL_set_bio(c->client, c->to_client, c->to_server);
    SSL_set_bio(c->server, c->to_server, c->to_client);
    SSL_set_connect_state(c->client);
    SSL_set_accept_state(c->server);
    for (int turns = 0; turns < 10; turns++)
        if (SSL_do_handshake(c->client) + SSL_do_handshake(c->server) == 2)
            return true;
    return false;
}

static void libssl_end(runner *r)
{
    struct libssl *l = (struct libssl *)r;

    for (size_t i = 0; i < BATCH_MAX; i++) {
        SSL_free(l->connections[i].server);
        SSL_free(l->connections[i].client);
    }
    SSL_CTX_free(l->server_ctx);
    SSL_CTX_free(l->client_ctx);
    free(l->received);
    free(l->payload);
    free(l);
    ERR_clear_error();
}

static bool suite_there(const contestant *who, const workload *load)
{
    SSL_CTX *ctx = context_new(TLS_method(), who, load->subject);

    SSL_CTX_free(ctx);
    ERR_clear_error();
    return ctx != NULL;
}

static bool libssl_carries(const contestant *who, const workload *load)
{
    /* CBC has nothing else, and is there already; and many connections are no other case than some. */
    if (tls12_only(who) && (load->subject->kind == SUBJECT_CBC_HMAC || load->batch > 16))
        return false;
    return suite_there(who, load);
}

/* Fragments of a write of at least four. */
static bool long_carries(const contestant *who, const workload *load)
{
    return load->subject->kind == SUBJECT_CBC_HMAC && load->batch >= 4 && load->batch <= 16 &&
           load->sealing && suite_there(who, load);
}

static runner *runner_make(const contestant *who, const workload *load, bool at_once)
{
    struct libssl *l = calloc(1, sizeof(*l));
    const size_t connections = at_once ? 1 : load->batch;

    if (l == NULL)
        return NULL;
    l->base.who = who;
    l->load = *load;
    l->at_once = at_once;
    /* The records of the others' rings, in number: long enough to be timed. */
    l->base.count = load->size >= 4096 ? 8 : 64;
    l->base.count = load->batch > l->base.count ? load->batch : l->base.count / load->batch * load->batch;
    l->payload = malloc(load->size * load->batch);
    l->received = malloc(load->size * load->batch);
    l->client_ctx = context_new(TLS_client_method(), who, load->subject);
    l->server_ctx = context_new(TLS_server_method(), who, load->subject);
    if (l->payload == NULL || l->received == NULL || l->client_ctx == NULL || l->server_ctx == NULL ||
        !certificate_use(l->server_ctx, false))
        goto failed;
    for (size_t i = 0; i < connections; i++)
        if (!connection_make(l, &l->connections[i]))
            goto failed;
    l->payload_len = load->size - (SSL_version(l->connections[0].client) == TLS1_3_VERSION);
    if (at_once) {
        l->payload_len *= load->batch;
        SSL_set_max_send_fragment(l->connections[0].client, (long)(load->size < 512 ? 512 : load->size));
    }
    memset(l->payload, 0x5a, l->payload_len);
    return &l->base;
failed:
    runner_end(&l->base);
    return NULL;
}

static runner *libssl_begin(const contestant *who, const workload *load)
{
    return runner_make(who, load, false);
}

static runner *long_begin(const contestant *who, const workload *load)
{
    return runner_make(who, load, true);
}

/* ---- Records ---- */

/* Calls in a run, each on the next connection. */
static size_t calls(const struct libssl *l)
{
    return l->at_once ? l->base.count / l->load.batch : l->base.count;
}

static struct connection *connection_of(struct libssl *l, size_t call)
{
    return &l->connections[l->at_once ? 0 : call % l->load.batch];
}

static bool all_write(struct libssl *l)
{
    bool right = true;

    for (size_t i = 0; i < calls(l); i++)
        right &=
            SSL_write(connection_of(l, i)->client, l->payload, (int)l->payload_len) == (int)l->payload_len;
    return right;
}

/* One record per call; what was written at once comes in several. */
static bool all_read(struct libssl *l)
{
    bool right = true;

    for (size_t i = 0; i < calls(l); i++) {
        size_t got = 0;
        int n;
        do {
            n = SSL_read(connection_of(l, i)->server, l->received + got, (int)(l->payload_len - got));
            got += n > 0 ? (size_t)n : 0;
        } while (n > 0 && got < l->payload_len);
        right &= got == l->payload_len;
    }
    return right;
}

/* A BIO that was emptied by reading starts over at its front. What was sealed in the last run is read. */
static bool libssl_restore(runner *r)
{
    struct libssl *l = (struct libssl *)r;
    bool waiting = BIO_ctrl_pending(l->connections[0].to_server) > 0;

    if (waiting && !all_read(l))
        return false;
    memset(l->received, 0, l->payload_len);
    return l->load.sealing || all_write(l);
}

static bool libssl_run(runner *r)
{
    struct libssl *l = (struct libssl *)r;

    return l->load.sealing ? all_write(l) : all_read(l);
}

static bool libssl_verify(runner *r)
{
    struct libssl *l = (struct libssl *)r;

    if (l->load.sealing && !all_read(l))
        return false;
    return memcmp(l->payload, l->received, l->payload_len) == 0;
}

#define CONTESTANT(identifier, called, says, carrying, beginning)                                            \
    const contestant identifier = {.name = called,                                                           \
                                   .what = says,                                                             \
                                   .carries = carrying,                                                      \
                                   .begin = beginning,                                                       \
                                   .restore = libssl_restore,                                                \
                                   .run = libssl_run,                                                        \
                                   .verify = libssl_verify,                                                  \
                                   .end = libssl_end}

CONTESTANT(contestant_libssl, "libssl", "SSL_write() and SSL_read() through memory BIOs", libssl_carries,
           libssl_begin);
CONTESTANT(contestant_libssl_sealane, "libssl-sealane", "the same with sealane.so preferred for records",
           libssl_carries, libssl_begin);
CONTESTANT(contestant_libssl_tls12, "libssl-tls12", "SSL_write() and SSL_read(), TLS 1.2", libssl_carries,
           libssl_begin);
CONTESTANT(contestant_libssl_tls12_sealane, "libssl-tls12-sealane",
           "the same with sealane.so preferred for records", libssl_carries, libssl_begin);
CONTESTANT(contestant_libssl_long, "libssl-long", "one SSL_write() of a whole batch of fragments",
           long_carries, long_begin);
CONTESTANT(contestant_libssl_long_sealane, "libssl-long-sealane",
           "the same with sealane.so preferred for records", long_carries, long_begin);
