/* SPDX-License-Identifier: Apache-2.0 */
/* Values of command line options. All return false after a line on stderr that begins with the program's name. */
#ifndef BENCH_OPTION_H
#define BENCH_OPTION_H

#include <stdbool.h>
#include <stddef.h>

/* Says that --option cannot be `value`, and what is wanted; false. */
bool option_wrong(const char *program, const char *option, const char *value, const char *wanted);
bool option_number(const char *program, const char *option, const char *text, size_t min, size_t max,
                   size_t *out);
/* Hands the pieces of a list with commas to `take`, as long as it returns true. False: it did not, or out of memory. */
bool option_items(const char *list, bool (*take)(void *arg, const char *item), void *arg);
/* Numbers with commas in between, into `out` in ascending order and each once. */
bool option_numbers(const char *program, const char *option, const char *text, size_t min, size_t max,
                    size_t out[], size_t room, size_t *count);

#endif
