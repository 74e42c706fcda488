/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Keys: what is known of one without asking the token, and finding it in the token again when its handle is
 * no longer good. Using it is operation.c.
 */
#include "key.h"
#include "cluster.h"
#include "error.h"
#include "hsm-int.h"
#include "public.h"

#include <string.h>

#include <openssl/crypto.h>

struct hsm_key {
    atomic_uint refs;
    hsm *hsm;
    struct keydata *data;
    struct cluster *cluster;
};

CK_OBJECT_CLASS class_number(hsm_class class)
{
    switch (class) {
    case HSM_CLASS_PRIVATE:
        return CKO_PRIVATE_KEY;
    case HSM_CLASS_PUBLIC:
        return CKO_PUBLIC_KEY;
    case HSM_CLASS_CERT:
    case HSM_CLASS_ANY:
        break;
    }
    return CKO_CERTIFICATE;
}

char *object_uri(struct token *token, hsm_class class, const uint8_t *id, size_t id_len, const char *label)
{
    const struct slot *slot = token_slot(token);
    hsm_uri uri = {
        .token = slot->label,
        .manufacturer = slot->manufacturer,
        .model = slot->model,
        .serial = slot->serial,
        .id = (uint8_t *)(uintptr_t)id,
        .id_len = id_len,
        .object = label[0] ? (char *)(uintptr_t)label : NULL,
        .type = class,
    };
    return hsm_uri_text(&uri);
}

/* ---- What workers need ---- */

hsm_status keydata_read(struct keydata **out, struct token *token, const struct place *place,
                        CK_OBJECT_HANDLE object, hsm_class class, const struct catalog *known, uint64_t epoch,
                        hsm_error *err)
{
    hsm_status status = HSM_OK;
    size_t label_len = 0;
    struct keydata *data = OPENSSL_zalloc(sizeof(*data));
    if (!data)
        return error_set(err, HSM_E_MEMORY, 0, "%s: out of memory", place->where);
    atomic_init(&data->refs, 1);
    data->token = token;
    data->class = class;
    data->handle = (struct handle){epoch, object};
    status = object_attribute(place, object, CKA_ID, &data->id, &data->id_len, err);
    if (status == HSM_OK || (status == HSM_E_NO_OBJECT && err->ckr == 0))
        status = object_attribute(place, object, CKA_LABEL, (uint8_t **)&data->label, &label_len, err);
    if (status == HSM_E_NO_OBJECT && err->ckr == 0) { /* both attributes are optional */
        data->label = OPENSSL_strdup("");
        status = HSM_OK;
    }
    if (status == HSM_OK)
        status = object_public(place, object, data->id, data->id_len, known, &data->public, err);
    if (status != HSM_OK)
        goto out;
    data->always_authenticate =
        class == HSM_CLASS_PRIVATE && object_flag(place, object, CKA_ALWAYS_AUTHENTICATE, false);
    data->uri = data->label ? object_uri(token, class, data->id, data->id_len, data->label) : NULL;
    if (!data->uri) {
        status = error_set(err, HSM_E_MEMORY, 0, "%s: out of memory", place->where);
        goto out;
    }
    *out = data;
    data = NULL;
out:
    keydata_free(data);
    return status;
}

struct keydata *keydata_ref(struct keydata *data)
{
    atomic_fetch_add(&data->refs, 1);
    return data;
}

void keydata_free(struct keydata *data)
{
    if (!data || atomic_fetch_sub(&data->refs, 1) != 1)
        return;
    OPENSSL_free(data->id);
    OPENSSL_free(data->label);
    free(data->uri);
    public_clear(&data->public);
    OPENSSL_free(data);
}

hsm_status keydata_is(const struct keydata *data, const struct place *place, CK_OBJECT_HANDLE object,
                      bool *same, hsm_error *err)
{
    hsm_public public;
    hsm_status status = object_public(place, object, data->id, data->id_len, NULL, &public, err);
    *same = status == HSM_OK && public_equal(&public, &data->public);
    public_clear(&public);
    return status;
}

/* Nothing found: because it is gone, or because the token does not show it to who is not logged in? */
static hsm_status key_missing(struct keydata *data, struct worker *worker, size_t others, hsm_error *err)
{
    struct token *t = data->token;
    hsm_status status = token_login_state(t, err);
    if (status != HSM_OK)
        return status;
    if (token_slot(t)->login_required && !token_session_is_user(t, worker))
        return error_set(err, HSM_E_PIN_NEEDED, CKR_USER_NOT_LOGGED_IN, "%s: somebody has logged it out",
                         token_where(t));
    return error_set(err, HSM_E_NO_OBJECT, 0, "%s: the key '%s' is %s", token_where(t),
                     data->label[0] ? data->label : data->uri,
                     others ? "another one than before; restart or reload to use it" : "not there any more");
}

hsm_status keydata_locate(struct keydata *data, struct worker *worker, const struct place *place,
                          unsigned long *object, hsm_error *err)
{
    if (token_handle_get(data->token, &data->handle, object))
        return HSM_OK;
    CK_OBJECT_CLASS class = class_number(data->class);
    struct wanted wanted = {&class, data->id, data->id_len, data->label[0] ? data->label : NULL};
    CK_OBJECT_HANDLE *list = NULL;
    size_t count = 0;
    hsm_status status = object_search(place, &wanted, &list, &count, err);
    bool same = false;
    hsm_error trouble = {0}; /* an object that could not be read may have been the key */
    for (size_t i = 0; i < count && status == HSM_OK && !same; i++) {
        hsm_error why = {0};
        (void)keydata_is(data, place, list[i], &same, &why);
        if (why.ckr != 0)
            trouble = why;
        if (same) {
            *object = list[i];
            token_handle_set(data->token, &data->handle, worker->epoch, list[i]);
        }
    }
    OPENSSL_free(list);
    if (status == HSM_OK && !same && trouble.status != HSM_OK)
        return error_copy(err, &trouble);
    return status != HSM_OK || same ? status : key_missing(data, worker, count, err);
}

/* ---- The caller's handle ---- */

hsm_key *key_new(hsm *h, struct keydata *data, struct cluster *cluster)
{
    hsm_key *key = OPENSSL_zalloc(sizeof(*key));
    if (!key)
        return NULL;
    atomic_init(&key->refs, 1);
    key->hsm = hsm_ref(h);
    key->data = data;
    key->cluster = cluster;
    return key;
}

hsm_key *hsm_key_ref(hsm_key *key)
{
    atomic_fetch_add(&key->refs, 1);
    return key;
}

void hsm_key_free(hsm_key *key)
{
    if (!key || atomic_fetch_sub(&key->refs, 1) != 1)
        return;
    keydata_free(key->data);
    cluster_free(key->cluster);
    hsm_free(key->hsm);
    OPENSSL_free(key);
}

hsm *key_hsm(const hsm_key *key)
{
    return key->hsm;
}

struct keydata *key_data(const hsm_key *key)
{
    return key->data;
}

struct cluster *key_cluster(const hsm_key *key)
{
    return key->cluster;
}

const hsm_public *hsm_key_public(const hsm_key *key)
{
    return &key->data->public;
}

bool hsm_key_is_private(const hsm_key *key)
{
    return key->data->class == HSM_CLASS_PRIVATE;
}

const char *hsm_key_uri(const hsm_key *key)
{
    return key->cluster ? cluster_uri(key->cluster) : key->data->uri;
}

const char *hsm_key_label(const hsm_key *key)
{
    return key->data->label;
}
