/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Watching a handshake: the key log callback, which brings the secrets of TLS 1.3, and a filter BIO, which sees the
 * records. Both see what they see on the thread that drives the SSL.
 *
 * A record counts under the keys that were in force when it passed. TLS 1.3: libssl logs a traffic secret when it
 * changes to it, with all that was sealed before flushed (tls13_change_cipher_state(), tls13_update_key() and
 * their callers in statem), so the count begins anew there; TLS 1.2: behind change_cipher_spec. Should a libssl
 * do otherwise, the count is wrong, no record opens, and nothing is taken over.
 */
#include "takeover_private.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <openssl/bio.h>
#include <openssl/crypto.h>

/* Internal to libssl, include/internal/bio.h in every 3.x: "the kernel takes over". */
#define CTRL_SET_KTLS 72

static struct {
    pthread_once_t once;
    int ssl_index; /* of SSL: watch */
    int ctx_index; /* of SSL_CTX: the key log callback that was there before */
    BIO_METHOD *method;
} library = {.once = PTHREAD_ONCE_INIT, .ssl_index = -1, .ctx_index = -1};

/* ---- Life ---- */

static void stream_clear(stream *s)
{
    if (s->record != NULL)
        OPENSSL_cleanse(s->record, s->record_size);
    free(s->record);
    s->record = NULL;
    s->record_len = s->record_size = 0;
}

static void watch_drop(watch *w)
{
    if (w == NULL || --w->holders > 0)
        return;
    stream_clear(&w->in);
    stream_clear(&w->out);
    OPENSSL_cleanse(w, sizeof(*w));
    free(w);
}

static void on_ssl_freed(void *parent, void *held, CRYPTO_EX_DATA *data, int index, long number,
                         void *pointer)
{
    (void)parent, (void)data, (void)index, (void)number, (void)pointer;
    watch_drop(held);
}

/* SSL_dup(): a second SSL is not watched. */
static int on_ssl_copied(CRYPTO_EX_DATA *to, const CRYPTO_EX_DATA *from, void **held, int index, long number,
                         void *pointer)
{
    (void)to, (void)from, (void)index, (void)number, (void)pointer;
    *held = NULL;
    return 1;
}

/* ---- Records that pass ---- */

bool stream_is_between(const stream *s)
{
    return s->header_have == 0 && !s->broken;
}

/* From the next record on other keys are in force. */
static void stream_renew(stream *s)
{
    s->keeping = true;
    s->count = 0;
    s->record_len = 0;
}

static bool record_begin(stream *s)
{
    size_t size = SEALANE_RECORD_HEADER_LEN + s->body_left;

    s->record_len = 0;
    if (size > SEALANE_RECORD_MAX)
        return false;
    if (!s->keeping)
        return true;
    if (size > s->record_size) {
        uint8_t *larger = malloc(size);
        if (larger == NULL)
            return false;
        stream_clear(s);
        s->record = larger;
        s->record_size = size;
    }
    memcpy(s->record, s->header, sizeof(s->header));
    s->record_len = sizeof(s->header);
    return true;
}

static void record_end(stream *s)
{
    s->header_have = 0;
    s->count++;
    if (s->header[0] == SEALANE_CHANGE_CIPHER_SPEC) /* in TLS 1.3 of no meaning (RFC 8446 5), and no harm */
        stream_renew(s);
}

static size_t header_take(stream *s, const uint8_t *bytes, size_t len)
{
    size_t part = sizeof(s->header) - s->header_have;

    part = part < len ? part : len;
    memcpy(s->header + s->header_have, bytes, part);
    s->header_have += part;
    if (s->header_have < sizeof(s->header))
        return part;
    s->body_left = (size_t)s->header[3] << 8 | s->header[4];
    s->broken = !record_begin(s);
    if (s->body_left == 0)
        record_end(s);
    return part;
}

static size_t body_take(stream *s, const uint8_t *bytes, size_t len)
{
    size_t part = s->body_left < len ? s->body_left : len;

    if (s->record_len > 0) {
        memcpy(s->record + s->record_len, bytes, part);
        s->record_len += part;
    }
    s->body_left -= part;
    if (s->body_left == 0)
        record_end(s);
    return part;
}

static void stream_take(stream *s, const uint8_t *bytes, size_t len)
{
    while (len > 0 && !s->broken) {
        size_t part =
            s->header_have < sizeof(s->header) ? header_take(s, bytes, len) : body_take(s, bytes, len);
        bytes += part;
        len -= part;
    }
}

/* ---- The BIO ---- */

static int on_write(BIO *bio, const char *bytes, int len)
{
    watch *w = BIO_get_data(bio);
    BIO *next = BIO_next(bio);
    int n = next != NULL ? BIO_write(next, bytes, len) : -1;

    BIO_clear_retry_flags(bio);
    BIO_copy_next_retry(bio);
    if (n > 0 && w != NULL)
        stream_take(&w->out, (const uint8_t *)bytes, (size_t)n);
    return n;
}

static int on_read(BIO *bio, char *bytes, int len)
{
    watch *w = BIO_get_data(bio);
    BIO *next = BIO_next(bio);
    int n = next != NULL ? BIO_read(next, bytes, len) : -1;

    BIO_clear_retry_flags(bio);
    BIO_copy_next_retry(bio);
    if (n > 0 && w != NULL)
        stream_take(&w->in, (const uint8_t *)bytes, (size_t)n);
    return n;
}

/* libssl seals in the kernel only if every BIO on the way agrees: this one does not. */
static long on_ctrl(BIO *bio, int command, long number, void *pointer)
{
    BIO *next = BIO_next(bio);
    long result;

    if (command == CTRL_SET_KTLS || next == NULL)
        return 0;
    result = BIO_ctrl(next, command, number, pointer);
    BIO_clear_retry_flags(bio);
    BIO_copy_next_retry(bio);
    return result;
}

static int on_destroy(BIO *bio)
{
    watch_drop(BIO_get_data(bio));
    BIO_set_data(bio, NULL);
    return 1;
}

static void library_start(void)
{
    BIO_METHOD *method = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_FILTER, "sealane takeover");

    if (method == NULL)
        return;
    BIO_meth_set_write(method, on_write);
    BIO_meth_set_read(method, on_read);
    BIO_meth_set_ctrl(method, on_ctrl);
    BIO_meth_set_destroy(method, on_destroy);
    library.method = method;
    library.ssl_index = SSL_get_ex_new_index(0, NULL, NULL, on_ssl_copied, on_ssl_freed);
    library.ctx_index = SSL_CTX_get_ex_new_index(0, NULL, NULL, NULL, NULL);
}

static bool library_ready(void)
{
    return pthread_once(&library.once, library_start) == 0 && library.ssl_index >= 0 &&
           library.ctx_index >= 0;
}

/* A filter of ours in front of `below`, which libssl goes on holding a reference of. */
static BIO *filter_new(watch *w, BIO *below)
{
    BIO *bio = BIO_new(library.method);

    if (bio == NULL)
        return NULL;
    if (BIO_up_ref(below) != 1) {
        BIO_free(bio);
        return NULL;
    }
    BIO_set_data(bio, w);
    BIO_set_init(bio, 1);
    w->holders++;
    return BIO_push(bio, below);
}

/* ---- The key log ---- */

typedef void keylog_callback(const SSL *ssl, const char *line);

/* Callbacks and pointers to data are of one size wherever OpenSSL runs; ex_data takes only the latter. */
static void *as_data(keylog_callback *callback)
{
    void *data;

    memcpy(&data, &callback, sizeof(data));
    return data;
}

static keylog_callback *as_callback(void *data)
{
    keylog_callback *callback;

    memcpy(&callback, &data, sizeof(callback));
    return callback;
}

/* Digits are a secret: no branch, no index. `c` is one of 0-9, a-f, A-F. */
static uint8_t digit(char c)
{
    unsigned letter = (unsigned)c >> 6 & 1;

    return (uint8_t)(((unsigned)c & 15) + 9 * letter);
}

/* Returns how many bytes; 0 for what is no secret of a length that we know. */
static size_t secret_read(const char *hex, uint8_t secret[TAKEOVER_SECRET_MAX])
{
    size_t len = strlen(hex) / 2;

    if (len == 0 || len > TAKEOVER_SECRET_MAX || strlen(hex) != 2 * len)
        return 0;
    for (size_t i = 0; i < len; i++)
        secret[i] = (uint8_t)(digit(hex[2 * i]) << 4 | digit(hex[2 * i + 1]));
    return len;
}

/*
 * "CLIENT_TRAFFIC_SECRET_0 <random> <secret>" (NSS key log format), or after a KeyUpdate with another ending. The
 * side that logs its own secret has just changed what it seals with.
 */
static void line_take(watch *w, const char *line)
{
    static const char client[] = "CLIENT_TRAFFIC_SECRET_", server[] = "SERVER_TRAFFIC_SECRET_";
    bool clients = strncmp(line, client, sizeof(client) - 1) == 0;
    const char *hex = strrchr(line, ' ');

    if (hex == NULL || (!clients && strncmp(line, server, sizeof(server) - 1) != 0))
        return;
    w->secret_len = secret_read(hex + 1, clients ? w->client_secret : w->server_secret);
    *(clients ? &w->client_known : &w->server_known) = w->secret_len > 0;
    stream_renew(clients == w->server ? &w->in : &w->out);
}

static void on_keylog(const SSL *ssl, const char *line)
{
    keylog_callback *before = as_callback(SSL_CTX_get_ex_data(SSL_get_SSL_CTX(ssl), library.ctx_index));
    watch *w = SSL_get_ex_data(ssl, library.ssl_index);

    if (w != NULL) {
        w->server = SSL_is_server(ssl) == 1;
        line_take(w, line);
    }
    if (before != NULL)
        before(ssl, line);
}

bool sealane_takeover_prepare(SSL_CTX *ctx)
{
    keylog_callback *before;

    if (!library_ready())
        return false;
    before = SSL_CTX_get_keylog_callback(ctx);
    if (before == on_keylog)
        return true;
    if (SSL_CTX_set_ex_data(ctx, library.ctx_index, as_data(before)) != 1)
        return false;
    SSL_CTX_set_keylog_callback(ctx, on_keylog);
    return true;
}

/* ---- The connection ---- */

watch *watch_of(const SSL *ssl)
{
    watch *w = library_ready() ? SSL_get_ex_data(ssl, library.ssl_index) : NULL;

    if (w == NULL || SSL_get_rbio(ssl) != w->reads || SSL_get_wbio(ssl) != w->writes)
        return NULL;
    return w;
}

void watch_end(SSL *ssl)
{
    watch *w = SSL_get_ex_data(ssl, library.ssl_index);

    SSL_set_ex_data(ssl, library.ssl_index, NULL);
    watch_drop(w);
}

bool sealane_takeover_watch(SSL *ssl)
{
    BIO *rbio = SSL_get_rbio(ssl), *wbio = SSL_get_wbio(ssl);
    watch *w;

    if (!library_ready() || rbio == NULL || wbio == NULL || SSL_get_ex_data(ssl, library.ssl_index) != NULL)
        return false;
    w = calloc(1, sizeof(*w));
    if (w == NULL)
        return false;
    w->holders = 1;
    w->reads = filter_new(w, rbio);
    w->writes = filter_new(w, wbio);
    if (w->reads == NULL || w->writes == NULL || SSL_set_ex_data(ssl, library.ssl_index, w) != 1)
        goto failed;
    SSL_set0_rbio(ssl, w->reads);
    SSL_set0_wbio(ssl, w->writes);
    return true;
failed:
    BIO_free_all(w->reads);
    BIO_free_all(w->writes);
    watch_drop(w);
    return false;
}
