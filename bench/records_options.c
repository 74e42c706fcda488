/* SPDX-License-Identifier: Apache-2.0 */
#include "records_options.h"
#include "option.h"

#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define ROUNDS_DEFAULT 101
#define ROUNDS_QUICK   25
#define ROUNDS_MAX     100000
#define CPU_MAX        4096

enum { WHOLE_RUN, QUICK_RUN };
static const char *const default_sizes[] = {"16,64,256,1024,1400,4096,16384", "64,1400,16384"};
static const char *const default_batches[] = {"1,4,16,64", "1,16"};

static void help_print(void)
{
    size_t count;
    const contestant *const *list = contestants_list(&count);

    printf(
        "usage: bench-records [OPTION...]\n\n"
        "Seals and opens TLS records with the engine and with its peers, in one run and in turn, and prints\n"
        "nanoseconds per record. Everything that is timed is also proved right.\n\n"
        "  --suite LIST     ciphers, by name or part of a name (default: those that the engine carries);\n"
        "                   'all' adds those that only the peers carry\n"
        "  --sizes LIST     bytes that the cipher protects, %d to %d (default: %s)\n"
        "  --batch LIST     records of different keys that go together, 1 to %d (default: %s)\n"
        "  --direction D    seal or open (default: both)\n"
        "  --only LIST      contestants, by name\n"
        "  --rounds N       rounds per case (default: %d)\n"
        "  --quick          sizes %s, batches %s, %d rounds, where not said otherwise\n"
        "  --cpu N          core to run on (default: where the program starts)\n"
        "  --details        a line per case and contestant, with spreads\n"
        "  --json FILE      also write everything as JSON; - for standard output\n"
        "  --plot DIR       also draw SVG plots into DIR (needs gnuplot)\n"
        "  --check          evaluate the targets, too: exit status 1 if one is missed\n"
        "  --list           only show what dispatch chose and why, beside what measures fastest\n"
        "  --calibrate FILE only measure the backends, and write engine/calibration.c anew to FILE (or -)\n"
        "  --help\n\ncontestants:\n",
        RECORD_SIZE_MIN, RECORD_SIZE_MAX, default_sizes[WHOLE_RUN], BATCH_MAX, default_batches[WHOLE_RUN],
        ROUNDS_DEFAULT, default_sizes[QUICK_RUN], default_batches[QUICK_RUN], ROUNDS_QUICK);
    for (size_t i = 0; i < count; i++)
        printf("  %-18s %s\n", list[i]->name, list[i]->what);
}

static bool contains(const char *name, const char *part)
{
    size_t len = strlen(part);

    for (; *name != '\0'; name++)
        if (len > 0 && strncasecmp(name, part, len) == 0)
            return true;
    return false;
}

static bool subject_wanted(const subject *s, const char *list, bool used[], size_t room)
{
    char *copy = strdup(list), *rest = copy, *item;
    bool wanted = false;

    for (size_t i = 0; copy != NULL && (item = strsep(&rest, ",")) != NULL; i++) {
        bool fits = strcasecmp(item, "all") == 0 || contains(s->name, item);
        if (fits && i < room)
            used[i] = true;
        wanted = wanted || fits;
    }
    free(copy);
    return wanted;
}

/* NULL: what the engine carries. */
static bool subjects_read(options *o, const char *list)
{
    bool used[SUBJECTS_MAX] = {false};
    size_t all = subjects_list(o->subjects), items = 1;

    o->subject_count = 0;
    for (size_t i = 0; i < all; i++)
        if (list == NULL ? o->subjects[i].carried : subject_wanted(&o->subjects[i], list, used, SUBJECTS_MAX))
            o->subjects[o->subject_count++] = o->subjects[i];
    if (list == NULL)
        return true;
    for (const char *c = list; *c != '\0'; c++)
        items += *c == ',';
    for (size_t i = 0; i < items; i++)
        if (i >= SUBJECTS_MAX || !used[i])
            return option_wrong("bench-records", "suite", list,
                                "no cipher of such a name; AES-128-GCM is one");
    return true;
}

static bool contestant_take(void *arg, const char *name)
{
    options *o = arg;
    const contestant *who = contestant_find(name);

    if (who == NULL || o->only_count == CONTESTANTS_MAX)
        return option_wrong("bench-records", "only", name, "no such contestant here; --help lists them");
    o->only[o->only_count++] = who;
    return true;
}

static bool only_read(options *o, const char *list)
{
    o->only_count = 0;
    return option_items(list, contestant_take, o);
}

static bool direction_read(options *o, const char *text)
{
    o->seal = strcmp(text, "seal") == 0;
    o->open = strcmp(text, "open") == 0;
    return o->seal || o->open || option_wrong("bench-records", "direction", text, "neither seal nor open");
}

static bool cpu_read(options *o, const char *text)
{
    size_t value;
    bool right = option_number("bench-records", "cpu", text, 0, CPU_MAX, &value);

    o->cpu = right ? (int)value : -1;
    return right;
}

/* What an option may say over what --quick says, kept until all are read. */
struct texts {
    bool quick;
    const char *sizes, *batches, *suites;
};

static bool option_take(options *o, struct texts *t, int letter)
{
    switch (letter) {
    case 's':
        t->suites = optarg;
        return true;
    case 'z':
        t->sizes = optarg;
        return true;
    case 'b':
        t->batches = optarg;
        return true;
    case 'q':
        t->quick = true;
        return true;
    case 'd':
        return direction_read(o, optarg);
    case 'o':
        return only_read(o, optarg);
    case 'r':
        return option_number("bench-records", "rounds", optarg, 1, ROUNDS_MAX, &o->rounds);
    case 'c':
        return cpu_read(o, optarg);
    case 'D':
        o->details = true;
        return true;
    case 'j':
        o->json = optarg;
        return true;
    case 'p':
        o->plot = optarg;
        return true;
    case 'C':
        o->check = true;
        return true;
    case 'l':
        o->list = true;
        return true;
    case 'K':
        o->calibrate = optarg;
        return true;
    default: /* getopt has said what is wrong */
        return false;
    }
}

static bool defaults_apply(options *o, const struct texts *t)
{
    int run = t->quick ? QUICK_RUN : WHOLE_RUN;

    if (o->rounds == 0)
        o->rounds = t->quick ? ROUNDS_QUICK : ROUNDS_DEFAULT;
    return option_numbers("bench-records", "sizes", t->sizes != NULL ? t->sizes : default_sizes[run],
                          RECORD_SIZE_MIN, RECORD_SIZE_MAX, o->sizes, SIZES_MAX, &o->size_count) &&
           option_numbers("bench-records", "batch", t->batches != NULL ? t->batches : default_batches[run], 1,
                          BATCH_MAX, o->batches, BATCHES_MAX, &o->batch_count) &&
           subjects_read(o, t->suites);
}

options_result options_read(options *out, int argc, char **argv)
{
    static const struct option known[] = {
        {"suite", required_argument, NULL, 's'}, {"sizes", required_argument, NULL, 'z'},
        {"batch", required_argument, NULL, 'b'}, {"direction", required_argument, NULL, 'd'},
        {"only", required_argument, NULL, 'o'},  {"rounds", required_argument, NULL, 'r'},
        {"quick", no_argument, NULL, 'q'},       {"cpu", required_argument, NULL, 'c'},
        {"details", no_argument, NULL, 'D'},     {"json", required_argument, NULL, 'j'},
        {"plot", required_argument, NULL, 'p'},  {"check", no_argument, NULL, 'C'},
        {"list", no_argument, NULL, 'l'},        {"calibrate", required_argument, NULL, 'K'},
        {"help", no_argument, NULL, 'h'},        {NULL, 0, NULL, 0},
    };
    struct texts texts = {.quick = false};
    int letter;

    memset(out, 0, sizeof(*out));
    out->cpu = -1;
    out->seal = out->open = true;
    while ((letter = getopt_long(argc, argv, "h", known, NULL)) != -1) {
        if (letter == 'h') {
            help_print();
            return OPTIONS_HELP;
        }
        if (!option_take(out, &texts, letter))
            return OPTIONS_WRONG;
    }
    if (optind < argc) {
        fprintf(stderr, "bench-records: what is %s? --help lists the options\n", argv[optind]);
        return OPTIONS_WRONG;
    }
    if ((out->list || out->calibrate != NULL) && (out->json != NULL || out->plot != NULL || out->check)) {
        fprintf(stderr, "bench-records: --list and --calibrate go without --json, --plot and --check\n");
        return OPTIONS_WRONG;
    }
    return defaults_apply(out, &texts) ? OPTIONS_RUN : OPTIONS_WRONG;
}
