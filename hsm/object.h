/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Objects of a token: searching by template and reading what they are. Works on a given session, knows no
 * login and no recovery; a failure leaves the CK_RV in err->ckr, for the callers to act on.
 */
#ifndef HSM_OBJECT_H
#define HSM_OBJECT_H

#include <p11-kit/pkcs11.h>

#include "sealane/hsm.h"

/* Where to look: the module's functions, a session, and what to call the token in messages. */
struct place {
    CK_FUNCTION_LIST *functions;
    CK_SESSION_HANDLE session;
    const char *where;
};

/* What to look for. NULL or 0: anything. */
struct wanted {
    const CK_OBJECT_CLASS *class;
    const uint8_t *id;
    size_t id_len;
    const char *label;
};

/* Handles of all objects that fit; OPENSSL_free. None found is HSM_OK with count 0. */
hsm_status object_search(const struct place *place, const struct wanted *wanted, CK_OBJECT_HANDLE **list,
                         size_t *count, hsm_error *err);

/* The CKA_ALLOWED_MECHANISMS of an RSA-PSS key that is restricted to `hash`, or (HSM_HASH_NONE) to no hash. */
enum { PSS_MECHANISMS_MAX = 6 };
size_t pss_mechanisms_list(hsm_hash hash, CK_MECHANISM_TYPE list[PSS_MECHANISMS_MAX]);

/* One attribute, OPENSSL_malloc'd with a zero byte behind it. HSM_E_NO_OBJECT if the object does not have it.
 */
hsm_status object_attribute(const struct place *place, CK_OBJECT_HANDLE object, CK_ATTRIBUTE_TYPE type,
                            uint8_t **value, size_t *len, hsm_error *err);
/* A CK_BBOOL; `otherwise` if the object does not tell. */
bool object_flag(const struct place *place, CK_OBJECT_HANDLE object, CK_ATTRIBUTE_TYPE type, bool otherwise);

struct catalog;

/*
 * The public part of a private or public key: from its own attributes, else from the public key with the same
 * CKA_ID, else from the certificate with the same CKA_ID. `known` may be NULL: what was found with the key,
 * looked at before the token is asked again.
 */
hsm_status object_public(const struct place *place, CK_OBJECT_HANDLE object, const uint8_t *id, size_t id_len,
                         const struct catalog *known, hsm_public *out, hsm_error *err);

#endif
