/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The table of what the engine knows: ciphers (AEAD algorithms, and AES-CBC with HMAC) and the TLS cipher
 * suites that use them.
 * Everything that depends on a cipher or a suite reads it here; there is no second switch over suites.
 */
#ifndef SEALANE_SUITE_H
#define SEALANE_SUITE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define SEALANE_TLS1_2 0x0303
#define SEALANE_TLS1_3 0x0304

#define SEALANE_NONCE_LEN 12 /* RFC 5116 3.1: every AEAD of TLS takes 12 */
#define SEALANE_TAG_MAX   16 /* of an AEAD */
#define SEALANE_KEY_MAX   32
#define SEALANE_MAC_MAX   48         /* HMAC-SHA384 */
#define SEALANE_SEQ_LIMIT UINT64_MAX /* RFC 8446 5.3: sequence numbers do not wrap */

/* Small, dense and stable: used as an index. */
typedef enum sealane_cipher_id {
    SEALANE_AES_128_GCM,
    SEALANE_AES_256_GCM,
    SEALANE_CHACHA20_POLY1305,
    SEALANE_AES_128_CCM,
    SEALANE_AES_128_CCM_8, /* the same with half of the tag: RFC 6655 4 */
    SEALANE_CIPHERS, /* how many AEADs: those that sealane/aead.h and sealane/stream.h take. No cipher itself
                      */
    /* Not AEADs: AES-CBC with HMAC, for records of TLS 1.2 only (sealane/record.h). */
    SEALANE_AES_128_CBC_SHA1,
    SEALANE_AES_256_CBC_SHA1,
    SEALANE_AES_128_CBC_SHA256,
    SEALANE_AES_256_CBC_SHA256,
    SEALANE_AES_256_CBC_SHA384,
    SEALANE_CBC_END,
    SEALANE_CBC_FIRST = SEALANE_AES_128_CBC_SHA1,
} sealane_cipher_id;

/* How a record's nonce comes about in TLS 1.2; TLS 1.3 always XORs the sequence number (RFC 8446 5.3). */
typedef enum sealane_nonce_scheme {
    SEALANE_NONCE_EXPLICIT, /* 4 bytes from the key block, 8 in the record: RFC 5288 3, RFC 6655 3 */
    SEALANE_NONCE_XOR,      /* 12 bytes from the key block XOR sequence number: RFC 7905 2 */
    SEALANE_NONCE_RANDOM, /* CBC: 16 random bytes in the record, none from the key block: RFC 5246 6.2.3.2 */
} sealane_nonce_scheme;

typedef struct sealane_cipher {
    sealane_cipher_id id;
    const char *name;         /* "AES-128-GCM", "AES-128-CBC-HMAC-SHA1" */
    const char *openssl_name; /* as EVP_CIPHER_fetch() takes it; CCM's is one for all lengths of tags */
    uint8_t key_len;
    uint8_t tag_len; /* CBC: of the MAC, and of its key: RFC 5246 A.5, 6.3 */
    sealane_nonce_scheme tls12_nonce;
    uint64_t seal_limit;  /* records under one key before a new key is due: RFC 8446 5.5, RFC 9147 4.5.3 */
    uint64_t open_limit;  /* records that may fail authentication under one key: RFC 9147 4.5.3 */
    uint64_t message_max; /* bytes that one nonce can encrypt */
    bool length_first;    /* the tag covers the whole length before all else (RFC 3610 2.2): no streams */
} sealane_cipher;

typedef struct sealane_suite {
    uint16_t id;              /* IANA value, for example 0x1301 */
    uint16_t version;         /* SEALANE_TLS1_2 or SEALANE_TLS1_3 */
    const char *name;         /* IANA name: "TLS_AES_128_GCM_SHA256" */
    const char *openssl_name; /* SSL_CIPHER_get_name(): "ECDHE-RSA-AES128-GCM-SHA256" */
    sealane_cipher_id cipher;
} sealane_suite;

/* The row of a cipher, or NULL if `id` is none. Static. */
const sealane_cipher *sealane_cipher_get(sealane_cipher_id id);
/* The row with that IANA value, or NULL. Static. SSL_CIPHER_get_protocol_id() gives the value. */
const sealane_suite *sealane_suite_find(uint16_t id);
/* Bytes of the digest that the suite's key schedule uses: 48 (SHA-384) or 32 (SHA-256). RFC 8446 B.4; TLS 1.2
 * uses SHA-256 where the name does not say otherwise (RFC 5246 5). */
size_t sealane_suite_hash_len(const sealane_suite *suite);
/* All rows, `*count` of them. Static. */
const sealane_suite *sealane_suites(size_t *count);

#ifdef __cplusplus
}
#endif
#endif
