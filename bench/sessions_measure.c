/* SPDX-License-Identifier: Apache-2.0 */
#include "sessions_measure.h"

#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "clock.h"
#include "sessions_pair.h"

#define TIMED_BYTES    (1u << 20) /* of a round, so that it is long enough to be timed */
#define TURNS_MAX      64
#define MEMORY_PAIRS   256
#define ADOPTION_PAIRS 16

static bool complain(const sealane_suite *suite, const char *what)
{
    fprintf(stderr, "bench-sessions: %s: %s\n", suite->name, what);
    return false;
}

/* ---- Records ---- */

/* What both contestants work on. */
typedef struct bench {
    pairs libssl, sessions;
    size_t size, batch;
    uint8_t *payload, *got; /* got: room for TLS 1.3's type byte behind each */
    uint8_t *wire;
    size_t wire_room; /* of each connection */
    sealane_session_op *ops;
} bench;

static bool libssl_turn(bench *b)
{
    for (size_t i = 0; i < b->batch; i++)
        if (SSL_write(b->libssl.list[i].ssl[PAIR_SERVER], b->payload, (int)b->size) != (int)b->size)
            return false;
    for (size_t i = 0; i < b->batch; i++)
        if (SSL_read(b->libssl.list[i].ssl[PAIR_CLIENT], b->got, (int)b->size) != (int)b->size)
            return false;
    return true;
}

static bool session_turn(bench *b)
{
    for (size_t i = 0; i < b->batch; i++)
        b->ops[i] = (sealane_session_op){.session = b->sessions.list[i].session[PAIR_SERVER],
                                         .in = b->payload,
                                         .in_len = b->size,
                                         .out = b->wire + i * b->wire_room,
                                         .out_size = b->wire_room};
    sealane_sessions_seal(b->ops, b->batch);
    for (size_t i = 0; i < b->batch; i++) {
        if (b->ops[i].result != SEALANE_OK || b->ops[i].consumed != b->size)
            return false;
        b->ops[i] = (sealane_session_op){.session = b->sessions.list[i].session[PAIR_CLIENT],
                                         .in = b->ops[i].out,
                                         .in_len = b->ops[i].produced,
                                         .out = b->got + i * (b->size + 1),
                                         .out_size = b->size + 1};
    }
    sealane_sessions_open(b->ops, b->batch);
    for (size_t i = 0; i < b->batch; i++)
        if (b->ops[i].result != SEALANE_OK || b->ops[i].produced != b->size)
            return false;
    return true;
}

static size_t turns_of(const bench *b)
{
    size_t turns = TIMED_BYTES / (b->batch * (b->size + 256)) + 1;

    return turns < TURNS_MAX ? turns : TURNS_MAX;
}

/* Nanoseconds per record, negative if it failed. */
static double round_time(bench *b, bool (*turn)(bench *))
{
    size_t turns = turns_of(b);
    double start;
    bool done = turn(b); /* warm */

    start = clock_now();
    for (size_t i = 0; i < turns && done; i++)
        done = turn(b);
    double ns = (clock_now() - start) / (double)(turns * b->batch);
    return done && memcmp(b->got, b->payload, b->size) == 0 ? ns : -1;
}

static bool bench_begin(bench *b, const records_case *c)
{
    memset(b, 0, sizeof(*b));
    b->size = c->size;
    b->batch = c->batch;
    if (!pairs_make(&b->libssl, c->suite, c->batch, false) ||
        !pairs_make(&b->sessions, c->suite, c->batch, true) || !pairs_greet(&b->libssl) ||
        !pairs_greet(&b->sessions) || !pairs_take(&b->sessions, PAIR_CLIENT) ||
        !pairs_take(&b->sessions, PAIR_SERVER))
        return false;
    b->wire_room = sealane_session_seal_size(b->sessions.list[0].session[PAIR_SERVER], c->size);
    b->payload = malloc(c->size);
    b->got = malloc(c->batch * (c->size + 1));
    b->wire = malloc(c->batch * b->wire_room);
    b->ops = calloc(c->batch, sizeof(b->ops[0]));
    if (b->payload == NULL || b->got == NULL || b->wire == NULL || b->ops == NULL)
        return false;
    for (size_t i = 0; i < c->size; i++)
        b->payload[i] = (uint8_t)(i * 131 + i / 251);
    return true;
}

static void bench_end(bench *b)
{
    pairs_free(&b->libssl);
    pairs_free(&b->sessions);
    free(b->payload);
    free(b->got);
    free(b->wire);
    free(b->ops);
}

bool records_measure(records_case *c, size_t rounds)
{
    double *libssl = calloc(rounds, sizeof(libssl[0])), *session = calloc(rounds, sizeof(session[0]));
    double *room = calloc(rounds, sizeof(room[0]));
    static bench b;
    bool done = bench_begin(&b, c) && libssl != NULL && session != NULL && room != NULL;

    for (size_t i = 0; i < rounds && done; i++) {
        libssl[i] = round_time(&b, libssl_turn);
        session[i] = round_time(&b, session_turn);
        done = libssl[i] > 0 && session[i] > 0;
    }
    if (done) {
        c->ratio = stats_ratio(libssl, session, rounds, room);
        c->libssl_ns = stats_spread(libssl, rounds);
        c->session_ns = stats_spread(session, rounds);
    }
    bench_end(&b);
    free(libssl);
    free(session);
    free(room);
    return done || complain(c->suite, "records did not arrive");
}

/* ---- Memory ---- */

static double heap_used(void)
{
    struct mallinfo2 now = mallinfo2();

    return (double)now.uordblks + (double)now.hblkhd;
}

/* What is given back when one end of each connection goes away. */
static double end_measure(pairs *p)
{
    double before = heap_used();

    pairs_end(p, PAIR_SERVER);
    return (before - heap_used()) / (double)p->count;
}

static bool libssl_memory(const sealane_suite *suite, bool release, double *out)
{
    static char text[16384];
    pairs p;

    if (!pairs_make(&p, suite, MEMORY_PAIRS, false))
        return false;
    for (size_t i = 0; i < p.count && release; i++)
        SSL_set_mode(p.list[i].ssl[PAIR_SERVER], SSL_MODE_RELEASE_BUFFERS);
    for (size_t i = 0; i < p.count; i++)
        if (SSL_write(p.list[i].ssl[PAIR_SERVER], text, sizeof(text)) <= 0 ||
            SSL_read(p.list[i].ssl[PAIR_CLIENT], text, sizeof(text)) <= 0 ||
            SSL_write(p.list[i].ssl[PAIR_CLIENT], text, 100) <= 0 ||
            SSL_read(p.list[i].ssl[PAIR_SERVER], text, 100) <= 0)
            return false;
    *out = end_measure(&p);
    pairs_free(&p);
    return true;
}

/* Short and long records both ways, so that whatever is expanded at first use is there. */
static bool sessions_use(pairs *p)
{
    static const size_t sizes[] = {1, 64, 1400, 16384};
    static uint8_t text[16384], wire[2 * SEALANE_RECORD_MAX], got[SEALANE_SESSION_OPEN_ROOM];

    for (size_t i = 0; i < p->count; i++)
        for (size_t s = 0; s < 2 * sizeof(sizes) / sizeof(sizes[0]); s++) {
            sealane_session_op op = {.session = p->list[i].session[s % 2],
                                     .in = text,
                                     .in_len = sizes[s / 2],
                                     .out = wire,
                                     .out_size = sizeof(wire)};
            sealane_sessions_seal(&op, 1);
            op = (sealane_session_op){.session = p->list[i].session[1 - s % 2],
                                      .in = wire,
                                      .in_len = op.produced,
                                      .out = got,
                                      .out_size = sizeof(got)};
            sealane_sessions_open(&op, 1);
            if (op.result != SEALANE_OK || op.produced != sizes[s / 2])
                return false;
        }
    return true;
}

static bool session_memory(const sealane_suite *suite, double *out)
{
    pairs p;

    if (!pairs_make(&p, suite, MEMORY_PAIRS, true) || !pairs_greet(&p) || !pairs_take(&p, PAIR_CLIENT) ||
        !pairs_take(&p, PAIR_SERVER) || !sessions_use(&p))
        return false;
    *out = end_measure(&p);
    pairs_free(&p);
    return true;
}

bool memory_measure(memory_case *c)
{
    return (libssl_memory(c->suite, false, &c->libssl) &&
            libssl_memory(c->suite, true, &c->libssl_released) && session_memory(c->suite, &c->session)) ||
           complain(c->suite, "the memory of its connections could not be measured");
}

/* ---- Adoption ---- */

/* Microseconds per connection, negative if it failed. */
static double takeover_time(const adoption_case *c, bool take)
{
    int side = c->server ? PAIR_SERVER : PAIR_CLIENT;
    double start, us;
    bool done = true;
    pairs p;

    if (!pairs_make(&p, c->suite, ADOPTION_PAIRS, true) || !pairs_greet(&p))
        return -1;
    start = clock_now();
    if (take)
        done = pairs_take(&p, side);
    else
        pairs_end(&p, side);
    us = (clock_now() - start) / 1000 / ADOPTION_PAIRS;
    pairs_free(&p);
    return done ? us : -1;
}

bool adoption_measure(adoption_case *c, size_t rounds)
{
    double *takeover = calloc(rounds, sizeof(takeover[0])), *ends = calloc(rounds, sizeof(ends[0]));
    bool done = takeover != NULL && ends != NULL;

    for (size_t i = 0; i < rounds && done; i++) {
        takeover[i] = takeover_time(c, true);
        ends[i] = takeover_time(c, false);
        done = takeover[i] > 0 && ends[i] > 0;
    }
    if (done) {
        c->takeover_us = stats_spread(takeover, rounds);
        c->ssl_free_us = stats_spread(ends, rounds);
    }
    free(takeover);
    free(ends);
    return done || complain(c->suite, "its connections could not be taken over");
}
