/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Each reason not to take a connection over, now or ever, after which libssl goes on as if nothing had been.
 */
#include "support_libssl.h"

#include <stdio.h>
#include <string.h>
#include <sealane/engine.h>

static const int sides[] = {CLIENT, SERVER};

/* ---- Not now ---- */

/* Nothing has happened, and it can still be taken later. */
static void not_now(duo *d, sealane_takeover_verdict verdict)
{
    CU_ASSERT_EQUAL(duo_take(d), verdict);
    CU_ASSERT(sealane_takeover_may_come(verdict));
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
    duo_then_taken(&d);
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
    duo_then_taken(&d);
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
        duo_then_taken(&d);
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
        duo_then_taken(&d);
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
    duo_then_taken(&d);
}

/* ---- Never ---- */

static void never(duo *d, sealane_takeover_verdict verdict)
{
    sealane_takeover_verdict got = duo_take(d);

    if (got != verdict)
        printf("%s instead of %s\n", sealane_takeover_name(got), sealane_takeover_name(verdict));
    CU_ASSERT_EQUAL(got, verdict);
    CU_ASSERT(!sealane_takeover_may_come(verdict));
    CU_ASSERT(d->ssl[d->ours] == NULL || duo_libssl_talks(d));
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
    CU_ASSERT(duo_libssl_talks(&d));
    never(&d, SEALANE_TAKEOVER_NO_SECRETS);

    lines_seen = 0;
    duo_prepare(&d, 0x1302, SERVER);
    SSL_CTX_set_keylog_callback(d.ctx[SERVER], on_line);
    CU_ASSERT(sealane_takeover_prepare(d.ctx[SERVER])); /* in front of it */
    CU_ASSERT(sealane_takeover_prepare(d.ctx[SERVER])); /* twice is no harm */
    duo_begin(&d);
    CU_ASSERT_EQUAL(lines_seen, 1);
    duo_then_taken(&d);
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
    duo_then_taken(&d);

    duo_prepare(&d, 0xc02b, SERVER);
    SSL_CTX_clear_options(d.ctx[SERVER], SSL_OP_NO_RENEGOTIATION);
    SSL_CTX_clear_options(d.ctx[CLIENT], SSL_OP_NO_RENEGOTIATION);
    duo_begin(&d);
    CU_ASSERT_EQUAL(SSL_renegotiate(d.ssl[SERVER]), 1);
    never(&d, SEALANE_TAKEOVER_RENEGOTIATION);
}

/* This program is linked with --wrap for the call: Debian's libssl compresses nothing. */
static const COMP_METHOD *compression;
const COMP_METHOD *__wrap_SSL_get_current_compression(const SSL *ssl);

const COMP_METHOD *__wrap_SSL_get_current_compression(const SSL *ssl)
{
    (void)ssl;
    return compression;
}

static void test_compressed_records(void)
{
    static const char some[1];
    duo d;

    duo_prepare(&d, 0xc02b, SERVER);
    duo_begin(&d);
    compression = (const void *)some;
    never(&d, SEALANE_TAKEOVER_COMPRESSION);
    compression = NULL;
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
            duo_say_hello(&d);
            CHILD_CHECK(failures, duo_take(&d) == expected);
            CHILD_CHECK(failures, d.session == NULL && duo_libssl_talks(&d) && duo_libssl_talks(&d));
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

int main(void)
{
    static const CU_TestInfo tests[] = {
        /* First: the children must be the first of their process to ask for a takeover. */
        {"told to fail at each step it falls back", test_drill_at_each_step},
        {"not now: handshake", test_handshake_not_over},
        {"not now: bytes that libssl holds", test_bytes_that_libssl_holds},
        {"not now: half a record", test_half_a_record},
        {"not now: an unsent record", test_unsent_record},
        {"not now: nothing to prove keys with", test_nothing_to_prove_keys_with},
        {"never: unwatched", test_unwatched},
        {"the application's key log", test_key_log_of_the_application},
        {"never: suites and versions not ours", test_suites_and_versions_not_ours},
        {"never: renegotiation", test_renegotiation_not_off},
        {"never: compressed records", test_compressed_records},
        {"never: read ahead", test_read_ahead},
        {"never: shutdown", test_shutdown_begun},
        {"never: more under way", test_more_under_way},
        {"never: keys that do not open", test_keys_that_do_not_open},
        {"verdicts have names", test_verdicts_have_names},
        CU_TEST_INFO_NULL,
    };
    return suite_run("takeover_refusals", tests);
}
