/* SPDX-License-Identifier: Apache-2.0 */
/* Words to systemd; see notify.h. */
#include "notify.h"

#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

static void send_words(const char *words)
{
    const char *path = getenv("NOTIFY_SOCKET");
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    size_t len = path != NULL ? strlen(path) : 0;
    int fd;

    if (len == 0 || len >= sizeof address.sun_path || (path[0] != '/' && path[0] != '@'))
        return;
    memcpy(address.sun_path, path, len);
    if (path[0] == '@') /* an abstract name */
        address.sun_path[0] = '\0';
    fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return;
    /* Nobody can be told if this fails. */
    (void)!sendto(fd, words, strlen(words), MSG_NOSIGNAL, (struct sockaddr *)&address,
                  (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len));
    close(fd);
}

void notify_ready(const char *status)
{
    char words[256];

    snprintf(words, sizeof words, "READY=1\nSTATUS=%s", status);
    send_words(words);
}

void notify_reloading(void)
{
    struct timespec now;
    char words[128];

    clock_gettime(CLOCK_MONOTONIC, &now);
    snprintf(words, sizeof words, "RELOADING=1\nMONOTONIC_USEC=%llu",
             (unsigned long long)now.tv_sec * 1000000 + (unsigned long long)now.tv_nsec / 1000);
    send_words(words);
}

void notify_stopping(const char *status)
{
    char words[256];

    snprintf(words, sizeof words, "STOPPING=1\nSTATUS=%s", status);
    send_words(words);
}

void notify_watchdog(void)
{
    send_words("WATCHDOG=1");
}

uint64_t notify_watchdog_interval(void)
{
    const char *pid = getenv("WATCHDOG_PID"), *microseconds = getenv("WATCHDOG_USEC");

    if (microseconds == NULL || (pid != NULL && strtol(pid, NULL, 10) != (long)getpid()))
        return 0;
    return strtoull(microseconds, NULL, 10) / 2000;
}
