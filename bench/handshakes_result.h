/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Comparing in turn. In each of the rounds of a case every contestant works for a short stretch, in an order
 * that moves by one from round to round; figures are compared only with figures of the same round. So what
 * else the machine does meets all of them alike.
 */
#ifndef BENCH_HANDSHAKES_RESULT_H
#define BENCH_HANDSHAKES_RESULT_H

#include "handshakes_actor.h"
#include "stats.h"

typedef struct measured {
    const contestant *who;
    stretch *stretches; /* one per round; NULL: it could not take part */
    uint64_t done, failed;
    char failure[TEXT_MAX]; /* why the first failed, or why it could not take part; "" */
} measured;

/* One case and what all did in it. */
typedef struct result {
    work work;
    unsigned rounds, stretch_ms;
    size_t count;
    measured entries[CONTESTANTS_MAX];
} result;

/* Works through one case. False, with a line on stderr, only if there is no memory. */
bool result_measure(result *r, const stage *s, const contestant *const who[], size_t count);
void result_free(result *r);

typedef double metric(const stretch *s);
double metric_cpu_us(const stretch *s); /* per handshake or signature */
double metric_rate(const stretch *s);   /* per second */
double metric_p99_ms(const stretch *s);
double metric_switches(const stretch *s); /* per handshake or signature */

/* NULL if it did not take part. */
const measured *result_of(const result *r, const char *name);
/* False, here and below, if one of them has no figures. */
bool result_metric(const result *r, const char *name, metric *m, spread *out);
bool result_ratio(const result *r, const char *above, const char *below, metric *m, spread *out);
/*
 * Microseconds of CPU that `name` takes per handshake over what must be: a handshake with a key in a file and,
 * for keys in a token, what C_Sign costs more than a signature by libcrypto.
 */
bool result_added(const result *r, const char *name, spread *out);
/*
 * The same for keys in a token, but over a handshake and C_Sign in turn on one thread, with caches as cold as
 * a handshake leaves them: what lies between TLS and token, and nothing else.
 */
bool result_between(const result *r, const char *name, spread *out);

#endif
