/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Groups of tokens that hold the same keys, as the settings name them. A group's name stands where a token's
 * label would in a URI. What is done with a key of a group is cluster.c's matter.
 */
#ifndef HSM_GROUP_H
#define HSM_GROUP_H

#include <stdatomic.h>

#include "sealane/hsm.h"

enum { GROUP_MEMBERS_MAX = 32 };

struct member {
    hsm_uri uri;         /* of the token */
    char *name;          /* for messages: its label, or the URI */
    atomic_uint refused; /* keys that were not those of the others */
};

struct group {
    char *name;
    struct member *members;
    unsigned count;
    struct group *next;
};

/*
 * Reads the setting: "NAME: MEMBER, MEMBER | NAME: MEMBER, ...", a member being a token's label or a pkcs11:
 * URI with attributes of a token, and a pin-source if its PIN is not the others'. HSM_E_SETTINGS says what is
 * wrong. NULL or empty: no groups.
 */
hsm_status groups_read(struct group **out, const char *text, hsm_error *err);
void groups_free(struct group *list);
/* The group that the URI names by its token attribute, or NULL. */
struct group *group_named(struct group *list, const hsm_uri *uri);

#endif
