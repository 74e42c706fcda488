/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bench-handshakes: full TLS handshakes with the server's key in a token, what they cost and how many there can
 * be, beside a key in a file, beside the token's own C_Sign, and beside pkcs11-provider where it is installed.
 * This file plans the run and shows its progress; who is compared is in handshakes_work.c, how in
 * handshakes_result.h, what comes out in handshakes_report.h. Every contestant is a process of its own
 * (handshakes_actor.h).
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "clock.h"
#include "handshakes_act.h"
#include "handshakes_options.h"
#include "handshakes_report.h"

#define WARM_UP_MS   300
#define EXIT_MISSED  1 /* a target */
#define EXIT_TROUBLE 2
#define ROUNDS_ONE   101 /* where microseconds count */
#define ROUNDS_MANY  5

static void progress_show(const work *w, size_t done, size_t all)
{
    fprintf(stderr, "%s[%zu/%zu] %s, TLS 1.%d, %u ms, %u at once%s", isatty(STDERR_FILENO) ? "\r\033[K" : "",
            done + 1, all, key_name(w->key), w->tls - 10, w->latency_ms, w->at_once,
            isatty(STDERR_FILENO) ? "" : "\n");
}

static void progress_end(void)
{
    if (isatty(STDERR_FILENO))
        fprintf(stderr, "\r\033[K");
}

/* With latency, a stretch is many signatures long, or its two ends would count. */
static void lengths_choose(const options *o, result *r)
{
    bool one = r->work.at_once == 1 && r->work.latency_ms == 0;
    unsigned rounds = one ? ROUNDS_ONE : ROUNDS_MANY;

    if (o->quick)
        rounds = (rounds + 2) / 3;
    r->rounds = o->rounds > 0 ? (unsigned)o->rounds : rounds;
    r->stretch_ms = o->stretch_ms > 0 ? (unsigned)o->stretch_ms : one ? 30 : 400 + 40 * r->work.latency_ms;
}

/* One at a time without latency with every version; what is about the token, with the last one. */
static bool case_wanted(const options *o, const work *w)
{
    return o->keys[w->key] &&
           ((w->at_once == 1 && w->latency_ms == 0) || (size_t)w->tls == o->tls[o->tls_count - 1]);
}

/* All cases, in the order that reports rely on. */
static size_t plan_make(const options *o, result results[])
{
    size_t count = 0;

    for (key_kind key = 0; key < KEY_KINDS; key++)
        for (size_t t = 0; t < o->tls_count; t++)
            for (size_t l = 0; l < o->latency_count; l++)
                for (size_t n = 0; n < o->at_once_count; n++) {
                    work w = {key, (int)o->tls[t], (unsigned)o->latency[l], (unsigned)o->at_once[n]};
                    if (!case_wanted(o, &w))
                        continue;
                    results[count].work = w;
                    lengths_choose(o, &results[count++]);
                }
    return count;
}

static bool cases_measure(const options *o, report *r)
{
    r->results =
        calloc(KEY_KINDS * o->tls_count * o->latency_count * o->at_once_count, sizeof(r->results[0]));
    size_t all = r->results != NULL ? plan_make(o, r->results) : 0;

    for (r->count = 0; r->count < all; r->count++) {
        progress_show(&r->results[r->count].work, r->count, all);
        if (!result_measure(&r->results[r->count], &o->stage, o->who, o->who_count))
            break;
    }
    progress_end();
    return all > 0 && r->count == all;
}

static int report_run(const options *o, report *r)
{
    FILE *to = o->json != NULL && strcmp(o->json, "-") == 0 ? stderr : stdout;
    int status = EXIT_SUCCESS;

    machine_print(to, &r->machine);
    fprintf(to, "token      %s, at most %u sessions\n", o->stage.module, o->stage.sessions);
    fprintf(to, "peer       %s\n",
            o->stage.peer[0] != '\0' ? o->stage.peer : "none: pkcs11-provider is not installed here");
    if (!cases_measure(o, r))
        return EXIT_TROUBLE;
    table_results(to, r);
    table_failures(to, r);
    if (o->check) {
        targets_evaluate(r);
        targets_print(to, "Targets; each with its worst case", r->targets, r->target_count);
        if (!targets_reached(r->targets, r->target_count))
            status = EXIT_MISSED;
    }
    if (o->json != NULL && !json_write(o->json, r))
        status = EXIT_TROUBLE;
    if (o->plot != NULL && !plots_write(o->plot, r))
        status = EXIT_TROUBLE;
    return status;
}

int main(int argc, char **argv)
{
    options o;
    report r = {.stage = &o.stage};
    int status;

    if (argc == 2 && strcmp(argv[1], ACTOR_ARGUMENT) == 0)
        return actor_main();
    switch (options_read(&o, argc, argv)) {
    case OPTIONS_HELP:
        return EXIT_SUCCESS;
    case OPTIONS_WRONG:
        return EXIT_TROUBLE;
    case OPTIONS_RUN:
        break;
    }
    clock_warm_up(WARM_UP_MS);
    machine_read(&r.machine, -1);
    status = report_run(&o, &r);
    while (r.count > 0)
        result_free(&r.results[--r.count]);
    free(r.results);
    return status;
}
