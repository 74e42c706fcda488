/* SPDX-License-Identifier: Apache-2.0 */
/* A session against a peer of ours; see support_session.h. */
#include "support_session.h"

#include <string.h>

const uint8_t match_secrets[2][SECRET_MAX] = {{1, 2, 3}, {4, 5, 6}};
const uint8_t match_master[TLS12_MASTER] = {7}, match_randoms[2][TLS12_RANDOM] = {{8}, {9}};

static sealane_key *key_of(const match *m, sealane_direction direction, const traffic_key *traffic,
                           uint64_t sequence)
{
    sealane_key_params params = {.suite = m->suite,
                                 .direction = direction,
                                 .key = traffic->key,
                                 .key_len = sealane_cipher_get(m->suite->cipher)->key_len,
                                 .iv = traffic->iv,
                                 .iv_len = sealane_suite_iv_len(m->suite),
                                 .sequence = sequence,
                                 .explicit_nonce = sequence};
    sealane_key *key = NULL;

    CU_ASSERT_EQUAL_FATAL(sealane_key_new(&key, &params), SEALANE_OK);
    return key;
}

size_t match_seal(match *m, uint8_t type, const void *payload, size_t len, size_t padding, uint8_t *out)
{
    struct iovec piece = {(void *)(uintptr_t)payload, len};
    sealane_seal_op op = {.key = m->seal,
                          .type = type,
                          .payload = &piece,
                          .payload_count = 1,
                          .padding = padding,
                          .out = out,
                          .out_size = SEALANE_RECORD_MAX};

    CU_ASSERT_EQUAL_FATAL(sealane_record_seal(&op), SEALANE_OK);
    return op.out_len;
}

void match_send_padded(match *m, uint8_t type, const void *payload, size_t len, size_t padding)
{
    CU_ASSERT_FATAL(m->wire_len + SEALANE_RECORD_MAX <= sizeof(m->wire));
    m->wire_len += match_seal(m, type, payload, len, padding, m->wire + m->wire_len);
}

void match_send(match *m, uint8_t type, const void *payload, size_t len)
{
    match_send_padded(m, type, payload, len, 0);
}

void match_send_inner(match *m, const void *inner, size_t len)
{
    uint8_t *record = m->wire + m->wire_len, nonce[2 * sizeof(uint64_t)];
    const uint64_t sequence = __builtin_bswap64(m->seal->sequence++);
    const size_t sealed = len + m->seal->tag_len;

    memcpy(nonce, &m->seal->iv_first, sizeof(m->seal->iv_first));
    memcpy(nonce + sizeof(uint64_t), &m->seal->iv_last, sizeof(m->seal->iv_last));
    for (size_t i = 0; i < sizeof(sequence); i++)
        nonce[SEALANE_NONCE_LEN - sizeof(sequence) + i] ^= ((const uint8_t *)&sequence)[i];
    memcpy(record, (uint8_t[]){SEALANE_APPLICATION_DATA, 3, 3, (uint8_t)(sealed >> 8), (uint8_t)sealed}, 5);
    CU_ASSERT_EQUAL_FATAL(
        sealane_aead_seal(&m->seal->aead, nonce, record, 5, inner, len, record + 5, record + 5 + len),
        SEALANE_OK);
    m->wire_len += 5 + sealed;
}

static void ticket_take(void *owner, const uint8_t *record, size_t len)
{
    match *m = owner;

    CU_ASSERT(len > 5 && record[0] == 23);
    m->tickets++;
}

static void ticket_end(void *owner)
{
    ((match *)owner)->ends++;
}

/* A finished handshake's last words, which TLS 1.2 wants to see. */
static void proof_make(match *m, const traffic_key *traffic, uint8_t *record, size_t *len)
{
    static const uint8_t finished[16] = {MESSAGE_FINISHED, 0, 0, 12};
    sealane_key *mine = m->seal;

    m->seal = key_of(m, SEALANE_SEALING, traffic, 0);
    *len = match_seal(m, SEALANE_HANDSHAKE, finished, sizeof(finished), 0, record);
    sealane_key_free(m->seal);
    m->seal = mine;
}

void match_begin(match *m, uint16_t suite, bool server, size_t fragment_max)
{
    static uint8_t last[SEALANE_RECORD_MAX];
    traffic_key keys[2];
    sealane_session_params p = {
        .suite = sealane_suite_find(suite), .server = server, .fragment_max = fragment_max};

    memset(m, 0, sizeof(*m));
    m->suite = p.suite;
    m->server = server;
    if (m->suite->version == SEALANE_TLS1_3) {
        p.client_secret = match_secrets[0];
        p.server_secret = match_secrets[1];
        p.secret_len = secret_len(m->suite);
        traffic_key_derive(m->suite, match_secrets[0], &keys[0]);
        traffic_key_derive(m->suite, match_secrets[1], &keys[1]);
    } else {
        p.master_secret = match_master;
        p.client_random = match_randoms[0];
        p.server_random = match_randoms[1];
        p.sealed = p.opened = 1;
        p.last_sealed = last;
        traffic_keys_expand(m->suite, match_master, match_randoms[0], match_randoms[1], &keys[0], &keys[1]);
        proof_make(m, &keys[server], last, &p.last_sealed_len);
    }
    if (!server)
        p.tickets = (sealane_session_tickets){.take = ticket_take, .end = ticket_end, .owner = m};
    CU_ASSERT_EQUAL_FATAL(sealane_session_new(&m->session, &p), SEALANE_OK);
    m->seal = key_of(m, SEALANE_SEALING, &keys[!server], p.opened);
    m->open = key_of(m, SEALANE_OPENING, &keys[server], p.sealed);
    memcpy(m->seal_secret, match_secrets[!server], SECRET_MAX);
    memcpy(m->open_secret, match_secrets[server], SECRET_MAX);
}

void match_end(match *m)
{
    sealane_session_free(m->session);
    sealane_key_free(m->seal);
    sealane_key_free(m->open);
    if (!m->server)
        CU_ASSERT_EQUAL(m->ends, 1);
}

/* The session opens what was sent. */
sealane_result match_receive(match *m)
{
    sealane_session_op op = {.session = m->session,
                             .in = m->wire,
                             .in_len = m->wire_len,
                             .out = m->got,
                             .out_size = sizeof(m->got)};

    sealane_sessions_open(&op, 1);
    m->got_len = op.produced;
    m->wire_len -= op.consumed;
    memmove(m->wire, m->wire + op.consumed, m->wire_len);
    return op.result;
}

void match_peer_renew(match *m, sealane_key **key, uint8_t *secret, sealane_direction direction)
{
    traffic_key traffic;

    traffic_secret_update(m->suite, secret);
    traffic_key_derive(m->suite, secret, &traffic);
    sealane_key_free(*key);
    *key = key_of(m, direction, &traffic, 0);
}

void match_send_key_update(match *m, uint8_t request)
{
    const uint8_t message[] = {MESSAGE_KEY_UPDATE, 0, 0, 1, request};

    match_send(m, SEALANE_HANDSHAKE, message, sizeof(message));
    match_peer_renew(m, &m->seal, m->seal_secret, SEALANE_SEALING);
}

size_t match_say(match *m, const void *data, size_t len, heard list[], size_t room)
{
    static uint8_t out[1 << 18];
    sealane_session_op op = {
        .session = m->session, .in = data, .in_len = len, .out = out, .out_size = sizeof(out)};
    size_t count = 0;

    sealane_sessions_seal(&op, 1);
    CU_ASSERT(op.produced <= sealane_session_seal_size(m->session, len));
    for (size_t at = 0; at < op.produced; count++) {
        CU_ASSERT_FATAL(count < room);
        sealane_open_op open = {.key = m->open,
                                .record = out + at,
                                .out = list[count].payload,
                                .out_size = sizeof(list[count].payload)};
        CU_ASSERT_EQUAL_FATAL(sealane_record_length(m->open, out + at, op.produced - at, &open.record_len),
                              SEALANE_OK);
        CU_ASSERT_EQUAL_FATAL(sealane_record_open(&open), SEALANE_OK);
        list[count].type = open.type;
        list[count].len = open.payload_len;
        if (open.type == SEALANE_HANDSHAKE)
            match_peer_renew(m, &m->open, m->open_secret, SEALANE_OPENING);
        at += open.record_len;
    }
    return count;
}

/* It failed, delivered nothing of that, and says so by this alert and nothing else. */
void match_fails(match *m, sealane_result result, uint8_t alert)
{
    static heard said[2];

    CU_ASSERT_EQUAL(match_receive(m), result);
    CU_ASSERT_EQUAL(sealane_session_get_status(m->session), SEALANE_SESSION_FAILED);
    CU_ASSERT_NOT_EQUAL(sealane_session_reason(m->session)[0], '\0');
    CU_ASSERT_EQUAL(sealane_session_alert_sent(m->session), alert);
    CU_ASSERT(sealane_session_wants_seal(m->session));
    CU_ASSERT_EQUAL_FATAL(match_say(m, NULL, 0, said, COUNT(said)), 1);
    CU_ASSERT_EQUAL(said[0].type, SEALANE_ALERT);
    CU_ASSERT_EQUAL(said[0].len, 2);
    CU_ASSERT_EQUAL(said[0].payload[0], ALERT_FATAL);
    CU_ASSERT_EQUAL(said[0].payload[1], alert);
    CU_ASSERT(sealane_session_has_closed(m->session));
    CU_ASSERT(!sealane_session_wants_seal(m->session));
    CU_ASSERT_EQUAL(match_receive(m), result);
    CU_ASSERT_EQUAL(m->got_len, 0);
    CU_ASSERT_EQUAL(match_say(m, "more", 4, said, COUNT(said)), 0);
    match_end(m);
}
