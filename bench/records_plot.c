/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Plots by gnuplot, which gets its script and data through a pipe: for each cipher, direction and batch the
 * time per record over the size, and for each cipher with a bound how near ours comes to it.
 */
#include <string.h>
#include "plot.h"
#include "records_report.h"

#define CASES_MAX 256

struct style {
    const char *name; /* of a contestant */
    const char *label;
    const char *colour;
    int point, dash;
    double width;
};

/* In the order of the legend: slow ones first, as they lie in the picture. */
static const struct style styles[] = {
    {"libssl", "libssl, memory BIOs", BLACK, 8, 1, 1.5},
    {"evp-tls13", "OpenSSL EVP, TLS 1.3 calls", VERMILION, 7, 1, 1.5},
    {"evp-tls12", "OpenSSL EVP, TLS 1.2 calls", PURPLE, 6, 1, 1.5},
    {"backend-openssl", "backend openssl", ORANGE, 4, 2, 1},
    {"backend-ipsec_mb", "backend ipsec\\_mb", GREEN, 12, 2, 1},
    {"ipsec-mb", "IPsec-MB, bare", GREEN, 13, 1, 1.5},
    {"record", "Sealane, record by record", SKY, 2, 1, 1.5},
    {"aead", "Sealane, AEAD calls", BLUE, 5, 1, 1.5},
    {"batch", "Sealane, batch calls", BLUE, 9, 1, 3},
    {"backend-vaes", "backend vaes", SKY, 3, 2, 1},
    {"backend-vaes512", "backend vaes512", PURPLE, 3, 2, 1},
    {"backend-chacha", "backend chacha", SKY, 3, 2, 1},
    {"bound", "bound of the CPU's ports", GREY, 0, 3, 1.5},
    {"bound-mixed", "the same, mixed", GREY, 0, 4, 1},
};

/* For a backend that the table above does not know. */
static const struct style other_style = {NULL, NULL, GREY, 1, 4, 1};

static const struct style *style_of(const contestant *who)
{
    for (size_t i = 0; i < sizeof(styles) / sizeof(styles[0]); i++)
        if (strcmp(styles[i].name, who->name) == 0)
            return &styles[i];
    return &other_style;
}

static void head_write(FILE *to, const report *r, const char *folder, const char *file, const char *title)
{
    plot_head(to, &r->machine, folder, file, title);
    fprintf(to, "set xlabel 'bytes that the cipher protects in a record (log scale)' offset 0,-0.8\n"
                "set logscale x 2\n");
}

/* Ticks where something was measured; a label that would lie over its neighbour's goes one line lower. */
static void xtics_write(FILE *to, const result *const cases[], size_t count)
{
    size_t above = 0;

    fprintf(to, "set xtics (");
    for (size_t i = 0; i < count; i++) {
        size_t size = cases[i]->load.size;
        bool room = i == 0 || size * 10 >= above * 18;
        fprintf(to, "%s\"%s%zu\" %zu", i == 0 ? "" : ", ", room ? "" : "\\n", size, size);
        above = room ? size : above;
    }
    fprintf(to, ")\nset xrange [%zu*0.8:%zu*1.25]\n", cases[0]->load.size, cases[count - 1]->load.size);
}

/* The cases of one line in a plot, by size as the run has them. */
static size_t cases_of(const report *r, const workload *like, const result *cases[CASES_MAX])
{
    size_t count = 0;

    for (size_t i = 0; i < r->count && count < CASES_MAX; i++) {
        const workload *load = &r->results[i].load;
        if (load->subject == like->subject && load->sealing == like->sealing && load->batch == like->batch)
            cases[count++] = &r->results[i];
    }
    return count;
}

/* ---- Time per record ---- */

static void series_write(FILE *to, const char *name, const result *const cases[], size_t count)
{
    for (size_t i = 0; i < count; i++) {
        const measured *m = result_of(cases[i], name);
        if (m != NULL)
            fprintf(to, "%zu %.3f\n", cases[i]->load.size, m->spread.median);
    }
    fprintf(to, "e\n");
}

/* Entries of the first case in the order of the legend; those without a style of their own come last. */
static size_t entries_order(const result *first, const contestant *order[CONTESTANTS_MAX])
{
    size_t count = 0;

    for (size_t i = 0; i < sizeof(styles) / sizeof(styles[0]); i++) {
        const measured *m = result_of(first, styles[i].name);
        if (m != NULL)
            order[count++] = m->who;
    }
    for (size_t i = 0; i < first->count; i++)
        if (style_of(first->entries[i].who) == &other_style)
            order[count++] = first->entries[i].who;
    return count;
}

static void time_plot(FILE *to, const report *r, const char *folder, const workload *like)
{
    const result *cases[CASES_MAX];
    const contestant *order[CONTESTANTS_MAX];
    size_t count = cases_of(r, like, cases), lines = entries_order(cases[0], order);
    char file[96], title[128];

    snprintf(file, sizeof(file), "%s-%s-batch%zu.svg", like->subject->name, like->sealing ? "seal" : "open",
             like->batch);
    snprintf(title, sizeof(title),
             like->batch == 1 ? "%s, %s, one record at a time" : "%s, %s, %zu records of %zu keys",
             like->subject->name, like->sealing ? "sealing" : "opening", like->batch, like->batch);
    head_write(to, r, folder, file, title);
    fprintf(to, "set ylabel 'nanoseconds per record, median of %zu rounds (log scale)'\nset logscale y 10\n",
            r->rounds);
    xtics_write(to, cases, count);
    fprintf(to, "plot ");
    for (size_t i = 0; i < lines; i++) {
        const struct style *s = style_of(order[i]);
        fprintf(to, "%s'-' using 1:2 with %s lc rgb '%s' lw %.1f dt %d", i == 0 ? "" : ", ",
                s->point > 0 ? "linespoints" : "lines", s->colour, s->width, s->dash);
        if (s->point > 0)
            fprintf(to, " pt %d ps 0.7", s->point);
        fprintf(to, " title ");
        plot_quoted(to, s->label == NULL ? order[i]->name : s->label);
    }
    fprintf(to, "\n");
    for (size_t i = 0; i < lines; i++)
        series_write(to, order[i]->name, cases, count);
    fprintf(to, "unset output\n");
}

/* ---- Share of the bound ---- */

static bool has_bound(const result *r)
{
    return report_ours(r) != NULL && result_of(r, "bound") != NULL;
}

static void share_series_write(FILE *to, const result *const cases[], size_t count)
{
    for (size_t i = 0; i < count; i++) {
        spread share;
        if (has_bound(cases[i]) && result_ratio(cases[i], "bound", report_ours(cases[i]), &share))
            fprintf(to, "%zu %.2f %.2f %.2f\n", cases[i]->load.size, share.median * 100, share.p10 * 100,
                    share.p90 * 100);
    }
    fprintf(to, "e\n");
}

/* First cases of each line in the plot: both directions of every batch of that cipher. */
static size_t lines_of(const report *r, const subject *s, const workload *lines[CASES_MAX])
{
    size_t count = 0;

    for (size_t i = 0; i < r->count && count < CASES_MAX; i++) {
        const workload *load = &r->results[i].load;
        bool known = load->subject != s || !has_bound(&r->results[i]);
        for (size_t k = 0; k < count; k++)
            known = known || (lines[k]->sealing == load->sealing && lines[k]->batch == load->batch);
        if (!known)
            lines[count++] = load;
    }
    return count;
}

/* A bound: a line across the plot, with its name on it. */
static void level_write(FILE *to, double percent, const char *name)
{
    fprintf(
        to,
        "set arrow from graph 0, first %.1f to graph 1, first %.1f nohead dt 3 lw 1.5 lc rgb '" GREY "'\n"
        "set label '%s' at graph 0.01, first %.1f left offset 0,0.5 font ',10.5' textcolor rgb '#404040'\n",
        percent, percent, name, percent);
}

static void share_plot(FILE *to, const report *r, const char *folder, const subject *s)
{
    static const char *const colours[] = {VERMILION, ORANGE, GREEN, BLUE, PURPLE, BLACK};
    static const int points[] = {4, 6, 8, 12, 10, 1};
    const result *cases[CASES_MAX];
    const workload *lines[CASES_MAX];
    size_t count = lines_of(r, s, lines), kinds = sizeof(points) / sizeof(points[0]), case_count;
    spread mixed = {1, 1, 1};
    char file[96], title[128];

    if (count == 0)
        return;
    snprintf(file, sizeof(file), "%s-bound.svg", s->name);
    snprintf(title, sizeof(title), "%s, share of the bound that the CPU's ports set", s->name);
    head_write(to, r, folder, file, title);
    case_count = cases_of(r, lines[0], cases);
    fprintf(to, "set ylabel 'per cent of the bound; bars: eight in ten rounds'\nset mytics 2\n");
    level_write(to, 100, "AES steps, then products");
    if (result_ratio(cases[case_count - 1], "bound", "bound-mixed", &mixed))
        level_write(to, mixed.median * 100, "both in one stream");
    fprintf(to, "set yrange [0:%.0f]\n", mixed.median > 1.1 ? mixed.median * 115 : 125);
    xtics_write(to, cases, case_count);
    fprintf(to, "plot ");
    for (size_t i = 0; i < count; i++) {
        size_t kind = 0;
        while (lines[kind]->batch != lines[i]->batch)
            kind++;
        fprintf(to,
                "%s'-' using 1:2:3:4 with yerrorlines lc rgb '%s' pt %d ps 0.7 lw 1.8 dt %d title '%s, batch "
                "%zu'",
                i == 0 ? "" : ", ", colours[kind % kinds], points[kind % kinds] + (lines[i]->sealing ? 1 : 0),
                lines[i]->sealing ? 1 : 2, lines[i]->sealing ? "seal" : "open", lines[i]->batch);
    }
    fprintf(to, "\n");
    for (size_t i = 0; i < count; i++)
        share_series_write(to, cases, cases_of(r, lines[i], cases));
    fprintf(to, "unset output\n");
}

static void plots_all(FILE *to, const report *r, const char *folder)
{
    for (size_t i = 0; i < r->count; i++) {
        const workload *load = &r->results[i].load;
        const result *cases[CASES_MAX];
        if (cases_of(r, load, cases) > 1 && cases[0] == &r->results[i])
            time_plot(to, r, folder, load);
        if (i == 0 || load->subject != r->results[i - 1].load.subject)
            share_plot(to, r, folder, load->subject);
    }
}

bool plots_write(const char *folder, const report *r)
{
    FILE *to = plot_open("bench-records", folder);

    if (to == NULL)
        return false;
    plots_all(to, r, folder);
    return plot_close("bench-records", folder, to);
}
