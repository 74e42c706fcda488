/* SPDX-License-Identifier: Apache-2.0 */
/* Counts what a thread got done, and how long each took, in buckets an eighth of an octave wide. */
#ifndef BENCH_HANDSHAKES_TALLY_H
#define BENCH_HANDSHAKES_TALLY_H

#include "handshakes_work.h"

#define TALLY_BUCKETS 512

struct tally {
    uint64_t done, failed;
    uint64_t buckets[TALLY_BUCKETS];
    char failure[TEXT_MAX]; /* the first */
};

void tally_done(struct tally *t, double ns);
void tally_failed(struct tally *t, const char *why);
void tally_merge(struct tally *into, const struct tally *from);
/* The time that `share` of what was done did not exceed, at most 13% too much; 0 if nothing was done. */
uint64_t tally_percentile(const struct tally *t, double share);

#endif
