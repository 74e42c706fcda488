/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Finding what a URI names in the tokens that fit it (locate.c).
 *
 * A PIN is used only if exactly one token fits, so that a URI without token attributes never spends a try of
 * some other token. If several fit, what they show without login, or are logged in for already, is found.
 */
#include "catalog.h"
#include "cluster.h"
#include "error.h"
#include "find.h"
#include "locate.h"
#include "uri.h"

#include <string.h>

#include <openssl/crypto.h>

/* ---- Objects of one token ---- */

struct find_task {
    struct task task;
    struct token *token;
    hsm_uri uri;
    hsm_class class;
    bool login;
    struct pin *pin; /* NULL with login: the token's own key pad */
    struct found_list found;
    hsm_error skipped; /* why a private key was left out */
};

static void found_clear(struct found *f)
{
    keydata_free(f->key);
    cluster_free(f->cluster);
    OPENSSL_free(f->cert);
    free(f->uri);
    OPENSSL_free(f->label);
    *f = (struct found){0};
}

void found_list_clear(struct found_list *l)
{
    for (size_t i = 0; i < l->count; i++)
        found_clear(&l->list[i]);
    OPENSSL_free(l->list);
    *l = (struct found_list){0};
}

/* Moves `*f` to the list. */
static bool found_add(struct found_list *l, struct found *f)
{
    struct found *more = OPENSSL_realloc(l->list, (l->count + 1) * sizeof(*more));
    if (!more)
        return false;
    l->list = more;
    l->list[l->count++] = *f;
    *f = (struct found){0};
    return true;
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

static bool label_fits(const hsm_uri *uri, const char *label)
{
    return !uri->object || strcmp(uri->object, label) == 0;
}

/* Reads one object. One that cannot be used is left out, so that it does not hide the others. */
static hsm_status object_read(struct find_task *f, struct worker *worker, const struct place *place,
                              const struct catalog *all, hsm_class class, CK_OBJECT_HANDLE object,
                              hsm_error *err)
{
    struct found found = {.class = class};
    hsm_error why = {0};
    hsm_status status = class == HSM_CLASS_CERT ? cert_read(&found, f->token, place, object, &why)
                                                : keydata_read(&found.key, f->token, place, object, class,
                                                               all, worker->epoch, &why);
    if (status == HSM_OK && !label_fits(&f->uri, found.key ? found.key->label : found.label)) {
        found_clear(&found);
        return HSM_OK;
    }
    if (status == HSM_OK) {
        if (!found_add(&f->found, &found))
            status = error_set(&why, HSM_E_MEMORY, 0, "%s: out of memory", place->where);
    }
    if (status == HSM_OK)
        return HSM_OK;
    found_clear(&found);
    if (status == HSM_E_MEMORY || ckr_is_loss(why.ckr))
        return error_copy(err, &why);
    f->skipped = why;
    return HSM_OK;
}

/* The objects of one class among those found. */
static hsm_status class_read(struct find_task *f, struct worker *worker, const struct place *place,
                             const struct catalog *all, hsm_class class, hsm_error *err)
{
    hsm_status status = HSM_OK;
    if (f->class != HSM_CLASS_ANY && f->class != class)
        return HSM_OK;
    for (size_t i = 0; i < all->count && status == HSM_OK; i++) {
        if (all->list[i].class == class_number(class))
            status = object_read(f, worker, place, all, class, all->list[i].object, err);
    }
    return status;
}

/*
 * One search, for whatever class: so the public key and the certificate that belong to a private key are found
 * with it, and the token looks through its objects once. By id alone if there is one, since those that belong
 * together share it, while their labels may differ.
 */
static hsm_status objects_find(struct find_task *f, struct worker *worker, const struct place *place,
                               hsm_error *err)
{
    static const hsm_class classes[] = {HSM_CLASS_PRIVATE, HSM_CLASS_PUBLIC, HSM_CLASS_CERT};
    CK_OBJECT_CLASS class = class_number(f->class);
    struct wanted wanted = {.id = f->uri.id, .id_len = f->uri.id_len};
    if (f->class == HSM_CLASS_CERT || f->class == HSM_CLASS_PUBLIC)
        wanted.class = &class;
    if (wanted.id_len == 0)
        wanted.label = f->uri.object;
    struct catalog all;
    hsm_status status = catalog_read(&all, place, &wanted, err);
    for (size_t i = 0; i < 3 && status == HSM_OK; i++)
        status = class_read(f, worker, place, &all, classes[i], err);
    catalog_clear(&all);
    return status;
}

static hsm_status find_once(struct find_task *f, struct worker *worker, hsm_error *err)
{
    struct place place;
    hsm_status status = token_session_await(f->token, worker, &f->task, &place, err);
    if (status == HSM_OK && f->login)
        status = token_login(f->token, worker, f->pin, err);
    return status == HSM_OK ? objects_find(f, worker, &place, err) : status;
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
        found_list_clear(&f->found);
        hsm_status status = find_once(f, worker, &why);
        task->err = status == HSM_OK ? (hsm_error){0} : why;
        if (status == HSM_OK || !find_repair(f, worker, why.ckr, attempt))
            break;
    }
}

static void find_destroy(struct task *task)
{
    struct find_task *f = (struct find_task *)task;
    found_list_clear(&f->found);
    hsm_uri_clear(&f->uri);
    pin_free(f->pin);
    OPENSSL_free(f);
}

static const struct task_ops find_ops = {.run = find_run, .destroy = find_destroy};

/* ---- The caller's thread ---- */

void hsm_objects_clear(hsm_object *entries, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        hsm_key_free(entries[i].key);
        OPENSSL_free(entries[i].cert);
        free(entries[i].uri);
        OPENSSL_free(entries[i].label);
        entries[i] = (hsm_object){0};
    }
}

void hsm_objects_free(hsm_object *list, size_t count)
{
    hsm_objects_clear(list, count);
    free(list);
}

/* A search as the steps below share it. */
struct search {
    hsm *h;
    const hsm_uri *uri;
    hsm_class class;
    struct found_list *result;
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
    for (size_t i = 0; i < f->found.count && status == HSM_OK; i++) {
        if (!found_add(s->result, &f->found.list[i]))
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
        if (status != HSM_OK || s->result->count > 0 || !may_login)
            return status != HSM_OK || s->result->count > 0 ? status
                                                            : nothing_found(s, token_where(token), err);
    }
    status = pin_resolve(&pin, sources, slot->label, err);
    if (status != HSM_OK)
        return status;
    bool login = pin || slot->pin_pad;
    status = token_search(s, token, login, pin, err);
    if (status != HSM_OK || s->result->count > 0)
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
    if (status != HSM_OK || s->result->count > 0)
        return status;
    char there[200];
    slots_describe(slots, count, there, sizeof(there));
    return error_set(err, HSM_E_AMBIGUOUS, 0,
                     "%zu tokens fit the URI: %s; name one by token= or serial=, so that its PIN can be used",
                     count, there);
}

hsm_status objects_search(hsm *h, const hsm_uri *uri, hsm_class class, const struct pin_sources *sources,
                          struct found_list *out, hsm_error *err)
{
    struct search s = {.h = h, .uri = uri, .class = class, .result = out};
    struct slot *slots = NULL;
    size_t slot_count = 0;

    *out = (struct found_list){0};
    hsm_status status = tokens_locate(h, uri, &slots, &slot_count, err);
    if (status != HSM_OK)
        return status;
    if (slot_count == 1) {
        struct token *token = hsm_token(h, &slots[0]);
        if (token)
            token_seen(token);
        status =
            token ? one_token(&s, token, sources, err) : error_set(err, HSM_E_MEMORY, 0, "out of memory");
    } else {
        status = many_tokens(&s, slots, slot_count, err);
    }
    slots_free(slots, slot_count);
    if (status != HSM_OK)
        found_list_clear(out);
    return status;
}

/* ---- For the caller ---- */

/* A key or certificate becomes the caller's. */
static bool object_fill(hsm_object *o, hsm *h, struct found *f)
{
    *o = (hsm_object){
        .type = f->class, .cert = f->cert, .cert_len = f->cert_len, .uri = f->uri, .label = f->label};
    f->cert = NULL;
    f->uri = f->label = NULL;
    if (!f->key)
        return true;
    o->key = key_new(h, f->key, f->cluster);
    if (!o->key)
        return false;
    f->key = NULL;
    f->cluster = NULL;
    o->uri = strdup(hsm_key_uri(o->key));
    o->label = OPENSSL_strdup(hsm_key_label(o->key));
    return o->uri && o->label;
}

static hsm_status objects_make(hsm *h, struct found_list *found, hsm_object **list, size_t *count,
                               hsm_error *err)
{
    hsm_object *objects = calloc(found->count, sizeof(*objects));
    bool good = objects != NULL;
    size_t made = 0;
    while (good && made < found->count) {
        good = object_fill(&objects[made], h, &found->list[made]);
        made++;
    }
    if (!good) {
        hsm_objects_free(objects, made);
        return error_set(err, HSM_E_MEMORY, 0, "out of memory");
    }
    *list = objects;
    *count = made;
    return HSM_OK;
}

hsm_status hsm_find(hsm *h, const hsm_uri *uri, hsm_class type, hsm_pin_callback ask, void *ask_arg,
                    hsm_object **list, size_t *count, hsm_error *err)
{
    struct pin_sources sources = {.uri = uri, .setting = hsm_pin_setting(h), .ask = ask, .ask_arg = ask_arg};
    struct found_list found = {0};
    struct group *group = group_named(hsm_groups(h), uri);

    *list = NULL;
    *count = 0;
    if (type != HSM_CLASS_ANY && uri->type != HSM_CLASS_ANY && type != uri->type)
        return error_set(err, HSM_E_NO_OBJECT, 0, "a %s is wanted, but the URI names a %s", class_name(type),
                         class_name(uri->type));
    hsm_class class = type == HSM_CLASS_ANY ? uri->type : type;
    hsm_status status = group ? cluster_search(h, group, uri, class, &sources, &found, err)
                              : objects_search(h, uri, class, &sources, &found, err);
    if (status == HSM_OK)
        status = objects_make(h, &found, list, count, err);
    found_list_clear(&found);
    return status;
}
