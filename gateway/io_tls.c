/* SPDX-License-Identifier: Apache-2.0 */
/*
 * TLS of a connection: libssl over our own buffers, handshakes that do not hold the loop up.
 *
 * A BIO of ours lies on the connection's buffers, so libssl never copies a record into a memory BIO of its
 * own and what it has not read yet stays ours.
 *
 * Why handshakes run in ASYNC jobs and not on worker threads: a signature in a token takes from a tenth to
 * tens of milliseconds, in which one worker could do nothing else. A job costs 32 KB of stack while it is
 * paused; the loop puts it aside when the provider has queued the signature and goes on with the next, so as
 * many signatures are under way as the token has sessions, and neither SSL objects nor sessions ever change
 * threads. Only the handshake runs in a job: SSL_MODE_ASYNC is cleared after it (as HAProxy does), because a
 * job switch costs more than sealing a short record and records have nothing to wait for.
 *
 * A provider that pauses must use the job's callback (ASYNC_WAIT_CTX_get_callback): it may be called from any
 * thread, and leads through loop->woken and uv_async_send back here. A connection whose peer gives up while
 * its job is paused stays as STAGE_DEAD until the job has come to its end: SSL_free under a paused job would
 * leak its stack and leave the provider's worker with a dangling one.
 */
#include "io_private.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <openssl/async.h>
#include <openssl/err.h>
#include <openssl/x509_vfy.h>
#include <openssl/x509v3.h>

#define RECORD_TEXT 16384u /* RFC 8446, 5.1 */
#define RECORD_ROOM                                                                                          \
    (RECORD_TEXT + 512u) /* with header, explicit nonce, content type, tag or MAC and padding */

/* ---- The BIO ---- */

static int bio_write(BIO *bio, const char *bytes, int len)
{
    struct io *io = BIO_get_data(bio);
    size_t room = buffer_room(&io->net_out);
    size_t part = (size_t)len < room ? (size_t)len : room;

    BIO_clear_retry_flags(bio);
    if (io->stage == STAGE_DEAD)
        return len;
    if (part == 0) {
        BIO_set_retry_write(bio);
        return -1;
    }
    if (!buffer_append(&io->loop->buffers, &io->net_out, bytes, part))
        return -1;
    io_mark_unsent(io);
    return (int)part;
}

static bool bio_at_end(const struct io *io)
{
    return (io->eof || io->stage == STAGE_DEAD) && buffer_length(&io->net_in) == 0;
}

static int bio_read(BIO *bio, char *bytes, int len)
{
    struct io *io = BIO_get_data(bio);
    size_t held = buffer_length(&io->net_in);
    size_t part = (size_t)len < held ? (size_t)len : held;

    BIO_clear_retry_flags(bio);
    if (part == 0) {
        if (bio_at_end(io))
            return 0;
        BIO_set_retry_read(bio);
        return -1;
    }
    memcpy(bytes, buffer_bytes(&io->net_in), part);
    buffer_drop(&io->net_in, part);
    return (int)part;
}

static long bio_ctrl(BIO *bio, int command, long number, void *pointer)
{
    (void)number;
    (void)pointer;
    switch (command) {
    case BIO_CTRL_FLUSH:
        return 1;
    case BIO_CTRL_EOF:
        return bio_at_end(BIO_get_data(bio));
    default:
        return 0;
    }
}

static BIO_METHOD *bio_method;

static void make_bio_method(void)
{
    bio_method = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "sealane connection");
    if (bio_method == NULL)
        return;
    BIO_meth_set_write(bio_method, bio_write);
    BIO_meth_set_read(bio_method, bio_read);
    BIO_meth_set_ctrl(bio_method, bio_ctrl);
}

static BIO *new_bio(struct io *io)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    BIO *bio;

    pthread_once(&once, make_bio_method);
    bio = bio_method != NULL ? BIO_new(bio_method) : NULL;
    if (bio != NULL) {
        BIO_set_data(bio, io);
        BIO_set_init(bio, 1);
    }
    return bio;
}

/* ---- Jobs ---- */

/* From any thread: the signature of this handshake is there. */
static int on_job_ready(SSL *ssl, void *arg)
{
    struct io *io = arg;
    struct loop *loop = io->loop;

    (void)ssl;
    pthread_mutex_lock(&loop->woken_lock);
    if (!io->is_woken) {
        io->is_woken = true;
        io->woken_next = loop->woken;
        loop->woken = io;
    }
    /* Inside the lock: once it is free, the loop may resume the job, end the connection and then itself. */
    uv_async_send(&loop->wake);
    pthread_mutex_unlock(&loop->woken_lock);
    return 1;
}

static void forget_wake(struct io *io)
{
    pthread_mutex_lock(&io->loop->woken_lock);
    for (struct io **at = &io->loop->woken; io->is_woken && *at != NULL; at = &(*at)->woken_next) {
        if (*at == io) {
            *at = io->woken_next;
            io->is_woken = false;
            break;
        }
    }
    pthread_mutex_unlock(&io->loop->woken_lock);
}

void io_tls_free(struct io *io)
{
    if (io->ssl == NULL || io->job_paused)
        return;
    SSL_free(io->ssl);
    io->ssl = NULL;
    forget_wake(io);
}

/* Nobody waits for this handshake any more. Its BIO answers with the end, so it comes to one soon. */
static void finish_dead_job(struct io *io)
{
    ERR_clear_error();
    if (SSL_get_error(io->ssl, SSL_do_handshake(io->ssl)) == SSL_ERROR_WANT_ASYNC)
        return;
    ERR_clear_error();
    io->job_paused = false;
    atomic_fetch_sub_explicit(&io->loop->signing, 1, memory_order_relaxed);
    io_tls_free(io);
    io_free_if_done(io);
}

static struct io *take_woken(struct loop *loop)
{
    struct io *io;

    pthread_mutex_lock(&loop->woken_lock);
    io = loop->woken;
    if (io != NULL) {
        loop->woken = io->woken_next;
        io->is_woken = false;
    }
    pthread_mutex_unlock(&loop->woken_lock);
    return io;
}

void io_wake(struct loop *loop)
{
    struct io *io;

    while ((io = take_woken(loop)) != NULL) {
        if (!io->job_paused)
            continue;
        if (io->stage == STAGE_DEAD) {
            finish_dead_job(io);
        } else {
            io->job_ready = true;
            io_mark_active(io);
        }
    }
}

/* ---- Handshake ---- */

/* From here on the peer's bytes are records. What was written before stays as it is, in front of them. */
static bool start(struct io *io, SSL_CTX *ctx, bool implicit)
{
    BIO *bio;

    if (io->stage != STAGE_OPEN || io_is_secure(io) || (!implicit && buffer_length(&io->text_in) > 0))
        return false;
    io->ssl = SSL_new(ctx);
    bio = io->ssl != NULL ? new_bio(io) : NULL;
    if (bio == NULL) {
        SSL_free(io->ssl);
        io->ssl = NULL;
        return false;
    }
    SSL_set_bio(io->ssl, bio, bio);
    if (io->config->settings.records_engine) /* if it fails, libssl keeps the connection */
        (void)sealane_takeover_watch(io->ssl);
    if (buffer_length(&io->text_in) > 0) { /* net_in is empty: nothing has been a record yet */
        io->net_in = io->text_in;
        io->text_in = (struct buffer){0};
    }
    io->stage = STAGE_HANDSHAKE;
    io->handshake_began = uv_hrtime();
    io->fresh = false;
    io_mark_active(io);
    return true;
}

bool io_secure_server(struct io *io, const struct tls_server *server, bool implicit)
{
    if (!start(io, server->ctx, implicit))
        return false;
    io->server = server;
    SSL_set_accept_state(io->ssl);
    if (server->async) {
        SSL_set_async_callback(io->ssl, on_job_ready);
        SSL_set_async_callback_arg(io->ssl, io);
        SSL_set_mode(io->ssl, SSL_MODE_ASYNC);
    }
    return true;
}

static bool keep_session(void *owner, SSL_SESSION *session)
{
    struct io *io = owner;

    if (io->resumption_key == NULL || io->stage == STAGE_DEAD || !SSL_SESSION_is_resumable(session))
        return false;
    resumptions_put(&io->loop->resumptions, io->resumption_key, session);
    return true;
}

bool io_secure_client(struct io *io, const struct tls_client *client, const struct tls_policy *policy,
                      const char *host, const char *domain, const char *key)
{
    SSL_SESSION *session;

    if (!start(io, client->ctx, false))
        return false;
    io->policy = policy;
    io->events = (struct tls_events){.keep_session = keep_session, .owner = io};
    SSL_set_app_data(io->ssl, &io->events);
    SSL_set_connect_state(io->ssl);
    if (!tls_demand(io->ssl, policy, host, domain)) {
        io_break(io, "TLS: cannot set what is demanded of the server");
        return false;
    }
    /* Our client certificate may be in a token as well. */
    if (client->certificate.x509 != NULL && io->config->settings.handshake_async) {
        SSL_set_async_callback(io->ssl, on_job_ready);
        SSL_set_async_callback_arg(io->ssl, io);
        SSL_set_mode(io->ssl, SSL_MODE_ASYNC);
    }
    io->resumption_key = strdup(key);
    session = resumptions_take(&io->loop->resumptions, key);
    if (session != NULL)
        SSL_set_session(io->ssl, session);
    SSL_SESSION_free(session);
    return true;
}

static const char *or_empty(const char *text)
{
    return text != NULL ? text : "";
}

static bool take_peer_name(void *arg, const char *name)
{
    struct io_facts *f = arg;

    snprintf(f->peer_name, sizeof f->peer_name, "%s", name);
    return false;
}

/* Who the peer has shown to be, if anybody. libssl may be gone before somebody asks. */
static void note_peer(struct io *io)
{
    struct io_facts *f = &io->facts;

    if (io->server != NULL && !io->server->asks)
        return;
    io->peer_certificate = SSL_get1_peer_certificate(io->ssl);
    if (io->peer_certificate == NULL)
        return;
    fingerprints_take(&f->peer, io->config->tls.library->ctx, io->peer_certificate);
    (void)tls_certificate_names(io->peer_certificate, take_peer_name, f);
    f->trusted = SSL_get_verify_result(io->ssl) == X509_V_OK;
}

/* What of the policy holds. From VERIFY on libssl has insisted; the pins are looked at here. */
static enum tls_level level_achieved(const struct io *io)
{
    const struct io_facts *f = &io->facts;
    const struct policy_settings *p = io->policy != NULL ? io->policy->settings : NULL;

    if (p == NULL)
        return f->peer.known ? TLS_LEVEL_FINGERPRINT : TLS_LEVEL_ENCRYPT;
    if (p->level >= TLS_LEVEL_VERIFY)
        return f->trusted ? p->level : TLS_LEVEL_ENCRYPT;
    return fingerprints_match(&f->peer, p->pins, p->pin_count) ? TLS_LEVEL_FINGERPRINT : TLS_LEVEL_ENCRYPT;
}

static void note_facts(struct io *io)
{
    struct io_facts *f = &io->facts;
    const struct tls_certificate *certificate =
        io->server != NULL ? tls_certificate_of(io->server, io->ssl) : NULL;
    int group = (int)SSL_get_negotiated_group(io->ssl);

    f->secured = true;
    f->version = SSL_get_version(io->ssl);
    f->cipher = or_empty(SSL_CIPHER_standard_name(SSL_get_current_cipher(io->ssl)));
    f->group = group != NID_undef ? or_empty(SSL_group_to_name(io->ssl, group)) : "";
    f->resumed = SSL_session_reused(io->ssl) == 1;
    f->key_type = certificate != NULL ? certificate->key_type : "";
    f->certificate = certificate != NULL ? certificate->name : "";
    f->handshake_ms = (long)((uv_hrtime() - io->handshake_began) / 1000000);
    note_peer(io);
    f->achieved = level_achieved(io);
}

bool io_peer_is(const struct io *io, const char *name)
{
    return io->peer_certificate != NULL &&
           X509_check_host(io->peer_certificate, name, 0, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS, NULL) == 1;
}

void io_tls_forget(struct io *io)
{
    X509_free(io->peer_certificate);
    free(io->resumption_key);
}

/* The pin is looked at on every handshake, resumed ones too: the session remembers the certificate. */
static bool is_as_demanded(struct io *io)
{
    if (io->policy == NULL || io->facts.achieved >= io->policy->level ||
        io->policy->level <= TLS_LEVEL_ENCRYPT)
        return true;
    io_break(io, io->policy->level == TLS_LEVEL_FINGERPRINT
                     ? "TLS: the peer's certificate is none of the pinned ones"
                     : "TLS: the peer's certificate is not verified");
    return false;
}

static void fail_handshake(struct io *io)
{
    long verdict = SSL_get_verify_result(io->ssl);
    OSSL_HANDSHAKE_STATE state = SSL_get_state(io->ssl);
    char reason[320];

    tls_take_errors(reason, sizeof reason);
    /* The flights that carry our signature: TLS 1.3 CertificateVerify, TLS 1.2 ServerKeyExchange. */
    io->key_failed = io->server != NULL && (state == TLS_ST_SW_CERT_VRFY || state == TLS_ST_SW_KEY_EXCH);
    if (io->policy != NULL && io->policy->level >= TLS_LEVEL_VERIFY && verdict != X509_V_OK)
        io_break(io, "TLS: certificate of the peer: %s", X509_verify_cert_error_string(verdict));
    else if (io->key_failed)
        io_break(io, "TLS: our key does not sign: %s", reason);
    else if (io->eof)
        io_break(io, "TLS: the peer closed the connection during the handshake");
    else
        io_break(io, "TLS: %s", reason);
}

void io_tls_handshake(struct io *io)
{
    int result;

    if (io->job_paused) {
        if (!io->job_ready)
            return;
        io->job_paused = io->job_ready = false;
        atomic_fetch_add_explicit(&io->loop->counters.signing_microseconds,
                                  (uv_hrtime() - io->signing_began) / 1000, memory_order_relaxed);
        atomic_fetch_sub_explicit(&io->loop->signing, 1, memory_order_relaxed);
    }
    ERR_clear_error();
    result = SSL_do_handshake(io->ssl);
    switch (SSL_get_error(io->ssl, result)) {
    case SSL_ERROR_NONE:
        SSL_clear_mode(io->ssl, SSL_MODE_ASYNC);
        note_facts(io);
        if (!is_as_demanded(io))
            break;
        (void)io_records_take(io);
        io->stage = STAGE_OPEN;
        io->fresh = true;
        break;
    case SSL_ERROR_WANT_READ:
    case SSL_ERROR_WANT_WRITE: /* net_out is full: seal_and_send comes back here */
        break;
    case SSL_ERROR_WANT_ASYNC:
        io->job_paused = true;
        io->signing_began = uv_hrtime();
        atomic_fetch_add_explicit(&io->loop->signing, 1, memory_order_relaxed);
        count(&io->loop->counters.signatures_waited);
        break;
    default:
        fail_handshake(io);
    }
}

/* ---- Records ---- */

static void judge_read(struct io *io, int result)
{
    char reason[320];

    switch (SSL_get_error(io->ssl, result)) {
    case SSL_ERROR_WANT_READ:
    case SSL_ERROR_WANT_WRITE:
        break;
    case SSL_ERROR_ZERO_RETURN:
        io->ended = true;
        break;
    default:
        /* The end without a goodbye: SMTP says itself when something is complete, so it is just the end. */
        if (bio_at_end(io)) {
            io->ended = true;
        } else {
            tls_take_errors(reason, sizeof reason);
            io_last_words(io);
            io_break(io, "TLS: %s", reason);
        }
    }
    ERR_clear_error();
}

bool io_tls_open(struct io *io)
{
    bool more = false;
    size_t room;
    uint8_t *to;
    int n;

    if (io->session != NULL)
        return io_records_open(io);
    /* Answers that libssl writes by itself (alerts, KeyUpdate) must have room, or they pile up. */
    while (!io->ended && io->stage == STAGE_OPEN && buffer_room(&io->net_out) > BUFFER_SIZE / 8 &&
           (buffer_length(&io->net_in) > 0 || SSL_has_pending(io->ssl) || io->eof)) {
        to = buffer_reserve(&io->loop->buffers, &io->text_in, &room);
        if (to == NULL) {
            io_break(io, "out of memory");
            break;
        }
        if (room == 0)
            break;
        ERR_clear_error();
        n = SSL_read(io->ssl, to, (int)room);
        if (n <= 0) {
            judge_read(io, n);
            break;
        }
        buffer_commit(&io->text_in, (size_t)n);
        more = true;
        if (io_records_take(io))
            return io_records_open(io) || more;
    }
    return more;
}

void io_tls_seal(struct io *io)
{
    if (io->session != NULL) {
        io_records_seal(io);
        return;
    }
    while (buffer_length(&io->text_out) > 0 && buffer_room(&io->net_out) >= RECORD_ROOM) {
        size_t len = buffer_length(&io->text_out);
        int n;

        ERR_clear_error();
        n = SSL_write(io->ssl, buffer_bytes(&io->text_out), (int)(len < RECORD_TEXT ? len : RECORD_TEXT));
        if (n <= 0) {
            char reason[320];
            if (SSL_get_error(io->ssl, n) == SSL_ERROR_WANT_WRITE)
                return;
            tls_take_errors(reason, sizeof reason);
            io_break(io, "TLS: %s", reason);
            return;
        }
        buffer_drop(&io->text_out, (size_t)n);
        if (io_records_take(io)) {
            io_records_seal(io);
            return;
        }
    }
}

void io_tls_goodbye(struct io *io)
{
    if (io->session != NULL) {
        io_records_goodbye(io);
        return;
    }
    if (io->ssl == NULL || io->job_paused || !SSL_is_init_finished(io->ssl) ||
        SSL_get_shutdown(io->ssl) & SSL_SENT_SHUTDOWN)
        return;
    ERR_clear_error();
    SSL_shutdown(io->ssl);
    ERR_clear_error();
}
