/* SPDX-License-Identifier: Apache-2.0 */
/* A futex as a bell; see bell.h. */
#include "bell.h"

#include <errno.h>
#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { SILENT, RUNG, AWAITED };

static long futex(bell *b, int operation, unsigned value, const struct timespec *deadline)
{
    return syscall(SYS_futex, b, operation | FUTEX_PRIVATE_FLAG, value, deadline, NULL,
                   FUTEX_BITSET_MATCH_ANY);
}

void bell_reset(bell *b)
{
    atomic_store(b, SILENT);
}

bool bell_wait(bell *b, const struct timespec *deadline)
{
    unsigned is = SILENT;
    (void)atomic_compare_exchange_strong(b, &is, AWAITED);
    while (atomic_load(b) != RUNG) {
        /* futex(2): with BITSET the time is absolute, and CLOCK_MONOTONIC's. */
        if (futex(b, FUTEX_WAIT_BITSET, AWAITED, deadline) != 0 && errno == ETIMEDOUT)
            break;
    }
    return atomic_load(b) == RUNG;
}

void bell_ring(bell *b)
{
    if (atomic_exchange(b, RUNG) == AWAITED)
        (void)futex(b, FUTEX_WAKE, 1, NULL);
}
