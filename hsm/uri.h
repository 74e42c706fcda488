/* SPDX-License-Identifier: Apache-2.0 */
/* What the rest of the room needs of URIs beyond the public header. */
#ifndef HSM_URI_H
#define HSM_URI_H

#include "sealane/hsm.h"

/* A deep copy without the PIN (it travels apart, in locked memory). False if out of memory; `*to` is then
 * empty. */
bool uri_copy(hsm_uri *to, const hsm_uri *from);

#endif
