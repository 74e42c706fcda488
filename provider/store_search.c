/* SPDX-License-Identifier: Apache-2.0 */
/* What OSSL_STORE_find asks for; see store_search.h. */
#include <string.h>
#include <openssl/crypto.h>
#include <openssl/params.h>
#include <openssl/x509.h>
#include "store_search.h"

static bool octets_set(uint8_t **out, size_t *len, const OSSL_PARAM params[], const char *name)
{
    const OSSL_PARAM *p = OSSL_PARAM_locate_const(params, name);
    void *value = NULL;

    if (p == NULL)
        return true;
    if (!OSSL_PARAM_get_octet_string(p, &value, 0, len))
        return false;
    OPENSSL_free(*out);
    *out = value;
    return true;
}

static bool text_set(char **out, const OSSL_PARAM params[], const char *name)
{
    const OSSL_PARAM *p = OSSL_PARAM_locate_const(params, name);

    if (p == NULL)
        return true;
    OPENSSL_free(*out);
    *out = NULL;
    return OSSL_PARAM_get_utf8_string(p, out, 0);
}

bool store_criteria_set(store_criteria *c, const OSSL_PARAM params[])
{
    const OSSL_PARAM *p = OSSL_PARAM_locate_const(params, OSSL_STORE_PARAM_SERIAL);

    return octets_set(&c->subject, &c->subject_len, params, OSSL_STORE_PARAM_SUBJECT) &&
           octets_set(&c->issuer, &c->issuer_len, params, OSSL_STORE_PARAM_ISSUER) &&
           octets_set(&c->fingerprint, &c->fingerprint_len, params, OSSL_STORE_PARAM_FINGERPRINT) &&
           text_set(&c->digest, params, OSSL_STORE_PARAM_DIGEST) &&
           text_set(&c->alias, params, OSSL_STORE_PARAM_ALIAS) &&
           (p == NULL || OSSL_PARAM_get_BN(p, &c->serial));
}

void store_criteria_clear(store_criteria *c)
{
    OPENSSL_free(c->subject);
    OPENSSL_free(c->issuer);
    OPENSSL_free(c->fingerprint);
    OPENSSL_free(c->digest);
    OPENSSL_free(c->alias);
    BN_free(c->serial);
    *c = (store_criteria){0};
}

bool store_criteria_want_certs(const store_criteria *c)
{
    return c->subject != NULL || c->issuer != NULL || c->serial != NULL || c->fingerprint != NULL;
}

/* ---- certificates ---- */

static bool name_fits(X509_NAME *name, const uint8_t *der, size_t len)
{
    X509_NAME *wanted = d2i_X509_NAME(NULL, &der, (long)len);
    bool fits = wanted != NULL && X509_NAME_cmp(name, wanted) == 0;

    X509_NAME_free(wanted);
    return fits;
}

static bool serial_fits(const X509 *cert, const BIGNUM *wanted)
{
    BIGNUM *serial = ASN1_INTEGER_to_BN(X509_get0_serialNumber(cert), NULL);
    bool fits = serial != NULL && BN_cmp(serial, wanted) == 0;

    BN_free(serial);
    return fits;
}

/* Of the whole certificate. Without a digest named, the one whose length it has. */
static bool fingerprint_fits(const store_criteria *c, const provider *prov, const hsm_object *object)
{
    const char *by_length = c->fingerprint_len == 20   ? "SHA1"
                            : c->fingerprint_len == 48 ? "SHA384"
                            : c->fingerprint_len == 64 ? "SHA512"
                                                       : "SHA256";
    const char *digest = c->digest != NULL && c->digest[0] != '\0' ? c->digest : by_length;
    uint8_t is[EVP_MAX_MD_SIZE];
    size_t len = 0;

    return EVP_Q_digest(prov->libctx, digest, NULL, object->cert, object->cert_len, is, &len) == 1 &&
           len == c->fingerprint_len && memcmp(is, c->fingerprint, len) == 0;
}

static bool cert_fits(const store_criteria *c, const provider *prov, const hsm_object *object)
{
    const uint8_t *der = object->cert;
    X509 *cert = X509_new_ex(prov->libctx, NULL);
    bool fits = cert != NULL && d2i_X509(&cert, &der, (long)object->cert_len) != NULL;

    if (fits && c->subject != NULL)
        fits = name_fits(X509_get_subject_name(cert), c->subject, c->subject_len);
    if (fits && c->issuer != NULL)
        fits = name_fits(X509_get_issuer_name(cert), c->issuer, c->issuer_len);
    if (fits && c->serial != NULL)
        fits = serial_fits(cert, c->serial);
    if (fits && c->fingerprint != NULL)
        fits = fingerprint_fits(c, prov, object);
    X509_free(cert);
    return fits;
}

static bool object_fits(const store_criteria *c, const provider *prov, const hsm_object *object)
{
    if (c->alias != NULL && strcmp(c->alias, object->label) != 0)
        return false;
    return !store_criteria_want_certs(c) || (object->type == HSM_CLASS_CERT && cert_fits(c, prov, object));
}

size_t store_criteria_apply(const store_criteria *c, const provider *prov, hsm_object *list, size_t count)
{
    size_t kept = 0;

    if (c->alias == NULL && !store_criteria_want_certs(c))
        return count;
    for (size_t i = 0; i < count; i++) {
        if (!object_fits(c, prov, &list[i]))
            continue;
        hsm_object other = list[kept];
        list[kept++] = list[i];
        list[i] = other;
    }
    hsm_objects_clear(list + kept, count - kept);
    return kept;
}
