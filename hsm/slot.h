/* SPDX-License-Identifier: Apache-2.0 */
/* The slots of a module that have a token in them. */
#ifndef HSM_SLOT_H
#define HSM_SLOT_H

#include "module.h"

/* A slot with an initialised token in it, as plain strings without padding. */
struct slot {
    CK_SLOT_ID id;
    char *label, *manufacturer, *model, *serial;
    char *description, *slot_manufacturer;
    bool login_required, pin_pad;
};

/* The slots with an initialised token. `*list` is for slots_free. */
hsm_status module_slots(struct module *m, struct slot **list, size_t *count, hsm_error *err);
void slots_free(struct slot *list, size_t count);

/* C_GetTokenInfo, `where` being the name for messages. */
CK_RV module_token_info(struct module *m, CK_SLOT_ID slot, CK_TOKEN_INFO *info, const char *where,
                        hsm_error *err);

#endif
