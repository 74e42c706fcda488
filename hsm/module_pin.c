/* SPDX-License-Identifier: Apache-2.0 */
/* PINs that tokens of a module have refused; see module.h. */
#include "module-int.h"
#include "slot.h"

#include <string.h>

#include <openssl/crypto.h>

bool module_pin_was_refused(struct module *m, const struct slot *slot, const struct pin *pin)
{
    registry_lock();
    bool refused = m->refused_count == REFUSED_MAX;
    for (unsigned i = 0; i < m->refused_count && !refused; i++) {
        const struct refused *r = &m->refused[i];
        refused = strcmp(r->serial, slot->serial) == 0 && strcmp(r->label, slot->label) == 0 &&
                  pin_equal(r->pin, pin);
    }
    registry_unlock();
    return refused;
}

void module_pin_refuse(struct module *m, const struct slot *slot, const struct pin *pin)
{
    struct refused r = {OPENSSL_strdup(slot->serial), OPENSSL_strdup(slot->label),
                        pin_new(pin->text, pin->len)};
    registry_lock();
    bool room = m->refused_count < REFUSED_MAX && r.serial && r.label && r.pin;
    if (room)
        m->refused[m->refused_count++] = r;
    else
        m->refused_count = REFUSED_MAX;
    registry_unlock();
    if (!room) {
        OPENSSL_free(r.serial);
        OPENSSL_free(r.label);
        pin_free(r.pin);
    }
}
