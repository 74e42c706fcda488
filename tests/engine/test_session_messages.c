/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a session does with all that is not application data: handshake messages, alerts, close_notify, floods, keys
 * near their limit; each wrong thing with the alert that RFC 8446 6.2 and RFC 5246 7.2.2 ask for.
 */
#include "support_session.h"

#include <stdlib.h>
#include <string.h>

static match m; /* large */

/* ---- Handshake messages ---- */

static void test_key_updates(void)
{
    static heard said[4];
    sealane_session_counts counts;

    match_begin(&m, AES256_13, true, 0);
    match_send(&m, SEALANE_APPLICATION_DATA, "a", 1);
    match_send_key_update(&m, 0);
    match_send(&m, SEALANE_APPLICATION_DATA, "b", 1);
    match_send_key_update(&m, 1);
    match_send_key_update(&m, 1);
    match_send(&m, SEALANE_APPLICATION_DATA, "c", 1);
    CU_ASSERT_EQUAL(match_receive(&m), SEALANE_OK);
    CU_ASSERT_EQUAL(m.got_len, 3);
    CU_ASSERT_EQUAL(memcmp(m.got, "abc", 3), 0);
    CU_ASSERT(sealane_session_wants_seal(m.session));
    CU_ASSERT_EQUAL_FATAL(match_say(&m, "d", 1, said, COUNT(said)),
                          2); /* one answer for both, before what is said next */
    CU_ASSERT_EQUAL(said[0].type, SEALANE_HANDSHAKE);
    CU_ASSERT_EQUAL(said[0].len, 5);
    CU_ASSERT_EQUAL(memcmp(said[0].payload, "\x18\0\0\1\0", 5), 0);
    CU_ASSERT_EQUAL(said[1].type, SEALANE_APPLICATION_DATA);
    CU_ASSERT(!sealane_session_wants_seal(m.session));
    CU_ASSERT(sealane_session_renew(m.session, true));
    CU_ASSERT_EQUAL_FATAL(match_say(&m, NULL, 0, said, COUNT(said)), 1);
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
    match_send(&m, SEALANE_HANDSHAKE, message, len);
    match_fails(&m, SEALANE_RECORD, alert);
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
    match_send(&m, SEALANE_CHANGE_CIPHER_SPEC, "\1", 1);
    match_fails(&m, SEALANE_RECORD, ALERT_UNEXPECTED_MESSAGE);
}

static void test_messages_in_pieces(void)
{
    static const uint8_t update[] = {MESSAGE_KEY_UPDATE, 0, 0, 1, 0};

    match_begin(&m, AES128_13, true, 0);
    for (size_t i = 0; i < sizeof(update); i++)
        match_send(&m, SEALANE_HANDSHAKE, update + i, 1);
    match_peer_renew(&m, &m.seal, m.seal_secret, SEALANE_SEALING);
    match_send(&m, SEALANE_APPLICATION_DATA, "x", 1);
    CU_ASSERT_EQUAL(match_receive(&m), SEALANE_OK);
    CU_ASSERT_EQUAL(m.got_len, 1);
    match_end(&m);

    match_begin(&m, AES128_13, true, 0);
    match_send(&m, SEALANE_HANDSHAKE, update, 3);
    match_send(&m, SEALANE_APPLICATION_DATA, "x", 1);
    match_fails(&m, SEALANE_RECORD, ALERT_UNEXPECTED_MESSAGE);
    match_begin(&m, AES128_13, true, 0);
    match_send(&m, SEALANE_HANDSHAKE, update, 3);
    match_send(&m, SEALANE_ALERT, "\1\0", 2);
    match_fails(&m, SEALANE_RECORD, ALERT_UNEXPECTED_MESSAGE);
}

/* Nor between the parts of what nobody needs: a ticket's, a hello's. */
static void test_data_in_the_middle_of_a_message(void)
{
    match_begin(&m, AES128_13, false, 0);
    match_send(&m, SEALANE_HANDSHAKE,
               "\4\0\0\x0a"
               "123",
               7);
    match_send(&m, SEALANE_APPLICATION_DATA, "x", 1);
    match_fails(&m, SEALANE_RECORD, ALERT_UNEXPECTED_MESSAGE);
    match_begin(&m, AES128_12, true, 0);
    match_send(&m, SEALANE_HANDSHAKE,
               "\1\0\0\x0a"
               "123",
               7);
    CU_ASSERT_EQUAL(match_receive(&m), SEALANE_OK);
    match_send(&m, SEALANE_APPLICATION_DATA, "x", 1);
    CU_ASSERT_EQUAL(match_receive(&m), SEALANE_RECORD);
    CU_ASSERT_EQUAL(sealane_session_alert_sent(m.session), ALERT_UNEXPECTED_MESSAGE);
    match_end(&m);
}

static void test_tickets_of_a_client(void)
{
    static uint8_t ticket[4 + 20000] = {MESSAGE_NEW_SESSION_TICKET, 0, 20000 >> 8, 20000 & 0xff};

    match_begin(&m, AES128_13, false, 0);
    match_send(&m, SEALANE_HANDSHAKE, ticket, 10000); /* in pieces, two in one record */
    match_send(&m, SEALANE_HANDSHAKE, ticket + 10000, 10004);
    match_send(&m, SEALANE_HANDSHAKE, "\4\0\0\1\0\4\0\0\2\0\0", 11);
    CU_ASSERT_EQUAL(match_receive(&m), SEALANE_OK);
    CU_ASSERT_EQUAL(m.tickets, 3);
    CU_ASSERT_EQUAL(m.ends, 0);
    match_send(&m, SEALANE_APPLICATION_DATA, "x", 1);
    match_send(&m, SEALANE_HANDSHAKE, "\4\0\0\1\0", 5);
    CU_ASSERT_EQUAL(match_receive(&m), SEALANE_OK);
    CU_ASSERT_EQUAL(m.tickets, 3);
    CU_ASSERT_EQUAL(m.ends, 1);
    match_end(&m);

    match_begin(&m, AES128_13, false, 0);
    match_send_key_update(&m, 0);
    match_send(&m, SEALANE_HANDSHAKE, "\4\0\0\1\0", 5);
    CU_ASSERT_EQUAL(match_receive(&m), SEALANE_OK);
    CU_ASSERT_EQUAL(m.tickets, 0);
    CU_ASSERT_EQUAL(m.ends, 1);
    match_end(&m);

    /* The end is told once, at the latest with the session's own. */
    match_begin(&m, AES128_13, false, 0);
    match_end(&m);
    match_begin(&m, AES128_13, false, 0);
    match_send(&m, SEALANE_HANDSHAKE, "\1\0\0\0", 4);
    CU_ASSERT_EQUAL(match_receive(&m), SEALANE_RECORD);
    CU_ASSERT_EQUAL(m.ends, 1);
    CU_ASSERT(!sealane_session_renew(m.session, true)); /* nor is there anything to renew */
    match_end(&m);

    /* Nor behind part of a KeyUpdate, of which libssl must not hear. */
    match_begin(&m, AES128_13, false, 0);
    match_send(&m, SEALANE_HANDSHAKE, "\x18\0\0\1", 4);
    CU_ASSERT_EQUAL(match_receive(&m), SEALANE_OK);
    CU_ASSERT_EQUAL(m.tickets, 0);
    CU_ASSERT_EQUAL(m.ends, 1);
    match_end(&m);

    /* Nor behind an alert, whatever it says. */
    match_begin(&m, AES128_13, false, 0);
    match_send(&m, SEALANE_ALERT, "\1\x5a", 2);
    match_send(&m, SEALANE_HANDSHAKE, "\4\0\0\1\0", 5);
    CU_ASSERT_EQUAL(match_receive(&m), SEALANE_OK);
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
            match_send(&m, SEALANE_HANDSHAKE, hello, 100);
            match_send(&m, SEALANE_HANDSHAKE, hello + 100, sizeof(hello) - 100);
        } else {
            match_send(&m, SEALANE_HANDSHAKE, "\0\0\0\0", 4);
        }
        match_send(&m, SEALANE_APPLICATION_DATA, "x", 1);
        CU_ASSERT_EQUAL(match_receive(&m), SEALANE_OK);
        CU_ASSERT_EQUAL(m.got_len, 1);
        CU_ASSERT_EQUAL_FATAL(match_say(&m, NULL, 0, said, COUNT(said)), 1);
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
    match_send(&m, SEALANE_APPLICATION_DATA, "before", 6);
    match_send(&m, SEALANE_ALERT, (uint8_t[]){level, alert}, 2);
    CU_ASSERT_EQUAL(match_receive(&m), SEALANE_ENDED);
    CU_ASSERT_EQUAL(m.got_len, 6);
    CU_ASSERT_EQUAL(sealane_session_alert_received(m.session), alert);
    CU_ASSERT_EQUAL(sealane_session_alert_sent(m.session), -1);
    CU_ASSERT(!sealane_session_wants_seal(m.session));
    CU_ASSERT_EQUAL(match_say(&m, "x", 1, said, COUNT(said)), 0);
    match_end(&m);
}

static void alert_fails(uint16_t suite, const void *bytes, size_t len, uint8_t alert)
{
    match_begin(&m, suite, true, 0);
    match_send(&m, SEALANE_ALERT, bytes, len);
    match_fails(&m, SEALANE_RECORD, alert);
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
    match_send(&m, SEALANE_ALERT, "\1\x5a", 2); /* warnings */
    match_send(&m, SEALANE_ALERT, "\1\x64", 2);
    match_send(&m, SEALANE_APPLICATION_DATA, "x", 1);
    CU_ASSERT_EQUAL(match_receive(&m), SEALANE_OK);
    CU_ASSERT_EQUAL(m.got_len, 1);
    match_end(&m);
}

static void test_close_notify(void)
{
    static const uint16_t suites[] = {AES128_13, AES128_12};
    static heard said[4];

    for (size_t s = 0; s < COUNT(suites); s++) {
        match_begin(&m, suites[s], true, 0);
        match_send(&m, SEALANE_APPLICATION_DATA, "last", 4);
        match_send(&m, SEALANE_ALERT, "\1\0", 2);
        match_send(&m, SEALANE_APPLICATION_DATA, "ignored", 7); /* RFC 8446 6.1 */
        memset(m.wire + m.wire_len, 0xff, 100);                 /* not even a record */
        m.wire_len += 100;
        CU_ASSERT_EQUAL(match_receive(&m), SEALANE_OK);
        CU_ASSERT_EQUAL(m.got_len, 4);
        CU_ASSERT_EQUAL(m.wire_len, 0);
        CU_ASSERT_EQUAL(sealane_session_get_status(m.session), SEALANE_SESSION_PEER_CLOSED);
        memset(m.wire, 0xff, 100); /* nor what comes later */
        m.wire_len = 100;
        CU_ASSERT_EQUAL(match_receive(&m), SEALANE_OK);
        CU_ASSERT_EQUAL(m.got_len, 0);
        CU_ASSERT_EQUAL(m.wire_len, 0);
        CU_ASSERT_EQUAL_FATAL(match_say(&m, "still here", 10, said, COUNT(said)), 1);
        sealane_session_close(m.session);
        CU_ASSERT_EQUAL_FATAL(match_say(&m, "bye", 3, said, COUNT(said)), 2);
        CU_ASSERT_EQUAL(said[0].type, SEALANE_APPLICATION_DATA);
        CU_ASSERT_EQUAL(said[1].type, SEALANE_ALERT);
        CU_ASSERT_EQUAL(memcmp(said[1].payload, "\1\0", 2), 0);
        sealane_session_close(m.session); /* twice is once */
        CU_ASSERT_EQUAL(match_say(&m, "more", 4, said, COUNT(said)), 0);
        CU_ASSERT_EQUAL(match_say(&m, NULL, 0, said, COUNT(said)), 0);
        match_end(&m);
    }
}

/* RFC 8446 6.1: nothing follows our close_notify, whatever the peer asks for. */
static void test_nothing_is_said_after_close_notify(void)
{
    static heard said[2];

    for (int version12 = 0; version12 <= 1; version12++) {
        match_begin(&m, version12 ? AES128_12 : AES128_13, true, 0);
        sealane_session_close(m.session);
        CU_ASSERT_EQUAL(match_say(&m, NULL, 0, said, COUNT(said)), 1);
        if (version12)
            match_send(&m, SEALANE_HANDSHAKE, "\1\0\0\0", 4);
        else
            match_send_key_update(&m, 1);
        match_send(&m, SEALANE_APPLICATION_DATA, "x", 1);
        CU_ASSERT_EQUAL(match_receive(&m), SEALANE_OK);
        CU_ASSERT_EQUAL(m.got_len, 1);
        CU_ASSERT(!sealane_session_wants_seal(m.session));
        CU_ASSERT(!sealane_session_renew(m.session, false));
        CU_ASSERT_EQUAL(match_say(&m, NULL, 0, said, COUNT(said)), 0);
        sealane_session_op op = {.session = m.session,
                                 .in = (const uint8_t *)"x",
                                 .in_len = 1,
                                 .out = m.got,
                                 .out_size = sizeof(m.got)};
        sealane_sessions_seal(&op, 1);
        CU_ASSERT_EQUAL(op.result, SEALANE_ENDED);
        CU_ASSERT_EQUAL(op.produced, 0);
        match_send(&m, SEALANE_ALERT, "\1", 1); /* nor an alert for what is wrong now */
        CU_ASSERT_EQUAL(match_receive(&m), SEALANE_RECORD);
        CU_ASSERT_EQUAL(sealane_session_alert_sent(m.session), -1);
        CU_ASSERT_EQUAL(match_say(&m, NULL, 0, said, COUNT(said)), 0);
        match_end(&m);
    }
}

/* ---- Floods and limits ---- */

static void test_floods_are_bounded(void)
{
    match_begin(&m, AES128_13, true, 0);
    for (int i = 0; i < SEALANE_SESSION_IDLE_MAX; i++)
        match_send(&m, SEALANE_APPLICATION_DATA, NULL, 0);
    match_send(&m, SEALANE_APPLICATION_DATA, "x", 1);
    CU_ASSERT_EQUAL(match_receive(&m), SEALANE_OK);
    for (int i = 0; i <= SEALANE_SESSION_IDLE_MAX; i++)
        match_send(&m, SEALANE_APPLICATION_DATA, NULL, 0);
    match_fails(&m, SEALANE_RECORD, ALERT_UNEXPECTED_MESSAGE);
    match_begin(&m, AES128_13, true, 0);
    for (int i = 0; i <= SEALANE_SESSION_IDLE_MAX; i++)
        match_send_key_update(&m, 1);
    match_fails(&m, SEALANE_RECORD, ALERT_UNEXPECTED_MESSAGE);
    match_begin(&m, AES128_12, true, 0);
    for (int i = 0; i <= SEALANE_SESSION_IDLE_MAX; i++)
        match_send(&m, SEALANE_ALERT, "\1\x5a", 2);
    match_fails(&m, SEALANE_RECORD, ALERT_UNEXPECTED_MESSAGE);
    match_begin(&m, AES128_12, true, 0);
    for (int i = 0; i <= SEALANE_SESSION_IDLE_MAX; i++)
        match_send(&m, SEALANE_HANDSHAKE, "\1\0\0\0", 4);
    match_fails(&m, SEALANE_RECORD, ALERT_UNEXPECTED_MESSAGE);
}

static void test_keys_renew_by_themselves(void)
{
    static heard said[4];
    sealane_session_counts counts;
    uint64_t limit;

    match_begin(&m, AES128_13, true, 0);
    limit = m.session->seal_key->seal_limit - m.session->seal_key->seal_limit / 16;
    m.session->seal_key->sequence = m.open->sequence = limit - 1;
    CU_ASSERT_EQUAL(match_say(&m, "x", 1, said, COUNT(said)), 1);
    CU_ASSERT_EQUAL(match_say(&m, NULL, 0, said, COUNT(said)), 0); /* not while nothing is to be said */
    CU_ASSERT_EQUAL(match_say(&m, "y", 1, said, COUNT(said)), 2);
    CU_ASSERT_EQUAL(memcmp(said[0].payload, "\x18\0\0\1\0", 5), 0);
    /* And a peer that does not is asked to: OpenSSL never renews by itself. */
    m.session->open_key->sequence = m.seal->sequence = limit - 1;
    match_send(&m, SEALANE_APPLICATION_DATA, "z", 1);
    CU_ASSERT_EQUAL(match_receive(&m), SEALANE_OK);
    CU_ASSERT_EQUAL(match_say(&m, NULL, 0, said, COUNT(said)), 1);
    CU_ASSERT_EQUAL(memcmp(said[0].payload, "\x18\0\0\1\1", 5), 0);
    match_send(&m, SEALANE_APPLICATION_DATA, "z", 1); /* once is enough */
    match_send_key_update(&m, 0);
    match_send(&m, SEALANE_APPLICATION_DATA, "z", 1);
    CU_ASSERT_EQUAL(match_receive(&m), SEALANE_OK);
    CU_ASSERT_EQUAL(m.got_len, 2);
    CU_ASSERT(!sealane_session_wants_seal(m.session));
    sealane_session_get_counts(m.session, &counts);
    CU_ASSERT_EQUAL(counts.seal_renewals, 2);
    CU_ASSERT_EQUAL(counts.open_renewals, 1);
    match_end(&m);
}

static void test_a_peer_is_asked_once(void)
{
    static heard said[2];

    match_begin(&m, AES128_13, true, 0);
    CU_ASSERT(sealane_session_renew(m.session, true));
    CU_ASSERT_EQUAL(match_say(&m, NULL, 0, said, COUNT(said)), 1);
    m.session->open_key->sequence = m.seal->sequence = m.session->open_key->seal_limit - 2;
    match_send(&m, SEALANE_APPLICATION_DATA, "x", 1);
    CU_ASSERT_EQUAL(match_receive(&m), SEALANE_OK);
    CU_ASSERT(!sealane_session_wants_seal(m.session));
    match_send_key_update(&m, 0); /* it did; its next key is another matter */
    CU_ASSERT_EQUAL(match_receive(&m), SEALANE_OK);
    m.session->open_key->sequence = m.seal->sequence = m.session->open_key->seal_limit - 2;
    match_send(&m, SEALANE_APPLICATION_DATA, "x", 1);
    CU_ASSERT_EQUAL(match_receive(&m), SEALANE_OK);
    CU_ASSERT(sealane_session_wants_seal(m.session));
    match_end(&m);
}

/* Whatever the caller offers with it: an alert comes first, and nothing behind it. */
static void test_an_alert_comes_before_data(void)
{
    static heard said[2];

    match_begin(&m, AES128_13, true, 0);
    match_send(&m, SEALANE_HANDSHAKE, "\1\0\0\1\0", 5);
    CU_ASSERT_EQUAL(match_receive(&m), SEALANE_RECORD);
    CU_ASSERT_EQUAL(match_say(&m, "data", 4, said, COUNT(said)), 1);
    CU_ASSERT_EQUAL(said[0].type, SEALANE_ALERT);
    match_end(&m);
}

static void test_worn_in_tls12(void)
{
    static heard said[2];
    uint8_t out[64];

    match_begin(&m, AES128_13, true, 0);
    m.session->seal_key->sequence = m.session->seal_key->seal_limit - 2;
    CU_ASSERT(!sealane_session_is_worn(m.session)); /* it renews */
    match_end(&m);
    match_begin(&m, AES128_12, true, 0);
    CU_ASSERT(!sealane_session_is_worn(m.session));
    CU_ASSERT(!sealane_session_renew(m.session, false));
    m.session->open_key->sequence = m.seal->sequence = m.session->open_key->seal_limit - 2;
    match_send(&m, SEALANE_APPLICATION_DATA, "x", 1);
    CU_ASSERT_EQUAL(match_receive(&m), SEALANE_OK);
    CU_ASSERT(!sealane_session_wants_seal(m.session)); /* nothing to ask for */
    m.session->seal_key->sequence = m.open->sequence = m.session->seal_key->seal_limit - 2;
    CU_ASSERT(sealane_session_is_worn(m.session));
    CU_ASSERT_EQUAL(match_say(&m, "x", 1, said, COUNT(said)), 1);
    CU_ASSERT_EQUAL(match_say(&m, "y", 1, said, COUNT(said)), 1);
    sealane_session_op op = {
        .session = m.session, .in = (const uint8_t *)"z", .in_len = 1, .out = out, .out_size = sizeof(out)};
    sealane_sessions_seal(&op, 1);
    CU_ASSERT_EQUAL(op.result, SEALANE_LIMIT);
    CU_ASSERT_EQUAL(op.produced, 0);
    CU_ASSERT_EQUAL(sealane_session_get_status(m.session), SEALANE_SESSION_FAILED);
    match_end(&m);
}

int main(void)
{
    static const CU_TestInfo tests[] = {
        {"KeyUpdates, both ways", test_key_updates},
        {"handshake messages that must not be", test_handshake_messages_that_must_not_be},
        {"handshake messages in pieces", test_messages_in_pieces},
        {"data in the middle of a message", test_data_in_the_middle_of_a_message},
        {"tickets of a client", test_tickets_of_a_client},
        {"renegotiation is refused", test_renegotiation_is_refused},
        {"alerts", test_alerts},
        {"close_notify", test_close_notify},
        {"nothing is said after close_notify", test_nothing_is_said_after_close_notify},
        {"floods are bounded", test_floods_are_bounded},
        {"keys renew by themselves", test_keys_renew_by_themselves},
        {"a peer is asked once", test_a_peer_is_asked_once},
        {"an alert comes before data", test_an_alert_comes_before_data},
        {"worn, in TLS 1.2", test_worn_in_tls12},
        CU_TEST_INFO_NULL,
    };
    return suite_run("session_messages", tests);
}
