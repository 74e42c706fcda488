/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The list of the backends in this build. It stands in a file of its own so that a test can link another list
 * in its place; dispatch is the only reader.
 */
#ifndef ENGINE_BACKENDS_H
#define ENGINE_BACKENDS_H

#include "backend.h"

/* At most SEALANE_BACKENDS_MAX, in the order of sealane_backends(). */
extern const backend *const engine_backends[];
extern const size_t engine_backend_count;

#endif
