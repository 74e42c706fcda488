/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Fuzz target: what strangers say to the gateway. The first byte chooses: a command line with MAIL's and RCPT's arguments,
 * the content scanner cut anywhere, replies of a next hop, patterns against paths.
 */
#include "command.h"
#include "content.h"
#include "pattern.h"
#include "reply.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool holds)
{
    if (!holds)
        abort();
}

/* A path that is taken must be safe to write into a command for the next hop. */
static void check_path(const struct path *path)
{
    require(strlen(path->text) <= PATH_MAX_LEN && path->domain <= strlen(path->text));
    for (const char *c = path->text; *c != '\0'; c++)
        require(*c != '\r' && *c != '\n' && (uint8_t)*c >= 0x20);
    require(text_is_utf8(path->text, strlen(path->text)));
}

static void try_command(const char *line, size_t len)
{
    static const char *const patterns[] = {"*", "*.example.org", "a@example.org", "<>", "a@*"};
    struct command command;
    struct path path;
    struct mail_parameters params;
    struct recipient_parameters recipient;

    command_parse(&command, line, len);
    require(command.args_len <= len);
    (void)command_is_helo_name(command.args, command.args_len);
    if (command_parse_mail(command.args, command.args_len, &path, &params) == NULL)
        check_path(&path);
    if (command_parse_rcpt(command.args, command.args_len, &path, &recipient) != NULL)
        return;
    check_path(&path);
    require(strpbrk(recipient.notify, " \r\n") == NULL && strpbrk(recipient.orcpt, " \r\n") == NULL);
    for (size_t i = 0; i < sizeof patterns / sizeof patterns[0]; i++)
        (void)pattern_takes_path(patterns[i], &path);
}

/* Offered in pieces of any size, the scanner says the same as in one piece. */
static void try_content(const uint8_t *data, size_t size, size_t piece)
{
    const struct content_limits limits = {
        .line = 100, .header = 1000, .hops = 3, .message = 5000, .mark = "\tby me"};
    struct content whole, cut;
    bool end = false, cut_end = false;
    size_t taken, at = 0, offered = 0;

    content_start(&whole, &limits);
    content_start(&cut, &limits);
    taken = content_scan(&whole, data, size, &end);
    require(taken <= size && (!end || taken + 3 <= size));
    while (!cut_end && offered < size) {
        offered = offered + piece < size ? offered + piece : size;
        at += content_scan(&cut, data + at, offered - at, &cut_end);
    }
    require(cut_end == end);
    if (end) /* which of several faults is named first may differ */
        require(at == taken && (cut.fault == CONTENT_OK) == (whole.fault == CONTENT_OK) &&
                cut.size == whole.size && cut.hops == whole.hops);
}

static void try_reply(const char *text, size_t size)
{
    struct reply reply;
    char out[REPLY_OUT_MAX];

    reply_clear(&reply);
    while (size > 0) {
        const char *lf = memchr(text, '\n', size);
        size_t len = lf != NULL ? (size_t)(lf - text) : size;
        enum reply_status status = reply_take_line(&reply, text, len);
        if (status == REPLY_BAD)
            return;
        if (status == REPLY_DONE) {
            size_t written = reply_format(&reply, out, sizeof out);
            require(written < sizeof out && written >= 6 && memcmp(out + written - 2, "\r\n", 2) == 0);
            reply_clear(&reply);
        }
        text += len + (lf != NULL);
        size -= len + (lf != NULL);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2)
        return 0;
    switch (data[0] % 3) {
    case 0:
        try_command((const char *)data + 1, size - 1);
        break;
    case 1:
        try_content(data + 2, size - 2, (size_t)data[1] + 1);
        break;
    default:
        try_reply((const char *)data + 1, size - 1);
    }
    return 0;
}
