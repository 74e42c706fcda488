/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bench-sessions: what it brings to take a connection over from libssl (sealane/takeover.h): time per record, memory
 * of an idle connection, and what the takeover itself takes. Who is compared is in sessions_pair.h, how in
 * sessions_measure.h.
 */
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "clock.h"
#include "json.h"
#include "machine.h"
#include "option.h"
#include "records_reference.h"
#include "sessions_measure.h"
#include "target.h"

#define PROGRAM        "bench-sessions"
#define WARM_UP_MS     300
#define ROUNDS_DEFAULT 101
#define ROUNDS_QUICK   15
#define ADOPTION_PART  4 /* of the rounds: each does handshakes anew */
#define BATCH_MAX      64
#define SIZES_MAX      16
#define CASES_MAX      256
#define TARGETS        4
#define EXIT_MISSED    1
#define EXIT_TROUBLE   2

/* Suites that connections of today have. */
static const uint16_t suites[] = {0x1301, 0x1302, 0x1303, 0xc02b};
#define SUITES (sizeof(suites) / sizeof(suites[0]))

static struct {
    size_t sizes[SIZES_MAX], size_count, batches[SIZES_MAX], batch_count, rounds;
    int cpu;
    bool check, records_only;
    const char *json, *suite; /* suite: part of a name, NULL: all */
} options = {.sizes = {64, 1400, 16384},
             .size_count = 3,
             .batches = {1, 64},
             .batch_count = 2,
             .rounds = ROUNDS_DEFAULT,
             .cpu = -1};

static struct {
    machine machine;
    records_case records[CASES_MAX];
    size_t record_count;
    memory_case memory[SUITES];
    size_t memory_count;
    adoption_case adoption[2 * SUITES];
    size_t adoption_count;
    target_outcome targets[TARGETS];
} report;

/* ---- Options ---- */

static void help_print(void)
{
    printf("usage: " PROGRAM " [OPTION...]\n\n"
           "Carries TLS connections with sessions of the engine and with libssl, in one run and in turn: "
           "time per record,\n"
           "memory of an idle connection, and the takeover itself. What is timed is also compared.\n\n"
           "  --sizes LIST  bytes of a payload, 1 to 16384 (default: 64,1400,16384)\n"
           "  --batch LIST  connections whose records go together, 1 to %d (default: 1,64)\n"
           "  --suite PART  only suites with that in their name\n"
           "  --records     only the time per record\n"
           "  --rounds N    rounds per case (default: %d)\n"
           "  --quick       %d rounds\n"
           "  --cpu N       core to run on (default: where the program starts)\n"
           "  --json FILE   also write everything as JSON; - for standard output\n"
           "  --check       evaluate the targets, too: exit status 1 if one is missed\n"
           "  --help\n",
           BATCH_MAX, ROUNDS_DEFAULT, ROUNDS_QUICK);
}

static bool suite_wanted(size_t index)
{
    return options.suite == NULL || strstr(sealane_suite_find(suites[index])->name, options.suite) != NULL;
}

static bool any_suite_wanted(void)
{
    for (size_t i = 0; i < SUITES; i++)
        if (suite_wanted(i))
            return true;
    fprintf(stderr, PROGRAM ": --suite %s: none of the suites has that in its name\n", options.suite);
    return false;
}

/* 1: run, 0: done, -1: wrong. */
static int options_read(int argc, char **argv)
{
    static const struct option known[] = {{"sizes", required_argument, NULL, 's'},
                                          {"batch", required_argument, NULL, 'b'},
                                          {"rounds", required_argument, NULL, 'r'},
                                          {"quick", no_argument, NULL, 'q'},
                                          {"suite", required_argument, NULL, 'u'},
                                          {"records", no_argument, NULL, 'o'},
                                          {"cpu", required_argument, NULL, 'c'},
                                          {"json", required_argument, NULL, 'j'},
                                          {"check", no_argument, NULL, 'k'},
                                          {"help", no_argument, NULL, 'h'},
                                          {NULL, 0, NULL, 0}};
    size_t number;
    int c;

    while ((c = getopt_long(argc, argv, "h", known, NULL)) != -1) {
        bool right = true;
        switch (c) {
        case 's':
            right = option_numbers(PROGRAM, "sizes", optarg, 1, 16384, options.sizes, SIZES_MAX,
                                   &options.size_count);
            break;
        case 'b':
            right = option_numbers(PROGRAM, "batch", optarg, 1, BATCH_MAX, options.batches, SIZES_MAX,
                                   &options.batch_count);
            break;
        case 'r':
            right = option_number(PROGRAM, "rounds", optarg, 1, 100000, &options.rounds);
            break;
        case 'q':
            options.rounds = ROUNDS_QUICK;
            break;
        case 'c':
            right = option_number(PROGRAM, "cpu", optarg, 0, 4096, &number);
            options.cpu = (int)number;
            break;
        case 'j':
            options.json = optarg;
            break;
        case 'u':
            options.suite = optarg;
            break;
        case 'o':
            options.records_only = true;
            break;
        case 'k':
            options.check = true;
            break;
        case 'h':
            help_print();
            return 0;
        default: /* said by getopt */
            return -1;
        }
        if (!right)
            return -1;
    }
    if (optind < argc) {
        fprintf(stderr, PROGRAM ": what is %s? --help tells what can be said\n", argv[optind]);
        return -1;
    }
    return any_suite_wanted() ? 1 : -1;
}

/* ---- The run ---- */

static bool suite_measure(size_t index)
{
    const sealane_suite *suite = sealane_suite_find(suites[index]);
    size_t rounds = options.rounds / ADOPTION_PART + 1;

    if (!suite_wanted(index))
        return true;
    fprintf(stderr, "[%zu/%zu] %s\n", index + 1, SUITES, suite->name);
    for (size_t b = 0; b < options.batch_count; b++)
        for (size_t s = 0; s < options.size_count; s++) {
            records_case *c = &report.records[report.record_count++];
            *c = (records_case){.suite = suite, .size = options.sizes[s], .batch = options.batches[b]};
            if (!records_measure(c, options.rounds))
                return false;
        }
    if (options.records_only)
        return true;
    report.memory[report.memory_count].suite = suite;
    if (!memory_measure(&report.memory[report.memory_count++]))
        return false;
    for (size_t server = 0; server < 2; server++) {
        adoption_case *c = &report.adoption[report.adoption_count++];
        *c = (adoption_case){.suite = suite, .server = server == 1};
        if (!adoption_measure(c, rounds))
            return false;
    }
    return true;
}

/* ---- Targets ---- */

static target_outcome records_target(const char *what, size_t size, size_t batch, double needed)
{
    target_outcome t = {.what = what, .unit = " x", .needed = needed};

    snprintf(t.where, sizeof(t.where), "no such case in this run");
    for (size_t i = 0; i < report.record_count; i++) {
        const records_case *c = &report.records[i];
        bool gcm = c->suite->cipher == SEALANE_AES_128_GCM || c->suite->cipher == SEALANE_AES_256_GCM;
        if (c->size != size || (batch > 0 && c->batch != batch) || !gcm ||
            (t.measured && c->ratio.median >= t.figure.median))
            continue;
        t.measured = true;
        t.figure = c->ratio;
        snprintf(t.where, sizeof(t.where), "%s, %zu at once", c->suite->name, c->batch);
    }
    t.reached = t.measured && t.figure.median >= needed;
    return t;
}

static target_outcome memory_target(void)
{
    target_outcome t = {
        .what = "memory of one end of an idle connection", .unit = " bytes", .needed = 2560, .at_most = true};

    snprintf(t.where, sizeof(t.where), "no such case in this run");
    for (size_t i = 0; i < report.memory_count; i++) {
        double bytes = report.memory[i].session;
        if (t.measured && bytes <= t.figure.median)
            continue;
        t.measured = true;
        t.figure = (spread){bytes, bytes, bytes};
        snprintf(t.where, sizeof(t.where), "%s", report.memory[i].suite->name);
    }
    t.reached = t.measured && t.figure.median <= t.needed;
    return t;
}

static target_outcome adoption_target(void)
{
    target_outcome t = {
        .what = "a takeover, SSL_free() included", .unit = " us", .needed = 15, .at_most = true};

    snprintf(t.where, sizeof(t.where), "no such case in this run");
    for (size_t i = 0; i < report.adoption_count; i++) {
        const adoption_case *c = &report.adoption[i];
        if (t.measured && c->takeover_us.median <= t.figure.median)
            continue;
        t.measured = true;
        t.figure = c->takeover_us;
        snprintf(t.where, sizeof(t.where), "%s, %s", c->suite->name, c->server ? "server" : "client");
    }
    t.reached = t.measured && t.figure.median <= t.needed;
    return t;
}

static void targets_evaluate(void)
{
    report.targets[0] = records_target("AES-GCM, 64 bytes on 64 connections, seal and open", 64, 64, 15);
    report.targets[1] = records_target("AES-GCM, 16 KB, seal and open", 16384, 0, 2.3);
    report.targets[2] = memory_target();
    report.targets[3] = adoption_target();
}

/* ---- Table and JSON ---- */

static void table_print(FILE *to)
{
    fprintf(to, "\n%-40s %6s %6s %14s %14s %10s\n", "a record sealed and opened", "bytes", "conns",
            "libssl ns", "session ns", "ratio");
    for (size_t i = 0; i < report.record_count; i++) {
        const records_case *c = &report.records[i];
        fprintf(to, "%-40s %6zu %6zu %14.0f %14.0f %8.2f x  (%.2f..%.2f)\n", c->suite->name, c->size,
                c->batch, c->libssl_ns.median, c->session_ns.median, c->ratio.median, c->ratio.p10,
                c->ratio.p90);
    }
    fprintf(to, "\n%-40s %14s %18s %14s\n", "an idle connection, bytes of heap", "libssl", "released buffers",
            "session");
    for (size_t i = 0; i < report.memory_count; i++)
        fprintf(to, "%-40s %14.0f %18.0f %14.0f\n", report.memory[i].suite->name, report.memory[i].libssl,
                report.memory[i].libssl_released, report.memory[i].session);
    fprintf(to, "\n%-40s %14s %18s\n", "us per connection", "takeover", "SSL_free() alone");
    for (size_t i = 0; i < report.adoption_count; i++) {
        const adoption_case *c = &report.adoption[i];
        fprintf(to, "%-32s %-7s %14.2f %18.2f\n", c->suite->name, c->server ? "server" : "client",
                c->takeover_us.median, c->ssl_free_us.median);
    }
}

static void cases_write(FILE *to)
{
    fprintf(to, "  \"records\": [");
    for (size_t i = 0; i < report.record_count; i++) {
        const records_case *c = &report.records[i];
        fprintf(to, "%s\n    {", i == 0 ? "" : ",");
        json_text(to, "suite", c->suite->name);
        fprintf(to, ", \"size\": %zu, \"batch\": %zu, ", c->size, c->batch);
        json_spread(to, "libssl_ns", c->libssl_ns);
        fprintf(to, ", ");
        json_spread(to, "session_ns", c->session_ns);
        fprintf(to, ", ");
        json_spread(to, "times_libssl", c->ratio);
        fprintf(to, "}");
    }
    fprintf(to, "\n  ],\n  \"memory\": [");
    for (size_t i = 0; i < report.memory_count; i++) {
        const memory_case *c = &report.memory[i];
        fprintf(to, "%s\n    {", i == 0 ? "" : ",");
        json_text(to, "suite", c->suite->name);
        fprintf(to, ", \"libssl_bytes\": %.0f, \"libssl_released_bytes\": %.0f, \"session_bytes\": %.0f}",
                c->libssl, c->libssl_released, c->session);
    }
    fprintf(to, "\n  ],\n  \"takeover\": [");
    for (size_t i = 0; i < report.adoption_count; i++) {
        const adoption_case *c = &report.adoption[i];
        fprintf(to, "%s\n    {", i == 0 ? "" : ",");
        json_text(to, "suite", c->suite->name);
        fprintf(to, ", \"side\": \"%s\", ", c->server ? "server" : "client");
        json_spread(to, "takeover_us", c->takeover_us);
        fprintf(to, ", ");
        json_spread(to, "ssl_free_us", c->ssl_free_us);
        fprintf(to, "}");
    }
    fprintf(to, "\n  ]");
}

static bool report_write(const char *path)
{
    FILE *to = json_open(PROGRAM, path);

    if (to == NULL)
        return false;
    fprintf(to, "{\n  \"program\": \"" PROGRAM "\",\n");
    json_machine(to, &report.machine);
    fprintf(to, "  \"rounds\": %zu,\n", options.rounds);
    cases_write(to);
    if (options.check) {
        fprintf(to, ",\n");
        json_targets(to, report.targets, TARGETS);
    }
    fprintf(to, "\n}\n");
    return json_close(PROGRAM, path, to);
}

static int report_run(void)
{
    FILE *to = options.json != NULL && strcmp(options.json, "-") == 0 ? stderr : stdout;
    int status = EXIT_SUCCESS;

    machine_print(to, &report.machine);
    for (size_t i = 0; i < SUITES; i++)
        if (!suite_measure(i))
            return EXIT_TROUBLE;
    table_print(to);
    if (options.check) {
        targets_evaluate();
        targets_print(to, "targets", report.targets, TARGETS);
        status = targets_reached(report.targets, TARGETS) ? EXIT_SUCCESS : EXIT_MISSED;
    }
    if (options.json != NULL && !report_write(options.json))
        status = EXIT_TROUBLE;
    return status;
}

int main(int argc, char **argv)
{
    int run = options_read(argc, argv), core, status;

    if (run <= 0)
        return run == 0 ? EXIT_SUCCESS : EXIT_TROUBLE;
    core = clock_pin(options.cpu);
    if (core < 0 && options.cpu >= 0) {
        fprintf(stderr, PROGRAM ": --cpu %d: this process may not run on such a core\n", options.cpu);
        return EXIT_TROUBLE;
    }
    if (reference_context() == NULL) {
        fprintf(stderr, PROGRAM ": libcrypto's default provider cannot be loaded\n");
        return EXIT_TROUBLE;
    }
    clock_warm_up(WARM_UP_MS);
    machine_read(&report.machine, core);
    status = report_run();
    reference_end();
    return status;
}
