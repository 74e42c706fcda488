/* SPDX-License-Identifier: Apache-2.0 */
/*
 * AES-128-CCM and ChaCha20-Poly1305 as IPsec-MB's jobs, for ipsec_mb.c: several messages of CCM side by side in
 * lanes. One message of CCM alone is done by ccm_aesni.h, on the same key.
 */
#ifndef ENGINE_IPSEC_MB_AEAD_H
#define ENGINE_IPSEC_MB_AEAD_H

#include <stdbool.h>
#include <intel-ipsec-mb.h>
#include "../backend.h"

/* The states of the ciphers; each begins with the cipher that it is for. */
typedef struct ipsec_mb_ccm_key {
    sealane_cipher_id cipher;
    uint8_t tag_len;
    _Alignas(16) uint8_t round_keys[11 * 16]; /* FIPS 197 5.2 */
} ipsec_mb_ccm_key;

typedef struct ipsec_mb_chacha_key {
    sealane_cipher_id cipher;
    uint8_t bytes[32];
} ipsec_mb_chacha_key;

/* Expands; the manager is only asked for its function. All but the cipher, which the caller has set. */
void ipsec_mb_ccm_key_init(ipsec_mb_ccm_key *key, IMB_MGR *manager, const uint8_t *bytes);
/* Runs messages of one cipher, whose states are of that cipher; sets each one's result. */
void ipsec_mb_aead_run(sealane_cipher_id cipher, backend_op *const ops[], size_t count, bool sealing);

#endif
