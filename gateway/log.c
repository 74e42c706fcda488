/* SPDX-License-Identifier: Apache-2.0 */
/* Log lines on stderr; see log.h. */
#include "log.h"
#include "command.h"
#include "json.h"

#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* Changed by a reload on the main thread while every loop logs. A line keeps the one that it began with. */
static _Atomic enum log_format log_format = LOG_PLAIN;

/* Lines of this thread that wait. */
static _Thread_local struct {
    char text[LOG_GATHERED];
    size_t length;
    bool on;
} gathered;

void log_set_format(enum log_format format)
{
    log_format = format;
}

/* The end of every line must fit whatever came before: "}\n", or the newline alone. */
#define LOG_TAIL 2u

static void put(struct log_line *line, const char *text, size_t len)
{
    size_t room = sizeof line->text - LOG_TAIL - line->length;

    if (len > room)
        len = room;
    memcpy(line->text + line->length, text, len);
    line->length += len;
}

static void put_string(struct log_line *line, const char *text)
{
    put(line, text, strlen(text));
}

/* JSON's escapes serve for both formats. */
static void put_quoted(struct log_line *line, const char *value, size_t len)
{
    bool utf8 = text_is_utf8(value, len);
    char code[JSON_ESCAPE_MAX];

    put(line, "\"", 1);
    for (size_t i = 0; i < len; i++)
        put(line, code, json_escape((uint8_t)value[i], utf8, code));
    put(line, "\"", 1);
}

static bool is_plain(const char *value, size_t len)
{
    for (size_t i = 0; i < len; i++)
        if ((uint8_t)value[i] <= 0x20 || (uint8_t)value[i] >= 0x7f || strchr("\"'\\=", value[i]) != NULL)
            return false;
    return len > 0;
}

static void put_key(struct log_line *line, const char *key)
{
    if (line->format == LOG_JSON) {
        put_string(line, ",\"");
        put_string(line, key);
        put_string(line, "\":");
    } else {
        put_string(line, " ");
        put_string(line, key);
        put_string(line, "=");
    }
}

/* The time as "2026-01-31T23:59:59.123Z"; most lines share their second with the one before. */
static const char *time_stamp(void)
{
    static _Thread_local struct {
        time_t second;
        size_t length;
        char text[40];
    } last;
    struct timespec now;
    struct tm utc;

    clock_gettime(CLOCK_REALTIME, &now);
    if (last.length == 0 || now.tv_sec != last.second) {
        gmtime_r(&now.tv_sec, &utc);
        last.length = strftime(last.text, sizeof last.text, "%Y-%m-%dT%H:%M:%S", &utc);
        last.second = now.tv_sec;
    }
    snprintf(last.text + last.length, sizeof last.text - last.length, ".%03dZ", (int)(now.tv_nsec / 1000000));
    return last.text;
}

void log_begin(struct log_line *line, const char *event)
{
    const char *stamp = time_stamp();

    line->length = 0;
    line->format = log_format;
    if (line->format == LOG_JSON) {
        put_string(line, "{\"time\":\"");
        put_string(line, stamp);
        put_string(line, "\",\"event\":\"");
        put_string(line, event);
        put_string(line, "\"");
    } else {
        put_string(line, stamp);
        put_string(line, " ");
        put_string(line, event);
    }
}

void log_text(struct log_line *line, const char *key, const char *value)
{
    size_t len;

    if (value == NULL)
        return;
    len = strnlen(value, LOG_VALUE_MAX);
    while (len > 0 && len == LOG_VALUE_MAX && (value[len] & 0xc0) == 0x80)
        len--; /* cut before a character, not inside */
    put_key(line, key);
    if (line->format == LOG_JSON || !is_plain(value, len))
        put_quoted(line, value, len);
    else
        put(line, value, len);
}

void log_number(struct log_line *line, const char *key, long long value)
{
    char digits[32];

    put_key(line, key);
    put(line, digits, (size_t)snprintf(digits, sizeof digits, "%lld", value));
}

static void write_out(const char *text, size_t len)
{
    size_t done = 0;

    while (done < len) {
        ssize_t n = write(STDERR_FILENO, text + done, len - done);
        if (n <= 0)
            break; /* nobody reads the log: mail goes on */
        done += (size_t)n;
    }
}

void log_gather(void)
{
    gathered.on = true;
}

void log_flush(void)
{
    if (gathered.length > 0)
        write_out(gathered.text, gathered.length);
    gathered.length = 0;
}

void log_end(struct log_line *line)
{
    if (line->format == LOG_JSON)
        line->text[line->length++] = '}';
    line->text[line->length++] = '\n';
    if (line->length > sizeof gathered.text - gathered.length)
        log_flush();
    if (gathered.on && line->length <= sizeof gathered.text) {
        memcpy(gathered.text + gathered.length, line->text, line->length);
        gathered.length += line->length;
    } else {
        write_out(line->text, line->length);
    }
}

void log_message(const char *event, const char *format, ...)
{
    struct log_line line;
    char text[LOG_VALUE_MAX];
    va_list args;

    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    log_begin(&line, event);
    log_text(&line, "message", text);
    log_end(&line);
}
