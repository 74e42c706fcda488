/* SPDX-License-Identifier: Apache-2.0 */
/*
 * AES-CBC decryption of one record by itself, for cbc_ipsec_mb.c: a job of that library costs more than the
 * few blocks of a short record do.
 */
#ifndef ENGINE_CBC_AESNI_H
#define ENGINE_CBC_AESNI_H

#include <stddef.h>
#include <stdint.h>

/*
 * Decrypts `len` bytes, a multiple of 16, from `in` to `out`, which may be the same. The 16 bytes before `in`
 * are the IV. `schedule`: rounds + 1 keys of the equivalent inverse cipher (FIPS 197 5.3.5) in the order of
 * their use, of alignment 16. The CPU has AES-NI.
 */
void cbc_aesni_decrypt(const uint8_t *schedule, unsigned rounds, const uint8_t *in, size_t len, uint8_t *out);

#endif
