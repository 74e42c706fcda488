/* SPDX-License-Identifier: Apache-2.0 */
#include "records_calibrate.h"

#include <errno.h>
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sealane/engine.h>
#include <sealane/record.h>
#include "calibration.h"
#include "cpu.h"
#include "dispatch.h"
#include "records_rounds.h"

#define SIZES_PER_CLASS 3
/* A backend must be so much faster to go before one that stands earlier in the build: less is noise. */
#define CLEARLY 0.98

/* How backends rank in one class, best first, with their time relative to the best. */
typedef struct ranking {
    size_t count;
    const backend *order[SEALANE_BACKENDS_MAX];
    double times[SEALANE_BACKENDS_MAX];
} ranking;

/* Sizes that stand for a class: its smallest, its middle and its greatest; the last class is long records. */
static void class_sizes(size_t class_id, size_t sizes[SIZES_PER_CLASS])
{
    size_t max = class_id == DISPATCH_SIZE_CLASSES - 1 ? SEALANE_PLAINTEXT_MAX : dispatch_class_end(class_id);

    sizes[0] = class_id == 0 ? 17 : dispatch_class_end(class_id - 1) + 1;
    sizes[1] = (sizes[0] + max) / 2;
    sizes[2] = max;
}

static bool is_backend(const contestant *who, const void *context)
{
    (void)context;
    return who->backend != NULL;
}

/* Adds each backend's time in one case, relative to the first backend's, to its sum of logarithms. */
static bool case_add(const workload *load, size_t rounds, ranking *rank)
{
    result r;
    bool done = rounds_run(&r, load, rounds, is_backend, NULL);

    for (size_t i = 0; done && i < r.count; i++) {
        spread ratio;
        rank->order[i] = r.entries[i].who->backend;
        done = result_ratio(&r, r.entries[i].who->name, r.entries[0].who->name, &ratio);
        rank->times[i] += done ? log(ratio.median) : 0;
    }
    rank->count = r.count;
    result_free(&r);
    return done;
}

static void ranking_sort(ranking *rank)
{
    for (size_t i = 1; i < rank->count; i++)
        for (size_t k = i; k > 0 && rank->times[k] < rank->times[k - 1] * CLEARLY; k--) {
            const backend *be = rank->order[k];
            double time = rank->times[k];
            rank->order[k] = rank->order[k - 1];
            rank->times[k] = rank->times[k - 1];
            rank->order[k - 1] = be;
            rank->times[k - 1] = time;
        }
}

/* What dispatch tells apart, and how it is measured. */
static const struct use {
    bool sealing;
    size_t batches[3]; /* ends with 0 */
    unsigned calibration;
    const char *name;
} uses[] = {
    {true, {1}, CALIBRATION_SEAL | CALIBRATION_ALONE, "seal"},
    {true, {4, 16}, CALIBRATION_SEAL | CALIBRATION_BATCH, "seal batch"},
    {false, {1}, CALIBRATION_OPEN | CALIBRATION_ALONE, "open"},
    {false, {4, 16}, CALIBRATION_OPEN | CALIBRATION_BATCH, "open batch"},
};
#define USES (sizeof(uses) / sizeof(uses[0]))

static bool class_rank(const subject *s, const struct use *use, size_t class_id, size_t rounds, ranking *rank)
{
    size_t sizes[SIZES_PER_CLASS], cases = 0;
    double best;

    fprintf(stderr, "measuring %s, %s, up to %zu bytes\n", s->name, use->name, dispatch_class_end(class_id));
    memset(rank, 0, sizeof(*rank));
    class_sizes(class_id, sizes);
    for (size_t i = 0; i < SIZES_PER_CLASS; i++)
        for (const size_t *batch = use->batches; *batch != 0; batch++, cases++) {
            workload load = {.subject = s, .sealing = use->sealing, .size = sizes[i], .batch = *batch};
            if (!case_add(&load, rounds, rank))
                return false;
        }
    for (size_t i = 0; i < rank->count; i++)
        rank->times[i] = exp(rank->times[i] / (double)cases);
    ranking_sort(rank);
    best = rank->count > 0 ? rank->times[0] : 1;
    for (size_t i = 1; i < rank->count; i++)
        best = rank->times[i] < best ? rank->times[i] : best;
    for (size_t i = 0; i < rank->count; i++)
        rank->times[i] /= best;
    return true;
}

static bool measurable(const subject *s)
{
    return s->carried && s->kind != SUBJECT_CBC_HMAC;
}

/* ---- The list ---- */

static void list_line(const subject *s, const struct use *use, size_t class_id, const ranking *rank)
{
    bool last = class_id == DISPATCH_SIZE_CLASSES - 1, batch = use->batches[0] > 1;
    const char *why, *chosen = (batch ? sealane_backend_for_batch : sealane_backend_for)(
                         s->cipher, use->sealing, dispatch_class_end(class_id), &why);

    printf("%-18s %-10s ", s->name, use->name);
    if (last)
        printf("%6s", "more");
    else
        printf("%6zu", dispatch_class_end(class_id));
    printf("  %-9s", chosen);
    for (size_t i = 0; i < rank->count; i++)
        printf("  %s %.2f%s", rank->order[i]->name, rank->times[i],
               i == 0 && strcmp(rank->order[i]->name, chosen) != 0 ? " (!)" : "");
    printf("    %s\n", why);
    fflush(stdout);
}

bool calibrate_list(const subject subjects[], size_t count, size_t rounds)
{
    ranking rank;

    printf("%-18s %-10s %6s  %-9s  time of each backend, the fastest's being 1; dispatch's reason\n",
           "cipher", "", "up to", "chosen");
    for (size_t i = 0; i < count; i++)
        for (size_t u = 0; measurable(&subjects[i]) && u < USES; u++)
            for (size_t c = 0; c < DISPATCH_SIZE_CLASSES; c++) {
                if (!class_rank(&subjects[i], &uses[u], c, rounds, &rank))
                    return false;
                list_line(&subjects[i], &uses[u], c, &rank);
            }
    printf("(!): the calibration does not agree with what was measured now\n");
    return true;
}

/* ---- The engine's table ---- */

static const char *const cpu_enumerators[CPU_CLASSES] = {
    [CPU_VAES_AVX512] = "CPU_VAES_AVX512",
    [CPU_VAES_AVX2] = "CPU_VAES_AVX2",
    [CPU_AES] = "CPU_AES",
    [CPU_OTHER] = "CPU_OTHER",
};

/* SEALANE_AES_128_GCM is named after AES-128-GCM, and so are all: sealane/suite.h. */
static void cipher_enumerator(FILE *to, sealane_cipher_id cipher)
{
    const sealane_cipher *row = sealane_cipher_get(cipher);

    if (row == NULL) {
        fprintf(to, "ALL_CIPHERS");
        return;
    }
    fprintf(to, "SEALANE_");
    for (const char *c = row->name; *c != '\0'; c++)
        fputc(*c == '-' ? '_' : *c >= 'a' && *c <= 'z' ? *c - 'a' + 'A' : *c, to);
}

static void use_enumerators(FILE *to, unsigned use)
{
    static const struct {
        unsigned bits;
        const char *name;
    } names[] = {
        {CALIBRATION_BOTH, "CALIBRATION_BOTH"},   {CALIBRATION_SEAL, "CALIBRATION_SEAL"},
        {CALIBRATION_OPEN, "CALIBRATION_OPEN"},   {CALIBRATION_ALONE, "CALIBRATION_ALONE"},
        {CALIBRATION_BATCH, "CALIBRATION_BATCH"},
    };
    const char *between = "";

    if (use == 0)
        fputc('0', to);
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        if ((use & names[i].bits) != names[i].bits)
            continue;
        fprintf(to, "%s%s", between, names[i].name);
        between = " | ";
        use &= ~names[i].bits;
    }
}

static void row_write(FILE *to, const calibration_row *row)
{
    fprintf(to, "    {%s,\n     ", cpu_enumerators[row->cpu]);
    cipher_enumerator(to, row->cipher);
    fprintf(to, ",\n     ");
    use_enumerators(to, row->use);
    fprintf(to, ",\n     ");
    if (row->max_len == SIZE_MAX)
        fprintf(to, "SIZE_MAX");
    else
        fprintf(to, "%zu", row->max_len);
    fprintf(to, ",\n     {");
    for (size_t i = 0; row->order[i] != NULL; i++)
        fprintf(to, "%s\"%s\"", i == 0 ? "" : ", ", row->order[i]);
    fprintf(to, "},\n     \"%s\"},\n", row->why);
}

static bool same_order(const ranking *a, const ranking *b)
{
    return a->count == b->count && memcmp(a->order, b->order, a->count * sizeof(a->order[0])) == 0;
}

/* One row for each stretch of classes with the same order. */
static void rows_write(FILE *to, const subject *s, unsigned use, const ranking ranks[DISPATCH_SIZE_CLASSES],
                       const char *why)
{
    for (size_t c = 0; c < DISPATCH_SIZE_CLASSES; c++) {
        bool last = c == DISPATCH_SIZE_CLASSES - 1;
        calibration_row row = {.cpu = cpu_classify(),
                               .cipher = s->cipher,
                               .use = use,
                               .max_len = last ? SIZE_MAX : dispatch_class_end(c),
                               .why = why};
        if (!last && same_order(&ranks[c], &ranks[c + 1]))
            continue;
        for (size_t i = 0; i < ranks[c].count; i++)
            row.order[i] = ranks[c].order[i]->name;
        row_write(to, &row);
    }
}

static bool same_ranks(const ranking a[DISPATCH_SIZE_CLASSES], const ranking b[DISPATCH_SIZE_CLASSES])
{
    for (size_t c = 0; c < DISPATCH_SIZE_CLASSES; c++)
        if (!same_order(&a[c], &b[c]))
            return false;
    return true;
}

/* As few rows as say it all. The indices are those of `uses`. */
static bool subject_write(FILE *to, const subject *s, size_t rounds, const char *why)
{
    enum { SEAL, SEAL_BATCH, OPEN, OPEN_BATCH };
    ranking ranks[USES][DISPATCH_SIZE_CLASSES];
    bool directions_alike, ways_alike;

    for (size_t u = 0; u < USES; u++)
        for (size_t c = 0; c < DISPATCH_SIZE_CLASSES; c++)
            if (!class_rank(s, &uses[u], c, rounds, &ranks[u][c]))
                return false;
    directions_alike =
        same_ranks(ranks[SEAL], ranks[OPEN]) && same_ranks(ranks[SEAL_BATCH], ranks[OPEN_BATCH]);
    ways_alike = same_ranks(ranks[SEAL], ranks[SEAL_BATCH]) && same_ranks(ranks[OPEN], ranks[OPEN_BATCH]);
    if (directions_alike && ways_alike) {
        rows_write(to, s, CALIBRATION_BOTH, ranks[SEAL], why);
    } else if (directions_alike) {
        rows_write(to, s, CALIBRATION_BOTH | CALIBRATION_ALONE, ranks[SEAL], why);
        rows_write(to, s, CALIBRATION_BOTH | CALIBRATION_BATCH, ranks[SEAL_BATCH], why);
    } else if (ways_alike) {
        rows_write(to, s, CALIBRATION_SEAL, ranks[SEAL], why);
        rows_write(to, s, CALIBRATION_OPEN, ranks[OPEN], why);
    } else {
        for (size_t u = 0; u < USES; u++)
            rows_write(to, s, uses[u].calibration, ranks[u], why);
    }
    return true;
}

static bool measured_here(const calibration_row *row, const subject subjects[], size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (measurable(&subjects[i]) && row->cpu == cpu_classify() && row->cipher == subjects[i].cipher)
            return true;
    return false;
}

static const char head[] =
    "/* SPDX-License-Identifier: Apache-2.0 */\n"
    "/*\n"
    " * The order of the backends per class of CPU, as bench-records --calibrate writes it. Rows that name "
    "the\n"
    " * CPU they were measured on were measured, size by size; the others follow the width of the AES and\n"
    " * carry-less multiply instructions that each backend uses on such a CPU.\n"
    " */\n"
    "#include \"calibration.h\"\n\n"
    "#include <stdint.h>\n\n"
    "#define ALL_CIPHERS SEALANE_CIPHERS\n\n"
    "const calibration_row calibration_rows[] = {\n";
static const char tail[] =
    "};\n\n"
    "const size_t calibration_row_count = sizeof(calibration_rows) / sizeof(calibration_rows[0]);\n";

/* In memory first: a run that fails in the middle must not leave half a table in the source. */
static char *table_make(const subject subjects[], size_t count, size_t rounds, const machine *m)
{
    char why[MACHINE_TEXT_MAX + 32], *text = NULL;
    size_t len;
    FILE *to = open_memstream(&text, &len);
    bool done = to != NULL;

    if (!done)
        return NULL;
    snprintf(why, sizeof(why), "measured fastest on %s", m->cpu);
    fputs(head, to);
    for (size_t i = 0; done && i < count; i++)
        done = !measurable(&subjects[i]) || subject_write(to, &subjects[i], rounds, why);
    for (size_t i = 0; i < calibration_row_count; i++)
        if (!measured_here(&calibration_rows[i], subjects, count))
            row_write(to, &calibration_rows[i]);
    fputs(tail, to);
    done = fclose(to) == 0 && done;
    if (done)
        return text;
    free(text);
    return NULL;
}

bool calibrate_write(const char *path, const subject subjects[], size_t count, size_t rounds,
                     const machine *m)
{
    bool standard = strcmp(path, "-") == 0, done = true;
    char *text = table_make(subjects, count, rounds, m);
    FILE *to = text == NULL || standard ? stdout : fopen(path, "w");

    if (text == NULL)
        return false;
    if (to == NULL || fputs(text, to) == EOF || fflush(to) != 0) {
        fprintf(stderr, "bench-records: cannot write %s: %s\n", path, strerror(errno));
        done = false;
    }
    if (to != NULL && !standard)
        done = fclose(to) == 0 && done;
    free(text);
    return done;
}
