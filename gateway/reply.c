/* SPDX-License-Identifier: Apache-2.0 */
/* SMTP replies; see reply.h. */
#include "reply.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

void reply_clear(struct reply *r)
{
    r->code = 0;
    r->lines = 0;
    r->length = 0;
    r->text[0] = '\0';
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

/* Text of a stranger goes to another stranger and to the log: printable ASCII only (RFC 5321, 4.2.1). */
static void append_text(struct reply *r, const char *text, size_t len)
{
    if (r->lines > 0 && r->length + 1 < sizeof r->text)
        r->text[r->length++] = '\n';
    for (size_t i = 0; i < len && r->length + 1 < sizeof r->text; i++)
        r->text[r->length++] = text[i] >= 0x20 && text[i] <= 0x7e ? text[i] : '?';
    r->text[r->length] = '\0';
    r->lines++;
}

enum reply_status reply_take_line(struct reply *r, const char *line, size_t len)
{
    int code;
    bool last;

    if (len < 3 || line[0] < '2' || line[0] > '5' || !is_digit(line[1]) || !is_digit(line[2]))
        return REPLY_BAD;
    code = (line[0] - '0') * 100 + (line[1] - '0') * 10 + (line[2] - '0');
    if (len > 3 && line[3] != ' ' && line[3] != '-')
        return REPLY_BAD;
    if (r->lines > 0 && (code != r->code || r->lines >= REPLY_LINES))
        return REPLY_BAD;
    last = len == 3 || line[3] == ' ';
    r->code = code;
    append_text(r, len > 4 ? line + 4 : "", len > 4 ? len - 4 : 0);
    return last ? REPLY_DONE : REPLY_MORE;
}

void reply_set(struct reply *r, const char *text)
{
    reply_clear(r);
    (void)reply_take_line(r, text, strlen(text));
}

/* Length of an enhanced status code "c.ddd.ddd" at the start of `text`, 0 if there is none. */
static size_t enhanced_length(const char *text, size_t len)
{
    size_t at = 1;

    if (len < 5 || (text[0] != '2' && text[0] != '4' && text[0] != '5'))
        return 0;
    for (int part = 0; part < 2; part++) {
        size_t digits = 0;
        if (at >= len || text[at] != '.')
            return 0;
        for (at++; at < len && is_digit(text[at]); at++)
            digits++;
        if (digits < 1 || digits > 3)
            return 0;
    }
    return at == len || text[at] == ' ' ? at : 0;
}

size_t reply_format(const struct reply *r, char *out, size_t size)
{
    const char *line = r->text;
    size_t used = 0;
    int class = r->code / 100;

    for (;;) {
        const char *end = strchr(line, '\n');
        size_t len = end != NULL ? (size_t)(end - line) : strlen(line);
        size_t code = enhanced_length(line, len);
        /* Cut rather than overflow: the last line must still come, or the sender waits for it. */
        bool last = end == NULL || used + 2 * (REPLY_TEXT_MAX / 4) + 64 > size;
        if (len > REPLY_TEXT_MAX / 4)
            len = REPLY_TEXT_MAX / 4;
        used += (size_t)snprintf(out + used, size - used, "%03d%c", r->code, last ? ' ' : '-');
        if (class != 3 && (code == 0 || line[0] - '0' != class)) {
            used += (size_t)snprintf(out + used, size - used, "%d.0.0 ", class);
            if (code > 0) { /* a code of another class would contradict the reply: drop it */
                line += code < len ? code + 1 : len;
                len -= code < len ? code + 1 : len;
            }
        }
        used += (size_t)snprintf(out + used, size - used, "%.*s\r\n", (int)len, line);
        if (last)
            break;
        line = end + 1;
    }
    return used;
}

bool reply_keyword(const struct reply *r, const char *keyword, const char **args, size_t *args_len)
{
    size_t want = strlen(keyword);
    const char *line = strchr(r->text, '\n');

    while (line != NULL) {
        line++;
        size_t len = strcspn(line, "\n");
        if (len >= want && strncasecmp(line, keyword, want) == 0 && (len == want || line[want] == ' ')) {
            *args = line + want + (len > want);
            *args_len = len - want - (len > want);
            return true;
        }
        line = strchr(line, '\n');
    }
    return false;
}
