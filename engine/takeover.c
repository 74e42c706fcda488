/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The verdict on a connection, and taking it over: sealane/takeover.h. All that can refuse stands before anything of
 * the SSL is changed, so whoever is refused loses nothing.
 */
#include "takeover_private.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <openssl/crypto.h>
#include <openssl/err.h>

#define MASTER_LEN 48
#define RANDOM_LEN 32

static const struct {
    const char *name, *text;
} verdicts[SEALANE_TAKEOVER_VERDICTS] = {
    [SEALANE_TAKEN] = {"taken", "taken over"},
    [SEALANE_TAKEOVER_HANDSHAKE] = {"handshake", "the handshake is not over"},
    [SEALANE_TAKEOVER_UNREAD] = {"unread", "libssl holds bytes that were not read from it"},
    [SEALANE_TAKEOVER_UNSENT] = {"unsent", "libssl holds a record that was not sent"},
    [SEALANE_TAKEOVER_HALFWAY] = {"halfway", "a record is in part read or written"},
    [SEALANE_TAKEOVER_UNPROVEN] = {"unproven", "no record yet that could prove the keys"},
    [SEALANE_TAKEOVER_UNWATCHED] = {"unwatched", "its BIOs are not watched"},
    [SEALANE_TAKEOVER_NO_SECRETS] = {"no_secrets", "the key log did not give its secrets"},
    [SEALANE_TAKEOVER_VERSION] = {"version", "neither TLS 1.2 nor TLS 1.3"},
    [SEALANE_TAKEOVER_SUITE] = {"suite", "a cipher suite that the engine does not take over"},
    [SEALANE_TAKEOVER_COMPRESSION] = {"compression", "its records are compressed"},
    [SEALANE_TAKEOVER_RENEGOTIATION] = {"renegotiation", "renegotiation is not off"},
    [SEALANE_TAKEOVER_EARLY_DATA] = {"early_data", "early data was accepted"},
    [SEALANE_TAKEOVER_READ_AHEAD] = {"read_ahead", "libssl reads ahead"},
    [SEALANE_TAKEOVER_SHUTDOWN] = {"shutdown", "it is being closed"},
    [SEALANE_TAKEOVER_PROOF] = {"proof", "libssl's last record does not open under the keys derived"},
    [SEALANE_TAKEOVER_STATE] = {"state", "libssl's last record asks for more"},
    [SEALANE_TAKEOVER_MEMORY] = {"memory", "out of memory"},
    [SEALANE_TAKEOVER_ENGINE] = {"engine", "a library below failed"},
};

const char *sealane_takeover_name(sealane_takeover_verdict verdict)
{
    return (unsigned)verdict < SEALANE_TAKEOVER_VERDICTS ? verdicts[verdict].name : "unknown";
}

const char *sealane_takeover_text(sealane_takeover_verdict verdict)
{
    return (unsigned)verdict < SEALANE_TAKEOVER_VERDICTS ? verdicts[verdict].text : "unknown";
}

bool sealane_takeover_may_come(sealane_takeover_verdict verdict)
{
    return verdict >= SEALANE_TAKEOVER_HANDSHAKE && verdict <= SEALANE_TAKEOVER_UNPROVEN;
}

/* ---- Rehearsals ---- */

static pthread_once_t drill_once = PTHREAD_ONCE_INIT;
static sealane_takeover_verdict drill = SEALANE_TAKEN;

static void drill_read(void)
{
    const char *name = secure_getenv("SEALANE_TAKEOVER_DRILL");

    for (unsigned i = SEALANE_TAKEN + 1; name != NULL && i < SEALANE_TAKEOVER_VERDICTS; i++)
        if (strcmp(name, verdicts[i].name) == 0)
            drill = (sealane_takeover_verdict)i;
}

/* Every step asks here. */
static bool holds(sealane_takeover_verdict reason, bool condition)
{
    return condition || drill == reason;
}

/* ---- What speaks against it ---- */

/* RFC 5746: by either side, ever. libssl refuses a client's wish by default, a server's only if it was told so. */
static bool renegotiates(SSL *ssl)
{
    uint64_t options = SSL_get_options(ssl);
    bool off = (options & SSL_OP_NO_RENEGOTIATION) != 0 ||
               (SSL_is_server(ssl) == 1 && (options & SSL_OP_ALLOW_CLIENT_RENEGOTIATION) == 0);

    return !off || SSL_renegotiate_pending(ssl) || SSL_num_renegotiations(ssl) > 0;
}

static const sealane_suite *suite_of(const SSL *ssl)
{
    const SSL_CIPHER *cipher = SSL_get_current_cipher(ssl);
    const sealane_suite *suite =
        cipher != NULL ? sealane_suite_find(SSL_CIPHER_get_protocol_id(cipher)) : NULL;

    if (suite == NULL || suite->version != SSL_version(ssl) || suite->cipher >= SEALANE_CIPHERS)
        return NULL;
    return suite;
}

/* What was agreed upon, and how libssl stands. */
static sealane_takeover_verdict connection_judge(SSL *ssl)
{
    const int version = SSL_version(ssl);

    if (holds(SEALANE_TAKEOVER_HANDSHAKE, SSL_is_init_finished(ssl) != 1 || SSL_waiting_for_async(ssl)))
        return SEALANE_TAKEOVER_HANDSHAKE;
    if (holds(SEALANE_TAKEOVER_VERSION, version != TLS1_2_VERSION && version != TLS1_3_VERSION))
        return SEALANE_TAKEOVER_VERSION;
    if (holds(SEALANE_TAKEOVER_SUITE, suite_of(ssl) == NULL))
        return SEALANE_TAKEOVER_SUITE;
    if (holds(SEALANE_TAKEOVER_COMPRESSION, SSL_get_current_compression(ssl) != NULL))
        return SEALANE_TAKEOVER_COMPRESSION;
    if (holds(SEALANE_TAKEOVER_RENEGOTIATION, version == TLS1_2_VERSION && renegotiates(ssl)))
        return SEALANE_TAKEOVER_RENEGOTIATION;
    if (holds(SEALANE_TAKEOVER_EARLY_DATA, SSL_get_early_data_status(ssl) == SSL_EARLY_DATA_ACCEPTED))
        return SEALANE_TAKEOVER_EARLY_DATA;
    if (holds(SEALANE_TAKEOVER_SHUTDOWN, SSL_get_shutdown(ssl) != 0))
        return SEALANE_TAKEOVER_SHUTDOWN;
    return SEALANE_TAKEN;
}

/* What is under way between libssl and the network. */
static sealane_takeover_verdict streams_judge(const SSL *ssl, const watch *w)
{
    if (holds(SEALANE_TAKEOVER_READ_AHEAD, SSL_get_read_ahead(ssl) != 0))
        return SEALANE_TAKEOVER_READ_AHEAD;
    if (holds(SEALANE_TAKEOVER_UNREAD,
              SSL_pending(ssl) > 0 || (SSL_has_pending(ssl) && stream_is_between(&w->in))))
        return SEALANE_TAKEOVER_UNREAD;
    if (holds(SEALANE_TAKEOVER_HALFWAY, !stream_is_between(&w->in) || !stream_is_between(&w->out)))
        return SEALANE_TAKEOVER_HALFWAY;
    if (holds(SEALANE_TAKEOVER_UNSENT, SSL_want_write(ssl)))
        return SEALANE_TAKEOVER_UNSENT;
    if (holds(SEALANE_TAKEOVER_UNPROVEN, w->in.count == 0 && w->out.count == 0))
        return SEALANE_TAKEOVER_UNPROVEN;
    return SEALANE_TAKEN;
}

/* ---- Tickets for a client ---- */

/* libssl, kept to read tickets. */
typedef struct reader {
    SSL *ssl;     /* NULL: it was not taken */
    BIO *records; /* what it reads from */
    BIO *nowhere; /* where it writes to */
} reader;

/* Errors of libssl here are nobody's business: without the ticket there is no resumption, that is all. */
static void on_ticket(void *owner, const uint8_t *record, size_t len)
{
    reader *r = owner;
    char none;

    ERR_set_mark();
    if (BIO_write(r->records, record, (int)len) == (int)len)
        (void)SSL_peek(r->ssl, &none, sizeof(none));
    ERR_pop_to_mark();
}

/*
 * SSL_free() takes a session that was not shut down for a broken one and removes it from the caches
 * (ssl_clear_bad_session()).
 */
static void ssl_end(SSL *ssl)
{
    SSL_set_shutdown(ssl, SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN);
    SSL_free(ssl);
}

static void reader_free(reader *r)
{
    if (r == NULL)
        return;
    if (r->ssl != NULL) {
        ssl_end(r->ssl); /* the BIOs are its own */
    } else {
        BIO_free(r->records);
        BIO_free(r->nowhere);
    }
    free(r);
}

static void on_tickets_end(void *owner)
{
    reader_free(owner);
}

static bool wants_tickets(const SSL *ssl)
{
    return SSL_is_server(ssl) == 0 && SSL_version(ssl) == TLS1_3_VERSION &&
           (SSL_CTX_get_session_cache_mode(SSL_get_SSL_CTX(ssl)) & SSL_SESS_CACHE_CLIENT) != 0;
}

static reader *reader_new(void)
{
    reader *r = calloc(1, sizeof(*r));

    if (r == NULL)
        return NULL;
    r->records = BIO_new(BIO_s_mem());
    r->nowhere = BIO_new(BIO_s_null());
    if (r->records != NULL && r->nowhere != NULL)
        return r;
    reader_free(r);
    return NULL;
}

/* From here on the SSL reads what it is given, and nobody hears it. */
static void reader_begin(reader *r, SSL *ssl)
{
    r->ssl = ssl;
    SSL_set0_rbio(ssl, r->records);
    SSL_set0_wbio(ssl, r->nowhere);
    watch_end(ssl);
}

/* ---- The session ---- */

typedef struct secrets {
    uint8_t master[MASTER_LEN], client_random[RANDOM_LEN], server_random[RANDOM_LEN];
} secrets;

static size_t fragment_max(const SSL *ssl)
{
    static const size_t lengths[] = {0, 512, 1024, 2048, 4096}; /* RFC 6066 4 */
    const SSL_SESSION *session = SSL_get_session(ssl);
    uint8_t code = session != NULL ? SSL_SESSION_get_max_fragment_length(session) : 0;

    return code < sizeof(lengths) / sizeof(lengths[0]) ? lengths[code] : 0;
}

/* False if the secrets are not there. */
static bool secrets_take(const SSL *ssl, const watch *w, secrets *s, sealane_session_params *p)
{
    const SSL_SESSION *session = SSL_get_session(ssl);

    if (p->suite->version == SEALANE_TLS1_3) {
        p->client_secret = w->client_secret;
        p->server_secret = w->server_secret;
        p->secret_len = w->secret_len;
        return w->client_known && w->server_known && w->secret_len == sealane_suite_hash_len(p->suite);
    }
    p->master_secret = s->master;
    p->client_random = s->client_random;
    p->server_random = s->server_random;
    return session != NULL && SSL_SESSION_get_master_key(session, s->master, MASTER_LEN) == MASTER_LEN &&
           SSL_get_client_random(ssl, s->client_random, RANDOM_LEN) == RANDOM_LEN &&
           SSL_get_server_random(ssl, s->server_random, RANDOM_LEN) == RANDOM_LEN;
}

static void records_take(const watch *w, sealane_session_params *p)
{
    p->sealed = w->out.count;
    p->opened = w->in.count;
    if (p->sealed > 0) {
        p->last_sealed = w->out.record;
        p->last_sealed_len = w->out.record_len;
    }
    if (p->opened > 0) {
        p->last_opened = w->in.record;
        p->last_opened_len = w->in.record_len;
    }
}

static sealane_takeover_verdict verdict_of(sealane_result result)
{
    switch (result) {
    case SEALANE_OK:
        return SEALANE_TAKEN;
    case SEALANE_FORGED:
        return SEALANE_TAKEOVER_PROOF;
    case SEALANE_RECORD:
        return SEALANE_TAKEOVER_STATE;
    case SEALANE_UNSUPPORTED:
        return SEALANE_TAKEOVER_SUITE;
    case SEALANE_MEMORY:
        return SEALANE_TAKEOVER_MEMORY;
    default:
        return SEALANE_TAKEOVER_ENGINE;
    }
}

/* Nothing of the SSL is changed. `r` may be NULL; on success it is the session's. */
static sealane_takeover_verdict session_make(const SSL *ssl, const watch *w, reader *r, sealane_session **out)
{
    sealane_session_params params = {
        .suite = suite_of(ssl), .server = SSL_is_server(ssl) == 1, .fragment_max = fragment_max(ssl)};
    sealane_takeover_verdict verdict = SEALANE_TAKEOVER_NO_SECRETS;
    secrets s;

    if (r != NULL)
        params.tickets = (sealane_session_tickets){.take = on_ticket, .end = on_tickets_end, .owner = r};
    records_take(w, &params);
    if (!holds(SEALANE_TAKEOVER_NO_SECRETS, !secrets_take(ssl, w, &s, &params)))
        verdict = verdict_of(sealane_session_new(out, &params));
    OPENSSL_cleanse(&s, sizeof(s));
    return verdict;
}

/* A rehearsal of what may come of all that. */
static sealane_takeover_verdict session_drill(const SSL *ssl, const watch *w, sealane_session **out)
{
    sealane_takeover_verdict verdict = session_make(ssl, w, NULL, out);

    if (verdict != SEALANE_TAKEN)
        return verdict;
    sealane_session_free(*out);
    *out = NULL;
    return drill;
}

static sealane_takeover_verdict ssl_take(SSL *ssl, const watch *w, sealane_session **out)
{
    const bool tickets = wants_tickets(ssl);
    reader *r = tickets ? reader_new() : NULL;
    sealane_takeover_verdict verdict = SEALANE_TAKEOVER_MEMORY;

    if (!tickets || r != NULL)
        verdict = session_make(ssl, w, r, out);
    if (verdict != SEALANE_TAKEN)
        reader_free(r);
    else if (r != NULL)
        reader_begin(r, ssl);
    else
        ssl_end(ssl);
    return verdict;
}

sealane_takeover_verdict sealane_takeover(SSL *ssl, sealane_session **out)
{
    const watch *w = watch_of(ssl);
    sealane_session *session = NULL;
    sealane_takeover_verdict verdict;

    pthread_once(&drill_once, drill_read);
    if (holds(SEALANE_TAKEOVER_UNWATCHED, w == NULL))
        return SEALANE_TAKEOVER_UNWATCHED;
    verdict = connection_judge(ssl);
    if (verdict == SEALANE_TAKEN)
        verdict = streams_judge(ssl, w);
    if (verdict == SEALANE_TAKEN)
        verdict =
            drill >= SEALANE_TAKEOVER_PROOF ? session_drill(ssl, w, &session) : ssl_take(ssl, w, &session);
    if (verdict == SEALANE_TAKEN)
        *out = session;
    return verdict;
}
