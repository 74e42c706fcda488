/* SPDX-License-Identifier: Apache-2.0 */
/* Counting what tokens do, and writing it as JSON; who shows it to whom is left to report.c. */
#include "stats.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

static const char *const op_names[STATS_OPS] = {
    [STATS_OTHER] = "other",   [STATS_SIGN] = "sign",         [STATS_DECRYPT] = "decrypt",
    [STATS_DERIVE] = "derive", [STATS_GENERATE] = "generate", [STATS_FIND] = "find",
};

/* Names of errors that are ours and not a token's. */
static const char *const status_names[STATS_STATUSES] = {
    [HSM_E_URI] = "uri",
    [HSM_E_SETTINGS] = "settings",
    [HSM_E_MODULE] = "module",
    [HSM_E_NO_TOKEN] = "no-token",
    [HSM_E_NO_OBJECT] = "no-object",
    [HSM_E_AMBIGUOUS] = "ambiguous",
    [HSM_E_PIN_NEEDED] = "pin-needed",
    [HSM_E_PIN] = "pin",
    [HSM_E_UNSUPPORTED] = "unsupported",
    [HSM_E_BUSY] = "busy",
    [HSM_E_TIMEOUT] = "timeout",
    [HSM_E_REFUSED] = "refused",
    [HSM_E_EXISTS] = "exists",
    [HSM_E_TOKEN] = "token",
    [HSM_E_SPACE] = "space",
    [HSM_E_MEMORY] = "memory",
    [HSM_E_SHUTDOWN] = "shutdown",
};

/* ---- Counting ---- */

uint64_t stats_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000u + (uint64_t)t.tv_nsec / 1000u;
}

static void add_one(stats_count *c)
{
    (void)atomic_fetch_add_explicit(c, 1, memory_order_relaxed);
}

static unsigned bucket_of(uint64_t us)
{
    unsigned bits = us ? 64 - (unsigned)__builtin_clzll(us) : 0;
    return bits < STATS_BUCKETS ? bits : STATS_BUCKETS - 1;
}

/* The first free row becomes this CK_RV's, whoever gets there first. */
static void error_add(struct stats *s, unsigned long ckr)
{
    for (size_t i = 0; i < STATS_CKRS; i++) {
        unsigned long row = 0;
        if (atomic_load(&s->error[i].ckr) == ckr ||
            atomic_compare_exchange_strong(&s->error[i].ckr, &row, ckr) || row == ckr) {
            add_one(&s->error[i].times);
            return;
        }
    }
    add_one(&s->error_other);
}

void stats_add(struct stats *s, enum stats_op op, const hsm_error *err, uint64_t us)
{
    add_one(&s->op[op].done);
    add_one(&s->op[op].bucket[bucket_of(us)]);
    (void)atomic_fetch_add_explicit(&s->op[op].us, us, memory_order_relaxed);
    if (err->status == HSM_OK)
        return;
    add_one(&s->op[op].failed);
    if (err->ckr != 0)
        error_add(s, err->ckr);
    else
        add_one(&s->error_ours[(unsigned)err->status % STATS_STATUSES]);
}

void stats_queued(struct stats *s, unsigned queued)
{
    unsigned most = atomic_load_explicit(&s->queued_max, memory_order_relaxed);
    while (queued > most && !atomic_compare_exchange_weak(&s->queued_max, &most, queued))
        ;
}

/* ---- As JSON ---- */

/* "buckets" holds pairs of an upper bound in microseconds (null: none) and how many took less than that, but
 * not less than the bound before. */
static void latency_write(const struct stats *s, enum stats_op op, struct text *out)
{
    const char *comma = "";
    text_add(out, "\"latency_us\":{\"sum\":%llu,\"buckets\":[", (unsigned long long)s->op[op].us);
    for (unsigned i = 0; i < STATS_BUCKETS; i++) {
        unsigned long long n = s->op[op].bucket[i];
        if (n == 0)
            continue;
        if (i + 1 < STATS_BUCKETS)
            text_add(out, "%s[%llu,%llu]", comma, 1ull << i, n);
        else
            text_add(out, "%s[null,%llu]", comma, n);
        comma = ",";
    }
    text_add(out, "]}");
}

static void error_write(struct text *out, const char **comma, const char *name, unsigned long long times)
{
    if (times == 0)
        return;
    text_add(out, "%s", *comma);
    text_add_string(out, name);
    text_add(out, ":%llu", times);
    *comma = ",";
}

static void errors_write(const struct stats *s, struct text *out)
{
    const char *comma = "";
    text_add(out, "\"errors\":{");
    for (size_t i = 0; i < STATS_CKRS; i++) {
        unsigned long ckr = s->error[i].ckr;
        char number[40];
        const char *name = hsm_ckr_name(ckr);
        /* Several unknown values must not share a name: a JSON object has each name once. */
        if (strcmp(name, "CKR_VENDOR_DEFINED") == 0 || strcmp(name, "CKR_?") == 0) {
            (void)snprintf(number, sizeof(number), "0x%lx", ckr);
            name = number;
        }
        error_write(out, &comma, name, ckr ? s->error[i].times : 0);
    }
    for (size_t i = 0; i < STATS_STATUSES; i++)
        error_write(out, &comma, status_names[i] ? status_names[i] : "?", s->error_ours[i]);
    error_write(out, &comma, "others", s->error_other);
    text_add(out, "}");
}

void stats_write(const struct stats *s, struct text *out)
{
    const char *comma = "";
    text_add(out, "\"operations\":{");
    for (unsigned op = 0; op < STATS_OPS; op++) {
        if (s->op[op].done == 0)
            continue;
        text_add(out, "%s\"%s\":{\"count\":%llu,\"failed\":%llu,", comma, op_names[op],
                 (unsigned long long)s->op[op].done, (unsigned long long)s->op[op].failed);
        latency_write(s, op, out);
        text_add(out, "}");
        comma = ",";
    }
    text_add(out, "},");
    errors_write(s, out);
}
