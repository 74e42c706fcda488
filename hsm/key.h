/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Keys. `struct keydata` is what workers need of a key; it does not hold the hsm, so that a worker who drops
 * the last reference to it never ends up ending the pool that it belongs to. `hsm_key` is the caller's handle
 * and holds both.
 */
#ifndef HSM_KEY_H
#define HSM_KEY_H

#include "object.h"
#include "pool.h"
#include "sealane/hsm.h"
#include "token.h"

struct keydata {
    atomic_uint refs;
    struct token *token; /* lives as long as the hsm */
    hsm_class class;
    uint8_t *id;
    size_t id_len;
    char *label, *uri;
    hsm_public public;
    bool always_authenticate; /* CKA_ALWAYS_AUTHENTICATE */
    struct handle handle;     /* under the token's lock */
};

/* Reads the key `object` of `class` from the token; `known` as for object_public. */
hsm_status keydata_read(struct keydata **out, struct token *token, const struct place *place,
                        CK_OBJECT_HANDLE object, hsm_class class, const struct catalog *known, uint64_t epoch,
                        hsm_error *err);
struct keydata *keydata_ref(struct keydata *data);
void keydata_free(struct keydata *data);

/*
 * The key's handle, for a worker that has a session: the remembered one, or found again by class, id and
 * label and proved to be the same key by its public part.
 */
hsm_status keydata_locate(struct keydata *data, struct worker *worker, const struct place *place,
                          unsigned long *object, hsm_error *err);

/* Is the object that the token gives the key that we know? */
hsm_status keydata_is(const struct keydata *data, const struct place *place, CK_OBJECT_HANDLE object,
                      bool *same, hsm_error *err);

struct cluster;
/*
 * The caller's handle; takes over the references to `data` and `cluster` (NULL: one token alone has it), and
 * takes one to `h`. NULL if out of memory: nothing is taken over.
 */
hsm_key *key_new(hsm *h, struct keydata *data, struct cluster *cluster);
struct cluster *key_cluster(const hsm_key *key);
hsm *key_hsm(const hsm_key *key);
struct keydata *key_data(const hsm_key *key);

/* The URI of an object of this token; OPENSSL_free. */
char *object_uri(struct token *token, hsm_class class, const uint8_t *id, size_t id_len, const char *label);
CK_OBJECT_CLASS class_number(hsm_class class);

#endif
