/* SPDX-License-Identifier: Apache-2.0 */
/* Unpredictable IVs for CBC (RFC 5246 6.2.3.2) at the price of a copy. */
#ifndef ENGINE_RANDOM_IV_H
#define ENGINE_RANDOM_IV_H

#include <stdbool.h>
#include <stdint.h>

#define RANDOM_IV_LEN 16

/* Fresh bytes; false if libcrypto has none to give. Any thread; a forked child draws its own. */
bool random_iv_draw(uint8_t iv[RANDOM_IV_LEN]);

#endif
