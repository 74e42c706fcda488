/* SPDX-License-Identifier: Apache-2.0 */
/* Which tokens a URI names. */
#ifndef HSM_LOCATE_H
#define HSM_LOCATE_H

#include "hsm-int.h"

/* The slots whose tokens fit `uri`: `*count` > 0 of them on HSM_OK. `*slots` is for slots_free. */
hsm_status tokens_locate(hsm *h, const hsm_uri *uri, struct slot **slots, size_t *count, hsm_error *err);

/* "'mail' (serial 12), 'spare' (serial 13)", as far as there is room. */
void slots_describe(const struct slot *list, size_t count, char *buf, size_t size);

#endif
