/* SPDX-License-Identifier: Apache-2.0 */
/* sealanectl: asks the running gateway, and probes partners. */
#include "probe.h"
#include "settings.h"

#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define DEFAULT_SETTINGS "/etc/sealane/gateway.conf"

static const char usage[] =
    "Usage: sealanectl [-c FILE | -s SOCKET] [--json] COMMAND\n"
    "  status          what is in force, and all counters\n"
    "  sessions        what each sender's connection is doing\n"
    "  reload          read the settings again; all of them count, or none\n"
    "  drain           no new connections; end when what is in flight has\n"
    "  probe DOMAIN    what the hosts of a domain offer, whether it satisfies the policy, which pins to "
    "store\n"
    "  -c, --config FILE   the gateway's settings, which name its socket (" DEFAULT_SETTINGS ")\n"
    "  -s, --socket PATH   the socket itself\n"
    "  -j, --json          one JSON object or array instead of lines\n"
    "      --help | --version\n";

struct arguments {
    const char *file, *socket, *command, *domain;
    bool json;
};

/* The settings' control socket, copied; NULL after a complaint. */
static char *socket_of_settings(const char *file)
{
    struct settings s;
    char *path = NULL;

    if (settings_read(&s, file, stderr)) {
        if (s.control.text != NULL)
            path = strdup(s.control.text);
        else
            fprintf(stderr, "sealanectl: %s has no control = \"PATH\": the gateway listens to nobody\n",
                    file);
    }
    settings_free(&s);
    return path;
}

static int connect_to(const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    if (fd < 0 || strlen(path) >= sizeof address.sun_path) {
        fprintf(stderr, "sealanectl: %s: %s\n", path, fd < 0 ? strerror(errno) : "the path is too long");
        return -1;
    }
    memcpy(address.sun_path, path, strlen(path));
    if (connect(fd, (struct sockaddr *)&address, sizeof address) == 0)
        return fd;
    fprintf(stderr, "sealanectl: %s: %s%s\n", path, strerror(errno),
            errno == ECONNREFUSED || errno == ENOENT ? ": is sealane-gateway running?" : "");
    close(fd);
    return -1;
}

/* Shows what comes behind the first line, which says how it went. */
static int show_answer(FILE *answer)
{
    char line[4096];
    bool good;

    if (fgets(line, sizeof line, answer) == NULL) {
        fputs("sealanectl: the gateway ended before it answered\n", stderr);
        return EXIT_FAILURE;
    }
    good = strcmp(line, "ok\n") == 0;
    while (fgets(line, sizeof line, answer) != NULL)
        fputs(line, good ? stdout : stderr);
    return good ? EXIT_SUCCESS : EXIT_FAILURE;
}

static int ask(const struct arguments *arguments)
{
    char *path = arguments->socket != NULL ? strdup(arguments->socket) : socket_of_settings(arguments->file);
    int status = EXIT_FAILURE, fd = path != NULL ? connect_to(path) : -1;
    FILE *stream = fd >= 0 ? fdopen(fd, "r+") : NULL;

    if (stream != NULL) {
        fprintf(stream, "%s%s\n", arguments->command, arguments->json ? " json" : "");
        fflush(stream);
        status = show_answer(stream);
        fclose(stream);
    }
    free(path);
    return status;
}

/* Fills `out`, or ends the process: after --help and --version in good order. */
static void parse_arguments(int argc, char **argv, struct arguments *out)
{
    static const struct option options[] = {
        {"config", required_argument, NULL, 'c'}, {"socket", required_argument, NULL, 's'},
        {"json", no_argument, NULL, 'j'},         {"help", no_argument, NULL, 'h'},
        {"version", no_argument, NULL, 'V'},      {NULL, 0, NULL, 0}};
    static const char *const commands[] = {"status", "sessions", "reload", "drain", "probe"};
    int option;
    bool known = false;

    *out = (struct arguments){.file = DEFAULT_SETTINGS};
    while ((option = getopt_long(argc, argv, "c:s:jhV", options, NULL)) != -1) {
        switch (option) {
        case 'c':
            out->file = optarg;
            break;
        case 's':
            out->socket = optarg;
            break;
        case 'j':
            out->json = true;
            break;
        case 'h':
            fputs(usage, stdout);
            exit(EXIT_SUCCESS);
        case 'V':
            puts("sealanectl " SEALANE_VERSION);
            exit(EXIT_SUCCESS);
        default:
            fputs(usage, stderr);
            exit(EXIT_FAILURE);
        }
    }
    out->command = optind < argc ? argv[optind] : "";
    for (size_t i = 0; i < sizeof commands / sizeof commands[0]; i++)
        known |= strcmp(out->command, commands[i]) == 0;
    out->domain = strcmp(out->command, "probe") == 0 && optind + 2 == argc ? argv[optind + 1] : NULL;
    if (known && argc == optind + (strcmp(out->command, "probe") == 0 ? 2 : 1))
        return;
    fputs("sealanectl: say status, sessions, reload, drain, or probe DOMAIN\n", stderr);
    fputs(usage, stderr);
    exit(EXIT_FAILURE);
}

int main(int argc, char **argv)
{
    struct arguments arguments;

    parse_arguments(argc, argv, &arguments);
    return arguments.domain != NULL ? probe_run(arguments.file, arguments.domain, arguments.json)
                                    : ask(&arguments);
}
