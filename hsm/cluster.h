/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A private key that several tokens hold: the members of a group (group.h).
 *
 * Operations go to the member with the least to do. One that fails for a reason that is the token's and not
 * the operation's (it is away, it hangs, it has lost the key) is left out, the operation is given to the next,
 * and a thread looks after the member until it answers again; no operation ever waits for that. A member whose
 * key is not the others' is refused for the life of the cluster, and said so aloud.
 */
#ifndef HSM_CLUSTER_H
#define HSM_CLUSTER_H

#include "group.h"
#include "hsm-int.h"
#include "key.h"

struct cluster;
struct found_list;

/*
 * hsm_find for a URI that names a group. What the first member that answers has is found; private keys come
 * with the cluster of members that hold them, too.
 */
hsm_status cluster_search(hsm *h, struct group *group, const hsm_uri *uri, hsm_class class,
                          const struct pin_sources *sources, struct found_list *out, hsm_error *err);

struct cluster *cluster_ref(struct cluster *c); /* NULL of NULL */
void cluster_free(struct cluster *c);           /* drops a reference; NULL is fine */
/* The key's URI, with the group in the token's place. */
const char *cluster_uri(const struct cluster *c);

/*
 * The key in the member that shall do an operation next; keydata_free. `tried` has a bit for each member that
 * has had its turn, and gets this one's. NULL: none is left. If all are out of order, a first operation still
 * gets one, to fail with its reason.
 */
struct keydata *cluster_pick(struct cluster *c, uint32_t *tried);
/* The operation in the member of `data` ended so. True if another member may do better. */
bool cluster_report(struct cluster *c, const struct keydata *data, const hsm_error *err);
/* Has somebody look after members that are out, if it is time. On the caller's thread, who holds `h`. */
void cluster_tend(struct cluster *c, hsm *h);

#endif
