/* SPDX-License-Identifier: Apache-2.0 */
/* AES-128-CCM in IPsec-MB's lanes, for ipsec_mb.c: several messages side by side, one by one if need be. */
#ifndef ENGINE_IPSEC_MB_CCM_H
#define ENGINE_IPSEC_MB_CCM_H

#include <stdbool.h>
#include <intel-ipsec-mb.h>
#include "../backend.h"

/* An expanded key. */
typedef struct ipsec_mb_ccm_key {
    sealane_cipher_id cipher;
    uint8_t tag_len;
    _Alignas(16) uint8_t round_keys[11 * 16]; /* FIPS 197 5.2 */
} ipsec_mb_ccm_key;

/* Expands; the manager is only asked for its function. All but the cipher, which the caller has set. */
void ipsec_mb_ccm_key_init(ipsec_mb_ccm_key *key, IMB_MGR *manager, const uint8_t *bytes);
/* Runs messages whose state is an ipsec_mb_ccm_key; sets each one's result. */
void ipsec_mb_ccm_run(backend_op *const ops[], size_t count, bool sealing);

#endif
