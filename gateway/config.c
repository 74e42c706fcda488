/* SPDX-License-Identifier: Apache-2.0 */
/* Settings in force; see config.h. */
#include "config.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* What is learned while the settings count. */
static bool make_memory(struct config *config)
{
    const struct settings *s = &config->settings;

    config->connectors = calloc(s->receive_count, sizeof(struct connector_state *));
    config->offers_dsn = calloc(s->send_count, sizeof *config->offers_dsn);
    config->failed_at = store_take(&config->settings.store, s->send_count, sizeof(_Atomic uint64_t *));
    for (size_t i = 0; config->failed_at != NULL && i < s->send_count; i++) {
        config->failed_at[i] =
            store_take(&config->settings.store, s->sends[i].endpoint_count + 1, sizeof(_Atomic uint64_t));
        if (config->failed_at[i] == NULL)
            return false;
    }
    return config->connectors != NULL && config->offers_dsn != NULL && config->failed_at != NULL;
}

struct config *config_open(const char *file, unsigned generation, struct tls_library *library,
                           struct tickets *tickets, FILE *errors)
{
    struct config *config = calloc(1, sizeof *config);

    if (config == NULL) {
        fprintf(errors, "%s: out of memory\n", file);
        return NULL;
    }
    atomic_init(&config->references, 1);
    config->generation = generation;
    if (!settings_read(&config->settings, file, errors) ||
        (library->ctx == NULL && !tls_library_open(library, &config->settings, errors)) ||
        !tls_open(&config->tls, &config->settings, library, tickets, errors)) {
        config_drop(config);
        return NULL;
    }
    if (!make_memory(config)) {
        fprintf(errors, "%s: out of memory\n", file);
        config_drop(config);
        return NULL;
    }
    return config;
}

static struct connector_state *find_state(struct connector_state **states, const char *name)
{
    struct connector_state *state;

    for (state = *states; state != NULL; state = state->next)
        if (strcmp(state->name, name) == 0)
            return state;
    state = calloc(1, sizeof *state);
    if (state == NULL || (state->name = strdup(name)) == NULL) {
        free(state);
        return NULL;
    }
    state->next = *states;
    *states = state;
    return state;
}

bool config_attach(struct config *config, struct connector_state **states)
{
    for (size_t i = 0; i < config->settings.receive_count; i++) {
        config->connectors[i] = find_state(states, config->settings.receives[i].name);
        if (config->connectors[i] == NULL)
            return false;
    }
    return true;
}

struct config *config_hold(struct config *config)
{
    atomic_fetch_add_explicit(&config->references, 1, memory_order_relaxed);
    return config;
}

void config_drop(struct config *config)
{
    if (config == NULL || atomic_fetch_sub_explicit(&config->references, 1, memory_order_acq_rel) > 1)
        return;
    for (size_t i = 0; config->sockets != NULL && i < config->loops * config->settings.receive_count; i++)
        if (config->sockets[i] >= 0)
            close(config->sockets[i]);
    free(config->sockets);
    free(config->ports);
    free(config->offers_dsn);
    free((void *)config->connectors);
    tls_close(&config->tls);
    settings_free(&config->settings);
    free(config);
}
