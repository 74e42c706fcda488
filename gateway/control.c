/* SPDX-License-Identifier: Apache-2.0 */
/* What sealanectl asks; see control.h. */
#include "control.h"
#include "answerer.h"
#include "counters.h"
#include "daemon.h"
#include "json.h"
#include "loop.h"
#include "session.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

struct control {
    struct answerer *answerer;
    struct daemon *daemon;
    struct gather *gathers; /* under way */
    bool closed;
};

/* ---- Writing either way ---- */

struct writer {
    FILE *out;
    bool json;
    bool first;
};

static void write_key(struct writer *w, const char *key)
{
    if (w->json)
        fprintf(w->out, "%s\"%s\":", w->first ? "" : ",", key);
    else
        fprintf(w->out, "%-24s ", key);
    w->first = false;
}

static void write_number(struct writer *w, const char *key, long long value)
{
    write_key(w, key);
    fprintf(w->out, w->json ? "%lld" : "%lld\n", value);
}

static void write_text(struct writer *w, const char *key, const char *value)
{
    write_key(w, key);
    if (w->json)
        json_string(w->out, value);
    else
        fprintf(w->out, "%s\n", value);
}

/* ---- status ---- */

static void write_certificates(struct writer *w, const struct config *config)
{
    time_t now = time(NULL);
    bool first = true;

    if (w->json)
        fputs(",\"certificates\":[", w->out);
    for (size_t i = 0; i < config->tls.server_count; i++) {
        for (size_t k = 0; k < config->tls.servers[i].certificate_count; k++) {
            const struct tls_certificate *c = &config->tls.servers[i].certificates[k];
            long long days = (c->expires_at - (long long)now) / 86400;
            if (w->json)
                fprintf(w->out,
                        "%s{\"connector\":\"%s\",\"name\":\"%s\",\"key\":\"%s\",\"held_by\":\"%s\","
                        "\"expires\":\"%s\",\"days\":%lld}",
                        first ? "" : ",", config->settings.receives[i].name, c->name, c->key_type,
                        c->key_provider, c->expires, days);
            else
                fprintf(w->out, "%-24s %s, %s, key in %s, %lld days left\n",
                        config->settings.receives[i].name, c->name, c->key_type, c->key_provider, days);
            first = false;
        }
    }
    if (w->json)
        fputs("]", w->out);
}

static void write_status(FILE *out, const struct daemon *d, bool json)
{
    struct writer w = {.out = out, .json = json, .first = true};
    unsigned long long signing = 0, sessions = 0, hops = 0, idle = 0;

    for (unsigned i = 0; i < d->gateway.loop_count; i++) {
        signing += atomic_load(&d->gateway.loops[i].signing);
        sessions += atomic_load(&d->gateway.loops[i].session_count);
        hops += atomic_load(&d->gateway.loops[i].hop_count);
        idle += atomic_load(&d->gateway.loops[i].idle_count);
    }
    if (json)
        fputc('{', out);
    write_text(&w, "version", SEALANE_VERSION);
    write_text(&w, "state", d->stopping ? "draining" : "running");
    write_text(&w, "settings", d->gateway.file);
    write_number(&w, "settings_generation", d->generation);
    write_number(&w, "reloads_failed", d->failed_reloads);
    write_number(&w, "uptime_seconds", (long long)time(NULL) - (long long)d->gateway.started);
    write_number(&w, "loops", d->gateway.loop_count);
    write_number(&w, "sessions", (long long)sessions);
    write_number(&w, "hops", (long long)hops);
    write_number(&w, "hops_idle", (long long)idle);
    write_number(&w, "signing_queue", (long long)signing);
    for (size_t i = 0; i < counter_count; i++)
        write_number(&w, counter_table[i].name, (long long)counters_sum(&d->gateway, &counter_table[i]));
    write_certificates(&w, d->gateway.config);
    if (json)
        fputs("}\n", out);
}

/* ---- sessions: each loop tells its own ---- */

struct piece {
    struct loop_call call;
    struct gather *gather;
    char *text;
    size_t len;
};

struct gather {
    struct gather *next;
    struct control *control;
    struct answer *answer; /* NULL once it was given */
    uv_async_t done;
    _Atomic unsigned pending;
    bool json;
    unsigned count;
    struct piece pieces[];
};

static void tell_sessions(struct loop *loop, struct loop_call *call)
{
    struct piece *piece = (struct piece *)call;
    struct gather *g = piece->gather;
    FILE *out = open_memstream(&piece->text, &piece->len);

    if (out != NULL) {
        session_tell_all(loop, out, g->json);
        fclose(out);
    }
    /* The last one wakes the main thread; whoever comes before must not look at `g` any more. */
    if (atomic_fetch_sub(&g->pending, 1) == 1)
        uv_async_send(&g->done);
}

static void free_gather(uv_handle_t *handle)
{
    struct gather *g = handle->data;

    for (unsigned i = 0; i < g->count; i++)
        free(g->pieces[i].text);
    free(g);
}

static void on_gathered(uv_async_t *done)
{
    struct gather *g = done->data;
    char *text = NULL;
    size_t len = 0;
    FILE *out = open_memstream(&text, &len);
    bool first = true;

    if (out != NULL) {
        fputs(g->json ? "ok\n[" : "ok\n", out);
        for (unsigned i = 0; i < g->count; i++) {
            if (g->pieces[i].len == 0)
                continue;
            fprintf(out, "%s%s", g->json && !first ? "," : "", g->pieces[i].text);
            first = false;
        }
        fputs(g->json ? "]\n" : "", out);
        fclose(out);
    }
    for (struct gather **at = &g->control->gathers; *at != NULL; at = &(*at)->next) {
        if (*at == g) {
            *at = g->next;
            break;
        }
    }
    answer_send(g->answer, text, len);
    uv_close((uv_handle_t *)&g->done, free_gather);
}

static void gather_sessions(struct control *c, struct answer *answer, bool json)
{
    struct gateway *gateway = &c->daemon->gateway;
    struct gather *g = calloc(1, sizeof *g + gateway->loop_count * sizeof g->pieces[0]);

    if (g == NULL || c->daemon->stopping) { /* loops may be over: nobody would answer */
        free(g);
        answer_send(answer, strdup("error\nsealane-gateway is stopping\n"), 30);
        return;
    }
    g->control = c;
    g->answer = answer;
    g->json = json;
    g->count = gateway->loop_count;
    atomic_init(&g->pending, g->count);
    g->next = c->gathers;
    c->gathers = g;
    uv_async_init(&c->daemon->uv, &g->done, on_gathered);
    g->done.data = g;
    for (unsigned i = 0; i < g->count; i++) {
        g->pieces[i].gather = g;
        g->pieces[i].call.run = tell_sessions;
        loop_post(&gateway->loops[i], &g->pieces[i].call);
    }
}

/* ---- Questions ---- */

static void write_reload(FILE *out, struct daemon *d)
{
    char *text = NULL;
    size_t len = 0;
    FILE *errors = open_memstream(&text, &len);
    bool good = false;

    if (errors != NULL) {
        good = !d->stopping && daemon_reload(d, errors);
        fclose(errors);
    }
    fprintf(out, "%s\n%s", good ? "ok" : "error", text != NULL ? text : "out of memory\n");
    if (good)
        fprintf(out, "settings %u are in force\n", d->generation);
    else if (len == 0)
        fputs(d->stopping ? "sealane-gateway is stopping\n" : "nothing was changed\n", out);
    free(text);
}

static void on_question(void *owner, struct answer *answer, const char *question)
{
    struct control *c = owner;
    bool json = strstr(question, " json") != NULL;
    size_t verb = strcspn(question, " \r");
    char *text = NULL;
    size_t len = 0;
    FILE *out;

    if (verb == 8 && strncmp(question, "sessions", verb) == 0) {
        gather_sessions(c, answer, json);
        return;
    }
    out = open_memstream(&text, &len);
    if (out == NULL) {
        answer_send(answer, NULL, 0);
        return;
    }
    if (verb == 6 && strncmp(question, "status", verb) == 0) {
        fputs("ok\n", out);
        write_status(out, c->daemon, json);
    } else if (verb == 6 && strncmp(question, "reload", verb) == 0) {
        write_reload(out, c->daemon);
    } else if (verb == 5 && strncmp(question, "drain", verb) == 0) {
        fputs("ok\ndraining\n", out);
        daemon_drain(c->daemon, "sealanectl drain");
    } else {
        fputs("error\nunknown question\n", out);
    }
    fclose(out);
    answer_send(answer, text, len);
}

bool control_open(struct control **out, struct daemon *daemon, FILE *errors)
{
    const struct settings *s = &daemon->gateway.config->settings;
    struct control *c;

    *out = NULL;
    if (s->control.text == NULL)
        return true;
    c = calloc(1, sizeof *c);
    if (c != NULL) {
        c->daemon = daemon;
        c->answerer = answerer_open(&daemon->uv, s->control.text, 0600, "\n", on_question, c);
    }
    if (c == NULL || c->answerer == NULL) {
        settings_complain(s, errors, s->control.line, "control", "cannot listen on %s: %s", s->control.text,
                          strerror(errno));
        free(c);
        return false;
    }
    *out = c;
    return true;
}

/* Loops are over: what they have been asked and not told they never will. */
void control_close(struct control *c)
{
    if (c == NULL)
        return;
    while (c->gathers != NULL) {
        struct gather *g = c->gathers;
        c->gathers = g->next;
        answer_send(g->answer, NULL, 0);
        uv_close((uv_handle_t *)&g->done, free_gather);
    }
    answerer_close(c->answerer);
    free(c);
}
