/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Log lines on stderr: one event per line, as key=value for people or as one JSON object for programs.
 *
 * A line is put together on the stack and written with one write(2), so lines of several threads do not mix. A loop
 * gathers the lines of one turn, and writes them before it sends anything: no sender has its answer before its
 * message is in the log.
 * Values come from strangers: control characters, quotes and what is not UTF-8 never reach the output raw.
 */
#ifndef GATEWAY_LOG_H
#define GATEWAY_LOG_H

#include <stdbool.h>
#include <stddef.h>

enum log_format { LOG_PLAIN, LOG_JSON };

#define LOG_LINE_MAX  6144u
#define LOG_GATHERED  4096u /* a pipe takes no more in one piece: PIPE_BUF */
#define LOG_VALUE_MAX 400u  /* of one value before escaping; the rest is cut */

struct log_line {
    char text[LOG_LINE_MAX];
    size_t length;
    enum log_format format;
};

/* At any time, from any thread; lines that have begun keep theirs. */
void log_set_format(enum log_format format);

/* `event` is one word. Keys are ours and plain. A NULL value leaves the key out. */
void log_begin(struct log_line *line, const char *event);
void log_text(struct log_line *line, const char *key, const char *value);
void log_number(struct log_line *line, const char *key, long long value);
void log_end(struct log_line *line);

/* From now on this thread's lines wait for log_flush, or until there are LOG_GATHERED bytes of them. */
void log_gather(void);
/* Writes what waits. A thread that has gathered calls it before it ends. */
void log_flush(void);

/* A whole line with one `message`. */
void log_message(const char *event, const char *format, ...) __attribute__((format(printf, 2, 3)));

#endif
