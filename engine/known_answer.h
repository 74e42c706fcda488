/* SPDX-License-Identifier: Apache-2.0 */
/* The known-answer test that a backend must pass before its first use. */
#ifndef ENGINE_KNOWN_ANSWER_H
#define ENGINE_KNOWN_ANSWER_H

#include "backend.h"

/* NULL if the backend seals and opens that cipher rightly and refuses forgeries, else what went wrong.
 * Static. */
const char *known_answer_failure(const backend *be, sealane_cipher_id cipher);

#endif
