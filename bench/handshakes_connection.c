/* SPDX-License-Identifier: Apache-2.0 */
/* One TLS connection, both ends in this thread, over a pair of memory BIOs; and threads that make one after
 * the other. */
#include <stdlib.h>
#include <string.h>
#include <openssl/rand.h>
#include "clock.h"
#include "handshakes_tls.h"

bool connection_begin(struct connection *c, const struct tls *t, bool in_jobs, char why[TEXT_MAX])
{
    BIO *near = NULL, *far = NULL;

    memset(c, 0, sizeof(*c));
    c->began = clock_now();
    c->client = SSL_new(t->client);
    c->server = SSL_new(t->server);
    if (c->client == NULL || c->server == NULL || SSL_set1_host(c->client, "localhost") != 1 ||
        BIO_new_bio_pair(&near, 0, &far, 0) != 1) {
        connection_end(c);
        return act_failed(why, "no connection can be made");
    }
    SSL_set_bio(c->client, near, near);
    SSL_set_bio(c->server, far, far);
    SSL_set_connect_state(c->client);
    SSL_set_accept_state(c->server);
    if (in_jobs)
        SSL_set_mode(c->server, SSL_MODE_ASYNC);
    return true;
}

void connection_end(struct connection *c)
{
    SSL_free(c->client);
    SSL_free(c->server);
    c->client = c->server = NULL;
}

static enum outcome failed(char why[TEXT_MAX], const char *what)
{
    act_failed(why, what);
    return OUTCOME_FAILED;
}

/* As far as `end` gets with what lies in its BIO. */
static enum outcome end_step(SSL *end)
{
    int done = SSL_do_handshake(end);
    int error = done == 1 ? SSL_ERROR_NONE : SSL_get_error(end, done);

    switch (error) {
    case SSL_ERROR_NONE:
    case SSL_ERROR_WANT_READ:
        return OUTCOME_DONE;
    case SSL_ERROR_WANT_ASYNC:
    case SSL_ERROR_WANT_ASYNC_JOB:
        return OUTCOME_PAUSED;
    default:
        return OUTCOME_FAILED;
    }
}

static bool sample_send(SSL *from, SSL *to, const uint8_t sample[SAMPLE])
{
    uint8_t got[SAMPLE];

    return SSL_write(from, sample, SAMPLE) == SAMPLE && SSL_read(to, got, SAMPLE) == SAMPLE &&
           memcmp(got, sample, SAMPLE) == 0;
}

static const char *what_is_wrong(const struct connection *c, const work *w)
{
    static const int signatures[KEY_KINDS] = {EVP_PKEY_RSA_PSS, EVP_PKEY_EC, EVP_PKEY_ED25519};
    int nid = 0;

    if (SSL_get_verify_result(c->client) != X509_V_OK || SSL_get0_verified_chain(c->client) == NULL)
        return "the client did not verify the server's chain";
    if (SSL_session_reused(c->client) || SSL_session_reused(c->server))
        return "it was a resumption";
    if (SSL_version(c->client) != (w->tls == 12 ? TLS1_2_VERSION : TLS1_3_VERSION))
        return "wrong version of TLS";
    if (SSL_get_peer_signature_type_nid(c->client, &nid) != 1 || nid != signatures[w->key])
        return "wrong kind of signature";
    return NULL;
}

static enum outcome connection_finish(struct connection *c, const struct act *a, char why[TEXT_MAX])
{
    const char *wrong = what_is_wrong(c, &a->work);

    if (wrong != NULL)
        return failed(why, wrong);
    SSL_clear_mode(c->server, SSL_MODE_ASYNC);
    if (RAND_bytes(c->sample, SAMPLE) != 1 || !sample_send(c->client, c->server, c->sample) ||
        !sample_send(c->server, c->client, c->sample))
        return failed(why, "what was sent did not arrive");
    if (SSL_shutdown(c->client) < 0 || SSL_shutdown(c->server) < 0)
        return failed(why, "the connection does not close");
    return OUTCOME_DONE;
}

enum outcome connection_step(struct connection *c, const struct act *a, char why[TEXT_MAX])
{
    /* Both speak in turn; more turns than there are flights mean that nothing moves. */
    for (int turn = 0; turn < 8; turn++) {
        enum outcome here = c->paused ? OUTCOME_DONE : end_step(c->client);
        if (here == OUTCOME_FAILED)
            return failed(why, "the client's handshake failed");
        here = end_step(c->server);
        if (here == OUTCOME_FAILED)
            return failed(why, "the server's handshake failed");
        c->paused = here == OUTCOME_PAUSED;
        if (c->paused)
            return OUTCOME_PAUSED;
        if (SSL_is_init_finished(c->client) && SSL_is_init_finished(c->server))
            return connection_finish(c, a, why);
    }
    return failed(why, "the handshake does not get on");
}

/* ---- Threads that wait ---- */

static bool handshakes_prepare(struct act *a, char why[TEXT_MAX])
{
    a->state = calloc(1, sizeof(struct tls));
    return a->state != NULL && tls_prepare(a->state, a, why);
}

static bool handshakes_once(struct act *a, unsigned seat, char why[TEXT_MAX])
{
    struct connection c;

    (void)seat;
    if (!connection_begin(&c, a->state, false, why))
        return false;
    bool done = connection_step(&c, a, why) == OUTCOME_DONE;
    connection_end(&c);
    return done;
}

static void handshakes_end(struct act *a)
{
    if (a->state != NULL)
        tls_end(a->state);
    free(a->state);
}

const struct activity_ops activity_handshakes = {handshakes_prepare, handshakes_once, NULL, handshakes_end};
