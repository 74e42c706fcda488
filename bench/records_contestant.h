/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who is compared. A contestant is a way to seal or open the records of a workload; a runner is one that has
 * its keys expanded and its records laid out. One file per family, records_contestant_*.c; the list is in
 * records_contestants.c.
 *
 * A runner lives so: begin, then (restore, run, verify)*, then end. Only run is timed.
 */
#ifndef BENCH_RECORDS_CONTESTANT_H
#define BENCH_RECORDS_CONTESTANT_H

#include <stdbool.h>
#include <stddef.h>
#include "backend.h"
#include "records_workload.h"

#define CONTESTANTS_MAX 32

typedef struct contestant contestant;

/* Families embed it as the first member of their own structure. */
typedef struct runner {
    const contestant *who;
    ring *ring;   /* NULL: the family keeps its records elsewhere */
    size_t count; /* records in one run */
} runner;

struct contestant {
    const char *name;       /* in tables, JSON, plots and --only: "backend-vaes" */
    const char *what;       /* one line for --help and legends */
    const backend *backend; /* of the direct ones */
    /* Does it carry that cipher, and is a batch of that many anything to it? */
    bool (*carries)(const contestant *who, const workload *load);
    /* NULL if it cannot be set up. */
    runner *(*begin)(const contestant *who, const workload *load);
    /* Makes the next run possible. NULL: ring_restore() is all it takes. */
    bool (*restore)(runner *r);
    /* False if a record failed. */
    bool (*run)(runner *r);
    /* NULL: ring_verify() */
    bool (*verify)(runner *r);
    /* Frees everything but the ring. */
    void (*end)(runner *r);
};

extern const contestant contestant_aead;
extern const contestant contestant_record;
extern const contestant contestant_batch;
extern const contestant contestant_evp_tls13;
extern const contestant contestant_evp_tls12;
extern const contestant contestant_libssl, contestant_libssl_sealane;
extern const contestant contestant_libssl_tls12, contestant_libssl_tls12_sealane;
extern const contestant contestant_libssl_long, contestant_libssl_long_sealane;
extern const contestant contestant_ipsec_mb;
extern const contestant contestant_bound; /* records_bound.h */
extern const contestant contestant_bound_mixed;

/* Fills in the contestant that calls a backend's table directly. */
void contestant_of_backend(contestant *out, const backend *be);

/* All of them, the bounds last. Static. */
const contestant *const *contestants_list(size_t *count);
/* By name, NULL if there is none. */
const contestant *contestant_find(const char *name);

/* The steps with their defaults. */
runner *runner_begin(const contestant *who, const workload *load);
bool runner_restore(runner *r);
bool runner_run(runner *r);
bool runner_verify(runner *r);
void runner_end(runner *r);

#endif
