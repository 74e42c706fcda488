/* SPDX-License-Identifier: Apache-2.0 */
/* The command line of bench-records. */
#ifndef BENCH_RECORDS_OPTIONS_H
#define BENCH_RECORDS_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include "records_contestant.h"
#include "records_subject.h"

#define SIZES_MAX   64
#define BATCHES_MAX 16

typedef struct options {
    size_t sizes[SIZES_MAX], size_count;      /* ascending */
    size_t batches[BATCHES_MAX], batch_count; /* ascending */
    subject subjects[SUBJECTS_MAX];
    size_t subject_count;
    const contestant *only[CONTESTANTS_MAX];
    size_t only_count; /* 0: all */
    bool seal, open;
    size_t rounds;
    int cpu; /* -1: the one that the program starts on */
    bool check, list, details;
    const char *json, *plot, *calibrate; /* NULL: no */
} options;

typedef enum options_result {
    OPTIONS_RUN,
    OPTIONS_HELP, /* printed: done */
    OPTIONS_WRONG /* said on stderr */
} options_result;

/* Without --suite, the ciphers that the engine carries. */
options_result options_read(options *out, int argc, char **argv);

#endif
