/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Records sealed and opened in the plainest way, straight after the RFCs, with libcrypto's one-shot
 * operations: what all contestants must agree with. Never timed. And the library context that everything of
 * OpenSSL here runs in: the default provider alone, whatever openssl.cnf says, because sealane.so may be
 * preferred there and would be measured under OpenSSL's name.
 */
#ifndef BENCH_RECORDS_REFERENCE_H
#define BENCH_RECORDS_REFERENCE_H

#include <stdbool.h>
#include <openssl/evp.h>
#include "records_workload.h"

/* NULL if the default provider cannot be loaded. The first call makes it, reference_end() frees it. */
OSSL_LIB_CTX *reference_context(void);
void reference_end(void);
/* The cipher by its name, kept until reference_end(); NULL if this OpenSSL has none of that name. */
EVP_CIPHER *reference_cipher(const char *name);

/* Seals the message at `data` in place, with what belongs before and behind it. */
bool reference_seal(const ring *r, const slot *s, uint8_t *data);
/* Opens it in place; false if it is not authentic. */
bool reference_open(const ring *r, const slot *s, uint8_t *data);

#endif
