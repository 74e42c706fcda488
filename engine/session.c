/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The life of a session, its keys and their proof, and what is known of it: sealane/session.h. What comes in is the
 * business of session_open.c and session_message.c, what goes out that of session_seal.c.
 */
#include "session_private.h"

#include <stdlib.h>
#include <string.h>
#include <openssl/crypto.h>

/* ---- Keys ---- */

sealane_result session_key_new(sealane_key **out, const sealane_session *s, sealane_direction direction,
                               const traffic_key *traffic, uint64_t sequence, uint64_t explicit_nonce)
{
    const sealane_key_params params = {.suite = s->suite,
                                       .direction = direction,
                                       .key = traffic->key,
                                       .key_len = sealane_cipher_get(s->suite->cipher)->key_len,
                                       .iv = traffic->iv,
                                       .iv_len = sealane_suite_iv_len(s->suite),
                                       .sequence = sequence,
                                       .explicit_nonce = explicit_nonce};

    return sealane_key_new(out, &params);
}

/* RFC 8446 7.2: the next secret, and from it the next key, whose records count from 0 (RFC 8446 5.3). */
sealane_result session_key_renew(sealane_session *s, sealane_direction direction)
{
    const bool sealing = direction == SEALANE_SEALING;
    sealane_key **key = sealing ? &s->seal_key : &s->open_key, *next = NULL;
    uint8_t *secret = sealing ? s->seal_secret : s->open_secret;
    traffic_key traffic;
    sealane_result result;

    traffic_secret_update(s->suite, secret);
    traffic_key_derive(s->suite, secret, &traffic);
    result = session_key_new(&next, s, direction, &traffic, 0, 0);
    OPENSSL_cleanse(&traffic, sizeof(traffic));
    if (result != SEALANE_OK)
        return session_fail(s, result, sealing ? -1 : ALERT_INTERNAL_ERROR, "no memory for a new key");
    sealane_key_free(*key);
    *key = next;
    if (sealing)
        s->seal_renewals++;
    else
        s->open_renewals++;
    return SEALANE_OK;
}

static void traffic_keys_make(const sealane_session_params *p, traffic_key *client, traffic_key *server)
{
    if (p->suite->version == SEALANE_TLS1_2) {
        traffic_keys_expand(p->suite, p->master_secret, p->client_random, p->server_random, client, server);
        return;
    }
    traffic_key_derive(p->suite, p->client_secret, client);
    traffic_key_derive(p->suite, p->server_secret, server);
}

/* ---- Proof ---- */

bool messages_are(const uint8_t *payload, size_t len, uint8_t type)
{
    while (len >= MESSAGE_HEADER_LEN) {
        size_t whole = MESSAGE_HEADER_LEN + ((size_t)payload[1] << 16 | (size_t)payload[2] << 8 | payload[3]);
        if (payload[0] != type || whole > len)
            return false;
        payload += whole;
        len -= whole;
    }
    return len == 0;
}

/* Kinds of records behind which both sides are where the counts say. */
static bool is_settled(const sealane_session *s, const sealane_open_op *op)
{
    if (op->type == SEALANE_HANDSHAKE)
        return messages_are(op->out, op->payload_len,
                            s->tls13 ? MESSAGE_NEW_SESSION_TICKET : MESSAGE_FINISHED);
    return op->type == SEALANE_APPLICATION_DATA;
}

/* Opens a record that is in the past already, with a key that stands there. */
static sealane_result prove(const sealane_session *s, sealane_key *key, const uint8_t *record, size_t len)
{
    sealane_open_op op = {.key = key, .record = record, .record_len = len, .out_size = len};
    sealane_result result;

    op.out = malloc(len);
    if (op.out == NULL)
        return SEALANE_MEMORY;
    result = sealane_record_open(&op);
    if (result == SEALANE_OK && !is_settled(s, &op))
        result = SEALANE_RECORD;
    else if (result != SEALANE_OK)
        result = SEALANE_FORGED; /* also where it is not even a record of this version */
    OPENSSL_cleanse(op.out, len);
    free(op.out);
    return result;
}

static sealane_result open_key_make(sealane_session *s, const sealane_session_params *p,
                                    const traffic_key *traffic)
{
    bool proof = p->last_opened != NULL;
    sealane_result result = session_key_new(&s->open_key, s, SEALANE_OPENING, traffic, p->opened - proof, 0);

    if (result == SEALANE_OK && proof)
        result = prove(s, s->open_key, p->last_opened, p->last_opened_len);
    return result;
}

/* TLS 1.2: where the explicit nonce goes on behind the last one (RFC 5288 3: the sender may count as it likes). */
static uint64_t explicit_nonce_next(const sealane_session_params *p)
{
    uint64_t nonce = 0;

    if (p->last_sealed != NULL && p->last_sealed_len >= SEALANE_RECORD_HEADER_LEN + sizeof(nonce))
        memcpy(&nonce, p->last_sealed + SEALANE_RECORD_HEADER_LEN, sizeof(nonce));
    return __builtin_bswap64(nonce) + 1;
}

/* A key that seals opens nothing: the proof takes a second one. */
static sealane_result seal_key_make(sealane_session *s, const sealane_session_params *p,
                                    const traffic_key *traffic)
{
    sealane_key *past = NULL;
    sealane_result result = SEALANE_OK;

    if (p->last_sealed != NULL) {
        result = session_key_new(&past, s, SEALANE_OPENING, traffic, p->sealed - 1, 0);
        if (result == SEALANE_OK)
            result = prove(s, past, p->last_sealed, p->last_sealed_len);
        sealane_key_free(past);
    }
    if (result != SEALANE_OK)
        return result;
    return session_key_new(&s->seal_key, s, SEALANE_SEALING, traffic, p->sealed, explicit_nonce_next(p));
}

/* ---- Life ---- */

static bool params_complete(const sealane_session_params *p)
{
    if (p->fragment_max > SEALANE_PLAINTEXT_MAX || (p->last_sealed != NULL && p->sealed == 0) ||
        (p->last_opened != NULL && p->opened == 0))
        return false;
    if (p->suite->version == SEALANE_TLS1_3)
        return p->client_secret != NULL && p->server_secret != NULL && p->secret_len == secret_len(p->suite);
    return p->master_secret != NULL && p->client_random != NULL && p->server_random != NULL &&
           p->last_sealed != NULL;
}

static void secrets_keep(sealane_session *s, const sealane_session_params *p)
{
    if (!s->tls13)
        return;
    memcpy(s->seal_secret, s->server ? p->server_secret : p->client_secret, p->secret_len);
    memcpy(s->open_secret, s->server ? p->client_secret : p->server_secret, p->secret_len);
}

static sealane_result keys_make(sealane_session *s, const sealane_session_params *p)
{
    traffic_key client, server;
    sealane_result result;

    traffic_keys_make(p, &client, &server);
    result = open_key_make(s, p, s->server ? &client : &server);
    if (result == SEALANE_OK)
        result = seal_key_make(s, p, s->server ? &server : &client);
    OPENSSL_cleanse(&client, sizeof(client));
    OPENSSL_cleanse(&server, sizeof(server));
    return result;
}

sealane_result sealane_session_new(sealane_session **out, const sealane_session_params *params)
{
    sealane_session *s;
    sealane_result result;

    if (out == NULL || params == NULL || params->suite == NULL || !params_complete(params))
        return SEALANE_ARGUMENT;
    if (params->suite->cipher >= SEALANE_CIPHERS)
        return SEALANE_UNSUPPORTED;
    s = line_alloc(sizeof(*s));
    if (s == NULL)
        return SEALANE_MEMORY;
    s->suite = params->suite;
    s->server = params->server;
    s->tls13 = params->suite->version == SEALANE_TLS1_3;
    s->fragment_max = (uint16_t)(params->fragment_max > 0 ? params->fragment_max : SEALANE_PLAINTEXT_MAX);
    s->alert_sent = s->alert_received = -1;
    secrets_keep(s, params);
    result = keys_make(s, params);
    if (result != SEALANE_OK) {
        sealane_session_free(s);
        return result;
    }
    s->tickets = params->tickets;
    s->tickets_due = params->tickets.take != NULL || params->tickets.end != NULL;
    *out = s;
    return SEALANE_OK;
}

void sealane_session_free(sealane_session *s)
{
    if (s == NULL)
        return;
    session_tickets_end(s);
    sealane_key_free(s->seal_key);
    sealane_key_free(s->open_key);
    OPENSSL_cleanse(s, sizeof(*s));
    free(s);
}

void session_tickets_drop(sealane_session *s)
{
    const sealane_session_tickets tickets = s->tickets;

    s->tickets_due = false;
    s->tickets = (sealane_session_tickets){NULL, NULL, NULL};
    if (tickets.end != NULL)
        tickets.end(tickets.owner);
}

sealane_result session_fail(sealane_session *s, sealane_result result, int alert, const char *reason)
{
    if (s->reason != NULL)
        return result;
    s->reason = reason;
    s->result = (uint8_t)result;
    if (!s->closed) { /* nothing may follow close_notify: RFC 8446 6.1 */
        s->alert_sent = (int16_t)alert;
        s->alert_due = alert >= 0;
    }
    session_tickets_end(s);
    return result;
}

/* ---- What the caller decides ---- */

void sealane_session_close(sealane_session *s)
{
    s->closing = true;
}

bool sealane_session_renew(sealane_session *s, bool of_peer)
{
    if (!s->tls13 || s->reason != NULL || s->closed)
        return false;
    s->renew_due = true;
    s->renew_asks |= of_peer;
    return true;
}

void sealane_session_pad(sealane_session *s, size_t block)
{
    if (s->tls13)
        s->pad_block = (uint16_t)(block < SEALANE_PLAINTEXT_MAX ? block : SEALANE_PLAINTEXT_MAX);
}

/* ---- What is known ---- */

sealane_session_status sealane_session_get_status(const sealane_session *s)
{
    if (s->reason != NULL)
        return SEALANE_SESSION_FAILED;
    return s->peer_closed ? SEALANE_SESSION_PEER_CLOSED : SEALANE_SESSION_OPEN;
}

bool sealane_session_has_closed(const sealane_session *s)
{
    return s->closed;
}

const char *sealane_session_reason(const sealane_session *s)
{
    return s->reason != NULL ? s->reason : "";
}

int sealane_session_alert_sent(const sealane_session *s)
{
    return s->alert_sent;
}

int sealane_session_alert_received(const sealane_session *s)
{
    return s->alert_received;
}

bool sealane_session_is_worn(const sealane_session *s)
{
    return !s->tls13 && sealane_key_rekey_due(s->seal_key);
}

const sealane_suite *sealane_session_get_suite(const sealane_session *s)
{
    return s->suite;
}

void sealane_session_get_counts(const sealane_session *s, sealane_session_counts *out)
{
    *out = (sealane_session_counts){.seal_sequence = s->seal_key->sequence,
                                    .open_sequence = s->open_key->sequence,
                                    .seal_renewals = s->seal_renewals,
                                    .open_renewals = s->open_renewals};
}
