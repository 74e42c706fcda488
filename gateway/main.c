/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sealane-gateway: the command line, starting and stopping.
 *
 * Problems with the settings go to stderr as plain lines "FILE:LINE: ..."; once the gateway runs, everything
 * it has to say is a log line (log.h).
 */
#include "loop.h"
#include "log.h"
#include "settings.h"
#include "tls.h"

#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>
#include <openssl/crypto.h>
#include <openssl/rand.h>
#include <sealane/provider.h>

static const char usage[] =
    "Usage: sealane-gateway check -c FILE   look at settings, certificates and keys, sign once with each\n"
    "       sealane-gateway run   -c FILE   the same, then relay mail until SIGTERM\n"
    "       sealane-gateway --help | --version\n";

/* ---- What the log says at the start and at the end ---- */

static void log_certificates(const struct settings *s, const struct tls *tls)
{
    struct log_line line;

    for (size_t i = 0; i < tls->server_count; i++) {
        for (size_t k = 0; k < tls->servers[i].certificate_count; k++) {
            const struct tls_certificate *c = &tls->servers[i].certificates[k];
            log_begin(&line, "certificate");
            log_text(&line, "connector", s->receives[i].name);
            log_text(&line, "name", c->name);
            log_text(&line, "key", c->key_type);
            log_text(&line, "key_held_by", c->key_provider);
            log_text(&line, "expires", c->expires);
            log_end(&line);
        }
    }
}

static void log_start(const struct settings *s, const struct tls *tls, const int *ports)
{
    struct log_line line;

    log_begin(&line, "starting");
    log_text(&line, "version", SEALANE_VERSION);
    log_text(&line, "openssl", OpenSSL_version(OPENSSL_VERSION_STRING));
    log_text(&line, "provider", tls->sealane != NULL ? SEALANE_PROVIDER_NAME : "none");
    log_text(&line, "handshake", s->handshake_async ? "async" : "inline");
    log_number(&line, "loops", s->loops);
    log_end(&line);
    log_certificates(s, tls);
    for (size_t i = 0; i < s->route_count; i++) {
        log_begin(&line, "route");
        log_text(&line, "name", s->routes[i].name);
        log_text(&line, "next_hop", s->routes[i].next_hop.text);
        log_text(&line, "tls", tls_level_name(s->routes[i].tls));
        log_end(&line);
    }
    for (size_t i = 0; i < s->receive_count; i++) {
        log_begin(&line, "listening");
        log_text(&line, "connector", s->receives[i].name);
        log_text(&line, "address", s->receives[i].address.text);
        log_number(&line, "port", ports[i]);
        log_end(&line);
    }
}

static void log_token(struct log_line *line, const struct tls *tls)
{
    static const struct {
        const char *key, *parameter;
    } rows[] = {
        {"token_signatures", SEALANE_PARAM_TOKEN_SIGNATURES},
        {"token_failures", SEALANE_PARAM_TOKEN_FAILURES},
        {"records_sealed", SEALANE_PARAM_RECORDS_SEALED},
        {"records_opened", SEALANE_PARAM_RECORDS_OPENED},
        {"records_forged", SEALANE_PARAM_RECORDS_FORGED},
    };
    unsigned long long value;

    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        if (tls_provider_counter(tls, rows[i].parameter, &value))
            log_number(line, rows[i].key, (long long)value);
}

#define SUM(member)                                                                                          \
    do {                                                                                                     \
        uint64_t sum = 0;                                                                                    \
        for (long at = 0; at < count; at++)                                                                  \
            sum += atomic_load(&loops[at].counters.member);                                                  \
        log_number(&line, #member, (long long)sum);                                                          \
    } while (0)

static void log_end_of_run(const struct tls *tls, const struct loop *loops, long count)
{
    struct log_line line;

    log_begin(&line, "stopped");
    SUM(connections);
    SUM(refused_connections);
    SUM(handshakes);
    SUM(handshakes_failed);
    SUM(resumed);
    SUM(signatures_waited);
    SUM(delivered);
    SUM(rejected);
    SUM(deferred);
    SUM(aborted);
    SUM(possible_duplicates);
    SUM(bytes);
    log_token(&line, tls);
    log_end(&line);
}

/* ---- Running ---- */

static void raise_descriptor_limit(void)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < limit.rlim_max) {
        limit.rlim_cur = limit.rlim_max;
        setrlimit(RLIMIT_NOFILE, &limit);
    }
}

/* Blocks the signals that stop us, in this thread and those it starts: one sigwait hears them all. */
static void block_signals(sigset_t *set)
{
    struct sigaction ignore = {.sa_handler = SIG_IGN};

    sigaction(SIGPIPE, &ignore, NULL);
    sigemptyset(set);
    sigaddset(set, SIGTERM);
    sigaddset(set, SIGINT);
    pthread_sigmask(SIG_BLOCK, set, NULL);
}

/* Waits for the second signal, which means at once. Cancelled when the first has done its work. */
static void *wait_for_impatience(void *arg)
{
    int signal_number;

    sigwait(arg, &signal_number);
    log_message("stopped", "second signal: stopped at once");
    _exit(EXIT_FAILURE);
}

/* Starts the loops, waits for a signal, stops them. False if they could not be started. */
static bool run_loops(struct loop *loops, long count, sigset_t *signals)
{
    pthread_t impatience;
    long started = 0;
    int signal_number = 0;

    while (started < count && loop_start(&loops[started]))
        started++;
    if (started == count)
        sigwait(signals, &signal_number);
    else
        log_message("error", "cannot start thread %ld: %s", started, strerror(errno));
    if (signal_number != 0)
        log_message("stopping", "%s: finishing what is in flight", strsignal(signal_number));
    bool watched = pthread_create(&impatience, NULL, wait_for_impatience, signals) == 0;
    for (long i = 0; i < started; i++)
        loop_stop(&loops[i]);
    for (long i = 0; i < started; i++)
        loop_join(&loops[i]);
    if (watched) {
        pthread_cancel(impatience);
        pthread_join(impatience, NULL);
    }
    return started == count;
}

static int run(const struct settings *s, const struct tls *tls)
{
    struct gateway gateway = {.settings = s, .tls = tls};
    struct loop *loops = calloc((size_t)s->loops, sizeof *loops);
    int *ports = calloc(s->receive_count, sizeof *ports);
    bool good = true, abandoned = false;
    sigset_t signals;
    long opened = 0;

    gateway.open_connections = calloc(s->receive_count, sizeof *gateway.open_connections);
    gateway.key_failed_at = calloc(s->receive_count, sizeof *gateway.key_failed_at);
    if (loops == NULL || ports == NULL || gateway.open_connections == NULL || gateway.key_failed_at == NULL ||
        RAND_bytes((unsigned char *)&gateway.run_id, sizeof gateway.run_id) != 1) {
        fprintf(stderr, "%s: out of memory\n", s->file);
        good = false;
        goto out;
    }
    raise_descriptor_limit();
    block_signals(&signals);
    for (size_t i = 0; i < s->receive_count; i++)
        ports[i] = s->receives[i].port;
    while (good && opened < s->loops) {
        good = loop_open(&loops[opened], &gateway, (unsigned)opened, ports, stderr);
        opened++;
    }
    if (good) {
        log_set_format(s->log);
        log_start(s, tls, ports);
        good = run_loops(loops, s->loops, &signals);
        log_end_of_run(tls, loops, s->loops);
    }
    for (long i = 0; i < opened; i++)
        abandoned |= loops[i].abandoned;
    if (abandoned) /* jobs of the token are still under way: nothing under them may be freed */
        _exit(good ? EXIT_SUCCESS : EXIT_FAILURE);
    if (good)
        for (long i = 0; i < opened; i++)
            loop_close(&loops[i]);

out:
    free(loops);
    free(ports);
    free(gateway.open_connections);
    free(gateway.key_failed_at);
    return good ? EXIT_SUCCESS : EXIT_FAILURE;
}

static int check(const struct settings *s, const struct tls *tls)
{
    log_certificates(s, tls);
    printf("%s: good\n", s->file);
    return EXIT_SUCCESS;
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

int main(int argc, char **argv)
{
    struct arguments arguments;
    struct settings settings;
    struct tls tls = {0};
    int status = EXIT_FAILURE;

    parse_arguments(argc, argv, &arguments);
    if (settings_read(&settings, arguments.file, stderr) && tls_open(&tls, &settings, stderr))
        status = arguments.run ? run(&settings, &tls) : check(&settings, &tls);
    tls_close(&tls);
    settings_free(&settings);
    return status;
}
