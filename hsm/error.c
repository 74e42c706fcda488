/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Errors: one way to raise them, and one table of Cryptoki's return values with their names and meanings.
 * The decision what to do about them is left to token_state.c and operation.c.
 */
#include "error.h"
#include "text.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <p11-kit/pkcs11.h>

/* How this room looks at a CK_RV, beside the status that the caller sees. */
enum meaning {
    M_PLAIN,
    M_LOSS,  /* rule: reopen, log in, try again */
    M_STALE, /* the object handle is no longer good */
    M_PIN,   /* the PIN was refused */
};

static const struct ckr {
    unsigned long value;
    const char *name;
    hsm_status status;
    enum meaning meaning;
} ckr_table[] = {
#define CKR(name, status, meaning)                                                                           \
    {                                                                                                        \
        name, #name, status, meaning                                                                         \
    }
    CKR(CKR_OK, HSM_OK, M_PLAIN),
    CKR(CKR_CANCEL, HSM_E_TOKEN, M_PLAIN),
    CKR(CKR_HOST_MEMORY, HSM_E_MEMORY, M_PLAIN),
    CKR(CKR_SLOT_ID_INVALID, HSM_E_NO_TOKEN, M_LOSS),
    CKR(CKR_GENERAL_ERROR, HSM_E_TOKEN, M_PLAIN),
    CKR(CKR_FUNCTION_FAILED, HSM_E_TOKEN, M_PLAIN),
    CKR(CKR_ARGUMENTS_BAD, HSM_E_TOKEN, M_PLAIN),
    CKR(CKR_NO_EVENT, HSM_E_TOKEN, M_PLAIN),
    CKR(CKR_NEED_TO_CREATE_THREADS, HSM_E_MODULE, M_PLAIN),
    CKR(CKR_CANT_LOCK, HSM_E_MODULE, M_PLAIN),
    CKR(CKR_ATTRIBUTE_READ_ONLY, HSM_E_TOKEN, M_PLAIN),
    CKR(CKR_ATTRIBUTE_SENSITIVE, HSM_E_TOKEN, M_PLAIN),
    CKR(CKR_ATTRIBUTE_TYPE_INVALID, HSM_E_TOKEN, M_PLAIN),
    CKR(CKR_ATTRIBUTE_VALUE_INVALID, HSM_E_TOKEN, M_PLAIN),
    CKR(CKR_DATA_INVALID, HSM_E_REFUSED, M_PLAIN),
    CKR(CKR_DATA_LEN_RANGE, HSM_E_REFUSED, M_PLAIN),
    CKR(CKR_DEVICE_ERROR, HSM_E_TOKEN, M_LOSS),
    CKR(CKR_DEVICE_MEMORY, HSM_E_TOKEN, M_PLAIN),
    CKR(CKR_DEVICE_REMOVED, HSM_E_NO_TOKEN, M_LOSS),
    CKR(CKR_ENCRYPTED_DATA_INVALID, HSM_E_REFUSED, M_PLAIN),
    CKR(CKR_ENCRYPTED_DATA_LEN_RANGE, HSM_E_REFUSED, M_PLAIN),
    CKR(CKR_FUNCTION_CANCELED, HSM_E_TOKEN, M_PLAIN),
    CKR(CKR_FUNCTION_NOT_PARALLEL, HSM_E_TOKEN, M_PLAIN),
    CKR(CKR_FUNCTION_NOT_SUPPORTED, HSM_E_UNSUPPORTED, M_PLAIN),
    CKR(CKR_KEY_HANDLE_INVALID, HSM_E_NO_OBJECT, M_STALE),
    CKR(CKR_KEY_SIZE_RANGE, HSM_E_UNSUPPORTED, M_PLAIN),
    CKR(CKR_KEY_TYPE_INCONSISTENT, HSM_E_UNSUPPORTED, M_PLAIN),
    CKR(CKR_KEY_FUNCTION_NOT_PERMITTED, HSM_E_UNSUPPORTED, M_PLAIN),
    CKR(CKR_MECHANISM_INVALID, HSM_E_UNSUPPORTED, M_PLAIN),
    CKR(CKR_MECHANISM_PARAM_INVALID, HSM_E_UNSUPPORTED, M_PLAIN),
    CKR(CKR_OBJECT_HANDLE_INVALID, HSM_E_NO_OBJECT, M_STALE),
    CKR(CKR_OPERATION_ACTIVE, HSM_E_TOKEN, M_PLAIN),
    CKR(CKR_OPERATION_NOT_INITIALIZED, HSM_E_TOKEN, M_PLAIN),
    CKR(CKR_PIN_INCORRECT, HSM_E_PIN, M_PIN),
    CKR(CKR_PIN_INVALID, HSM_E_PIN, M_PIN),
    CKR(CKR_PIN_LEN_RANGE, HSM_E_PIN, M_PIN),
    CKR(CKR_PIN_EXPIRED, HSM_E_PIN, M_PIN),
    CKR(CKR_PIN_LOCKED, HSM_E_PIN, M_PIN),
    CKR(CKR_SESSION_CLOSED, HSM_E_TOKEN, M_LOSS),
    CKR(CKR_SESSION_COUNT, HSM_E_TOKEN, M_PLAIN),
    CKR(CKR_SESSION_HANDLE_INVALID, HSM_E_TOKEN, M_LOSS),
    CKR(CKR_SESSION_PARALLEL_NOT_SUPPORTED, HSM_E_TOKEN, M_PLAIN),
    CKR(CKR_SESSION_READ_ONLY, HSM_E_TOKEN, M_PLAIN),
    CKR(CKR_SESSION_EXISTS, HSM_E_TOKEN, M_PLAIN),
    CKR(CKR_SIGNATURE_INVALID, HSM_E_TOKEN, M_PLAIN),
    CKR(CKR_SIGNATURE_LEN_RANGE, HSM_E_TOKEN, M_PLAIN),
    CKR(CKR_TEMPLATE_INCOMPLETE, HSM_E_TOKEN, M_PLAIN),
    CKR(CKR_TEMPLATE_INCONSISTENT, HSM_E_TOKEN, M_PLAIN),
    CKR(CKR_TOKEN_NOT_PRESENT, HSM_E_NO_TOKEN, M_LOSS),
    CKR(CKR_TOKEN_NOT_RECOGNIZED, HSM_E_NO_TOKEN, M_LOSS),
    CKR(CKR_TOKEN_WRITE_PROTECTED, HSM_E_TOKEN, M_PLAIN),
    CKR(CKR_USER_ALREADY_LOGGED_IN, HSM_E_TOKEN, M_PLAIN),
    CKR(CKR_USER_NOT_LOGGED_IN, HSM_E_PIN_NEEDED, M_LOSS),
    CKR(CKR_USER_PIN_NOT_INITIALIZED, HSM_E_PIN, M_PLAIN),
    CKR(CKR_USER_TYPE_INVALID, HSM_E_TOKEN, M_PLAIN),
    CKR(CKR_USER_ANOTHER_ALREADY_LOGGED_IN, HSM_E_PIN, M_PLAIN),
    CKR(CKR_USER_TOO_MANY_TYPES, HSM_E_PIN, M_PLAIN),
    CKR(CKR_DOMAIN_PARAMS_INVALID, HSM_E_UNSUPPORTED, M_PLAIN),
    CKR(CKR_CURVE_NOT_SUPPORTED, HSM_E_UNSUPPORTED, M_PLAIN),
    CKR(CKR_BUFFER_TOO_SMALL, HSM_E_TOKEN, M_PLAIN),
    CKR(CKR_CRYPTOKI_NOT_INITIALIZED, HSM_E_MODULE, M_LOSS),
    CKR(CKR_CRYPTOKI_ALREADY_INITIALIZED, HSM_E_MODULE, M_PLAIN),
    CKR(CKR_MUTEX_BAD, HSM_E_MODULE, M_PLAIN),
    CKR(CKR_MUTEX_NOT_LOCKED, HSM_E_MODULE, M_PLAIN),
    CKR(CKR_FUNCTION_REJECTED, HSM_E_TOKEN, M_PLAIN),
#undef CKR
};

static const struct ckr *ckr_find(unsigned long value)
{
    for (size_t i = 0; i < sizeof(ckr_table) / sizeof(ckr_table[0]); i++) {
        if (ckr_table[i].value == value)
            return &ckr_table[i];
    }
    return NULL;
}

const char *hsm_ckr_name(unsigned long ckr)
{
    const struct ckr *c = ckr_find(ckr);
    if (c)
        return c->name;
    return ckr >= CKR_VENDOR_DEFINED ? "CKR_VENDOR_DEFINED" : "CKR_?";
}

hsm_status ckr_status(unsigned long ckr)
{
    const struct ckr *c = ckr_find(ckr);
    return c ? c->status : HSM_E_TOKEN;
}

static bool ckr_means(unsigned long ckr, enum meaning meaning)
{
    const struct ckr *c = ckr_find(ckr);
    return c && c->meaning == meaning;
}

bool ckr_is_loss(unsigned long ckr)
{
    return ckr_means(ckr, M_LOSS);
}

bool ckr_is_stale_object(unsigned long ckr)
{
    return ckr_means(ckr, M_STALE);
}

bool ckr_is_pin_refusal(unsigned long ckr)
{
    return ckr_means(ckr, M_PIN);
}

hsm_status error_set(hsm_error *err, hsm_status status, unsigned long ckr, const char *format, ...)
{
    if (!err)
        return status;
    va_list args;
    va_start(args, format);
    (void)vsnprintf(err->text, sizeof(err->text), format, args);
    va_end(args);
    err->status = status;
    err->ckr = ckr;
    line_clean(err->text);
    return status;
}

hsm_status error_ckr(hsm_error *err, unsigned long ckr, const char *call, const char *where)
{
    return error_set(err, ckr_status(ckr), ckr, "%s: %s answered %s (0x%lx)", where, call, hsm_ckr_name(ckr),
                     ckr);
}

hsm_status error_copy(hsm_error *to, const hsm_error *from)
{
    if (to && from && to != from)
        *to = *from;
    return from ? from->status : HSM_OK;
}
