/* SPDX-License-Identifier: Apache-2.0 */
#include "handshakes_tally.h"

#include <stdio.h>

/* Below 16 a bucket per number; from there on eight to each power of two. */
static unsigned bucket_of(uint64_t ns)
{
    if (ns < 16)
        return (unsigned)ns;
    unsigned power = 63 - (unsigned)__builtin_clzll(ns);
    return 16 + (power - 4) * 8 + (unsigned)(ns >> (power - 3) & 7);
}

/* The largest number that falls into it. */
static uint64_t bucket_end(unsigned bucket)
{
    if (bucket < 16)
        return bucket;
    unsigned power = (bucket - 16) / 8 + 4, part = (bucket - 16) % 8;
    return ((uint64_t)(9 + part) << (power - 3)) - 1;
}

void tally_done(struct tally *t, double ns)
{
    t->done++;
    t->buckets[bucket_of((uint64_t)(ns > 0 ? ns : 0))]++;
}

void tally_failed(struct tally *t, const char *why)
{
    if (t->failed++ == 0)
        snprintf(t->failure, sizeof(t->failure), "%s", why);
}

void tally_merge(struct tally *into, const struct tally *from)
{
    if (into->failed == 0 && from->failed > 0)
        snprintf(into->failure, sizeof(into->failure), "%s", from->failure);
    into->done += from->done;
    into->failed += from->failed;
    for (unsigned i = 0; i < TALLY_BUCKETS; i++)
        into->buckets[i] += from->buckets[i];
}

uint64_t tally_percentile(const struct tally *t, double share)
{
    uint64_t wanted = (uint64_t)(share * (double)t->done), seen = 0;

    if (t->done == 0)
        return 0;
    for (unsigned i = 0; i < TALLY_BUCKETS; i++) {
        seen += t->buckets[i];
        if (seen > 0 && seen >= wanted)
            return bucket_end(i);
    }
    return UINT64_MAX;
}
