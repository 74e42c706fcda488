/* SPDX-License-Identifier: Apache-2.0 */
/* SHA-1 and SHA-256 by the CPU's SHA instructions. Called through sha.h. */
#ifndef ENGINE_SHA_NI_H
#define ENGINE_SHA_NI_H

#include <stdbool.h>
#include "sha.h"

/* Asks CPUID: slow enough to be asked once. */
bool sha_ni_present(void);

/* Of SHA_ID_1 and SHA_ID_256, where present. */
void sha_ni_one(sha_id id, sha_state *state, const uint8_t *data, size_t blocks);
/* The same number of blocks for two different states. */
void sha_ni_two(sha_id id, sha_state *const states[2], const uint8_t *const data[2], size_t blocks);

#endif
