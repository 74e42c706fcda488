/* SPDX-License-Identifier: Apache-2.0 */
/* The contents of PEM-URI files; see pem_uri.h. Reading them through libcrypto is in decoder.c. */
#include <limits.h>
#include <string.h>
#include <openssl/asn1t.h>
#include <openssl/crypto.h>
#include <openssl/pem.h>
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

bool pem_uri_write(BIO *out, const char *uri)
{
    uri_file *file = uri_file_new();
    unsigned char *der = NULL;
    bool ok = false;

    if (file != NULL && ASN1_STRING_set(file->version, PEM_URI_VERSION, -1) == 1 &&
        ASN1_STRING_set(file->uri, uri, -1) == 1) {
        int len = ASN1_item_i2d((ASN1_VALUE *)file, &der, ASN1_ITEM_rptr(uri_file));
        ok = len > 0 && PEM_write_bio(out, PEM_URI_LABEL, "", der, len) > 0;
        if (len > 0)
            OPENSSL_clear_free(der, (size_t)len);
    }
    uri_file_free(file);
    return ok;
}
