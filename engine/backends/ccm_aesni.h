/* SPDX-License-Identifier: Apache-2.0 */
/*
 * AES-128-CCM of one message by itself, for ipsec_mb_aead.c: lanes need company, and a queue of jobs costs more
 * than a short message does.
 */
#ifndef ENGINE_CCM_AESNI_H
#define ENGINE_CCM_AESNI_H

#include <stdbool.h>
#include <stdint.h>
#include "../backend.h"

/* Additional data that has its length in two bytes: RFC 3610 2.2. */
#define CCM_AESNI_AAD_MAX 0xfeffu
/* RFC 3610 2.1: a nonce of 12 bytes leaves 3 for the length. */
#define CCM_AESNI_LEN_MAX 0xffffffu

/*
 * Encrypts or decrypts op->in to op->out, which may be the same, and writes the first `tag_len` bytes of the
 * right tag to `tag`. `round_keys`: eleven, FIPS 197 5.2, of alignment 16. The CPU has AES-NI and SSSE3; lengths
 * are within the bounds above.
 */
void ccm_aesni_run(const uint8_t *round_keys, const backend_op *op, bool sealing, uint8_t *tag,
                   size_t tag_len);

#endif
