/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The scanner of what follows DATA; see content.h.
 *
 * Only CRLF ends a line and only CRLF.CRLF ends a message (RFC 5321, 2.3.8 and 4.1.1.4). Servers that thought
 * otherwise let strangers smuggle a second message into the first (CVE-2023-51764), so a CR or LF alone makes
 * the whole message refused; it is never repaired, since what we pass on must mean the same to everybody.
 */
#include "content.h"

#include <string.h>
#include <strings.h>

static const char received_field[] = "received:";

void content_start(struct content *c, const struct content_limits *limits)
{
    memset(c, 0, sizeof *c);
    c->limits = *limits;
}

static void note_fault(struct content *c, enum content_fault fault)
{
    if (c->fault == CONTENT_OK)
        c->fault = fault;
}

/* Takes `len` bytes of a line's text (no CRLF in them) into account. */
static void take_text(struct content *c, const uint8_t *text, size_t len)
{
    if (len == 0)
        return;
    if (memchr(text, '\0', len) != NULL)
        note_fault(c, CONTENT_NUL);
    if (memchr(text, '\r', len) != NULL)
        note_fault(c, CONTENT_BARE_CR);

    if (!c->in_body) {
        size_t want = sizeof c->start - c->start_length;
        size_t part = len < want ? len : want;
        memcpy(c->start + c->start_length, text, part);
        c->start_length += part;
        c->header_length += len;
        if (c->header_length > c->limits.header)
            note_fault(c, CONTENT_HEADER_TOO_BIG);
    }
    c->in_line = true;
    c->line_length += len;
    c->size += len;
    if (c->line_length > c->limits.line)
        note_fault(c, CONTENT_LINE_TOO_LONG);
    if (c->size > c->limits.message)
        note_fault(c, CONTENT_TOO_BIG);
}

static bool begins_with(const struct content *c, const char *text, size_t len)
{
    return c->start_length >= len && strncasecmp((const char *)c->start, text, len) == 0;
}

static void end_line(struct content *c)
{

    if (!c->in_body) {
        c->header_length += 2;
        if (c->line_length == 0)
            c->in_body = true;
        else if (begins_with(c, received_field, sizeof received_field - 1) && ++c->hops > c->limits.hops)
            note_fault(c, CONTENT_TOO_MANY_HOPS);
        else if (c->limits.mark != NULL && begins_with(c, c->limits.mark, strlen(c->limits.mark)))
            note_fault(c, CONTENT_MARKED);
    }
    c->size += 2;
    c->line_length = 0;
    c->start_length = 0;
    c->in_line = false;
}

/*
 * At the start of a line that begins with a dot. Returns the bytes to skip as transparency (RFC 5321, 4.5.2):
 * 1 for a stuffed dot; 0 with `*end` or `*wait` set when it is the end, or may become it.
 */
static size_t take_dot(const uint8_t *in, size_t len, bool *end, bool *wait)
{
    if (len >= 3 && in[1] == '\r' && in[2] == '\n') {
        *end = true;
        return 0;
    }
    if (len == 1 || (len == 2 && in[1] == '\r')) {
        *wait = true;
        return 0;
    }
    return 1;
}

size_t content_scan(struct content *c, const uint8_t *in, size_t len, bool *end)
{
    size_t at = 0;
    bool wait = false;

    *end = false;
    while (at < len) {
        if (!c->in_line && in[at] == '.') {
            size_t skip = take_dot(in + at, len - at, end, &wait);
            if (*end || wait)
                break;
            at += skip;
            c->in_line = true;
        }
        const uint8_t *text = in + at;
        const uint8_t *lf = memchr(text, '\n', len - at);
        if (lf == NULL) {
            size_t part = len - at;
            /* A CR at the very end may be half of a CRLF. */
            if (text[part - 1] == '\r')
                part--;
            take_text(c, text, part);
            at += part;
            break;
        }
        size_t line = (size_t)(lf - text);
        if (line > 0 && lf[-1] == '\r') {
            take_text(c, text, line - 1);
            end_line(c);
        } else {
            /* Not a line end to us: a dot behind it is in the middle of a line and ends nothing. */
            note_fault(c, CONTENT_BARE_LF);
            take_text(c, text, line);
            c->in_line = true;
        }
        at += line + 1;
    }
    return at;
}

const char *content_fault_reply(enum content_fault fault)
{
    switch (fault) {
    case CONTENT_BARE_LF:
        return "550 5.6.0 Bare LF in message: lines end with CRLF (RFC 5321, 2.3.8)";
    case CONTENT_BARE_CR:
        return "550 5.6.0 Bare CR in message: lines end with CRLF (RFC 5321, 2.3.8)";
    case CONTENT_NUL:
        return "550 5.6.0 NUL in message";
    case CONTENT_LINE_TOO_LONG:
        return "550 5.6.0 Line too long in message";
    case CONTENT_HEADER_TOO_BIG:
        return "552 5.3.4 Header section too big";
    case CONTENT_TOO_MANY_HOPS:
        return "554 5.4.6 Too many hops: mail loop";
    case CONTENT_TOO_BIG:
        return "552 5.3.4 Message too big";
    case CONTENT_MARKED:
        return "451 4.4.6 The queue has had this message before and does not get it again";
    case CONTENT_OK:
        break;
    }
    return "451 4.3.0 Message refused";
}
