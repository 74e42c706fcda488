/* SPDX-License-Identifier: Apache-2.0 */
/* Public parts of keys: from PKCS#11 attributes or from a certificate to hsm_public. */
#ifndef HSM_PUBLIC_H
#define HSM_PUBLIC_H

#include "sealane/hsm.h"

/* All return HSM_OK and fill `*out` (public_clear), or say in `err` why not; `where` names the object. */
hsm_status public_from_rsa(hsm_public *out, const uint8_t *n, size_t n_len, const uint8_t *e, size_t e_len,
                           const char *where, hsm_error *err);
/* CKA_EC_PARAMS and CKA_EC_POINT, the latter with or without its OCTET STRING. */
hsm_status public_from_ec(hsm_public *out, const uint8_t *params, size_t params_len, const uint8_t *point,
                          size_t point_len, const char *where, hsm_error *err);
/* The same for the Edwards curves; the point is the key of RFC 8032. */
hsm_status public_from_edwards(hsm_public *out, const uint8_t *params, size_t params_len,
                               const uint8_t *point, size_t point_len, const char *where, hsm_error *err);
/* DER of a certificate or a SubjectPublicKeyInfo. */
hsm_status public_from_cert(hsm_public *out, const uint8_t *der, size_t len, const char *where,
                            hsm_error *err);

hsm_status public_from_spki(hsm_public *out, const uint8_t *der, size_t len, const char *where,
                            hsm_error *err);

/*
 * CKA_EC_PARAMS for a new key: of the curve named `group`, or of the Edwards curve of `type`, by_name as a
 * PrintableString, else as an OID. `der` has room for CURVE_PARAMS_MAX. False: no such curve.
 */
enum { CURVE_PARAMS_MAX = 32 };
bool curve_params(hsm_key_type type, const char *group, bool by_name, uint8_t *der, size_t *len);

bool public_equal(const hsm_public *a, const hsm_public *b);
void public_clear(hsm_public *p);

#endif
