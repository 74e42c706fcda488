/* SPDX-License-Identifier: Apache-2.0 */
/* Finding objects in the tokens that fit a URI, as the room itself uses it: without handles that hold the hsm. */
#ifndef HSM_FIND_H
#define HSM_FIND_H

#include "hsm-int.h"
#include "key.h"

/* An object as a worker hands it over. */
struct found {
    hsm_class class;
    struct keydata *key;
    struct cluster *cluster; /* the others that hold the key; NULL if there are none */
    uint8_t *cert;
    size_t cert_len;
    char *uri, *label; /* of a certificate; a key has its own */
};

struct found_list {
    struct found *list;
    size_t count;
};
void found_list_clear(struct found_list *l);

/* hsm_find for one URI that names tokens. `*out` is empty on failure; HSM_E_NO_OBJECT if nothing fits. */
hsm_status objects_search(hsm *h, const hsm_uri *uri, hsm_class class, const struct pin_sources *sources,
                          struct found_list *out, hsm_error *err);

#endif
