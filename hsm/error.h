/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The one way of this room to raise an error, and what Cryptoki's return values mean to it.
 */
#ifndef HSM_ERROR_H
#define HSM_ERROR_H

#include "sealane/hsm.h"

/* Fills `err` (may be NULL) with one line of text and returns `status`, so that a caller can `return
 * error_set(...)`. */
hsm_status error_set(hsm_error *err, hsm_status status, unsigned long ckr, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

/* Raises what Cryptoki's function `call` answered, about the thing named `where`. */
hsm_status error_ckr(hsm_error *err, unsigned long ckr, const char *call, const char *where);

/* Copies an error; both may be NULL. Returns its status. */
hsm_status error_copy(hsm_error *to, const hsm_error *from);

/* The status that stands for a CK_RV. */
hsm_status ckr_status(unsigned long ckr);

/* The session, the login or the token is gone: reopen, log in, find the key again, try once more. */
bool ckr_is_loss(unsigned long ckr);

/* Only the object handle is stale: finding the key again may be enough. */
bool ckr_is_stale_object(unsigned long ckr);

/* The token has refused the PIN: it must not see this PIN again. */
bool ckr_is_pin_refusal(unsigned long ckr);

#endif
