/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The file that witness.so writes sealane.so's counters into: this structure, in the machine's byte order, made by
 * the test (all zero, of this size) and mapped by every process that loads the provider. The sum over the rows is
 * what all processes of a daemon did.
 */
#ifndef TESTS_WITNESS_H
#define TESTS_WITNESS_H

#include <stdatomic.h>
#include <stdint.h>

enum { WITNESS_ROWS = 1023 };

/* One process: records that the engine has sealed, opened and refused in it. */
struct witness_row {
    _Atomic uint64_t pid, sealed, opened, forged;
};

struct witness_file {
    _Atomic uint64_t rows_used, spare[3];
    struct witness_row rows[WITNESS_ROWS];
};

#endif
