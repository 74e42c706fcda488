/* SPDX-License-Identifier: Apache-2.0 */
/* What the benchmarks' reports in JSON (RFC 8259) have in common: members, figures, the machine, the file. */
#ifndef BENCH_JSON_H
#define BENCH_JSON_H

#include <stdbool.h>
#include <stdio.h>
#include "machine.h"
#include "stats.h"
#include "target.h"

/* "name": "text", escaped. */
void json_text(FILE *to, const char *name, const char *text);
/* "name": {"p10": ..., "median": ..., "p90": ...} */
void json_spread(FILE *to, const char *name, spread s);
/* The members "machine", "build", "backends" and "forced_backend", with a comma behind. */
void json_machine(FILE *to, const machine *m);
/* The member "targets", without a comma. */
void json_targets(FILE *to, const target_outcome targets[], size_t count);

/* "-" is standard output. NULL, with a line on stderr that begins with the program's name, if it cannot be
 * written. */
FILE *json_open(const char *program, const char *path);
/* False, with a line on stderr, if something could not be written. */
bool json_close(const char *program, const char *path, FILE *to);

#endif
