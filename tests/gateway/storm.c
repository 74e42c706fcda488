/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A storm of STARTTLS sessions through the gateway, and the sink behind it.
 *
 * Each message can be made again from its session's and its own number, so the sink compares every byte that
 * arrives. At the end each message that was answered 250 must have arrived once, whole; none that was refused
 * may have. One blocking thread per connection on both sides: what is tested is the gateway, so this must be
 * easy to believe.
 *
 *   gateway_storm --sessions N --seconds S [--port P] [--messages M] [--size BYTES] [--sink-chain F
 * --sink-key F]
 *
 * Prints "sink PORT" and, without --port, reads the gateway's port from stdin. Every session opens one
 * connection after another with M messages each. Exit status 0 if nothing was lost, doubled or changed.
 */
#include <arpa/inet.h>
#include <getopt.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>
#include <openssl/ssl.h>

static struct {
    int sessions, messages;
    long seconds;
    size_t size;
    int port;
    const char *sink_chain, *sink_key;
} options = {.sessions = 200, .messages = 3, .seconds = 30, .size = 20000};

#define PATIENCE_SECONDS 120 /* for a reply; only ends a run that hangs */
#define DIE(what)                                                                                            \
    do {                                                                                                     \
        perror(what);                                                                                        \
        exit(2);                                                                                             \
    } while (0)

/* ---- What was sent and what arrived ---- */

enum fate { FATE_UNKNOWN, FATE_TAKEN, FATE_REFUSED };

struct record {
    uint8_t fate;    /* what the sender was told */
    uint8_t arrived; /* how often */
};

struct ledger { /* of one session */
    struct record *records;
    uint32_t count, room;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct ledger *ledgers;
static uint64_t corrupted, unknown_messages, refused_replies, broken_sessions, connections_made;
static atomic_bool stop;
static atomic_int sinks_open;

static uint32_t new_record(int session)
{
    struct ledger *l = &ledgers[session];

    pthread_mutex_lock(&lock);
    if (l->count == l->room) {
        l->room = l->room == 0 ? 64 : 2 * l->room;
        l->records = realloc(l->records, l->room * sizeof *l->records);
        if (l->records == NULL)
            DIE("realloc");
    }
    l->records[l->count] = (struct record){0};
    uint32_t number = l->count++;
    pthread_mutex_unlock(&lock);
    return number;
}

static void note_fate(int session, uint32_t number, enum fate fate)
{
    pthread_mutex_lock(&lock);
    ledgers[session].records[number].fate = (uint8_t)fate;
    refused_replies += fate == FATE_REFUSED;
    pthread_mutex_unlock(&lock);
}

static void add_to(uint64_t *counter)
{
    pthread_mutex_lock(&lock);
    ++*counter;
    pthread_mutex_unlock(&lock);
}

/* ---- Messages ---- */

static uint64_t mix(uint64_t *state) /* splitmix64: Steele, Lea, Flood, OOPSLA 2014 */
{
    uint64_t z = *state += 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

struct text {
    char *bytes;
    size_t length, room;
};

static void append(struct text *t, const char *bytes, size_t len)
{
    if (t->length + len > t->room) {
        t->room = 2 * (t->length + len);
        t->bytes = realloc(t->bytes, t->room);
        if (t->bytes == NULL)
            DIE("realloc");
    }
    memcpy(t->bytes + t->length, bytes, len);
    t->length += len;
}

/* The message as it goes over the wire, dots stuffed, without the final dot. */
static void make_message(struct text *t, int session, uint32_t number)
{
    uint64_t state = (uint64_t)session << 32 | number;
    size_t target = 200 + mix(&state) % options.size;
    char line[256];

    t->length = 0;
    append(t, line,
           (size_t)snprintf(line, sizeof line, "X-Storm: %d %u\r\nSubject: storm\r\n\r\n", session, number));
    while (t->length < target) {
        uint64_t word = mix(&state);
        size_t len = word % 80;
        if (word >> 60 == 0) {
            append(t, "..", 2);
        } else if (word >> 60 == 1) {
            append(t, "...\r\n", 5);
            continue;
        }
        for (size_t i = 0; i < len; i++)
            line[i] = (char)(' ' + 1 +
                             (word = word * 6364136223846793005u + 1442695040888963407u, word >> 33) % 90);
        if (len > 0 && line[0] == '.')
            line[0] = ',';
        append(t, line, len);
        append(t, "\r\n", 2);
    }
}

/* ---- Connections ---- */

struct wire {
    int fd;
    SSL *ssl;
    char held[65536];
    size_t start, end;
};

static bool wire_write(struct wire *w, const char *bytes, size_t len)
{
    while (len > 0) {
        int part = len < 16384 ? (int)len : 16384;
        int n = w->ssl != NULL ? SSL_write(w->ssl, bytes, part)
                               : (int)send(w->fd, bytes, (size_t)part, MSG_NOSIGNAL);
        if (n <= 0)
            return false;
        bytes += n;
        len -= (size_t)n;
    }
    return true;
}

/* The next line with its line end; NULL at the end. Good until the next call. */
static char *wire_line(struct wire *w, size_t *len)
{
    for (;;) {
        char *from = w->held + w->start;
        char *lf = memchr(from, '\n', w->end - w->start);
        if (lf != NULL) {
            *len = (size_t)(lf - from) + 1;
            w->start += *len;
            return from;
        }
        memmove(w->held, from, w->end - w->start);
        w->end -= w->start;
        w->start = 0;
        int room = (int)(sizeof w->held - w->end);
        int n = w->ssl != NULL ? SSL_read(w->ssl, w->held + w->end, room)
                               : (int)recv(w->fd, w->held + w->end, (size_t)room, 0);
        if (n <= 0)
            return NULL;
        w->end += (size_t)n;
    }
}

static void wire_close(struct wire *w)
{
    if (w->ssl != NULL)
        SSL_shutdown(w->ssl);
    SSL_free(w->ssl);
    close(w->fd);
    free(w);
}

static struct wire *new_wire(int fd)
{
    struct wire *w = calloc(1, sizeof *w);
    const struct timeval patience = {.tv_sec = PATIENCE_SECONDS};
    const int on = 1;

    if (w == NULL)
        DIE("calloc");
    w->fd = fd;
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    return w;
}

static bool wire_secure(struct wire *w, SSL_CTX *ctx, bool server, int session)
{
    if (w->start != w->end)
        return false;
    w->ssl = SSL_new(ctx);
    if (w->ssl == NULL)
        DIE("SSL_new");
    SSL_set_fd(w->ssl, w->fd);
    /* All kinds of handshake: both versions, both kinds of key. */
    if (!server && session % 2 == 0) {
        SSL_set_max_proto_version(w->ssl, TLS1_2_VERSION);
        SSL_set_cipher_list(w->ssl, session % 4 == 0 ? "aRSA" : "aECDSA");
    } else if (!server && session % 4 == 1) {
        SSL_set1_sigalgs_list(w->ssl, "rsa_pss_rsae_sha256");
    }
    return (server ? SSL_accept(w->ssl) : SSL_connect(w->ssl)) == 1;
}

/* ---- Sink ---- */

static SSL_CTX *sink_ctx, *client_ctx;

/* Behind the gateway's Received field: what was sent, or something is wrong. */
static void judge_arrival(const struct text *got, struct text *wanted)
{
    size_t at = 0;
    int session;
    uint32_t number;

    if (got->length > 9 && memcmp(got->bytes, "Received:", 9) == 0) {
        do {
            const char *lf = memchr(got->bytes + at, '\n', got->length - at);
            at = lf != NULL ? (size_t)(lf - got->bytes) + 1 : got->length;
        } while (at < got->length && (got->bytes[at] == '\t' || got->bytes[at] == ' '));
    }
    char head[64];
    snprintf(head, sizeof head, "%.*s", (int)(got->length - at < 60 ? got->length - at : 60),
             got->bytes + at);
    if (sscanf(head, "X-Storm: %d %u", &session, &number) != 2 || session < 0 ||
        session >= options.sessions) {
        add_to(&unknown_messages);
        return;
    }
    make_message(wanted, session, number);
    bool whole =
        wanted->length == got->length - at && memcmp(wanted->bytes, got->bytes + at, wanted->length) == 0;
    pthread_mutex_lock(&lock);
    if (number >= ledgers[session].count)
        unknown_messages++;
    else if (!whole)
        corrupted++;
    else
        ledgers[session].records[number].arrived++;
    pthread_mutex_unlock(&lock);
}

static bool sink_message(struct wire *w, struct text *got, struct text *wanted)
{
    size_t len;
    char *line;

    got->length = 0;
    if (!wire_write(w, "354 go\r\n", 8))
        return false;
    while ((line = wire_line(w, &len)) != NULL && !(len == 3 && memcmp(line, ".\r\n", 3) == 0))
        append(got, line, len);
    if (line == NULL)
        return false; /* no final dot: nothing was delivered */
    judge_arrival(got, wanted);
    return wire_write(w, "250 2.0.0 taken\r\n", 17);
}

static bool sink_command(struct wire *w, const char *line, struct text *got, struct text *wanted)
{
    if (strncmp(line, "EHLO", 4) == 0) {
        const char *answer = w->ssl == NULL && sink_ctx != NULL
                                 ? "250-sink\r\n250-PIPELINING\r\n250-8BITMIME\r\n250 STARTTLS\r\n"
                                 : "250-sink\r\n250-PIPELINING\r\n250 8BITMIME\r\n";
        return wire_write(w, answer, strlen(answer));
    }
    if (strncmp(line, "STARTTLS", 8) == 0)
        return wire_write(w, "220 go\r\n", 8) && wire_secure(w, sink_ctx, true, 0);
    if (strncmp(line, "DATA", 4) == 0)
        return sink_message(w, got, wanted);
    return wire_write(w, "250 2.0.0 ok\r\n", 14);
}

static void *sink_thread(void *arg)
{
    struct wire *w = arg;
    struct text got = {0}, wanted = {0};
    size_t len;
    char *line;
    bool good = wire_write(w, "220 sink\r\n", 10);

    while (good && (line = wire_line(w, &len)) != NULL) {
        if (strncmp(line, "QUIT", 4) == 0) {
            wire_write(w, "221 bye\r\n", 9);
            break;
        }
        good = sink_command(w, line, &got, &wanted);
    }
    wire_close(w);
    free(got.bytes);
    free(wanted.bytes);
    atomic_fetch_sub(&sinks_open, 1);
    return NULL;
}

static void start_thread(pthread_t *thread, void *(*run)(void *), void *arg, bool detached)
{
    pthread_attr_t attributes;

    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, 256 * 1024);
    if (detached)
        pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    if (pthread_create(thread, &attributes, run, arg) != 0)
        DIE("pthread_create");
    pthread_attr_destroy(&attributes);
}

static void *accept_thread(void *arg)
{
    int listener = *(int *)arg;
    pthread_t thread;

    for (;;) {
        int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
        if (fd < 0)
            return NULL;
        atomic_fetch_add(&sinks_open, 1);
        start_thread(&thread, sink_thread, new_wire(fd), true);
    }
}

static int open_sink(int *port)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof address;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    if (fd < 0 || bind(fd, (struct sockaddr *)&address, sizeof address) != 0 || listen(fd, 1024) != 0 ||
        getsockname(fd, (struct sockaddr *)&address, &len) != 0)
        DIE("sink");
    *port = ntohs(address.sin_port);
    return fd;
}

/* ---- Clients ---- */

/* The code of a whole reply, 0 at the end. */
static int read_reply(struct wire *w)
{
    size_t len;
    char *line;

    do {
        line = wire_line(w, &len);
        if (line == NULL || len < 5)
            return 0;
    } while (line[3] == '-');
    return atoi(line);
}

static int ask(struct wire *w, const char *command)
{
    return wire_write(w, command, strlen(command)) ? read_reply(w) : 0;
}

static struct wire *open_session(int session)
{
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
                                  .sin_port = htons((uint16_t)options.port)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct wire *w = new_wire(fd);

    add_to(&connections_made);
    if (connect(fd, (struct sockaddr *)&address, sizeof address) == 0 && read_reply(w) == 220 &&
        ask(w, "EHLO storm.test\r\n") == 250 && ask(w, "STARTTLS\r\n") == 220 &&
        wire_secure(w, client_ctx, false, session) && ask(w, "EHLO storm.test\r\n") == 250)
        return w;
    wire_close(w);
    return NULL;
}

/* False if the connection is of no more use. */
static bool send_message(struct wire *w, int session, struct text *text)
{
    uint32_t number = new_record(session);
    int code;

    make_message(text, session, number);
    if (number % 2 == 0) { /* step by step, or pipelined */
        code = ask(w, "MAIL FROM:<storm@client.test>\r\n") == 250 &&
                       ask(w, "RCPT TO:<sink@sink.test>\r\n") == 250
                   ? ask(w, "DATA\r\n")
                   : 1;
    } else {
        static const char commands[] =
            "MAIL FROM:<storm@client.test>\r\nRCPT TO:<sink@sink.test>\r\nDATA\r\n";
        code = wire_write(w, commands, sizeof commands - 1) && read_reply(w) == 250 && read_reply(w) == 250
                   ? read_reply(w)
                   : 1;
    }
    if (code != 354) {
        note_fate(session, number, FATE_REFUSED);
        return false;
    }
    if (!wire_write(w, text->bytes, text->length) || !wire_write(w, ".\r\n", 3))
        return false;
    code = read_reply(w);
    if (code != 0)
        note_fate(session, number, code == 250 ? FATE_TAKEN : FATE_REFUSED);
    return code == 250;
}

/* On a slow machine the time may be over before a session had its first message: each brings one all the same. */
static void *client_thread(void *arg)
{
    int session = (int)(intptr_t)arg;
    struct text text = {0};
    bool good = true, served = false;

    while (!atomic_load(&stop) || (good && !served)) {
        struct wire *w = open_session(session);
        good = w != NULL;
        for (int i = 0; good && i < options.messages && !(served && atomic_load(&stop)); i++)
            good = served = send_message(w, session, &text);
        if (good)
            good = ask(w, "QUIT\r\n") == 221;
        if (!good)
            add_to(&broken_sessions);
        if (w != NULL)
            wire_close(w);
    }
    free(text.bytes);
    return NULL;
}

/* ---- The run ---- */

static SSL_CTX *new_context(const SSL_METHOD *method)
{
    SSL_CTX *ctx = SSL_CTX_new(method);

    if (ctx == NULL)
        DIE("SSL_CTX_new");
    SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF);
    SSL_CTX_set_mode(ctx, SSL_MODE_RELEASE_BUFFERS);
    return ctx;
}

static void read_options(int argc, char **argv)
{
    static const struct option names[] = {{"sessions", 1, NULL, 'n'}, {"seconds", 1, NULL, 's'},
                                          {"port", 1, NULL, 'p'},     {"messages", 1, NULL, 'm'},
                                          {"size", 1, NULL, 'z'},     {"sink-chain", 1, NULL, 'c'},
                                          {"sink-key", 1, NULL, 'k'}, {NULL, 0, NULL, 0}};
    int c;

    while ((c = getopt_long(argc, argv, "", names, NULL)) != -1) {
        switch (c) {
        case 'n':
            options.sessions = atoi(optarg);
            break;
        case 's':
            options.seconds = atol(optarg);
            break;
        case 'p':
            options.port = atoi(optarg);
            break;
        case 'm':
            options.messages = atoi(optarg);
            break;
        case 'z':
            options.size = (size_t)atol(optarg);
            break;
        case 'c':
            options.sink_chain = optarg;
            break;
        case 'k':
            options.sink_key = optarg;
            break;
        default:
            exit(2);
        }
    }
}

static int report(double elapsed)
{
    uint64_t sent = 0, taken = 0, arrived = 0, lost = 0, doubled = 0, refused_but_arrived = 0, unanswered = 0;

    for (int i = 0; i < options.sessions; i++) {
        for (uint32_t k = 0; k < ledgers[i].count; k++) {
            const struct record *r = &ledgers[i].records[k];
            sent++;
            taken += r->fate == FATE_TAKEN;
            unanswered += r->fate == FATE_UNKNOWN;
            arrived += r->arrived;
            lost += r->fate == FATE_TAKEN && r->arrived == 0;
            doubled += r->arrived > 1;
            refused_but_arrived += r->fate == FATE_REFUSED && r->arrived > 0;
        }
        free(ledgers[i].records);
    }
    printf("storm: sessions=%d seconds=%.1f connections=%llu sent=%llu taken=%llu arrived=%llu refused=%llu "
           "unanswered=%llu broken_sessions=%llu\n",
           options.sessions, elapsed, (unsigned long long)connections_made, (unsigned long long)sent,
           (unsigned long long)taken, (unsigned long long)arrived, (unsigned long long)refused_replies,
           (unsigned long long)unanswered, (unsigned long long)broken_sessions);
    printf("storm: lost=%llu doubled=%llu corrupted=%llu unknown=%llu refused_but_arrived=%llu rate=%.0f/s\n",
           (unsigned long long)lost, (unsigned long long)doubled, (unsigned long long)corrupted,
           (unsigned long long)unknown_messages, (unsigned long long)refused_but_arrived,
           (double)taken / elapsed);
    bool good = lost == 0 && doubled == 0 && corrupted == 0 && unknown_messages == 0 &&
                refused_but_arrived == 0 && unanswered == 0 && broken_sessions == 0 &&
                taken >= (uint64_t)options.sessions;
    printf("storm: %s\n", good ? "nothing lost, doubled or changed" : "FAILED");
    return good ? 0 : 1;
}

int main(int argc, char **argv)
{
    struct timespec begin, end, pause = {.tv_nsec = 10000000};
    pthread_t accepter, *clients;
    int sink_port, listener;

    read_options(argc, argv);
    signal(SIGPIPE, SIG_IGN);
    ledgers = calloc((size_t)options.sessions, sizeof *ledgers);
    clients = calloc((size_t)options.sessions, sizeof *clients);
    if (ledgers == NULL || clients == NULL)
        DIE("calloc");
    client_ctx = new_context(TLS_client_method());
    if (options.sink_chain != NULL) {
        sink_ctx = new_context(TLS_server_method());
        if (SSL_CTX_use_certificate_chain_file(sink_ctx, options.sink_chain) != 1 ||
            SSL_CTX_use_PrivateKey_file(sink_ctx, options.sink_key, SSL_FILETYPE_PEM) != 1)
            DIE("the sink's certificate");
    }
    listener = open_sink(&sink_port);
    start_thread(&accepter, accept_thread, &listener, false);
    printf("sink %d\n", sink_port);
    fflush(stdout);
    if (options.port == 0 && scanf("%d", &options.port) != 1)
        DIE("no port on stdin");

    clock_gettime(CLOCK_MONOTONIC, &begin);
    for (int i = 0; i < options.sessions; i++)
        start_thread(&clients[i], client_thread, (void *)(intptr_t)i, false);
    sleep((unsigned)options.seconds);
    atomic_store(&stop, true);
    for (int i = 0; i < options.sessions; i++)
        pthread_join(clients[i], NULL);
    clock_gettime(CLOCK_MONOTONIC, &end);
    shutdown(listener, SHUT_RDWR);
    close(listener);
    pthread_join(accepter, NULL);
    /* The clients have their answers, so all is delivered; the gateway now says QUIT to the sink. */
    while (atomic_load(&sinks_open) > 0)
        nanosleep(&pause, NULL);
    int status = report((double)(end.tv_sec - begin.tv_sec) + (double)(end.tv_nsec - begin.tv_nsec) / 1e9);
    SSL_CTX_free(client_ctx);
    SSL_CTX_free(sink_ctx);
    free(ledgers);
    free(clients);
    return status;
}
