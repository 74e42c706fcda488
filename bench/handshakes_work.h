/* SPDX-License-Identifier: Apache-2.0 */
/* What is measured: one case of the benchmark, who takes part in it, and what a stretch of it came to. */
#ifndef BENCH_HANDSHAKES_WORK_H
#define BENCH_HANDSHAKES_WORK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define AT_ONCE_MAX 1024
#define TEXT_MAX    512

typedef enum key_kind { KEY_RSA, KEY_EC, KEY_ED25519, KEY_KINDS } key_kind;

/* One case. */
typedef struct work {
    key_kind key;
    int tls;             /* 12 or 13 */
    unsigned latency_ms; /* that the module waits in each C_Sign */
    unsigned at_once;    /* threads, or connections of the one event loop, or signatures asked for */
} work;

/* Which provider the process has loaded besides the default one. */
typedef enum loaded { LOADED_NONE, LOADED_SEALANE, LOADED_PEER } loaded;

typedef enum activity {
    DO_HANDSHAKES, /* a thread for each handshake at a time: the thread waits for the token */
    DO_LOOP,       /* one thread for all of them, whose handshakes are ASYNC jobs */
    DO_BOTH,       /* a handshake with a key in a file, then C_Sign by the same thread */
    DO_TOKEN,      /* C_SignInit and C_Sign, nothing else: the limit */
    DO_SOFTWARE,   /* libcrypto's signature with a key in memory, nothing else */
} activity;

typedef struct contestant {
    const char *name;
    const char *what;
    loaded loaded;
    bool token; /* the key is in the token, else in a file */
    activity activity;
} contestant;

#define CONTESTANTS_MAX 16

/* What one contestant did in one stretch of time. */
typedef struct stretch {
    uint64_t done, failed;
    uint64_t wall_ns, cpu_ns; /* CPU of the whole process: client, server and workers */
    uint64_t switches;        /* of context, voluntary and not */
    uint64_t p50_ns, p99_ns;  /* of one handshake, from first to last byte */
    char failure[TEXT_MAX];   /* why the first of them failed; "" */
} stretch;

/* All that there are, in the order of reports. */
const contestant *contestants_list(size_t *count);
/* NULL: none of that name. */
const contestant *contestant_find(const char *name);

const char *key_name(key_kind key); /* "RSA-2048" */
/* False for what is the same as another case: only tokens wait, only threads and connections can be many. */
bool contestant_fits(const contestant *who, const work *w);

#endif
