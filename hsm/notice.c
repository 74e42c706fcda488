/* SPDX-License-Identifier: Apache-2.0 */
#include "notice.h"

#include <stdarg.h>
#include <stdio.h>

void notice(const char *format, ...)
{
    char line[400];
    va_list ap;
    va_start(ap, format);
    (void)vsnprintf(line, sizeof(line), format, ap);
    va_end(ap);
    for (char *p = line; *p;
         p++) { /* labels come from tokens: whatever they hold, a log line stays one line */
        if ((unsigned char)*p < 0x20 || *p == 0x7f)
            *p = '?';
    }
    (void)fprintf(stderr, "sealane: %s\n", line);
}
