/* SPDX-License-Identifier: Apache-2.0 */
/* The load generator; see gateway_load.h. */
#include "gateway_load.h"
#include "clock.h"
#include "gateway_wire.h"

#include <arpa/inet.h>
#include <errno.h>
#include <signal.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define EVENTS        256
#define DRAIN_SECONDS 20 /* for what is in flight at the end */
#define RETRY_MS      20 /* after a connection that broke: whoever restarts needs the processor more */

enum step { BANNER, EHLO, STARTTLS, SECURED, MAIL, RCPT, DATA, FINAL, QUIT, IDLE };

struct sender {
    struct wire wire;
    enum step step;
    bool open, idle;
    double retry; /* when to begin again after a connection that broke; 0: at once */
    int sent;
    uint32_t number;
    double began;
    SSL_SESSION *session;
};

struct load {
    const struct load_options *o;
    struct ledger *ledger;
    struct load_result *r;
    SSL_CTX *tls;
    int epoll;
    size_t latency_room;
    double started, ends, next_due, interval;
    bool stopping;
    int busy;
};

static struct load *current; /* for the session callback */
static volatile sig_atomic_t told_to_stop;

static void on_stop(int number)
{
    told_to_stop = number;
}

/* ---- One sender ---- */

static void begin(struct load *l, struct sender *s);

static void leave(struct load *l, struct sender *s, bool broken)
{
    if (s->wire.ssl != NULL && !broken)
        SSL_set_shutdown(s->wire.ssl,
                         SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN); /* or its session is thrown away */
    wire_close(&s->wire);
    l->busy -= s->open && !s->idle;
    s->open = false;
    l->r->broken += broken && !s->idle;
    if (s->idle)
        l->r->idle--;
    else if (broken)
        s->retry = clock_now() + RETRY_MS * 1e6;
    else if (!l->stopping && l->interval == 0)
        begin(l, s);
}

static void begin(struct load *l, struct sender *s)
{
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)l->o->port)};
    const int on = 1;
    const struct linger at_once = {.l_onoff = 1};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

    inet_pton(AF_INET, l->o->host, &to.sin_addr);
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    setsockopt(fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once); /* no TIME_WAIT: ports would run out */
    s->began = clock_now();
    s->step = BANNER;
    s->sent = 0;
    s->open = true;
    l->busy += !s->idle;
    l->r->connections++;
    if (fd < 0 || (connect(fd, (struct sockaddr *)&to, sizeof to) != 0 && errno != EINPROGRESS)) {
        perror("connect");
        exit(EXIT_FAILURE);
    }
    wire_open(&s->wire, l->epoll, fd, s);
}

static void mail(struct load *l, struct sender *s)
{
    if (s->sent > 0)
        s->began = clock_now();
    s->number = atomic_fetch_add(&l->ledger->next, 1);
    wire_puts(&s->wire, "MAIL FROM:<a@client.bench>\r\nRCPT TO:<b@sink.bench>\r\nDATA\r\n");
    s->step = MAIL;
}

static void say_content(struct load *l, struct sender *s)
{
    char head[256];

    wire_put(&s->wire, head,
             (size_t)snprintf(
                 head, sizeof head,
                 "From: a@client.bench\r\nTo: b@sink.bench\r\nSubject: bench\r\nX-Bench: %u %zu\r\n\r\n",
                 s->number, l->o->size));
    wire_body(&s->wire, message_body(l->o->size), l->o->size, ".\r\n");
    s->step = FINAL;
}

static void note_latency(struct load *l, double since)
{
    if (l->r->messages == l->latency_room) {
        l->latency_room = l->latency_room == 0 ? 65536 : 2 * l->latency_room;
        l->r->latencies = realloc(l->r->latencies, l->latency_room * sizeof(double));
        if (l->r->latencies == NULL)
            abort();
    }
    l->r->latencies[l->r->messages++] = (clock_now() - since) / 1e6;
}

static void secure(struct load *l, struct sender *s)
{
    SSL *ssl = SSL_new(l->tls);

    SSL_set_app_data(ssl, s);
    if (l->o->resume && s->session != NULL)
        SSL_set_session(ssl, s->session);
    wire_secure(&s->wire, ssl, false);
    s->step = SECURED;
}

static void greeted(struct load *l, struct sender *s)
{
    if (s->idle) {
        s->step = IDLE;
        l->r->idle++;
    } else {
        mail(l, s);
    }
}

/* One reply's last line. False: the connection is of no more use. */
static bool on_reply(struct load *l, struct sender *s, int code)
{
    static const int wanted[] = {
        [BANNER] = 220, [EHLO] = 250, [STARTTLS] = 220, [SECURED] = 250, [MAIL] = 250,
        [RCPT] = 250,   [DATA] = 354, [FINAL] = 250,    [QUIT] = 221};

    if (s->step == IDLE || code != wanted[s->step]) {
        l->r->refused += s->step != IDLE;
        return false;
    }
    switch (s->step) {
    case BANNER:
        wire_puts(&s->wire, "EHLO client.bench\r\n");
        s->step = EHLO;
        break;
    case EHLO:
        if (l->o->clear) {
            greeted(l, s);
        } else {
            wire_puts(&s->wire, "STARTTLS\r\n");
            s->step = STARTTLS;
        }
        break;
    case STARTTLS:
        secure(l, s);
        break;
    case SECURED:
        greeted(l, s);
        break;
    case MAIL:
    case RCPT:
        s->step++;
        break;
    case DATA:
        say_content(l, s);
        break;
    case FINAL:
        atomic_fetch_or(&l->ledger->fate[s->number], LEDGER_ANSWERED);
        note_latency(l, s->began);
        s->sent++;
        if (s->sent < l->o->messages && !l->stopping) {
            mail(l, s);
        } else {
            wire_puts(&s->wire, "QUIT\r\n");
            s->step = QUIT;
        }
        break;
    case QUIT:
    case IDLE:
        return false;
    }
    return true;
}

static bool take_replies(struct load *l, struct sender *s)
{
    char *line;
    size_t len;

    while ((line = wire_line(&s->wire, &len)) != NULL) {
        if (len > 3 && line[3] == '-')
            continue;
        if (!on_reply(l, s, len >= 3 ? atoi(line) : 0))
            return false;
    }
    return true;
}

static void on_event(struct load *l, struct sender *s)
{
    bool securing, more = true;

    while (more) {
        securing = s->wire.ssl != NULL && s->wire.handshaking;
        if (!wire_turn(&s->wire, s)) {
            leave(l, s, s->step != QUIT);
            return;
        }
        if (securing && !s->wire.handshaking) {
            l->r->handshakes++;
            l->r->resumed += SSL_session_reused(s->wire.ssl) == 1;
            wire_puts(&s->wire, "EHLO client.bench\r\n");
        }
        if (!take_replies(l, s)) {
            leave(l, s, s->step != QUIT);
            return;
        }
        more = (wire_is_full(&s->wire) || s->wire.handshaking) && !s->wire.wants_write &&
               !(s->wire.handshaking && securing);
    }
}

/* ---- All of them ---- */

static int keep_session(SSL *ssl, SSL_SESSION *session)
{
    struct sender *s = SSL_get_app_data(ssl);

    if (!current->o->resume)
        return 0;
    SSL_SESSION_free(s->session);
    s->session = session;
    return 1;
}

static void start_due(struct load *l, struct sender *senders)
{
    double now = clock_now();

    for (int i = 0; i < l->o->senders && l->next_due <= now; i++) {
        if (senders[i].open)
            continue;
        begin(l, &senders[i]);
        senders[i].began = l->next_due; /* who waits for a free sender waits too */
        l->next_due += l->interval * l->o->messages;
    }
}

static void start_again(struct load *l, struct sender *senders)
{
    double now = clock_now();

    for (int i = 0; i < l->o->senders; i++) {
        if (senders[i].open || senders[i].retry == 0 || senders[i].retry > now)
            continue;
        senders[i].retry = 0;
        begin(l, &senders[i]);
    }
}

static void turn(struct load *l, struct sender *senders, int wait_ms)
{
    struct epoll_event events[EVENTS];
    int count = epoll_wait(l->epoll, events, EVENTS, wait_ms);

    for (int i = 0; i < count; i++)
        on_event(l, events[i].data.ptr);
    if (l->interval > 0 && !l->stopping)
        start_due(l, senders);
    else if (!l->stopping)
        start_again(l, senders);
}

/* As an MTA does with opportunistic TLS: whoever it is. */
static int take_any(X509_STORE_CTX *store, void *arg)
{
    (void)store;
    (void)arg;
    return 1;
}

static SSL_CTX *new_tls(const struct load_options *o)
{
    SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());

    SSL_CTX_set_cert_verify_callback(ctx, take_any, NULL);
    SSL_CTX_set_read_ahead(ctx, 1);
    SSL_CTX_set_mode(ctx, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
    SSL_CTX_sess_set_new_cb(ctx, keep_session);
    if (o->tls12)
        SSL_CTX_set_max_proto_version(ctx, TLS1_2_VERSION);
    return ctx;
}

/* A few at a time: a listen queue is short. */
static bool open_idle(struct load *l, struct sender *idle)
{
    double patience = clock_now() + 120e9;

    for (int i = 0; i < l->o->idle; i++) {
        idle[i].idle = true;
        begin(l, &idle[i]);
        while (i + 1 - l->r->idle > 50 && clock_now() < patience)
            turn(l, idle, 10);
    }
    while (l->r->idle < l->o->idle && clock_now() < patience)
        turn(l, idle, 10);
    return l->r->idle == l->o->idle;
}

bool load_run(const struct load_options *o, struct ledger *ledger, struct load_result *out)
{
    struct load l = {
        .o = o, .ledger = ledger, .r = out, .epoll = epoll_create1(EPOLL_CLOEXEC), .tls = new_tls(o)};
    struct sender *senders = calloc((size_t)o->senders, sizeof *senders);
    struct sender *idle = calloc((size_t)o->idle + 1, sizeof *idle);
    uint32_t first = atomic_load(&ledger->next);
    double stopped;
    bool good;

    memset(out, 0, sizeof *out);
    current = &l;
    if (senders == NULL || idle == NULL)
        abort();
    l.stopping = true;
    good = open_idle(&l, idle);
    if (!good)
        fprintf(stderr, "bench-gateway: only %d of %d idle connections could be opened\n", out->idle,
                o->idle);
    l.stopping = false;
    out->connections = out->handshakes = 0;
    l.interval = o->rate > 0 ? 1e9 / o->rate : 0;
    l.started = l.next_due = clock_now();
    l.ends = l.started + o->seconds * 1e9;
    for (int i = 0; i < o->senders && l.interval == 0; i++)
        begin(&l, &senders[i]);
    signal(SIGTERM, on_stop);
    while (clock_now() < l.ends && !told_to_stop)
        turn(&l, senders, l.interval > 0 ? 1 : 10);
    l.stopping = true;
    stopped = clock_now();
    while (l.busy > 0 && clock_now() < stopped + DRAIN_SECONDS * 1e9)
        turn(&l, senders, 10);
    out->seconds = (clock_now() - l.started) / 1e9;
    usleep(100000); /* the sink may be a moment behind in counting */
    out->sum = ledger_count(ledger, first);
    for (int i = 0; i < o->idle; i++)
        wire_close(&idle[i].wire);
    for (int i = 0; i < o->senders; i++) {
        SSL_SESSION_free(senders[i].session);
        if (senders[i].open)
            wire_close(&senders[i].wire);
    }
    free(senders);
    free(idle);
    close(l.epoll);
    SSL_CTX_free(l.tls);
    return good;
}
