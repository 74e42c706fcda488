/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of this room know of an hsm beyond the public header. */
#ifndef HSM_INT_H
#define HSM_INT_H

#include "group.h"
#include "module.h"
#include "pin.h"
#include "pool.h"
#include "sealane/hsm.h"
#include "token.h"

hsm *hsm_ref(hsm *h);
struct token_owner *hsm_owner(hsm *h);
struct pin_setting *hsm_pin_setting(hsm *h);
struct group *hsm_groups(hsm *h);
/* The tokens met so far. The list only ever grows, at its head. */
struct token_entry {
    struct token *token;
    struct token_entry *next;
};
struct token_entry *hsm_tokens(hsm *h);
/* The pool of one thread that loads the module and looks at slots. NULL if out of memory. */
struct pool *hsm_desk(hsm *h);
/* The pool of threads that look after tokens that are out of order (cluster.c). NULL if out of memory. */
struct pool *hsm_keepers(hsm *h);
/* The token in `slot`, the same one each time. NULL if out of memory. */
struct token *hsm_token(hsm *h, const struct slot *slot);

#endif
