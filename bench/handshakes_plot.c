/* SPDX-License-Identifier: Apache-2.0 */
/* Plots: for each key and version the CPU time of a handshake in parts, and for each key and latency the rate
 * over how many go on at once. */
#include <string.h>
#include "handshakes_report.h"
#include "plot.h"

#define CASES_MAX 64

static const struct style {
    const char *name, *label, *colour;
    int point, dash;
    double width;
} styles[] = {
    {"sign-token", "C\\_Sign alone: the limit", GREY, 1, 3, 1.5},
    {"file", "key in a file", BLACK, 8, 1, 1.5},
    {"pkcs11prov", "pkcs11-provider", VERMILION, 6, 1, 1.5},
    {"sealane", "Sealane, threads wait", SKY, 5, 1, 2},
    {"sealane-async", "Sealane, one event loop", BLUE, 9, 1, 2.5},
};

#define STYLES (sizeof(styles) / sizeof(styles[0]))

/* The cases of one picture, which differ only in how many go on at once. */
static size_t cases_of(const report *r, const work *like, const result *cases[CASES_MAX])
{
    size_t count = 0;

    for (size_t i = 0; i < r->count && count < CASES_MAX; i++) {
        const work *w = &r->results[i].work;
        if (w->key == like->key && w->tls == like->tls && w->latency_ms == like->latency_ms)
            cases[count++] = &r->results[i];
    }
    return count;
}

static bool has_any(const result *const cases[], size_t count, const char *name)
{
    spread s;

    for (size_t i = 0; i < count; i++)
        if (result_metric(cases[i], name, metric_rate, &s))
            return true;
    return false;
}

static void rate_series(FILE *to, const result *const cases[], size_t count, const char *name)
{
    spread s;

    for (size_t i = 0; i < count; i++)
        if (result_metric(cases[i], name, metric_rate, &s))
            fprintf(to, "%u %.2f %.2f %.2f\n", cases[i]->work.at_once, s.median, s.p10, s.p90);
    fprintf(to, "e\n");
}

static void rate_plot(FILE *to, const report *r, const char *folder, const work *like)
{
    const result *cases[CASES_MAX];
    size_t count = cases_of(r, like, cases), drawn = 0;
    char file[96], title[160];

    snprintf(file, sizeof(file), "handshakes-%s-%ums.svg", key_name(like->key), like->latency_ms);
    snprintf(title, sizeof(title), "%s, TLS 1.%d, %u ms more per signature, %u sessions", key_name(like->key),
             like->tls - 10, like->latency_ms, r->stage->sessions);
    plot_head(to, &r->machine, folder, file, title);
    fprintf(
        to,
        "set xlabel 'handshakes at once (log scale)' offset 0,-0.8\nset logscale x 2\n"
        "set ylabel 'full handshakes per second (log scale), bars: eight in ten rounds'\nset logscale y 10\n"
        "set xrange [%.2f:%.2f]\nset xtics (",
        cases[0]->work.at_once * 0.8, cases[count - 1]->work.at_once * 1.25);
    for (size_t i = 0; i < count; i++)
        fprintf(to, "%s\"%u\" %u", i > 0 ? ", " : "", cases[i]->work.at_once, cases[i]->work.at_once);
    fprintf(to, ")\nplot ");
    for (size_t i = 0; i < STYLES; i++) {
        const struct style *s = &styles[i];
        if (!has_any(cases, count, s->name))
            continue;
        fprintf(to, "%s'-' using 1:2:3:4 with yerrorlines lc rgb '%s' lw %.1f dt %d pt %d ps 0.7 title '%s'",
                drawn++ > 0 ? ", " : "", s->colour, s->width, s->dash, s->point, s->label);
    }
    fprintf(to, "\n");
    for (size_t i = 0; i < STYLES; i++)
        if (has_any(cases, count, styles[i].name))
            rate_series(to, cases, count, styles[i].name);
    fprintf(to, "unset output\n");
}

/* ---- CPU ---- */

static const struct bar {
    const char *name, *label, *colour;
} bars[] = {
    {"file", "key in a file", BLACK},
    {"file+sealane", "the same, Sealane loaded", GREEN},
    {"file+pkcs11prov", "the same, pkcs11-provider loaded", ORANGE},
    {"sealane", "token, Sealane", SKY},
    {"sealane-async", "token, Sealane, event loop", BLUE},
    {"pkcs11prov", "token, pkcs11-provider", VERMILION},
    {"sign-token", "C\\_Sign alone", GREY},
    {"sign-software", "libcrypto''s signature alone", PURPLE},
};

#define BARS (sizeof(bars) / sizeof(bars[0]))

static bool counts_cpu(const result *r)
{
    return r->work.latency_ms == 0 && r->work.at_once == 1;
}

static size_t cpu_cases(const report *r, const result *cases[CASES_MAX])
{
    size_t count = 0;

    for (size_t i = 0; i < r->count && count < CASES_MAX; i++)
        if (counts_cpu(&r->results[i]))
            cases[count++] = &r->results[i];
    return count;
}

static void cpu_plot(FILE *to, const report *r, const char *folder)
{
    const result *cases[CASES_MAX];
    size_t count = cpu_cases(r, cases), drawn = 0;
    spread s;

    if (count == 0)
        return;
    plot_head(to, &r->machine, folder, "handshakes-cpu.svg",
              "CPU time of a full handshake, client and server, one at a time");
    fprintf(
        to,
        "set ylabel 'microseconds of CPU, median of %u rounds'\nset yrange [0:*]\nset mytics 2\n"
        "set style data histograms\nset style histogram clustered gap 1\nset style fill solid 0.9 noborder\n"
        "unset mxtics\nset xtics scale 0\nplot ",
        cases[0]->rounds);
    for (size_t b = 0; b < BARS; b++)
        if (has_any(cases, count, bars[b].name))
            fprintf(to, "%s'-' using 2:xtic(1) lc rgb '%s' title '%s'", drawn++ > 0 ? ", " : "",
                    bars[b].colour, bars[b].label);
    fprintf(to, "\n");
    for (size_t b = 0; b < BARS; b++) {
        if (!has_any(cases, count, bars[b].name))
            continue;
        for (size_t i = 0; i < count; i++)
            fprintf(to, "\"%s, TLS 1.%d\" %.2f\n", key_name(cases[i]->work.key), cases[i]->work.tls - 10,
                    result_metric(cases[i], bars[b].name, metric_cpu_us, &s) ? s.median : 0);
        fprintf(to, "e\n");
    }
    fprintf(to, "unset output\n");
}

bool plots_write(const char *folder, const report *r)
{
    FILE *to = plot_open("bench-handshakes", folder);

    if (to == NULL)
        return false;
    cpu_plot(to, r, folder);
    for (size_t i = 0; i < r->count; i++) {
        const result *cases[CASES_MAX];
        if (cases_of(r, &r->results[i].work, cases) > 1 && cases[0] == &r->results[i])
            rate_plot(to, r, folder, &r->results[i].work);
    }
    return plot_close("bench-handshakes", folder, to);
}
