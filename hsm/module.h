/* SPDX-License-Identifier: Apache-2.0 */
/*
 * PKCS#11 modules. One `struct module` per library and process, shared by all hsm objects that name it, since
 * C_Initialize, C_Finalize and the login state are the process's and not ours to do twice.
 *
 * Everything here that takes `err` talks to the module, and so runs on threads of this room only.
 */
#ifndef HSM_MODULE_H
#define HSM_MODULE_H

#include <stdbool.h>
#include <stddef.h>

#include <p11-kit/pkcs11.h>

#include "pin.h"
#include "process.h"
#include "sealane/hsm.h"

struct module;
struct slot;

struct module *module_get(const char *path, const char *init_args); /* NULL if out of memory */
/* Drops a reference. The last one finalises and unloads, if `finalize`, unless the process is ending. */
void module_release(struct module *m, bool finalize);
const char *module_path(const struct module *m);

/* Loads and initialises the module if this process has not done so yet. */
hsm_status module_load(struct module *m, hsm_error *err);
/* Initialises it again after somebody else in this process has finalised it. */
hsm_status module_restart(struct module *m, hsm_error *err);
/* Counts how often the module was initialised: session handles of before mean nothing after. */
unsigned module_incarnation(const struct module *m);
/* The functions; NULL before module_load has succeeded. */
CK_FUNCTION_LIST *module_functions(const struct module *m);
/*
 * Does the module do all of its work by itself, in this process: a software token and no way to one, or to a
 * device, that could stop answering? Known by its file, so that what stands between (a proxy, a spy, p11-kit's
 * client) is not taken for what it leads to. False before module_load has succeeded.
 */
bool module_is_near(const struct module *m);

/*
 * Finalises and initialises the module, for those that see tokens only then; `attempt` counts from 0, and
 * later ones first wait a little. Does nothing and returns false if the module is not ours alone or has
 * sessions open, which that would close.
 */
enum { RESCANS_MAX = 8 };
bool module_rescan(struct module *m, unsigned attempt);
/* For module_rescan: so many sessions more in this process. */
void module_sessions_add(struct module *m, int change);

/* Does the module itself fit the URI's module-path, module-name and library-* attributes? */
hsm_status module_match(struct module *m, const hsm_uri *uri, hsm_error *err);

/*
 * PINs that a token of this module has refused, remembered for the life of the process by `serial` and
 * `label`, so that no second hsm object tries them again. At some number of them any PIN counts as refused.
 */
bool module_pin_was_refused(struct module *m, const struct slot *slot, const struct pin *pin);
void module_pin_refuse(struct module *m, const struct slot *slot, const struct pin *pin);

/*
 * One call of Cryptoki: through the gate, and raised with its name and place if it fails. Evaluates to the
 * CK_RV; CKR_FUNCTION_CANCELED when the process is ending. CK(functions, err, where, C_Sign, session, in,
 * in_len, out, &out_len)
 */
#define CK(functions, err, where, call, ...)                                                                 \
    (ck_enter() ? ck_done((functions)->call(__VA_ARGS__), (err), #call, (where)) : ck_refused((err), (where)))
bool ck_enter(void);
CK_RV ck_done(CK_RV rv, hsm_error *err, const char *call, const char *where);
CK_RV ck_refused(hsm_error *err, const char *where);

#endif
