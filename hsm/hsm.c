/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The hsm object: settings, tokens met so far, counters, and the order in which things end.
 */
#include "hsm-int.h"
#include "error.h"
#include "process.h"

#include <string.h>

#include <openssl/crypto.h>

enum {
    DEFAULT_SESSIONS = 16,
    DEFAULT_QUEUE = 1024,
    DEFAULT_TIMEOUT_MS = 10000,
    DEFAULT_IDLE_MS = 10000,
    DESK_QUEUE = 1024,
    KEEPERS = 4,
    KEEPERS_QUEUE = 256
};

struct hsm {
    atomic_uint refs;
    struct token_owner owner;
    struct pin_setting pin;
    bool no_finalize;
    atomic_bool module_released;
    struct token_entry *_Atomic tokens; /* only ever grows, at its head, under the registry lock */
    struct group *groups;
    struct pool *desk, *keepers; /* of this process or of a parent; under the registry lock */
};

hsm *hsm_ref(hsm *h)
{
    atomic_fetch_add(&h->refs, 1);
    return h;
}

struct token_owner *hsm_owner(hsm *h)
{
    return &h->owner;
}

struct pin_setting *hsm_pin_setting(hsm *h)
{
    return &h->pin;
}

hsm_status hsm_new(hsm **out, const hsm_settings *settings, hsm_error *err)
{
    hsm_status status = HSM_OK;
    *out = NULL;
    process_init();
    if (!settings->module_path || settings->module_path[0] == '\0')
        return error_set(err, HSM_E_SETTINGS, 0, "no PKCS#11 module is named: set its path");
    hsm *h = OPENSSL_zalloc(sizeof(*h));
    if (!h)
        return error_set(err, HSM_E_MEMORY, 0, "PKCS#11 module '%s': out of memory", settings->module_path);
    atomic_init(&h->refs, 1);
    h->no_finalize = settings->no_finalize;
    h->owner.sessions = settings->sessions ? settings->sessions : DEFAULT_SESSIONS;
    h->owner.queue = settings->queue ? settings->queue : DEFAULT_QUEUE;
    h->owner.timeout_ms = settings->timeout_ms ? settings->timeout_ms : DEFAULT_TIMEOUT_MS;
    h->owner.idle_ms = settings->idle_ms ? settings->idle_ms : DEFAULT_IDLE_MS;
    h->owner.caller_thread = settings->caller_thread;
    h->owner.key_copies = settings->key_copies;
    status = pin_setting_read(&h->pin, settings->pin, err);
    if (status == HSM_OK)
        status = groups_read(&h->groups, settings->groups, err);
    if (status != HSM_OK)
        goto out;
    h->owner.module = module_get(settings->module_path, settings->init_args);
    if (!h->owner.module) {
        status = error_set(err, HSM_E_MEMORY, 0, "PKCS#11 module '%s': out of memory", settings->module_path);
        goto out;
    }
    *out = h;
    return HSM_OK;
out:
    groups_free(h->groups);
    pin_setting_clear(&h->pin);
    OPENSSL_free(h);
    return status;
}

struct token_entry *hsm_tokens(hsm *h)
{
    return h->tokens;
}

struct group *hsm_groups(hsm *h)
{
    return h->groups;
}

/* The pool at `*place` if it is of this process, else a new one; `*made` says which, of all threads to one only. */
static struct pool *own_pool(struct pool **place, const struct pool_settings *settings, bool *made)
{
    *made = false;
    registry_lock();
    struct pool *pool = *place && pool_is_own(*place) ? *place : NULL;
    registry_unlock();
    if (pool)
        return pool;
    struct pool *fresh = pool_new(settings);
    registry_lock();
    pool = *place && pool_is_own(*place) ? *place : NULL;
    if (!pool && fresh) {
        *place = pool = fresh;
        fresh = NULL;
        *made = true;
    }
    registry_unlock();
    pool_free(fresh);
    return pool;
}

struct pool *hsm_desk(hsm *h)
{
    const struct pool_settings settings = {
        .name = "sealane-desk", .where = module_path(h->owner.module), .limit = 1, .queue_max = DESK_QUEUE};
    bool made;
    struct pool *desk = own_pool(&h->desk, &settings, &made);

    if (made) /* a child's memory is not locked as its parent's was */
        pin_lock(h->pin.pin);
    return desk;
}

struct pool *hsm_keepers(hsm *h)
{
    const struct pool_settings settings = {.name = "sealane-keeper",
                                           .where = module_path(h->owner.module),
                                           .limit = KEEPERS,
                                           .queue_max = KEEPERS_QUEUE};
    bool made;

    return own_pool(&h->keepers, &settings, &made);
}

static struct token *token_find(hsm *h, const struct slot *slot)
{
    for (struct token_entry *e = h->tokens; e; e = e->next) {
        if (token_is(e->token, slot))
            return e->token;
    }
    return NULL;
}

struct token *hsm_token(hsm *h, const struct slot *slot)
{
    struct token *t = token_find(h, slot);
    if (t)
        return t;
    struct token_entry *fresh = OPENSSL_zalloc(sizeof(*fresh));
    if (!fresh)
        return NULL;
    fresh->token = token_new(&h->owner, slot);
    registry_lock();
    t = token_find(h, slot);
    if (!t && fresh->token) {
        t = fresh->token;
        fresh->next = h->tokens;
        h->tokens = fresh;
        fresh = NULL;
    }
    registry_unlock();
    if (fresh && fresh->token)
        token_free(fresh->token);
    OPENSSL_free(fresh);
    return t;
}

/* ---- The end ---- */

/* Ends all threads. False if one hangs in the module, which then stays loaded, as does our own code. */
static bool workers_stop(hsm *h)
{
    bool all = true;
    h->owner.stopped = true;
    for (struct token_entry *e = h->tokens; e; e = e->next)
        all = token_stop(e->token, h->owner.timeout_ms) && all;
    if (h->desk)
        all = pool_stop(h->desk, h->owner.timeout_ms) && all;
    if (h->keepers) /* they wait for the others, so they come last */
        all = pool_stop(h->keepers, h->owner.timeout_ms) && all;
    if (!all)
        library_pin((const void *)&hsm_shutdown);
    return all;
}

void hsm_shutdown(hsm *h)
{
    if (workers_stop(h) && !atomic_exchange(&h->module_released, true))
        module_release(h->owner.module, !h->no_finalize);
}

void hsm_free(hsm *h)
{
    if (!h || atomic_fetch_sub(&h->refs, 1) != 1)
        return;
    hsm_shutdown(h);
    if (!h->module_released)
        return; /* a thread still uses all this, and will for ever */
    for (struct token_entry *e = h->tokens, *next; e; e = next) {
        next = e->next;
        token_free(e->token);
        OPENSSL_free(e);
    }
    pool_free(h->desk);
    pool_free(h->keepers);
    groups_free(h->groups);
    pin_setting_clear(&h->pin);
    OPENSSL_free(h);
}

void hsm_counters_read(hsm *h, hsm_counters *out)
{
    *out = (hsm_counters){
        .signatures = h->owner.signatures,
        .failures = h->owner.failures,
        .logins = h->owner.logins,
        .recoveries = h->owner.recoveries,
    };
    for (struct token_entry *e = h->tokens; e; e = e->next) {
        out->sessions += token_sessions(e->token);
        out->queued += token_queued(e->token);
    }
}
