/* SPDX-License-Identifier: Apache-2.0 */
/* What one search of a token has found; see catalog.h. */
#include "catalog.h"
#include "copy.h"
#include "error.h"
#include "module.h"

#include <stdlib.h>
#include <string.h>

#include <openssl/crypto.h>

/* Order: id, class, handle. */
static int ids_compare(const uint8_t *a, size_t a_len, const uint8_t *b, size_t b_len)
{
    int order = memcmp(a, b, a_len < b_len ? a_len : b_len);
    return order != 0 ? order : (a_len > b_len) - (a_len < b_len);
}

static int entries_compare(const void *x, const void *y)
{
    const struct entry *a = x, *b = y;
    int order = ids_compare(a->id, a->id_len, b->id, b->id_len);
    if (order == 0)
        order = (a->class > b->class) - (a->class < b->class);
    return order != 0 ? order : (a->object > b->object) - (a->object < b->object);
}

/* One call for both attributes. An object that has vanished meanwhile, or has no id, is no error. */
static hsm_status entry_read(struct entry *e, const struct place *place, hsm_error *err)
{
    CK_ATTRIBUTE a[] = {{CKA_CLASS, &e->class, sizeof(e->class)}, {CKA_ID, e->id, sizeof(e->id)}};
    hsm_error why = {0};
    CK_RV rv = CK(place->functions, &why, place->where, C_GetAttributeValue, place->session, e->object, a, 2);
    if (ckr_is_loss(rv))
        return error_copy(err, &why);
    if (rv != CKR_OK && a[0].ulValueLen != sizeof(e->class))
        e->class = CKO_VENDOR_DEFINED;
    e->id_len = a[1].ulValueLen <= sizeof(e->id) ? a[1].ulValueLen : 0;
    if (e->id_len == strlen(COPY_NAME) && memcmp(e->id, COPY_NAME, e->id_len) == 0)
        e->class = CKO_VENDOR_DEFINED; /* ours, and no object of the token */
    return HSM_OK;
}

hsm_status catalog_read(struct catalog *out, const struct place *place, const struct wanted *wanted,
                        hsm_error *err)
{
    CK_OBJECT_HANDLE *found = NULL;
    size_t count = 0;
    *out = (struct catalog){.complete = !wanted->label && !wanted->class};
    hsm_status status = object_search(place, wanted, &found, &count, err);
    if (status != HSM_OK)
        return status;
    out->list = OPENSSL_zalloc((count + 1) * sizeof(*out->list));
    if (!out->list)
        status = error_set(err, HSM_E_MEMORY, 0, "%s: out of memory", place->where);
    for (size_t i = 0; i < count && status == HSM_OK; i++) {
        out->list[i].object = found[i];
        status = entry_read(&out->list[i], place, err);
    }
    OPENSSL_free(found);
    if (status != HSM_OK) {
        catalog_clear(out);
        return status;
    }
    out->count = count;
    qsort(out->list, count, sizeof(*out->list), entries_compare);
    return HSM_OK;
}

void catalog_clear(struct catalog *c)
{
    OPENSSL_free(c->list);
    *c = (struct catalog){0};
}

const struct entry *catalog_find(const struct catalog *c, CK_OBJECT_CLASS class, const uint8_t *id,
                                 size_t id_len)
{
    size_t low = 0, high = c ? c->count : 0;
    while (low < high) { /* the first that is not before (id, class) */
        size_t middle = low + (high - low) / 2;
        const struct entry *e = &c->list[middle];
        int order = ids_compare(e->id, e->id_len, id, id_len);
        if (order < 0 || (order == 0 && e->class < class))
            low = middle + 1;
        else
            high = middle;
    }
    const struct entry *e = c && low < c->count ? &c->list[low] : NULL;
    return e && e->class == class && ids_compare(e->id, e->id_len, id, id_len) == 0 ? e : NULL;
}
