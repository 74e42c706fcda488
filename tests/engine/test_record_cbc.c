/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The record layer with suites of AES-CBC and HMAC: framing, limits, room, refusals, batches among AEAD
 * suites, and IVs that never come twice. What is in a record is checked with reference_cbc.c.
 */
#include "support.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <sys/wait.h>
#include <sealane/aead.h>
#include <sealane/engine.h>
#include <sealane/record.h>
#include <sealane/stream.h>
#include "random_iv.h"
#include "reference_cbc.h"

#define ROOM (SEALANE_RECORD_MAX + 64)

static const uint16_t suites[] = {0xc009, 0xc00a, 0xc023, 0x003d, 0xc024};
static uint8_t secret[SEALANE_KEY_MAX] = {0x11, 0x22, 0x33}, mac_secret[SEALANE_MAC_MAX] = {0x44, 0x55};
static uint8_t payload[SEALANE_PLAINTEXT_MAX + 300], record[ROOM], out[ROOM];

static sealane_key_params params_for(uint16_t id, bool etm, sealane_direction direction, uint64_t sequence)
{
    const sealane_suite *suite = sealane_suite_find(id);
    const sealane_cipher *cipher = sealane_cipher_get(suite->cipher);

    return (sealane_key_params){.suite = suite,
                                .direction = direction,
                                .key = secret,
                                .key_len = cipher->key_len,
                                .iv = cipher->tls12_nonce == SEALANE_NONCE_RANDOM ? NULL : secret,
                                .iv_len = sealane_suite_iv_len(suite),
                                .sequence = sequence,
                                .mac_key = mac_secret,
                                .mac_key_len = cipher->tag_len,
                                .encrypt_then_mac = etm};
}

static sealane_key *key_make(uint16_t id, bool etm, sealane_direction direction, uint64_t sequence)
{
    sealane_key_params params = params_for(id, etm, direction, sequence);
    sealane_key *key = NULL;

    CU_ASSERT_EQUAL_FATAL(sealane_key_new(&key, &params), SEALANE_OK);
    return key;
}

static sealane_result seal(sealane_key *key, uint8_t type, size_t len, size_t room, size_t *record_len)
{
    struct iovec piece = {payload, len};
    sealane_seal_op op = {
        .key = key, .payload = &piece, .payload_count = 1, .out = record, .out_size = room, .type = type};

    (void)sealane_record_seal(&op);
    *record_len = op.out_len;
    return op.result;
}

static sealane_result open_in(sealane_key *key, size_t record_len, size_t room, size_t *len)
{
    sealane_open_op op = {
        .key = key, .record = record, .record_len = record_len, .out = out, .out_size = room};

    (void)sealane_record_open(&op);
    *len = op.payload_len;
    return op.result;
}

static void each(void (*check)(uint16_t id, bool etm))
{
    prng random = {0xcbc};

    prng_fill(&random, payload, sizeof(payload));
    for (size_t s = 0; s < COUNT(suites); s++)
        for (int etm = 0; etm <= 1; etm++)
            check(suites[s], etm == 1);
}

/* ---- */

static void check_round(uint16_t id, bool etm)
{
    static const size_t lengths[] = {0, 1, 15, 16, 17, 300, 16383, 16384};
    sealane_key *sealing = key_make(id, etm, SEALANE_SEALING, 7),
                *opening = key_make(id, etm, SEALANE_OPENING, 7);

    for (size_t i = 0; i < COUNT(lengths); i++)
        for (uint8_t type = SEALANE_CHANGE_CIPHER_SPEC; type <= SEALANE_APPLICATION_DATA; type++) {
            size_t record_len, told, len;
            if (lengths[i] == 0 && type != SEALANE_APPLICATION_DATA)
                continue;
            CU_ASSERT_EQUAL(seal(sealing, type, lengths[i], sealane_record_seal_size(sealing, lengths[i], 0),
                                 &record_len),
                            SEALANE_OK);
            CU_ASSERT_EQUAL(record_len, sealane_record_seal_size(sealing, lengths[i], 0));
            CU_ASSERT(record[0] == type && record[1] == 3 && record[2] == 3);
            CU_ASSERT_EQUAL(sealane_record_length(opening, record, 5, &told), SEALANE_OK);
            CU_ASSERT_EQUAL(told, record_len);
            CU_ASSERT_EQUAL(open_in(opening, record_len, sealane_record_open_size(opening, record_len), &len),
                            SEALANE_OK);
            CU_ASSERT_EQUAL(len, lengths[i]);
            CU_ASSERT_EQUAL(memcmp(out, payload, len), 0);
        }
    CU_ASSERT_EQUAL(sealane_record_prefix_len(sealing), 21);
    CU_ASSERT_EQUAL(sealane_key_sequence(sealing), sealane_key_sequence(opening));
    sealane_key_free(sealing);
    sealane_key_free(opening);
}

/* The pseudo header put together by hand: sequence number, type, version. */
static void check_rfc(uint16_t id, bool etm)
{
    const sealane_cipher *cipher = sealane_cipher_get(sealane_suite_find(id)->cipher);
    sealane_key *sealing = key_make(id, etm, SEALANE_SEALING, 0x010203);
    sealane_key *opening = key_make(id, etm, SEALANE_OPENING, 0x0102030405060708);
    uint8_t header[13] = {0, 0, 0, 0, 0, 1, 2, 3, SEALANE_HANDSHAKE, 3, 3}, opened[400];
    uint8_t high[13] = {1, 2, 3, 4, 5, 6, 7, 8, SEALANE_APPLICATION_DATA, 3, 3};
    size_t record_len, len = 0;

    for (int i = 0; i < 3; i++, header[7]++) {
        CU_ASSERT_EQUAL(seal(sealing, SEALANE_HANDSHAKE, 300, ROOM, &record_len), SEALANE_OK);
        CU_ASSERT_EQUAL((size_t)record[3] << 8 | record[4], record_len - 5);
        CU_ASSERT(reference_cbc_open(cipher, etm, secret, mac_secret, header, record + 5, record_len - 5,
                                     opened, &len));
        CU_ASSERT(len == 300 && memcmp(opened, payload, 300) == 0);
    }
    memcpy(record, (uint8_t[]){23, 3, 3}, 3);
    record_len = reference_cbc_seal(cipher, etm, secret, mac_secret, high, payload, payload, 100,
                                    reference_cbc_padding(cipher, etm, 100), record + 5);
    record[3] = (uint8_t)(record_len >> 8);
    record[4] = (uint8_t)record_len;
    CU_ASSERT_EQUAL(open_in(opening, record_len + 5, ROOM, &len), SEALANE_OK);
    CU_ASSERT(len == 100 && memcmp(out, payload, 100) == 0);
    sealane_key_free(sealing);
    sealane_key_free(opening);
}

/* Every length that the header can give: what is a whole number of blocks with room for the MAC, and no more.
 */
static void check_lengths_on_the_wire(uint16_t id, bool etm)
{
    sealane_key *opening = key_make(id, etm, SEALANE_OPENING, 0);
    size_t mac_len = sealane_cipher_get(sealane_suite_find(id)->cipher)->tag_len, behind = etm ? mac_len : 0;
    size_t least = 16 + (etm ? 16 : (mac_len + 16) / 16 * 16) + behind, wrong = 0, told;

    for (size_t len = 0; len <= UINT16_MAX; len++) {
        uint8_t header[5] = {23, 3, 3, (uint8_t)(len >> 8), (uint8_t)len};
        sealane_result expected = len > 16 + 16384 + mac_len + 256          ? SEALANE_OVERFLOW
                                  : len < least || (len - behind) % 16 != 0 ? SEALANE_RECORD
                                                                            : SEALANE_OK;
        wrong += sealane_record_length(opening, header, 5, &told) != expected;
        wrong += expected == SEALANE_OK && told != 5 + len;
    }
    CU_ASSERT_EQUAL(wrong, 0);
    /* Opening looks at it too. */
    memset(record, 0, 100);
    memcpy(record, (uint8_t[]){23, 3, 3, 0, 95}, 5);
    CU_ASSERT_EQUAL(open_in(opening, 100, ROOM, &told), SEALANE_RECORD);
    CU_ASSERT_EQUAL(sealane_key_sequence(opening), 0);
    sealane_key_free(opening);
}

static void check_room(uint16_t id, bool etm)
{
    sealane_key *sealing = key_make(id, etm, SEALANE_SEALING, 0),
                *opening = key_make(id, etm, SEALANE_OPENING, 0);
    size_t record_len, len, room;

    CU_ASSERT_EQUAL(seal(sealing, SEALANE_APPLICATION_DATA, 100,
                         sealane_record_seal_size(sealing, 100, 0) - 1, &record_len),
                    SEALANE_SPACE);
    CU_ASSERT_EQUAL(seal(sealing, SEALANE_APPLICATION_DATA, SEALANE_PLAINTEXT_MAX + 1, ROOM, &record_len),
                    SEALANE_OVERFLOW);
    CU_ASSERT_EQUAL(sealane_key_sequence(sealing), 0);
    CU_ASSERT_EQUAL(seal(sealing, SEALANE_APPLICATION_DATA, 100, ROOM, &record_len), SEALANE_OK);
    room = sealane_record_open_size(opening, record_len);
    memset(out, 0x77, sizeof(out));
    CU_ASSERT_EQUAL(open_in(opening, record_len, room - 1, &len), SEALANE_SPACE);
    CU_ASSERT_EQUAL(open_in(opening, record_len, room, &len), SEALANE_OK);
    CU_ASSERT_EQUAL(len, 100);
    CU_ASSERT_EQUAL(out[room], 0x77);
    sealane_key_free(sealing);
    sealane_key_free(opening);
}

/* Authentic, and still not to be delivered: too long, or empty and no application data. */
static void check_authentic_but_wrong(uint16_t id, bool etm)
{
    static const struct {
        uint8_t type;
        size_t len;
        sealane_result result;
    } cases[] = {{SEALANE_APPLICATION_DATA, SEALANE_PLAINTEXT_MAX + 1, SEALANE_OVERFLOW},
                 {SEALANE_APPLICATION_DATA, SEALANE_PLAINTEXT_MAX + 200, SEALANE_OVERFLOW},
                 {SEALANE_HANDSHAKE, 0, SEALANE_RECORD},
                 {SEALANE_ALERT, 0, SEALANE_RECORD},
                 {SEALANE_APPLICATION_DATA, 0, SEALANE_OK}};
    const sealane_cipher *cipher = sealane_cipher_get(sealane_suite_find(id)->cipher);

    for (size_t i = 0; i < COUNT(cases); i++) {
        sealane_key *opening = key_make(id, etm, SEALANE_OPENING, 0);
        uint8_t header[13] = {0, 0, 0, 0, 0, 0, 0, 0, cases[i].type, 3, 3};
        size_t len =
                   reference_cbc_seal(cipher, etm, secret, mac_secret, header, payload, payload, cases[i].len,
                                      reference_cbc_padding(cipher, etm, cases[i].len), record + 5),
               got;
        memcpy(record, (uint8_t[]){cases[i].type, 3, 3, (uint8_t)(len >> 8), (uint8_t)len}, 5);
        memset(out, 0xff, sizeof(out));
        CU_ASSERT_EQUAL(open_in(opening, len + 5, ROOM, &got), cases[i].result);
        CU_ASSERT(cases[i].result == SEALANE_OK || all_zero(out, sealane_record_open_size(opening, len + 5)));
        sealane_key_free(opening);
    }
}

static void check_forgery_is_the_end(uint16_t id, bool etm)
{
    sealane_key *sealing = key_make(id, etm, SEALANE_SEALING, 0),
                *opening = key_make(id, etm, SEALANE_OPENING, 0);
    size_t record_len, len;

    CU_ASSERT_EQUAL(seal(sealing, SEALANE_APPLICATION_DATA, 100, ROOM, &record_len), SEALANE_OK);
    record[40] ^= 1;
    CU_ASSERT_EQUAL(open_in(opening, record_len, ROOM, &len), SEALANE_FORGED);
    record[40] ^= 1;
    CU_ASSERT_EQUAL(open_in(opening, record_len, ROOM, &len), SEALANE_FORGED);
    CU_ASSERT(all_zero(out, sealane_record_open_size(opening, record_len)));
    sealane_key_free(sealing);
    sealane_key_free(opening);
}

/* The first piece built in place, the others gathered behind it, and opened in place. */
static void check_scattered(uint16_t id, bool etm)
{
    sealane_key *sealing = key_make(id, etm, SEALANE_SEALING, 0),
                *opening = key_make(id, etm, SEALANE_OPENING, 0);
    struct iovec pieces[3] = {{record + 21, 700}, {payload + 700, 0}, {payload + 700, 800}};
    sealane_seal_op op = {.key = sealing,
                          .payload = pieces,
                          .payload_count = 3,
                          .out = record,
                          .out_size = ROOM,
                          .type = SEALANE_APPLICATION_DATA};
    sealane_open_op open = {.key = opening, .record = record, .out = record + 21, .out_size = ROOM - 21};

    memcpy(record + 21, payload, 700);
    CU_ASSERT_EQUAL(sealane_record_seal(&op), SEALANE_OK);
    open.record_len = op.out_len;
    CU_ASSERT_EQUAL(sealane_record_open(&open), SEALANE_OK);
    CU_ASSERT_EQUAL(open.payload_len, 1500);
    CU_ASSERT_EQUAL(memcmp(record + 21, payload, 1500), 0);
    op.padding = 1;
    CU_ASSERT_EQUAL(sealane_record_seal(&op), SEALANE_ARGUMENT);
    sealane_key_free(sealing);
    sealane_key_free(opening);
}

/* ---- Batches ---- */

#define CONNECTIONS 14
#define RECORDS_MAX 150
#define RECORD_ROOM 2600

static const uint16_t mixed[] = {0xc009, 0x1301, 0xc00a, 0xc023, 0xc030, 0x003d, 0xc024};

struct table {
    prng random;
    sealane_key *sealing[CONNECTIONS], *opening[2][CONNECTIONS]; /* [0] for the batch, [1] one by one */
    size_t connection[RECORDS_MAX], len[RECORDS_MAX];
    bool forged[RECORDS_MAX];
    struct iovec pieces[RECORDS_MAX];
    sealane_seal_op seal[RECORDS_MAX];
    sealane_open_op open[2][RECORDS_MAX];
    uint8_t record[RECORDS_MAX][RECORD_ROOM], out[2][RECORDS_MAX][RECORD_ROOM];
};

static void table_seal(struct table *t, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        t->connection[i] = prng_below(&t->random, CONNECTIONS);
        t->len[i] = prng_below(&t->random, 2000);
        t->pieces[i] = (struct iovec){payload, t->len[i]};
        t->seal[i] = (sealane_seal_op){.key = t->sealing[t->connection[i]],
                                       .payload = &t->pieces[i],
                                       .payload_count = 1,
                                       .out = t->record[i],
                                       .out_size = RECORD_ROOM,
                                       .type = SEALANE_APPLICATION_DATA};
    }
    sealane_batch_seal(t->seal, count);
}

static void table_open(struct table *t, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        t->forged[i] = prng_below(&t->random, 30) == 0;
        if (t->forged[i])
            t->record[i][5 + prng_below(&t->random, t->seal[i].out_len - 5)] ^= 0x10;
        for (int way = 0; way < 2; way++)
            t->open[way][i] = (sealane_open_op){.key = t->opening[way][t->connection[i]],
                                                .record = t->record[i],
                                                .record_len = t->seal[i].out_len,
                                                .out = t->out[way][i],
                                                .out_size = RECORD_ROOM};
    }
    sealane_batch_open(t->open[0], count);
    for (size_t i = 0; i < count; i++)
        (void)sealane_record_open(&t->open[1][i]);
}

static size_t table_wrong(const struct table *t, size_t count)
{
    bool dead[CONNECTIONS] = {false};
    size_t wrong = 0;

    for (size_t i = 0; i < count; i++) {
        const sealane_open_op *a = &t->open[0][i], *b = &t->open[1][i];
        dead[t->connection[i]] |= t->forged[i];
        wrong += t->seal[i].result != SEALANE_OK || a->result != b->result ||
                 a->payload_len != b->payload_len ||
                 a->result != (dead[t->connection[i]] ? SEALANE_FORGED : SEALANE_OK);
        if (a->result == SEALANE_OK)
            wrong += a->payload_len != t->len[i] || memcmp(a->out, payload, t->len[i]) != 0;
        else
            wrong +=
                a->payload_len != 0 || !all_zero(a->out, sealane_record_open_size(a->key, a->record_len));
    }
    return wrong;
}

static void test_batches(void)
{
    struct table *t = calloc(1, sizeof(*t));
    size_t wrong = 0;

    CU_ASSERT_PTR_NOT_NULL_FATAL(t);
    t->random.state = 0xba7c4;
    prng_fill(&t->random, payload, sizeof(payload));
    for (int round = 0; round < 30; round++) {
        size_t count = prng_below(&t->random, RECORDS_MAX + 1);
        for (size_t c = 0; c < CONNECTIONS; c++) {
            uint16_t id = mixed[c % COUNT(mixed)];
            t->sealing[c] = key_make(id, c >= COUNT(mixed), SEALANE_SEALING, c);
            for (int way = 0; way < 2; way++)
                t->opening[way][c] = key_make(id, c >= COUNT(mixed), SEALANE_OPENING, c);
        }
        table_seal(t, count);
        table_open(t, count);
        wrong += table_wrong(t, count);
        for (size_t c = 0; c < CONNECTIONS; c++) {
            sealane_key_free(t->sealing[c]);
            sealane_key_free(t->opening[0][c]);
            sealane_key_free(t->opening[1][c]);
        }
    }
    CU_ASSERT_EQUAL(wrong, 0);
    free(t);
}

/* ---- Arguments, other entries, choice ---- */

static void test_keys_refuse_wrong_arguments(void)
{
    sealane_key *key = NULL;
    sealane_key_params good = params_for(0xc023, true, SEALANE_SEALING, 0), bad;

    bad = good, bad.mac_key = NULL;
    CU_ASSERT_EQUAL(sealane_key_new(&key, &bad), SEALANE_ARGUMENT);
    bad = good, bad.mac_key_len = 20;
    CU_ASSERT_EQUAL(sealane_key_new(&key, &bad), SEALANE_ARGUMENT);
    bad = good, bad.key_len = 32;
    CU_ASSERT_EQUAL(sealane_key_new(&key, &bad), SEALANE_ARGUMENT);
    bad = good, bad.key = NULL;
    CU_ASSERT_EQUAL(sealane_key_new(&key, &bad), SEALANE_ARGUMENT);
    bad = good, bad.iv = secret, bad.iv_len = 16;
    CU_ASSERT_EQUAL(sealane_key_new(&key, &bad), SEALANE_ARGUMENT);
    CU_ASSERT_PTR_NULL(key);
}

/* CBC with HMAC is no AEAD: the interfaces of AEADs know nothing of it. */
static void test_aead_interfaces_refuse(void)
{
    for (sealane_cipher_id id = SEALANE_CBC_FIRST; id < SEALANE_CBC_END; id++) {
        size_t key_len = sealane_cipher_get(id)->key_len;
        sealane_aead *aead = NULL;
        sealane_stream *stream = NULL;
        CU_ASSERT_EQUAL(sealane_aead_new(&aead, id, secret, key_len), SEALANE_ARGUMENT);
        CU_ASSERT_EQUAL(sealane_stream_new(&stream, id, secret, key_len), SEALANE_ARGUMENT);
    }
    CU_ASSERT_PTR_NULL(sealane_cipher_get(SEALANE_CBC_END));
}

/* In a child: seals and opens one record and a batch of 16, and looks who did it. */
static int seals_by(void *name)
{
    struct iovec piece = {payload, 500};
    sealane_seal_op ops[16];
    static uint8_t records[16][700];
    size_t record_len, len;
    int failures = 0;
    const char *why = NULL;

    for (size_t s = 0; s < COUNT(suites); s++) {
        sealane_key *sealing = key_make(suites[s], false, SEALANE_SEALING, 0);
        sealane_key *opening = key_make(suites[s], false, SEALANE_OPENING, 0);
        sealane_cipher_id cipher = sealane_suite_find(suites[s])->cipher;
        CHILD_CHECK(failures, seal(sealing, 23, 500, ROOM, &record_len) == SEALANE_OK);
        CHILD_CHECK(failures,
                    strcmp(sealane_last_sealed_by(), sealane_backend_for(cipher, 1, 500, &why)) == 0);
        CHILD_CHECK(failures, why != NULL && why[0] != '\0');
        CHILD_CHECK(failures, name == NULL || strcmp(sealane_last_sealed_by(), name) == 0);
        CHILD_CHECK(failures, open_in(opening, record_len, ROOM, &len) == SEALANE_OK && len == 500);
        for (size_t i = 0; i < 16; i++)
            ops[i] = (sealane_seal_op){.key = sealing,
                                       .payload = &piece,
                                       .payload_count = 1,
                                       .out = records[i],
                                       .out_size = 700,
                                       .type = 23};
        sealane_batch_seal(ops, 16);
        CHILD_CHECK(failures, name == NULL || strcmp(sealane_last_sealed_by(), name) == 0);
        for (size_t i = 0; i < 16; i++) {
            memcpy(record, records[i], 700);
            CHILD_CHECK(failures, open_in(opening, ops[i].out_len, ROOM, &len) == SEALANE_OK && len == 500);
        }
        sealane_key_free(sealing);
        sealane_key_free(opening);
    }
    return failures;
}

static void test_override_is_obeyed(void)
{
    static char openssl[] = "openssl", ipsec_mb[] = "ipsec_mb";

    CU_ASSERT_EQUAL(child_run("SEALANE_BACKEND", openssl, seals_by, openssl), 0);
    CU_ASSERT_EQUAL(child_run("SEALANE_BACKEND", ipsec_mb, seals_by, ipsec_mb), 0);
    CU_ASSERT_EQUAL(child_run("SEALANE_BACKEND", "vaes", seals_by, NULL), 0); /* carries no CBC */
    CU_ASSERT_EQUAL(child_run("SEALANE_BACKEND", NULL, seals_by, NULL), 0);
}

/* ---- IVs ---- */

#define IVS     600 /* more than a page holds */
#define DRAWERS 4

static void *ivs_draw(void *ivs)
{
    bool drawn = true;

    for (size_t i = 0; i < IVS; i++)
        drawn = random_iv_draw((uint8_t *)ivs + i * RANDOM_IV_LEN) && drawn;
    return drawn ? ivs : NULL;
}

static int iv_compare(const void *a, const void *b)
{
    return memcmp(a, b, RANDOM_IV_LEN);
}

static size_t ivs_twice(uint8_t *ivs, size_t count)
{
    size_t twice = 0;

    qsort(ivs, count, RANDOM_IV_LEN, iv_compare);
    for (size_t i = 1; i < count; i++)
        twice += iv_compare(ivs + (i - 1) * RANDOM_IV_LEN, ivs + i * RANDOM_IV_LEN) == 0;
    return twice;
}

static void test_ivs_of_threads_differ(void)
{
    static uint8_t ivs[DRAWERS][IVS * RANDOM_IV_LEN];
    pthread_t threads[DRAWERS];
    void *drawn;

    for (size_t i = 0; i < DRAWERS; i++)
        CU_ASSERT_EQUAL_FATAL(pthread_create(&threads[i], NULL, ivs_draw, ivs[i]), 0);
    for (size_t i = 0; i < DRAWERS; i++) {
        pthread_join(threads[i], &drawn);
        CU_ASSERT_PTR_NOT_NULL(drawn);
    }
    CU_ASSERT_EQUAL(ivs_twice(ivs[0], DRAWERS * IVS), 0);
}

/* Parent and child go on from the same memory, and must not go on with the same bytes. */
static void test_ivs_of_a_fork_differ(void)
{
    static uint8_t ivs[3][IVS * RANDOM_IV_LEN];
    int pipes[2], status;
    pid_t child;

    CU_ASSERT_EQUAL_FATAL(pipe(pipes), 0);
    CU_ASSERT(random_iv_draw(ivs[0])); /* a page is there, and mostly unused */
    child = fork();
    CU_ASSERT_FATAL(child >= 0);
    if (child == 0) {
        bool sent = ivs_draw(ivs[0]) != NULL && write(pipes[1], ivs[0], sizeof(ivs[0])) == sizeof(ivs[0]);
        _exit(sent ? 0 : 1);
    }
    CU_ASSERT_PTR_NOT_NULL(ivs_draw(ivs[1]));
    CU_ASSERT_EQUAL(read(pipes[0], ivs[2], sizeof(ivs[2])), sizeof(ivs[2]));
    CU_ASSERT(waitpid(child, &status, 0) == child && WIFEXITED(status) && WEXITSTATUS(status) == 0);
    CU_ASSERT_EQUAL(ivs_twice(ivs[1], 2 * IVS), 0);
    close(pipes[0]);
    close(pipes[1]);
}

/* The IV of a record is one of them, in whatever way it was sealed. */
static void check_ivs_of_records(uint16_t id, bool etm)
{
    static uint8_t ivs[300 * RANDOM_IV_LEN], records[4][200];
    sealane_key *sealing = key_make(id, etm, SEALANE_SEALING, 0);
    struct iovec piece = {payload, 40};
    sealane_seal_op ops[4];

    for (size_t i = 0; i < 300; i += 4) {
        for (size_t k = 0; k < 4; k++)
            ops[k] = (sealane_seal_op){.key = sealing,
                                       .payload = &piece,
                                       .payload_count = 1,
                                       .out = records[k],
                                       .out_size = 200,
                                       .type = 23};
        sealane_batch_seal(ops, i % 8 == 0 ? 4 : 1);
        sealane_batch_seal(ops + 1, i % 8 == 0 ? 0 : 3);
        for (size_t k = 0; k < 4; k++)
            memcpy(ivs + (i + k) * RANDOM_IV_LEN, records[k] + 5, RANDOM_IV_LEN);
    }
    CU_ASSERT_EQUAL(ivs_twice(ivs, 300), 0);
    sealane_key_free(sealing);
}

/* ---- */

static void test_round(void)
{
    each(check_round);
}
static void test_rfc(void)
{
    each(check_rfc);
}
static void test_lengths_on_the_wire(void)
{
    each(check_lengths_on_the_wire);
}
static void test_room(void)
{
    each(check_room);
}
static void test_authentic_but_wrong(void)
{
    each(check_authentic_but_wrong);
}
static void test_forgery_is_the_end(void)
{
    each(check_forgery_is_the_end);
}
static void test_scattered(void)
{
    each(check_scattered);
}
static void test_ivs_of_records(void)
{
    each(check_ivs_of_records);
}

int main(void)
{
    static const CU_TestInfo tests[] = {
        /* First: its children must be the ones that set the engine up. */
        {"SEALANE_BACKEND is obeyed", test_override_is_obeyed},
        {"what is sealed opens", test_round},
        {"records are RFC 5246's and RFC 7366's", test_rfc},
        {"lengths on the wire are checked", test_lengths_on_the_wire},
        {"room is exact", test_room},
        {"authentic records are checked too", test_authentic_but_wrong},
        {"a forgery is the end of a key", test_forgery_is_the_end},
        {"scattered payloads, in place", test_scattered},
        {"batches among AEAD suites, forged ones fail alone", test_batches},
        {"keys refuse wrong arguments", test_keys_refuse_wrong_arguments},
        {"interfaces of AEADs refuse", test_aead_interfaces_refuse},
        {"IVs of threads differ", test_ivs_of_threads_differ},
        {"IVs of parent and child differ", test_ivs_of_a_fork_differ},
        {"IVs of records differ", test_ivs_of_records},
        CU_TEST_INFO_NULL,
    };
    return suite_run("record_cbc", tests);
}
