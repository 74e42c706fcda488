/* SPDX-License-Identifier: Apache-2.0 */
#include "handshakes_result.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- Measuring ---- */

/* It has no figures; `failure` says why. */
static void entry_drop(measured *m)
{
    free(m->stretches);
    m->stretches = NULL;
}

static void round_work(result *r, unsigned round, actor actors[])
{
    for (size_t i = 0; i < r->count; i++) {
        size_t turn = (i + round) % r->count;
        measured *m = &r->entries[turn];
        if (m->stretches == NULL)
            continue;
        stretch *s = &m->stretches[round];
        if (!actor_work(&actors[turn], r->stretch_ms, s, m->failure)) {
            entry_drop(m);
            continue;
        }
        m->done += s->done;
        m->failed += s->failed;
        if (m->failure[0] == '\0' && s->failed > 0)
            memcpy(m->failure, s->failure, sizeof(m->failure));
        if (s->done == 0)
            entry_drop(m);
    }
}

bool result_measure(result *r, const stage *s, const contestant *const who[], size_t count)
{
    actor actors[CONTESTANTS_MAX];
    char why[TEXT_MAX];

    r->count = 0;
    for (size_t i = 0; i < count; i++) {
        measured *m = &r->entries[r->count];
        if (!contestant_fits(who[i], &r->work))
            continue;
        *m = (measured){.who = who[i], .stretches = calloc(r->rounds, sizeof(m->stretches[0]))};
        if (m->stretches == NULL) {
            fprintf(stderr, "bench-handshakes: out of memory\n");
            return false;
        }
        if (!actor_start(&actors[r->count], who[i], &r->work, s, m->failure))
            entry_drop(m);
        r->count++;
    }
    for (unsigned round = 0; round < r->rounds; round++)
        round_work(r, round, actors);
    for (size_t i = 0; i < r->count; i++) {
        measured *m = &r->entries[i];
        why[0] = '\0';
        if (!actor_end(&actors[i], why) && m->failure[0] == '\0') {
            m->failed += m->stretches != NULL;
            snprintf(m->failure, sizeof(m->failure), "at its end: %.400s", why);
        }
    }
    return true;
}

void result_free(result *r)
{
    for (size_t i = 0; i < r->count; i++)
        free(r->entries[i].stretches);
    r->count = 0;
}

/* ---- Figures ---- */

double metric_cpu_us(const stretch *s)
{
    return (double)s->cpu_ns / 1e3 / (double)s->done;
}

double metric_rate(const stretch *s)
{
    return (double)s->done / ((double)s->wall_ns / 1e9);
}

double metric_p99_ms(const stretch *s)
{
    return (double)s->p99_ns / 1e6;
}

double metric_switches(const stretch *s)
{
    return (double)s->switches / (double)s->done;
}

const measured *result_of(const result *r, const char *name)
{
    for (size_t i = 0; i < r->count; i++)
        if (strcmp(r->entries[i].who->name, name) == 0)
            return &r->entries[i];
    return NULL;
}

static const stretch *stretches_of(const result *r, const char *name)
{
    const measured *m = result_of(r, name);
    return m != NULL ? m->stretches : NULL;
}

/* The spread over the rounds of a figure that each round gives. */
typedef double figure(const stretch *const of[], unsigned round, metric *m);

static bool figure_spread(const result *r, const char *const names[], size_t count, figure *f, metric *m,
                          spread *out)
{
    const stretch *of[4];
    double *values = malloc(r->rounds * sizeof(values[0]));
    bool good = values != NULL;

    for (size_t i = 0; i < count; i++)
        good = (of[i] = stretches_of(r, names[i])) != NULL && good;
    if (good) {
        for (unsigned round = 0; round < r->rounds; round++)
            values[round] = f(of, round, m);
        *out = stats_spread(values, r->rounds);
    }
    free(values);
    return good;
}

static double itself(const stretch *const of[], unsigned round, metric *m)
{
    return m(&of[0][round]);
}

static double ratio(const stretch *const of[], unsigned round, metric *m)
{
    return m(&of[0][round]) / m(&of[1][round]);
}

static double over_file(const stretch *const of[], unsigned round, metric *m)
{
    return m(&of[0][round]) - m(&of[1][round]);
}

static double over_file_and_token(const stretch *const of[], unsigned round, metric *m)
{
    return m(&of[0][round]) - m(&of[1][round]) - (m(&of[2][round]) - m(&of[3][round]));
}

bool result_metric(const result *r, const char *name, metric *m, spread *out)
{
    return figure_spread(r, (const char *const[]){name}, 1, itself, m, out);
}

bool result_ratio(const result *r, const char *above, const char *below, metric *m, spread *out)
{
    return figure_spread(r, (const char *const[]){above, below}, 2, ratio, m, out);
}

bool result_added(const result *r, const char *name, spread *out)
{
    const char *const names[] = {name, "file", "sign-token", "sign-software"};
    const measured *m = result_of(r, name);

    return m != NULL && figure_spread(r, names, m->who->token ? 4 : 2,
                                      m->who->token ? over_file_and_token : over_file, metric_cpu_us, out);
}

static double over_both(const stretch *const of[], unsigned round, metric *m)
{
    return m(&of[0][round]) - (m(&of[1][round]) - m(&of[2][round]));
}

bool result_between(const result *r, const char *name, spread *out)
{
    const char *const names[] = {name, "file+C_Sign", "sign-software"};
    const measured *m = result_of(r, name);

    return m != NULL && m->who->token && figure_spread(r, names, 3, over_both, metric_cpu_us, out);
}
