/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a session does with records: lengths and padding, cuts at every byte, what is forged or malformed, room, and many
 * sessions in one call. What is in them besides application data: test_session_messages.c.
 */
#include "support_session.h"

#include <stdlib.h>
#include <string.h>

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
            match_send(&m, SEALANE_APPLICATION_DATA, NULL, 0);
            match_send(&m, SEALANE_APPLICATION_DATA, data, lengths[i]);
            CU_ASSERT_EQUAL(match_receive(&m), SEALANE_OK);
            CU_ASSERT_EQUAL(m.got_len, lengths[i]);
            CU_ASSERT_EQUAL(memcmp(m.got, data, lengths[i]), 0);
            if (m.suite->version != SEALANE_TLS1_3)
                continue;
            match_send_padded(&m, SEALANE_APPLICATION_DATA, data, lengths[i],
                              SEALANE_PLAINTEXT_MAX - lengths[i]);
            CU_ASSERT_EQUAL(match_receive(&m), SEALANE_OK);
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
    guarded pages = guarded_new(sizeof(whole));

    for (size_t s = 0; s < COUNT(suites); s++) {
        match_begin(&m, suites[s], true, 0);
        size_t len = 0;
        for (int r = 0; r < 3; r++)
            len += match_seal(&m, SEALANE_APPLICATION_DATA, text, sizeof(text), 0, whole + len);
        size_t record = len / 3, taken = 0, total = 0;
        for (size_t here = 0; here <= len; here++) {
            uint8_t *in = guarded_end(&pages, here - taken); /* not a byte is read behind what is there */
            memcpy(in, whole + taken, here - taken);
            sealane_session_op op = {
                .session = m.session, .in = in, .in_len = here - taken, .out = got, .out_size = sizeof(got)};
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
    guarded_free(&pages);
}

static void test_every_flipped_bit_is_refused(void)
{
    static const uint16_t suites[] = {AES128_13, CHACHA_13, AES128_12};

    for (size_t s = 0; s < COUNT(suites); s++)
        for (size_t at = 5;; at++) {
            match_begin(&m, suites[s], true, 0);
            match_send(&m, SEALANE_APPLICATION_DATA, "good", 4);
            size_t first = m.wire_len;
            match_send(&m, SEALANE_APPLICATION_DATA, "authentic", 9);
            if (first + at == m.wire_len) {
                match_end(&m);
                break;
            }
            m.wire[first + at] ^= (uint8_t)(1u << at % 8);
            CU_ASSERT_EQUAL(match_receive(&m), SEALANE_FORGED);
            CU_ASSERT_EQUAL(m.got_len, 4); /* the one before was authentic; nothing of this */
            CU_ASSERT(all_zero(m.got + 4, 9));
            match_fails(&m, SEALANE_FORGED, ALERT_BAD_RECORD_MAC);
        }
}

static void test_replayed_and_swapped_records_are_refused(void)
{
    uint8_t first[64], second[64];
    size_t len;

    for (int swapped = 0; swapped <= 1; swapped++) {
        match_begin(&m, AES256_13, true, 0);
        len = match_seal(&m, SEALANE_APPLICATION_DATA, "one", 3, 0, first);
        match_seal(&m, SEALANE_APPLICATION_DATA, "two", 3, 0, second);
        memcpy(m.wire, swapped ? second : first, len);
        memcpy(m.wire + len, first, len);
        m.wire_len = 2 * len;
        CU_ASSERT_EQUAL(match_receive(&m), SEALANE_FORGED);
        CU_ASSERT_EQUAL(m.got_len, swapped ? 0 : 3);
        match_fails(&m, SEALANE_FORGED, ALERT_BAD_RECORD_MAC);
    }
}

/* ---- Headers ---- */

/* Refused before the record is here, so that nobody makes us wait for it, and in the same way when it is. */
static void header_fails(uint16_t suite, uint8_t type, uint16_t version, size_t len, sealane_result result,
                         uint8_t alert)
{
    for (int whole = 0; whole <= 1; whole++) {
        match_begin(&m, suite, true, 0);
        m.wire[0] = type;
        m.wire[1] = (uint8_t)(version >> 8);
        m.wire[2] = (uint8_t)version;
        m.wire[3] = (uint8_t)(len >> 8);
        m.wire[4] = (uint8_t)len;
        memset(m.wire + 5, 0xa5, len);
        m.wire_len = 5 + (whole ? len : 0);
        match_fails(&m, result, alert);
    }
}

static void test_headers(void)
{
    static const uint8_t types13[] = {0, 20, 21, 22, 24, 255}, types12[] = {0, 19, 24, 255};
    static const uint16_t versions[] = {0x0301, 0x0302, 0x0304, 0x0203, 0x0403};

    for (size_t i = 0; i < COUNT(types13); i++)
        header_fails(AES128_13, types13[i], 0x0303, 1, SEALANE_RECORD, ALERT_UNEXPECTED_MESSAGE);
    for (size_t i = 0; i < COUNT(types12); i++)
        header_fails(AES128_12, types12[i], 0x0303, 100, SEALANE_RECORD, ALERT_UNEXPECTED_MESSAGE);
    for (size_t i = 0; i < COUNT(versions); i++) {
        header_fails(AES128_13, 23, versions[i], 100, SEALANE_RECORD, ALERT_PROTOCOL_VERSION);
        header_fails(AES128_12, 23, versions[i], 100, SEALANE_RECORD, ALERT_PROTOCOL_VERSION);
    }
    header_fails(AES128_13, 23, 0x0303, 16, SEALANE_RECORD, ALERT_BAD_RECORD_MAC);
    header_fails(AES128_12, 23, 0x0303, 23, SEALANE_RECORD, ALERT_BAD_RECORD_MAC);
    header_fails(AES128_13, 23, 0x0303, 16384 + 1 + 16 + 1, SEALANE_OVERFLOW, ALERT_RECORD_OVERFLOW);
    header_fails(AES128_12, 23, 0x0303, 16384 + 24 + 1, SEALANE_OVERFLOW, ALERT_RECORD_OVERFLOW);
    header_fails(AES128_13, 23, 0x0303, 65535, SEALANE_OVERFLOW, ALERT_RECORD_OVERFLOW);
}

/* RFC 8446 5.1, 5.2, 5.4: no type at all, one that is none or is never protected, and an empty one but of data. */
static void test_inner_types(void)
{
    static const uint8_t inner[][3] = {{0, 0, 0}, {'x', 0, 25}, {'x', 1, 20}, {0, 0, 22}, {0, 0, 21}};

    for (size_t i = 0; i < COUNT(inner); i++) {
        bool alone = inner[i][0] == 0 && inner[i][2] != 0; /* the type, with nothing before it */
        match_begin(&m, AES128_13, true, 0);
        match_send_inner(&m, inner[i] + (alone ? 2 : 0), alone ? 1 : 3);
        match_fails(&m, SEALANE_RECORD, ALERT_UNEXPECTED_MESSAGE);
    }
}

/* RFC 8446 5.3: they never wrap. No peer comes so far. */
static void test_sequence_numbers_at_their_end(void)
{
    static const uint16_t suites[] = {AES128_13, AES128_12};

    for (size_t s = 0; s < COUNT(suites); s++) {
        match_begin(&m, suites[s], true, 0);
        match_send(&m, SEALANE_APPLICATION_DATA, "x", 1);
        m.session->open_key->sequence = SEALANE_SEQ_LIMIT;
        match_fails(&m, SEALANE_LIMIT, ALERT_INTERNAL_ERROR);
    }
}

static void test_longer_than_was_agreed(void)
{
    static uint8_t data[1025];

    match_begin(&m, AES128_13, true, 1024);
    match_send(&m, SEALANE_APPLICATION_DATA, data, 1024);
    CU_ASSERT_EQUAL(match_receive(&m), SEALANE_OK);
    match_send(&m, SEALANE_APPLICATION_DATA, data, 1025);
    match_fails(&m, SEALANE_OVERFLOW, ALERT_RECORD_OVERFLOW);
}

/* ---- Room, padding, batches ---- */

static void test_room(void)
{
    static uint8_t got[2 * SEALANE_SESSION_OPEN_ROOM], out[64];
    static heard said[4];

    match_begin(&m, AES128_13, true, 0);
    for (int i = 0; i < 3; i++)
        match_send(&m, SEALANE_APPLICATION_DATA, "0123456789", 10);
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
    CU_ASSERT_EQUAL(match_say(&m, got, 40, said, COUNT(said)), 1);
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

    /* However large the block is, and not at all in TLS 1.2. */
    match_begin(&m, AES128_13, true, 0);
    sealane_session_pad(m.session, 70000);
    sealane_session_op large = {
        .session = m.session, .in = data, .in_len = 1, .out = out, .out_size = sizeof(out)};
    sealane_sessions_seal(&large, 1);
    CU_ASSERT_EQUAL(large.produced, 5 + SEALANE_PLAINTEXT_MAX + 1 + 16);
    match_end(&m);
    match_begin(&m, AES128_12, true, 0);
    sealane_session_pad(m.session, 256);
    large.session = m.session;
    sealane_sessions_seal(&large, 1);
    CU_ASSERT_EQUAL(large.produced, 5 + 8 + 1 + 16);
    /* RFC 5288 3: the explicit nonce goes on behind that of the last record, which was 0. */
    CU_ASSERT_EQUAL(memcmp(out + 5, "\0\0\0\0\0\0\0\1", 8), 0);
    match_end(&m);

    /* Not beyond the length agreed upon. */
    match_begin(&m, AES128_13, true, 1000);
    sealane_session_pad(m.session, 300);
    sealane_session_op op = {
        .session = m.session, .in = data, .in_len = 950, .out = out, .out_size = sizeof(out)};
    sealane_sessions_seal(&op, 1);
    CU_ASSERT_EQUAL(op.produced, 5 + 1000 + 1 + 16);
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
            match_send(&all[i], SEALANE_APPLICATION_DATA, text[i] + 10 * r, 10);
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

/* Nobody is kept waiting by a neighbour's thousand records of one byte: all are served in the same call. */
static void test_tiny_records_of_a_neighbour(void)
{
    static match other;
    static uint8_t got[64];
    const int many = 5000;

    match_begin(&m, AES128_13, true, 0);
    match_begin(&other, AES128_13, true, 0);
    for (int i = 0; i < many; i++)
        m.wire_len += match_seal(&m, SEALANE_APPLICATION_DATA, "x", 1, 0, m.wire + m.wire_len);
    match_send(&other, SEALANE_APPLICATION_DATA, "neighbour", 9);
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

static void test_arguments(void)
{
    sealane_session_params p = {.suite = sealane_suite_find(AES128_13),
                                .client_secret = match_secrets[0],
                                .server_secret = match_secrets[1],
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
    p.master_secret = match_master;
    p.client_random = p.server_random = match_randoms[0];
    p.last_sealed = match_master;
    p.last_sealed_len = sizeof(match_master);
    p.sealed = 1;
    CU_ASSERT_EQUAL(sealane_session_new(&s, &p), SEALANE_UNSUPPORTED);
    p.suite = sealane_suite_find(AES128_12);
    CU_ASSERT_EQUAL(sealane_session_new(&s, &p), SEALANE_FORGED); /* that is no record */
    p.sealed = 0;
    CU_ASSERT_EQUAL(sealane_session_new(&s, &p), SEALANE_ARGUMENT); /* a last one of none */
    p.last_opened = match_master;
    p.last_opened_len = p.sealed = 1;
    CU_ASSERT_EQUAL(sealane_session_new(&s, &p), SEALANE_ARGUMENT);
    p.last_opened = p.last_sealed = NULL;
    CU_ASSERT_EQUAL(sealane_session_new(&s, &p),
                    SEALANE_ARGUMENT); /* nothing that TLS 1.2's nonces go on behind */
    CU_ASSERT_PTR_NULL(s);
}

/* ---- Proof ---- */

/* A client that has opened one record, which held that. */
static sealane_result proven_by(uint8_t type, const void *payload, size_t len, bool flipped)
{
    sealane_session_params p = {.suite = sealane_suite_find(AES128_13),
                                .client_secret = match_secrets[0],
                                .server_secret = match_secrets[1],
                                .secret_len = 32,
                                .opened = 1};
    uint8_t record[100];
    sealane_session *s = NULL;
    sealane_result result;

    match_begin(&m, AES128_13, false, 0);
    p.last_opened_len = match_seal(&m, type, payload, len, 0, record);
    p.last_opened = record;
    record[p.last_opened_len - 1] ^= flipped;
    result = sealane_session_new(&s, &p);
    CU_ASSERT_EQUAL(s != NULL, result == SEALANE_OK);
    sealane_session_free(s);
    match_end(&m);
    return result;
}

/* Behind whole tickets and data both sides are where the counts say; behind all else they may be elsewhere. */
static void test_last_records_that_prove(void)
{
    CU_ASSERT_EQUAL(proven_by(SEALANE_APPLICATION_DATA, "data", 4, false), SEALANE_OK);
    CU_ASSERT_EQUAL(proven_by(SEALANE_APPLICATION_DATA, "data", 4, true), SEALANE_FORGED);
    CU_ASSERT_EQUAL(proven_by(SEALANE_HANDSHAKE, "\4\0\0\1\0\4\0\0\0", 9, false), SEALANE_OK);
    CU_ASSERT_EQUAL(proven_by(SEALANE_HANDSHAKE, "\4\0\0\2\0", 5, false), SEALANE_RECORD);
    CU_ASSERT_EQUAL(proven_by(SEALANE_HANDSHAKE, "\4\0\0\1\0\4", 6, false), SEALANE_RECORD);
    CU_ASSERT_EQUAL(proven_by(SEALANE_HANDSHAKE, "\x18\0\0\1\0", 5, false), SEALANE_RECORD);
    CU_ASSERT_EQUAL(proven_by(SEALANE_HANDSHAKE, "\4\0\0\1\0\x18\0\0\1\0", 10, false), SEALANE_RECORD);
    CU_ASSERT_EQUAL(proven_by(SEALANE_ALERT, "\1\x5a", 2, false), SEALANE_RECORD);
}

/* ---- Long ---- */

/* Sequence numbers and nonces, over very many records and KeyUpdates, between two sessions. */
static void many_records(size_t records, size_t per_update)
{
    static uint8_t wire[2 * SEALANE_RECORD_MAX], got[SEALANE_SESSION_OPEN_ROOM], text[48];
    sealane_session_params p = {.suite = sealane_suite_find(AES256_13),
                                .client_secret = match_secrets[0],
                                .server_secret = match_secrets[1],
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
        {"types inside that must not be", test_inner_types},
        {"sequence numbers at their end", test_sequence_numbers_at_their_end},
        {"longer than was agreed", test_longer_than_was_agreed},
        {"room", test_room},
        {"padding of ours", test_padding_of_ours},
        {"a batch of all kinds", test_batch_of_all_kinds},
        {"tiny records of a neighbour", test_tiny_records_of_a_neighbour},
        {"arguments", test_arguments},
        {"last records that prove", test_last_records_that_prove},
        {"100,000 records", test_100000_records},
        {"100,000 KeyUpdates", test_100000_key_updates},
        CU_TEST_INFO_NULL,
    };
    return suite_run("session", tests);
}
