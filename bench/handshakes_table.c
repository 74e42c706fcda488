/* SPDX-License-Identifier: Apache-2.0 */
/* Tables for a terminal: handshakes_report.h. */
#include <string.h>
#include "handshakes_report.h"

#define WIDTH 12

static void metric_cell(FILE *to, const result *r, const char *name, metric *m, int digits)
{
    spread s;

    if (result_metric(r, name, m, &s))
        fprintf(to, "%*.*f", WIDTH, digits, s.median);
    else
        fprintf(to, "%*s", WIDTH, "-");
}

static void names_line(FILE *to, const char *const names[], size_t count)
{
    for (size_t i = 0; i < count; i++)
        fprintf(to, "%*s", WIDTH,
                strlen(names[i]) < WIDTH ? names[i] : names[i] + strlen(names[i]) - WIDTH + 1);
}

/* ---- One at a time: CPU ---- */

static bool counts_cpu(const result *r)
{
    return r->work.latency_ms == 0 && r->work.at_once == 1;
}

static void cpu_table(FILE *to, const report *r)
{
    static const char *const names[] = {"file",        "file+sealane",  "file+pkcs11prov",
                                        "sealane",     "sealane-async", "pkcs11prov",
                                        "file+C_Sign", "sign-token",    "sign-software"};
    static const char *const heads[] = {"file",       "file+ours",   "file+prov", "sealane",  "async",
                                        "pkcs11prov", "file+C_Sign", "C_Sign",    "libcrypto"};
    bool any = false;

    for (size_t i = 0; i < r->count; i++) {
        if (!counts_cpu(&r->results[i]))
            continue;
        if (!any) {
            fprintf(to,
                    "\nOne at a time: microseconds of CPU per handshake, client and server; the last two per "
                    "signature\n%-14s",
                    "");
            names_line(to, heads, 9);
            fprintf(to, "\n");
        }
        any = true;
        fprintf(to, "%-9s 1.%-2d", key_name(r->results[i].work.key), r->results[i].work.tls - 10);
        fprintf(to, " ");
        for (size_t k = 0; k < 9; k++)
            metric_cell(to, &r->results[i], names[k], metric_cpu_us, 1);
        fprintf(to, "\n");
    }
}

static void added_cell(FILE *to, const result *r, const char *name,
                       bool (*added)(const result *, const char *, spread *))
{
    char text[64];
    spread s;

    snprintf(text, sizeof(text), "-");
    if (added(r, name, &s))
        snprintf(text, sizeof(text), "%.1f (%.0f..%.0f)", s.median, s.p10, s.p90);
    fprintf(to, "%20s", text);
}

static void added_lines(FILE *to, const report *r, const char *heading, const char *const names[],
                        size_t count, bool (*added)(const result *, const char *, spread *))
{
    bool any = false;

    for (size_t i = 0; i < r->count; i++) {
        if (!counts_cpu(&r->results[i]))
            continue;
        if (!any) {
            fprintf(to, "\n%s\n%-14s", heading, "");
            for (size_t k = 0; k < count; k++)
                fprintf(to, "%20s", names[k]);
            fprintf(to, "\n");
        }
        any = true;
        fprintf(to, "%-9s 1.%-2d ", key_name(r->results[i].work.key), r->results[i].work.tls - 10);
        for (size_t k = 0; k < count; k++)
            added_cell(to, &r->results[i], names[k], added);
        fprintf(to, "\n");
    }
}

static void added_table(FILE *to, const report *r)
{
    static const char *const names[] = {"file+sealane", "file+pkcs11prov", "sealane", "sealane-async",
                                        "pkcs11prov"};

    added_lines(
        to, r,
        "Added to a handshake with a key in a file and, for keys in the token, to C_Sign less libcrypto's "
        "signature:\nmicroseconds of CPU, median of the rounds (eight in ten)",
        names, 5, result_added);
    added_lines(
        to, r,
        "The same over a handshake and C_Sign in turn on one thread, whose caches are as cold as a handshake "
        "leaves them",
        names + 2, 3, result_between);
}

/* ---- All cases: rates ---- */

static void share_cell(FILE *to, const result *r, const char *name)
{
    spread s;

    if (result_ratio(r, name, "sign-token", metric_rate, &s))
        fprintf(to, "%7.0f%%", s.median * 100);
    else
        fprintf(to, "%8s", "-");
}

static void rate_line(FILE *to, const result *r)
{
    static const char *const names[] = {"file", "sealane", "sealane-async", "pkcs11prov", "sign-token"};

    fprintf(to, "%-9s 1.%-2d%5u%6u ", key_name(r->work.key), r->work.tls - 10, r->work.latency_ms,
            r->work.at_once);
    for (size_t k = 0; k < 5; k++)
        metric_cell(to, r, names[k], metric_rate, 0);
    fprintf(to, " |");
    share_cell(to, r, "sealane");
    share_cell(to, r, "sealane-async");
    fprintf(to, " |");
    metric_cell(to, r, "sealane", metric_p99_ms, 1);
    metric_cell(to, r, "sealane-async", metric_p99_ms, 1);
    metric_cell(to, r, "sealane", metric_switches, 1);
    fprintf(to, "\n");
}

static void rate_table(FILE *to, const report *r)
{
    static const char *const heads[] = {"file", "sealane", "async", "pkcs11prov", "C_Sign"};

    fprintf(
        to,
        "\nHandshakes per second, and signatures by C_Sign alone; ours as share of those; 99 in 100 took at "
        "most so many ms;\nswitches of context per handshake\n%-14s%4s%6s ",
        "", "ms", "once");
    names_line(to, heads, 5);
    fprintf(to, " | sealane   async |%12s%12s%12s\n", "sealane", "async", "switches");
    for (size_t i = 0; i < r->count; i++)
        rate_line(to, &r->results[i]);
}

void table_results(FILE *to, const report *r)
{
    cpu_table(to, r);
    added_table(to, r);
    rate_table(to, r);
}

void table_failures(FILE *to, const report *r)
{
    bool any = false;

    for (size_t i = 0; i < r->count; i++)
        for (size_t k = 0; k < r->results[i].count; k++) {
            const measured *m = &r->results[i].entries[k];
            const work *w = &r->results[i].work;
            if (m->failure[0] == '\0')
                continue;
            fprintf(to, "%s%s, %s, TLS 1.%d, %u ms, %u at once: ", any ? "" : "\nFailures\n", m->who->name,
                    key_name(w->key), w->tls - 10, w->latency_ms, w->at_once);
            if (m->failed > 0)
                fprintf(to, "%llu of %llu failed; the first: ", (unsigned long long)m->failed,
                        (unsigned long long)(m->failed + m->done));
            fprintf(to, "%s\n", m->failure);
            any = true;
        }
    if (!any)
        fprintf(to, "\nNo handshake and no signature failed.\n");
}
