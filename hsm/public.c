/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Public parts of keys, normalised: numbers without leading zeros, curves by OpenSSL's name, points checked
 * to be on their curve and uncompressed. Where the bytes come from is object.c's matter.
 *
 * Certificates are taken apart by hand, and not with d2i_X509, because that would ask every provider of the
 * process, us included, to decode the key in it.
 */
#include "public.h"
#include "error.h"

#include <string.h>

#include <openssl/asn1.h>
#include <openssl/crypto.h>
#include <openssl/ec.h>
#include <openssl/objects.h>

enum { RSA_BITS_MIN = 1024, RSA_BITS_MAX = HSM_SIGNATURE_MAX * 8 };

/* ---- DER (X.690) ---- */

struct der {
    const uint8_t *at;
    size_t len;
};

/* Takes the next element off `in`; `*out` is its content. False if it is not there or not of this tag. */
static bool der_take(struct der *in, int class, int tag, struct der *out)
{
    const uint8_t *p = in->at;
    long content = 0;
    int found_tag = 0, found_class = 0;
    if (in->len == 0 || in->len > INT32_MAX)
        return false;
    int flags = ASN1_get_object(&p, &content, &found_tag, &found_class, (long)in->len);
    /* 0x80: an error; 1: indefinite length, which DER forbids. */
    if ((flags & 0x81) != 0 || found_class != class || found_tag != tag)
        return false;
    *out = (struct der){p, (size_t)content};
    in->len -= (size_t)(p - in->at) + (size_t)content;
    in->at = p + content;
    return true;
}

static bool der_sequence(struct der *in, struct der *out)
{
    return der_take(in, V_ASN1_UNIVERSAL, V_ASN1_SEQUENCE, out);
}

static bool der_skip(struct der *in, int tag)
{
    struct der ignored;
    return der_take(in, V_ASN1_UNIVERSAL, tag, &ignored);
}

/* The OBJECT IDENTIFIER at the start of `in`, as an OpenSSL NID; NID_undef if it is none that OpenSSL knows.
 */
static int der_nid(struct der in)
{
    const uint8_t *p = in.at;
    ASN1_OBJECT *oid = in.len > 0 ? d2i_ASN1_OBJECT(NULL, &p, (long)in.len) : NULL;
    int nid = oid ? OBJ_obj2nid(oid) : NID_undef;
    ASN1_OBJECT_free(oid);
    return nid;
}

/* ---- RSA ---- */

static unsigned number_bits(const uint8_t *n, size_t len)
{
    unsigned bits = (unsigned)len * 8;
    for (uint8_t top = 0x80; len > 0 && bits > 0 && !(n[0] & top); top >>= 1)
        bits--;
    return bits;
}

hsm_status public_from_rsa(hsm_public *out, const uint8_t *n, size_t n_len, const uint8_t *e, size_t e_len,
                           const char *where, hsm_error *err)
{
    *out = (hsm_public){0};
    for (; n_len > 0 && *n == 0; n++)
        n_len--;
    for (; e_len > 0 && *e == 0; e++)
        e_len--;
    if (e_len == 0 || n_len > HSM_SIGNATURE_MAX || number_bits(n, n_len) < RSA_BITS_MIN)
        return error_set(err, HSM_E_UNSUPPORTED, 0, "%s: an RSA key of %zu bits; %d to %d are supported",
                         where, n_len * 8, RSA_BITS_MIN, RSA_BITS_MAX);
    out->type = HSM_KEY_RSA;
    out->n = OPENSSL_memdup(n, n_len);
    out->e = OPENSSL_memdup(e, e_len);
    out->n_len = n_len;
    out->e_len = e_len;
    out->bits = number_bits(n, n_len);
    if (out->n && out->e)
        return HSM_OK;
    public_clear(out);
    return error_set(err, HSM_E_MEMORY, 0, "%s: out of memory", where);
}

/* ---- EC ---- */

/* Checks the point and writes it uncompressed. */
static bool point_normalise(const EC_GROUP *group, const uint8_t *in, size_t in_len, uint8_t **out,
                            size_t *out_len)
{
    EC_POINT *point = EC_POINT_new(group);
    bool good = point && EC_POINT_oct2point(group, point, in, in_len, NULL) == 1 &&
                EC_POINT_is_at_infinity(group, point) == 0;
    if (good) {
        unsigned char *buf = NULL;
        *out_len = EC_POINT_point2buf(group, point, POINT_CONVERSION_UNCOMPRESSED, &buf, NULL);
        *out = buf;
    }
    EC_POINT_free(point);
    return good && *out_len > 0;
}

hsm_status public_from_ec(hsm_public *out, const uint8_t *params, size_t params_len, const uint8_t *point,
                          size_t point_len, const char *where, hsm_error *err)
{
    hsm_status status = HSM_OK;
    uint8_t *normal = NULL;
    size_t normal_len = 0;
    *out = (hsm_public){0};
    int nid = der_nid((struct der){params, params_len});
    EC_GROUP *group = nid != NID_undef ? EC_GROUP_new_by_curve_name(nid) : NULL;
    if (!group) {
        status =
            error_set(err, HSM_E_UNSUPPORTED, 0, "%s: its curve is none that libcrypto knows by name", where);
        goto out;
    }
    /* PKCS#11 2.40 section 2.3.3 wants the point in an OCTET STRING; some tokens give it bare. A bare
     * uncompressed point begins with 4 too, but then its length does not come out. */
    struct der in = {point, point_len}, inner = {0};
    if (der_take(&in, V_ASN1_UNIVERSAL, V_ASN1_OCTET_STRING, &inner) && in.len == 0 &&
        point_normalise(group, inner.at, inner.len, &normal, &normal_len)) {
        status = HSM_OK;
    } else if (!point_normalise(group, point, point_len, &normal, &normal_len)) {
        status = error_set(err, HSM_E_UNSUPPORTED, 0, "%s: its public point is not on curve %s", where,
                           OBJ_nid2sn(nid));
        goto out;
    }
    out->type = HSM_KEY_EC;
    out->group = OBJ_nid2sn(nid);
    out->point = normal;
    out->point_len = normal_len;
    out->bits = (unsigned)EC_GROUP_get_degree(group);
out:
    EC_GROUP_free(group);
    return status;
}

/* ---- Certificates (RFC 5280 section 4.1) ---- */

/* Finds the SubjectPublicKeyInfo: its algorithm and the bits of the key. */
static bool cert_key(struct der in, struct der *algorithm, struct der *key)
{
    struct der cert, tbs, version, spki;
    if (!der_sequence(&in, &cert) || !der_sequence(&cert, &tbs))
        return false;
    (void)der_take(&tbs, V_ASN1_CONTEXT_SPECIFIC, 0, &version); /* absent in version 1 */
    bool good = der_skip(&tbs, V_ASN1_INTEGER)                  /* serialNumber */
                && der_skip(&tbs, V_ASN1_SEQUENCE)              /* signature */
                && der_skip(&tbs, V_ASN1_SEQUENCE)              /* issuer */
                && der_skip(&tbs, V_ASN1_SEQUENCE)              /* validity */
                && der_skip(&tbs, V_ASN1_SEQUENCE);             /* subject */
    good = good && der_sequence(&tbs, &spki) && der_sequence(&spki, algorithm) &&
           der_take(&spki, V_ASN1_UNIVERSAL, V_ASN1_BIT_STRING, key) && key->len > 0 && key->at[0] == 0;
    if (good) { /* the first byte counts unused bits */
        key->at++;
        key->len--;
    }
    return good;
}

static hsm_status rsa_from_key_bits(hsm_public *out, struct der key, const char *where, hsm_error *err)
{
    struct der seq, n, e;
    if (!der_sequence(&key, &seq) || !der_take(&seq, V_ASN1_UNIVERSAL, V_ASN1_INTEGER, &n) ||
        !der_take(&seq, V_ASN1_UNIVERSAL, V_ASN1_INTEGER, &e))
        return error_set(err, HSM_E_UNSUPPORTED, 0, "%s: its RSA key cannot be read", where);
    return public_from_rsa(out, n.at, n.len, e.at, e.len, where, err);
}

hsm_status public_from_cert(hsm_public *out, const uint8_t *der, size_t len, const char *where,
                            hsm_error *err)
{
    struct der algorithm, key, oid;
    *out = (hsm_public){0};
    if (!cert_key((struct der){der, len}, &algorithm, &key))
        return error_set(err, HSM_E_UNSUPPORTED, 0, "%s: it is no X.509 certificate", where);
    struct der parameters = algorithm;
    (void)der_take(&parameters, V_ASN1_UNIVERSAL, V_ASN1_OBJECT, &oid);
    switch (der_nid(algorithm)) {
    case NID_rsaEncryption:
    case NID_rsassaPss:
        return rsa_from_key_bits(out, key, where, err);
    case NID_X9_62_id_ecPublicKey:
        return public_from_ec(out, parameters.at, parameters.len, key.at, key.len, where, err);
    default:
        return error_set(err, HSM_E_UNSUPPORTED, 0, "%s: its key is neither RSA nor EC", where);
    }
}

/* ---- Life ---- */

static bool same_bytes(const uint8_t *a, size_t a_len, const uint8_t *b, size_t b_len)
{
    return a_len == b_len && (a_len == 0 || memcmp(a, b, a_len) == 0);
}

bool public_equal(const hsm_public *a, const hsm_public *b)
{
    return a->type == b->type && same_bytes(a->n, a->n_len, b->n, b->n_len) &&
           same_bytes(a->e, a->e_len, b->e, b->e_len) &&
           same_bytes(a->point, a->point_len, b->point, b->point_len) &&
           (a->type != HSM_KEY_EC || strcmp(a->group, b->group) == 0);
}

void public_clear(hsm_public *p)
{
    OPENSSL_free((void *)(uintptr_t)p->n);
    OPENSSL_free((void *)(uintptr_t)p->e);
    OPENSSL_free((void *)(uintptr_t)p->point);
    *p = (hsm_public){0};
}
