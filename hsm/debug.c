/* SPDX-License-Identifier: Apache-2.0 */
/* The debug log; see debug.h. A line is one write(2) to a file opened for appending, so lines never mix. */
#include "debug.h"
#include "notice.h"
#include "text.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static int log_fd = -1; /* written once, before any thread of ours */

/* Ours, regular and nobody else's to read. */
static const char *unfit(int fd)
{
    struct stat st;
    if (fstat(fd, &st) != 0)
        return strerror(errno);
    if (!S_ISREG(st.st_mode))
        return "it is no regular file";
    if (st.st_uid != geteuid())
        return "it belongs to somebody else";
    return fchmod(fd, 0600) == 0 ? NULL : strerror(errno);
}

static void log_open(void)
{
    const char *value = secure_getenv("SEALANE_DEBUG");
    if (!value || value[0] == '\0')
        return;
    if (strncmp(value, "file:", 5) != 0 || value[5] == '\0') {
        notice("SEALANE_DEBUG: 'file:PATH' is expected; no debug log is written");
        return;
    }
    /* Non-blocking, so that a FIFO nobody reads does not hold the daemon up before it is refused. */
    int fd =
        open(value + 5, O_WRONLY | O_APPEND | O_CREAT | O_NOFOLLOW | O_CLOEXEC | O_NOCTTY | O_NONBLOCK, 0600);
    const char *why = fd < 0 ? strerror(errno) : unfit(fd);
    if (why) {
        notice("SEALANE_DEBUG: no debug log is written to '%s': %s", value + 5, why);
        if (fd >= 0)
            (void)close(fd);
        return;
    }
    log_fd = fd;
}

void debug_init(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    (void)pthread_once(&once, log_open);
}

bool debug_is_on(void)
{
    return log_fd >= 0;
}

/* "2026-01-31T12:00:00.123456Z 4711 4712 " */
static size_t head_write(char *line, size_t size)
{
    struct timespec now;
    struct tm tm;
    char stamp[32];
    clock_gettime(CLOCK_REALTIME, &now);
    (void)gmtime_r(&now.tv_sec, &tm);
    (void)strftime(stamp, sizeof(stamp), "%Y-%m-%dT%H:%M:%S", &tm);
    int len = snprintf(line, size, "%s.%06ldZ %ld %ld ", stamp, now.tv_nsec / 1000, (long)getpid(),
                       (long)syscall(SYS_gettid));
    return len > 0 && (size_t)len < size ? (size_t)len : 0;
}

void debug_line(const char *format, ...)
{
    char line[600];
    va_list ap;
    if (!debug_is_on())
        return;
    size_t head = head_write(line, sizeof(line));
    va_start(ap, format);
    (void)vsnprintf(line + head, sizeof(line) - head - 1, format, ap);
    va_end(ap);
    line_clean(line);
    size_t len = strlen(line);
    line[len++] = '\n';
    ssize_t done = write(log_fd, line, len);
    (void)done; /* a full disk is no reason to stop signing */
}
