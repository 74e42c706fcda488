/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Taking connections over from libssl, with libssl as the other side: every AEAD suite in both roles, and what comes
 * with it: tickets, resumption, KeyUpdates, lengths agreed upon. Reasons not to: test_takeover_refusals.c.
 */
#include "support_libssl.h"

#include <stdio.h>
#include <string.h>

static const int sides[] = {CLIENT, SERVER};

static void session_closes(duo *d)
{
    uint8_t got[16];
    size_t len;

    sealane_session_close(d->session);
    CU_ASSERT(sealane_session_wants_seal(d->session));
    CU_ASSERT_EQUAL(duo_seal(d, NULL, 0), SEALANE_OK);
    CU_ASSERT(sealane_session_has_closed(d->session));
    CU_ASSERT_EQUAL(SSL_read(d->ssl[!d->ours], got, sizeof(got)), 0);
    CU_ASSERT_EQUAL(SSL_get_error(d->ssl[!d->ours], 0), SSL_ERROR_ZERO_RETURN);
    CU_ASSERT_EQUAL(SSL_shutdown(d->ssl[!d->ours]), 1);
    CU_ASSERT_EQUAL(duo_open(d, got, sizeof(got), &len), SEALANE_OK);
    CU_ASSERT_EQUAL(len, 0);
    CU_ASSERT_EQUAL(sealane_session_get_status(d->session), SEALANE_SESSION_PEER_CLOSED);
}

/* ---- Every suite ---- */

static void test_every_aead_suite_in_both_roles(void)
{
    size_t count, tried = 0;
    const sealane_suite *suites = sealane_suites(&count);
    prng random = {1};

    for (size_t i = 0; i < count; i++)
        for (size_t side = 0; side < COUNT(sides) && suites[i].cipher < SEALANE_CIPHERS; side++) {
            duo d;
            if (strstr(suites[i].name, "_DSS_") != NULL) /* nobody has such a certificate any more */
                continue;
            duo_prepare(&d, suites[i].id, sides[side]);
            duo_begin(&d);
            duo_say_hello(&d);
            sealane_takeover_verdict verdict = duo_take(&d);
            if (verdict != SEALANE_TAKEN)
                printf("%s: %s\n", suites[i].name, sealane_takeover_text(verdict));
            CU_ASSERT_EQUAL_FATAL(verdict, SEALANE_TAKEN);
            CU_ASSERT(duo_talks(&d, &random));
            session_closes(&d);
            duo_free(&d);
            tried++;
        }
    printf("%zu suites and roles ", tried);
    CU_ASSERT(tried >= 2 * 35);
}

/* ---- KeyUpdates ---- */

static void test_keyupdates_by_libssl_and_by_us(void)
{
    prng random = {2};

    for (size_t side = 0; side < COUNT(sides); side++) {
        sealane_session_counts counts;
        duo d;
        duo_prepare(&d, 0x1302, sides[side]);
        duo_begin(&d);
        duo_say_hello(&d);
        CU_ASSERT_EQUAL_FATAL(duo_take(&d), SEALANE_TAKEN);
        for (int turn = 0; turn < 20; turn++) {
            bool asks = turn % 2 == 0;
            CU_ASSERT_EQUAL(SSL_key_update(d.ssl[!d.ours],
                                           asks ? SSL_KEY_UPDATE_REQUESTED : SSL_KEY_UPDATE_NOT_REQUESTED),
                            1);
            CU_ASSERT(duo_talks(&d, &random));
            CU_ASSERT(sealane_session_renew(d.session, asks));
            CU_ASSERT(sealane_session_wants_seal(d.session));
            CU_ASSERT(duo_talks(&d, &random));
        }
        sealane_session_get_counts(d.session, &counts);
        CU_ASSERT_EQUAL(counts.open_renewals, 20 + 10); /* its own, and those that we asked for */
        CU_ASSERT_EQUAL(counts.seal_renewals, 20 + 10);
        session_closes(&d);
        duo_free(&d);
    }
}

static void test_keyupdates_before_the_takeover(void)
{
    prng random = {3};
    sealane_takeover_verdict verdict;

    for (int by = CLIENT; by <= SERVER; by++) {
        duo d;
        duo_prepare(&d, 0x1301, SERVER);
        duo_begin(&d);
        CU_ASSERT_EQUAL(SSL_key_update(d.ssl[by], SSL_KEY_UPDATE_REQUESTED), 1);
        CU_ASSERT(duo_libssl_talks(&d));
        CU_ASSERT(duo_libssl_talks(&d));
        /* A libssl that does not log the new secret (before 3.0.8 or so): refused, and libssl goes on. */
        verdict = duo_take(&d);
        CU_ASSERT(verdict == SEALANE_TAKEN || verdict == SEALANE_TAKEOVER_PROOF ||
                  verdict == SEALANE_TAKEOVER_STATE);
        CU_ASSERT(verdict == SEALANE_TAKEN ? duo_talks(&d, &random) : duo_libssl_talks(&d));
        duo_free(&d);
    }
}

/* ---- Tickets and resumption ---- */

static unsigned tickets_got;
static SSL_SESSION *last_ticket;

static int on_ticket(SSL *ssl, SSL_SESSION *session)
{
    (void)ssl;
    tickets_got++;
    SSL_SESSION_free(last_ticket);
    last_ticket = session;
    return 1;
}

/* The handshake with what came last; true if it was taken. */
static bool resumes(duo *d)
{
    bool reused;

    CU_ASSERT_PTR_NOT_NULL_FATAL(last_ticket);
    CU_ASSERT(SSL_SESSION_is_resumable(last_ticket));
    duo_connect(d, true);
    CU_ASSERT_EQUAL(SSL_set_session(d->ssl[CLIENT], last_ticket), 1);
    duo_shake(d);
    reused = SSL_session_reused(d->ssl[CLIENT]) == 1;
    return reused;
}

static void tickets_start(duo *d, uint16_t suite, int ours)
{
    tickets_got = 0;
    duo_prepare(d, suite, ours);
    SSL_CTX_set_session_cache_mode(d->ctx[CLIENT], SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL_STORE);
    SSL_CTX_sess_set_new_cb(d->ctx[CLIENT], on_ticket);
    SSL_CTX_set_session_id_context(d->ctx[SERVER], (const unsigned char *)"duo", 3);
}

static void tickets_stop(duo *d)
{
    duo_free(d);
    SSL_SESSION_free(last_ticket);
    last_ticket = NULL;
}

static void test_tickets_that_come_after_the_takeover_reach_libssl(void)
{
    static uint8_t got[SEALANE_SESSION_OPEN_ROOM];
    prng random = {4};
    size_t len;
    duo d;

    tickets_start(&d, 0x1302, CLIENT);
    duo_begin(&d);
    CU_ASSERT_EQUAL(tickets_got, 0);
    duo_say_hello(&d);
    CU_ASSERT_EQUAL_FATAL(duo_take(&d), SEALANE_TAKEN);
    CU_ASSERT_EQUAL(duo_open(&d, got, sizeof(got), &len), SEALANE_OK);
    CU_ASSERT_EQUAL(len, 0);
    CU_ASSERT_EQUAL(tickets_got, 2);
    CU_ASSERT(duo_talks(&d, &random));
    duo_end(&d);
    CU_ASSERT(resumes(&d));
    tickets_stop(&d);
}

/* Behind application data libssl's sequence number does not fit any more: such tickets pass by. */
static void test_tickets_behind_data_pass_by(void)
{
    prng random = {5};
    duo d;

    tickets_start(&d, 0x1301, CLIENT);
    duo_begin(&d);
    duo_say_hello(&d);
    CU_ASSERT_EQUAL_FATAL(duo_take(&d), SEALANE_TAKEN);
    CU_ASSERT(duo_talks(&d, &random));
    CU_ASSERT_EQUAL(tickets_got, 2);
    for (int i = 0; i < 100; i++) {
        CU_ASSERT_EQUAL(SSL_new_session_ticket(d.ssl[SERVER]), 1);
        CU_ASSERT_EQUAL(SSL_do_handshake(d.ssl[SERVER]), 1);
    }
    CU_ASSERT(duo_talks(&d, &random));
    CU_ASSERT_EQUAL(tickets_got, 2);
    tickets_stop(&d);
}

static void test_servers_that_were_taken_over_resume(void)
{
    static const uint16_t suites[] = {0x1302, 0xc02b};
    prng random = {6};

    for (size_t i = 0; i < COUNT(suites); i++)
        for (int cached = 0; cached <= 1; cached++) { /* a ticket, or the server's own cache */
            duo d;
            tickets_start(&d, suites[i], SERVER);
            if (cached)
                SSL_CTX_set_options(d.ctx[SERVER], SSL_OP_NO_TICKET);
            duo_begin(&d);
            CU_ASSERT_EQUAL_FATAL(duo_take(&d), SEALANE_TAKEN);
            CU_ASSERT(duo_talks(&d, &random));
            SSL_set_shutdown(d.ssl[CLIENT], SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN);
            duo_end(&d);
            CU_ASSERT(resumes(&d));
            CU_ASSERT_EQUAL_FATAL(duo_take(&d), SEALANE_TAKEN);
            CU_ASSERT(duo_talks(&d, &random));
            tickets_stop(&d);
        }
}

/* SSL_free() would declare a session broken whose connection was not shut down. */
static void test_the_clients_session_stays_good(void)
{
    static const uint16_t suites[] = {0x1302, 0xc02b};

    for (size_t i = 0; i < COUNT(suites); i++) {
        static uint8_t got[SEALANE_SESSION_OPEN_ROOM];
        size_t len;
        duo d;
        tickets_start(&d, suites[i], CLIENT);
        duo_begin(&d);
        duo_say_hello(&d);
        CU_ASSERT_EQUAL_FATAL(duo_take(&d), SEALANE_TAKEN);
        CU_ASSERT_EQUAL(duo_open(&d, got, sizeof(got), &len), SEALANE_OK);
        SSL_set_shutdown(d.ssl[SERVER], SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN);
        duo_end(&d);
        CU_ASSERT(resumes(&d));
        tickets_stop(&d);
    }
}

/* ---- Early data ---- */

/* Resumes with early data, which the server reads, or goes by without a look. */
static void early_data_say(duo *d, bool read)
{
    uint8_t got[16];
    size_t len = 0;

    duo_connect(d, true);
    CU_ASSERT_EQUAL_FATAL(SSL_set_session(d->ssl[CLIENT], last_ticket), 1);
    CU_ASSERT_EQUAL_FATAL(SSL_write_early_data(d->ssl[CLIENT], "early", 5, &len), 1);
    duo_move(d, CLIENT);
    if (read) {
        CU_ASSERT_EQUAL(SSL_read_early_data(d->ssl[SERVER], got, sizeof(got), &len),
                        SSL_READ_EARLY_DATA_SUCCESS);
        CU_ASSERT_EQUAL(len, 5);
        duo_move(d, SERVER);
        CU_ASSERT_EQUAL(SSL_do_handshake(d->ssl[CLIENT]), 1);
        duo_move(d, CLIENT);
        CU_ASSERT_EQUAL(SSL_read_early_data(d->ssl[SERVER], got, sizeof(got), &len),
                        SSL_READ_EARLY_DATA_FINISH);
    }
    duo_shake(d);
    CU_ASSERT_EQUAL(SSL_get_early_data_status(d->ssl[d->ours]),
                    read ? SSL_EARLY_DATA_ACCEPTED : SSL_EARLY_DATA_REJECTED);
}

/* What came early may be a replay, of which libssl knows more than we: it keeps the connection. */
static void test_early_data_stays_with_libssl(void)
{
    for (size_t i = 0; i < 2 * COUNT(sides); i++) {
        bool read = i < COUNT(sides);
        duo d;
        tickets_start(&d, 0x1301, sides[i % COUNT(sides)]);
        SSL_CTX_set_max_early_data(d.ctx[SERVER], 1000);
        duo_begin(&d);
        CU_ASSERT(duo_libssl_talks(&d));
        SSL_set_shutdown(d.ssl[CLIENT], SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN);
        SSL_set_shutdown(d.ssl[SERVER], SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN);
        duo_end(&d);
        early_data_say(&d, read);
        duo_say_hello(&d);
        if (read) {
            CU_ASSERT_EQUAL(duo_take(&d), SEALANE_TAKEOVER_EARLY_DATA);
            CU_ASSERT(!sealane_takeover_may_come(SEALANE_TAKEOVER_EARLY_DATA));
            CU_ASSERT(duo_libssl_talks(&d));
        } else {
            prng random = {8};
            CU_ASSERT_EQUAL_FATAL(duo_take(&d), SEALANE_TAKEN);
            CU_ASSERT(duo_talks(&d, &random));
        }
        tickets_stop(&d);
    }
}

/* ---- When ---- */

static void test_unread_bytes_stay_for_the_session(void)
{
    uint8_t got[20000];
    size_t len;
    duo d;

    duo_prepare(&d, 0x1302, SERVER);
    duo_begin(&d);
    peer_write(&d, (const uint8_t *)"early line", 10);
    duo_move(&d, CLIENT);
    CU_ASSERT_EQUAL_FATAL(duo_take(&d), SEALANE_TAKEN);
    CU_ASSERT_EQUAL(duo_open(&d, got, sizeof(got), &len), SEALANE_OK);
    CU_ASSERT_EQUAL(len, 10);
    CU_ASSERT_EQUAL(memcmp(got, "early line", 10), 0);
    duo_free(&d);
}

/* Taken in the middle of a long talk: the counts are libssl's. */
static void test_taken_late(void)
{
    static const uint16_t suites[] = {0x1301, 0xc02c, 0xcca9, 0xc0ac};

    for (size_t i = 0; i < COUNT(suites); i++) {
        duo d;
        duo_prepare(&d, suites[i], i % 2 == 0 ? SERVER : CLIENT);
        duo_begin(&d);
        for (int turn = 0; turn < 300; turn++)
            CU_ASSERT(duo_libssl_talks(&d));
        duo_then_taken(&d);
    }
}

/* ---- Lengths agreed upon ---- */

static void test_max_fragment_length_is_kept(void)
{
    static const uint16_t suites[] = {0x1301, 0xc02b};
    static uint8_t data[20000], out[40000], got[40000];

    for (size_t i = 0; i < COUNT(suites) * COUNT(sides); i++) {
        duo d;
        duo_prepare(&d, suites[i / 2], sides[i % 2]);
        SSL_CTX_set_tlsext_max_fragment_length(d.ctx[CLIENT], TLSEXT_max_fragment_length_1024);
        duo_begin(&d);
        duo_say_hello(&d);
        CU_ASSERT_EQUAL_FATAL(duo_take(&d), SEALANE_TAKEN);
        sealane_session_op op = {
            .session = d.session, .in = data, .in_len = sizeof(data), .out = out, .out_size = sizeof(out)};
        sealane_sessions_seal(&op, 1);
        CU_ASSERT_EQUAL(op.result, SEALANE_OK);
        CU_ASSERT_EQUAL(op.consumed, sizeof(data));
        for (size_t at = 0; at < op.produced;) {
            size_t len = (size_t)out[at + 3] << 8 | out[at + 4];
            CU_ASSERT(len <= 1024 + 1 + 16 + 8);
            at += 5 + len;
        }
        CU_ASSERT_EQUAL(BIO_write(SSL_get_rbio(d.ssl[!d.ours]), out, (int)op.produced), (int)op.produced);
        CU_ASSERT(peer_reads(&d, data, sizeof(data)));
        peer_write(&d, data, sizeof(data));
        size_t len;
        CU_ASSERT_EQUAL(duo_open(&d, got, sizeof(got), &len), SEALANE_OK);
        CU_ASSERT_EQUAL(len, sizeof(data));
        duo_free(&d);
    }
}

int main(void)
{
    static const CU_TestInfo tests[] = {
        {"every AEAD suite, in both roles, carries on", test_every_aead_suite_in_both_roles},
        {"KeyUpdates by libssl and by us", test_keyupdates_by_libssl_and_by_us},
        {"KeyUpdates before the takeover", test_keyupdates_before_the_takeover},
        {"tickets that come after it reach libssl", test_tickets_that_come_after_the_takeover_reach_libssl},
        {"tickets behind data pass by", test_tickets_behind_data_pass_by},
        {"servers that were taken over resume", test_servers_that_were_taken_over_resume},
        {"a client's session stays good", test_the_clients_session_stays_good},
        {"early data stays with libssl", test_early_data_stays_with_libssl},
        {"what libssl has not read is the session's", test_unread_bytes_stay_for_the_session},
        {"taken late", test_taken_late},
        {"the fragment length agreed upon is kept", test_max_fragment_length_is_kept},
        CU_TEST_INFO_NULL,
    };
    return suite_run("takeover", tests);
}
