/* SPDX-License-Identifier: Apache-2.0 */
/* Tables for a terminal: records_report.h. */
#include <string.h>
#include "records_bound.h"
#include "records_report.h"

#define COLUMN 9

void table_bound(FILE *to)
{
    const bound_ports *p = bound_measure();

    if (p->vector_bits == 0) {
        fprintf(
            to,
            "bound      none: no AES and carry-less multiply instructions that it could be measured with\n");
        return;
    }
    fprintf(to, "bound      %d-bit vectors: vaesenc %.3f ns, vpclmulqdq %.3f ns each, alone\n",
            p->vector_bits, p->aes_ns, p->product_ns);
    fprintf(to, "           mixed, in AES-128-GCM's proportion %.2f, AES-256-GCM's %.2f of both alone\n",
            p->mixed[0], p->mixed[1]);
}

/* ---- One line per case ---- */

static bool same_group(const result *a, const result *b)
{
    return a->load.subject == b->load.subject && a->load.sealing == b->load.sealing;
}

/* Contestants of a group of cases, in their usual order, the bounds apart. */
static size_t columns_collect(const result group[], size_t count, const contestant *columns[CONTESTANTS_MAX])
{
    size_t all, used = 0;
    const contestant *const *list = contestants_list(&all);

    for (size_t i = 0; i < all; i++) {
        bool there = false;
        for (size_t k = 0; k < count; k++)
            there = there || result_of(&group[k], list[i]->name) != NULL;
        if (there && list[i] != &contestant_bound && list[i] != &contestant_bound_mixed)
            columns[used++] = list[i];
    }
    return used;
}

/* Names go over two lines, parted at their first hyphen. */
static void heading_print(FILE *to, const contestant *const columns[], size_t used)
{
    fprintf(to, "%13s", "");
    for (size_t i = 0; i < used; i++) {
        const char *hyphen = strchr(columns[i]->name, '-');
        int len = hyphen == NULL ? 0 : (int)(hyphen - columns[i]->name) + 1;
        fprintf(to, "%*.*s", COLUMN, len, columns[i]->name);
    }
    fprintf(to, "\n%6s %6s", "bytes", "batch");
    for (size_t i = 0; i < used; i++) {
        const char *hyphen = strchr(columns[i]->name, '-');
        fprintf(to, "%*s", COLUMN, hyphen == NULL ? columns[i]->name : hyphen + 1);
    }
    fprintf(to, " |%7s%8s %15s%7s%7s\n", "GB/s", "x EVP", "p10..p90", "bound", "mixed");
}

static void line_print(FILE *to, const result *r, const contestant *const columns[], size_t used)
{
    const char *ours = report_ours(r);
    spread ratio;

    fprintf(to, "%6zu %6zu", r->load.size, r->load.batch);
    for (size_t i = 0; i < used; i++) {
        const measured *m = result_of(r, columns[i]->name);
        if (m == NULL)
            fprintf(to, "%*s", COLUMN, "-");
        else
            fprintf(to, "%*.*f", COLUMN, m->spread.median < 99.95 ? 1 : 0, m->spread.median);
    }
    fprintf(to, " |");
    if (ours != NULL)
        fprintf(to, "%7.2f", report_gbps(r->load.size, result_of(r, ours)->spread.median));
    if (ours != NULL && result_ratio(r, report_peer(r), ours, &ratio))
        fprintf(to, "%8.2f %7.2f..%-6.2f", ratio.median, ratio.p10, ratio.p90);
    if (ours != NULL && result_ratio(r, "bound", ours, &ratio))
        fprintf(to, "%6.0f%%", ratio.median * 100);
    if (ours != NULL && result_ratio(r, "bound-mixed", ours, &ratio))
        fprintf(to, "%6.0f%%", ratio.median * 100);
    fprintf(to, "\n");
}

static void details_print(FILE *to, const result *r)
{
    for (size_t i = 0; i < r->count; i++) {
        const measured *m = &r->entries[i];
        spread ratio;
        fprintf(to, "%6zu %6zu  %-18s %9.1f ns  %9.1f ..%9.1f %8.2f GB/s", r->load.size, r->load.batch,
                m->who->name, m->spread.median, m->spread.p10, m->spread.p90,
                report_gbps(r->load.size, m->spread.median));
        if (result_ratio(r, report_peer(r), m->who->name, &ratio))
            fprintf(to, " %7.2f x (%.2f..%.2f)", ratio.median, ratio.p10, ratio.p90);
        if (result_ratio(r, "bound", m->who->name, &ratio))
            fprintf(to, " %5.0f%% of the bound", ratio.median * 100);
        fprintf(to, "\n");
    }
}

static void group_print(FILE *to, const report *run, const result group[], size_t count, bool details)
{
    const contestant *columns[CONTESTANTS_MAX];
    size_t used = columns_collect(group, count, columns);

    fprintf(to, "\n%s, %s: nanoseconds per record, median of %zu rounds\n", group->load.subject->name,
            group->load.sealing ? "sealing" : "opening", run->rounds);
    if (!details)
        heading_print(to, columns, used);
    for (size_t i = 0; i < count; i++) {
        if (details)
            details_print(to, &group[i]);
        else
            line_print(to, &group[i], columns, used);
    }
}

void table_results(FILE *to, const report *r, bool details)
{
    for (size_t first = 0, end; first < r->count; first = end) {
        for (end = first + 1; end < r->count && same_group(&r->results[first], &r->results[end]);)
            end++;
        group_print(to, r, &r->results[first], end - first, details);
    }
    if (!details)
        fprintf(to,
                "\nGB/s, x EVP (by rounds) and the shares of the bounds are those of batch; where batch is "
                "1, of aead,\nor of record for ciphers that are no AEADs.\n");
}

void table_targets(FILE *to, const report *r)
{
    targets_print(to, "Targets for a CPU with VAES and without AVX-512; each with its worst case", r->targets,
                  r->target_count);
}
