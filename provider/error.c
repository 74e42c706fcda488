/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How this room reports: entries on OpenSSL's error queue, raised through the core's functions so that the
 * application sees them under our provider's name (provider-base(7), "Core functions").
 */
#include <stdarg.h>
#include <stdio.h>
#include "provider.h"

const OSSL_ITEM error_reasons[] = {
    {REASON_SETTINGS, "bad setting"},
    {REASON_URI, "bad PKCS#11 URI"},
    {REASON_MODULE, "PKCS#11 module not usable"},
    {REASON_TOKEN_ABSENT, "token not found"},
    {REASON_NOT_FOUND, "object not found"},
    {REASON_AMBIGUOUS, "several keys match"},
    {REASON_PIN, "PIN not accepted"},
    {REASON_TOKEN, "token error"},
    {REASON_REFUSED, "the token refuses the input"},
    {REASON_EXISTS, "object exists already"},
    {REASON_BUSY, "too many operations waiting for the token"},
    {REASON_TIMEOUT, "token did not answer in time"},
    {REASON_UNSUPPORTED, "not supported"},
    {REASON_KEY_NOT_EXPORTABLE, "the key stays in the token"},
    {REASON_ARGUMENT, "bad argument"},
    {REASON_LENGTH, "bad length"},
    {REASON_STATE, "call out of order"},
    {REASON_MEMORY, "out of memory"},
    {REASON_INTERNAL, "internal error"},
    {0, NULL},
};

static const OSSL_CORE_HANDLE *error_core;
static OSSL_FUNC_core_new_error_fn *core_new_error;
static OSSL_FUNC_core_set_error_debug_fn *core_set_error_debug;
static OSSL_FUNC_core_vset_error_fn *core_vset_error;

void error_setup(const OSSL_CORE_HANDLE *core, const OSSL_DISPATCH *in)
{
    for (; in->function_id != 0; in++)
        switch (in->function_id) {
        case OSSL_FUNC_CORE_NEW_ERROR:
            core_new_error = OSSL_FUNC_core_new_error(in);
            break;
        case OSSL_FUNC_CORE_SET_ERROR_DEBUG:
            core_set_error_debug = OSSL_FUNC_core_set_error_debug(in);
            break;
        case OSSL_FUNC_CORE_VSET_ERROR:
            core_vset_error = OSSL_FUNC_core_vset_error(in);
            break;
        }
    error_core = core;
}

void error_raise(const char *file, int line, const char *func, enum reason reason, const char *format, ...)
{
    if (core_new_error == NULL || core_set_error_debug == NULL || core_vset_error == NULL)
        return;

    va_list ap;
    va_start(ap, format);
    core_new_error(error_core);
    core_set_error_debug(error_core, file, line, func);
    core_vset_error(error_core, reason, format, ap);
    va_end(ap);
}

static enum reason reason_of(hsm_status status)
{
    switch (status) {
    case HSM_E_URI:
        return REASON_URI;
    case HSM_E_SETTINGS:
        return REASON_SETTINGS;
    case HSM_E_MODULE:
        return REASON_MODULE;
    case HSM_E_NO_TOKEN:
        return REASON_TOKEN_ABSENT;
    case HSM_E_NO_OBJECT:
        return REASON_NOT_FOUND;
    case HSM_E_AMBIGUOUS:
        return REASON_AMBIGUOUS;
    case HSM_E_PIN_NEEDED:
    case HSM_E_PIN:
        return REASON_PIN;
    case HSM_E_UNSUPPORTED:
        return REASON_UNSUPPORTED;
    case HSM_E_BUSY:
        return REASON_BUSY;
    case HSM_E_TIMEOUT:
        return REASON_TIMEOUT;
    case HSM_E_REFUSED:
        return REASON_REFUSED;
    case HSM_E_EXISTS:
        return REASON_EXISTS;
    case HSM_E_TOKEN:
    case HSM_E_SHUTDOWN:
        return REASON_TOKEN;
    case HSM_E_SPACE:
        return REASON_LENGTH;
    case HSM_E_MEMORY:
        return REASON_MEMORY;
    case HSM_OK:
        break;
    }
    return REASON_INTERNAL;
}

void error_raise_hsm(const char *file, int line, const char *func, const hsm_error *err)
{
    error_raise(file, line, func, reason_of(err->status), "%s", err->text);
}
