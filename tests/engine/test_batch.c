/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A batch gives, byte for byte, what the same records give one by one: random mixes of connections, suites,
 * sizes and refusals, sealed and opened both ways; forged ones fail with their key's later ones, and no
 * others.
 */
#include "support.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sealane/engine.h>
#include <sealane/record.h>

#define CONNECTIONS 24
#define RECORDS_MAX 200 /* more than a portion of batch.c, to cross its border */
#define PAYLOAD_MAX 1500
#define RECORD_ROOM (PAYLOAD_MAX + 512)

static const uint16_t suites[] = {0x1301, 0x1302, 0xc02f, 0xc030, 0x1303,
                                  0x1304, 0x1305, 0xc0ac, 0xc0ae, 0xcca8};

struct record_plan {
    size_t connection;
    struct iovec pieces[2];
};

struct table {
    prng random;
    size_t count;
    sealane_key *sealing[2][CONNECTIONS], *opening[2][CONNECTIONS]; /* [0] for the batch, [1] one by one */
    struct record_plan plan[RECORDS_MAX];
    sealane_seal_op seal[2][RECORDS_MAX];
    sealane_open_op open[2][RECORDS_MAX];
    uint8_t payload[RECORDS_MAX][PAYLOAD_MAX];
    uint8_t record[2][RECORDS_MAX][RECORD_ROOM];
    uint8_t out[2][RECORDS_MAX][RECORD_ROOM];
    bool forged[RECORDS_MAX];
};

static sealane_key *key_make(size_t connection, sealane_direction direction)
{
    const sealane_suite *suite = sealane_suite_find(suites[connection % COUNT(suites)]);
    uint8_t secret[SEALANE_KEY_MAX], iv[SEALANE_NONCE_LEN];
    sealane_key_params params = {.suite = suite,
                                 .direction = direction,
                                 .key = secret,
                                 .key_len = sealane_cipher_get(suite->cipher)->key_len,
                                 .iv = iv,
                                 .iv_len = sealane_suite_iv_len(suite),
                                 .sequence = connection};
    sealane_key *key = NULL;

    memset(secret, (int)connection + 1, sizeof(secret));
    memset(iv, (int)connection + 101, sizeof(iv));
    CU_ASSERT_EQUAL_FATAL(sealane_key_new(&key, &params), SEALANE_OK);
    return key;
}

static void keys_make(struct table *t)
{
    for (int way = 0; way < 2; way++)
        for (size_t c = 0; c < CONNECTIONS; c++) {
            t->sealing[way][c] = key_make(c, SEALANE_SEALING);
            t->opening[way][c] = key_make(c, SEALANE_OPENING);
        }
}

static void keys_free(struct table *t)
{
    for (int way = 0; way < 2; way++)
        for (size_t c = 0; c < CONNECTIONS; c++) {
            sealane_key_free(t->sealing[way][c]);
            sealane_key_free(t->opening[way][c]);
        }
}

static size_t plan_length(struct table *t)
{
    static const size_t common[] = {0, 5, 40, 64, 1400};

    return prng_below(&t->random, 2) == 0 ? common[prng_below(&t->random, COUNT(common))]
                                          : prng_below(&t->random, PAYLOAD_MAX);
}

/* One in ten or so is refused for a reason of its own: no room, an unknown type, an empty alert. */
static void plan_seal(struct table *t, size_t i)
{
    struct record_plan *plan = &t->plan[i];
    size_t len = plan_length(t), first = prng_below(&t->random, len + 1), oddity = prng_below(&t->random, 30);
    bool tls13;

    plan->connection = prng_below(&t->random, CONNECTIONS);
    tls13 = suites[plan->connection % COUNT(suites)] < 0x2000;
    prng_fill(&t->random, t->payload[i], len);
    plan->pieces[0] = (struct iovec){t->payload[i], first};
    plan->pieces[1] = (struct iovec){t->payload[i] + first, len - first};
    for (int way = 0; way < 2; way++)
        t->seal[way][i] = (sealane_seal_op){.key = t->sealing[way][plan->connection],
                                            .payload = plan->pieces,
                                            .payload_count = 2,
                                            .padding = tls13 ? len % 100 : 0,
                                            .out = t->record[way][i],
                                            .out_size = oddity == 0 ? 20 : RECORD_ROOM,
                                            .type = oddity == 1   ? 99
                                                    : oddity == 2 ? SEALANE_ALERT
                                                                  : 23};
}

static size_t seals_differ(struct table *t)
{
    size_t differ = 0;

    t->count = prng_below(&t->random, RECORDS_MAX + 1);
    memset(t->record, 0, sizeof(t->record));
    for (size_t i = 0; i < t->count; i++)
        plan_seal(t, i);
    sealane_batch_seal(t->seal[0], t->count);
    for (size_t i = 0; i < t->count; i++)
        (void)sealane_record_seal(&t->seal[1][i]);
    for (size_t i = 0; i < t->count; i++)
        differ += t->seal[0][i].result != t->seal[1][i].result ||
                  t->seal[0][i].out_len != t->seal[1][i].out_len ||
                  memcmp(t->record[0][i], t->record[1][i], RECORD_ROOM) != 0;
    return differ;
}

/* In place or out of place; some forged, some cut short. */
static void plan_open(struct table *t, size_t i, bool in_place)
{
    size_t len = t->seal[0][i].out_len, at = prng_below(&t->random, len + 1),
           oddity = prng_below(&t->random, 40);

    t->forged[i] = len > 0 && at >= 13 && at < len && oddity < 2;
    for (int way = 0; way < 2; way++) {
        sealane_key *key = t->opening[way][t->plan[i].connection];
        size_t prefix = sealane_record_prefix_len(key);
        t->record[way][i][at < RECORD_ROOM ? at : 0] ^= (uint8_t)(t->forged[i] ? 0x20 : 0);
        t->open[way][i] = (sealane_open_op){.key = key,
                                            .record = t->record[way][i],
                                            .record_len = oddity == 3 && len > 0 ? len - 1 : len,
                                            .out = in_place ? t->record[way][i] + prefix : t->out[way][i],
                                            .out_size = RECORD_ROOM - prefix};
    }
}

static bool opens_differ_at(const struct table *t, size_t i)
{
    const sealane_open_op *a = &t->open[0][i], *b = &t->open[1][i];

    return a->result != b->result || a->type != b->type || a->payload_len != b->payload_len ||
           memcmp(t->record[0][i], t->record[1][i], RECORD_ROOM) != 0 ||
           memcmp(t->out[0][i], t->out[1][i], RECORD_ROOM) != 0;
}

/* What a record's result must be, from what came before it under its key. */
static bool open_is_right(const struct table *t, size_t i, bool dead[CONNECTIONS])
{
    const sealane_open_op *op = &t->open[0][i];
    const struct record_plan *plan = &t->plan[i];
    size_t len = plan->pieces[0].iov_len + plan->pieces[1].iov_len;

    if (t->seal[0][i].result != SEALANE_OK || op->record_len != t->seal[0][i].out_len) {
        /* Missing from the stream: what follows under this key is out of sequence, unless there was none. */
        if (t->seal[0][i].result == SEALANE_OK)
            dead[plan->connection] = true;
        return op->result == SEALANE_RECORD;
    }
    if (t->forged[i])
        dead[plan->connection] = true;
    if (dead[plan->connection])
        return op->result == SEALANE_FORGED && op->payload_len == 0 && all_zero(op->out, len);
    return op->result == SEALANE_OK && op->payload_len == len && memcmp(op->out, t->payload[i], len) == 0;
}

static size_t opens_wrong(struct table *t, bool in_place)
{
    bool dead[CONNECTIONS] = {false};
    size_t wrong = 0;

    memset(t->out, 0, sizeof(t->out));
    for (size_t i = 0; i < t->count; i++)
        plan_open(t, i, in_place);
    sealane_batch_open(t->open[0], t->count);
    for (size_t i = 0; i < t->count; i++)
        (void)sealane_record_open(&t->open[1][i]);
    for (size_t i = 0; i < t->count; i++)
        wrong += opens_differ_at(t, i) || !open_is_right(t, i, dead);
    return wrong;
}

static void test_batch_equals_one_by_one(void)
{
    struct table *t = calloc(1, sizeof(*t));
    size_t differ = 0, wrong = 0;

    CU_ASSERT_PTR_NOT_NULL_FATAL(t);
    t->random.state = 0xba7c4;
    for (int round = 0; round < 60; round++) {
        keys_make(t);
        differ += seals_differ(t);
        wrong += opens_wrong(t, round % 2 == 0);
        keys_free(t);
    }
    CU_ASSERT_EQUAL(differ, 0);
    CU_ASSERT_EQUAL(wrong, 0);
    free(t);
}

/* The order of the array is the order of the sequence numbers, whatever runs in which group. */
static void test_one_key_counts_up_in_order(void)
{
    enum { N = 150 };
    static uint8_t records[N][64], plain[N][64];
    static sealane_seal_op seal[N];
    sealane_key *sealing[2] = {key_make(0, SEALANE_SEALING), key_make(3, SEALANE_SEALING)};
    sealane_key *opening[2] = {key_make(0, SEALANE_OPENING), key_make(3, SEALANE_OPENING)};
    struct iovec pieces[N];

    for (size_t i = 0; i < N; i++) {
        pieces[i] = (struct iovec){plain[i], 1};
        plain[i][0] = (uint8_t)i;
        seal[i] = (sealane_seal_op){.key = sealing[i % 3 == 0],
                                    .payload = &pieces[i],
                                    .payload_count = 1,
                                    .out = records[i],
                                    .out_size = 64,
                                    .type = 23};
    }
    sealane_batch_seal(seal, N);
    for (size_t i = 0; i < N; i++) {
        sealane_open_op op = {.key = opening[i % 3 == 0],
                              .record = records[i],
                              .record_len = seal[i].out_len,
                              .out = plain[i],
                              .out_size = 64};
        CU_ASSERT_EQUAL(sealane_record_open(&op), SEALANE_OK);
        CU_ASSERT_EQUAL(plain[i][0], (uint8_t)i);
    }
    CU_ASSERT_EQUAL(sealane_key_sequence(sealing[1]), 3 + N / 3);
    CU_ASSERT_EQUAL(sealane_key_sequence(sealing[0]), N - N / 3);
    for (int i = 0; i < 2; i++) {
        sealane_key_free(sealing[i]);
        sealane_key_free(opening[i]);
    }
}

/* A key that reaches its limit in the middle of a batch stops there, and others go on. */
static void test_limit_within_a_batch(void)
{
    sealane_key *other = key_make(1, SEALANE_SEALING), *key = NULL;
    const sealane_suite *suite = sealane_suite_find(0x1301);
    uint8_t secret[16] = {1}, iv[12] = {2}, records[8][64];
    sealane_key_params params = {.suite = suite,
                                 .direction = SEALANE_SEALING,
                                 .key = secret,
                                 .key_len = 16,
                                 .iv = iv,
                                 .iv_len = 12,
                                 .sequence = sealane_cipher_get(suite->cipher)->seal_limit - 2};
    struct iovec piece = {secret, sizeof(secret)};
    sealane_seal_op seal[8];

    CU_ASSERT_EQUAL_FATAL(sealane_key_new(&key, &params), SEALANE_OK);
    for (size_t i = 0; i < 8; i++)
        seal[i] = (sealane_seal_op){.key = i % 2 == 0 ? key : other,
                                    .payload = &piece,
                                    .payload_count = 1,
                                    .out = records[i],
                                    .out_size = 64,
                                    .type = 23};
    sealane_batch_seal(seal, 8);
    for (size_t i = 0; i < 8; i++)
        CU_ASSERT_EQUAL(seal[i].result, i % 2 == 0 && i >= 4 ? SEALANE_LIMIT : SEALANE_OK);
    sealane_key_free(key);
    sealane_key_free(other);
}

static uint64_t sum(const uint64_t counts[SEALANE_BACKENDS_MAX])
{
    uint64_t total = 0;

    for (size_t i = 0; i < SEALANE_BACKENDS_MAX; i++)
        total += counts[i];
    return total;
}

static void test_batches_are_counted(void)
{
    sealane_key *sealing[CONNECTIONS], *opening[CONNECTIONS];
    uint8_t records[CONNECTIONS][64], out[CONNECTIONS][64];
    struct iovec piece = {(void *)(uintptr_t) "abc", 3};
    sealane_seal_op seal[CONNECTIONS];
    sealane_open_op open[CONNECTIONS];
    sealane_counters before, after;

    for (size_t i = 0; i < CONNECTIONS; i++) {
        sealing[i] = key_make(i, SEALANE_SEALING);
        opening[i] = key_make(i, SEALANE_OPENING);
        seal[i] = (sealane_seal_op){.key = sealing[i],
                                    .payload = &piece,
                                    .payload_count = 1,
                                    .out = records[i],
                                    .out_size = 64,
                                    .type = i == 0 ? 99 : 23}; /* one is refused: not counted */
    }
    sealane_counters_read(&before);
    sealane_batch_seal(seal, CONNECTIONS);
    for (size_t i = 0; i < CONNECTIONS; i++)
        open[i] = (sealane_open_op){.key = opening[i],
                                    .record = records[i],
                                    .record_len = seal[i].out_len,
                                    .out = out[i],
                                    .out_size = 64};
    records[4][14] ^= 1;
    records[7][14] ^= 1;
    sealane_batch_open(open, CONNECTIONS);
    sealane_counters_read(&after);
    CU_ASSERT_EQUAL(sum(after.sealed) - sum(before.sealed), CONNECTIONS - 1);
    CU_ASSERT_EQUAL(sum(after.opened) - sum(before.opened), CONNECTIONS - 3);
    CU_ASSERT_EQUAL(after.forged - before.forged, 2);
    for (size_t i = 0; i < CONNECTIONS; i++) {
        sealane_key_free(sealing[i]);
        sealane_key_free(opening[i]);
    }
}

/* ---- Threads ---- */

#define THREADS 6
#define LANES   11

/* Seals and opens a batch of CCM records; true if all is right. Each thread has lanes of its own, and takes
 * them along when it ends: asan would find them. */
static void *lanes_run(void *number)
{
    static const uint16_t ccm[] = {0x1304, 0x1305};
    uint8_t records[LANES][300], plain[LANES][300], secret[16] = {1}, iv[SEALANE_NONCE_LEN] = {2};
    sealane_key *sealing[LANES], *opening[LANES];
    sealane_seal_op seal[LANES];
    sealane_open_op open[LANES];
    size_t right = 0;

    secret[1] = *(uint8_t *)number;
    for (size_t i = 0; i < LANES; i++) {
        sealane_key_params params = {
            .suite = sealane_suite_find(ccm[i % 2]), .key = secret, .key_len = 16, .iv = iv, .iv_len = 12};
        iv[0] = (uint8_t)i;
        if (sealane_key_new(&sealing[i], &params) != SEALANE_OK)
            return NULL;
        params.direction = SEALANE_OPENING;
        if (sealane_key_new(&opening[i], &params) != SEALANE_OK)
            return NULL;
        seal[i] = (sealane_seal_op){.key = sealing[i],
                                    .out = records[i],
                                    .out_size = sizeof(records[i]),
                                    .padding = 20 * i,
                                    .type = SEALANE_APPLICATION_DATA};
    }
    for (int round = 0; round < 50; round++) {
        sealane_batch_seal(seal, LANES);
        for (size_t i = 0; i < LANES; i++)
            open[i] = (sealane_open_op){.key = opening[i],
                                        .record = records[i],
                                        .record_len = seal[i].out_len,
                                        .out = plain[i],
                                        .out_size = sizeof(plain[i])};
        sealane_batch_open(open, LANES);
        for (size_t i = 0; i < LANES; i++)
            right += open[i].result == SEALANE_OK && open[i].payload_len == 0 && open[i].type == 23;
    }
    for (size_t i = 0; i < LANES; i++) {
        sealane_key_free(sealing[i]);
        sealane_key_free(opening[i]);
    }
    return right == 50 * LANES ? number : NULL;
}

static void test_each_thread_has_lanes(void)
{
    pthread_t threads[THREADS];
    uint8_t numbers[THREADS];
    void *result;

    for (int round = 0; round < 2; round++) {
        for (size_t i = 0; i < THREADS; i++) {
            numbers[i] = (uint8_t)i;
            CU_ASSERT_EQUAL_FATAL(pthread_create(&threads[i], NULL, lanes_run, &numbers[i]), 0);
        }
        for (size_t i = 0; i < THREADS; i++) {
            CU_ASSERT_EQUAL(pthread_join(threads[i], &result), 0);
            CU_ASSERT_PTR_EQUAL(result, &numbers[i]);
        }
    }
}

static void test_empty_batches(void)
{
    sealane_batch_seal(NULL, 0);
    sealane_batch_open(NULL, 0);
}

int main(void)
{
    static const CU_TestInfo tests[] = {
        {"random batches equal one by one", test_batch_equals_one_by_one},
        {"one key counts up in the array's order", test_one_key_counts_up_in_order},
        {"a limit within a batch", test_limit_within_a_batch},
        {"batches are counted", test_batches_are_counted},
        {"each thread has lanes of its own", test_each_thread_has_lanes},
        {"empty batches", test_empty_batches},
        CU_TEST_INFO_NULL,
    };
    return suite_run("batch", tests);
}
