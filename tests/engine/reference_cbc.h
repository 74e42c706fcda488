/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Records of AES-CBC with HMAC (RFC 5246 6.2.3.2, RFC 7366) put together and taken apart the plain way, with
 * libcrypto's EVP in the default context: nothing of the engine is involved but the table of ciphers.
 */
#ifndef ENGINE_TEST_REFERENCE_CBC_H
#define ENGINE_TEST_REFERENCE_CBC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sealane/suite.h>

/* The least padding, without its length byte. */
size_t reference_cbc_padding(const sealane_cipher *cipher, bool encrypt_then_mac, size_t len);

/* Writes IV and all that follows it; returns how many bytes. The header's two bytes of length are set here.
 */
size_t reference_cbc_seal(const sealane_cipher *cipher, bool encrypt_then_mac, const uint8_t *key,
                          const uint8_t *mac_key, const uint8_t header[13], const uint8_t iv[16],
                          const uint8_t *payload, size_t len, size_t padding, uint8_t *out);
/* Whether the record, from the IV on, is right; if so, its payload. */
bool reference_cbc_open(const sealane_cipher *cipher, bool encrypt_then_mac, const uint8_t *key,
                        const uint8_t *mac_key, const uint8_t header[13], const uint8_t *record,
                        size_t record_len, uint8_t *payload, size_t *len);
/* The cipher alone, over whole blocks. */
void reference_cbc_encrypt(const sealane_cipher *cipher, const uint8_t *key, const uint8_t iv[16],
                           const uint8_t *in, size_t len, uint8_t *out);

/* The MAC alone, of a header with that length and a body. */
void reference_cbc_mac(const sealane_cipher *cipher, const uint8_t *mac_key, const uint8_t header[13],
                       const uint8_t *body, size_t len, uint8_t *out);

/* What the next record is to have wrong: the n-th byte (from 1; 0: none) of padding or MAC, the last one's
 * value. */
extern size_t reference_cbc_spoil_padding, reference_cbc_spoil_mac;
extern int reference_cbc_last_byte; /* -1: the right one */

#endif
