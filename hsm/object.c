/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Searching a token and reading attributes. One search costs one C_FindObjects per batch however many objects
 * the token has: the token compares, not we.
 */
#include "object.h"
#include "catalog.h"
#include "error.h"
#include "module.h"
#include "public.h"

#include <string.h>

#include <openssl/crypto.h>

enum { BATCH = 64, ATTRIBUTE_MAX = 1 << 20 /* bytes; a certificate is a few thousand */ };

/* ---- Searching ---- */

static hsm_status handles_read(const struct place *place, CK_OBJECT_HANDLE **list, size_t *count,
                               hsm_error *err)
{
    CK_OBJECT_HANDLE batch[BATCH];
    for (;;) {
        CK_ULONG got = 0;
        CK_RV rv = CK(place->functions, err, place->where, C_FindObjects, place->session, batch, BATCH, &got);
        if (rv != CKR_OK)
            return ckr_status(rv);
        if (got == 0)
            return HSM_OK;
        if (got > BATCH)
            return error_set(err, HSM_E_TOKEN, 0, "%s: C_FindObjects gave more objects than asked for",
                             place->where);
        CK_OBJECT_HANDLE *more = OPENSSL_realloc(*list, (*count + got) * sizeof(**list));
        if (!more)
            return error_set(err, HSM_E_MEMORY, 0, "%s: out of memory", place->where);
        memcpy(more + *count, batch, got * sizeof(*batch));
        *list = more;
        *count += got;
    }
}

hsm_status object_search(const struct place *place, const struct wanted *wanted, CK_OBJECT_HANDLE **list,
                         size_t *count, hsm_error *err)
{
    CK_ATTRIBUTE template[3];
    CK_ULONG n = 0;
    if (wanted->class)
        template[n++] = (CK_ATTRIBUTE){CKA_CLASS, (void *)(uintptr_t)wanted->class, sizeof(*wanted->class)};
    if (wanted->id_len > 0)
        template[n++] = (CK_ATTRIBUTE){CKA_ID, (void *)(uintptr_t)wanted->id, wanted->id_len};
    if (wanted->label)
        template[n++] = (CK_ATTRIBUTE){CKA_LABEL, (void *)(uintptr_t)wanted->label, strlen(wanted->label)};

    *list = NULL;
    *count = 0;
    CK_RV rv = CK(place->functions, err, place->where, C_FindObjectsInit, place->session, template, n);
    if (rv != CKR_OK)
        return ckr_status(rv);
    hsm_status status = handles_read(place, list, count, err);
    rv =
        CK(place->functions, status == HSM_OK ? err : NULL, place->where, C_FindObjectsFinal, place->session);
    if (status == HSM_OK && rv != CKR_OK)
        status = ckr_status(rv);
    if (status != HSM_OK) {
        OPENSSL_free(*list);
        *list = NULL;
        *count = 0;
    }
    return status;
}

/* ---- Attributes ---- */

static bool is_absent(CK_RV rv)
{
    return rv == CKR_ATTRIBUTE_TYPE_INVALID || rv == CKR_ATTRIBUTE_SENSITIVE;
}

static hsm_status attribute_absent(const struct place *place, CK_ATTRIBUTE_TYPE type, hsm_error *err)
{
    return error_set(err, HSM_E_NO_OBJECT, 0, "%s: the object has no attribute 0x%lx", place->where, type);
}

hsm_status object_attribute(const struct place *place, CK_OBJECT_HANDLE object, CK_ATTRIBUTE_TYPE type,
                            uint8_t **value, size_t *len, hsm_error *err)
{
    *value = NULL;
    *len = 0;
    CK_ATTRIBUTE a = {type, NULL, 0};
    CK_RV rv = CK(place->functions, err, place->where, C_GetAttributeValue, place->session, object, &a, 1);
    if (is_absent(rv) || (rv == CKR_OK && a.ulValueLen == CK_UNAVAILABLE_INFORMATION))
        return attribute_absent(place, type, err);
    if (rv != CKR_OK)
        return ckr_status(rv);
    if (a.ulValueLen > ATTRIBUTE_MAX)
        return error_set(err, HSM_E_TOKEN, 0, "%s: attribute 0x%lx has %lu bytes", place->where, type,
                         a.ulValueLen);
    uint8_t *buf = OPENSSL_zalloc(a.ulValueLen + 1);
    if (!buf)
        return error_set(err, HSM_E_MEMORY, 0, "%s: out of memory", place->where);
    CK_ULONG room = a.ulValueLen;
    a.pValue = buf;
    if (room > 0)
        rv = CK(place->functions, err, place->where, C_GetAttributeValue, place->session, object, &a, 1);
    if (rv != CKR_OK || a.ulValueLen > room) {
        OPENSSL_free(buf);
        return rv != CKR_OK ? ckr_status(rv) : attribute_absent(place, type, err);
    }
    *value = buf;
    *len = a.ulValueLen;
    return HSM_OK;
}

bool object_flag(const struct place *place, CK_OBJECT_HANDLE object, CK_ATTRIBUTE_TYPE type, bool otherwise)
{
    CK_BBOOL flag = otherwise ? CK_TRUE : CK_FALSE;
    CK_ATTRIBUTE a = {type, &flag, sizeof(flag)};
    CK_RV rv = CK(place->functions, NULL, place->where, C_GetAttributeValue, place->session, object, &a, 1);
    return rv == CKR_OK && a.ulValueLen == sizeof(flag) ? flag != CK_FALSE : otherwise;
}

/* A CK_ULONG. */
static hsm_status attribute_number(const struct place *place, CK_OBJECT_HANDLE object, CK_ATTRIBUTE_TYPE type,
                                   CK_ULONG *out, hsm_error *err)
{
    CK_ATTRIBUTE a = {type, out, sizeof(*out)};
    CK_RV rv = CK(place->functions, err, place->where, C_GetAttributeValue, place->session, object, &a, 1);
    if (rv != CKR_OK)
        return ckr_status(rv);
    return a.ulValueLen == sizeof(*out) ? HSM_OK : attribute_absent(place, type, err);
}

/* ---- Public parts ---- */

/* Two attributes, given to whoever makes a public part of them. */
static hsm_status public_from_pair(const struct place *place, CK_OBJECT_HANDLE object, CK_KEY_TYPE type,
                                   hsm_public *out, hsm_error *err)
{
    uint8_t *first = NULL, *second = NULL;
    size_t first_len = 0, second_len = 0;
    bool rsa = type == CKK_RSA;
    hsm_status status =
        object_attribute(place, object, rsa ? CKA_MODULUS : CKA_EC_PARAMS, &first, &first_len, err);
    if (status == HSM_OK)
        status = object_attribute(place, object, rsa ? CKA_PUBLIC_EXPONENT : CKA_EC_POINT, &second,
                                  &second_len, err);
    if (status == HSM_OK && (first_len == 0 || second_len == 0)) /* some tokens say "empty" for "none" */
        status = attribute_absent(place, rsa ? CKA_MODULUS : CKA_EC_POINT, err);
    if (status == HSM_OK) {
        hsm_status (*make)(hsm_public *, const uint8_t *, size_t, const uint8_t *, size_t, const char *,
                           hsm_error *) = rsa              ? public_from_rsa
                                          : type == CKK_EC ? public_from_ec
                                                           : public_from_edwards;
        status = make(out, first, first_len, second, second_len, place->where, err);
    }
    OPENSSL_free(first);
    OPENSSL_free(second);
    return status;
}

/* From the object's own attributes. HSM_E_NO_OBJECT: it has not got them. */
static hsm_status public_from_key(const struct place *place, CK_OBJECT_HANDLE object, hsm_public *out,
                                  hsm_error *err)
{
    CK_KEY_TYPE type = 0;
    hsm_status status = attribute_number(place, object, CKA_KEY_TYPE, &type, err);
    if (status != HSM_OK)
        return status;
    if (type != CKK_RSA && type != CKK_EC && type != CKK_EC_EDWARDS)
        return error_set(err, HSM_E_UNSUPPORTED, 0, "%s: a key of type 0x%lx, neither RSA nor EC nor EdDSA",
                         place->where, type);
    return public_from_pair(place, object, type, out, err);
}

static hsm_status public_from_cert_object(const struct place *place, CK_OBJECT_HANDLE object, hsm_public *out,
                                          hsm_error *err)
{
    uint8_t *der = NULL;
    size_t len = 0;
    hsm_status status = object_attribute(place, object, CKA_VALUE, &der, &len, err);
    if (status == HSM_OK)
        status = public_from_cert(out, der, len, place->where, err);
    OPENSSL_free(der);
    return status;
}

static hsm_status public_from_object(const struct place *place, CK_OBJECT_CLASS class,
                                     CK_OBJECT_HANDLE object, hsm_public *out, hsm_error *err)
{
    return class == CKO_CERTIFICATE ? public_from_cert_object(place, object, out, err)
                                    : public_from_key(place, object, out, err);
}

/* From a neighbour of the key: an object of `class` with the same CKA_ID. */
static hsm_status public_from_neighbour(const struct place *place, CK_OBJECT_CLASS class, const uint8_t *id,
                                        size_t id_len, const struct catalog *known, hsm_public *out,
                                        hsm_error *err)
{
    const struct entry *near = catalog_find(known, class, id, id_len);
    if (near)
        return public_from_object(place, class, near->object, out, err);
    hsm_status status =
        error_set(err, HSM_E_NO_OBJECT, 0, "%s: the token does not tell the public part of a private key",
                  place->where);
    if (known && known->complete)
        return status;
    CK_OBJECT_HANDLE *list = NULL;
    size_t count = 0;
    status = object_search(place, &(struct wanted){.class = &class, .id = id, .id_len = id_len}, &list,
                           &count, err);
    if (status == HSM_OK)
        status = HSM_E_NO_OBJECT;
    for (size_t i = 0; i < count && status == HSM_E_NO_OBJECT; i++)
        status = public_from_object(place, class, list[i], out, err);
    OPENSSL_free(list);
    return status;
}

/* ---- RSA keys that are for PSS only ---- */

static const struct {
    CK_MECHANISM_TYPE mechanism;
    hsm_hash hash;
} pss_mechanisms[] = {
    {CKM_RSA_PKCS_PSS, HSM_HASH_NONE},     {CKM_SHA1_RSA_PKCS_PSS, HSM_SHA1},
    {CKM_SHA224_RSA_PKCS_PSS, HSM_SHA224}, {CKM_SHA256_RSA_PKCS_PSS, HSM_SHA256},
    {CKM_SHA384_RSA_PKCS_PSS, HSM_SHA384}, {CKM_SHA512_RSA_PKCS_PSS, HSM_SHA512},
};
enum { PSS_MECHANISMS = sizeof(pss_mechanisms) / sizeof(pss_mechanisms[0]) };

size_t pss_mechanisms_list(hsm_hash hash, CK_MECHANISM_TYPE list[PSS_MECHANISMS_MAX])
{
    size_t n = 0;
    for (size_t i = 0; i < PSS_MECHANISMS; i++) {
        hsm_hash its = pss_mechanisms[i].hash;
        if (its == HSM_HASH_NONE || hash == HSM_HASH_NONE || its == hash)
            list[n++] = pss_mechanisms[i].mechanism;
    }
    return n;
}

/* CKA_ALLOWED_MECHANISMS (PKCS#11 2.40 section 4.8): nothing but PSS makes an RSA-PSS key; PSS with one hash a
 * key that is restricted to it. */
static bool pss_from_mechanisms(const uint8_t *list, size_t len, hsm_pss *out)
{
    size_t count = len / sizeof(CK_MECHANISM_TYPE), hashes = 0;
    hsm_hash hash = HSM_HASH_NONE;
    for (size_t i = 0; i < count; i++) {
        CK_MECHANISM_TYPE is;
        size_t k = 0;
        memcpy(&is, list + i * sizeof(is), sizeof(is));
        while (k < PSS_MECHANISMS && pss_mechanisms[k].mechanism != is)
            k++;
        if (k == PSS_MECHANISMS)
            return false;
        if (pss_mechanisms[k].hash != HSM_HASH_NONE) {
            hash = pss_mechanisms[k].hash;
            hashes++;
        }
    }
    *out = (hsm_pss){0};
    if (hashes == 1)
        *out = (hsm_pss){hash, hash, 0};
    return count > 0;
}

/* The key as the token or a certificate of it describes it in X.509's terms: CKA_PUBLIC_KEY_INFO (PKCS#11 2.40
 * section 4.8), or the certificate found with it. */
static bool pss_from_description(const struct place *place, CK_OBJECT_HANDLE object, const uint8_t *id,
                                 size_t id_len, const struct catalog *known, hsm_pss *out)
{
    hsm_public told = {0};
    uint8_t *spki = NULL;
    size_t len = 0;
    const struct entry *cert = id_len > 0 ? catalog_find(known, CKO_CERTIFICATE, id, id_len) : NULL;
    if (object_attribute(place, object, CKA_PUBLIC_KEY_INFO, &spki, &len, NULL) == HSM_OK && len > 0)
        (void)public_from_spki(&told, spki, len, place->where, NULL);
    if (told.type != HSM_KEY_RSA_PSS && cert) {
        public_clear(&told);
        (void)public_from_cert_object(place, cert->object, &told, NULL);
    }
    bool is = told.type == HSM_KEY_RSA_PSS;
    *out = told.pss;
    public_clear(&told);
    OPENSSL_free(spki);
    return is;
}

static void pss_find(const struct place *place, CK_OBJECT_HANDLE object, const uint8_t *id, size_t id_len,
                     const struct catalog *known, hsm_public *out)
{
    uint8_t *allowed = NULL;
    size_t len = 0;
    hsm_pss pss = {0};
    bool is = object_attribute(place, object, CKA_ALLOWED_MECHANISMS, &allowed, &len, NULL) == HSM_OK &&
              pss_from_mechanisms(allowed, len, &pss);
    OPENSSL_free(allowed);
    if (is || pss_from_description(place, object, id, id_len, known, &pss)) {
        out->type = HSM_KEY_RSA_PSS;
        out->pss = pss;
    }
}

hsm_status object_public(const struct place *place, CK_OBJECT_HANDLE object, const uint8_t *id, size_t id_len,
                         const struct catalog *known, hsm_public *out, hsm_error *err)
{
    *out = (hsm_public){0};
    hsm_error why = {0};
    hsm_status status = public_from_key(place, object, out, &why);
    if (status == HSM_E_NO_OBJECT && id_len > 0 && why.ckr == 0)
        status = public_from_neighbour(place, CKO_PUBLIC_KEY, id, id_len, known, out, &why);
    if (status == HSM_E_NO_OBJECT && id_len > 0 && why.ckr == 0)
        status = public_from_neighbour(place, CKO_CERTIFICATE, id, id_len, known, out, &why);
    if (status != HSM_OK)
        return error_copy(err, &why);
    if (out->type == HSM_KEY_RSA)
        pss_find(place, object, id, id_len, known, out);
    return HSM_OK;
}
