/* SPDX-License-Identifier: Apache-2.0 */
/* What module.c, module_match.c, module_pin.c and slot.c share. */
#ifndef HSM_MODULE_INT_H
#define HSM_MODULE_INT_H

#include <stdatomic.h>

#include "module.h"

enum { REFUSED_MAX = 8 }; /* wrong PINs per module and process */

struct refused {
    char *serial, *label;
    struct pin *pin;
};

struct module {
    char *path, *init_args;
    unsigned refs;            /* under the registry lock */
    struct module *next;      /* likewise */
    struct module_live *live; /* likewise; its contents under its own lock */
    CK_FUNCTION_LIST *_Atomic functions;
    atomic_uint incarnation;
    atomic_bool near, rpc;
    struct refused refused[REFUSED_MAX]; /* under the registry lock; a module that has any is kept */
    unsigned refused_count;
};

struct module_live;
typedef hsm_status (*module_step)(struct module *m, struct module_live *live, void *arg, hsm_error *err);

/* Loads if need be, then runs `step` (may be NULL) as the only thread at this module's context, inside the gate. */
hsm_status module_do(struct module *m, module_step step, void *arg, hsm_error *err);

#endif
