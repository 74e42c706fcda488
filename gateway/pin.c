/* SPDX-License-Identifier: Apache-2.0 */
/* Pins; see pin.h. */
#include "pin.h"

#include <stdio.h>
#include <string.h>
#include <openssl/evp.h>

static const char *const kinds[] = {"certificate:", "key:"};

static int hex_value(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

bool pin_parse(struct pin *out, const char *text)
{
    size_t kind = strncmp(text, kinds[PIN_KEY], strlen(kinds[PIN_KEY])) == 0 ? PIN_KEY : PIN_CERTIFICATE;

    if (strncmp(text, kinds[kind], strlen(kinds[kind])) != 0)
        return false;
    out->kind = (enum pin_kind)kind;
    text += strlen(kinds[kind]);
    for (size_t i = 0; i < PIN_LEN; i++) {
        if (i > 0 && *text == ':')
            text++;
        int high = hex_value(text[0]);
        int low = high >= 0 ? hex_value(text[1]) : -1;
        if (low < 0)
            return false;
        out->digest[i] = (uint8_t)(high << 4 | low);
        text += 2;
    }
    return *text == '\0';
}

void pin_format(enum pin_kind kind, const uint8_t digest[PIN_LEN], char out[PIN_TEXT_MAX])
{
    size_t used = (size_t)snprintf(out, PIN_TEXT_MAX, "%s", kinds[kind]);

    for (size_t i = 0; i < PIN_LEN; i++)
        used += (size_t)snprintf(out + used, PIN_TEXT_MAX - used, "%02x", digest[i]);
}

void fingerprints_take(struct fingerprints *out, OSSL_LIB_CTX *libctx, X509 *x509)
{
    EVP_MD *sha256 = EVP_MD_fetch(libctx, "SHA256", NULL);
    unsigned char *spki = NULL;
    int len = i2d_X509_PUBKEY(X509_get_X509_PUBKEY(x509), &spki);

    out->known = sha256 != NULL && len > 0 && X509_digest(x509, sha256, out->certificate, NULL) == 1 &&
                 EVP_Digest(spki, (size_t)len, out->key, NULL, sha256, NULL) == 1;
    OPENSSL_free(spki);
    EVP_MD_free(sha256);
}

bool fingerprints_match(const struct fingerprints *prints, const struct pin *pins, size_t count)
{
    for (size_t i = 0; prints->known && i < count; i++) {
        const uint8_t *digest = pins[i].kind == PIN_KEY ? prints->key : prints->certificate;
        if (memcmp(pins[i].digest, digest, PIN_LEN) == 0)
            return true;
    }
    return false;
}
