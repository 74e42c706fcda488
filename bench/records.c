/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bench-records: how fast TLS records are sealed and opened, by whom, and how far that is from what the CPU
 * could do. This file plans the run and shows its progress; who is compared is in records_contestant*.c, how
 * in records_rounds.c, what comes out in records_report.h.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "records_bound.h"
#include "records_calibrate.h"
#include "clock.h"
#include "records_options.h"
#include "records_reference.h"
#include "records_report.h"

#define WARM_UP_MS   300
#define EXIT_MISSED  1 /* a target */
#define EXIT_TROUBLE 2

static bool takes_part(const contestant *who, const void *context)
{
    const options *o = context;

    for (size_t i = 0; i < o->only_count; i++)
        if (o->only[i] == who)
            return true;
    return o->only_count == 0;
}

/* On a terminal one line that is overwritten; elsewhere one line per cipher and direction. */
static void progress_show(const workload *load, size_t done, size_t all)
{
    static const subject *last_subject;
    static bool last_sealing;

    if (isatty(STDERR_FILENO))
        fprintf(stderr, "\r\033[K[%zu/%zu] %s, %s, %zu bytes, batch of %zu", done + 1, all,
                load->subject->name, load->sealing ? "sealing" : "opening", load->size, load->batch);
    else if (load->subject != last_subject || load->sealing != last_sealing)
        fprintf(stderr, "[%zu/%zu] %s, %s\n", done + 1, all, load->subject->name,
                load->sealing ? "sealing" : "opening");
    last_subject = load->subject;
    last_sealing = load->sealing;
}

static void progress_end(void)
{
    if (isatty(STDERR_FILENO))
        fprintf(stderr, "\r\033[K");
}

/* All cases, in the order that reports rely on. */
static size_t plan_make(const options *o, workload plan[], size_t room)
{
    size_t count = 0;

    for (size_t s = 0; s < o->subject_count; s++)
        for (int sealing = 1; sealing >= 0; sealing--)
            for (size_t b = 0; b < o->batch_count; b++)
                for (size_t z = 0; z < o->size_count; z++) {
                    if (!(sealing ? o->seal : o->open) || count == room)
                        continue;
                    plan[count++] = (workload){.subject = &o->subjects[s],
                                               .sealing = sealing,
                                               .size = o->sizes[z],
                                               .batch = o->batches[b]};
                }
    return count;
}

static bool cases_measure(const options *o, report *r)
{
    size_t room = o->subject_count * 2 * o->batch_count * o->size_count;
    workload *plan = calloc(room, sizeof(plan[0]));
    size_t all = plan == NULL ? 0 : plan_make(o, plan, room);
    bool done = true;

    r->results = calloc(all, sizeof(r->results[0]));
    done = plan != NULL && r->results != NULL;
    for (; done && r->count < all; r->count++) {
        progress_show(&plan[r->count], r->count, all);
        done = rounds_run(&r->results[r->count], &plan[r->count], o->rounds, takes_part, o);
        if (!done)
            result_free(&r->results[r->count]);
    }
    progress_end();
    free(plan);
    return done;
}

static int report_run(const options *o, report *r)
{
    static target_outcome targets[TARGETS_MAX];
    FILE *to = o->json != NULL && strcmp(o->json, "-") == 0 ? stderr : stdout;
    int status = EXIT_SUCCESS;

    machine_print(to, &r->machine);
    table_bound(to);
    if (!cases_measure(o, r))
        return EXIT_TROUBLE;
    if (o->check) {
        r->target_count = targets_evaluate(r->results, r->count, targets);
        r->targets = targets;
    }
    table_results(to, r, o->details);
    if (o->check)
        table_targets(to, r);
    if (o->check && !targets_reached(targets, r->target_count))
        status = EXIT_MISSED;
    if (o->json != NULL && !json_write(o->json, r))
        status = EXIT_TROUBLE;
    if (o->plot != NULL && !plots_write(o->plot, r))
        status = EXIT_TROUBLE;
    return status;
}

int main(int argc, char **argv)
{
    options o;
    report r = {.count = 0};
    int status, core;

    switch (options_read(&o, argc, argv)) {
    case OPTIONS_HELP:
        return EXIT_SUCCESS;
    case OPTIONS_WRONG:
        return EXIT_TROUBLE;
    case OPTIONS_RUN:
        break;
    }
    core = clock_pin(o.cpu);
    if (core < 0 && o.cpu >= 0) {
        fprintf(stderr, "bench-records: --cpu %d: this process may not run on such a core\n", o.cpu);
        return EXIT_TROUBLE;
    }
    if (reference_context() == NULL) {
        fprintf(stderr, "bench-records: libcrypto's default provider cannot be loaded\n");
        return EXIT_TROUBLE;
    }
    clock_warm_up(WARM_UP_MS);
    machine_read(&r.machine, core);
    r.rounds = o.rounds;
    if (o.list)
        status = calibrate_list(o.subjects, o.subject_count, o.rounds) ? EXIT_SUCCESS : EXIT_TROUBLE;
    else if (o.calibrate != NULL)
        status = calibrate_write(o.calibrate, o.subjects, o.subject_count, o.rounds, &r.machine)
                     ? EXIT_SUCCESS
                     : EXIT_TROUBLE;
    else
        status = report_run(&o, &r);
    while (r.count > 0)
        result_free(&r.results[--r.count]);
    free(r.results);
    reference_end();
    return status;
}
