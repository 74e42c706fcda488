/* SPDX-License-Identifier: Apache-2.0 */
/* The contents of PEM-URI files; see pem_uri.h. Reading them through libcrypto is in decoder.c. */
#include <limits.h>
#include <string.h>
#include <openssl/asn1t.h>
#include <openssl/crypto.h>
#include <openssl/objects.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include "pem_uri.h"

#define PEM_URI_VERSION "PKCS#11 Provider URI v1.0"

typedef struct uri_file {
    ASN1_VISIBLESTRING *version;
    ASN1_UTF8STRING *uri;
} uri_file;

ASN1_SEQUENCE(uri_file) =
    {
        ASN1_SIMPLE(uri_file, version, ASN1_VISIBLESTRING),
        ASN1_SIMPLE(uri_file, uri, ASN1_UTF8STRING),
} static_ASN1_SEQUENCE_END(uri_file)

        static uri_file
    * uri_file_new(void)
{
    return (uri_file *)ASN1_item_new(ASN1_ITEM_rptr(uri_file));
}

static void uri_file_free(uri_file *file)
{
    if (file != NULL && file->uri != NULL)
        OPENSSL_cleanse(file->uri->data, (size_t)file->uri->length);
    ASN1_item_free((ASN1_VALUE *)file, ASN1_ITEM_rptr(uri_file));
}

static bool text_is_clean(const ASN1_STRING *text)
{
    return text->length > 0 && memchr(text->data, '\0', (size_t)text->length) == NULL;
}

char *pem_uri_decode(const unsigned char *der, size_t len)
{
    uri_file *file = NULL;
    char *uri = NULL;

    if (len <= LONG_MAX)
        file = (uri_file *)ASN1_item_d2i(NULL, &der, (long)len, ASN1_ITEM_rptr(uri_file));
    if (file != NULL && file->version->length == (int)strlen(PEM_URI_VERSION) &&
        memcmp(file->version->data, PEM_URI_VERSION, strlen(PEM_URI_VERSION)) == 0 &&
        text_is_clean(file->uri))
        uri = OPENSSL_strndup((const char *)file->uri->data, (size_t)file->uri->length);
    uri_file_free(file);
    return uri;
}

void pem_uri_free(char *uri)
{
    if (uri != NULL)
        OPENSSL_clear_free(uri, strlen(uri));
}

static unsigned char *uri_encode(const char *uri, int *len)
{
    uri_file *file = uri_file_new();
    unsigned char *der = NULL;

    *len = 0;
    if (file != NULL && ASN1_STRING_set(file->version, PEM_URI_VERSION, -1) == 1 &&
        ASN1_STRING_set(file->uri, uri, -1) == 1)
        *len = ASN1_item_i2d((ASN1_VALUE *)file, &der, ASN1_ITEM_rptr(uri_file));
    uri_file_free(file);
    return *len > 0 ? der : NULL;
}

bool pem_uri_write(BIO *out, const char *uri)
{
    int len;
    unsigned char *der = uri_encode(uri, &len);
    bool ok = der != NULL && PEM_write_bio(out, PEM_URI_LABEL, "", der, len) > 0;

    OPENSSL_clear_free(der, (size_t)len);
    return ok;
}

/* ---- PKCS#8 ---- */

static bool algorithm_is_ours(const ASN1_OBJECT *algorithm)
{
    const size_t len = strlen(PKCS8_RSA);
    char text[80];

    return OBJ_obj2txt(text, sizeof(text), algorithm, 1) > 0 && strncmp(text, PKCS8_RSA, len) == 0 &&
           (text[len] == '\0' || text[len] == '.');
}

unsigned char *pkcs8_uri_unwrap(const unsigned char *der, size_t len, size_t *out_len)
{
    PKCS8_PRIV_KEY_INFO *info = len <= LONG_MAX ? d2i_PKCS8_PRIV_KEY_INFO(NULL, &der, (long)len) : NULL;
    const ASN1_OBJECT *algorithm = NULL;
    const unsigned char *octets = NULL;
    unsigned char *copy = NULL;
    int octets_len = 0;

    if (info != NULL && PKCS8_pkey_get0(&algorithm, &octets, &octets_len, NULL, info) == 1 &&
        algorithm_is_ours(algorithm) && octets_len > 0 &&
        (copy = OPENSSL_memdup(octets, (size_t)octets_len)) != NULL)
        *out_len = (size_t)octets_len;
    PKCS8_PRIV_KEY_INFO_free(info);
    return copy;
}

bool pkcs8_uri_write(BIO *out, hsm_key_type type, const char *uri)
{
    static const char *const algorithms[] = {[HSM_KEY_RSA] = PKCS8_RSA,
                                             [HSM_KEY_RSA_PSS] = PKCS8_RSA_PSS,
                                             [HSM_KEY_EC] = PKCS8_EC,
                                             [HSM_KEY_ED25519] = PKCS8_ED25519,
                                             [HSM_KEY_ED448] = PKCS8_ED448};
    PKCS8_PRIV_KEY_INFO *info = PKCS8_PRIV_KEY_INFO_new();
    ASN1_OBJECT *ours = OBJ_txt2obj(algorithms[type], 1);
    int len;
    unsigned char *der = uri_encode(uri, &len);
    bool ok = info != NULL && ours != NULL && der != NULL &&
              PKCS8_pkey_set0(info, ours, 0, V_ASN1_UNDEF, NULL, der, len) == 1;

    if (ok) /* they are the info's now */
        ok = i2d_PKCS8_PRIV_KEY_INFO_bio(out, info) == 1;
    else {
        ASN1_OBJECT_free(ours);
        OPENSSL_clear_free(der, (size_t)len);
    }
    PKCS8_PRIV_KEY_INFO_free(info);
    return ok;
}
