/* SPDX-License-Identifier: Apache-2.0 */
/* sealane-gateway: the command line. */
#include "counters.h"
#include "daemon.h"
#include "tickets.h"

#include <fcntl.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <openssl/crypto.h>

static const char usage[] =
    "Usage: sealane-gateway check -c FILE   look at settings, certificates and keys, sign once with each\n"
    "       sealane-gateway run   -c FILE   the same, then relay mail until SIGTERM\n"
    "       sealane-gateway --help | --version\n";

/* Everything that a start would do, short of listening. */
static int check(const char *file)
{
    struct tls_library library = {0};
    struct tickets *tickets = tickets_new();
    struct config *config = tickets != NULL ? config_open(file, 1, &library, tickets, stderr) : NULL;
    int status = config != NULL ? EXIT_SUCCESS : EXIT_FAILURE;

    if (config != NULL) {
        log_certificates(config);
        printf("%s: good\n", file);
    }
    config_drop(config);
    tls_library_close(&library);
    tickets_free(tickets);
    return status;
}

/* ---- Command line ---- */

struct arguments {
    bool run;
    const char *file;
};

/* Fills `out`, or ends the process: after --help and --version in good order. */
static void parse_arguments(int argc, char **argv, struct arguments *out)
{
    static const struct option options[] = {{"config", required_argument, NULL, 'c'},
                                            {"help", no_argument, NULL, 'h'},
                                            {"version", no_argument, NULL, 'V'},
                                            {NULL, 0, NULL, 0}};
    int option;

    out->file = NULL;
    while ((option = getopt_long(argc, argv, "c:hV", options, NULL)) != -1) {
        switch (option) {
        case 'c':
            out->file = optarg;
            break;
        case 'h':
            fputs(usage, stdout);
            exit(EXIT_SUCCESS);
        case 'V':
            printf("sealane-gateway %s (%s)\n", SEALANE_VERSION, OpenSSL_version(OPENSSL_VERSION));
            exit(EXIT_SUCCESS);
        default:
            fputs(usage, stderr);
            exit(EXIT_FAILURE);
        }
    }
    const char *verb = optind + 1 == argc ? argv[optind] : "";
    out->run = strcmp(verb, "run") == 0;
    if (!out->run && strcmp(verb, "check") != 0) {
        fputs("sealane-gateway: say \"check\" or \"run\"\n", stderr);
        fputs(usage, stderr);
        exit(EXIT_FAILURE);
    }
    if (out->file == NULL) {
        fputs("sealane-gateway: -c FILE is missing\n", stderr);
        exit(EXIT_FAILURE);
    }
}

/*
 * Whoever started us may have closed standard input, output or error. What is opened next would get their numbers, and
 * log lines would go to a sender. False: no descriptor can be had.
 */
static bool keep_standard_descriptors(void)
{
    int fd;

    do
        fd = open("/dev/null", O_RDWR);
    while (fd >= 0 && fd <= STDERR_FILENO);
    if (fd >= 0)
        close(fd);
    return fd >= 0;
}

int main(int argc, char **argv)
{
    struct arguments arguments;

    if (!keep_standard_descriptors())
        return EXIT_FAILURE;
    parse_arguments(argc, argv, &arguments);
    return arguments.run ? daemon_run(arguments.file) : check(arguments.file);
}
