/* SPDX-License-Identifier: Apache-2.0 */
/* A server's certificate for what is measured within one process, where nobody verifies it. */
#ifndef BENCH_CERTIFICATE_H
#define BENCH_CERTIFICATE_H

#include <stdbool.h>
#include <openssl/ssl.h>

/* Self-signed, with a new key of RSA-2048 or P-256, made in reference_context(). */
bool certificate_use(SSL_CTX *ctx, bool rsa);

#endif
