/* SPDX-License-Identifier: Apache-2.0 */
#include "notice.h"
#include "debug.h"
#include "text.h"

#include <stdarg.h>
#include <stdio.h>

void notice(const char *format, ...)
{
    char line[400];
    va_list ap;
    va_start(ap, format);
    (void)vsnprintf(line, sizeof(line), format, ap);
    va_end(ap);
    line_clean(line);
    (void)fprintf(stderr, "sealane: %s\n", line);
    debug_line("%s", line);
}
