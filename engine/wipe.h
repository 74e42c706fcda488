/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Wiping of what a record leaves behind, without a call: OPENSSL_cleanse() goes eight bytes at a time, which
 * a short record feels. Keys and errors, where nobody counts nanoseconds, stay with that.
 */
#ifndef ENGINE_WIPE_H
#define ENGINE_WIPE_H

#include <stddef.h>
#include <string.h>

/* The compiler must think that somebody reads the zeros, or it drops them as dead stores. */
static inline void wipe(void *at, size_t len)
{
    memset(at, 0, len);
    __asm__ volatile("" : : "r"(at) : "memory");
}

#endif
