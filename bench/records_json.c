/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The report as one JSON object (RFC 8259). Times are nanoseconds per record, rates 10^9 bytes per second,
 * ratios by rounds; every figure that has a spread is {"p10", "median", "p90"}.
 */
#include <errno.h>
#include <string.h>
#include "records_bound.h"
#include "records_report.h"

static void text_write(FILE *to, const char *name, const char *text)
{
    fprintf(to, "\"%s\": \"", name);
    for (; *text != '\0'; text++) {
        unsigned char c = (unsigned char)*text;
        if (c == '"' || c == '\\')
            fprintf(to, "\\%c", c);
        else if (c < 0x20)
            fprintf(to, "\\u%04x", c);
        else
            fputc(c, to);
    }
    fputc('"', to);
}

static void spread_write(FILE *to, const char *name, spread s)
{
    fprintf(to, "\"%s\": {\"p10\": %.4f, \"median\": %.4f, \"p90\": %.4f}", name, s.p10, s.median, s.p90);
}

static void machine_write(FILE *to, const machine *m)
{
    fprintf(to, "  \"machine\": {");
    text_write(to, "cpu", m->cpu);
    fprintf(to, ", ");
    text_write(to, "cpu_class", m->cpu_class);
    fprintf(to, ", \"core\": %d},\n  \"build\": {", m->core);
    text_write(to, "type", m->build);
    fprintf(to, ", ");
    text_write(to, "compiler", m->compiler);
    fprintf(to, ", ");
    text_write(to, "flags", m->flags);
    fprintf(to, ", ");
    text_write(to, "openssl", m->openssl);
    fprintf(to, ", ");
    text_write(to, "ipsec_mb", m->ipsec_mb);
    fprintf(to, "},\n  \"backends\": [");
    for (size_t i = 0; i < m->backends; i++) {
        fprintf(to, "%s\n    {", i == 0 ? "" : ",");
        text_write(to, "name", m->backend[i].name);
        fprintf(to, ", ");
        text_write(to, "version", m->backend[i].version);
        fprintf(to, ", ");
        text_write(to, "state", m->backend[i].state);
        fprintf(to, ", \"usable\": %s}", m->backend[i].usable ? "true" : "false");
    }
    fprintf(to, "\n  ],\n");
    if (m->forced_by != NULL) {
        fprintf(to, "  ");
        text_write(to, "forced_backend", m->forced_by);
        fprintf(to, ",\n");
    }
}

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
        text_write(to, "name", list[i]->name);
        fprintf(to, ", ");
        text_write(to, "what", list[i]->what);
        fprintf(to, "}");
    }
    fprintf(to, "\n  ],\n");
}

static void entry_write(FILE *to, const result *r, const measured *m)
{
    spread ratio;

    fprintf(to, "        {");
    text_write(to, "contestant", m->who->name);
    fprintf(to, ", ");
    spread_write(to, "ns_per_record", m->spread);
    fprintf(to, ", \"gb_per_s\": %.4f", report_gbps(r->load.size, m->spread.median));
    if (result_ratio(r, report_peer(r), m->who->name, &ratio)) {
        fprintf(to, ", ");
        spread_write(to, "times_evp", ratio);
    }
    if (result_ratio(r, "bound", m->who->name, &ratio)) {
        fprintf(to, ", ");
        spread_write(to, "share_of_bound", ratio);
    }
    if (result_ratio(r, "bound-mixed", m->who->name, &ratio)) {
        fprintf(to, ", ");
        spread_write(to, "share_of_bound_mixed", ratio);
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
        text_write(to, "cipher", one->load.subject->name);
        fprintf(to, ", \"direction\": \"%s\", \"size\": %zu, \"batch\": %zu,\n      ",
                one->load.sealing ? "seal" : "open", one->load.size, one->load.batch);
        text_write(to, "evp", report_peer(one));
        fprintf(to, ", ");
        text_write(to, "ours", ours == NULL ? "none" : ours);
        fprintf(to, ",\n      \"measured\": [\n");
        for (size_t k = 0; k < one->count; k++) {
            entry_write(to, one, &one->entries[k]);
            fprintf(to, "%s\n", k + 1 < one->count ? "," : "");
        }
        fprintf(to, "      ]}");
    }
    fprintf(to, "\n  ]");
}

static void targets_write(FILE *to, const report *r)
{
    fprintf(to, ",\n  \"targets\": [");
    for (size_t i = 0; i < r->target_count; i++) {
        const target_outcome *t = &r->targets[i];
        fprintf(to, "%s\n    {", i == 0 ? "" : ",");
        text_write(to, "what", t->what);
        fprintf(to, ", \"%s\": %.2f, \"measured\": %s, \"reached\": %s, ",
                t->at_most ? "at_most" : "at_least", t->needed, t->measured ? "true" : "false",
                t->reached ? "true" : "false");
        spread_write(to, "figure", t->figure);
        fprintf(to, ", ");
        text_write(to, "where", t->where);
        fprintf(to, "}");
    }
    fprintf(to, "\n  ]");
}

bool json_write(const char *path, const report *r)
{
    bool standard = strcmp(path, "-") == 0, done;
    FILE *to = standard ? stdout : fopen(path, "w");

    if (to == NULL) {
        fprintf(stderr, "bench-records: cannot write %s: %s\n", path, strerror(errno));
        return false;
    }
    fprintf(to, "{\n  \"program\": \"bench-records\",\n");
    machine_write(to, &r->machine);
    fprintf(to, "  \"rounds\": %zu,\n", r->rounds);
    bound_write(to);
    contestants_write(to);
    results_write(to, r);
    if (r->targets != NULL)
        targets_write(to, r);
    fprintf(to, "\n}\n");
    done = fflush(to) == 0 && ferror(to) == 0;
    if (!standard)
        done = fclose(to) == 0 && done;
    if (!done)
        fprintf(stderr, "bench-records: writing %s failed: %s\n", path, strerror(errno));
    return done;
}
