/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A key as this provider holds it. Two kinds:
 *
 *   a key of a token       `token` is set; reference-counted and immutable, for any number of threads
 *   a key of libcrypto's   `token` is NULL: what libcrypto imports to compare with a certificate, and, where
 * openssl.cnf names us before the default provider, any software key of the process, because a fetch of "RSA"
 * or "EC" then finds us first. It is held by the default provider of our private context, in whose hands it
 * is as safe as it would have been without us.
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
     * A token's key: the public part. Every question about it (sizes, groups, comparing, verifying) is
     * libcrypto's to answer. A key of libcrypto's: all of it.
     */
    EVP_PKEY *pkey;
    int has; /* OSSL_KEYMGMT_SELECT_ bits of what is there */
    /* asym_cipher_rsa.c's, atomic: */
    bool no_raw;        /* the token does no bare RSA with this key */
    uint8_t *rejection; /* secret of implicit rejection, once made */
} key;

/* Takes a reference of `token`. NULL with an error raised if its public part is not a key to libcrypto. */
key *key_from_token(const provider *prov, hsm_key *token);
/* A key without anything, to be filled by key_import from parameters named as keymgmt import names them. */
key *key_new_empty(const provider *prov, hsm_key_type type);
bool key_import(key *k, int selection, const OSSL_PARAM params[]);
/* Those parts of a key of libcrypto's, in a new one. */
key *key_copy(const key *from, int selection);
key *key_ref(key *k);
void key_free(key *k);
/* "RSA", "EC", ... as libcrypto calls the type. */
const char *key_type_name(hsm_key_type type);
/* libcrypto's name of a digest, "" for none. */
const char *hash_name(hsm_hash hash);

/*
 * One operation of a token's key; hsm_operate, but that it pauses the ASYNC job in which it is called, if any.
 * No error is raised: what to make of it is the caller's to say. operate.c.
 */
hsm_status key_operate(const key *k, const hsm_mechanism *mech, const uint8_t *in, size_t in_len,
                       uint8_t *out, size_t *out_len, hsm_error *err);

/*
 * Hands a key to libcrypto through `callback` as an object reference, as store load and decode do. The
 * reference is `k`'s address; keymgmt_load takes it over, else it is freed here.
 */
int key_deliver(key *k, OSSL_CALLBACK *callback, void *arg);
/* keymgmt_load's side of it. */
key *key_accept(const void *reference, size_t size);
/* keymgmt_export: of a token's key the public part only. */
int key_export(const key *k, int selection, OSSL_CALLBACK *callback, void *arg);

#endif
