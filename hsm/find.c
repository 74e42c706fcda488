/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Finding what a URI names: first the tokens that fit, then the objects in them.
 *
 * A PIN is used only if exactly one token fits, so that a URI without token attributes never spends a try of
 * some other token. If several fit, what they show without login, or are logged in for already, is found.
 */
#include "error.h"
#include "hsm-int.h"
#include "key.h"
#include "uri.h"

#include <stdio.h>
#include <string.h>

#include <openssl/crypto.h>

/* ---- Tokens that fit a URI ---- */

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

/* "'mail' (serial 12), 'spare' (serial 13)", as far as there is room. */
static void slots_describe(const struct slot *list, size_t count, char *buf, size_t size)
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

/* Fills `*slots`, `*count` > 0 on HSM_OK. */
static hsm_status tokens_locate(hsm *h, const hsm_uri *uri, struct slot **slots, size_t *count,
                                hsm_error *err)
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

/* ---- Objects of one token ---- */

/* An object as the worker hands it over: keys become hsm_keys on the caller's thread. */
struct found {
    hsm_class class;
    struct keydata *key;
    uint8_t *cert;
    size_t cert_len;
    char *uri, *label;
};

struct find_task {
    struct task task;
    struct token *token;
    hsm_uri uri;
    hsm_class class;
    bool login;
    struct pin *pin; /* NULL with login: the token's own key pad */
    struct found *list;
    size_t count;
    hsm_error skipped; /* why a private key was left out */
};

static void found_clear(struct found *f)
{
    keydata_free(f->key);
    OPENSSL_free(f->cert);
    free(f->uri);
    OPENSSL_free(f->label);
    *f = (struct found){0};
}

static hsm_status cert_read(struct found *f, struct token *token, const struct place *place,
                            CK_OBJECT_HANDLE object, hsm_error *err)
{
    uint8_t *id = NULL;
    size_t id_len = 0, label_len = 0;
    hsm_status status = object_attribute(place, object, CKA_VALUE, &f->cert, &f->cert_len, err);
    if (status != HSM_OK)
        return status;
    (void)object_attribute(place, object, CKA_ID, &id, &id_len, NULL);
    if (object_attribute(place, object, CKA_LABEL, (uint8_t **)&f->label, &label_len, NULL) != HSM_OK)
        f->label = OPENSSL_strdup("");
    f->uri = f->label ? object_uri(token, HSM_CLASS_CERT, id, id_len, f->label) : NULL;
    OPENSSL_free(id);
    return f->uri ? HSM_OK : error_set(err, HSM_E_MEMORY, 0, "%s: out of memory", place->where);
}

/* Reads one object. One that cannot be used is left out, so that it does not hide the others. */
static hsm_status object_read(struct find_task *f, struct worker *worker, const struct place *place,
                              hsm_class class, CK_OBJECT_HANDLE object, hsm_error *err)
{
    struct found found = {.class = class};
    hsm_error why = {0};
    hsm_status status = class == HSM_CLASS_CERT
                            ? cert_read(&found, f->token, place, object, &why)
                            : keydata_read(&found.key, f->token, place, object, class, worker->epoch, &why);
    if (status == HSM_OK) {
        struct found *more = OPENSSL_realloc(f->list, (f->count + 1) * sizeof(*more));
        if (!more)
            status = error_set(&why, HSM_E_MEMORY, 0, "%s: out of memory", place->where);
        else
            (f->list = more)[f->count++] = found;
    }
    if (status == HSM_OK)
        return HSM_OK;
    found_clear(&found);
    if (status == HSM_E_MEMORY || ckr_is_loss(why.ckr))
        return error_copy(err, &why);
    f->skipped = why;
    return HSM_OK;
}

static hsm_status class_find(struct find_task *f, struct worker *worker, const struct place *place,
                             hsm_class class, hsm_error *err)
{
    struct wanted wanted = {class_number(class), f->uri.id, f->uri.id_len, f->uri.object};
    CK_OBJECT_HANDLE *list = NULL;
    size_t count = 0;
    hsm_status status = object_search(place, &wanted, &list, &count, err);
    for (size_t i = 0; i < count && status == HSM_OK; i++)
        status = object_read(f, worker, place, class, list[i], err);
    OPENSSL_free(list);
    return status;
}

static void list_clear(struct find_task *f)
{
    for (size_t i = 0; i < f->count; i++)
        found_clear(&f->list[i]);
    OPENSSL_free(f->list);
    f->list = NULL;
    f->count = 0;
}

static hsm_status find_once(struct find_task *f, struct worker *worker, hsm_error *err)
{
    static const hsm_class classes[] = {HSM_CLASS_PRIVATE, HSM_CLASS_PUBLIC, HSM_CLASS_CERT};
    struct place place;
    hsm_status status = token_session(f->token, worker, &place, err);
    if (status == HSM_OK && f->login)
        status = token_login(f->token, worker, f->pin, err);
    for (size_t i = 0; i < 3 && status == HSM_OK; i++) {
        if (f->class == HSM_CLASS_ANY || f->class == classes[i])
            status = class_find(f, worker, &place, classes[i], err);
    }
    return status;
}

/* One more try after a loss, several for a token's record that was half written. */
static bool find_repair(struct find_task *f, struct worker *worker, CK_RV rv, unsigned attempt)
{
    if (!worker->has_session)
        return false;
    if (ckr_is_loss(rv) && attempt == 0) {
        token_lost(f->token, worker);
        return true;
    }
    return token_retry_login(f->token, worker, rv, attempt);
}

static void find_run(struct task *task, struct worker *worker)
{
    struct find_task *f = (struct find_task *)task;
    for (unsigned attempt = 0;; attempt++) {
        hsm_error why = {0};
        list_clear(f);
        hsm_status status = find_once(f, worker, &why);
        task->err = status == HSM_OK ? (hsm_error){0} : why;
        if (status == HSM_OK || !find_repair(f, worker, why.ckr, attempt))
            break;
    }
}

static void find_destroy(struct task *task)
{
    struct find_task *f = (struct find_task *)task;
    list_clear(f);
    hsm_uri_clear(&f->uri);
    pin_free(f->pin);
    OPENSSL_free(f);
}

static const struct task_ops find_ops = {.run = find_run, .destroy = find_destroy};

/* ---- The caller's thread ---- */

struct result {
    hsm_object *list;
    size_t count;
};

void hsm_objects_free(hsm_object *list, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        hsm_key_free(list[i].key);
        OPENSSL_free(list[i].cert);
        free(list[i].uri);
        OPENSSL_free(list[i].label);
    }
    free(list);
}

/* Moves what a worker found to the caller's list. */
static bool result_add(struct result *r, hsm *h, struct found *f)
{
    hsm_object *more = realloc(r->list, (r->count + 1) * sizeof(*more));
    if (!more)
        return false;
    r->list = more;
    hsm_object *o = &r->list[r->count];
    *o = (hsm_object){
        .type = f->class, .cert = f->cert, .cert_len = f->cert_len, .uri = f->uri, .label = f->label};
    f->cert = NULL;
    f->uri = f->label = NULL;
    r->count++;
    if (!f->key)
        return true;
    o->uri = strdup(f->key->uri);
    o->label = OPENSSL_strdup(f->key->label);
    o->key = key_new(h, f->key);
    if (o->key)
        f->key = NULL;
    return o->uri && o->label && o->key;
}

/* A search as the steps below share it. */
struct search {
    hsm *h;
    const hsm_uri *uri;
    hsm_class class;
    struct result result;
    hsm_error skipped;
};

/* Searches one token. `*pin` is taken over. Nothing found is HSM_OK. */
static hsm_status token_search(struct search *s, struct token *token, bool login, struct pin *pin,
                               hsm_error *err)
{
    struct find_task *f = OPENSSL_zalloc(sizeof(*f));
    if (!f || !uri_copy(&f->uri, s->uri)) {
        OPENSSL_free(f);
        pin_free(pin);
        return error_set(err, HSM_E_MEMORY, 0, "%s: out of memory", token_where(token));
    }
    task_init(&f->task, &find_ops);
    f->task.op = STATS_FIND;
    f->token = token;
    f->class = s->class;
    f->login = login;
    f->pin = pin;
    hsm_status status = token_submit(token, &f->task, NULL, NULL, err);
    if (status != HSM_OK) {
        task_discard(&f->task);
        return status;
    }
    hsm_error why = {0};
    if (!task_wait(&f->task, hsm_owner(s->h)->timeout_ms, &why))
        return error_copy(err, &why);
    status = error_copy(err, &f->task.err);
    for (size_t i = 0; i < f->count && status == HSM_OK; i++) {
        if (!result_add(&s->result, s->h, &f->list[i]))
            status = error_set(err, HSM_E_MEMORY, 0, "%s: out of memory", token_where(token));
    }
    if (f->skipped.status != HSM_OK)
        s->skipped = f->skipped;
    task_release(&f->task);
    return status;
}

static const char *class_name(hsm_class class)
{
    switch (class) {
    case HSM_CLASS_PRIVATE:
        return "private key";
    case HSM_CLASS_PUBLIC:
        return "public key";
    case HSM_CLASS_CERT:
        return "certificate";
    case HSM_CLASS_ANY:
        break;
    }
    return "object";
}

static hsm_status nothing_found(const struct search *s, const char *where, hsm_error *err)
{
    if (s->skipped.status != HSM_OK)
        return error_copy(err, &s->skipped);
    char *text = hsm_uri_text(s->uri);
    hsm_status status = error_set(err, HSM_E_NO_OBJECT, 0, "%s: no %s fits '%.160s'", where,
                                  class_name(s->class), text ? text : "?");
    free(text);
    return status;
}

/* The usual case: the URI names one token. Logs in unless what is wanted is public and found without. */
static hsm_status one_token(struct search *s, struct token *token, const struct pin_sources *sources,
                            hsm_error *err)
{
    const struct slot *slot = token_slot(token);
    bool public_only = s->class == HSM_CLASS_PUBLIC || s->class == HSM_CLASS_CERT;
    bool may_login = slot->login_required && !token_knows_pin(token);
    struct pin *pin = NULL;
    hsm_status status = HSM_OK;

    if (!may_login || public_only) {
        status = token_search(s, token, false, NULL, err);
        /* A kept PIN may have been refused just now, on reopening: then a new one may be asked for. */
        may_login = slot->login_required && !token_knows_pin(token);
        if (status != HSM_OK || s->result.count > 0 || !may_login)
            return status != HSM_OK || s->result.count > 0 ? status
                                                           : nothing_found(s, token_where(token), err);
    }
    status = pin_resolve(&pin, sources, slot->label, err);
    if (status != HSM_OK)
        return status;
    bool login = pin || slot->pin_pad;
    status = token_search(s, token, login, pin, err);
    if (status != HSM_OK || s->result.count > 0)
        return status;
    if (!login && !public_only)
        return error_set(
            err, HSM_E_PIN_NEEDED, 0,
            "%s: it wants a PIN: give one in the settings or by pin-value or pin-source in the URI",
            token_where(token));
    return nothing_found(s, token_where(token), err);
}

static hsm_status many_tokens(struct search *s, const struct slot *slots, size_t count, hsm_error *err)
{
    hsm_status status = HSM_OK;
    for (size_t i = 0; i < count && status == HSM_OK; i++) {
        struct token *token = hsm_token(s->h, &slots[i]);
        status = token ? token_search(s, token, false, NULL, err)
                       : error_set(err, HSM_E_MEMORY, 0, "out of memory");
    }
    if (status != HSM_OK || s->result.count > 0)
        return status;
    char there[200];
    slots_describe(slots, count, there, sizeof(there));
    return error_set(err, HSM_E_AMBIGUOUS, 0,
                     "%zu tokens fit the URI: %s; name one by token= or serial=, so that its PIN can be used",
                     count, there);
}

hsm_status hsm_find(hsm *h, const hsm_uri *uri, hsm_class type, hsm_pin_callback ask, void *ask_arg,
                    hsm_object **list, size_t *count, hsm_error *err)
{
    struct search s = {.h = h, .uri = uri, .class = type == HSM_CLASS_ANY ? uri->type : type};
    struct pin_sources sources = {uri, hsm_pin_setting(h), ask, ask_arg};
    struct slot *slots = NULL;
    size_t slot_count = 0;

    *list = NULL;
    *count = 0;
    if (type != HSM_CLASS_ANY && uri->type != HSM_CLASS_ANY && type != uri->type)
        return error_set(err, HSM_E_NO_OBJECT, 0, "a %s is wanted, but the URI names a %s", class_name(type),
                         class_name(uri->type));
    hsm_status status = tokens_locate(h, uri, &slots, &slot_count, err);
    if (status != HSM_OK)
        return status;
    if (slot_count == 1) {
        struct token *token = hsm_token(h, &slots[0]);
        if (token)
            token_seen(token);
        status =
            token ? one_token(&s, token, &sources, err) : error_set(err, HSM_E_MEMORY, 0, "out of memory");
    } else {
        status = many_tokens(&s, slots, slot_count, err);
    }
    slots_free(slots, slot_count);
    if (status != HSM_OK) {
        hsm_objects_free(s.result.list, s.result.count);
        return status;
    }
    *list = s.result.list;
    *count = s.result.count;
    return HSM_OK;
}
