/* SPDX-License-Identifier: Apache-2.0 */
/*
 * AES-CBC with HMAC, MAC-then-encrypt, for those whose record layer is another's (libssl's, through a
 * provider): bodies of TLS 1.1 and 1.2 records (RFC 4346, RFC 5246 6.2.3.2) under pseudo headers that the
 * caller gives. Callers that own the record layer use sealane/record.h, which has encrypt-then-MAC, too.
 *
 *     body:  IV (16 bytes) | E( payload | MAC | padding )
 *
 * Opening takes a time that depends on the body's length alone, whatever is wrong with it (Lucky Thirteen).
 *
 * Conventions of results, aliasing, ownership and threads: sealane/result.h.
 */
#ifndef SEALANE_CBC_H
#define SEALANE_CBC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sealane/result.h>
#include <sealane/suite.h>

#ifdef __cplusplus
extern "C" {
#endif

#define SEALANE_CBC_IV_LEN     16
#define SEALANE_CBC_HEADER_LEN 13 /* sequence number, type, version, length */

/* Records in one call that go side by side. */
#define SEALANE_CBC_BATCH_MAX 16

/* Cipher and MAC key of one direction. */
typedef struct sealane_cbc sealane_cbc;

typedef struct sealane_cbc_op {
    /* RFC 5246 6.2.3.1. The last two bytes, the payload's length, are the engine's to write. */
    uint8_t header[SEALANE_CBC_HEADER_LEN];
    /*
     * In place. Sealing: the payload stands 16 bytes into it, and there is room for sealane_cbc_sealed_len()
     * in all. Opening: the body; the payload will stand at the same place, and what is behind it is not for use.
     */
    uint8_t *body;
    size_t len; /* sealing: of the payload; opening: of the body */
    /*
     * Sealing: the body's first 16 bytes are fresh random ones, from which the IV is made. False: the engine
     * draws them.
     */
    bool random_there;
    size_t payload_len;    /* set by opening */
    sealane_result result; /* set in any case */
} sealane_cbc_op;

/*
 * `cipher` is one of AES-CBC, `key_len` and `mac_key_len` are those of its row (tag_len: RFC 5246 6.3).
 * SEALANE_ARGUMENT, SEALANE_UNSUPPORTED, SEALANE_MEMORY. Both keys are copied.
 */
sealane_result sealane_cbc_new(sealane_cbc **out, sealane_cipher_id cipher, bool sealing, const uint8_t *key,
                               size_t key_len, const uint8_t *mac_key, size_t mac_key_len);
void sealane_cbc_free(sealane_cbc *cbc);

/*
 * How many records of that cipher are best sealed in one call here, at most SEALANE_CBC_BATCH_MAX. 1: nothing
 * is gained by many.
 */
size_t sealane_cbc_lanes(sealane_cipher_id cipher);

/* Bytes of a body with such a payload, its IV included. */
size_t sealane_cbc_sealed_len(const sealane_cbc *cbc, size_t payload_len);

/*
 * Records of one key, at most SEALANE_CBC_BATCH_MAX; no two share bytes. Sets each one's result: SEALANE_OK,
 * SEALANE_INTERNAL; when opening also SEALANE_RECORD for a length that no body has, and SEALANE_FORGED for
 * wrong padding as for a wrong MAC. What is not SEALANE_OK is wiped behind its IV. Returns how many are
 * SEALANE_OK.
 */
size_t sealane_cbc_seal(sealane_cbc *cbc, sealane_cbc_op ops[], size_t count);
size_t sealane_cbc_open(sealane_cbc *cbc, sealane_cbc_op ops[], size_t count);

#ifdef __cplusplus
}
#endif
#endif
