/* SPDX-License-Identifier: Apache-2.0 */
/* Text that is put together piece by piece, and what may not be in it. */
#ifndef HSM_TEXT_H
#define HSM_TEXT_H

#include <stdbool.h>
#include <stddef.h>

/* Text that grows. After a failure (out of memory) `failed` is set and nothing more is added. */
struct text {
    char *buf; /* free(3) */
    size_t len, size;
    bool failed;
};
void text_add(struct text *t, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* As a JSON string with its quotes (RFC 8259 section 7). Whatever is no UTF-8 becomes U+FFFD. */
void text_add_string(struct text *t, const char *s);

/* Labels come from tokens and settings: whatever they hold, a line of a log stays one line. */
void line_clean(char *line);

#endif
