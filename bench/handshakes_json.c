/* SPDX-License-Identifier: Apache-2.0 */
/* The report as one JSON object: microseconds of CPU, rates per second, milliseconds; spreads over the rounds. */
#include "handshakes_report.h"
#include "json.h"

static void metric_write(FILE *to, const result *r, const char *who, const char *name, metric *m)
{
    spread s;

    if (!result_metric(r, who, m, &s))
        return;
    fprintf(to, ", ");
    json_spread(to, name, s);
}

static void entry_write(FILE *to, const result *r, const measured *m)
{
    const char *name = m->who->name;
    spread s;

    fprintf(to, "        {");
    json_text(to, "contestant", name);
    fprintf(to, ", \"took_part\": %s, \"done\": %llu, \"failed\": %llu, ",
            m->stretches != NULL ? "true" : "false", (unsigned long long)m->done,
            (unsigned long long)m->failed);
    json_text(to, "failure", m->failure);
    metric_write(to, r, name, "cpu_us", metric_cpu_us);
    metric_write(to, r, name, "per_second", metric_rate);
    metric_write(to, r, name, "p99_ms", metric_p99_ms);
    metric_write(to, r, name, "switches", metric_switches);
    if (m->who->activity != DO_TOKEN && m->who->activity != DO_SOFTWARE && result_added(r, name, &s)) {
        fprintf(to, ", ");
        json_spread(to, "added_cpu_us", s);
    }
    if (m->who->activity != DO_TOKEN && result_between(r, name, &s)) {
        fprintf(to, ", ");
        json_spread(to, "added_cpu_us_in_turn", s);
    }
    if (m->who->token && m->who->activity != DO_TOKEN &&
        result_ratio(r, name, "sign-token", metric_rate, &s)) {
        fprintf(to, ", ");
        json_spread(to, "share_of_c_sign", s);
    }
    fprintf(to, "}");
}

static void result_write(FILE *to, const result *r)
{
    fprintf(to, "    {");
    json_text(to, "key", key_name(r->work.key));
    fprintf(to,
            ", \"tls\": \"1.%d\", \"latency_ms\": %u, \"at_once\": %u, \"rounds\": %u, \"stretch_ms\": %u,\n",
            r->work.tls - 10, r->work.latency_ms, r->work.at_once, r->rounds, r->stretch_ms);
    fprintf(to, "      \"measured\": [\n");
    for (size_t i = 0; i < r->count; i++) {
        entry_write(to, r, &r->entries[i]);
        fprintf(to, "%s\n", i + 1 < r->count ? "," : "");
    }
    fprintf(to, "      ]}");
}

static void contestants_write(FILE *to)
{
    size_t count;
    const contestant *list = contestants_list(&count);

    fprintf(to, "  \"contestants\": [\n");
    for (size_t i = 0; i < count; i++) {
        fprintf(to, "    {");
        json_text(to, "name", list[i].name);
        fprintf(to, ", ");
        json_text(to, "what", list[i].what);
        fprintf(to, "}%s\n", i + 1 < count ? "," : "");
    }
    fprintf(to, "  ],\n");
}

bool json_write(const char *path, const report *r)
{
    FILE *to = json_open("bench-handshakes", path);

    if (to == NULL)
        return false;
    fprintf(to, "{\n  \"program\": \"bench-handshakes\",\n");
    json_machine(to, &r->machine);
    fprintf(to, "  ");
    json_text(to, "module", r->stage->module);
    fprintf(to, ",\n  ");
    json_text(to, "peer", r->stage->peer);
    fprintf(to, ",\n  \"sessions\": %u,\n", r->stage->sessions);
    contestants_write(to);
    fprintf(to, "  \"results\": [\n");
    for (size_t i = 0; i < r->count; i++) {
        result_write(to, &r->results[i]);
        fprintf(to, "%s\n", i + 1 < r->count ? "," : "");
    }
    fprintf(to, "  ]");
    if (r->target_count > 0) {
        fprintf(to, ",\n");
        json_targets(to, r->targets, r->target_count);
    }
    fprintf(to, "\n}\n");
    return json_close("bench-handshakes", path, to);
}
