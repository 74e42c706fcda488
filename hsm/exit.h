/* SPDX-License-Identifier: Apache-2.0 */
/* What happens when the process ends. */
#ifndef HSM_EXIT_H
#define HSM_EXIT_H

/* To be called after a module was loaded, so that our handler runs before the module's own destructors. */
void exit_register(void);

#endif
