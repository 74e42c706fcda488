/* SPDX-License-Identifier: Apache-2.0 */
/* New settings for the running gateway, all or nothing. */
#include "daemon_private.h"
#include "log.h"
#include "loop.h"
#include "notify.h"
#include "sockets.h"

#include <stdlib.h>
#include <string.h>

struct reconfigure {
    struct loop_call call;
    struct config *config; /* held */
};

static void reconfigure(struct loop *loop, struct loop_call *call)
{
    struct reconfigure *r = (struct reconfigure *)call;

    loop_configure(loop, r->config);
    config_drop(r->config);
    free(r);
}

/* Everything that can fail has been done before: from here on all loops get it. */
static void put_in_force(struct daemon *d, struct config *config, struct reconfigure **calls)
{
    struct config *old = d->gateway.config;

    d->gateway.config = config;
    for (unsigned i = 0; i < d->gateway.loop_count; i++) {
        calls[i]->config = config_hold(config);
        calls[i]->call.run = reconfigure;
        loop_post(&d->gateway.loops[i], &calls[i]->call);
    }
    config_drop(old);
    log_set_format(config->settings.log);
}

static struct reconfigure **new_calls(unsigned count)
{
    struct reconfigure **calls = calloc(count, sizeof *calls);

    for (unsigned i = 0; calls != NULL && i < count; i++) {
        calls[i] = calloc(1, sizeof **calls);
        if (calls[i] != NULL)
            continue;
        while (i > 0)
            free(calls[--i]);
        free(calls);
        return NULL;
    }
    return calls;
}

/* The last of what can fail: sockets, and the memory for telling the loops. */
static struct reconfigure **prepare(struct daemon *d, struct config *config, FILE *errors)
{
    struct reconfigure **calls;

    if (!config_attach(config, &d->gateway.connectors)) {
        fprintf(errors, "%s: out of memory\n", d->gateway.file);
        return NULL;
    }
    if (!sockets_open(config, d->gateway.config, d->gateway.loop_count, errors))
        return NULL;
    calls = new_calls(d->gateway.loop_count);
    if (calls == NULL)
        fprintf(errors, "%s: out of memory\n", d->gateway.file);
    return calls;
}

/* What only a new start can change; it is no mistake, but must not be believed to count. */
static void note_unchanged(const struct daemon *d, const struct config *config)
{
    const struct settings *old = &d->gateway.config->settings, *new = &config->settings;
    const struct {
        const char *key, *old, *new;
    } rows[] = {
        {"openssl_conf", old->openssl_conf.text, new->openssl_conf.text},
        {"control", old->control.text, new->control.text},
        {"metrics", old->metrics.text, new->metrics.text},
    };

    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        if ((rows[i].old == NULL) != (rows[i].new == NULL) ||
            (rows[i].old != NULL && strcmp(rows[i].old, rows[i].new) != 0))
            log_message("warning", "%s: changes with a restart, not with a reload", rows[i].key);
    if (new->loops != (long)d->gateway.loop_count)
        log_message("warning", "loops: changes with a restart, not with a reload");
}

bool daemon_reload(struct daemon *d, FILE *errors)
{
    struct config *config;
    struct reconfigure **calls = NULL;

    notify_reloading();
    config = config_open(d->gateway.file, d->generation + 1, &d->gateway.library, d->gateway.tickets, errors);
    if (config != NULL)
        calls = prepare(d, config, errors);
    if (calls != NULL) {
        d->generation++;
        d->reloads++;
        note_unchanged(d, config);
        put_in_force(d, config, calls);
        log_message("reloaded", "settings %u are in force", d->generation);
        log_settings(config);
        uv_timer_set_repeat(&d->tickets, (uint64_t)config->settings.ticket_lifetime * 1000);
    } else {
        d->failed_reloads++;
        config_drop(config);
    }
    free(calls);
    notify_ready("relaying mail");
    return calls != NULL;
}
