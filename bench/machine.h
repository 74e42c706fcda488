/* SPDX-License-Identifier: Apache-2.0 */
/* What was measured on, and with which libraries and compiler: without it no figure means anything. */
#ifndef BENCH_MACHINE_H
#define BENCH_MACHINE_H

#include <stdio.h>
#include <sealane/engine.h>

#define MACHINE_TEXT_MAX 128

typedef struct machine {
    char cpu[MACHINE_TEXT_MAX]; /* "AMD EPYC, family 25, model 1" */
    const char *cpu_class;      /* the engine's: "VAES on AVX2" */
    int core;                   /* pinned to; -1: to none */
    const char *openssl;        /* versions at run time */
    const char *ipsec_mb;
    const char *compiler;
    const char *flags;
    const char *build;     /* "Release"; other builds measure little */
    const char *forced_by; /* SEALANE_BACKEND, or NULL */
    size_t backends;
    sealane_backend_info backend[SEALANE_BACKENDS_MAX];
} machine;

void machine_read(machine *out, int core);
void machine_print(FILE *to, const machine *m);

#endif
