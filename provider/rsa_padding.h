/* SPDX-License-Identifier: Apache-2.0 */
/*
 * RSA paddings, for tokens that do the bare modular exponentiation. `em` is the encoded message, `k` bytes long as
 * the modulus is. What depends on its contents takes the same time and touches the same memory whatever they are
 * (Bleichenbacher 1998, Manger 2001), but for the length that is returned in the end.
 */
#ifndef PROVIDER_RSA_PADDING_H
#define PROVIDER_RSA_PADDING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <openssl/evp.h>

enum { PREMASTER_LEN = 48, REJECTION_LEN = 32, RSA_BYTES_MAX = 1024 };

/*
 * The premaster secret of TLS (RFC 5246 section 7.4.7.1). Always gives 48 bytes: those in `em` if its padding, their
 * number and the version in front are right, else `random`. `version` is what the client offered, `other` a second
 * version that is taken too, 0 for none. k >= 59.
 */
void premaster_take(uint8_t out[PREMASTER_LEN], const uint8_t *em, size_t k, unsigned version, unsigned other,
                    const uint8_t random[PREMASTER_LEN]);
/* The same when the token has removed the padding: `len` bytes at `in`, if it `succeeded`. */
void premaster_choose(uint8_t out[PREMASTER_LEN], const uint8_t in[PREMASTER_LEN], size_t len, bool succeeded,
                      unsigned version, unsigned other, const uint8_t random[PREMASTER_LEN]);

/*
 * PKCS#1 v1.5 (RFC 8017 section 7.2.2) with implicit rejection: of a ciphertext that is badly padded, a message that
 * looks random and is the same each time (draft-irtf-cfrg-rsa-guidance, as OpenSSL has it since 3.2). `secret` is
 * what only the holder of the key knows, `ciphertext` has k bytes. `*len` has the room in `out`. False only for lack
 * of memory. `lib` is where digests come from.
 */
bool pkcs1_take(OSSL_LIB_CTX *lib, uint8_t *out, size_t *len, const uint8_t *em, size_t k,
                const uint8_t *ciphertext, const uint8_t secret[REJECTION_LEN]);
/* The made-up message alone, for tokens that remove the padding themselves and have refused. */
bool pkcs1_invent(OSSL_LIB_CTX *lib, uint8_t *out, size_t *len, size_t k, const uint8_t *ciphertext,
                  const uint8_t secret[REJECTION_LEN]);
/* Without implicit rejection: false if the padding is wrong, which tells an attacker a lot. */
bool pkcs1_take_or_fail(uint8_t *out, size_t *len, const uint8_t *em, size_t k);

/*
 * OAEP (RFC 8017 section 7.1.2). False if it is wrong, of whatever kind: the reasons are not told apart. `em` is
 * overwritten.
 */
bool oaep_take(uint8_t *out, size_t *len, uint8_t *em, size_t k, const EVP_MD *hash, const EVP_MD *mgf,
               const uint8_t *label, size_t label_len);

/*
 * PSS (RFC 8017 section 9.1.1): writes the k bytes that are to be signed bare, for a modulus of `bits`. False if the
 * salt does not fit, or randomness or memory is lacking.
 */
bool pss_make(uint8_t *em, size_t k, unsigned bits, const uint8_t *digest, const EVP_MD *hash,
              const EVP_MD *mgf, size_t salt_len);

#endif
