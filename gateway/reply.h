/* SPDX-License-Identifier: Apache-2.0 */
/*
 * SMTP replies: reading the next hop's line by line, and writing them to a sender in a form that is safe to
 * pass on. Pure: no I/O, no allocation.
 */
#ifndef GATEWAY_REPLY_H
#define GATEWAY_REPLY_H

#include <stdbool.h>
#include <stddef.h>

#define REPLY_TEXT_MAX 2048u /* of a stored reply: what is longer is cut, it is only text for people */
#define REPLY_LINES    100u  /* more lines than this in one reply is no SMTP server */
/* Room for any reply that reply_format writes. */
#define REPLY_OUT_MAX 4096u

struct reply {
    int code; /* 200 to 599, 0 before the first line */
    unsigned lines;
    char text[REPLY_TEXT_MAX]; /* lines without code, each but the last followed by '\n'; printable ASCII */
    size_t length;
};

enum reply_status { REPLY_MORE, REPLY_DONE, REPLY_BAD };

void reply_clear(struct reply *r);
/* Takes one line without its CRLF (RFC 5321, 4.2.1). REPLY_BAD: not a reply, or codes that differ. */
enum reply_status reply_take_line(struct reply *r, const char *line, size_t len);
/* Sets a reply of our own. `text` is one line starting with code and enhanced code: "451 4.4.1 ...". */
void reply_set(struct reply *r, const char *text);
/*
 * Writes the reply with CRLFs for a sender that was promised ENHANCEDSTATUSCODES: every 2xx, 4xx and 5xx line
 * gets an enhanced code of the right class (RFC 2034, section 4) if the next hop gave none. Returns the
 * length; `size` must be REPLY_OUT_MAX.
 */
size_t reply_format(const struct reply *r, char *out, size_t size);
/* True if a line after the first (the greeting) of an EHLO reply names `keyword`; `*args` is what follows. */
bool reply_keyword(const struct reply *r, const char *keyword, const char **args, size_t *args_len);

#endif
