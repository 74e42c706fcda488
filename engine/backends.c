/* SPDX-License-Identifier: Apache-2.0 */
#include "backends.h"

const backend *const engine_backends[] = {
#ifdef ENGINE_HAVE_VAES
    &backend_vaes,
#endif
    &backend_ipsec_mb,
    &backend_openssl,
};

const size_t engine_backend_count = sizeof(engine_backends) / sizeof(engine_backends[0]);
