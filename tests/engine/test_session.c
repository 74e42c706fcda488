/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a session does with what a peer sends, against a peer of ours that seals whatever it likes: each content type,
 * each wrong thing with the alert that RFC 8446 6.2 and RFC 5246 7.2.2 ask for, cuts at every byte, floods, limits.
 */
#include "support.h"

#include <stdlib.h>
#include <string.h>
#include <sealane/engine.h>
#include "frame.h"
#include "session_private.h"

static const uint8_t secrets[2][SECRET_MAX] = {{1, 2, 3}, {4, 5, 6}};
static const uint8_t master[TLS12_MASTER] = {7}, randoms[2][TLS12_RANDOM] = {{8}, {9}};

#define AES128_13 0x1301
#define AES256_13 0x1302
#define CHACHA_13 0x1303
#define AES128_12 0xc02b

/* A session, and the keys of its peer. */
typedef struct match {
    sealane_session *session;
    const sealane_suite *suite;
    bool server;
    sealane_key *seal, *open;                                 /* the peer's */
    uint8_t seal_secret[SECRET_MAX], open_secret[SECRET_MAX]; /* TLS 1.3 */
    uint8_t wire[1 << 18];                                    /* to the session */
    size_t wire_len;
    uint8_t got[1 << 18];
    size_t got_len;
    unsigned tickets, ends;
} match;

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

static size_t seal_raw(match *m, uint8_t type, const void *payload, size_t len, size_t padding, uint8_t *out)
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

static void send_padded(match *m, uint8_t type, const void *payload, size_t len, size_t padding)
{
    CU_ASSERT_FATAL(m->wire_len + SEALANE_RECORD_MAX <= sizeof(m->wire));
    m->wire_len += seal_raw(m, type, payload, len, padding, m->wire + m->wire_len);
}

static void send(match *m, uint8_t type, const void *payload, size_t len)
{
    send_padded(m, type, payload, len, 0);
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
    *len = seal_raw(m, SEALANE_HANDSHAKE, finished, sizeof(finished), 0, record);
    sealane_key_free(m->seal);
    m->seal = mine;
}

static void match_begin(match *m, uint16_t suite, bool server, size_t fragment_max)
{
    static uint8_t last[SEALANE_RECORD_MAX];
    traffic_key keys[2];
    sealane_session_params p = {
        .suite = sealane_suite_find(suite), .server = server, .fragment_max = fragment_max};

    memset(m, 0, sizeof(*m));
    m->suite = p.suite;
    m->server = server;
    if (m->suite->version == SEALANE_TLS1_3) {
        p.client_secret = secrets[0];
        p.server_secret = secrets[1];
        p.secret_len = secret_len(m->suite);
        traffic_key_derive(m->suite, secrets[0], &keys[0]);
        traffic_key_derive(m->suite, secrets[1], &keys[1]);
    } else {
        p.master_secret = master;
        p.client_random = randoms[0];
        p.server_random = randoms[1];
        p.sealed = p.opened = 1;
        p.last_sealed = last;
        traffic_keys_expand(m->suite, master, randoms[0], randoms[1], &keys[0], &keys[1]);
        proof_make(m, &keys[server], last, &p.last_sealed_len);
    }
    if (!server)
        p.tickets = (sealane_session_tickets){.take = ticket_take, .end = ticket_end, .owner = m};
    CU_ASSERT_EQUAL_FATAL(sealane_session_new(&m->session, &p), SEALANE_OK);
    m->seal = key_of(m, SEALANE_SEALING, &keys[!server], p.opened);
    m->open = key_of(m, SEALANE_OPENING, &keys[server], p.sealed);
    memcpy(m->seal_secret, secrets[!server], SECRET_MAX);
    memcpy(m->open_secret, secrets[server], SECRET_MAX);
}

static void match_end(match *m)
{
    sealane_session_free(m->session);
    sealane_key_free(m->seal);
    sealane_key_free(m->open);
    if (!m->server)
        CU_ASSERT_EQUAL(m->ends, 1);
}

/* The session opens what was sent. */
static sealane_result receive(match *m)
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

static void peer_renew(match *m, sealane_key **key, uint8_t *secret, sealane_direction direction)
{
    traffic_key traffic;

    traffic_secret_update(m->suite, secret);
    traffic_key_derive(m->suite, secret, &traffic);
    sealane_key_free(*key);
    *key = key_of(m, direction, &traffic, 0);
}

static void send_key_update(match *m, uint8_t request)
{
    const uint8_t message[] = {MESSAGE_KEY_UPDATE, 0, 0, 1, request};

    send(m, SEALANE_HANDSHAKE, message, sizeof(message));
    peer_renew(m, &m->seal, m->seal_secret, SEALANE_SEALING);
}

/* What the session has to say: the next record, opened by the peer. */
typedef struct heard {
    uint8_t type;
    uint8_t payload[SEALANE_PLAINTEXT_MAX + 256];
    size_t len;
} heard;

static size_t say(match *m, const void *data, size_t len, heard list[], size_t room)
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
            peer_renew(m, &m->open, m->open_secret, SEALANE_OPENING);
        at += open.record_len;
    }
    return count;
}

/* It failed, delivered nothing of that, and says so by this alert and nothing else. */
static void fails_with(match *m, sealane_result result, uint8_t alert)
{
    static heard said[2];

    CU_ASSERT_EQUAL(receive(m), result);
    CU_ASSERT_EQUAL(sealane_session_get_status(m->session), SEALANE_SESSION_FAILED);
    CU_ASSERT_NOT_EQUAL(sealane_session_reason(m->session)[0], '\0');
    CU_ASSERT_EQUAL(sealane_session_alert_sent(m->session), alert);
    CU_ASSERT(sealane_session_wants_seal(m->session));
    CU_ASSERT_EQUAL_FATAL(say(m, NULL, 0, said, COUNT(said)), 1);
    CU_ASSERT_EQUAL(said[0].type, SEALANE_ALERT);
    CU_ASSERT_EQUAL(said[0].len, 2);
    CU_ASSERT_EQUAL(said[0].payload[0], ALERT_FATAL);
    CU_ASSERT_EQUAL(said[0].payload[1], alert);
    CU_ASSERT(sealane_session_has_closed(m->session));
    CU_ASSERT(!sealane_session_wants_seal(m->session));
    CU_ASSERT_EQUAL(receive(m), result);
    CU_ASSERT_EQUAL(m->got_len, 0);
    CU_ASSERT_EQUAL(say(m, "more", 4, said, COUNT(said)), 0);
    match_end(m);
}

static match m; /* large */

/* ---- Application data ---- */

static void test_lengths(void)
{
    static const uint16_t suites[] = {AES128_13, AES256_13, CHACHA_13, AES128_12};
    static const size_t lengths[] = {1, 2, 15, 16, 17, 1000, 16383, 16384};
    static uint8_t data[SEALANE_PLAINTEXT_MAX];
    prng random = {1};

    for (size_t s = 0; s < COUNT(suites); s++) {
        match_begin(&m, suites[s], s % 2 == 0, 0);
        for (size_t i = 0; i < COUNT(lengths); i++) {
            prng_fill(&random, data, lengths[i]);
            send(&m, SEALANE_APPLICATION_DATA, NULL, 0);
            send(&m, SEALANE_APPLICATION_DATA, data, lengths[i]);
            CU_ASSERT_EQUAL(receive(&m), SEALANE_OK);
            CU_ASSERT_EQUAL(m.got_len, lengths[i]);
            CU_ASSERT_EQUAL(memcmp(m.got, data, lengths[i]), 0);
            if (m.suite->version != SEALANE_TLS1_3)
                continue;
            send_padded(&m, SEALANE_APPLICATION_DATA, data, lengths[i], SEALANE_PLAINTEXT_MAX - lengths[i]);
            CU_ASSERT_EQUAL(receive(&m), SEALANE_OK);
            CU_ASSERT_EQUAL(m.got_len, lengths[i]);
        }
        CU_ASSERT_EQUAL(m.wire_len, 0);
        match_end(&m);
    }
}

/* Each prefix first, then the whole: nothing comes before a record is complete, and then all of it. */
static void test_cut_at_every_byte(void)
{
    static const uint16_t suites[] = {AES128_13, AES128_12};
    static uint8_t whole[1024], text[100], got[SEALANE_SESSION_OPEN_ROOM];

    for (size_t s = 0; s < COUNT(suites); s++) {
        match_begin(&m, suites[s], true, 0);
        size_t len = 0;
        for (int r = 0; r < 3; r++)
            len += seal_raw(&m, SEALANE_APPLICATION_DATA, text, sizeof(text), 0, whole + len);
        size_t record = len / 3, taken = 0, total = 0;
        for (size_t here = 0; here <= len; here++) {
            sealane_session_op op = {.session = m.session,
                                     .in = whole + taken,
                                     .in_len = here - taken,
                                     .out = got,
                                     .out_size = sizeof(got)};
            sealane_sessions_open(&op, 1);
            CU_ASSERT_EQUAL(op.result, SEALANE_OK);
            CU_ASSERT_EQUAL(op.consumed > 0, here > 0 && here % record == 0);
            taken += op.consumed;
            total += op.produced;
            CU_ASSERT_EQUAL(taken, here / record * record);
        }
        CU_ASSERT_EQUAL(total, sizeof(text) * 3);
        match_end(&m);
    }
}

static void test_every_flipped_bit_is_refused(void)
{
    static const uint16_t suites[] = {AES128_13, CHACHA_13, AES128_12};

    for (size_t s = 0; s < COUNT(suites); s++)
        for (size_t at = 5;; at++) {
            match_begin(&m, suites[s], true, 0);
            send(&m, SEALANE_APPLICATION_DATA, "good", 4);
            size_t first = m.wire_len;
            send(&m, SEALANE_APPLICATION_DATA, "authentic", 9);
            if (first + at == m.wire_len) {
                match_end(&m);
                break;
            }
            m.wire[first + at] ^= (uint8_t)(1u << at % 8);
            CU_ASSERT_EQUAL(receive(&m), SEALANE_FORGED);
            CU_ASSERT_EQUAL(m.got_len, 4); /* the one before was authentic; nothing of this */
            CU_ASSERT(all_zero(m.got + 4, 9));
            fails_with(&m, SEALANE_FORGED, ALERT_BAD_RECORD_MAC);
        }
}

static void test_replayed_and_swapped_records_are_refused(void)
{
    uint8_t first[64], second[64];
    size_t len;

    for (int swapped = 0; swapped <= 1; swapped++) {
        match_begin(&m, AES256_13, true, 0);
        len = seal_raw(&m, SEALANE_APPLICATION_DATA, "one", 3, 0, first);
        seal_raw(&m, SEALANE_APPLICATION_DATA, "two", 3, 0, second);
        memcpy(m.wire, swapped ? second : first, len);
        memcpy(m.wire + len, first, len);
        m.wire_len = 2 * len;
        CU_ASSERT_EQUAL(receive(&m), SEALANE_FORGED);
        CU_ASSERT_EQUAL(m.got_len, swapped ? 0 : 3);
        fails_with(&m, SEALANE_FORGED, ALERT_BAD_RECORD_MAC);
    }
}

/* ---- Headers ---- */

static void send_header(uint16_t suite, uint8_t type, uint16_t version, size_t len)
{
    match_begin(&m, suite, true, 0);
    m.wire[0] = type;
    m.wire[1] = (uint8_t)(version >> 8);
    m.wire[2] = (uint8_t)version;
    m.wire[3] = (uint8_t)(len >> 8);
    m.wire[4] = (uint8_t)len;
    memset(m.wire + 5, 0xa5, len);
    m.wire_len = 5; /* refused before it is here: nobody makes us wait for it */
}

static void test_headers(void)
{
    static const uint8_t types13[] = {0, 20, 21, 22, 24, 255}, types12[] = {0, 19, 24, 255};

    for (size_t i = 0; i < COUNT(types13); i++) {
        send_header(AES128_13, types13[i], 0x0303, 1);
        fails_with(&m, SEALANE_RECORD, ALERT_UNEXPECTED_MESSAGE);
    }
    for (size_t i = 0; i < COUNT(types12); i++) {
        send_header(AES128_12, types12[i], 0x0303, 100);
        fails_with(&m, SEALANE_RECORD, ALERT_UNEXPECTED_MESSAGE);
    }
    send_header(AES128_13, 23, 0x0302, 100);
    fails_with(&m, SEALANE_RECORD, ALERT_PROTOCOL_VERSION);
    send_header(AES128_12, 23, 0x0301, 100);
    fails_with(&m, SEALANE_RECORD, ALERT_PROTOCOL_VERSION);
    send_header(AES128_13, 23, 0x0303, 16);
    fails_with(&m, SEALANE_RECORD, ALERT_BAD_RECORD_MAC);
    send_header(AES128_12, 23, 0x0303, 23);
    fails_with(&m, SEALANE_RECORD, ALERT_BAD_RECORD_MAC);
    send_header(AES128_13, 23, 0x0303, 16384 + 1 + 16 + 1);
    fails_with(&m, SEALANE_OVERFLOW, ALERT_RECORD_OVERFLOW);
    send_header(AES128_12, 23, 0x0303, 16384 + 24 + 1);
    fails_with(&m, SEALANE_OVERFLOW, ALERT_RECORD_OVERFLOW);
    send_header(AES128_13, 23, 0x0303, 65535);
    fails_with(&m, SEALANE_OVERFLOW, ALERT_RECORD_OVERFLOW);
}

static void test_longer_than_was_agreed(void)
{
    static uint8_t data[1025];

    match_begin(&m, AES128_13, true, 1024);
    send(&m, SEALANE_APPLICATION_DATA, data, 1024);
    CU_ASSERT_EQUAL(receive(&m), SEALANE_OK);
    send(&m, SEALANE_APPLICATION_DATA, data, 1025);
    fails_with(&m, SEALANE_OVERFLOW, ALERT_RECORD_OVERFLOW);
}

/* ---- Handshake messages ---- */

static void test_key_updates(void)
{
    static heard said[4];
    sealane_session_counts counts;

    match_begin(&m, AES256_13, true, 0);
    send(&m, SEALANE_APPLICATION_DATA, "a", 1);
    send_key_update(&m, 0);
    send(&m, SEALANE_APPLICATION_DATA, "b", 1);
    send_key_update(&m, 1);
    send_key_update(&m, 1);
    send(&m, SEALANE_APPLICATION_DATA, "c", 1);
    CU_ASSERT_EQUAL(receive(&m), SEALANE_OK);
    CU_ASSERT_EQUAL(m.got_len, 3);
    CU_ASSERT_EQUAL(memcmp(m.got, "abc", 3), 0);
    CU_ASSERT(sealane_session_wants_seal(m.session));
    CU_ASSERT_EQUAL_FATAL(say(&m, "d", 1, said, COUNT(said)),
                          2); /* one answer for both, before what is said next */
    CU_ASSERT_EQUAL(said[0].type, SEALANE_HANDSHAKE);
    CU_ASSERT_EQUAL(said[0].len, 5);
    CU_ASSERT_EQUAL(memcmp(said[0].payload, "\x18\0\0\1\0", 5), 0);
    CU_ASSERT_EQUAL(said[1].type, SEALANE_APPLICATION_DATA);
    CU_ASSERT(!sealane_session_wants_seal(m.session));
    CU_ASSERT(sealane_session_renew(m.session, true));
    CU_ASSERT_EQUAL_FATAL(say(&m, NULL, 0, said, COUNT(said)), 1);
    CU_ASSERT_EQUAL(memcmp(said[0].payload, "\x18\0\0\1\1", 5), 0);
    sealane_session_get_counts(m.session, &counts);
    CU_ASSERT_EQUAL(counts.seal_renewals, 2);
    CU_ASSERT_EQUAL(counts.open_renewals, 3);
    CU_ASSERT_EQUAL(counts.seal_sequence, 0);
    CU_ASSERT_EQUAL(counts.open_sequence, 1);
    match_end(&m);
}

static void handshake_fails(uint16_t suite, bool server, const void *message, size_t len, uint8_t alert)
{
    match_begin(&m, suite, server, 0);
    send(&m, SEALANE_HANDSHAKE, message, len);
    fails_with(&m, SEALANE_RECORD, alert);
}

static void test_handshake_messages_that_must_not_be(void)
{
    handshake_fails(AES128_13, true, "\x18\0\0\1\2", 5, ALERT_ILLEGAL_PARAMETER);
    handshake_fails(AES128_13, true, "\x18\0\0\2\0\0", 6, ALERT_DECODE_ERROR);
    handshake_fails(AES128_13, true, "\x18\0\0\0", 4, ALERT_DECODE_ERROR);
    handshake_fails(AES128_13, true, "\x18\0\0\1\0\x18\0\0\1\0", 10, ALERT_UNEXPECTED_MESSAGE);
    handshake_fails(AES128_13, true, "\x18\0\0\1\0\x18", 6, ALERT_UNEXPECTED_MESSAGE);
    handshake_fails(AES128_13, true, "\4\0\0\1\0", 5, ALERT_UNEXPECTED_MESSAGE); /* a ticket, of a client */
    handshake_fails(AES128_13, false, "\4\2\1\x0a\0", 5, ALERT_DECODE_ERROR);    /* longer than one can be */
    handshake_fails(AES128_13, false, "\x0d\0\0\1\0", 5, ALERT_UNEXPECTED_MESSAGE); /* CertificateRequest */
    handshake_fails(AES128_13, true, "\1\0\0\1\0", 5, ALERT_UNEXPECTED_MESSAGE);    /* ClientHello */
    handshake_fails(AES128_12, true, "\x14\0\0\1\0", 5, ALERT_UNEXPECTED_MESSAGE);  /* Finished */
    handshake_fails(AES128_12, true, "\x18\0\0\1\0", 5, ALERT_UNEXPECTED_MESSAGE);  /* no KeyUpdate in 1.2 */
    handshake_fails(AES128_12, true, "\1\xff\xff\xff\0", 5, ALERT_DECODE_ERROR);
    handshake_fails(AES128_12, false, "\0\0\0\1\0", 5, ALERT_DECODE_ERROR);
    match_begin(&m, AES128_12, true, 0);
    send(&m, SEALANE_CHANGE_CIPHER_SPEC, "\1", 1);
    fails_with(&m, SEALANE_RECORD, ALERT_UNEXPECTED_MESSAGE);
}

static void test_messages_in_pieces(void)
{
    static const uint8_t update[] = {MESSAGE_KEY_UPDATE, 0, 0, 1, 0};

    match_begin(&m, AES128_13, true, 0);
    for (size_t i = 0; i < sizeof(update); i++)
        send(&m, SEALANE_HANDSHAKE, update + i, 1);
    peer_renew(&m, &m.seal, m.seal_secret, SEALANE_SEALING);
    send(&m, SEALANE_APPLICATION_DATA, "x", 1);
    CU_ASSERT_EQUAL(receive(&m), SEALANE_OK);
    CU_ASSERT_EQUAL(m.got_len, 1);
    match_end(&m);

    match_begin(&m, AES128_13, true, 0);
    send(&m, SEALANE_HANDSHAKE, update, 3);
    send(&m, SEALANE_APPLICATION_DATA, "x", 1);
    fails_with(&m, SEALANE_RECORD, ALERT_UNEXPECTED_MESSAGE);
    match_begin(&m, AES128_13, true, 0);
    send(&m, SEALANE_HANDSHAKE, update, 3);
    send(&m, SEALANE_ALERT, "\1\0", 2);
    fails_with(&m, SEALANE_RECORD, ALERT_UNEXPECTED_MESSAGE);
}

static void test_tickets_of_a_client(void)
{
    static uint8_t ticket[4 + 20000] = {MESSAGE_NEW_SESSION_TICKET, 0, 20000 >> 8, 20000 & 0xff};

    match_begin(&m, AES128_13, false, 0);
    send(&m, SEALANE_HANDSHAKE, ticket, 10000); /* in pieces, two in one record */
    send(&m, SEALANE_HANDSHAKE, ticket + 10000, 10004);
    send(&m, SEALANE_HANDSHAKE, "\4\0\0\1\0\4\0\0\2\0\0", 11);
    CU_ASSERT_EQUAL(receive(&m), SEALANE_OK);
    CU_ASSERT_EQUAL(m.tickets, 3);
    CU_ASSERT_EQUAL(m.ends, 0);
    send(&m, SEALANE_APPLICATION_DATA, "x", 1);
    send(&m, SEALANE_HANDSHAKE, "\4\0\0\1\0", 5);
    CU_ASSERT_EQUAL(receive(&m), SEALANE_OK);
    CU_ASSERT_EQUAL(m.tickets, 3);
    CU_ASSERT_EQUAL(m.ends, 1);
    match_end(&m);

    match_begin(&m, AES128_13, false, 0);
    send_key_update(&m, 0);
    send(&m, SEALANE_HANDSHAKE, "\4\0\0\1\0", 5);
    CU_ASSERT_EQUAL(receive(&m), SEALANE_OK);
    CU_ASSERT_EQUAL(m.tickets, 0);
    CU_ASSERT_EQUAL(m.ends, 1);
    match_end(&m);
}

static void test_renegotiation_is_refused(void)
{
    static uint8_t hello[4 + 300] = {MESSAGE_CLIENT_HELLO, 0, 300 >> 8, 300 & 0xff};
    static heard said[2];

    for (int server = 0; server <= 1; server++) {
        match_begin(&m, AES128_12, server == 1, 0);
        if (server) {
            send(&m, SEALANE_HANDSHAKE, hello, 100);
            send(&m, SEALANE_HANDSHAKE, hello + 100, sizeof(hello) - 100);
        } else {
            send(&m, SEALANE_HANDSHAKE, "\0\0\0\0", 4);
        }
        send(&m, SEALANE_APPLICATION_DATA, "x", 1);
        CU_ASSERT_EQUAL(receive(&m), SEALANE_OK);
        CU_ASSERT_EQUAL(m.got_len, 1);
        CU_ASSERT_EQUAL_FATAL(say(&m, NULL, 0, said, COUNT(said)), 1);
        CU_ASSERT_EQUAL(said[0].type, SEALANE_ALERT);
        CU_ASSERT_EQUAL(memcmp(said[0].payload, "\1\x64", 2), 0);
        CU_ASSERT_EQUAL(sealane_session_get_status(m.session), SEALANE_SESSION_OPEN);
        match_end(&m);
    }
}

/* ---- Alerts and the end ---- */

static void alert_ends(uint16_t suite, uint8_t level, uint8_t alert)
{
    static heard said[2];

    match_begin(&m, suite, true, 0);
    send(&m, SEALANE_APPLICATION_DATA, "before", 6);
    send(&m, SEALANE_ALERT, (uint8_t[]){level, alert}, 2);
    CU_ASSERT_EQUAL(receive(&m), SEALANE_ENDED);
    CU_ASSERT_EQUAL(m.got_len, 6);
    CU_ASSERT_EQUAL(sealane_session_alert_received(m.session), alert);
    CU_ASSERT_EQUAL(sealane_session_alert_sent(m.session), -1);
    CU_ASSERT(!sealane_session_wants_seal(m.session));
    CU_ASSERT_EQUAL(say(&m, "x", 1, said, COUNT(said)), 0);
    match_end(&m);
}

static void alert_fails(uint16_t suite, const void *bytes, size_t len, uint8_t alert)
{
    match_begin(&m, suite, true, 0);
    send(&m, SEALANE_ALERT, bytes, len);
    fails_with(&m, SEALANE_RECORD, alert);
}

static void test_alerts(void)
{
    alert_ends(AES128_13, 2, 20);
    alert_ends(AES128_13, 1, 40); /* RFC 8446 6: whatever its level */
    alert_ends(AES128_13, 2, 199);
    alert_ends(AES128_12, 2, 80);
    alert_fails(AES128_13, "\1", 1, ALERT_DECODE_ERROR);
    alert_fails(AES128_13, "\1\0\1\0", 4, ALERT_DECODE_ERROR);
    alert_fails(AES128_12, "\1", 1, ALERT_DECODE_ERROR);
    alert_fails(AES128_12, "\3\0", 2, ALERT_ILLEGAL_PARAMETER);
    match_begin(&m, AES128_12, true, 0);
    send(&m, SEALANE_ALERT, "\1\x5a", 2); /* warnings */
    send(&m, SEALANE_ALERT, "\1\x64", 2);
    send(&m, SEALANE_APPLICATION_DATA, "x", 1);
    CU_ASSERT_EQUAL(receive(&m), SEALANE_OK);
    CU_ASSERT_EQUAL(m.got_len, 1);
    match_end(&m);
}

static void test_close_notify(void)
{
    static const uint16_t suites[] = {AES128_13, AES128_12};
    static heard said[4];

    for (size_t s = 0; s < COUNT(suites); s++) {
        match_begin(&m, suites[s], true, 0);
        send(&m, SEALANE_APPLICATION_DATA, "last", 4);
        send(&m, SEALANE_ALERT, "\1\0", 2);
        send(&m, SEALANE_APPLICATION_DATA, "ignored", 7); /* RFC 8446 6.1 */
        memset(m.wire + m.wire_len, 0xff, 100);           /* not even a record */
        m.wire_len += 100;
        CU_ASSERT_EQUAL(receive(&m), SEALANE_OK);
        CU_ASSERT_EQUAL(m.got_len, 4);
        CU_ASSERT_EQUAL(m.wire_len, 0);
        CU_ASSERT_EQUAL(sealane_session_get_status(m.session), SEALANE_SESSION_PEER_CLOSED);
        CU_ASSERT_EQUAL_FATAL(say(&m, "still here", 10, said, COUNT(said)), 1);
        sealane_session_close(m.session);
        CU_ASSERT_EQUAL_FATAL(say(&m, "bye", 3, said, COUNT(said)), 2);
        CU_ASSERT_EQUAL(said[0].type, SEALANE_APPLICATION_DATA);
        CU_ASSERT_EQUAL(said[1].type, SEALANE_ALERT);
        CU_ASSERT_EQUAL(memcmp(said[1].payload, "\1\0", 2), 0);
        sealane_session_close(m.session); /* twice is once */
        CU_ASSERT_EQUAL(say(&m, "more", 4, said, COUNT(said)), 0);
        CU_ASSERT_EQUAL(say(&m, NULL, 0, said, COUNT(said)), 0);
        match_end(&m);
    }
}

/* ---- Floods and limits ---- */

static void test_floods_are_bounded(void)
{
    match_begin(&m, AES128_13, true, 0);
    for (int i = 0; i < SEALANE_SESSION_IDLE_MAX; i++)
        send(&m, SEALANE_APPLICATION_DATA, NULL, 0);
    send(&m, SEALANE_APPLICATION_DATA, "x", 1);
    CU_ASSERT_EQUAL(receive(&m), SEALANE_OK);
    for (int i = 0; i <= SEALANE_SESSION_IDLE_MAX; i++)
        send(&m, SEALANE_APPLICATION_DATA, NULL, 0);
    fails_with(&m, SEALANE_RECORD, ALERT_UNEXPECTED_MESSAGE);
    match_begin(&m, AES128_13, true, 0);
    for (int i = 0; i <= SEALANE_SESSION_IDLE_MAX; i++)
        send_key_update(&m, 1);
    fails_with(&m, SEALANE_RECORD, ALERT_UNEXPECTED_MESSAGE);
    match_begin(&m, AES128_12, true, 0);
    for (int i = 0; i <= SEALANE_SESSION_IDLE_MAX; i++)
        send(&m, SEALANE_ALERT, "\1\x5a", 2);
    fails_with(&m, SEALANE_RECORD, ALERT_UNEXPECTED_MESSAGE);
    match_begin(&m, AES128_12, true, 0);
    for (int i = 0; i <= SEALANE_SESSION_IDLE_MAX; i++)
        send(&m, SEALANE_HANDSHAKE, "\1\0\0\0", 4);
    fails_with(&m, SEALANE_RECORD, ALERT_UNEXPECTED_MESSAGE);
}

/* Nobody is kept waiting by a neighbour's thousand records of one byte: all are served in the same call. */
static void test_tiny_records_of_a_neighbour(void)
{
    static match other;
    static uint8_t got[64];
    const int many = 5000;

    match_begin(&m, AES128_13, true, 0);
    match_begin(&other, AES128_13, true, 0);
    for (int i = 0; i < many; i++)
        m.wire_len += seal_raw(&m, SEALANE_APPLICATION_DATA, "x", 1, 0, m.wire + m.wire_len);
    send(&other, SEALANE_APPLICATION_DATA, "neighbour", 9);
    sealane_session_op ops[] = {
        {.session = m.session, .in = m.wire, .in_len = m.wire_len, .out = m.got, .out_size = sizeof(m.got)},
        {.session = other.session,
         .in = other.wire,
         .in_len = other.wire_len,
         .out = got,
         .out_size = sizeof(got)}};
    sealane_sessions_open(ops, 2);
    CU_ASSERT_EQUAL(ops[0].produced, (size_t)many);
    CU_ASSERT_EQUAL(ops[1].produced, 9);
    match_end(&m);
    match_end(&other);
}

static void test_keys_renew_by_themselves(void)
{
    static heard said[4];
    sealane_session_counts counts;
    uint64_t limit;

    match_begin(&m, AES128_13, true, 0);
    limit = m.session->seal_key->seal_limit - m.session->seal_key->seal_limit / 16;
    m.session->seal_key->sequence = m.open->sequence = limit - 1;
    CU_ASSERT_EQUAL(say(&m, "x", 1, said, COUNT(said)), 1);
    CU_ASSERT_EQUAL(say(&m, NULL, 0, said, COUNT(said)), 0); /* not while nothing is to be said */
    CU_ASSERT_EQUAL(say(&m, "y", 1, said, COUNT(said)), 2);
    CU_ASSERT_EQUAL(memcmp(said[0].payload, "\x18\0\0\1\0", 5), 0);
    /* And a peer that does not is asked to: OpenSSL never renews by itself. */
    m.session->open_key->sequence = m.seal->sequence = limit - 1;
    send(&m, SEALANE_APPLICATION_DATA, "z", 1);
    CU_ASSERT_EQUAL(receive(&m), SEALANE_OK);
    CU_ASSERT_EQUAL(say(&m, NULL, 0, said, COUNT(said)), 1);
    CU_ASSERT_EQUAL(memcmp(said[0].payload, "\x18\0\0\1\1", 5), 0);
    send(&m, SEALANE_APPLICATION_DATA, "z", 1); /* once is enough */
    send_key_update(&m, 0);
    send(&m, SEALANE_APPLICATION_DATA, "z", 1);
    CU_ASSERT_EQUAL(receive(&m), SEALANE_OK);
    CU_ASSERT_EQUAL(m.got_len, 2);
    CU_ASSERT(!sealane_session_wants_seal(m.session));
    sealane_session_get_counts(m.session, &counts);
    CU_ASSERT_EQUAL(counts.seal_renewals, 2);
    CU_ASSERT_EQUAL(counts.open_renewals, 1);
    match_end(&m);
}

static void test_worn_in_tls12(void)
{
    static heard said[2];
    uint8_t out[64];

    match_begin(&m, AES128_12, true, 0);
    CU_ASSERT(!sealane_session_is_worn(m.session));
    CU_ASSERT(!sealane_session_renew(m.session, false));
    m.session->seal_key->sequence = m.open->sequence = m.session->seal_key->seal_limit - 2;
    CU_ASSERT(sealane_session_is_worn(m.session));
    CU_ASSERT_EQUAL(say(&m, "x", 1, said, COUNT(said)), 1);
    CU_ASSERT_EQUAL(say(&m, "y", 1, said, COUNT(said)), 1);
    sealane_session_op op = {
        .session = m.session, .in = (const uint8_t *)"z", .in_len = 1, .out = out, .out_size = sizeof(out)};
    sealane_sessions_seal(&op, 1);
    CU_ASSERT_EQUAL(op.result, SEALANE_LIMIT);
    CU_ASSERT_EQUAL(op.produced, 0);
    CU_ASSERT_EQUAL(sealane_session_get_status(m.session), SEALANE_SESSION_FAILED);
    match_end(&m);
}

/* ---- Room, padding, batches ---- */

static void test_room(void)
{
    static uint8_t got[2 * SEALANE_SESSION_OPEN_ROOM], out[64];
    static heard said[4];

    match_begin(&m, AES128_13, true, 0);
    for (int i = 0; i < 3; i++)
        send(&m, SEALANE_APPLICATION_DATA, "0123456789", 10);
    sealane_session_op op = {
        .session = m.session, .in = m.wire, .in_len = m.wire_len, .out = got, .out_size = 10};
    sealane_sessions_open(&op, 1);
    CU_ASSERT_EQUAL(op.result, SEALANE_SPACE); /* the type byte has no room */
    CU_ASSERT_EQUAL(op.consumed, 0);
    op.out_size = 21;
    sealane_sessions_open(&op, 1);
    CU_ASSERT_EQUAL(op.result, SEALANE_OK);
    CU_ASSERT_EQUAL(op.consumed, m.wire_len / 3 * 2);
    CU_ASSERT_EQUAL(op.produced, 20);
    op = (sealane_session_op){.session = m.session, .in = m.wire, .in_len = 40, .out = out, .out_size = 61};
    sealane_sessions_seal(&op, 1);
    CU_ASSERT_EQUAL(op.result, SEALANE_SPACE);
    CU_ASSERT_EQUAL(say(&m, got, 40, said, COUNT(said)), 1);
    match_end(&m);
}

static void test_padding_of_ours(void)
{
    static uint8_t out[SEALANE_RECORD_MAX * 2], data[SEALANE_PLAINTEXT_MAX];
    static const size_t lengths[] = {1, 255, 256, 257, 16000, 16384};

    match_begin(&m, AES128_13, true, 0);
    sealane_session_pad(m.session, 256);
    for (size_t i = 0; i < COUNT(lengths); i++) {
        size_t padded = (lengths[i] + 255) / 256 * 256;
        sealane_session_op op = {
            .session = m.session, .in = data, .in_len = lengths[i], .out = out, .out_size = sizeof(out)};
        sealane_sessions_seal(&op, 1);
        CU_ASSERT_EQUAL(op.result, SEALANE_OK);
        CU_ASSERT_EQUAL(op.produced, 5 + padded + 1 + 16);
    }
    match_end(&m);
}

/* Many sessions of all kinds in one call, some of which fail, one of which has nothing: each is on its own. */
static void test_batch_of_all_kinds(void)
{
    static const uint16_t suites[] = {AES128_13, AES256_13, CHACHA_13, AES128_12, 0x1304, 0xc030};
    enum { MANY = 150 };
    static sealane_session_op ops[MANY];
    static uint8_t text[MANY][40], got[MANY][SEALANE_SESSION_OPEN_ROOM];
    match *all = calloc(MANY, sizeof(*all));
    prng random = {5};

    CU_ASSERT_PTR_NOT_NULL_FATAL(all);
    for (size_t i = 0; i < MANY; i++) {
        match_begin(&all[i], suites[i % COUNT(suites)], i % 2 == 0, 0);
        prng_fill(&random, text[i], sizeof(text[i]));
        for (size_t r = 0; r < i % 4; r++)
            send(&all[i], SEALANE_APPLICATION_DATA, text[i] + 10 * r, 10);
        if (i % 7 == 3 && all[i].wire_len > 0)
            all[i].wire[all[i].wire_len - 1] ^= 1;
        ops[i] = (sealane_session_op){.session = all[i].session,
                                      .in = all[i].wire,
                                      .in_len = all[i].wire_len,
                                      .out = got[i],
                                      .out_size = sizeof(got[i])};
    }
    sealane_sessions_open(ops, MANY);
    for (size_t i = 0; i < MANY; i++) {
        bool forged = i % 7 == 3 && i % 4 > 0;
        size_t good = 10 * (i % 4) - (forged ? 10 : 0);
        CU_ASSERT_EQUAL(ops[i].result, forged ? SEALANE_FORGED : SEALANE_OK);
        CU_ASSERT_EQUAL(ops[i].produced, good);
        CU_ASSERT_EQUAL(memcmp(got[i], text[i], good), 0);
        match_end(&all[i]);
    }
    free(all);
}

static void test_arguments(void)
{
    sealane_session_params p = {.suite = sealane_suite_find(AES128_13),
                                .client_secret = secrets[0],
                                .server_secret = secrets[1],
                                .secret_len = 32};
    sealane_session *s = NULL;
    sealane_session_op op = {0};

    sealane_sessions_open(&op, 1);
    CU_ASSERT_EQUAL(op.result, SEALANE_ARGUMENT);
    sealane_sessions_seal(&op, 1);
    CU_ASSERT_EQUAL(op.result, SEALANE_ARGUMENT);
    sealane_sessions_open(NULL, 0);
    sealane_sessions_seal(NULL, 0);
    sealane_session_free(NULL);
    CU_ASSERT_EQUAL(sealane_session_new(NULL, &p), SEALANE_ARGUMENT);
    CU_ASSERT_EQUAL(sealane_session_new(&s, NULL), SEALANE_ARGUMENT);
    p.secret_len = 48;
    CU_ASSERT_EQUAL(sealane_session_new(&s, &p), SEALANE_ARGUMENT);
    p.secret_len = 32;
    p.fragment_max = 16385;
    CU_ASSERT_EQUAL(sealane_session_new(&s, &p), SEALANE_ARGUMENT);
    p.fragment_max = 0;
    p.suite = sealane_suite_find(AES128_12);
    CU_ASSERT_EQUAL(sealane_session_new(&s, &p), SEALANE_ARGUMENT);
    p.suite = sealane_suite_find(0xc009); /* CBC */
    p.master_secret = master;
    p.client_random = p.server_random = randoms[0];
    p.last_sealed = master;
    p.last_sealed_len = sizeof(master);
    p.sealed = 1;
    CU_ASSERT_EQUAL(sealane_session_new(&s, &p), SEALANE_UNSUPPORTED);
    p.suite = sealane_suite_find(AES128_12);
    CU_ASSERT_EQUAL(sealane_session_new(&s, &p), SEALANE_FORGED); /* that is no record */
    CU_ASSERT_PTR_NULL(s);
}

/* ---- Long ---- */

/* Sequence numbers and nonces, over very many records and KeyUpdates, between two sessions. */
static void many_records(size_t records, size_t per_update)
{
    static uint8_t wire[2 * SEALANE_RECORD_MAX], got[SEALANE_SESSION_OPEN_ROOM], text[48];
    sealane_session_params p = {.suite = sealane_suite_find(AES256_13),
                                .client_secret = secrets[0],
                                .server_secret = secrets[1],
                                .secret_len = 48};
    sealane_session *ends[2] = {NULL, NULL};
    sealane_session_counts counts;
    prng random = {6};
    bool right = true;

    for (int i = 0; i <= 1; i++) {
        p.server = i == 1;
        CU_ASSERT_EQUAL_FATAL(sealane_session_new(&ends[i], &p), SEALANE_OK);
    }
    for (size_t n = 0; n < records && right; n++) {
        size_t from = n % 2, len = 1 + prng_below(&random, sizeof(text));
        prng_fill(&random, text, len);
        if (n % per_update == 0)
            sealane_session_renew(ends[from], n % (2 * per_update) == 0);
        sealane_session_op op = {
            .session = ends[from], .in = text, .in_len = len, .out = wire, .out_size = sizeof(wire)};
        sealane_sessions_seal(&op, 1);
        right = op.result == SEALANE_OK;
        op = (sealane_session_op){
            .session = ends[!from], .in = wire, .in_len = op.produced, .out = got, .out_size = sizeof(got)};
        sealane_sessions_open(&op, 1);
        right = right && op.result == SEALANE_OK && op.produced == len && memcmp(got, text, len) == 0;
    }
    CU_ASSERT(right);
    sealane_session_get_counts(ends[0], &counts);
    CU_ASSERT(counts.seal_renewals + counts.open_renewals >= records / per_update);
    sealane_session_free(ends[0]);
    sealane_session_free(ends[1]);
}

static void test_100000_records(void)
{
    many_records(100000, 64);
}

static void test_100000_key_updates(void)
{
    many_records(100000, 1);
}

int main(void)
{
    static const CU_TestInfo tests[] = {
        {"records of 0 to 16384 bytes, padded or not", test_lengths},
        {"cut at every byte", test_cut_at_every_byte},
        {"every flipped bit is refused, nothing delivered", test_every_flipped_bit_is_refused},
        {"replayed and swapped records are refused", test_replayed_and_swapped_records_are_refused},
        {"wrong headers, refused before the record is there", test_headers},
        {"longer than was agreed", test_longer_than_was_agreed},
        {"KeyUpdates, both ways", test_key_updates},
        {"handshake messages that must not be", test_handshake_messages_that_must_not_be},
        {"handshake messages in pieces", test_messages_in_pieces},
        {"tickets of a client", test_tickets_of_a_client},
        {"renegotiation is refused", test_renegotiation_is_refused},
        {"alerts", test_alerts},
        {"close_notify", test_close_notify},
        {"floods are bounded", test_floods_are_bounded},
        {"tiny records of a neighbour", test_tiny_records_of_a_neighbour},
        {"keys renew by themselves", test_keys_renew_by_themselves},
        {"worn, in TLS 1.2", test_worn_in_tls12},
        {"room", test_room},
        {"padding of ours", test_padding_of_ours},
        {"a batch of all kinds", test_batch_of_all_kinds},
        {"arguments", test_arguments},
        {"100,000 records", test_100000_records},
        {"100,000 KeyUpdates", test_100000_key_updates},
        CU_TEST_INFO_NULL,
    };
    return suite_run("session", tests);
}
