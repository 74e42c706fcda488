/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is measured: the ciphers of the engine's table as it is in this build, and those which only the peers
 * carry yet, so that one sees what is to be beaten. How libssl and IPsec-MB drive a cipher follows from its
 * kind, and its kind from its name at OpenSSL (sealane/suite.h): a new row of the engine's table is measured
 * without a change here.
 */
#ifndef BENCH_RECORDS_SUBJECT_H
#define BENCH_RECORDS_SUBJECT_H

#include <stdbool.h>
#include <stddef.h>
#include <sealane/suite.h>

#define SUBJECTS_MAX    32
#define SUBJECT_KEY_MAX 32
#define SUBJECT_MAC_MAX 48
#define SUBJECT_IV_MAX  16

typedef enum subject_kind {
    SUBJECT_GCM,
    SUBJECT_CCM,
    SUBJECT_CHACHA,
    SUBJECT_CBC_HMAC, /* MAC, then pad, then encrypt: RFC 5246 6.2.3.2 */
} subject_kind;

typedef struct subject {
    const char *name;
    const char *openssl_name; /* what EVP_CIPHER_fetch() takes */
    subject_kind kind;
    bool carried;             /* by the engine: `cipher` is its row */
    sealane_cipher_id cipher; /* if carried */
    size_t key_len;           /* of the cipher, without the MAC's key */
    size_t tag_len;           /* AEAD tag, or HMAC; an HMAC's key is as long */
    const char *digest;       /* of the HMAC: "SHA1", ...; NULL for an AEAD */
} subject;

/*
 * Fills `list`, the engine's first, and returns how many there are. A cipher of the engine whose name the
 * bench cannot read is left out, with a line on stderr.
 */
size_t subjects_list(subject list[SUBJECTS_MAX]);

/* AES rounds (FIPS 197 5), for keys of AES. */
size_t subject_aes_rounds(const subject *s);

#endif
