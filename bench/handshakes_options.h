/* SPDX-License-Identifier: Apache-2.0 */
/* What the command line says. */
#ifndef BENCH_HANDSHAKES_OPTIONS_H
#define BENCH_HANDSHAKES_OPTIONS_H

#include "handshakes_actor.h"

#define LIST_MAX 16

typedef struct options {
    stage stage;
    bool keys[KEY_KINDS];
    size_t tls[2], tls_count; /* 12, 13 */
    size_t at_once[LIST_MAX], at_once_count;
    size_t latency[LIST_MAX], latency_count; /* ms */
    const contestant *who[CONTESTANTS_MAX];
    size_t who_count;
    size_t rounds, stretch_ms; /* 0: as the case needs */
    bool quick, check;
    const char *json, *plot; /* NULL: not wanted */
} options;

typedef enum options_result { OPTIONS_RUN, OPTIONS_HELP, OPTIONS_WRONG } options_result;

/* OPTIONS_WRONG after one line on stderr. */
options_result options_read(options *out, int argc, char **argv);

#endif
