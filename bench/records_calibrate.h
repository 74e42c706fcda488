/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which backend is best for which cipher, use (sealing or opening, alone or in a batch) and size class on this CPU: measured anew, to be compared
 * with what dispatch chose, or to become the engine's table (engine/calibration.c).
 */
#ifndef BENCH_RECORDS_CALIBRATE_H
#define BENCH_RECORDS_CALIBRATE_H

#include <stdbool.h>
#include <stddef.h>
#include "machine.h"
#include "records_subject.h"

/* Both give false, with a line on stderr, if measuring or writing failed. Subjects that are not carried are
 * passed over. */

/* Prints, on standard output, dispatch's choice with its reason beside what measures fastest now. */
bool calibrate_list(const subject subjects[], size_t count, size_t rounds);

/*
 * Writes the whole of engine/calibration.c to `path` ("-": standard output): rows for this class of CPU as
 * measured, and the rows of the present table for everything that was not measured. Takes a usable backend's
 * rank from this build: measure a release.
 */
bool calibrate_write(const char *path, const subject subjects[], size_t count, size_t rounds,
                     const machine *m);

#endif
