/* SPDX-License-Identifier: Apache-2.0 */
/* The pure parts of the gateway: content scanner, replies, command lines, log values. */
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <CUnit/Basic.h>
#include "buffer.h"
#include "command.h"
#include "content.h"
#include "log.h"
#include "memory.h"
#include "reply.h"

/* ---- Content ---- */

static const struct content_limits wide = {.line = 2048, .header = 100000, .hops = 50, .message = 1 << 20};

struct outcome {
    uint8_t passed[8192]; /* what goes to the next hop */
    size_t passed_length;
    size_t left; /* behind the end */
    bool ended;
    struct content content;
};

/* Feeds `text` in pieces of `step` bytes, as a connection would: what is not taken is offered again. */
static void feed(struct outcome *o, const struct content_limits *limits, const char *text, size_t len,
                 size_t step)
{
    size_t at = 0, have = 0;

    memset(o, 0, sizeof *o);
    content_start(&o->content, limits);
    while (!o->ended && (have < len || at < have)) {
        size_t before = at;
        have = have + step < len ? have + step : len;
        size_t taken = content_scan(&o->content, (const uint8_t *)text + at, have - at, &o->ended);
        memcpy(o->passed + o->passed_length, text + at, taken);
        o->passed_length += taken;
        at += taken + (o->ended ? 3 : 0);
        if (have == len && at == before)
            break;
    }
    o->left = len - at;
}

/* Whatever the pieces, the outcome is the same. */
static void expect_content(const char *text, size_t len, enum content_fault fault, bool ended, size_t left)
{
    struct outcome o;

    for (size_t step = 1; step <= len; step++) {
        feed(&o, &wide, text, len, step);
        CU_ASSERT_EQUAL(o.content.fault, fault);
        CU_ASSERT_EQUAL(o.ended, ended);
        CU_ASSERT_EQUAL(o.left, left);
        CU_ASSERT_EQUAL(o.passed_length, len - left - (ended ? 3 : 0));
        CU_ASSERT(memcmp(o.passed, text, o.passed_length) == 0);
    }
}

#define EXPECT(text, fault, ended, left) expect_content(text, sizeof(text) - 1, fault, ended, left)

static void content_ends_at_crlf_dot_crlf_only(void)
{
    EXPECT(".\r\n", CONTENT_OK, true, 0);
    EXPECT("\r\n.\r\n", CONTENT_OK, true, 0);
    EXPECT("Subject: x\r\n\r\nhello\r\n.\r\nQUIT\r\n", CONTENT_OK, true, 6);
    EXPECT("a\r\n..\r\n.b\r\n...\r\n.\r\n", CONTENT_OK, true, 0);
    EXPECT("a.\r\n.\r\n", CONTENT_OK, true, 0);
    EXPECT("a\r\n. \r\n.\r\n", CONTENT_OK, true, 0);
    EXPECT("a\r\n", CONTENT_OK, false, 0);
    EXPECT("a\r\n.", CONTENT_OK, false, 1);
    EXPECT("a\r\n.\r", CONTENT_OK, false, 2);
    EXPECT("a\r", CONTENT_OK, false, 1);
}

static void content_with_other_ends_is_at_fault_and_goes_on(void)
{
    EXPECT("a\n.\n\r\n.\r\n", CONTENT_BARE_LF, true, 0);
    EXPECT("a\n.\r\nMAIL\r\n.\r\n", CONTENT_BARE_LF, true, 0);
    EXPECT("a\r\n\n.\r\nMAIL\r\n.\r\n", CONTENT_BARE_LF, true, 0);
    EXPECT("\n.\r\nMAIL\r\n.\r\n", CONTENT_BARE_LF, true, 0);
    EXPECT("a\r\n.\n.\r\nb\r\n.\r\n", CONTENT_BARE_LF, true, 0);
    EXPECT("a\r.\r\nb\r\n.\r\n", CONTENT_BARE_CR, true, 0);
    EXPECT("a\r\n.\rb\r\n.\r\n", CONTENT_BARE_CR, true, 0);
    EXPECT("a\r\r\n.\r\n", CONTENT_BARE_CR, true, 0);
    EXPECT("a\0b\r\n.\r\n", CONTENT_NUL, true, 0);
    EXPECT("a\r\n.\0\r\n.\r\n", CONTENT_NUL, true, 0);
}

static void content_limits_hold_to_the_byte(void)
{
    const struct content_limits tight = {.line = 10, .header = 40, .hops = 1, .message = 60};
    struct outcome o;
    static const struct {
        const char *text;
        enum content_fault fault;
    } rows[] = {
        {"0123456789\r\n.\r\n", CONTENT_OK},
        {"0123456789x\r\n.\r\n", CONTENT_LINE_TOO_LONG},
        {".0123456789\r\n.\r\n", CONTENT_OK}, /* the stuffed dot is no part of the line */
        {"a: 34567\r\nb: 34567\r\nc: 34567\r\nd: 34567\r\n\r\n.\r\n", CONTENT_OK},
        {"a: 34567\r\nb: 34567\r\nc: 34567\r\nd: 34567\r\nx\r\n.\r\n", CONTENT_HEADER_TOO_BIG},
        {"received:\r\n\r\n.\r\n", CONTENT_OK},
        {"Received:\r\nRECEIVED:\r\n\r\n.\r\n", CONTENT_TOO_MANY_HOPS},
        {"Received:\r\n\r\nReceived:\r\n.\r\n", CONTENT_OK}, /* in the body it is text */
        {"Received:\r\n Received\r\nReceived\r\n.\r\n", CONTENT_OK},
        {"\r\n0123456789\r\n0123456789\r\n0123456789\r\n0123456789\r\n01234567\r\n.\r\n", CONTENT_OK},
        {"\r\n0123456789\r\n0123456789\r\n0123456789\r\n0123456789\r\n012345678\r\nx\r\n.\r\n",
         CONTENT_TOO_BIG},
    };

    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        for (size_t step = 1; step <= strlen(rows[i].text); step++) {
            feed(&o, &tight, rows[i].text, strlen(rows[i].text), step);
            CU_ASSERT_EQUAL(o.content.fault, rows[i].fault);
            CU_ASSERT(o.ended);
        }
    }
    feed(&o, &wide, "a\r\n..b\r\n.\r\n", 12, 12);
    CU_ASSERT_EQUAL(o.content.size, 7); /* "a", CRLF, ".b", CRLF: RFC 1870, 5 */
}

/*
 * Long messages are looked at in blocks: what is wrong is found wherever in a block it lies, and at its ends. Every
 * message here is one of lines of all lengths up to 130 with a body of some blocks, in which one place is changed.
 */
#define LONG_BODY 700u

static size_t long_message(char *to, size_t shift)
{
    size_t at = 0, line = shift;

    memcpy(to, "a: b\r\n\r\n", 8);
    for (at = 8; at < 8 + LONG_BODY; line = (line * 7 + 5) % 131) {
        memset(to + at, 'x', line);
        at += line;
        memcpy(to + at, "\r\n", 2);
        at += 2;
    }
    memcpy(to + at, ".\r\n", 3);
    return at + 3;
}

/* What must come of a message, by a scanner of a byte at a time. The limits on the header are not its business. */
static enum content_fault judge_slowly(const char *text, size_t len, const struct content_limits *limits,
                                       uint64_t *size, size_t *used)
{
    enum content_fault fault = CONTENT_OK;
    bool start = true;
    size_t line = 0;

    *size = 0;
    for (size_t at = 0; at < len; at++) {
        enum content_fault found = CONTENT_OK;
        bool end = text[at] == '\r' && at + 1 < len && text[at + 1] == '\n';
        if (start && text[at] == '.') {
            if (len - at >= 3 && memcmp(text + at, ".\r\n", 3) == 0) {
                *used = at + 3;
                return fault;
            }
            start = false;
            continue;
        }
        if (end) {
            *size += 2;
            line = 0;
            start = true;
            at++;
        } else if (text[at] == '\n') {
            found = CONTENT_BARE_LF;
            start = false;
        } else {
            found = text[at] == '\0' ? CONTENT_NUL : text[at] == '\r' ? CONTENT_BARE_CR : CONTENT_OK;
            start = false;
            (*size)++;
            if (++line > limits->line && found == CONTENT_OK)
                found = CONTENT_LINE_TOO_LONG;
        }
        if (*size > limits->message && found == CONTENT_OK)
            found = CONTENT_TOO_BIG;
        if (fault == CONTENT_OK)
            fault = found;
    }
    *used = len;
    return fault;
}

static void expect_as_slowly(const char *text, size_t len, const struct content_limits *limits)
{
    static const size_t steps[] = {1, 63, 64, 65, 67, 128, 200, 4096};
    struct outcome o;
    uint64_t size;
    size_t used;
    enum content_fault fault = judge_slowly(text, len, limits, &size, &used);

    for (size_t i = 0; i < sizeof steps / sizeof steps[0]; i++) {
        feed(&o, limits, text, len, steps[i]);
        CU_ASSERT_EQUAL(o.content.fault == CONTENT_OK, fault == CONTENT_OK);
        CU_ASSERT_EQUAL(o.content.size, size);
        CU_ASSERT_EQUAL(len - o.left, used);
        CU_ASSERT(o.ended);
        CU_ASSERT_EQUAL(o.passed_length + 3, used);
        CU_ASSERT(memcmp(o.passed, text, o.passed_length) == 0);
    }
}

static void content_is_judged_alike_wherever_it_lies_in_a_block(void)
{
    static const char changes[] = {'\n', '\r', '\0', '.', 'y'};
    const struct content_limits limits[] = {{.line = 130, .header = 1000, .hops = 5, .message = 1000},
                                            {.line = 64, .header = 1000, .hops = 5, .message = 1000},
                                            {.line = 2000, .header = 1000, .hops = 5, .message = LONG_BODY}};
    char text[2048];

    for (size_t shift = 0; shift < 131; shift += 13) {
        size_t len = long_message(text, shift);
        for (size_t l = 0; l < sizeof limits / sizeof limits[0]; l++)
            expect_as_slowly(text, len, &limits[l]);
        for (size_t at = 8; at < len - 5; at++) { /* the end stays */
            const char kept = text[at];
            for (size_t i = 0; i < sizeof changes; i++) {
                text[at] = changes[i];
                expect_as_slowly(text, len, &limits[0]);
            }
            text[at] = kept;
        }
    }
}

static size_t line_put(char *to, size_t len)
{
    memset(to, 'x', len);
    memcpy(to + len, "\r\n", 2);
    return len + 2;
}

static void content_lines_are_measured_over_blocks(void)
{
    static const size_t lengths[] = {11, 40, 63, 64, 65, 127, 128, 200, 300};
    struct content_limits limits = wide;
    char text[2048];

    for (size_t shift = 0; shift <= 64; shift++) {
        for (size_t i = 0; i < sizeof lengths / sizeof lengths[0]; i++) {
            size_t at = line_put(text, 0);
            for (size_t n = shift; n > 0; n -= n < 10 ? n : 10)
                at += line_put(text + at, n < 10 ? n : 10);
            at += line_put(text + at, lengths[i]);
            for (size_t n = 0; n < 20; n++)
                at += line_put(text + at, 5);
            memcpy(text + at, ".\r\n", 3);
            limits.line = lengths[i];
            expect_as_slowly(text, at + 3, &limits);
            limits.line = lengths[i] - 1;
            expect_as_slowly(text, at + 3, &limits);
        }
    }
}

/* ---- Replies ---- */

static enum reply_status take_all(struct reply *r, const char *const *lines)
{
    enum reply_status status = REPLY_MORE;

    reply_clear(r);
    for (; *lines != NULL && status == REPLY_MORE; lines++)
        status = reply_take_line(r, *lines, strlen(*lines));
    return status;
}

static void expect_formatted(const char *const *lines, const char *wanted)
{
    struct reply r;
    char out[REPLY_OUT_MAX];
    size_t len;

    CU_ASSERT_EQUAL(take_all(&r, lines), REPLY_DONE);
    len = reply_format(&r, out, sizeof out);
    CU_ASSERT_EQUAL(len, strlen(wanted));
    CU_ASSERT_STRING_EQUAL(out, wanted);
}

static void replies_get_an_enhanced_code_of_their_class(void)
{
    expect_formatted((const char *[]){"250 2.1.5 ok", NULL}, "250 2.1.5 ok\r\n");
    expect_formatted((const char *[]){"250 ok", NULL}, "250 2.0.0 ok\r\n");
    expect_formatted((const char *[]){"250", NULL}, "250 2.0.0 \r\n");
    expect_formatted((const char *[]){"550 4.1.1 odd", NULL}, "550 5.0.0 odd\r\n");
    expect_formatted((const char *[]){"550 5.1.1", NULL}, "550 5.1.1\r\n");
    expect_formatted((const char *[]){"550 5.1 no code", NULL}, "550 5.0.0 5.1 no code\r\n");
    expect_formatted((const char *[]){"550 5.1234.1 x", NULL}, "550 5.0.0 5.1234.1 x\r\n");
    expect_formatted((const char *[]){"354 go", NULL}, "354 go\r\n");
    expect_formatted((const char *[]){"550-5.7.1 one", "550-two", "550 5.7.1 three", NULL},
                     "550-5.7.1 one\r\n550-5.0.0 two\r\n550 5.7.1 three\r\n");
    expect_formatted((const char *[]){"250 2.0.0 a\x01\x7f\xff", NULL}, "250 2.0.0 a???\r\n");
}

static void replies_that_are_none_are_refused(void)
{
    struct reply r;
    static const char *const bad[] = {"",     "25",     "25x ok",          "150 ok", "600 ok",
                                      "2500", "250_ok", "HTTP/1.1 200 OK", " 250"};

    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        CU_ASSERT_EQUAL(take_all(&r, (const char *[]){bad[i], NULL}), REPLY_BAD);
    CU_ASSERT_EQUAL(take_all(&r, (const char *[]){"250-ok", "251 ok", NULL}), REPLY_BAD);
}

static void long_replies_stay_bounded_and_complete(void)
{
    struct reply r;
    char line[2100], out[REPLY_OUT_MAX];
    size_t len;

    memset(line, 'x', sizeof line);
    memcpy(line, "550-", 4);
    reply_clear(&r);
    for (unsigned i = 0; i < REPLY_LINES - 1; i++)
        CU_ASSERT_EQUAL(reply_take_line(&r, line, i % 2 ? sizeof line : 10), REPLY_MORE);
    line[3] = ' ';
    CU_ASSERT_EQUAL(reply_take_line(&r, line, 10), REPLY_DONE);
    CU_ASSERT(r.length < sizeof r.text);
    len = reply_format(&r, out, sizeof out);
    CU_ASSERT(len < sizeof out);
    CU_ASSERT(memcmp(out + len - 2, "\r\n", 2) == 0);
    /* the last line, and only the last, ends the reply */
    unsigned last = 0, lines = 0;
    for (char *at = out; at < out + len; at = strstr(at, "\r\n") + 2) {
        lines++;
        last += at[3] == ' ';
    }
    CU_ASSERT_EQUAL(last, 1);
    CU_ASSERT(lines > 1);
    /* many short lines: more text is added to them than they had */
    reply_clear(&r);
    for (unsigned i = 0; i < REPLY_LINES - 1; i++)
        CU_ASSERT_EQUAL(reply_take_line(&r, "250-", 4), REPLY_MORE);
    CU_ASSERT_EQUAL(reply_take_line(&r, "250 ", 4), REPLY_DONE);
    CU_ASSERT(reply_format(&r, out, sizeof out) < sizeof out);
    line[3] = '-';
    reply_clear(&r);
    for (unsigned i = 0; i < REPLY_LINES; i++)
        CU_ASSERT_EQUAL(reply_take_line(&r, line, 5), REPLY_MORE);
    CU_ASSERT_EQUAL(reply_take_line(&r, line, 5), REPLY_BAD);
}

static void keywords_are_whole_words_behind_the_greeting(void)
{
    struct reply r;
    const char *args;
    size_t len;

    take_all(&r, (const char *[]){"250-STARTTLS greets", "250-size 1000", "250-8BITMIMEX", "250 PIPELINING",
                                  NULL});
    CU_ASSERT(!reply_keyword(&r, "STARTTLS", &args, &len));
    CU_ASSERT(!reply_keyword(&r, "8BITMIME", &args, &len));
    CU_ASSERT(reply_keyword(&r, "PIPELINING", &args, &len));
    CU_ASSERT(reply_keyword(&r, "SIZE", &args, &len));
    CU_ASSERT(len == 4 && memcmp(args, "1000", 4) == 0);
}

/* ---- Commands ---- */

static void commands_are_told_apart(void)
{
    static const struct {
        const char *line;
        enum verb verb;
        const char *args;
    } rows[] = {
        {"EHLO x", VERB_EHLO, "x"},
        {"ehlo  x  ", VERB_EHLO, "x"},
        {"MAIL FROM:<a> b", VERB_MAIL, "FROM:<a> b"},
        {"DATA", VERB_DATA, ""},
        {"DATA ", VERB_DATA, ""},
        {"DATAx", VERB_OTHER, ""},
        {" DATA", VERB_OTHER, "DATA"},
        {"", VERB_OTHER, ""},
        {"GET / HTTP/1.1", VERB_HTTP, "/ HTTP/1.1"},
        {"BDAT 1", VERB_KNOWN, "1"},
        {"STARTTLS", VERB_STARTTLS, ""},
    };
    struct command c;

    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        command_parse(&c, rows[i].line, strlen(rows[i].line));
        CU_ASSERT_EQUAL(c.verb, rows[i].verb);
        CU_ASSERT_EQUAL(c.args_len, strlen(rows[i].args));
        CU_ASSERT(memcmp(c.args, rows[i].args, c.args_len) == 0);
    }
}

static void paths_are_taken_or_refused(void)
{
    struct recipient_parameters recipient;
    static const struct {
        const char *path, *text; /* text NULL: refused */
    } rows[] = {
        {"<a@b.test>", "a@b.test"},
        {"<>", ""},
        {"<a.b+c=d@b.test>", "a.b+c=d@b.test"},
        {"<\"a b\"@b.test>", "\"a b\"@b.test"},
        {"<\"a\\\"b>\"@b.test>", "\"a\\\"b>\"@b.test"},
        {"<a@[127.0.0.1]>", "a@[127.0.0.1]"},
        {"<a@[IPv6:::1]>", "a@[IPv6:::1]"},
        {"<@r.test,@s.test:a@b.test>", "a@b.test"},
        {"<a@b>", "a@b"},
        {"a@b.test", NULL},
        {"<a@b.test", NULL},
        {"<a@b.test>x", NULL},
        {"<a>", NULL},
        {"<a@>", NULL},
        {"<@b.test>", NULL},
        {"<a@b@c>", NULL},
        {"<.a@b>", NULL},
        {"<a.@b>", NULL},
        {"<a..b@c>", NULL},
        {"<a@.b>", NULL},
        {"<a@b.>", NULL},
        {"<a@b..c>", NULL},
        {"<a b@c>", NULL},
        {"<\"a@b>", NULL},
        {"<\"a\x01\"@b>", NULL},
        {"<a@[1", NULL},
        {"<a@[]>", NULL},
        {"<\xff@b.test>", NULL},
        {"<a@b>\t", NULL},
    };
    struct path path;
    struct mail_parameters params;
    char line[300];

    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        int len = snprintf(line, sizeof line, "FROM:%s SMTPUTF8", rows[i].path);
        const char *wrong = command_parse_mail(line, (size_t)len, &path, &params);
        CU_ASSERT_EQUAL(wrong == NULL, rows[i].text != NULL);
        if (wrong == NULL)
            CU_ASSERT_STRING_EQUAL(path.text, rows[i].text);
    }
    CU_ASSERT_PTR_NULL(command_parse_rcpt("TO:<Postmaster>", 15, &path, &recipient));
    CU_ASSERT_EQUAL(path.domain, 10);
    CU_ASSERT_PTR_NULL(command_parse_rcpt("to: <a@b>", 9, &path, &recipient));
    CU_ASSERT_STRING_EQUAL(path.text + path.domain, "b");
    CU_ASSERT_PTR_NOT_NULL(command_parse_rcpt("TO:<>", 5, &path, &recipient));
}

/* Whatever follows a path's bytes in memory is never read: the sanitizers see it if it is. */
static void paths_end_where_they_end(void)
{
    struct recipient_parameters recipient;
    static const char text[] = "FROM:<@r.test,@s.test:\"a\\\"b\"@[127.0.0.1]> SIZE=12 BODY=8BITMIME SMTPUTF8";
    struct path path;
    struct mail_parameters params;

    for (size_t len = 0; len < sizeof text; len++) {
        char *copy = malloc(len + 1);
        memcpy(copy, text, len);
        char *tight = realloc(copy, len > 0 ? len : 1);
        (void)command_parse_mail(tight, len, &path, &params);
        (void)command_parse_rcpt(tight + (len > 2 ? 2 : 0), len > 2 ? len - 2 : 0, &path, &recipient);
        free(tight);
    }
    CU_ASSERT_PTR_NULL(command_parse_mail(text, sizeof text - 1, &path, &params));
    CU_ASSERT(params.has_size && params.size == 12 && params.body_8bit && params.smtputf8);
}

static void utf8_is_well_formed_or_refused(void)
{
    CU_ASSERT(text_is_utf8("gr\xc3\xb6\xc3\x9f"
                           "e\xe2\x82\xac\xf0\x9f\x93\xa7",
                           14));
    CU_ASSERT(!text_is_utf8("\xc0\xaf", 2));         /* overlong */
    CU_ASSERT(!text_is_utf8("\xe0\x80\xaf", 3));     /* overlong */
    CU_ASSERT(!text_is_utf8("\xed\xa0\x80", 3));     /* surrogate */
    CU_ASSERT(!text_is_utf8("\xf4\x90\x80\x80", 4)); /* past U+10FFFF */
    CU_ASSERT(!text_is_utf8("\xc3", 1));
    CU_ASSERT(!text_is_utf8("\x80", 1));
}

/* ---- Log ---- */

/* The line that log_end writes, caught in a pipe. */
static void catch_line(struct log_line *line, char *out, size_t size)
{
    int ends[2], saved = dup(STDERR_FILENO);
    ssize_t n;

    CU_ASSERT_EQUAL_FATAL(pipe(ends), 0);
    dup2(ends[1], STDERR_FILENO);
    log_end(line);
    dup2(saved, STDERR_FILENO);
    close(ends[1]);
    close(saved);
    n = read(ends[0], out, size - 1);
    close(ends[0]);
    out[n > 0 ? n : 0] = '\0';
}

static void strangers_cannot_forge_log_lines(void)
{
    struct log_line line;
    char text[LOG_LINE_MAX + 1];

    log_begin(&line, "test");
    log_text(&line, "a", "plain");
    log_text(&line, "b", "two words\nresult=delivered \"x\" \\");
    log_text(&line, "c",
             "gr\xc3\xb6\xc3\x9f"
             "e");
    log_text(&line, "d", "\xff");
    log_text(&line, "e", NULL);
    log_text(&line, "f", "");
    log_number(&line, "g", -5);
    catch_line(&line, text, sizeof text);
    CU_ASSERT_PTR_NOT_NULL(
        strstr(text, " test a=plain b=\"two words\\u000aresult=delivered \\\"x\\\" \\\\\" c=\"gr\xc3\xb6"
                     "\xc3\x9f"
                     "e\" d=\"\\u00ff\" f=\"\" g=-5\n"));
    log_set_format(LOG_JSON);
    log_begin(&line, "test");
    log_text(&line, "b", "x\n\"");
    log_number(&line, "g", 7);
    catch_line(&line, text, sizeof text);
    CU_ASSERT_PTR_NOT_NULL(strstr(text, "\"event\":\"test\",\"b\":\"x\\u000a\\\"\",\"g\":7}\n"));
    log_set_format(LOG_PLAIN);
}

struct gathering {
    char early[LOG_GATHERED * 4]; /* what was written before log_flush */
    char late[LOG_GATHERED * 4];
};

static void read_all(int fd, char *out, size_t size)
{
    ssize_t n = read(fd, out, size - 1);

    out[n > 0 ? n : 0] = '\0';
}

/* A thread's own: another thread of the test goes on writing at once. */
static void *gather(void *arg)
{
    struct gathering *g = arg;
    int ends[2], saved = dup(STDERR_FILENO);

    if (saved < 0 || pipe2(ends, O_NONBLOCK) != 0)
        return NULL;
    dup2(ends[1], STDERR_FILENO);
    log_gather();
    for (int i = 0; i < 100; i++)
        log_message("test", "%d %070d.", i, 0);
    read_all(ends[0], g->early, sizeof g->early);
    log_flush();
    log_flush();
    read_all(ends[0], g->late, sizeof g->late);
    dup2(saved, STDERR_FILENO);
    close(ends[0]);
    close(ends[1]);
    close(saved);
    return g;
}

static void gathered_lines_come_whole_and_in_order(void)
{
    static struct gathering g;
    static char all[sizeof g.early + sizeof g.late];
    const char *at = all;
    char want[100];
    void *result = NULL;
    pthread_t thread;

    CU_ASSERT_EQUAL_FATAL(pthread_create(&thread, NULL, gather, &g), 0);
    pthread_join(thread, &result);
    CU_ASSERT_PTR_NOT_NULL(result);
    CU_ASSERT(strlen(g.early) > LOG_GATHERED && strlen(g.early) % LOG_GATHERED != 0);
    CU_ASSERT_EQUAL(g.early[strlen(g.early) - 1], '\n');
    CU_ASSERT(strlen(g.late) > 0 && strlen(g.late) <= LOG_GATHERED);
    snprintf(all, sizeof all, "%s%s", g.early, g.late);
    for (int i = 0; i < 100 && at != NULL; i++) {
        snprintf(want, sizeof want, " test message=\"%d 0", i);
        at = strstr(at, want);
        CU_ASSERT_PTR_NOT_NULL(at);
        if (at != NULL)
            at = strchr(at, '\n');
    }
    CU_ASSERT(at != NULL && strcmp(at, "\n") == 0);
}

/* ---- Buffers ---- */

static void buffers_hold_no_more_than_they_may(void)
{
    struct buffer_pool pool = {0};
    struct buffer b = {0};
    static uint8_t block[BUFFER_SIZE];
    size_t room;

    CU_ASSERT(buffer_append(&pool, &b, block, BUFFER_SIZE));
    CU_ASSERT(!buffer_append(&pool, &b, block, 1));
    buffer_drop(&b, 10);
    CU_ASSERT(!buffer_append(&pool, &b, block, 11));
    CU_ASSERT(buffer_append(&pool, &b, "0123456789", 10));
    CU_ASSERT_EQUAL(buffer_length(&b), BUFFER_SIZE);
    CU_ASSERT(memcmp(buffer_bytes(&b) + BUFFER_SIZE - 10, "0123456789", 10) == 0);
    CU_ASSERT_PTR_NOT_NULL(buffer_reserve(&pool, &b, &room));
    CU_ASSERT_EQUAL(room, 0);
    buffer_drop(&b, BUFFER_SIZE);
    buffer_tidy(&pool, &b);
    CU_ASSERT_PTR_NULL(b.data);
    CU_ASSERT_EQUAL(pool.count, 1);
    buffer_pool_free(&pool);
}

/* ---- Memory ---- */

static void memory_is_given_back_once_after_each_wave(void)
{
    static const struct {
        size_t connections;
        bool given;
    } looks[] = {{0, false},   {200, false},  {0, false}, {3000, false}, {5000, false}, {1300, false},
                 {1250, true}, {1000, false}, {10, true}, {0, false},    {400, false},  {90, true}};
    struct memory memory = {0};

    for (size_t i = 0; i < sizeof looks / sizeof looks[0]; i++)
        CU_ASSERT_EQUAL(memory_look(&memory, looks[i].connections), looks[i].given);
}

int main(void)
{
    CU_TestInfo tests[] = {
        {"content ends at CRLF . CRLF only", content_ends_at_crlf_dot_crlf_only},
        {"content with other ends is at fault and goes on", content_with_other_ends_is_at_fault_and_goes_on},
        {"content limits hold to the byte", content_limits_hold_to_the_byte},
        {"content is judged alike wherever it lies in a block",
         content_is_judged_alike_wherever_it_lies_in_a_block},
        {"content's lines are measured over blocks", content_lines_are_measured_over_blocks},
        {"replies get an enhanced code of their class", replies_get_an_enhanced_code_of_their_class},
        {"replies that are none are refused", replies_that_are_none_are_refused},
        {"long replies stay bounded and complete", long_replies_stay_bounded_and_complete},
        {"keywords are whole words behind the greeting", keywords_are_whole_words_behind_the_greeting},
        {"commands are told apart", commands_are_told_apart},
        {"paths are taken or refused", paths_are_taken_or_refused},
        {"paths end where they end", paths_end_where_they_end},
        {"UTF-8 is well-formed or refused", utf8_is_well_formed_or_refused},
        {"strangers cannot forge log lines", strangers_cannot_forge_log_lines},
        {"gathered lines come whole and in order", gathered_lines_come_whole_and_in_order},
        {"buffers hold no more than they may", buffers_hold_no_more_than_they_may},
        {"memory is given back once after each wave", memory_is_given_back_once_after_each_wave},
        CU_TEST_INFO_NULL,
    };
    CU_SuiteInfo suites[] = {{.pName = "gateway parts", .pTests = tests}, CU_SUITE_INFO_NULL};

    if (CU_initialize_registry() != CUE_SUCCESS || CU_register_suites(suites) != CUE_SUCCESS)
        return 2;
    CU_basic_set_mode(CU_BRM_VERBOSE);
    CU_basic_run_tests();
    int failures = (int)CU_get_number_of_failures();
    CU_cleanup_registry();
    return failures == 0 ? 0 : 1;
}
