/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bench-gateway: mail through an SMTP gateway, from many senders to a sink, all of it compared.
 *
 * It measures whatever listens on the port it is given: bench/gateway.py starts the gateway and its peers, runs
 * this in turn against each, and reads their processor time.
 */
#include "gateway_load.h"
#include "gateway_sink.h"
#include "stats.h"

#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char usage[] =
    "Usage: bench-gateway sink --ledger FILE [--port N] [--chain FILE --key FILE]\n"
    "           the next hop: prints \"sink PORT\", takes mail until it is killed; with a certificate it has "
    "STARTTLS\n"
    "       bench-gateway load --ledger FILE --port N [OPTION...]\n"
    "           sends mail to 127.0.0.1:N and prints one JSON object; SIGTERM ends it early\n"
    "  --senders N    connections at once (32)      --messages N  over one connection (1)\n"
    "  --size BYTES   of a body (4096)              --seconds S   how long (5)\n"
    "  --rate R       messages per second (0: as many as go)\n"
    "  --idle N       connections under TLS that do nothing meanwhile (0)\n"
    "  --clear        without TLS                   --resume      resume TLS sessions\n"
    "  --tls12        TLS 1.2 at most\n";

struct arguments {
    const char *verb, *ledger;
    struct load_options load;
    struct sink_options sink;
};

static bool parse(int argc, char **argv, struct arguments *a)
{
    static const struct option options[] = {{"ledger", required_argument, NULL, 'l'},
                                            {"port", required_argument, NULL, 'p'},
                                            {"chain", required_argument, NULL, 'c'},
                                            {"key", required_argument, NULL, 'k'},
                                            {"senders", required_argument, NULL, 'n'},
                                            {"messages", required_argument, NULL, 'm'},
                                            {"size", required_argument, NULL, 's'},
                                            {"seconds", required_argument, NULL, 't'},
                                            {"rate", required_argument, NULL, 'r'},
                                            {"idle", required_argument, NULL, 'i'},
                                            {"clear", no_argument, NULL, 'C'},
                                            {"resume", no_argument, NULL, 'R'},
                                            {"tls12", no_argument, NULL, '2'},
                                            {"help", no_argument, NULL, 'h'},
                                            {NULL, 0, NULL, 0}};
    int option;

    while ((option = getopt_long(argc, argv, "h", options, NULL)) != -1) {
        switch (option) {
        case 'l':
            a->ledger = optarg;
            break;
        case 'p':
            a->load.port = a->sink.port = atoi(optarg);
            break;
        case 'c':
            a->sink.chain = optarg;
            break;
        case 'k':
            a->sink.key = optarg;
            break;
        case 'n':
            a->load.senders = atoi(optarg);
            break;
        case 'm':
            a->load.messages = atoi(optarg);
            break;
        case 's':
            a->load.size = strtoul(optarg, NULL, 10);
            break;
        case 't':
            a->load.seconds = atof(optarg);
            break;
        case 'r':
            a->load.rate = atof(optarg);
            break;
        case 'i':
            a->load.idle = atoi(optarg);
            break;
        case 'C':
            a->load.clear = true;
            break;
        case 'R':
            a->load.resume = true;
            break;
        case '2':
            a->load.tls12 = true;
            break;
        case 'h':
            fputs(usage, stdout);
            exit(EXIT_SUCCESS);
        default:
            return false;
        }
    }
    a->verb = optind + 1 == argc ? argv[optind] : "";
    return a->ledger != NULL &&
           (strcmp(a->verb, "sink") == 0
                ? (a->sink.chain == NULL) == (a->sink.key == NULL)
                : strcmp(a->verb, "load") == 0 && a->load.port > 0 && a->load.senders > 0 &&
                      a->load.messages > 0 && a->load.size >= 4 && a->load.seconds > 0);
}

static void print(const struct load_options *o, struct load_result *r, const struct ledger *ledger)
{
    spread s = {0};
    double p99 = 0, p999 = 0;

    if (r->messages > 0) {
        s = stats_spread(r->latencies, r->messages);
        p99 = stats_percentile(r->latencies, r->messages, 0.99);
        p999 = stats_percentile(r->latencies, r->messages, 0.999);
    }
    printf("{\"seconds\":%.3f,\"messages\":%llu,\"rate\":%.1f,\"connections\":%llu,\"handshakes\":%llu,"
           "\"resumed\":%llu,"
           "\"p50_ms\":%.3f,\"p99_ms\":%.3f,\"p999_ms\":%.3f,\"refused\":%llu,\"broken\":%llu,\"idle\":%d,"
           "\"answered\":%u,\"arrived\":%u,\"lost\":%u,\"twice\":%u,\"corrupted\":%u,\"unknown\":%u,\"size\":"
           "%zu}\n",
           r->seconds, (unsigned long long)r->messages, (double)r->messages / r->seconds,
           (unsigned long long)r->connections, (unsigned long long)r->handshakes,
           (unsigned long long)r->resumed, s.median, p99, p999, (unsigned long long)r->refused,
           (unsigned long long)r->broken, r->idle, r->sum.answered, r->sum.arrived, r->sum.lost, r->sum.twice,
           atomic_load(&ledger->corrupted), atomic_load(&ledger->unknown), o->size);
}

int main(int argc, char **argv)
{
    struct arguments a = {
        .load = {.host = "127.0.0.1", .senders = 32, .messages = 1, .size = 4096, .seconds = 5}};
    struct load_result result;
    struct ledger *ledger;

    if (!parse(argc, argv, &a)) {
        fputs(usage, stderr);
        return EXIT_FAILURE;
    }
    signal(SIGPIPE, SIG_IGN);
    ledger = ledger_map(a.ledger);
    if (ledger == NULL)
        return EXIT_FAILURE;
    if (strcmp(a.verb, "sink") == 0)
        return sink_run(&a.sink, ledger);
    if (!load_run(&a.load, ledger, &result))
        return EXIT_FAILURE;
    print(&a.load, &result, ledger);
    free(result.latencies);
    return result.sum.lost == 0 && result.sum.twice == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
