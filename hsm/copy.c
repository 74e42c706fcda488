/* SPDX-License-Identifier: Apache-2.0 */
/* Which object of a key operations use, and the table of copies that each worker has; see copy.h. */
#include "copy.h"
#include "debug.h"
#include "error.h"
#include "token-int.h"

#include <openssl/crypto.h>

/*
 * Those of one worker: nobody else uses them, so that none goes while somebody does (SoftHSM2 2.6.1 answers
 * CKR_GENERAL_ERROR to who is at one).
 */
enum { COPIES_MAX = 64 };
struct copies {
    unsigned count;
    struct copy {
        CK_OBJECT_HANDLE key, copy; /* no copy, CK_INVALID_HANDLE: the token does not make one */
        uint64_t good_until;        /* stats_now() */
    } list[COPIES_MAX];
};

/* ---- The table ---- */

static struct copy *copy_of(const struct worker *worker, CK_OBJECT_HANDLE key)
{
    struct copies *c = worker->copies;
    for (unsigned i = 0; c && i < c->count; i++) {
        if (c->list[i].key == key)
            return &c->list[i];
    }
    return NULL;
}

static bool copies_full(const struct worker *worker)
{
    return worker->copies && worker->copies->count == COPIES_MAX;
}

static uint64_t good_until(void)
{
    return stats_now() + HSM_COPY_MS * UINT64_C(1000);
}

/* False if out of memory. There is room. */
static bool copy_enter(struct worker *worker, CK_OBJECT_HANDLE key, CK_OBJECT_HANDLE copy)
{
    if (!worker->copies)
        worker->copies = OPENSSL_zalloc(sizeof(*worker->copies));
    if (!worker->copies)
        return false;
    worker->copies->list[worker->copies->count++] = (struct copy){key, copy, good_until()};
    return true;
}

void copies_drop(struct worker *worker)
{
    OPENSSL_free(worker->copies);
    worker->copies = NULL;
}

static void object_destroy(const struct place *place, CK_OBJECT_HANDLE object)
{
    (void)CK(place->functions, NULL, place->where, C_DestroyObject, place->session, object);
}

/* The key is no longer there. */
static void copy_destroy(struct worker *worker, const struct place *place, struct copy *entry)
{
    CK_OBJECT_HANDLE copy = entry->copy;
    *entry = worker->copies->list[--worker->copies->count];
    if (copy != CK_INVALID_HANDLE)
        object_destroy(place, copy);
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

/* ---- Using them ---- */

/* Is the key itself still there? Then its copy is good for another while. */
static hsm_status key_look(const struct place *place, struct copy *entry, hsm_error *err)
{
    CK_OBJECT_CLASS class = 0;
    CK_ATTRIBUTE a = {CKA_CLASS, &class, sizeof(class)};
    CK_RV rv =
        CK(place->functions, err, place->where, C_GetAttributeValue, place->session, entry->key, &a, 1);
    if (rv == CKR_OK)
        entry->good_until = good_until();
    return ckr_status(rv);
}

static bool copy_is_due(const struct copy *entry)
{
    return entry->copy != CK_INVALID_HANDLE && stats_now() >= entry->good_until;
}

/* The first use of the key in this session. */
static hsm_status copy_make(struct keydata *data, struct worker *worker, const struct place *place,
                            unsigned long *object, hsm_error *err)
{
    CK_OBJECT_HANDLE key = *object, copy = CK_INVALID_HANDLE;
    hsm_status status = copy_create(data, place, key, &copy, err);
    if (status != HSM_OK)
        return status;
    if (copy_enter(worker, key, copy)) {
        if (copy != CK_INVALID_HANDLE)
            *object = copy;
    } else if (copy != CK_INVALID_HANDLE) {
        object_destroy(place, copy);
    }
    return HSM_OK;
}

hsm_status copy_locate(struct keydata *data, struct worker *worker, const struct place *place,
                       unsigned long *object, hsm_error *err)
{
    hsm_status status = keydata_locate(data, worker, place, object, err);
    if (status != HSM_OK || !copy_is_wanted(data))
        return status;
    struct copy *entry = copy_of(worker, *object);
    if (!entry)
        return copies_full(worker) ? HSM_OK : copy_make(data, worker, place, object, err);
    if (copy_is_due(entry))
        status = key_look(place, entry, err);
    if (status == HSM_OK && entry->copy != CK_INVALID_HANDLE)
        *object = entry->copy;
    return status;
}

bool copy_at_hand(struct keydata *data, const struct worker *worker, unsigned long *object)
{
    if (!token_handle_get(data->token, &data->handle, object))
        return false;
    if (!copy_is_wanted(data))
        return true;
    const struct copy *entry = copy_of(worker, *object);
    if (!entry)
        return copies_full(worker);
    if (entry->copy != CK_INVALID_HANDLE)
        *object = entry->copy;
    return !copy_is_due(entry);
}

void copy_forget(struct keydata *data, struct worker *worker)
{
    const struct place place = {module_functions(token_owner(data->token)->module), worker->session,
                                token_where(data->token)};
    CK_OBJECT_HANDLE key = CK_INVALID_HANDLE;
    (void)token_handle_get(data->token, &data->handle, &key);
    struct copy *entry = copy_of(worker, key);
    if (entry && worker->has_session)
        copy_destroy(worker, &place, entry);
    token_handle_set(data->token, &data->handle, 0, 0);
}
