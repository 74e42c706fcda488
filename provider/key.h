/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A key as this provider holds it: the private one in a token, or only a public part that libcrypto imported
 * to compare with. Immutable once it has its public part, reference-counted, usable by any number of threads.
 */
#ifndef PROVIDER_KEY_H
#define PROVIDER_KEY_H

#include "provider.h"

typedef struct key {
    const provider *prov;
    int refs; /* atomic */
    hsm_key_type type;
    hsm_key *token; /* NULL: public part only */
    /*
     * The public part, as a key of the default provider in our private context: every question about it
     * (sizes, groups, comparing, verifying) is libcrypto's to answer.
     */
    EVP_PKEY *public;
} key;

/* Takes a reference of `token`. NULL with an error raised if its public part is not a key to libcrypto. */
key *key_from_token(const provider *prov, hsm_key *token);
/* A key without anything, to be filled once by key_set_public from parameters named as keymgmt import names
 * them. */
key *key_new_empty(const provider *prov, hsm_key_type type);
bool key_set_public(key *k, int selection, const OSSL_PARAM params[]);
key *key_ref(key *k);
void key_free(key *k);
/* "RSA" or "EC". */
const char *key_type_name(hsm_key_type type);

/*
 * Hands a key to libcrypto through `callback` as an object reference, as store load and decode do. The
 * reference is `k`'s address; keymgmt_load takes it over, else it is freed here.
 */
int key_deliver(key *k, OSSL_CALLBACK *callback, void *arg);
/* keymgmt_load's side of it. */
key *key_accept(const void *reference, size_t size);
/* keymgmt_export for a key of this provider: public parts only. */
int key_export(const key *k, int selection, OSSL_CALLBACK *callback, void *arg);

#endif
