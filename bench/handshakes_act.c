/* SPDX-License-Identifier: Apache-2.0 */
/* The life of an actor: takes its part, prepares it, works as long as it is told, says what came of it. */
#include "handshakes_act.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>
#include <openssl/err.h>
#include "clock.h"

#define STACK_SIZE (256 * 1024)

bool act_failed(char why[TEXT_MAX], const char *what)
{
    const char *data = NULL;
    int flags = 0;
    unsigned long code = ERR_peek_error_all(NULL, NULL, NULL, &data, &flags);
    const char *reason = code != 0 ? ERR_reason_error_string(code) : NULL;

    snprintf(why, TEXT_MAX, "%s%s%s%s%s", what, code != 0 ? ": " : "",
             code == 0        ? ""
             : reason != NULL ? reason
                              : "unnamed error",
             code != 0 && (flags & ERR_TXT_STRING) ? ": " : "",
             code != 0 && (flags & ERR_TXT_STRING) ? data : "");
    ERR_clear_error();
    return false;
}

/* ---- One stretch ---- */

struct crew {
    struct act *act;
    pthread_barrier_t start;
    double until; /* set before `start` is passed */
    struct tally *tallies;
};

struct hand {
    struct crew *crew;
    unsigned seat;
};

static void work_until(struct act *a, unsigned seat, double until, struct tally *t)
{
    char why[TEXT_MAX];

    do {
        double began = clock_now();
        if (a->ops->once(a, seat, why))
            tally_done(t, clock_now() - began);
        else
            tally_failed(t, why);
    } while (clock_now() < until);
}

static void *hand_main(void *arg)
{
    struct hand *h = arg;
    char why[TEXT_MAX];

    /* What a thread does for the first time, such as seeding its random generator, is no part of it. */
    (void)h->crew->act->ops->once(h->crew->act, h->seat, why);
    pthread_barrier_wait(&h->crew->start);
    pthread_barrier_wait(&h->crew->start);
    work_until(h->crew->act, h->seat, h->crew->until, &h->crew->tallies[h->seat]);
    return NULL;
}

static double cpu_now(void)
{
    struct timespec now;

    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
    return (double)now.tv_sec * 1e9 + (double)now.tv_nsec;
}

static uint64_t switches_now(void)
{
    struct rusage r;

    getrusage(RUSAGE_SELF, &r);
    return (uint64_t)(r.ru_nvcsw + r.ru_nivcsw);
}

struct meter {
    double wall, cpu;
    uint64_t switches;
};

static struct meter meter_start(void)
{
    return (struct meter){.wall = clock_now(), .cpu = cpu_now(), .switches = switches_now()};
}

static void meter_stop(const struct meter *m, stretch *out)
{
    out->cpu_ns = (uint64_t)(cpu_now() - m->cpu);
    out->wall_ns = (uint64_t)(clock_now() - m->wall);
    out->switches = switches_now() - m->switches;
}

/* Threads are started and warmed up before the meter runs. False if they cannot be started. */
static bool crew_work(struct act *a, unsigned ms, stretch *out, struct tally *sum)
{
    unsigned count = a->work.at_once, started = 0;
    struct crew crew = {.act = a};
    struct hand *hands = calloc(count, sizeof(hands[0]));
    pthread_t *threads = calloc(count, sizeof(threads[0]));
    pthread_attr_t attr;

    crew.tallies = calloc(count, sizeof(crew.tallies[0]));
    pthread_barrier_init(&crew.start, NULL, count + 1);
    pthread_attr_init(&attr);
    pthread_attr_setstacksize(&attr, STACK_SIZE);
    if (hands != NULL && threads != NULL && crew.tallies != NULL)
        for (; started < count; started++) {
            hands[started] = (struct hand){&crew, started};
            if (pthread_create(&threads[started], &attr, hand_main, &hands[started]) != 0)
                break;
        }
    if (started < count)
        return false; /* those that wait for the others end with the process */
    pthread_barrier_wait(&crew.start);
    struct meter meter = meter_start();
    crew.until = clock_now() + ms * 1e6;
    pthread_barrier_wait(&crew.start);
    for (unsigned i = 0; i < count; i++)
        pthread_join(threads[i], NULL);
    meter_stop(&meter, out);
    for (unsigned i = 0; i < count; i++)
        tally_merge(sum, &crew.tallies[i]);
    pthread_attr_destroy(&attr);
    pthread_barrier_destroy(&crew.start);
    free(crew.tallies);
    free(threads);
    free(hands);
    return true;
}

static bool stretch_work(struct act *a, unsigned ms, stretch *out)
{
    struct tally sum = {0};
    bool good = true;

    memset(out, 0, sizeof(*out));
    if (a->ops->loop != NULL || a->work.at_once == 1) {
        struct meter meter = meter_start();
        if (a->ops->loop != NULL)
            a->ops->loop(a, clock_now() + ms * 1e6, &sum);
        else
            work_until(a, 0, clock_now() + ms * 1e6, &sum);
        meter_stop(&meter, out);
    } else {
        good = crew_work(a, ms, out, &sum);
    }
    out->done = sum.done;
    out->failed = sum.failed;
    out->p50_ns = tally_percentile(&sum, 0.5);
    out->p99_ns = tally_percentile(&sum, 0.99);
    memcpy(out->failure, sum.failure, sizeof(out->failure));
    return good;
}

/* ---- From main ---- */

static const struct activity_ops *ops_of(activity what)
{
    switch (what) {
    case DO_HANDSHAKES:
        return &activity_handshakes;
    case DO_LOOP:
        return &activity_loop;
    case DO_BOTH:
        return &activity_both;
    case DO_TOKEN:
        return &activity_token;
    case DO_SOFTWARE:
        return &activity_software;
    }
    return NULL;
}

static bool order_read(void *to, size_t len)
{
    for (size_t got = 0; got < len;) {
        ssize_t part = read(ACTOR_ORDER_FD, (char *)to + got, len - got);
        if (part <= 0 && !(part < 0 && errno == EINTR))
            return false;
        got += part > 0 ? (size_t)part : 0;
    }
    return true;
}

static bool answer_write(const void *from, size_t len)
{
    return write(ACTOR_ANSWER_FD, from, len) == (ssize_t)len;
}

/* One unit shows whether it works at all, some more bring caches and lazy set-up to rest. */
static bool act_begin(struct act *a, uint64_t *done)
{
    struct act_ready ready = {{0}};
    stretch warm = {0};

    if (a->ops->prepare(a, ready.failure)) {
        if (!stretch_work(a, 20, &warm))
            snprintf(ready.failure, sizeof(ready.failure), "%u threads cannot be started", a->work.at_once);
        else if (warm.failed > 0)
            memcpy(ready.failure, warm.failure, sizeof(ready.failure));
        *done += warm.done;
    }
    return answer_write(&ready, sizeof(ready)) && ready.failure[0] == '\0';
}

static bool act_orders(struct act *a, uint64_t *done)
{
    uint32_t ms;
    stretch s;

    while (order_read(&ms, sizeof(ms))) {
        if (ms == 0) {
            struct act_total total = {*done};
            return answer_write(&total, sizeof(total));
        }
        if (!stretch_work(a, ms, &s) || !answer_write(&s, sizeof(s)))
            return false;
        *done += s.done;
    }
    return false;
}

int actor_main(void)
{
    struct act_order first;
    uint64_t done = 0;
    struct act *a = calloc(1, sizeof(*a));

    if (a == NULL || !order_read(&first, sizeof(first)))
        return EXIT_FAILURE;
    a->who = contestant_find(first.contestant);
    a->work = first.work;
    a->stage = first.stage;
    if (a->who == NULL)
        return EXIT_FAILURE;
    a->ops = ops_of(a->who->activity);
    bool good = act_begin(a, &done) && act_orders(a, &done);
    a->ops->end(a);
    free(a);
    return good ? EXIT_SUCCESS : EXIT_FAILURE;
}
