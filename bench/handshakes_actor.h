/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An actor: a process of its own in which one contestant does one case, stretch by stretch, as it is told. A
 * process each, because a provider is a matter of the whole process, because its CPU time then is the
 * contestant's alone, and because one that crashes or hangs is a line in the report and not the report's end.
 */
#ifndef BENCH_HANDSHAKES_ACTOR_H
#define BENCH_HANDSHAKES_ACTOR_H

#include <sys/types.h>
#include "handshakes_work.h"

/* The token and whatever else a process needs to know; empty strings are what there is not. */
typedef struct stage {
    char module[TEXT_MAX];            /* PKCS#11 */
    char pin[TEXT_MAX];               /* or file:PATH */
    char token[TEXT_MAX];             /* its label */
    char init_args[TEXT_MAX];         /* what its C_Initialize wants (NSS) */
    char labels[KEY_KINDS][TEXT_MAX]; /* of the keys in it */
    char provider[TEXT_MAX];          /* sealane.so */
    char peer[TEXT_MAX];              /* pkcs11-provider's module */
    char shim[TEXT_MAX];              /* sealane-fault.so, which waits before it passes C_Sign on */
    unsigned sessions;
} stage;

typedef struct actor {
    const contestant *who;
    work work;
    pid_t pid;
    int order, answer; /* pipes */
    char folder[64];   /* openssl.cnf and the file of the shim */
} actor;

/* Starts the process and has it do some work untimed. False, with a line in `why`, if it cannot. */
bool actor_start(actor *a, const contestant *who, const work *w, const stage *s, char why[TEXT_MAX]);
/* Works for about `ms` milliseconds. False, with a line in `why`, if the process has gone or hangs. */
bool actor_work(actor *a, unsigned ms, stretch *out, char why[TEXT_MAX]);
/* Ends the process. False, with a line in `why`, if it did not exit with 0. Fine for one not started. */
bool actor_end(actor *a, char why[TEXT_MAX]);

/* The other side: the life of that process, from main. */
int actor_main(void);

#endif
