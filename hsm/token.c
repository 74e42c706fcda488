/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Tokens: who they are, what they consist of in this process, and the way to their workers. Opening them and
 * taking them back is token_state.c, sessions are token_session.c, logins token_login.c.
 */
#include "token-int.h"
#include "error.h"

#include <stdio.h>
#include <string.h>

#include <openssl/crypto.h>

/* ---- Life ---- */

static bool slot_dup(struct slot *to, const struct slot *from)
{
    *to = *from;
    to->label = OPENSSL_strdup(from->label);
    to->manufacturer = OPENSSL_strdup(from->manufacturer);
    to->model = OPENSSL_strdup(from->model);
    to->serial = OPENSSL_strdup(from->serial);
    to->description = OPENSSL_strdup(from->description);
    to->slot_manufacturer = OPENSSL_strdup(from->slot_manufacturer);
    return to->label && to->manufacturer && to->model && to->serial && to->description &&
           to->slot_manufacturer;
}

struct token *token_new(struct token_owner *owner, const struct slot *slot)
{
    struct token *t = OPENSSL_zalloc(sizeof(*t));
    if (!t)
        return NULL;
    t->owner = owner;
    (void)snprintf(t->where, sizeof(t->where), "token '%s'", slot->label);
    if (slot_dup(&t->slot, slot))
        return t;
    token_free(t);
    return NULL;
}

static void worker_end(struct worker *worker)
{
    if (worker->has_session)
        session_close(worker->token, worker);
}

/* After another C_Initialize nobody comes back who hung in the module before. */
static unsigned module_age(void *arg)
{
    return module_incarnation(arg);
}

struct token_live *token_live(struct token *t)
{
    struct token_live *live = t->live;
    if (live && live->generation == process_generation())
        return live;
    struct token_live *fresh = OPENSSL_zalloc(sizeof(*fresh));
    if (!fresh)
        return NULL;
    fresh->generation = process_generation();
    fresh->slot_id = t->slot.id;
    pthread_mutex_init(&fresh->lock, NULL);
    cond_init(&fresh->changed);
    fresh->pool = pool_new(&(struct pool_settings){.name = "sealane-hsm",
                                                   .where = t->where,
                                                   .limit = t->owner->sessions,
                                                   .queue_max = t->owner->queue,
                                                   .timeout_ms = t->owner->timeout_ms,
                                                   .idle_ms = t->owner->idle_ms == HSM_NEVER ? 0 : t->owner->idle_ms,
                                                   .end = worker_end,
                                                   .age = module_age,
                                                   .age_arg = t->owner->module,
                                                   .stats = &t->stats});

    registry_lock();
    live = t->live;
    bool first = !live || live->generation != process_generation();
    if (first && fresh->pool) {
        fresh->parent = live;
        t->live = fresh;
    }
    registry_unlock();
    if (first && fresh->pool) {
        pin_lock(t->pin);
        return fresh;
    }
    pool_free(fresh->pool);
    OPENSSL_free(fresh);
    return first ? NULL : live;
}

bool token_stop(struct token *t, unsigned bound_ms)
{
    struct token_live *live = t->live;
    if (live && live->generation == process_generation() && !pool_stop(live->pool, bound_ms))
        return false;
    pin_free(atomic_exchange(&t->pin, NULL));
    return true;
}

void token_free(struct token *t)
{
    struct token_live *live = t->live;
    if (live && live->generation == process_generation()) {
        pool_free(live->pool);
        pthread_mutex_destroy(&live->lock);
        pthread_cond_destroy(&live->changed);
    }
    while (live) {
        struct token_live *parent = live->parent;
        OPENSSL_free(live);
        live = parent;
    }
    OPENSSL_free(t->slot.label);
    OPENSSL_free(t->slot.manufacturer);
    OPENSSL_free(t->slot.model);
    OPENSSL_free(t->slot.serial);
    OPENSSL_free(t->slot.description);
    OPENSSL_free(t->slot.slot_manufacturer);
    OPENSSL_free(t);
}

struct token_owner *token_owner(struct token *t)
{
    return t->owner;
}

const struct slot *token_slot(const struct token *t)
{
    return &t->slot;
}

const char *token_where(const struct token *t)
{
    return t->where;
}

bool token_is(const struct token *t, const struct slot *slot)
{
    return strcmp(t->slot.label, slot->label) == 0 && strcmp(t->slot.manufacturer, slot->manufacturer) == 0 &&
           strcmp(t->slot.model, slot->model) == 0 && strcmp(t->slot.serial, slot->serial) == 0;
}

unsigned token_queued(struct token *t)
{
    struct token_live *live = t->live;
    return live && live->generation == process_generation() ? pool_queued(live->pool) : 0;
}

unsigned token_load(struct token *t)
{
    struct token_live *live = t->live;
    return live && live->generation == process_generation() ? pool_load(live->pool) : 0;
}

struct pool *token_pool(struct token *t)
{
    struct token_live *live = t->owner->stopped ? NULL : token_live(t);
    return live ? live->pool : NULL;
}

unsigned token_sessions(struct token *t)
{
    struct token_live *live = t->live;
    if (!live || live->generation != process_generation())
        return 0;
    pthread_mutex_lock(&live->lock);
    int sessions = live->sessions;
    pthread_mutex_unlock(&live->lock);
    return (unsigned)sessions;
}

static const char *state_name(struct token_live *live)
{
    static const char *const names[] = {
        [TOKEN_NEW] = "closed", [TOKEN_OPENING] = "opening", [TOKEN_READY] = "open", [TOKEN_AWAY] = "away"};
    pthread_mutex_lock(&live->lock);
    enum token_state state = live->state;
    pthread_mutex_unlock(&live->lock);
    return state != TOKEN_AWAY && pool_is_stuck(live->pool) ? "hanging" : names[state];
}

void token_write(struct token *t, struct text *out)
{
    struct token_live *live = t->live;
    bool used = live && live->generation == process_generation();
    unsigned load = token_load(t), queued = token_queued(t);
    text_add(out, "{\"label\":");
    text_add_string(out, t->slot.label);
    text_add(out, ",\"serial\":");
    text_add_string(out, t->slot.serial);
    text_add(out, ",\"state\":\"%s\",\"sessions\":%u,\"running\":%u,\"queued\":%u,\"queued_max\":%u,",
             used ? state_name(live) : "closed", token_sessions(t), load > queued ? load - queued : 0, queued,
             t->stats.queued_max);
    stats_write(&t->stats, out);
    text_add(out, "}");
}

hsm_status token_submit(struct token *t, struct task *task, hsm_job_done done, void *arg, hsm_error *err)
{
    struct token_live *live = token_live(t);
    if (!live)
        return error_set(err, HSM_E_MEMORY, 0, "%s: out of memory", t->where);
    if (t->owner->stopped)
        return error_set(err, HSM_E_SHUTDOWN, 0, "%s: the PKCS#11 module has been shut down", t->where);
    return task_submit(live->pool, task, done, arg, err);
}

void token_seen(struct token *t)
{
    struct token_live *live = token_live(t);
    if (!live)
        return;
    pthread_mutex_lock(&live->lock);
    live->next_probe = deadline_after(0);
    pthread_mutex_unlock(&live->lock);
}

/* ---- Remembered handles ---- */

bool token_handle_get(struct token *t, const struct handle *h, unsigned long *object)
{
    struct token_live *live = t->live;
    pthread_mutex_lock(&live->lock);
    bool good = h->epoch != 0 && h->epoch == live->epoch;
    *object = h->object;
    pthread_mutex_unlock(&live->lock);
    return good;
}

void token_handle_set(struct token *t, struct handle *h, uint64_t epoch, unsigned long object)
{
    struct token_live *live = t->live;
    pthread_mutex_lock(&live->lock);
    *h = (struct handle){epoch, object};
    pthread_mutex_unlock(&live->lock);
}
