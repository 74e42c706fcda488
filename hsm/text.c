/* SPDX-License-Identifier: Apache-2.0 */
#include "text.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool text_room(struct text *t, size_t more)
{
    size_t size = t->size ? t->size : 256;
    while (size < t->len + more + 1)
        size *= 2;
    if (size == t->size)
        return true;
    char *buf = realloc(t->buf, size);
    if (!buf) {
        t->failed = true;
        return false;
    }
    t->buf = buf;
    t->size = size;
    return true;
}

void text_add(struct text *t, const char *format, ...)
{
    char line[160]; /* formats are ours and short; free text goes through text_add_string */
    va_list ap;
    va_start(ap, format);
    int len = vsnprintf(line, sizeof(line), format, ap);
    va_end(ap);
    if (len < 0 || (size_t)len >= sizeof(line))
        t->failed = true;
    if (t->failed || !text_room(t, (size_t)len))
        return;
    memcpy(t->buf + t->len, line, (size_t)len + 1);
    t->len += (size_t)len;
}

/* Length of the UTF-8 sequence at `s` (RFC 3629 section 4), 0 if there is none. */
static size_t utf8_len(const unsigned char *s)
{
    size_t len = s[0] < 0x80                    ? 1
                 : s[0] >= 0xc2 && s[0] <= 0xdf ? 2
                 : s[0] >= 0xe0 && s[0] <= 0xef ? 3
                 : s[0] >= 0xf0 && s[0] <= 0xf4 ? 4
                                                : 0;
    for (size_t i = 1; i < len; i++) {
        if ((s[i] & 0xc0) != 0x80)
            return 0;
    }
    bool bad = (s[0] == 0xe0 && s[1] < 0xa0) || (s[0] == 0xed && s[1] > 0x9f) ||
               (s[0] == 0xf0 && s[1] < 0x90) || (s[0] == 0xf4 && s[1] > 0x8f);
    return bad ? 0 : len;
}

void text_add_string(struct text *t, const char *s)
{
    text_add(t, "\"");
    for (const unsigned char *p = (const unsigned char *)s; *p;) {
        size_t len = utf8_len(p);
        if (len == 0)
            text_add(t, "\\ufffd");
        else if (len == 1 && (*p < 0x20 || *p == 0x7f))
            text_add(t, "\\u%04x", *p);
        else
            text_add(t, "%s%.*s", *p == '"' || *p == '\\' ? "\\" : "", (int)len, (const char *)p);
        p += len ? len : 1;
    }
    text_add(t, "\"");
}

void line_clean(char *line)
{
    for (char *p = line; *p; p++) {
        if ((unsigned char)*p < 0x20 || *p == 0x7f)
            *p = '?';
    }
}
