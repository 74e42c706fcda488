/* SPDX-License-Identifier: Apache-2.0 */
/*
 * SMTP command lines: verbs, mail paths and the parameters of MAIL. Pure: no I/O, no allocation.
 */
#ifndef GATEWAY_COMMAND_H
#define GATEWAY_COMMAND_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum verb {
    VERB_EHLO,
    VERB_HELO,
    VERB_STARTTLS,
    VERB_MAIL,
    VERB_RCPT,
    VERB_DATA,
    VERB_RSET,
    VERB_NOOP,
    VERB_VRFY,
    VERB_QUIT,
    VERB_KNOWN, /* commands that exist and that we do not offer: EXPN, HELP, TURN, BDAT, AUTH, ... */
    VERB_HTTP,  /* a browser was made to talk to us */
    VERB_OTHER,
    VERB_COUNT,
};

/* One command line, pointing into the caller's bytes. */
struct command {
    enum verb verb;
    const char *args; /* after the verb and its blanks */
    size_t args_len;  /* without trailing blanks */
};

void command_parse(struct command *out, const char *line, size_t len);

/* RFC 5321, 4.5.3.1: 64 for the local part, 255 for the domain, 256 for the path. Longer ones are refused. */
#define PATH_MAX_LEN   320u
#define DOMAIN_MAX_LEN 255u

/* A reverse or forward path without its angle brackets and source route. */
struct path {
    char text[PATH_MAX_LEN + 1]; /* "" is the null reverse-path */
    size_t domain;               /* offset of the domain in `text`; the length of `text` if there is none */
    bool utf8;                   /* not ASCII: needs SMTPUTF8 all the way (RFC 6531) */
};

struct mail_parameters {
    uint64_t size; /* SIZE=, RFC 1870 */
    bool has_size;
    bool body_8bit; /* BODY=8BITMIME, RFC 6152 */
    bool has_body;
    bool smtputf8;   /* RFC 6531 */
    char ret[5];     /* RET=, RFC 3461, 4.3: "FULL", "HDRS" or "" */
    char envid[101]; /* ENVID=, RFC 3461, 4.4, as it came; "" if it did not */
};

/* Of RCPT, RFC 3461, 4.1 and 4.2, as they came; "" if they did not. */
struct recipient_parameters {
    char notify[29]; /* the longest is "SUCCESS,FAILURE,DELAY" */
    char orcpt[501];
};

/*
 * The argument of MAIL ("FROM:<path> parameters") and RCPT ("TO:<path> parameters"). They return NULL, or the whole
 * reply line (static, without CRLF) that says what is wrong.
 */
const char *command_parse_mail(const char *args, size_t len, struct path *path,
                               struct mail_parameters *params);
const char *command_parse_rcpt(const char *args, size_t len, struct path *path,
                               struct recipient_parameters *params);

/* A name that may stand in EHLO, logs and trace fields: a domain or an address literal, nothing else. */
bool command_is_helo_name(const char *name, size_t len);

/* True if `text` is well-formed UTF-8 (RFC 3629): no overlong forms, no surrogates, nothing past U+10FFFF. */
bool text_is_utf8(const char *text, size_t len);

#endif
