/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the benchmark would take for right work: every contestant's records are proved, and a record that is
 * wrong in one bit, or was not worked on at all, is noticed.
 */
#include "check.h"

#include <sealane/engine.h>
#include "backends.h"
#include "records_contestant.h"
#include "records_reference.h"
#include "records_rounds.h"

static subject subjects[SUBJECTS_MAX];
static size_t subject_count;

/* Whatever else comes to the engine, this is there. */
static const subject *gcm(void)
{
    for (size_t i = 0; i < subject_count; i++)
        if (strcmp(subjects[i].name, "AES-128-GCM") == 0)
            return &subjects[i];
    return NULL;
}

static record_format format_of(const subject *s)
{
    return s->kind == SUBJECT_CBC_HMAC ? FORMAT_TLS12 : FORMAT_TLS13;
}

/* Work as if by a contestant: the images change places. */
static void work_done(ring *r)
{
    memcpy(r->memory, r->load.sealing ? r->sealed : r->plain, r->count * r->stride);
}

static void check_workload(const workload *load)
{
    ring *r = ring_new(load, format_of(load->subject));
    size_t end = load->size + (load->sealing ? format_trailer_len(load->subject, load->size) : 0);

    CU_ASSERT_PTR_NOT_NULL_FATAL(r);
    CU_ASSERT(r->count % load->batch == 0);
    ring_restore(r);
    CU_ASSERT_FALSE(ring_verify(r)); /* untouched */
    work_done(r);
    CU_ASSERT_TRUE(ring_verify(r));
    for (size_t i = 0; i < end; i++) {
        uint8_t *wrong = r->slots[i % r->count].data + i;
        *wrong ^= 1;
        CU_ASSERT_FALSE(ring_verify(r));
        *wrong ^= 1;
    }
    CU_ASSERT_TRUE(ring_verify(r));
    ring_free(r);
}

static void test_wrong_work_is_noticed(void)
{
    for (size_t i = 0; i < subject_count; i++)
        for (int sealing = 0; sealing <= 1; sealing++) {
            workload load = {&subjects[i], sealing, 33, 4};
            check_workload(&load);
        }
}

static void test_neighbours_have_different_keys(void)
{
    workload load = {gcm(), true, 100, 16};
    ring *r = ring_new(&load, FORMAT_TLS13);
    traffic_key a = traffic_key_make(gcm(), 0), b = traffic_key_make(gcm(), 1);

    CU_ASSERT_PTR_NOT_NULL_FATAL(r);
    CU_ASSERT(memcmp(a.key, b.key, gcm()->key_len) != 0);
    for (size_t i = 0; i + 1 < r->count; i++)
        CU_ASSERT(r->slots[i].key != r->slots[i + 1].key);
    for (size_t i = 16; i < r->count; i++)
        CU_ASSERT(memcmp(r->slots[i].nonce, r->slots[i - 16].nonce, SEALANE_NONCE_LEN) != 0);
    ring_free(r);
}

/* Handshakes take long, and for libssl not every edge of a block is another case. */
static bool worth_it(const contestant *who, const void *context)
{
    const workload *load = context;

    return strncmp(who->name, "libssl", 6) != 0 || load->size == 17 || load->size >= 4097;
}

/* rounds_run() proves every contestant before the first and after the last round. */
static void test_every_contestant_works_rightly(void)
{
    static const size_t sizes[] = {2, 15, 16, 17, 255, 4097, 16384}, batches[] = {1, 3, 8, 64};

    for (size_t i = 0; i < subject_count; i++)
        for (size_t k = 0; k < sizeof(sizes) / sizeof(sizes[0]); k++)
            for (size_t b = 0; b < sizeof(batches) / sizeof(batches[0]); b++)
                for (int sealing = 0; sealing <= 1; sealing++) {
                    workload load = {&subjects[i], sealing, sizes[k], batches[b]};
                    result r;
                    if (batches[b] > 3 && sizes[k] != (batches[b] == 8 ? 4097 : 17))
                        continue; /* nothing new, and so many handshakes take long */
                    CU_ASSERT_TRUE(rounds_run(&r, &load, 1, worth_it, &load));
                    CU_ASSERT(r.count >= 2);
                    result_free(&r);
                }
}

/* The contestants that the engine's ciphers must meet, and all its usable backends. */
static void test_nobody_is_missing(void)
{
    static const char *const names[] = {"aead",      "record", "batch",          "evp-tls13",
                                        "evp-tls12", "libssl", "libssl-sealane", "libssl-tls12-sealane",
                                        "ipsec-mb"};
    workload load = {gcm(), true, 64, 4};
    sealane_backend_info info[SEALANE_BACKENDS_MAX];
    size_t backends = sealane_backends(info);
    result r;

    CU_ASSERT_TRUE_FATAL(rounds_run(&r, &load, 1, NULL, NULL));
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        CU_ASSERT_PTR_NOT_NULL(result_of(&r, names[i]));
    for (size_t i = 0; i < backends; i++) {
        char name[64];
        snprintf(name, sizeof(name), "backend-%s", info[i].name);
        bool carries = engine_backends[i]->state_size(SEALANE_AES_128_GCM) > 0;
        CU_ASSERT((result_of(&r, name) != NULL) == (info[i].usable != 0 && carries));
    }
    result_free(&r);
}

int main(int argc, char **argv)
{
    static const check_case cases[] = {
        {"wrong work is noticed", test_wrong_work_is_noticed},
        {"neighbours in a ring have different keys", test_neighbours_have_different_keys},
        {"every contestant works rightly", test_every_contestant_works_rightly},
        {"nobody is missing", test_nobody_is_missing},
    };
    int status;

    subject_count = subjects_list(subjects);
    status = check_run("bench workload", cases, sizeof(cases) / sizeof(cases[0]), argc, argv);
    reference_end();
    return status;
}
