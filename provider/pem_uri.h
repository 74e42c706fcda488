/* SPDX-License-Identifier: Apache-2.0 */
/*
 * PEM-URI files: what daemons that read keys from files are given instead of a key. The format is
 * pkcs11-provider's, so that its files work here and ours there: label "PKCS#11 PROVIDER URI", contents
 *
 *     SEQUENCE { VisibleString "PKCS#11 Provider URI v1.0", UTF8String uri }
 *
 * Some applications look at PEM labels themselves and take the standard ones only (Postfix' chain files). For them
 * the same SEQUENCE also comes as the key octets of a PKCS#8 PrivateKeyInfo (RFC 5208), label "PRIVATE KEY", whose
 * algorithm is an OID of ours.
 */
#ifndef PROVIDER_PEM_URI_H
#define PROVIDER_PEM_URI_H

#include <openssl/bio.h>
#include "provider.h"

#define PEM_URI_LABEL     "PKCS#11 PROVIDER URI"
#define PEM_URI_STRUCTURE "pk11-uri"

/*
 * Under 2.25 everybody may name things by a UUID (ITU-T X.667 section 7). These are ours for keys by their URI,
 * one for each type of key, since libcrypto (EVP_PKCS82PKEY(3)) looks only for key managements of the type that
 * the algorithm stands for. The first has been for all types and is read for all.
 */
#define PKCS8_RSA     "2.25.148111222300966716250805705712475627731"
#define PKCS8_EC      PKCS8_RSA ".1"
#define PKCS8_RSA_PSS PKCS8_RSA ".2"
#define PKCS8_ED25519 PKCS8_RSA ".3"
#define PKCS8_ED448   PKCS8_RSA ".4"

/* The URI in a DER structure: malloc'd by OPENSSL_, to be wiped and freed with pem_uri_free (a PIN may be in
 * it). */
char *pem_uri_decode(const unsigned char *der, size_t len);
void pem_uri_free(char *uri);
/* The SEQUENCE within a PrivateKeyInfo of ours: a copy, OPENSSL_clear_free; NULL if it is a key of another kind. */
unsigned char *pkcs8_uri_unwrap(const unsigned char *der, size_t len, size_t *out_len);
/* Writes a PrivateKeyInfo in DER. */
bool pkcs8_uri_write(BIO *out, hsm_key_type type, const char *uri);
/* Writes a whole PEM file. */
bool pem_uri_write(BIO *out, const char *uri);

#endif
