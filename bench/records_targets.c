/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The targets. The ratios are what one expects of a CPU that has VAES and VPCLMULQDQ on 256-bit vectors and
 * no AVX-512 (Zen 3, Alder Lake): there OpenSSL and IPsec-MB run 128-bit code for AES-GCM, so long records
 * should come near twice their speed, at the ports' limit; short ones wait for latency and for calls, of
 * which libssl makes seven per record in TLS 1.3, and records of different keys side by side take most of
 * that wait away. For ciphers without AES-GCM's instructions the libraries' code is already wide, and only
 * lanes help. On other CPUs the targets say nothing about the engine's quality.
 */
#include "records_targets.h"

#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <openssl/opensslv.h>
#include <sealane/engine.h>
#include <sealane/record.h>

#define KEYS       64
#define SIZES(...) ((const size_t[]){__VA_ARGS__, 0})

/* From 3.1 on libcrypto has code for AVX-512, and libssl's calls cost less: what is left to gain is less. */
#define GCM_IN_LIBSSL (OPENSSL_VERSION_MINOR > 0 ? 1.5 : 1.8)

/* In all cases that fit, `ours` must be `at_least` times as fast as `theirs`. */
static const struct ratio_target {
    const char *what;
    const char *cipher;  /* the name begins so ... */
    const char *family;  /* ... and ends so */
    const size_t *sizes; /* ends with 0 */
    size_t batch;
    const char *ours, *theirs;
    double at_least;
} ratio_targets[] = {
    {"AES-128-GCM, 16 KB, one record, against EVP for TLS 1.3", "AES-128", "GCM", SIZES(16384), 1, "aead",
     "evp-tls13", 2.2},
    {"AES-128-GCM, 16 KB, one record, against EVP for TLS 1.2", "AES-128", "GCM", SIZES(16384), 1, "aead",
     "evp-tls12", 2.2},
    {"AES-128-GCM, 16 KB, one record, share of the bound", "AES-128", "GCM", SIZES(16384), 1, "aead", "bound",
     0.85},
    {"AES-128-GCM, 16 KB, one record, share of the bound, mixed", "AES-128", "GCM", SIZES(16384), 1, "aead",
     "bound-mixed", 0.85},
    {"AES-256-GCM, 16 KB, one record, against EVP for TLS 1.3", "AES-256", "GCM", SIZES(16384), 1, "aead",
     "evp-tls13", 2.0},
    {"AES-256-GCM, 16 KB, one record, against EVP for TLS 1.2", "AES-256", "GCM", SIZES(16384), 1, "aead",
     "evp-tls12", 2.0},
    {"AES-256-GCM, 16 KB, one record, share of the bound", "AES-256", "GCM", SIZES(16384), 1, "aead", "bound",
     0.85},
    {"AES-256-GCM, 16 KB, one record, share of the bound, mixed", "AES-256", "GCM", SIZES(16384), 1, "aead",
     "bound-mixed", 0.85},
    {"GCM, 64 bytes, one record, against EVP for TLS 1.3", "AES-", "GCM", SIZES(64), 1, "aead", "evp-tls13",
     6},
    {"GCM, 64 bytes, batch of 16, against EVP for TLS 1.3", "AES-", "GCM", SIZES(64), 16, "batch",
     "evp-tls13", 12},
    {"GCM, 64 bytes, batch of 16, against IPsec-MB's direct call", "AES-", "GCM", SIZES(64), 16, "batch",
     "ipsec-mb", 1.5},
    {"GCM, 64 bytes, batch of 16, against our own single record", "AES-", "GCM", SIZES(64), 16, "batch",
     "record", 2},
    {"GCM, 1400 bytes, batch of 16, against EVP for TLS 1.3", "AES-", "GCM", SIZES(1400), 16, "batch",
     "evp-tls13", 3.5},
    {"CBC-HMAC-SHA1, 1 to 16 KB, batch of 16, against the stitched cipher", "AES-", "CBC-HMAC-SHA1",
     SIZES(1024, 4096, 16384), 16, "batch", "evp-tls12", 1.5},
    {"CBC-HMAC-SHA256, 1 to 16 KB, batch of 16, against the stitched cipher", "AES-", "CBC-HMAC-SHA256",
     SIZES(1024, 4096, 16384), 16, "batch", "evp-tls12", 1.5},
    {"ChaCha20-Poly1305, 16 KB, one record, against EVP for TLS 1.3", "ChaCha20", "Poly1305", SIZES(16384), 1,
     "aead", "evp-tls13", 1},
    {"ChaCha20-Poly1305, 64 bytes, batch of 16, against EVP for TLS 1.3", "ChaCha20", "Poly1305", SIZES(64),
     16, "batch", "evp-tls13", 4},
    {"unmodified libssl with the provider: AES-128-GCM, 16 KB", "AES-128", "GCM", SIZES(16384), 1,
     "libssl-sealane", "libssl", GCM_IN_LIBSSL},
    {"unmodified libssl with the provider: AES-128-GCM, 64 bytes", "AES-128", "GCM", SIZES(64), 1,
     "libssl-sealane", "libssl", 1.05},
    {"unmodified libssl with the provider: ChaCha20-Poly1305, any size", "ChaCha20", "Poly1305",
     SIZES(16, 64, 256, 1024, 1400, 4096, 16384), 1, "libssl-sealane", "libssl", 1},
    {"unmodified libssl with the provider: CBC-HMAC-SHA1, one write of 64 KB", "AES-", "CBC-HMAC-SHA1",
     SIZES(16384), 4, "libssl-long-sealane", "libssl-long", 1.3},
    {"unmodified libssl with the provider: CBC-HMAC-SHA256, one write of 64 KB", "AES-", "CBC-HMAC-SHA256",
     SIZES(16384), 4, "libssl-long-sealane", "libssl-long", 1.3},
};

#define DISPATCH_AT_LEAST 0.95
#define KEY_BYTES_AT_MOST 1024

static bool target_fits(const struct ratio_target *t, const workload *load)
{
    const char *name = load->subject->name;
    size_t len = strlen(name), family_len = strlen(t->family);

    if (load->batch != t->batch || strncmp(name, t->cipher, strlen(t->cipher)) != 0 || len < family_len ||
        strcmp(name + len - family_len, t->family) != 0)
        return false;
    for (const size_t *size = t->sizes; *size != 0; size++)
        if (load->size == *size)
            return true;
    return false;
}

/* Keeps the worse of two cases. */
static void outcome_take(target_outcome *o, const result *r, spread figure, const char *against)
{
    if (o->measured && figure.median >= o->figure.median)
        return;
    o->measured = true;
    o->figure = figure;
    o->reached = figure.median >= o->needed;
    snprintf(o->where, sizeof(o->where), "%s, %s, %zu bytes, batch %zu%s%s", r->load.subject->name,
             r->load.sealing ? "seal" : "open", r->load.size, r->load.batch,
             against == NULL ? "" : ", against ", against == NULL ? "" : against);
}

static void ratio_evaluate(const struct ratio_target *t, const result results[], size_t count,
                           target_outcome *o)
{
    bool bound = strncmp(t->theirs, "bound", 5) == 0;

    *o = (target_outcome){.what = t->what, .unit = bound ? " of the bound" : " x", .needed = t->at_least};
    snprintf(o->where, sizeof(o->where),
             "not measured: the engine does not carry it, or it was not in the run");
    for (size_t i = 0; i < count; i++) {
        spread figure;
        if (!target_fits(t, &results[i].load))
            continue;
        if (result_ratio(&results[i], t->theirs, t->ours, &figure))
            outcome_take(o, &results[i], figure, NULL);
    }
}

/* ---- What dispatch chose ---- */

/*
 * Those who do the same work: no BIOs, and with AEADs no framing. IPsec-MB's bare jobs for CBC do less than any
 * record layer may: they are given their IVs, and opening they neither look at the padding nor hide where the MAC
 * begins (Lucky Thirteen).
 */
static bool comparable(const char *name, const workload *load)
{
    return strncmp(name, "backend-", 8) == 0 || strncmp(name, "evp-", 4) == 0 ||
           (strcmp(name, "ipsec-mb") == 0 && load->subject->kind != SUBJECT_CBC_HMAC);
}

/* Who answers the case as dispatch chose: the backend itself, or where that has no messages, the records. */
static void chosen_name(const result *r, char *name, size_t len)
{
    const workload *load = &r->load;

    if (!load->subject->carried)
        snprintf(name, len, "none");
    else if (load->subject->kind == SUBJECT_CBC_HMAC)
        snprintf(name, len, "%s", load->batch > 1 ? "batch" : "record");
    else
        snprintf(name, len, "backend-%s",
                 (load->batch > 1 ? sealane_backend_for_batch : sealane_backend_for)(
                     load->subject->cipher, load->sealing, load->size, NULL));
}

static void dispatch_evaluate(const result results[], size_t count, target_outcome *o)
{
    *o = (target_outcome){.what = "what dispatch chose, any suite and size, against the best of the others",
                          .unit = " x",
                          .needed = DISPATCH_AT_LEAST};
    snprintf(o->where, sizeof(o->where), "not measured");
    for (size_t i = 0; i < count; i++) {
        char chosen[48];
        chosen_name(&results[i], chosen, sizeof(chosen));
        for (size_t k = 0; k < results[i].count; k++) {
            const char *other = results[i].entries[k].who->name;
            spread figure;
            if (comparable(other, &results[i].load) && strcmp(other, chosen) != 0 &&
                result_ratio(&results[i], other, chosen, &figure))
                outcome_take(o, &results[i], figure, other);
        }
    }
}

/* ---- Memory ---- */

/* A key that has sealed records of all sizes, so that all is expanded that ever will be. NULL: out of memory. */
static sealane_key *key_used(const sealane_suite *suite)
{
    static const uint8_t zero[SEALANE_KEY_MAX];
    static uint8_t record[SEALANE_RECORD_MAX];
    sealane_key *key = NULL;
    sealane_key_params params = {.suite = suite,
                                 .direction = SEALANE_SEALING,
                                 .key = zero,
                                 .key_len = sealane_cipher_get(suite->cipher)->key_len,
                                 .iv = zero,
                                 .iv_len = sealane_suite_iv_len(suite)};

    if (sealane_key_new(&key, &params) != SEALANE_OK)
        return NULL;
    for (size_t size = 16; size <= SEALANE_PLAINTEXT_MAX; size *= 2) {
        struct iovec payload = {.iov_base = record + sealane_record_prefix_len(key), .iov_len = size};
        sealane_seal_op op = {.key = key,
                              .payload = &payload,
                              .payload_count = 1,
                              .out = record,
                              .out_size = sizeof(record),
                              .type = SEALANE_APPLICATION_DATA};
        (void)sealane_record_seal(&op);
    }
    return key;
}

/*
 * What the allocator gives away for one direction of a connection, its own overhead included: key object,
 * AEAD object and every expansion that records of all sizes bring about. 0 if the allocator does not tell.
 */
static double key_bytes(const sealane_suite *suite)
{
    sealane_key *keys[KEYS] = {NULL};
    size_t before, after;

    sealane_key_free(key_used(suite)); /* what is made once per process is no key's */
    before = mallinfo2().uordblks;
    for (size_t i = 0; i < KEYS; i++)
        keys[i] = key_used(suite);
    after = mallinfo2().uordblks;
    for (size_t i = 0; i < KEYS; i++)
        sealane_key_free(keys[i]);
    return after > before ? (double)(after - before) / KEYS : 0;
}

static void memory_evaluate(target_outcome *o)
{
    size_t count;
    const sealane_suite *suites = sealane_suites(&count);

    *o = (target_outcome){.what = "memory of one direction's key, expanded for all sizes",
                          .unit = " bytes",
                          .needed = KEY_BYTES_AT_MOST,
                          .at_most = true};
    snprintf(o->where, sizeof(o->where), "not measured: this allocator does not say");
    for (size_t i = 0; i < count; i++) {
        double bytes = key_bytes(&suites[i]);
        if (bytes <= o->figure.median)
            continue;
        o->measured = true;
        o->figure = (spread){bytes, bytes, bytes};
        o->reached = bytes <= o->needed;
        snprintf(o->where, sizeof(o->where), "%s", suites[i].name);
    }
}

size_t targets_evaluate(const result results[], size_t count, target_outcome out[TARGETS_MAX])
{
    size_t ratios = sizeof(ratio_targets) / sizeof(ratio_targets[0]);

    _Static_assert(sizeof(ratio_targets) / sizeof(ratio_targets[0]) + 2 <= TARGETS_MAX, "no room for all");
    for (size_t i = 0; i < ratios; i++)
        ratio_evaluate(&ratio_targets[i], results, count, &out[i]);
    dispatch_evaluate(results, count, &out[ratios]);
    memory_evaluate(&out[ratios + 1]);
    return ratios + 2;
}
