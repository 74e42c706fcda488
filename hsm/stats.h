/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is counted of one token: operations by kind, how long they took from the caller's request to the
 * result, and errors by name. Counters only grow and are changed atomically; a child of fork goes on from its
 * parent's.
 */
#ifndef HSM_STATS_H
#define HSM_STATS_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "sealane/hsm.h"
#include "text.h"

/* Kinds of tasks. New ones get a name in stats.c. */
enum stats_op { STATS_OTHER, STATS_SIGN, STATS_DECRYPT, STATS_DERIVE, STATS_GENERATE, STATS_FIND, STATS_OPS };

enum {
    STATS_BUCKETS = 28,  /* bucket i: less than 2^i microseconds; the last one has everything above, too */
    STATS_CKRS = 32,     /* different CK_RVs that are told apart; more are counted as others */
    STATS_STATUSES = 32, /* more than there are values of hsm_status */
};

typedef atomic_uint_fast64_t stats_count;

struct stats {
    struct {
        stats_count done, failed, us;
        stats_count bucket[STATS_BUCKETS];
    } op[STATS_OPS];
    struct {
        _Atomic(unsigned long) ckr; /* 0: free */
        stats_count times;
    } error[STATS_CKRS];
    stats_count error_other;
    stats_count error_ours[STATS_STATUSES]; /* by hsm_status, of errors without a CK_RV behind them */
    atomic_uint queued_max;
};

/* Microseconds on the monotonic clock. */
uint64_t stats_now(void);
/* One task is over, `us` after it was asked for. `err` says how. */
void stats_add(struct stats *s, enum stats_op op, const hsm_error *err, uint64_t us);
/* So many tasks wait now. */
void stats_queued(struct stats *s, unsigned queued);

/* "operations":{...},"errors":{...} */
void stats_write(const struct stats *s, struct text *out);

#endif
