/* SPDX-License-Identifier: Apache-2.0 */
/*
 * AES-CBC of short records for cbc_ipsec_mb.c: a job of that library costs more than a few blocks do.
 */
#ifndef ENGINE_CBC_AESNI_H
#define ENGINE_CBC_AESNI_H

#include <stddef.h>
#include <stdint.h>

/* What one record wants encrypted, in place: `len` bytes, a multiple of 16 and not 0, behind their IV. */
typedef struct cbc_aesni_run {
    const uint8_t *schedule; /* FIPS 197 5.2, of alignment 16 */
    uint8_t *at;
    size_t len;
} cbc_aesni_run;

/* Encrypts them, eight at a time side by side. All keys have the same number of rounds. */
void cbc_aesni_encrypt_many(unsigned rounds, const cbc_aesni_run runs[], size_t count);

/*
 * Decrypts `len` bytes, a multiple of 16, from `in` to `out`, which may be the same. The 16 bytes before `in`
 * are the IV. `schedule`: rounds + 1 keys of the equivalent inverse cipher (FIPS 197 5.3.5) in the order of
 * their use, of alignment 16. The CPU has AES-NI.
 */
void cbc_aesni_decrypt(const uint8_t *schedule, unsigned rounds, const uint8_t *in, size_t len, uint8_t *out);

#endif
