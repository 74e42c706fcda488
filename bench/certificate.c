/* SPDX-License-Identifier: Apache-2.0 */
#include "certificate.h"

#include <openssl/evp.h>
#include <openssl/x509.h>
#include "records_reference.h"

bool certificate_use(SSL_CTX *ctx, bool rsa)
{
    EVP_PKEY *key = rsa ? EVP_PKEY_Q_keygen(reference_context(), NULL, "RSA", (size_t)2048)
                        : EVP_PKEY_Q_keygen(reference_context(), NULL, "EC", "P-256");
    X509 *certificate = X509_new_ex(reference_context(), NULL);
    X509_NAME *name = certificate == NULL ? NULL : X509_get_subject_name(certificate);
    bool done = key != NULL && name != NULL && X509_set_version(certificate, X509_VERSION_3) &&
                X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC, (const uint8_t *)"bench", -1, -1, 0) &&
                X509_set_issuer_name(certificate, name) && X509_set_pubkey(certificate, key) &&
                ASN1_INTEGER_set(X509_get_serialNumber(certificate), 1) &&
                X509_gmtime_adj(X509_getm_notBefore(certificate), 0) != NULL &&
                X509_gmtime_adj(X509_getm_notAfter(certificate), 24 * 3600) != NULL &&
                X509_sign(certificate, key, EVP_sha256()) > 0 &&
                SSL_CTX_use_certificate(ctx, certificate) > 0 && SSL_CTX_use_PrivateKey(ctx, key) > 0;

    X509_free(certificate);
    EVP_PKEY_free(key);
    return done;
}
