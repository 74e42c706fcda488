/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which tokens a URI names. Runs on the one thread of the hsm that loads the module and looks at slots; what is
 * in the tokens is find.c's and generate.c's matter.
 */
#include "locate.h"
#include "error.h"
#include "uri.h"

#include <stdio.h>
#include <string.h>

#include <openssl/crypto.h>

struct locate_task {
    struct task task;
    struct module *module;
    hsm_uri uri;
    struct slot *slots;
    size_t count;
};

static bool text_fits(const char *wanted, const char *is)
{
    return !wanted || strcmp(wanted, is) == 0;
}

/* RFC 7512 section 2.3: every attribute that is given must be equal. */
static bool slot_fits(const hsm_uri *uri, const struct slot *slot)
{
    return text_fits(uri->token, slot->label) && text_fits(uri->manufacturer, slot->manufacturer) &&
           text_fits(uri->model, slot->model) && text_fits(uri->serial, slot->serial) &&
           text_fits(uri->slot_description, slot->description) &&
           text_fits(uri->slot_manufacturer, slot->slot_manufacturer) &&
           (!uri->has_slot_id || uri->slot_id == slot->id);
}

void slots_describe(const struct slot *list, size_t count, char *buf, size_t size)
{
    size_t used = 0;
    buf[0] = '\0';
    for (size_t i = 0; i < count && used < size; i++)
        used += (size_t)snprintf(buf + used, size - used, "%s'%s' (serial %s)", i ? ", " : "", list[i].label,
                                 list[i].serial);
}

/* The URI as it may be shown: without PIN. */
static hsm_status no_token(const hsm_uri *uri, struct module *m, const struct slot *list, size_t count,
                           hsm_error *err)
{
    char there[160];
    slots_describe(list, count, there, sizeof(there));
    char *text = hsm_uri_text(uri);
    hsm_status status = error_set(err, HSM_E_NO_TOKEN, 0, "no token fits '%.80s'; module '%s' has %s",
                                  text ? text : "?", module_path(m), count ? there : "no initialised token");
    free(text);
    return status;
}

/* Moves the slots that fit out of `all`. */
static hsm_status slots_pick(struct locate_task *l, struct slot *all, size_t count, hsm_error *err)
{
    l->slots = OPENSSL_zalloc((count + 1) * sizeof(*l->slots));
    if (!l->slots)
        return error_set(err, HSM_E_MEMORY, 0, "PKCS#11 module '%s': out of memory", module_path(l->module));
    for (size_t i = 0; i < count; i++) {
        if (slot_fits(&l->uri, &all[i])) {
            l->slots[l->count++] = all[i];
            all[i] = (struct slot){.label = NULL};
        }
    }
    return l->count > 0 ? HSM_OK : no_token(&l->uri, l->module, all, count, err);
}

static hsm_status slots_locate(struct locate_task *l, hsm_error *err)
{
    struct slot *all = NULL;
    size_t count = 0;
    OPENSSL_free(l->slots); /* none in it: of a search before a rescan */
    l->slots = NULL;
    hsm_status status = module_slots(l->module, &all, &count, err);
    if (status == HSM_OK)
        status = slots_pick(l, all, count, err);
    slots_free(all, count);
    return status;
}

static void locate_run(struct task *task, struct worker *worker)
{
    (void)worker;
    struct locate_task *l = (struct locate_task *)task;
    hsm_error why = {0};
    hsm_status status = module_load(l->module, &why);
    if (status == HSM_OK)
        status = module_match(l->module, &l->uri, &why);
    if (status == HSM_OK) {
        status = slots_locate(l, &why);
        for (unsigned i = 0; i < RESCANS_MAX && status == HSM_E_NO_TOKEN && module_rescan(l->module, i); i++)
            status = slots_locate(l, &why);
    }
    task->err = status == HSM_OK ? (hsm_error){0} : why;
}

static void locate_destroy(struct task *task)
{
    struct locate_task *l = (struct locate_task *)task;
    slots_free(l->slots, l->count);
    hsm_uri_clear(&l->uri);
    OPENSSL_free(l);
}

static const struct task_ops locate_ops = {.run = locate_run, .destroy = locate_destroy};

hsm_status tokens_locate(hsm *h, const hsm_uri *uri, struct slot **slots, size_t *count, hsm_error *err)
{
    struct token_owner *owner = hsm_owner(h);
    struct pool *desk = hsm_desk(h);
    struct locate_task *l = OPENSSL_zalloc(sizeof(*l));
    if (!l || !desk || !uri_copy(&l->uri, uri)) {
        OPENSSL_free(l);
        return error_set(err, HSM_E_MEMORY, 0, "PKCS#11 module '%s': out of memory",
                         module_path(owner->module));
    }
    task_init(&l->task, &locate_ops);
    l->module = owner->module;
    hsm_status status = owner->stopped
                            ? error_set(err, HSM_E_SHUTDOWN, 0, "the PKCS#11 module has been shut down")
                            : task_submit(desk, &l->task, NULL, NULL, err);
    if (status != HSM_OK) {
        task_discard(&l->task);
        return status;
    }
    hsm_error why = {0};
    if (!task_wait(&l->task, owner->timeout_ms, &why))
        return error_copy(err, &why);
    status = error_copy(err, &l->task.err);
    if (status == HSM_OK) {
        *slots = l->slots;
        *count = l->count;
        l->slots = NULL;
        l->count = 0;
    }
    task_release(&l->task);
    return status;
}
