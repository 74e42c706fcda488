/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Listening sockets; see sockets.h.
 *
 * Each loop has its own for each connector (SO_REUSEPORT). One that systemd hands in is there once: the loops
 * share it, each with a descriptor of its own, and whoever is awake first accepts.
 */
#include "sockets.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define BACKLOG         1024
#define HANDED_IN_FIRST 3 /* SD_LISTEN_FDS_START */

/* ---- Sockets of our own ---- */

static socklen_t make_address(const char *text, int port, struct sockaddr_storage *out)
{
    struct sockaddr_in *v4 = (struct sockaddr_in *)out;
    struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)out;

    memset(out, 0, sizeof *out);
    if (inet_pton(AF_INET, text, &v4->sin_addr) == 1) {
        v4->sin_family = AF_INET;
        v4->sin_port = htons((uint16_t)port);
        return sizeof *v4;
    }
    inet_pton(AF_INET6, text, &v6->sin6_addr);
    v6->sin6_family = AF_INET6;
    v6->sin6_port = htons((uint16_t)port);
    return sizeof *v6;
}

/* A bound socket, -1 with errno set. Only sockets that share the port among our loops may say so. */
static int bind_socket(const struct sockaddr_storage *address, socklen_t len, bool shared)
{
    const int on = 1;
    int fd = socket(address->ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

    if (fd < 0)
        return -1;
    if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) == 0 &&
        (!shared || setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof on) == 0) &&
        (address->ss_family != AF_INET6 || setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof on) == 0) &&
        bind(fd, (const struct sockaddr *)address, len) == 0)
        return fd;
    int error = errno;
    close(fd);
    errno = error;
    return -1;
}

static int bound_port(int fd)
{
    struct sockaddr_storage address;
    socklen_t len = sizeof address;

    if (getsockname(fd, (struct sockaddr *)&address, &len) != 0)
        return 0;
    return ntohs(address.ss_family == AF_INET6 ? ((struct sockaddr_in6 *)&address)->sin6_port
                                               : ((struct sockaddr_in *)&address)->sin_port);
}

static int open_socket(const struct receive_settings *r, int *port, bool first)
{
    struct sockaddr_storage address;
    socklen_t len = make_address(r->address.text, *port, &address);
    int fd;

    if (first && *port != 0) {
        /* SO_REUSEPORT would let two gateways of one user share a port and nobody would notice. */
        fd = bind_socket(&address, len, false);
        if (fd < 0)
            return -1;
        close(fd);
    }
    fd = bind_socket(&address, len, true);
    if (fd < 0)
        return -1;
    if (listen(fd, BACKLOG) != 0) {
        int error = errno;
        close(fd);
        errno = error;
        return -1;
    }
    *port = bound_port(fd);
    return fd;
}

static bool open_own(struct config *config, size_t receive, unsigned loops, FILE *errors)
{
    const struct settings *s = &config->settings;
    const struct receive_settings *r = &s->receives[receive];

    config->ports[receive] = r->port;
    for (unsigned loop = 0; loop < loops; loop++) {
        int fd = open_socket(r, &config->ports[receive], loop == 0);
        config->sockets[loop * s->receive_count + receive] = fd;
        if (fd < 0) {
            settings_complain(s, errors, r->address.line, "address", "cannot listen on %s port %d: %s",
                              r->address.text, r->port, strerror(errno));
            return false;
        }
    }
    return true;
}

/* ---- Sockets handed in ---- */

static int handed_in_count(void)
{
    const char *pid = getenv("LISTEN_PID"), *count = getenv("LISTEN_FDS");

    return pid != NULL && count != NULL && strtol(pid, NULL, 10) == (long)getpid()
               ? (int)strtol(count, NULL, 10)
               : 0;
}

/* FileDescriptorName= of the socket unit; true if the `at`th of LISTEN_FDNAMES is `name`. */
static bool is_named(int at, const char *name)
{
    const char *names = getenv("LISTEN_FDNAMES");

    for (; names != NULL && at > 0; at--) {
        names = strchr(names, ':');
        names = names != NULL ? names + 1 : NULL;
    }
    return names != NULL && strcspn(names, ":") == strlen(name) && strncmp(names, name, strlen(name)) == 0;
}

static bool is_bound_to(int fd, const struct receive_settings *r)
{
    struct sockaddr_storage is, wanted;
    socklen_t len = sizeof is;
    struct in6_addr a, b;
    char text[INET6_ADDRSTRLEN];

    if (getsockname(fd, (struct sockaddr *)&is, &len) != 0 || bound_port(fd) != r->port)
        return false;
    (void)make_address(r->address.text, r->port, &wanted);
    return is.ss_family == wanted.ss_family &&
           inet_ntop(is.ss_family,
                     is.ss_family == AF_INET6 ? (void *)&((struct sockaddr_in6 *)&is)->sin6_addr
                                              : (void *)&((struct sockaddr_in *)&is)->sin_addr,
                     text, sizeof text) != NULL &&
           address_parse(&a, text) && address_parse(&b, r->address.text) && memcmp(&a, &b, sizeof a) == 0;
}

static int find_handed_in(const struct receive_settings *r)
{
    int count = handed_in_count();

    for (int i = 0; i < count; i++)
        if (is_named(i, r->name) || is_bound_to(HANDED_IN_FIRST + i, r))
            return HANDED_IN_FIRST + i;
    return -1;
}

static bool take_handed_in(struct config *config, size_t receive, unsigned loops, int handed, FILE *errors)
{
    const struct settings *s = &config->settings;

    config->ports[receive] = bound_port(handed);
    for (unsigned loop = 0; loop < loops; loop++) {
        int fd = fcntl(handed, F_DUPFD_CLOEXEC, HANDED_IN_FIRST + handed_in_count());
        config->sockets[loop * s->receive_count + receive] = fd;
        if (fd < 0 || fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK) != 0) {
            settings_complain(s, errors, s->receives[receive].line, "receive",
                              "cannot use the socket that systemd handed in: %s", strerror(errno));
            return false;
        }
    }
    return true;
}

/* ---- All of them ---- */

bool sockets_same(const struct receive_settings *a, const struct receive_settings *b)
{
    return a->port == b->port && strcmp(a->address.text, b->address.text) == 0 &&
           (a->port != 0 || strcmp(a->name, b->name) == 0);
}

static bool inherit(struct config *config, size_t receive, const struct config *old)
{
    for (size_t i = 0; old != NULL && i < old->settings.receive_count; i++) {
        if (sockets_same(&old->settings.receives[i], &config->settings.receives[receive])) {
            config->ports[receive] = old->ports[i];
            return true;
        }
    }
    return false;
}

bool sockets_open(struct config *config, const struct config *old, unsigned loops, FILE *errors)
{
    size_t count = config->settings.receive_count;
    bool good = true;
    int handed;

    config->loops = loops;
    config->sockets = malloc(loops * count * sizeof *config->sockets);
    config->ports = calloc(count, sizeof *config->ports);
    if (config->sockets == NULL || config->ports == NULL) {
        fprintf(errors, "%s: out of memory\n", config->settings.file);
        return false;
    }
    for (size_t i = 0; i < loops * count; i++)
        config->sockets[i] = -1;
    for (size_t i = 0; i < count; i++) {
        if (inherit(config, i, old))
            continue;
        handed = find_handed_in(&config->settings.receives[i]);
        good &= handed >= 0 ? take_handed_in(config, i, loops, handed, errors)
                            : open_own(config, i, loops, errors);
    }
    return good;
}
