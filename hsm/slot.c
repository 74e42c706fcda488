/* SPDX-License-Identifier: Apache-2.0 */
/* The slots of a module and the tokens in them, as plain strings; see slot.h. What a URI means by them: locate.c. */
#include "slot.h"
#include "error.h"
#include "module-int.h"

#include <openssl/crypto.h>

enum { INFO_PAUSE_MAX_MS = 128 }; /* the longest of the pauses between tries, each twice the one before */

void slots_free(struct slot *list, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        OPENSSL_free(list[i].label);
        OPENSSL_free(list[i].manufacturer);
        OPENSSL_free(list[i].model);
        OPENSSL_free(list[i].serial);
        OPENSSL_free(list[i].description);
        OPENSSL_free(list[i].slot_manufacturer);
    }
    OPENSSL_free(list);
}

/* Fields of Cryptoki have no NUL and are padded with blanks (PKCS#11 2.40 section 3). */
static size_t unpadded_length(const CK_UTF8CHAR *field, size_t len)
{
    while (len > 0 && (field[len - 1] == ' ' || field[len - 1] == '\0'))
        len--;
    return len;
}

static char *unpadded(const CK_UTF8CHAR *field, size_t len)
{
    return OPENSSL_strndup((const char *)field, unpadded_length(field, len));
}

static bool slot_fill(struct slot *out, CK_SLOT_ID id, const CK_SLOT_INFO *s, const CK_TOKEN_INFO *t)
{
    *out = (struct slot){
        .id = id,
        .label = unpadded(t->label, sizeof(t->label)),
        .manufacturer = unpadded(t->manufacturerID, sizeof(t->manufacturerID)),
        .model = unpadded(t->model, sizeof(t->model)),
        .serial = unpadded(t->serialNumber, sizeof(t->serialNumber)),
        .description = unpadded(s->slotDescription, sizeof(s->slotDescription)),
        .slot_manufacturer = unpadded(s->manufacturerID, sizeof(s->manufacturerID)),
        .login_required = t->flags & CKF_LOGIN_REQUIRED,
        .pin_pad = t->flags & CKF_PROTECTED_AUTHENTICATION_PATH,
    };
    return out->label && out->manufacturer && out->model && out->serial && out->description &&
           out->slot_manufacturer;
}

struct slot_list {
    struct slot *list;
    size_t count;
};

/*
 * SoftHSM2 2.6.1 writes the token's file at each C_Login. Other processes that read it at that moment are
 * answered CKR_GENERAL_ERROR, or CKR_OK with a blank label or serial number (Token::getTokenInfo ignores what
 * these two lookups return): the token would be known by half a name, and not be found again. A daemon's
 * processes all start at the same time, so have some patience. What is blank after that is so in truth.
 */
CK_RV module_token_info(struct module *m, CK_SLOT_ID slot, CK_TOKEN_INFO *info, const char *where,
                        hsm_error *err)
{
    for (unsigned pause = 1;; pause *= 2) {
        CK_RV rv = CK(m->functions, err, where, C_GetTokenInfo, slot, info);
        bool half = rv == CKR_OK && (info->flags & CKF_TOKEN_INITIALIZED) &&
                    (unpadded_length(info->label, sizeof(info->label)) == 0 ||
                     unpadded_length(info->serialNumber, sizeof(info->serialNumber)) == 0);
        if ((rv != CKR_GENERAL_ERROR && !half) || pause > INFO_PAUSE_MAX_MS)
            return rv;
        pause_ms(pause);
    }
}

/* A slot in trouble is left out, so that it does not hide the others; its trouble is told if no token is
 * found. */
static hsm_status slot_read(struct module *m, CK_SLOT_ID id, struct slot_list *out, hsm_error *trouble)
{
    CK_SLOT_INFO slot;
    CK_TOKEN_INFO token;
    hsm_error why = {0};
    CK_RV rv = CK(m->functions, &why, m->path, C_GetSlotInfo, id, &slot);
    if (rv == CKR_OK)
        rv = module_token_info(m, id, &token, m->path, &why);
    if (rv != CKR_OK && rv != CKR_TOKEN_NOT_PRESENT && rv != CKR_TOKEN_NOT_RECOGNIZED)
        (void)error_copy(trouble, &why);
    if (rv != CKR_OK || !(token.flags & CKF_TOKEN_INITIALIZED))
        return HSM_OK;
    if (slot_fill(&out->list[out->count++], id, &slot, &token))
        return HSM_OK;
    return error_set(trouble, HSM_E_MEMORY, 0, "PKCS#11 module '%s': out of memory", m->path);
}

static hsm_status slots_step(struct module *m, struct module_live *live, void *arg, hsm_error *err)
{
    (void)live;
    struct slot_list *out = arg;
    hsm_error trouble = {0};
    CK_ULONG n = 0;
    CK_SLOT_ID *ids = NULL;
    /* Asking for the number first also makes the module look for slots anew (PKCS#11 2.40 section 5.5). */
    CK_RV rv = CK(m->functions, err, m->path, C_GetSlotList, CK_TRUE, NULL, &n);
    if (rv != CKR_OK)
        return ckr_status(rv);
    hsm_status status = HSM_OK;
    n += 4; /* should some be plugged in meanwhile */
    ids = OPENSSL_zalloc(n * sizeof(*ids));
    out->list = OPENSSL_zalloc(n * sizeof(*out->list));
    if (!ids || !out->list) {
        status = error_set(err, HSM_E_MEMORY, 0, "PKCS#11 module '%s': out of memory", m->path);
        goto out;
    }
    rv = CK(m->functions, err, m->path, C_GetSlotList, CK_TRUE, ids, &n);
    if (rv != CKR_OK) {
        status = ckr_status(rv);
        goto out;
    }
    for (CK_ULONG i = 0; i < n && status == HSM_OK; i++)
        status = slot_read(m, ids[i], out, &trouble);
    if (status == HSM_E_MEMORY || (status == HSM_OK && out->count == 0 && trouble.status != HSM_OK))
        status = error_copy(err, &trouble);
out:
    OPENSSL_free(ids);
    return status;
}

hsm_status module_slots(struct module *m, struct slot **list, size_t *count, hsm_error *err)
{
    struct slot_list found = {0};
    hsm_status status = module_do(m, slots_step, &found, err);
    if (status != HSM_OK) {
        slots_free(found.list, found.count);
        found = (struct slot_list){0};
    }
    *list = found.list;
    *count = found.count;
    return status;
}
