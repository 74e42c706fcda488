/* SPDX-License-Identifier: Apache-2.0 */
#include "backends.h"
#include "aead_key.h"

const backend *const engine_backends[] = {
#ifdef ENGINE_HAVE_VAES
    &backend_vaes,
    &backend_vaes512,
#endif
#if defined(__x86_64__)
    &backend_chacha,
    &backend_chacha512,
#endif
    &backend_ipsec_mb,
    &backend_openssl,
};

const size_t engine_backend_count = sizeof(engine_backends) / sizeof(engine_backends[0]);

_Static_assert(sizeof(engine_backends) / sizeof(engine_backends[0]) <= AEAD_BACKENDS_MAX,
               "a key has no room");
