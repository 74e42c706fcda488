/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The targets. CPU: 25 microseconds are what handing a signature to another thread and back costs on a slow
 * machine, with something to spare; a key in a file should hardly notice that a token is configured. Rates:
 * where the token is what all wait for, nearly all of its time must be used, by many threads as by one event
 * loop.
 */
#include <string.h>
#include "handshakes_report.h"

#define ADDED_US      25
#define ADDED_FILE_US 10
#define SHARE         0.9
#define MANY          32 /* at once: more than there are sessions, or close to it */
#define SLOW_MS       20 /* from here on signing is the limit, and not two cores that run client and server */

static target_outcome *target_new(report *r, const char *what, const char *unit, double needed, bool at_most)
{
    target_outcome *o = &r->targets[r->target_count++];

    *o = (target_outcome){.what = what, .unit = unit, .needed = needed, .at_most = at_most};
    snprintf(o->where, sizeof(o->where), "no such case in this run");
    return o;
}

/* Keeps the worse of two cases. */
static void target_take(target_outcome *o, const result *r, spread figure)
{
    bool worse = o->at_most ? figure.median > o->figure.median : figure.median < o->figure.median;

    if (o->measured && !worse)
        return;
    o->measured = true;
    o->figure = figure;
    o->reached = o->at_most ? figure.median <= o->needed : figure.median >= o->needed;
    snprintf(o->where, sizeof(o->where), "%s, TLS 1.%d, %u ms, %u at once", key_name(r->work.key),
             r->work.tls - 10, r->work.latency_ms, r->work.at_once);
}

static void added_evaluate(report *r, const char *what, const char *name, double needed)
{
    target_outcome *o = target_new(r, what, " us", needed, true);
    spread s;

    for (size_t i = 0; i < r->count; i++)
        if (r->results[i].work.at_once == 1 && r->results[i].work.latency_ms == 0 &&
            result_added(&r->results[i], name, &s))
            target_take(o, &r->results[i], s);
}

/* Of what the token could do in its sessions, if C_Sign alone were called. */
static void share_evaluate(report *r, const char *what, const char *name)
{
    target_outcome *o = target_new(r, what, " of C_Sign's rate", SHARE, false);
    spread s;

    for (size_t i = 0; i < r->count; i++)
        if (r->results[i].work.at_once >= MANY && r->results[i].work.latency_ms >= SLOW_MS &&
            result_ratio(&r->results[i], name, "sign-token", metric_rate, &s))
            target_take(o, &r->results[i], s);
}

/* Of sessions / latency, which no token reaches, since it also has to sign. */
static void possible_evaluate(report *r)
{
    target_outcome *o =
        target_new(r, "one event-loop thread, of sessions / latency", " of the possible", SHARE, false);
    spread s;

    for (size_t i = 0; i < r->count; i++) {
        const work *w = &r->results[i].work;
        double possible = w->latency_ms > 0 ? r->stage->sessions * 1e3 / w->latency_ms : 0;
        if (w->at_once < 2 * r->stage->sessions || w->latency_ms < 20 ||
            !result_metric(&r->results[i], "sealane-async", metric_rate, &s))
            continue;
        target_take(o, &r->results[i], (spread){s.p10 / possible, s.median / possible, s.p90 / possible});
    }
}

static void failures_evaluate(report *r)
{
    target_outcome *o = target_new(r, "handshakes that failed, of ours", "", 0, true);

    for (size_t i = 0; i < r->count; i++)
        for (size_t k = 0; k < r->results[i].count; k++) {
            const measured *m = &r->results[i].entries[k];
            if (m->who->loaded != LOADED_SEALANE)
                continue;
            double failed = m->stretches == NULL ? 1 : (double)m->failed;
            target_take(o, &r->results[i], (spread){failed, failed, failed});
        }
}

void targets_evaluate(report *r)
{
    added_evaluate(r, "CPU added per handshake, callers wait", "sealane", ADDED_US);
    added_evaluate(r, "CPU added per handshake, event loop", "sealane-async", ADDED_US);
    added_evaluate(r, "CPU added per handshake with a key in a file", "file+sealane", ADDED_FILE_US);
    share_evaluate(r, "many threads, signing is the limit", "sealane");
    share_evaluate(r, "one event-loop thread, signing is the limit", "sealane-async");
    possible_evaluate(r);
    failures_evaluate(r);
}
