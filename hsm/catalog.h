/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What one search of a token has found: handles with class and CKA_ID, ordered by id, so that what belongs
 * together is found together without asking the token once per key.
 */
#ifndef HSM_CATALOG_H
#define HSM_CATALOG_H

#include "object.h"

enum { CATALOG_ID_MAX = 64 }; /* bytes; objects with longer ids are listed as if they had none */

struct entry {
    CK_OBJECT_HANDLE object;
    CK_OBJECT_CLASS class;
    uint8_t id[CATALOG_ID_MAX];
    size_t id_len;
};

struct catalog {
    struct entry *list;
    size_t count;
    bool complete; /* no object with an id that is in here is missing */
};

/* Searches and reads. On failure `*out` is empty. */
hsm_status catalog_read(struct catalog *out, const struct place *place, const struct wanted *wanted,
                        hsm_error *err);
void catalog_clear(struct catalog *c);

/* The first entry of that class and id, or NULL. */
const struct entry *catalog_find(const struct catalog *c, CK_OBJECT_CLASS class, const uint8_t *id,
                                 size_t id_len);

#endif
