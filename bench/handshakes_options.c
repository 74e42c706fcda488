/* SPDX-License-Identifier: Apache-2.0 */
#include "handshakes_options.h"

#include <getopt.h>
#include <libgen.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "option.h"

#define PROGRAM        "bench-handshakes"
#define AT_ONCE        "1,4,16,64"
#define AT_ONCE_QUICK  "1,64"
#define LATENCY        "0,1,5,20"
#define LATENCY_QUICK  "0,20"
#define SESSIONS       16
#define ROUNDS_MAX     10000
#define STRETCH_MS_MAX 600000

static void help_print(void)
{
    size_t count;
    const contestant *list = contestants_list(&count);

    printf("usage: bench-handshakes --module FILE --pin PIN [--rsa LABEL] [--ec LABEL] [--ed25519 LABEL] "
           "[OPTION...]\n\n"
           "Makes full TLS handshakes, client and server in one process, with the server's key in a file and "
           "in a\n"
           "token, in one run and in turn; prints CPU time per handshake and handshakes per second. Each "
           "handshake\n"
           "is verified, and data are sent both ways.\n\n"
           "  --module FILE    the token's PKCS#11 module\n"
           "  --pin PIN        its PIN, or file:PATH\n"
           "  --token LABEL    the token (default: the first)\n"
           "  --init-args TEXT what its C_Initialize wants as its reserved argument (NSS's softokn)\n"
           "  --rsa LABEL      labels of its RSA-2048, P-256 and Ed25519 keys; those not named are not "
           "measured\n"
           "  --ec LABEL\n"
           "  --ed25519 LABEL\n"
           "  --tls LIST       1.2,1.3 (default: both; more than one at once only with the last)\n"
           "  --at-once LIST   threads or connections at once, 1 to %d (default: %s)\n"
           "  --latency LIST   milliseconds that each signature takes longer (default: %s)\n"
           "  --sessions N     most sessions with the token, 1 to %d (default: %d)\n"
           "  --only LIST      contestants, by name\n"
           "  --rounds N       rounds per case (default: 101 one at a time, else 5)\n"
           "  --stretch MS     length of each contestant's turn (default: 30 one at a time, else 400 and "
           "more)\n"
           "  --quick          at once %s, latency %s, a third of the rounds, where not said otherwise\n"
           "  --provider FILE  sealane.so (default: of this build)\n"
           "  --peer FILE      pkcs11-provider's module (default: where OpenSSL has its modules; none: left "
           "out)\n"
           "  --shim FILE      sealane-fault.so, which makes latency (default: of this build)\n"
           "  --json FILE      also write everything as JSON; - for standard output\n"
           "  --plot DIR       also draw SVG plots into DIR (needs gnuplot)\n"
           "  --check          evaluate the targets, too: exit status 1 if one is missed\n"
           "  --help\n\ncontestants:\n",
           AT_ONCE_MAX, AT_ONCE, LATENCY, AT_ONCE_MAX, SESSIONS, AT_ONCE_QUICK, LATENCY_QUICK);
    for (size_t i = 0; i < count; i++)
        printf("  %-16s %s\n", list[i].name, list[i].what);
}

static bool wrong(const char *option, const char *value, const char *wanted)
{
    return option_wrong(PROGRAM, option, value, wanted);
}

static bool text_take(char to[TEXT_MAX], const char *option, const char *text)
{
    if (strlen(text) >= TEXT_MAX || strchr(text, '\n') != NULL)
        return wrong(option, text, "too long, or not one line");
    memcpy(to, text, strlen(text) + 1);
    return true;
}

static bool file_take(char to[TEXT_MAX], const char *option, const char *path)
{
    return access(path, R_OK) == 0 ? text_take(to, option, path) : wrong(option, path, "cannot be read");
}

static bool tls_take(options *o, const char *text)
{
    o->tls_count = 0;
    if (strcmp(text, "1.2") == 0 || strcmp(text, "1.2,1.3") == 0)
        o->tls[o->tls_count++] = 12;
    if (strcmp(text, "1.3") == 0 || strcmp(text, "1.2,1.3") == 0)
        o->tls[o->tls_count++] = 13;
    return o->tls_count > 0 || wrong("tls", text, "not 1.2, 1.3 or 1.2,1.3");
}

static bool contestant_take(void *arg, const char *name)
{
    options *o = arg;
    const contestant *who = contestant_find(name);

    if (who == NULL || o->who_count == CONTESTANTS_MAX)
        return wrong("only", name, "no such contestant; --help lists them");
    o->who[o->who_count++] = who;
    return true;
}

static bool only_take(options *o, const char *list)
{
    o->who_count = 0;
    return option_items(list, contestant_take, o);
}

static bool key_take(options *o, key_kind kind, const char *option, const char *label)
{
    o->keys[kind] = true;
    return text_take(o->stage.labels[kind], option, label);
}

/* Options whose defaults depend on others, kept until all are read. */
struct texts {
    const char *at_once, *latency;
};

static bool stage_take(options *o, int letter)
{
    switch (letter) {
    case 'm':
        return file_take(o->stage.module, "module", optarg);
    case 'P':
        return text_take(o->stage.pin, "pin", optarg);
    case 't':
        return text_take(o->stage.token, "token", optarg);
    case 'i':
        return text_take(o->stage.init_args, "init-args", optarg);
    case 'r':
        return key_take(o, KEY_RSA, "rsa", optarg);
    case 'e':
        return key_take(o, KEY_EC, "ec", optarg);
    case 'E':
        return key_take(o, KEY_ED25519, "ed25519", optarg);
    case 'v':
        return file_take(o->stage.provider, "provider", optarg);
    case 'x':
        return file_take(o->stage.peer, "peer", optarg);
    case 'w':
        return file_take(o->stage.shim, "shim", optarg);
    default: /* getopt has said what is wrong */
        return false;
    }
}

static bool option_take(options *o, struct texts *t, int letter)
{
    size_t number;

    switch (letter) {
    case 'T':
        return tls_take(o, optarg);
    case 'n':
        t->at_once = optarg;
        return true;
    case 'l':
        t->latency = optarg;
        return true;
    case 's':
        if (!option_number(PROGRAM, "sessions", optarg, 1, AT_ONCE_MAX, &number))
            return false;
        o->stage.sessions = (unsigned)number;
        return true;
    case 'o':
        return only_take(o, optarg);
    case 'R':
        return option_number(PROGRAM, "rounds", optarg, 1, ROUNDS_MAX, &o->rounds);
    case 'S':
        return option_number(PROGRAM, "stretch", optarg, 1, STRETCH_MS_MAX, &o->stretch_ms);
    case 'q':
        return o->quick = true;
    case 'c':
        return o->check = true;
    case 'j':
        o->json = optarg;
        return true;
    case 'p':
        o->plot = optarg;
        return true;
    default:
        return stage_take(o, letter);
    }
}

/* Files of this build lie beside this program. "" if there is none: that is said when it is needed. */
static void built_find(char to[TEXT_MAX], const char *relative)
{
    char self[TEXT_MAX], path[2 * TEXT_MAX];
    ssize_t len = readlink("/proc/self/exe", self, sizeof(self) - 1);

    self[len > 0 ? len : 0] = '\0';
    snprintf(path, sizeof(path), "%s/%s", dirname(self), relative);
    if (to[0] == '\0' && strlen(path) < TEXT_MAX && access(path, R_OK) == 0)
        memcpy(to, path, strlen(path) + 1);
}

static void contestants_default(options *o)
{
    size_t count;
    const contestant *list = contestants_list(&count);

    for (size_t i = 0; i < count; i++)
        if (list[i].loaded != LOADED_PEER || o->stage.peer[0] != '\0')
            o->who[o->who_count++] = &list[i];
}

static bool complete(options *o, const struct texts *t)
{
    const char *at_once = t->at_once != NULL ? t->at_once : o->quick ? AT_ONCE_QUICK : AT_ONCE;
    const char *latency = t->latency != NULL ? t->latency : o->quick ? LATENCY_QUICK : LATENCY;
    bool any = false;

    for (size_t i = 0; i < KEY_KINDS; i++)
        any = any || o->keys[i];
    if (o->stage.module[0] == '\0' || !any) {
        fprintf(stderr, PROGRAM ": --module and one of --rsa, --ec and --ed25519 are needed; "
                                "scripts/bench handshakes makes a token and gives them\n");
        return false;
    }
    built_find(o->stage.provider, "../provider/sealane.so");
    built_find(o->stage.shim, "../tests/modules/sealane-fault.so");
    if (o->stage.peer[0] == '\0' && access(BENCH_MODULESDIR "/pkcs11.so", R_OK) == 0)
        snprintf(o->stage.peer, TEXT_MAX, "%s", BENCH_MODULESDIR "/pkcs11.so");
    if (o->who_count == 0)
        contestants_default(o);
    if (!option_numbers(PROGRAM, "at-once", at_once, 1, AT_ONCE_MAX, o->at_once, LIST_MAX,
                        &o->at_once_count) ||
        !option_numbers(PROGRAM, "latency", latency, 0, 10000, o->latency, LIST_MAX, &o->latency_count))
        return false;
    if (o->stage.provider[0] == '\0')
        return wrong("provider", "", "sealane.so of this build is not there");
    if (o->stage.shim[0] == '\0' && o->latency[o->latency_count - 1] > 0)
        return wrong("shim", "", "sealane-fault.so of this build is not there, and latency needs it");
    return true;
}

options_result options_read(options *out, int argc, char **argv)
{
    static const struct option known[] = {
        {"module", required_argument, NULL, 'm'},
        {"pin", required_argument, NULL, 'P'},
        {"token", required_argument, NULL, 't'},
        {"rsa", required_argument, NULL, 'r'},
        {"ec", required_argument, NULL, 'e'},
        {"ed25519", required_argument, NULL, 'E'},
        {"tls", required_argument, NULL, 'T'},
        {"at-once", required_argument, NULL, 'n'},
        {"latency", required_argument, NULL, 'l'},
        {"sessions", required_argument, NULL, 's'},
        {"only", required_argument, NULL, 'o'},
        {"rounds", required_argument, NULL, 'R'},
        {"stretch", required_argument, NULL, 'S'},
        {"quick", no_argument, NULL, 'q'},
        {"provider", required_argument, NULL, 'v'},
        {"peer", required_argument, NULL, 'x'},
        {"init-args", required_argument, NULL, 'i'},
        {"shim", required_argument, NULL, 'w'},
        {"json", required_argument, NULL, 'j'},
        {"plot", required_argument, NULL, 'p'},
        {"check", no_argument, NULL, 'c'},
        {"help", no_argument, NULL, 'h'},
        {NULL, 0, NULL, 0},
    };
    struct texts texts = {NULL, NULL};
    int letter;

    memset(out, 0, sizeof(*out));
    out->stage.sessions = SESSIONS;
    (void)tls_take(out, "1.2,1.3");
    while ((letter = getopt_long(argc, argv, "h", known, NULL)) != -1) {
        if (letter == 'h') {
            help_print();
            return OPTIONS_HELP;
        }
        if (!option_take(out, &texts, letter))
            return OPTIONS_WRONG;
    }
    if (optind < argc) {
        fprintf(stderr, PROGRAM ": what is %s? --help lists the options\n", argv[optind]);
        return OPTIONS_WRONG;
    }
    return complete(out, &texts) ? OPTIONS_RUN : OPTIONS_WRONG;
}
