/* SPDX-License-Identifier: Apache-2.0 */
#include "records_rounds.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "clock.h"

static void complain(const contestant *who, const workload *load, const char *what)
{
    fprintf(stderr, "bench-records: %s: %s, %s, %zu bytes, batch of %zu: %s\n", who->name,
            load->subject->name, load->sealing ? "sealing" : "opening", load->size, load->batch, what);
}

/* Once untimed, and proved; that also has keys expanded that are expanded at first use. */
static bool runner_prove(runner *r, const workload *load)
{
    const char *failure = NULL;

    if (!runner_restore(r))
        failure = "its records could not be laid out";
    else if (!runner_run(r))
        failure = "a record failed";
    else if (!runner_verify(r))
        failure = "what it sealed or opened is not right";
    if (failure != NULL)
        complain(r->who, load, failure);
    return failure == NULL;
}

/* One run to warm caches and predictors, one by the clock; nanoseconds per record, negative if it failed. */
static double runner_time(runner *r, double cost)
{
    double start, ns;

    if (!runner_restore(r) || !runner_run(r) || !runner_restore(r))
        return -1;
    start = clock_now();
    if (!runner_run(r))
        return -1;
    ns = clock_now() - start - cost;
    return (ns > 1 ? ns : 1) / (double)r->count;
}

static bool rounds_time(result *out, runner *runners[])
{
    double cost = clock_cost();

    for (size_t round = 0; round < out->rounds; round++)
        for (size_t i = 0; i < out->count; i++) {
            size_t turn = (i + round) % out->count;
            double ns = runner_time(runners[turn], cost);
            if (ns < 0) {
                complain(out->entries[turn].who, &out->load, "a record failed");
                return false;
            }
            out->entries[turn].ns[round] = ns;
        }
    return true;
}

/* False if a contestant that should be there is not. */
static bool runners_begin(result *out, runner *runners[], rounds_filter *filter, const void *context)
{
    size_t all;
    const contestant *const *list = contestants_list(&all);

    for (size_t i = 0; i < all; i++) {
        measured *m = &out->entries[out->count];
        if ((filter != NULL && !filter(list[i], context)) || !list[i]->carries(list[i], &out->load))
            continue;
        m->who = list[i];
        m->ns = calloc(out->rounds, sizeof(m->ns[0]));
        runners[out->count] = runner_begin(list[i], &out->load);
        out->count++;
        if (m->ns == NULL || runners[out->count - 1] == NULL) {
            complain(list[i], &out->load, "it could not be set up");
            return false;
        }
        if (!runner_prove(runners[out->count - 1], &out->load))
            return false;
    }
    return true;
}

bool rounds_run(result *out, const workload *load, size_t rounds, rounds_filter *filter, const void *context)
{
    runner *runners[CONTESTANTS_MAX] = {NULL};
    double *room = malloc(rounds * sizeof(room[0]));
    bool done;

    memset(out, 0, sizeof(*out));
    out->load = *load;
    out->rounds = rounds;
    done = room != NULL && runners_begin(out, runners, filter, context) && rounds_time(out, runners);
    for (size_t i = 0; i < out->count; i++) {
        /* Also what the last round left must be right. */
        if (done && !runner_verify(runners[i])) {
            complain(out->entries[i].who, load, "what it sealed or opened in the last round is not right");
            done = false;
        }
        runner_end(runners[i]);
        if (!done)
            continue;
        memcpy(room, out->entries[i].ns, rounds * sizeof(room[0]));
        out->entries[i].spread = stats_spread(room, rounds);
    }
    free(room);
    return done;
}

void result_free(result *r)
{
    for (size_t i = 0; i < r->count; i++)
        free(r->entries[i].ns);
    r->count = 0;
}

const measured *result_of(const result *r, const char *name)
{
    for (size_t i = 0; i < r->count; i++)
        if (strcmp(r->entries[i].who->name, name) == 0)
            return &r->entries[i];
    return NULL;
}

bool result_ratio(const result *r, const char *slow, const char *fast, spread *out)
{
    const measured *above = result_of(r, slow), *below = result_of(r, fast);
    double *room = malloc(r->rounds * sizeof(room[0]));
    bool both = above != NULL && below != NULL && room != NULL;

    if (both)
        *out = stats_ratio(above->ns, below->ns, r->rounds, room);
    free(room);
    return both;
}
