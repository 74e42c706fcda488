/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Taking connections over from libssl, with libssl as the other side: every AEAD suite in both roles, what comes
 * with it (tickets, resumption, KeyUpdates), and each reason not to, after which libssl goes on as if nothing had
 * been.
 */
#include "support_libssl.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <malloc.h>
#include <sealane/engine.h>

static const int sides[] = {CLIENT, SERVER};

/* TLS 1.3 clients have nothing to prove their keys with until something was said. */
static void say_hello(duo *d)
{
    if (d->ours == CLIENT && SSL_version(d->ssl[CLIENT]) == TLS1_3_VERSION) {
        CU_ASSERT_EQUAL(SSL_write(d->ssl[CLIENT], "hello", 5), 5);
        duo_move(d, CLIENT);
        CU_ASSERT(peer_reads(d, (const uint8_t *)"hello", 5));
    }
}

/* Goes on with libssl on both sides. */
static bool libssl_talks(duo *d)
{
    static const uint8_t text[] = "nothing has happened";
    uint8_t got[sizeof(text)];
    bool all = true;

    for (int from = CLIENT; from <= SERVER; from++) {
        all &= SSL_write(d->ssl[from], text, sizeof(text)) == sizeof(text);
        duo_move(d, from);
        all &=
            SSL_read(d->ssl[!from], got, sizeof(got)) == sizeof(got) && memcmp(got, text, sizeof(got)) == 0;
    }
    return all;
}

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
            say_hello(&d);
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
        say_hello(&d);
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
        CU_ASSERT(libssl_talks(&d));
        CU_ASSERT(libssl_talks(&d));
        /* A libssl that does not log the new secret (before 3.0.8 or so): refused, and libssl goes on. */
        verdict = duo_take(&d);
        CU_ASSERT(verdict == SEALANE_TAKEN || verdict == SEALANE_TAKEOVER_PROOF ||
                  verdict == SEALANE_TAKEOVER_STATE);
        CU_ASSERT(verdict == SEALANE_TAKEN ? duo_talks(&d, &random) : libssl_talks(&d));
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
    say_hello(&d);
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
    say_hello(&d);
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
        say_hello(&d);
        CU_ASSERT_EQUAL_FATAL(duo_take(&d), SEALANE_TAKEN);
        CU_ASSERT_EQUAL(duo_open(&d, got, sizeof(got), &len), SEALANE_OK);
        SSL_set_shutdown(d.ssl[SERVER], SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN);
        duo_end(&d);
        CU_ASSERT(resumes(&d));
        tickets_stop(&d);
    }
}

/* ---- Not now ---- */

/* Nothing has happened, and it can still be taken later. */
static void not_now(duo *d, sealane_takeover_verdict verdict)
{
    CU_ASSERT_EQUAL(duo_take(d), verdict);
    CU_ASSERT(sealane_takeover_may_come(verdict));
}

static void then_taken(duo *d)
{
    prng random = {7};

    CU_ASSERT_EQUAL_FATAL(duo_take(d), SEALANE_TAKEN);
    CU_ASSERT(duo_talks(d, &random));
    duo_free(d);
}

static void test_handshake_not_over(void)
{
    duo d;

    duo_prepare(&d, 0x1302, SERVER);
    duo_connect(&d, true);
    not_now(&d, SEALANE_TAKEOVER_HANDSHAKE);
    (void)SSL_do_handshake(d.ssl[CLIENT]);
    duo_move(&d, CLIENT);
    (void)SSL_do_handshake(d.ssl[SERVER]);
    not_now(&d, SEALANE_TAKEOVER_HANDSHAKE);
    duo_shake(&d);
    then_taken(&d);
}

static void test_bytes_that_libssl_holds(void)
{
    uint8_t got[10];
    duo d;

    duo_prepare(&d, 0x1302, SERVER);
    duo_begin(&d);
    peer_write(&d, (const uint8_t *)"0123456789", 10);
    duo_move(&d, CLIENT);
    CU_ASSERT_EQUAL(SSL_read(d.ssl[SERVER], got, 4), 4);
    not_now(&d, SEALANE_TAKEOVER_UNREAD);
    CU_ASSERT_EQUAL(SSL_read(d.ssl[SERVER], got, 10), 6);
    CU_ASSERT_EQUAL(memcmp(got, "456789", 6), 0);
    then_taken(&d);
}

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

/* A record of which libssl has some bytes, cut anywhere. */
static void test_half_a_record(void)
{
    static const size_t cuts[] = {1, 4, 5, 6, 20, 31};

    for (size_t i = 0; i < COUNT(cuts); i++) {
        uint8_t record[64], got[16];
        int len;
        duo d;
        duo_prepare(&d, 0x1301, SERVER);
        duo_begin(&d);
        peer_write(&d, (const uint8_t *)"0123456789", 10);
        len = BIO_read(SSL_get_wbio(d.ssl[CLIENT]), record, sizeof(record));
        CU_ASSERT_EQUAL_FATAL(len, 5 + 10 + 1 + 16);
        BIO_write(d.in, record, (int)cuts[i]);
        CU_ASSERT_EQUAL(SSL_read(d.ssl[SERVER], got, sizeof(got)), -1);
        not_now(&d, SEALANE_TAKEOVER_HALFWAY);
        BIO_write(d.in, record + cuts[i], len - (int)cuts[i]);
        CU_ASSERT_EQUAL(SSL_read(d.ssl[SERVER], got, sizeof(got)), 10);
        then_taken(&d);
    }
}

/* A pipe that is full, in the middle of a record or between two. */
static void test_unsent_record(void)
{
    static const int rooms[] = {0, 3, 100};

    for (size_t i = 0; i < COUNT(rooms); i++) {
        static uint8_t filling[8192];
        uint8_t text[1000] = {1};
        BIO *near, *far;
        int filled;
        duo d;
        duo_prepare(&d, 0x1302, SERVER);
        duo_connect(&d, false);
        CU_ASSERT_EQUAL_FATAL(BIO_new_bio_pair(&near, 8192, &far, 0), 1);
        SSL_set0_wbio(d.ssl[SERVER], near);
        BIO_free(d.out);
        d.out = far; /* what duo_move() reads */
        CU_ASSERT(sealane_takeover_watch(d.ssl[SERVER]));
        duo_shake(&d);
        filled = (int)BIO_get_write_guarantee(near) - rooms[i];
        CU_ASSERT_EQUAL_FATAL(BIO_write(near, filling, filled), filled);
        CU_ASSERT_EQUAL(SSL_write(d.ssl[SERVER], text, sizeof(text)), -1);
        not_now(&d, rooms[i] == 0 ? SEALANE_TAKEOVER_UNSENT : SEALANE_TAKEOVER_HALFWAY);
        CU_ASSERT_EQUAL(BIO_read(far, filling, filled), filled);
        CU_ASSERT_EQUAL(SSL_write(d.ssl[SERVER], text, sizeof(text)), sizeof(text));
        duo_move(&d, SERVER);
        CU_ASSERT(peer_reads(&d, text, sizeof(text)));
        then_taken(&d);
    }
}

static void test_nothing_to_prove_keys_with(void)
{
    duo d;

    duo_prepare(&d, 0x1302, SERVER);
    SSL_CTX_set_num_tickets(d.ctx[SERVER], 0);
    duo_begin(&d);
    not_now(&d, SEALANE_TAKEOVER_UNPROVEN);
    CU_ASSERT_EQUAL(SSL_write(d.ssl[SERVER], "220 ready", 9), 9);
    duo_move(&d, SERVER);
    CU_ASSERT(peer_reads(&d, (const uint8_t *)"220 ready", 9));
    then_taken(&d);
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
            CU_ASSERT(libssl_talks(&d));
        then_taken(&d);
    }
}

/* ---- Never ---- */

static void never(duo *d, sealane_takeover_verdict verdict)
{
    sealane_takeover_verdict got = duo_take(d);

    if (got != verdict)
        printf("%s instead of %s\n", sealane_takeover_name(got), sealane_takeover_name(verdict));
    CU_ASSERT_EQUAL(got, verdict);
    CU_ASSERT(!sealane_takeover_may_come(verdict));
    CU_ASSERT(d->ssl[d->ours] == NULL || libssl_talks(d));
    duo_free(d);
}

static void test_unwatched(void)
{
    duo d;

    duo_prepare(&d, 0x1302, SERVER);
    duo_connect(&d, false);
    duo_shake(&d);
    never(&d, SEALANE_TAKEOVER_UNWATCHED);

    duo_prepare(&d, 0x1302, SERVER);
    duo_begin(&d);
    BIO_up_ref(d.out); /* the BIO was changed: libssl's as before, but unseen */
    SSL_set0_wbio(d.ssl[SERVER], d.out);
    never(&d, SEALANE_TAKEOVER_UNWATCHED);
}

static unsigned lines_seen;
static void on_line(const SSL *ssl, const char *line)
{
    (void)ssl;
    lines_seen += strncmp(line, "CLIENT_TRAFFIC_SECRET_0 ", 24) == 0;
}

static void test_key_log_of_the_application(void)
{
    duo d;

    duo_prepare(&d, 0x1302, SERVER);
    SSL_CTX_set_keylog_callback(d.ctx[SERVER], on_line); /* in place of ours */
    duo_begin(&d);
    CU_ASSERT_EQUAL(lines_seen, 1);
    CU_ASSERT(libssl_talks(&d));
    never(&d, SEALANE_TAKEOVER_NO_SECRETS);

    lines_seen = 0;
    duo_prepare(&d, 0x1302, SERVER);
    SSL_CTX_set_keylog_callback(d.ctx[SERVER], on_line);
    CU_ASSERT(sealane_takeover_prepare(d.ctx[SERVER])); /* in front of it */
    CU_ASSERT(sealane_takeover_prepare(d.ctx[SERVER])); /* twice is no harm */
    duo_begin(&d);
    CU_ASSERT_EQUAL(lines_seen, 1);
    then_taken(&d);
}

static void test_suites_and_versions_not_ours(void)
{
    static const uint16_t cbc[] = {0xc009, 0xc024};
    duo d;

    for (size_t i = 0; i < COUNT(cbc); i++) {
        duo_prepare(&d, cbc[i], SERVER);
        duo_begin(&d);
        never(&d, SEALANE_TAKEOVER_SUITE);
    }
    duo_prepare(&d, 0, SERVER);
    for (int side = CLIENT; side <= SERVER; side++) {
        SSL_CTX_set_min_proto_version(d.ctx[side], TLS1_VERSION);
        SSL_CTX_set_max_proto_version(d.ctx[side], TLS1_1_VERSION);
        SSL_CTX_set_cipher_list(d.ctx[side], "ALL:@SECLEVEL=0");
    }
    duo_begin(&d);
    never(&d, SEALANE_TAKEOVER_VERSION);
    duo_prepare(&d, 0, CLIENT); /* AES-256-CCM is none of the engine's */
    for (int side = CLIENT; side <= SERVER; side++) {
        SSL_CTX_set_max_proto_version(d.ctx[side], TLS1_2_VERSION);
        SSL_CTX_set_cipher_list(d.ctx[side], "ECDHE-ECDSA-AES256-CCM:@SECLEVEL=0");
    }
    duo_begin(&d);
    never(&d, SEALANE_TAKEOVER_SUITE);
}

static void test_renegotiation_not_off(void)
{
    duo d;

    duo_prepare(&d, 0xc02b, CLIENT);
    SSL_CTX_clear_options(d.ctx[CLIENT], SSL_OP_NO_RENEGOTIATION);
    duo_begin(&d);
    never(&d, SEALANE_TAKEOVER_RENEGOTIATION);

    duo_prepare(&d, 0xc02b, SERVER);
    SSL_CTX_clear_options(d.ctx[SERVER], SSL_OP_NO_RENEGOTIATION);
    SSL_CTX_set_options(d.ctx[SERVER], SSL_OP_ALLOW_CLIENT_RENEGOTIATION);
    duo_begin(&d);
    never(&d, SEALANE_TAKEOVER_RENEGOTIATION);

    duo_prepare(&d, 0xc02b, SERVER); /* libssl's default: a server refuses what a client asks */
    SSL_CTX_clear_options(d.ctx[SERVER], SSL_OP_NO_RENEGOTIATION);
    duo_begin(&d);
    then_taken(&d);

    duo_prepare(&d, 0xc02b, SERVER);
    SSL_CTX_clear_options(d.ctx[SERVER], SSL_OP_NO_RENEGOTIATION);
    SSL_CTX_clear_options(d.ctx[CLIENT], SSL_OP_NO_RENEGOTIATION);
    duo_begin(&d);
    CU_ASSERT_EQUAL(SSL_renegotiate(d.ssl[SERVER]), 1);
    never(&d, SEALANE_TAKEOVER_RENEGOTIATION);
}

static void test_read_ahead(void)
{
    duo d;

    duo_prepare(&d, 0x1302, SERVER);
    SSL_CTX_set_read_ahead(d.ctx[SERVER], 1);
    duo_begin(&d);
    never(&d, SEALANE_TAKEOVER_READ_AHEAD);
}

static void test_shutdown_begun(void)
{
    sealane_session *none = NULL;
    duo d;

    duo_prepare(&d, 0x1302, SERVER);
    duo_begin(&d);
    CU_ASSERT_EQUAL(SSL_shutdown(d.ssl[SERVER]), 0);
    CU_ASSERT_EQUAL(sealane_takeover(d.ssl[SERVER], &none), SEALANE_TAKEOVER_SHUTDOWN);
    duo_free(&d);
}

/* A record that libssl has written, and that asks for more: a request for a certificate. */
static void test_more_under_way(void)
{
    duo d;

    duo_prepare(&d, 0x1302, SERVER);
    SSL_CTX_set_post_handshake_auth(d.ctx[CLIENT], 1);
    duo_begin(&d);
    SSL_set_verify(d.ssl[SERVER], SSL_VERIFY_PEER, NULL);
    CU_ASSERT_EQUAL_FATAL(SSL_verify_client_post_handshake(d.ssl[SERVER]), 1);
    CU_ASSERT_EQUAL(SSL_do_handshake(d.ssl[SERVER]), 1);
    CU_ASSERT_EQUAL(duo_take(&d), SEALANE_TAKEOVER_STATE);
    duo_free(&d);
}

/* What a broken libssl, or one that does things in another order, would look like. */
static void test_keys_that_do_not_open(void)
{
    BIO *below;
    duo d;

    duo_prepare(&d, 0x1302, SERVER);
    duo_begin(&d);
    below = SSL_get_wbio(d.ssl[SERVER]);
    /* A record that passes, and is none of libssl's. */
    CU_ASSERT_EQUAL(BIO_write(below,
                              "\x17\x03\x03\x00\x20"
                              "0123456789abcdef0123456789abcdef",
                              37),
                    37);
    CU_ASSERT_EQUAL(BIO_read(d.out, (uint8_t[64]){0}, 37), 37);
    never(&d, SEALANE_TAKEOVER_PROOF);
}

/* ---- Rehearsals ---- */

static int drill_run(void *argument)
{
    static const uint16_t suites[] = {0x1302, 0x1303, 0xc02b};
    sealane_takeover_verdict expected = *(const sealane_takeover_verdict *)argument;
    int failures = 0;

    for (size_t i = 0; i < COUNT(suites); i++)
        for (size_t side = 0; side < COUNT(sides); side++) {
            duo d;
            duo_prepare(&d, suites[i], sides[side]);
            SSL_CTX_set_session_cache_mode(d.ctx[CLIENT], SSL_SESS_CACHE_CLIENT);
            duo_begin(&d);
            say_hello(&d);
            CHILD_CHECK(failures, duo_take(&d) == expected);
            CHILD_CHECK(failures, d.session == NULL && libssl_talks(&d) && libssl_talks(&d));
            duo_free(&d);
        }
    return failures;
}

/* Told to fail at each step, it falls back each time. */
static void test_drill_at_each_step(void)
{
    for (int v = SEALANE_TAKEN + 1; v < SEALANE_TAKEOVER_VERDICTS; v++) {
        sealane_takeover_verdict verdict = (sealane_takeover_verdict)v;
        CU_ASSERT_EQUAL(
            child_run("SEALANE_TAKEOVER_DRILL", sealane_takeover_name(verdict), drill_run, &verdict), 0);
    }
}

static void test_verdicts_have_names(void)
{
    for (sealane_takeover_verdict a = 0; a < SEALANE_TAKEOVER_VERDICTS; a++)
        for (sealane_takeover_verdict b = a + 1; b <= SEALANE_TAKEOVER_VERDICTS; b++) {
            CU_ASSERT_NOT_EQUAL(strcmp(sealane_takeover_name(a), sealane_takeover_name(b)), 0);
            CU_ASSERT_NOT_EQUAL(strcmp(sealane_takeover_text(a), sealane_takeover_text(b)), 0);
        }
}

/* ---- Secrets ---- */

/*
 * This program is linked with --wrap for the allocation calls: what our code frees is searched for secrets. What it
 * gets is cleared first, for libssl, which frees its own, leaves some of them behind.
 */
void *__real_malloc(size_t size);
void *__real_calloc(size_t count, size_t size);
int __real_posix_memalign(void **block, size_t alignment, size_t size);
void __real_free(void *block);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t count, size_t size);
int __wrap_posix_memalign(void **block, size_t alignment, size_t size);
void __wrap_free(void *block);

static void *cleared(void *block)
{
    return block != NULL ? memset(block, 0, malloc_usable_size(block)) : NULL;
}

void *__wrap_malloc(size_t size)
{
    return cleared(__real_malloc(size));
}

void *__wrap_calloc(size_t count, size_t size)
{
    return cleared(__real_calloc(count, size));
}

int __wrap_posix_memalign(void **block, size_t alignment, size_t size)
{
    int error = __real_posix_memalign(block, alignment, size);

    if (error == 0)
        cleared(*block);
    return error;
}

static struct {
    uint8_t secrets[4][48];
    size_t count, len, freed, dirty;
} search;

void __wrap_free(void *block)
{
    size_t size = block != NULL ? malloc_usable_size(block) : 0;

    search.freed += search.count > 0 && block != NULL;
    for (size_t i = 0; i < search.count && block != NULL; i++)
        search.dirty += memmem(block, size, search.secrets[i], search.len) != NULL;
    __real_free(block);
}

static void on_secret(const SSL *ssl, const char *line)
{
    const char *hex = strrchr(line, ' ') + 1;

    (void)ssl;
    if (strstr(line, "_TRAFFIC_SECRET_0 ") == NULL || search.count == COUNT(search.secrets))
        return;
    search.len = strlen(hex) / 2;
    for (size_t i = 0; i < search.len; i++)
        CU_ASSERT_EQUAL_FATAL(sscanf(hex + 2 * i, "%2hhx", &search.secrets[search.count][i]), 1);
    search.count++;
}

static void secrets_search(uint16_t suite, int ours, bool take)
{
    prng random = {9};
    duo d;

    memset(&search, 0, sizeof(search));
    duo_prepare(&d, suite, ours);
    SSL_CTX_set_keylog_callback(d.ctx[ours], NULL);
    SSL_CTX_set_keylog_callback(d.ctx[ours], on_secret);
    CU_ASSERT(sealane_takeover_prepare(d.ctx[ours]));
    SSL_CTX_set_session_cache_mode(d.ctx[CLIENT], SSL_SESS_CACHE_CLIENT);
    duo_begin(&d);
    if (d.suite->version == SEALANE_TLS1_2)
        search.len =
            SSL_SESSION_get_master_key(SSL_get_session(d.ssl[ours]), search.secrets[search.count++], 48);
    say_hello(&d);
    if (take) {
        CU_ASSERT_EQUAL_FATAL(duo_take(&d), SEALANE_TAKEN);
        CU_ASSERT(duo_talks(&d, &random));
        sealane_session_renew(d.session, true);
        CU_ASSERT(duo_talks(&d, &random));
    }
    duo_free(&d);
    CU_ASSERT(search.count > 0 && search.len == 48);
    CU_ASSERT(search.freed > 0);
    CU_ASSERT_EQUAL(search.dirty, 0);
    search.count = 0;
}

static void test_secrets_are_wiped(void)
{
    static const uint16_t suites[] = {0x1302, 0xc02c};

    for (size_t i = 0; i < COUNT(suites) * COUNT(sides); i++) {
        secrets_search(suites[i / 2], sides[i % 2], true);
        secrets_search(suites[i / 2], sides[i % 2], false);
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
        say_hello(&d);
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
        /* First: the children must be the first of their process to ask for a takeover. */
        {"told to fail at each step it falls back", test_drill_at_each_step},
        {"every AEAD suite, in both roles, carries on", test_every_aead_suite_in_both_roles},
        {"KeyUpdates by libssl and by us", test_keyupdates_by_libssl_and_by_us},
        {"KeyUpdates before the takeover", test_keyupdates_before_the_takeover},
        {"tickets that come after it reach libssl", test_tickets_that_come_after_the_takeover_reach_libssl},
        {"tickets behind data pass by", test_tickets_behind_data_pass_by},
        {"servers that were taken over resume", test_servers_that_were_taken_over_resume},
        {"a client's session stays good", test_the_clients_session_stays_good},
        {"not now: handshake", test_handshake_not_over},
        {"not now: bytes that libssl holds", test_bytes_that_libssl_holds},
        {"what libssl has not read is the session's", test_unread_bytes_stay_for_the_session},
        {"not now: half a record", test_half_a_record},
        {"not now: an unsent record", test_unsent_record},
        {"not now: nothing to prove keys with", test_nothing_to_prove_keys_with},
        {"taken late", test_taken_late},
        {"never: unwatched", test_unwatched},
        {"the application's key log", test_key_log_of_the_application},
        {"never: suites and versions not ours", test_suites_and_versions_not_ours},
        {"never: renegotiation", test_renegotiation_not_off},
        {"never: read ahead", test_read_ahead},
        {"never: shutdown", test_shutdown_begun},
        {"never: more under way", test_more_under_way},
        {"never: keys that do not open", test_keys_that_do_not_open},
        {"secrets are wiped", test_secrets_are_wiped},
        {"verdicts have names", test_verdicts_have_names},
        {"the fragment length agreed upon is kept", test_max_fragment_length_is_kept},
        CU_TEST_INFO_NULL,
    };
    return suite_run("takeover", tests);
}
