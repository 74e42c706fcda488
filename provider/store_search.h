/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What OSSL_STORE_find(3) asks for: certificates by subject, by issuer and serial number, by fingerprint, objects by
 * alias (their label). The token is searched by the URI; of what it gives, only what fits is kept.
 */
#ifndef PROVIDER_STORE_SEARCH_H
#define PROVIDER_STORE_SEARCH_H

#include <openssl/store.h>
#include "key.h"

typedef struct store_criteria {
    uint8_t *subject, *issuer, *fingerprint; /* DER of names; bytes */
    size_t subject_len, issuer_len, fingerprint_len;
    BIGNUM *serial;
    char *digest, *alias;
} store_criteria;

#define STORE_CRITERIA_PARAMS                                                                                \
    OSSL_PARAM_octet_string(OSSL_STORE_PARAM_SUBJECT, NULL, 0),                                              \
        OSSL_PARAM_octet_string(OSSL_STORE_PARAM_ISSUER, NULL, 0),                                           \
        OSSL_PARAM_BN(OSSL_STORE_PARAM_SERIAL, NULL, 0),                                                     \
        OSSL_PARAM_utf8_string(OSSL_STORE_PARAM_DIGEST, NULL, 0),                                            \
        OSSL_PARAM_octet_string(OSSL_STORE_PARAM_FINGERPRINT, NULL, 0),                                      \
        OSSL_PARAM_utf8_string(OSSL_STORE_PARAM_ALIAS, NULL, 0)

bool store_criteria_set(store_criteria *c, const OSSL_PARAM params[]);
void store_criteria_clear(store_criteria *c);
bool store_criteria_want_certs(const store_criteria *c);
/* Moves what fits to the front, frees the rest, returns how many are left. */
size_t store_criteria_apply(const store_criteria *c, const provider *prov, hsm_object *list, size_t count);

#endif
