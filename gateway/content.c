/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The scanner of what follows DATA; see content.h.
 *
 * Only CRLF ends a line and only CRLF.CRLF ends a message (RFC 5321, 2.3.8 and 4.1.1.4). Servers that thought
 * otherwise let strangers smuggle a second message into the first (CVE-2023-51764), so a CR or LF alone makes
 * the whole message refused; it is never repaired, since what we pass on must mean the same to everybody.
 */
#include "content.h"

#include <emmintrin.h>
#include <string.h>
#include <strings.h>

#define BLOCK 64u /* bytes that are looked at in one go */

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
    if (c->size > c->limits.message)
        note_fault(c, CONTENT_TOO_BIG);
    c->line_length = 0;
    c->start_length = 0;
    c->in_line = false;
}

/* ---- Many lines at once ---- */

/* Bit i: byte i of the block is `wanted`. */
static uint64_t bytes_equal(const __m128i block[BLOCK / 16], char wanted)
{
    const __m128i all = _mm_set1_epi8(wanted);
    uint64_t found = 0;

    for (unsigned i = 0; i < BLOCK / 16; i++)
        found |= (uint64_t)(unsigned)_mm_movemask_epi8(_mm_cmpeq_epi8(block[i], all)) << (16 * i);
    return found;
}

static bool has_nul(const __m128i block[BLOCK / 16])
{
    __m128i least = block[0];

    for (unsigned i = 1; i < BLOCK / 16; i++)
        least = _mm_min_epu8(least, block[i]);
    return _mm_movemask_epi8(_mm_cmpeq_epi8(least, _mm_setzero_si128())) != 0;
}

/* Bit i of `starts`: a line starts with byte i. Of the lines of a mail few start in a block, so each is looked at. */
static bool has_dot(const uint8_t *in, uint64_t starts)
{
    for (; starts != 0; starts &= starts - 1)
        if (in[__builtin_ctzll(starts)] == '.')
            return true;
    return false;
}

/* Where the line stands that a run of blocks has come to. */
struct run {
    size_t length;   /* of the blocks so far */
    size_t line;     /* bytes of the line, with a CR that may come to its end */
    bool after_cr;   /* the byte before the next block is one */
    bool line_start; /* the next block begins a line */
};

/*
 * True if the block holds clean lines only, whole or in part: each CR before an LF and the other way round, no NUL, no
 * dot at the start of a line, no line too long. All else is for the code that looks line by line.
 */
static bool block_is_clean(struct run *run, const uint8_t *in, size_t line_max)
{
    __m128i block[BLOCK / 16];
    uint64_t lf, cr;
    size_t first, text;

    for (unsigned i = 0; i < BLOCK / 16; i++)
        block[i] = _mm_loadu_si128((const __m128i *)(const void *)(in + 16 * i));
    lf = bytes_equal(block, '\n');
    cr = bytes_equal(block, '\r');
    if (lf != (cr << 1 | run->after_cr) || has_nul(block) || has_dot(in, lf << 1 | run->line_start))
        return false;
    /* Behind the first LF the lines of a block are shorter than any limit. */
    first = lf != 0 ? (unsigned)__builtin_ctzll(lf) : BLOCK;
    text = run->line + first - (lf != 0); /* without the CR */
    if (text > line_max)
        return false;
    run->length += BLOCK;
    run->line = lf != 0 ? (unsigned)__builtin_clzll(lf) : run->line + BLOCK;
    run->after_cr = cr >> (BLOCK - 1);
    run->line_start = lf >> (BLOCK - 1);
    return true;
}

/*
 * Takes blocks of clean lines of the body: of a big message nearly all. Returns how many bytes; what follows them is
 * looked at line by line, be it clean or not.
 */
static size_t take_clean(struct content *c, const uint8_t *in, size_t len)
{
    struct run run = {.line = c->line_length, .line_start = !c->in_line};

    if (!c->in_body || c->limits.line < BLOCK)
        return 0;
    while (len - run.length >= BLOCK && block_is_clean(&run, in + run.length, c->limits.line))
        ;
    if (run.length == 0)
        return 0;
    /* A CR at the end is not taken before the byte behind it is known. */
    run.length -= run.after_cr;
    run.line -= run.after_cr;
    c->size += run.length;
    c->line_length = run.line;
    c->in_line = run.line > 0;
    if (c->size > c->limits.message)
        note_fault(c, CONTENT_TOO_BIG);
    return run.length;
}

/* ---- The scanner ---- */

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
        at += take_clean(c, in + at, len - at);
        if (at == len)
            break;
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
