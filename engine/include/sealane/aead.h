/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One AEAD key, expanded for the routines that dispatch chose, and the sealing and opening of whole messages
 * under nonces that the caller gives. Callers that own the record layer use sealane/record.h instead, where
 * nonces cannot be got wrong; this is for those whose record layer is another's (libssl's, through a
 * provider).
 *
 * Conventions of results, aliasing, ownership and threads: sealane/result.h.
 */
#ifndef SEALANE_AEAD_H
#define SEALANE_AEAD_H

#include <stddef.h>
#include <stdint.h>
#include <sealane/result.h>
#include <sealane/suite.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct sealane_aead sealane_aead;

/* Expands `key` (`key_len` must be the cipher's). */
sealane_result sealane_aead_new(sealane_aead **out, sealane_cipher_id cipher, const uint8_t *key,
                                size_t key_len);
/* A second, independent object with the same key (EVP_CIPHER_CTX_copy needs it). */
sealane_result sealane_aead_dup(sealane_aead **out, const sealane_aead *aead);
void sealane_aead_free(sealane_aead *aead);

/*
 * Encrypts `len` bytes of `in` to `out` and writes the cipher's full tag (tag_len of its row) to `tag`.
 * Never use a nonce twice under one key. `tag` must not overlap `in`, except that it may follow it directly.
 */
sealane_result sealane_aead_seal(sealane_aead *aead, const uint8_t nonce[SEALANE_NONCE_LEN],
                                 const uint8_t *aad, size_t aad_len, const uint8_t *in, size_t len,
                                 uint8_t *out, uint8_t *tag);
/*
 * Decrypts `len` bytes of `in` to `out` if `tag` (the cipher's full tag) is right, compared in constant time.
 * SEALANE_FORGED if not, and `out` is wiped: `len` zero bytes.
 */
sealane_result sealane_aead_open(sealane_aead *aead, const uint8_t nonce[SEALANE_NONCE_LEN],
                                 const uint8_t *aad, size_t aad_len, const uint8_t *in, size_t len,
                                 const uint8_t *tag, uint8_t *out);

#ifdef __cplusplus
}
#endif
#endif
