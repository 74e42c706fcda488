/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The report as one JSON object (RFC 8259). Times are nanoseconds per record, rates 10^9 bytes per second,
 * ratios by rounds; every figure that has a spread is {"p10", "median", "p90"}.
 */
#include "json.h"
#include "records_bound.h"
#include "records_report.h"

static void bound_write(FILE *to)
{
    const bound_ports *p = bound_measure();

    fprintf(to, "  \"bound\": {\"vector_bits\": %d, \"vaesenc_ns\": %.4f, \"vpclmulqdq_ns\": %.4f, ",
            p->vector_bits, p->aes_ns, p->product_ns);
    fprintf(to, "\"mixed_aes128\": %.3f, \"mixed_aes256\": %.3f},\n", p->mixed[0], p->mixed[1]);
}

static void contestants_write(FILE *to)
{
    size_t count;
    const contestant *const *list = contestants_list(&count);

    fprintf(to, "  \"contestants\": [");
    for (size_t i = 0; i < count; i++) {
        fprintf(to, "%s\n    {", i == 0 ? "" : ",");
        json_text(to, "name", list[i]->name);
        fprintf(to, ", ");
        json_text(to, "what", list[i]->what);
        fprintf(to, "}");
    }
    fprintf(to, "\n  ],\n");
}

static void entry_write(FILE *to, const result *r, const measured *m)
{
    spread ratio;

    fprintf(to, "        {");
    json_text(to, "contestant", m->who->name);
    fprintf(to, ", ");
    json_spread(to, "ns_per_record", m->spread);
    fprintf(to, ", \"gb_per_s\": %.4f", report_gbps(r->load.size, m->spread.median));
    if (result_ratio(r, report_peer(r), m->who->name, &ratio)) {
        fprintf(to, ", ");
        json_spread(to, "times_evp", ratio);
    }
    if (result_ratio(r, "bound", m->who->name, &ratio)) {
        fprintf(to, ", ");
        json_spread(to, "share_of_bound", ratio);
    }
    if (result_ratio(r, "bound-mixed", m->who->name, &ratio)) {
        fprintf(to, ", ");
        json_spread(to, "share_of_bound_mixed", ratio);
    }
    fprintf(to, "}");
}

static void results_write(FILE *to, const report *r)
{
    fprintf(to, "  \"results\": [");
    for (size_t i = 0; i < r->count; i++) {
        const result *one = &r->results[i];
        const char *ours = report_ours(one);
        fprintf(to, "%s\n    {", i == 0 ? "" : ",");
        json_text(to, "cipher", one->load.subject->name);
        fprintf(to, ", \"direction\": \"%s\", \"size\": %zu, \"batch\": %zu,\n      ",
                one->load.sealing ? "seal" : "open", one->load.size, one->load.batch);
        json_text(to, "evp", report_peer(one));
        fprintf(to, ", ");
        json_text(to, "ours", ours == NULL ? "none" : ours);
        fprintf(to, ",\n      \"measured\": [\n");
        for (size_t k = 0; k < one->count; k++) {
            entry_write(to, one, &one->entries[k]);
            fprintf(to, "%s\n", k + 1 < one->count ? "," : "");
        }
        fprintf(to, "      ]}");
    }
    fprintf(to, "\n  ]");
}

bool json_write(const char *path, const report *r)
{
    FILE *to = json_open("bench-records", path);

    if (to == NULL)
        return false;
    fprintf(to, "{\n  \"program\": \"bench-records\",\n");
    json_machine(to, &r->machine);
    fprintf(to, "  \"rounds\": %zu,\n", r->rounds);
    bound_write(to);
    contestants_write(to);
    results_write(to, r);
    if (r->targets != NULL) {
        fprintf(to, ",\n");
        json_targets(to, r->targets, r->target_count);
    }
    fprintf(to, "\n}\n");
    return json_close("bench-records", path, to);
}
