/* SPDX-License-Identifier: Apache-2.0 */
/*
 * PINs, and where they come from. A PIN lives alone on a page of its own that is locked in memory and left
 * out of core dumps; freeing it wipes it.
 */
#ifndef HSM_PIN_H
#define HSM_PIN_H

#include <stdbool.h>
#include <stddef.h>

#include "sealane/hsm.h"

enum { PIN_MAX = 1024 }; /* bytes; no token takes nearly as many */

struct pin {
    size_t len;
    char text[PIN_MAX];
};

struct pin *pin_new(const char *text, size_t len); /* NULL if out of memory or longer than PIN_MAX */
void pin_free(struct pin *pin);
bool pin_equal(const struct pin *a, const struct pin *b); /* in constant time for equal lengths */

/* Locks the page again: a child of fork inherits the page but not its lock (mlock(2)). */
void pin_lock(struct pin *pin);

struct pin *pin_copy(const struct pin *pin); /* NULL of NULL, or if out of memory */

/* A PIN as the settings give it: the PIN itself, or "file:PATH" or "credential:NAME" to be read when it is needed. Both NULL:
 * none. */
struct pin_setting {
    struct pin *pin;
    char *file;
};
hsm_status pin_setting_read(struct pin_setting *out, const char *text, hsm_error *err);
void pin_setting_clear(struct pin_setting *setting);

/* Who may know a PIN, in the order in which they are asked. */
struct pin_sources {
    const hsm_uri *uri;     /* its pin-value or pin-source */
    const struct pin *kept; /* of a URI that is gone; may be NULL */
    const struct pin_setting *setting;
    hsm_pin_callback ask; /* may be NULL */
    void *ask_arg;
};

/* The PIN for the token named `label`. HSM_OK with `*out` NULL means that nobody knows one. */
hsm_status pin_resolve(struct pin **out, const struct pin_sources *sources, const char *label,
                       hsm_error *err);

#endif
