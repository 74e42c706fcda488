/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From the secrets that a handshake leaves behind to the keys of records: what RFC 8446 7.2 and 7.3 and RFC
 * 5246 6.3 say, by the engine's own HMAC. Nothing is fetched or allocated, so it costs microseconds.
 *
 * What goes in and comes out is secret: the caller wipes it. AEAD suites only.
 */
#ifndef ENGINE_KEY_SCHEDULE_H
#define ENGINE_KEY_SCHEDULE_H

#include <stddef.h>
#include <stdint.h>
#include <sealane/suite.h>
#include "sha.h"

#define SECRET_MAX   SHA_DIGEST_MAX /* a traffic secret of TLS 1.3 has the digest's length */
#define TLS12_MASTER 48             /* RFC 5246 8.1 */
#define TLS12_RANDOM 32             /* RFC 5246 7.4.1.2 */

/* One direction's. The lengths are the suite's. */
typedef struct traffic_key {
    uint8_t key[SEALANE_KEY_MAX];
    uint8_t iv[SEALANE_NONCE_LEN];
} traffic_key;

/* Bytes of a traffic secret of this suite. */
size_t secret_len(const sealane_suite *suite);

/* TLS 1.3, RFC 8446 7.3: key and IV of a traffic secret. */
void traffic_key_derive(const sealane_suite *suite, const uint8_t *secret, traffic_key *out);
/* TLS 1.3, RFC 8446 7.2: the next generation's secret, in place. */
void traffic_secret_update(const sealane_suite *suite, uint8_t *secret);

/* TLS 1.2, RFC 5246 6.3: both directions' keys of a master secret. */
void traffic_keys_expand(const sealane_suite *suite, const uint8_t master[TLS12_MASTER],
                         const uint8_t client_random[TLS12_RANDOM], const uint8_t server_random[TLS12_RANDOM],
                         traffic_key *client, traffic_key *server);

#endif
