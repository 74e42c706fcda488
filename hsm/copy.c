/* SPDX-License-Identifier: Apache-2.0 */
/* Which object of a key operations use, and the table of copies that each token has; see copy.h. */
#include "copy.h"
#include "debug.h"
#include "error.h"
#include "token-int.h"

#include <string.h>

/* ---- The table, locked ---- */

/* All handles of another epoch are void. */
static struct copies *copies_now(struct token_live *live)
{
    if (live->copies.epoch != live->epoch)
        live->copies = (struct copies){.epoch = live->epoch};
    return &live->copies;
}

static struct copy *copy_of(struct copies *c, CK_OBJECT_HANDLE key)
{
    for (unsigned i = 0; i < c->count; i++) {
        if (c->list[i].key == key)
            return &c->list[i];
    }
    return NULL;
}

static void entry_remove(struct copies *c, struct copy *entry)
{
    *entry = c->list[--c->count];
}

void copies_drop(struct token_live *live, const struct worker *keeper)
{
    struct copies *c = &live->copies;
    for (unsigned i = c->count; i-- > 0;) {
        if (c->list[i].keeper == keeper)
            entry_remove(c, &c->list[i]);
    }
}

/* ---- Making one ---- */

/* A key that wants the PIN for each use means each use of itself. */
static bool copy_is_wanted(const struct keydata *data)
{
    const struct token_owner *owner = token_owner(data->token);
    return data->class == HSM_CLASS_PRIVATE && !data->always_authenticate &&
           (owner->key_copies == HSM_ALL || (owner->key_copies == HSM_NEAR && module_is_near(owner->module)));
}

/* Where either does not tell, the worse is assumed. */
static bool is_no_weaker(const struct place *place, CK_OBJECT_HANDLE key, CK_OBJECT_HANDLE copy)
{
    static const CK_ATTRIBUTE_TYPE protecting[] = {CKA_PRIVATE, CKA_SENSITIVE};
    for (size_t i = 0; i < sizeof(protecting) / sizeof(protecting[0]); i++) {
        if (object_flag(place, key, protecting[i], true) && !object_flag(place, copy, protecting[i], false))
            return false;
    }
    return !object_flag(place, copy, CKA_TOKEN, true) && (object_flag(place, key, CKA_EXTRACTABLE, false) ||
                                                          !object_flag(place, copy, CKA_EXTRACTABLE, true));
}

static bool copy_is_right(struct keydata *data, const struct place *place, CK_OBJECT_HANDLE key,
                          CK_OBJECT_HANDLE copy)
{
    bool same = false;
    return is_no_weaker(place, key, copy) && keydata_is(data, place, copy, &same, NULL) == HSM_OK && same;
}

static void object_destroy(const struct place *place, CK_OBJECT_HANDLE object)
{
    (void)CK(place->functions, NULL, place->where, C_DestroyObject, place->session, object);
}

/* CK_INVALID_HANDLE in `*copy`: the token does not make one that may be used. */
static hsm_status copy_create(struct keydata *data, const struct place *place, CK_OBJECT_HANDLE key,
                              CK_OBJECT_HANDLE *copy, hsm_error *err)
{
    CK_BBOOL no = CK_FALSE;
    char name[] = COPY_NAME;
    CK_ATTRIBUTE template[] = {
        {CKA_TOKEN, &no, sizeof(no)}, {CKA_LABEL, name, sizeof(name) - 1}, {CKA_ID, name, sizeof(name) - 1}};
    hsm_error why = {0};
    CK_RV rv = CK(place->functions, &why, place->where, C_CopyObject, place->session, key, template, 3, copy);
    if (ckr_is_loss(rv) || ckr_is_stale_object(rv))
        return error_copy(err, &why);
    if (rv != CKR_OK) {
        *copy = CK_INVALID_HANDLE;
    } else if (!copy_is_right(data, place, key, *copy)) {
        object_destroy(place, *copy);
        *copy = CK_INVALID_HANDLE;
    }
    debug_line("%s: the key '%s' is used %s", place->where, data->label,
               *copy != CK_INVALID_HANDLE ? "by a copy in a session" : "itself: there can be no copy");
    return HSM_OK;
}

/* `*copy` becomes what is in the table for the key, which somebody else may have entered meanwhile. */
static void copy_enter(struct token_live *live, struct worker *worker, const struct place *place,
                       CK_OBJECT_HANDLE key, CK_OBJECT_HANDLE *copy)
{
    CK_OBJECT_HANDLE ours = *copy;
    pthread_mutex_lock(&live->lock);
    struct copies *c = copies_now(live);
    struct copy *entry = copy_of(c, key);
    bool good = worker->epoch == live->epoch;
    if (!entry && good && c->count < COPIES_MAX) {
        entry = &c->list[c->count++];
        *entry = (struct copy){key, ours, worker, stats_now() + HSM_COPY_MS * UINT64_C(1000)};
    }
    *copy = entry && good ? entry->copy : CK_INVALID_HANDLE;
    pthread_mutex_unlock(&live->lock);
    if (ours != CK_INVALID_HANDLE && ours != *copy)
        object_destroy(place, ours);
}

/* ---- Using them ---- */

enum look { LOOK_NONE, LOOK_DUE, LOOK_GOOD };

/* What the table says. Locked. */
static enum look copy_look(struct token_live *live, CK_OBJECT_HANDLE key, CK_OBJECT_HANDLE *copy)
{
    struct copies *c = copies_now(live);
    const struct copy *entry = copy_of(c, key);
    *copy = entry ? entry->copy : CK_INVALID_HANDLE;
    if (!entry)
        return c->count < COPIES_MAX ? LOOK_NONE : LOOK_GOOD;
    return *copy == CK_INVALID_HANDLE || stats_now() < entry->good_until ? LOOK_GOOD : LOOK_DUE;
}

/* Is the key itself still there? Then its copy is good for another while. */
static hsm_status key_look(struct token_live *live, const struct place *place, CK_OBJECT_HANDLE key,
                           hsm_error *err)
{
    CK_OBJECT_CLASS class = 0;
    CK_ATTRIBUTE a = {CKA_CLASS, &class, sizeof(class)};
    CK_RV rv = CK(place->functions, err, place->where, C_GetAttributeValue, place->session, key, &a, 1);
    if (rv != CKR_OK)
        return ckr_status(rv);
    pthread_mutex_lock(&live->lock);
    struct copy *entry = copy_of(copies_now(live), key);
    if (entry)
        entry->good_until = stats_now() + HSM_COPY_MS * UINT64_C(1000);
    pthread_mutex_unlock(&live->lock);
    return HSM_OK;
}

hsm_status copy_locate(struct keydata *data, struct worker *worker, const struct place *place,
                       unsigned long *object, hsm_error *err)
{
    struct token_live *live = token_live(data->token);
    CK_OBJECT_HANDLE key = CK_INVALID_HANDLE, copy;
    hsm_status status = keydata_locate(data, worker, place, &key, err);
    *object = key;
    if (status != HSM_OK || !copy_is_wanted(data))
        return status;
    pthread_mutex_lock(&live->lock);
    enum look look = copy_look(live, key, &copy);
    pthread_mutex_unlock(&live->lock);
    if (look == LOOK_DUE)
        status = key_look(live, place, key, err);
    if (look == LOOK_NONE) {
        status = copy_create(data, place, key, &copy, err);
        if (status == HSM_OK)
            copy_enter(live, worker, place, key, &copy);
    }
    if (status == HSM_OK && copy != CK_INVALID_HANDLE)
        *object = copy;
    return status;
}

bool copy_at_hand(struct keydata *data, unsigned long *object)
{
    struct token_live *live = token_live(data->token);
    CK_OBJECT_HANDLE copy = CK_INVALID_HANDLE;
    bool wanted = copy_is_wanted(data);
    pthread_mutex_lock(&live->lock);
    bool good = data->handle.epoch != 0 && data->handle.epoch == live->epoch;
    *object = data->handle.object;
    if (good && wanted)
        good = copy_look(live, *object, &copy) == LOOK_GOOD;
    pthread_mutex_unlock(&live->lock);
    if (copy != CK_INVALID_HANDLE)
        *object = copy;
    return good;
}

void copy_forget(struct keydata *data, struct worker *worker)
{
    struct token_live *live = token_live(data->token);
    const struct place place = {module_functions(token_owner(data->token)->module), worker->session,
                                token_where(data->token)};
    CK_OBJECT_HANDLE copy = CK_INVALID_HANDLE;
    pthread_mutex_lock(&live->lock);
    struct copies *c = copies_now(live);
    struct copy *entry = copy_of(c, data->handle.object);
    if (entry) {
        copy = entry->copy;
        entry_remove(c, entry);
    }
    data->handle = (struct handle){0};
    bool open = worker->has_session && worker->epoch == live->epoch;
    pthread_mutex_unlock(&live->lock);
    if (copy != CK_INVALID_HANDLE && open)
        object_destroy(&place, copy);
}
