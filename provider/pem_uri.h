/* SPDX-License-Identifier: Apache-2.0 */
/*
 * PEM-URI files: what daemons that read keys from files are given instead of a key. The format is
 * pkcs11-provider's, so that its files work here and ours there: label "PKCS#11 PROVIDER URI", contents
 *
 *     SEQUENCE { VisibleString "PKCS#11 Provider URI v1.0", UTF8String uri }
 */
#ifndef PROVIDER_PEM_URI_H
#define PROVIDER_PEM_URI_H

#include <openssl/bio.h>
#include "provider.h"

#define PEM_URI_LABEL     "PKCS#11 PROVIDER URI"
#define PEM_URI_STRUCTURE "pk11-uri"

/* The URI in a DER structure: malloc'd by OPENSSL_, to be wiped and freed with pem_uri_free (a PIN may be in
 * it). */
char *pem_uri_decode(const unsigned char *der, size_t len);
void pem_uri_free(char *uri);
/* Writes a whole PEM file. */
bool pem_uri_write(BIO *out, const char *uri);

#endif
