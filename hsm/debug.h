/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The debug log: SEALANE_DEBUG=file:PATH. One line per call of Cryptoki, change of a token's state and login,
 * with time, process and thread. Functions, results, times and names of tokens and keys are in it; PINs,
 * digests, signatures and whatever else goes through a token as data never are, since nothing that writes a
 * line is given them.
 *
 * Set-uid and set-gid programs ignore the variable (secure_getenv(3)). The file is made with mode 0600; one
 * that is a symbolic link, no regular file or somebody else's is not written to.
 */
#ifndef HSM_DEBUG_H
#define HSM_DEBUG_H

#include <stdbool.h>
#include <stdint.h>

/* Opens the log if there is to be one; once per process and its children. */
void debug_init(void);
bool debug_is_on(void);
void debug_line(const char *format, ...) __attribute__((format(printf, 1, 2)));

#endif
