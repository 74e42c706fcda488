/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The engine's own way into libcrypto: a private OSSL_LIB_CTX with the "default" provider and nothing else,
 * so that neither the process's openssl.cnf nor its preferred providers (sealane.so may be one, and would
 * call us again) have a say in it. Ciphers are fetched once.
 */
#ifndef ENGINE_LIBCRYPTO_H
#define ENGINE_LIBCRYPTO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <openssl/evp.h>
#include <sealane/suite.h>

/* NULL if it is there, else a static phrase. The first call creates it. */
const char *libcrypto_probe(void);

/* A context expanded for `key`, or NULL. Ends with libcrypto_ctx_free(). */
EVP_CIPHER_CTX *libcrypto_ctx_new(sealane_cipher_id cipher, const uint8_t *key);
EVP_CIPHER_CTX *libcrypto_ctx_dup(const EVP_CIPHER_CTX *ctx);
void libcrypto_ctx_free(EVP_CIPHER_CTX *ctx);

/* EVP_CipherUpdate for lengths beyond int. `out` is NULL for additional data. */
bool libcrypto_update(EVP_CIPHER_CTX *ctx, uint8_t *out, const uint8_t *in, size_t len);
bool libcrypto_tag_get(EVP_CIPHER_CTX *ctx, uint8_t *tag, size_t tag_len);
/* Opening only: gives the tag and lets libcrypto compare it. */
bool libcrypto_tag_check(EVP_CIPHER_CTX *ctx, const uint8_t *tag, size_t tag_len);
/* Ends a message that is sealed. */
bool libcrypto_finish(EVP_CIPHER_CTX *ctx);

#endif
