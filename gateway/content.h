/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The scanner of what follows DATA: finds the end, insists on clean lines, counts what is limited.
 *
 * The stream is passed on as it came. Dots stay stuffed, because the next hop expects them stuffed; so the
 * only change to a message is the Received field that the session puts on top. Pure: no I/O, no allocation.
 */
#ifndef GATEWAY_CONTENT_H
#define GATEWAY_CONTENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct content_limits {
    size_t line;      /* longest line without CRLF */
    size_t header;    /* bytes of the header section */
    unsigned hops;    /* Received fields, RFC 5321 section 6.3 */
    uint64_t message; /* bytes without the stuffed dots, RFC 1870 section 5 */
    const char *mark; /* no line of the header may begin like this; NULL: any may */
};

#define CONTENT_MARK_MAX 320u /* bytes of a mark */

/* The first thing wrong with a message; CONTENT_OK while nothing is. */
enum content_fault {
    CONTENT_OK = 0,
    CONTENT_BARE_LF,
    CONTENT_BARE_CR,
    CONTENT_NUL,
    CONTENT_LINE_TOO_LONG,
    CONTENT_HEADER_TOO_BIG,
    CONTENT_TOO_MANY_HOPS,
    CONTENT_TOO_BIG,
    CONTENT_MARKED,
};

struct content {
    struct content_limits limits;
    enum content_fault fault;
    bool in_body;
    bool in_line;       /* bytes of the current line were taken already */
    size_t line_length; /* of the current line so far, stuffed dot not counted */
    size_t header_length;
    unsigned hops;
    uint64_t size;
    uint8_t start[CONTENT_MARK_MAX]; /* how the current line begins: enough for "Received:" and any mark */
    size_t start_length;
};

void content_start(struct content *c, const struct content_limits *limits);

/*
 * Scans `in` and returns how many bytes it took. What it took is to be passed on, in order, unless c->fault
 * is set. `*end` becomes true when <CRLF>.<CRLF> was reached: those last three bytes (".\r\n") are not
 * counted in the return value, and the caller removes them. A tail that could become the end or half of a
 * CRLF is not taken (at most two bytes); offer it again with more behind it.
 */
size_t content_scan(struct content *c, const uint8_t *in, size_t len, bool *end);

/* What the sender is told about a fault: a whole SMTP reply line without CRLF. Static. */
const char *content_fault_reply(enum content_fault fault);

#endif
