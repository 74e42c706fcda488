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

enum { RSA_BITS_MIN = 1024, RSA_BITS_MAX = HSM_OUTPUT_MAX * 8 };

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
    if (e_len == 0 || n_len > HSM_OUTPUT_MAX || number_bits(n, n_len) < RSA_BITS_MIN)
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

/* ---- Edwards curves ---- */

/* Their names as CKA_EC_PARAMS (PKCS#11 3.0 section 6.3.9): a PrintableString, or the OID of RFC 8410. */
static const struct edwards {
    hsm_key_type type;
    const char *name;
    int nid;
    size_t len; /* of a public key: RFC 8032 sections 5.1.5 and 5.2.5 */
    unsigned bits;
} edwards[] = {
    {HSM_KEY_ED25519, "edwards25519", NID_ED25519, 32, 256},
    {HSM_KEY_ED448, "edwards448", NID_ED448, 57, 456},
};

static const struct edwards *edwards_of_type(hsm_key_type type)
{
    return type == HSM_KEY_ED25519 ? &edwards[0] : type == HSM_KEY_ED448 ? &edwards[1] : NULL;
}

static const struct edwards *edwards_find(struct der params)
{
    struct der text = params, name = {0};
    bool named = der_take(&text, V_ASN1_UNIVERSAL, V_ASN1_PRINTABLESTRING, &name);
    int nid = named ? NID_undef : der_nid(params);
    for (size_t i = 0; i < sizeof(edwards) / sizeof(edwards[0]); i++) {
        const struct edwards *e = &edwards[i];
        if (named ? name.len == strlen(e->name) && memcmp(name.at, e->name, name.len) == 0 : nid == e->nid)
            return e;
    }
    return NULL;
}

static hsm_status public_from_edwards_key(hsm_public *out, const struct edwards *e, struct der key,
                                          const char *where, hsm_error *err)
{
    if (key.len != e->len)
        return error_set(err, HSM_E_UNSUPPORTED, 0, "%s: a public key of %zu bytes on curve %s", where,
                         key.len, e->name);
    *out = (hsm_public){.type = e->type, .point_len = e->len, .bits = e->bits};
    out->point = OPENSSL_memdup(key.at, key.len);
    return out->point ? HSM_OK : error_set(err, HSM_E_MEMORY, 0, "%s: out of memory", where);
}

hsm_status public_from_edwards(hsm_public *out, const uint8_t *params, size_t params_len,
                               const uint8_t *point, size_t point_len, const char *where, hsm_error *err)
{
    const struct edwards *e = edwards_find((struct der){params, params_len});
    struct der in = {point, point_len}, inner = {0};
    *out = (hsm_public){0};
    if (!e)
        return error_set(err, HSM_E_UNSUPPORTED, 0, "%s: its Edwards curve is neither Ed25519 nor Ed448",
                         where);
    /* Some tokens give the bytes bare, some in an OCTET STRING; a bare key has one length only. */
    bool wrapped = point_len != e->len && der_take(&in, V_ASN1_UNIVERSAL, V_ASN1_OCTET_STRING, &inner);
    return public_from_edwards_key(out, e, wrapped ? inner : (struct der){point, point_len}, where, err);
}

/* By OpenSSL's name or NIST's ("P-256"). */
static int curve_nid(const char *group)
{
    int nid = EC_curve_nist2nid(group);
    return nid != NID_undef ? nid : OBJ_txt2nid(group);
}

bool curve_params(hsm_key_type type, const char *group, bool by_name, uint8_t *der, size_t *len)
{
    const struct edwards *e = edwards_of_type(type);
    ASN1_OBJECT *oid = OBJ_nid2obj(e ? e->nid : curve_nid(group));
    size_t name_len = e && by_name ? strlen(e->name) : 0;
    if (name_len > 0) {
        *len = name_len + 2;
        der[0] = V_ASN1_PRINTABLESTRING;
        der[1] = (uint8_t)name_len;
        memcpy(der + 2, e->name, name_len);
        return true;
    }
    unsigned char *end = der;
    int oid_len = oid && OBJ_length(oid) > 0 ? i2d_ASN1_OBJECT(oid, NULL) : 0;
    if (oid_len <= 0 || oid_len > CURVE_PARAMS_MAX)
        return false;
    *len = (size_t)i2d_ASN1_OBJECT(oid, &end);
    return true;
}

/* ---- RSA-PSS (RFC 4055 section 3.1) ---- */

static hsm_hash hash_of_nid(int nid)
{
    switch (nid) {
    case NID_sha1:
        return HSM_SHA1;
    case NID_sha224:
        return HSM_SHA224;
    case NID_sha256:
        return HSM_SHA256;
    case NID_sha384:
        return HSM_SHA384;
    case NID_sha512:
        return HSM_SHA512;
    default:
        return HSM_HASH_NONE;
    }
}

/* An AlgorithmIdentifier; `in` is its content. */
static hsm_hash algorithm_hash(struct der in)
{
    return hash_of_nid(der_nid(in));
}

/* AlgorithmIdentifier of MGF1 with the AlgorithmIdentifier of its hash as parameters. */
static hsm_hash algorithm_mgf(struct der in)
{
    struct der inner;
    bool good = der_nid(in) == NID_mgf1 && der_skip(&in, V_ASN1_OBJECT) && der_sequence(&in, &inner);
    return good ? algorithm_hash(inner) : HSM_HASH_NONE;
}

/* RSASSA-PSS-params: fields absent have the defaults of RFC 4055. No parameters at all: no restriction. */
static bool pss_params_read(struct der params, hsm_pss *out)
{
    struct der seq, field, value;
    *out = (hsm_pss){0};
    if (params.len == 0)
        return true;
    if (!der_sequence(&params, &seq))
        return false;
    *out = (hsm_pss){HSM_SHA1, HSM_SHA1, 20};
    if (der_take(&seq, V_ASN1_CONTEXT_SPECIFIC, 0, &field))
        out->hash = der_sequence(&field, &value) ? algorithm_hash(value) : HSM_HASH_NONE;
    if (der_take(&seq, V_ASN1_CONTEXT_SPECIFIC, 1, &field))
        out->mgf_hash = der_sequence(&field, &value) ? algorithm_mgf(value) : HSM_HASH_NONE;
    if (der_take(&seq, V_ASN1_CONTEXT_SPECIFIC, 2, &field)) {
        if (!der_take(&field, V_ASN1_UNIVERSAL, V_ASN1_INTEGER, &value) || value.len == 0 || value.len > 2)
            return false;
        out->salt_min = value.len == 1 ? value.at[0] : (unsigned)(value.at[0] << 8 | value.at[1]);
    }
    return out->hash != HSM_HASH_NONE && out->mgf_hash != HSM_HASH_NONE;
}

/* ---- Certificates (RFC 5280 section 4.1) ---- */

/* Takes a SubjectPublicKeyInfo: its algorithm and the bits of the key. */
static bool spki_take(struct der *in, struct der *algorithm, struct der *key)
{
    struct der spki;
    bool good = der_sequence(in, &spki) && der_sequence(&spki, algorithm) &&
                der_take(&spki, V_ASN1_UNIVERSAL, V_ASN1_BIT_STRING, key) && key->len > 0 && key->at[0] == 0;
    if (good) { /* the first byte counts unused bits */
        key->at++;
        key->len--;
    }
    return good;
}

/* Finds the SubjectPublicKeyInfo in a certificate. */
static bool cert_key(struct der in, struct der *algorithm, struct der *key)
{
    struct der cert, tbs, version;
    if (!der_sequence(&in, &cert) || !der_sequence(&cert, &tbs))
        return false;
    (void)der_take(&tbs, V_ASN1_CONTEXT_SPECIFIC, 0, &version); /* absent in version 1 */
    return der_skip(&tbs, V_ASN1_INTEGER)                       /* serialNumber */
           && der_skip(&tbs, V_ASN1_SEQUENCE)                   /* signature */
           && der_skip(&tbs, V_ASN1_SEQUENCE)                   /* issuer */
           && der_skip(&tbs, V_ASN1_SEQUENCE)                   /* validity */
           && der_skip(&tbs, V_ASN1_SEQUENCE)                   /* subject */
           && spki_take(&tbs, algorithm, key);
}

static hsm_status rsa_from_key_bits(hsm_public *out, struct der key, const char *where, hsm_error *err)
{
    struct der seq, n, e;
    if (!der_sequence(&key, &seq) || !der_take(&seq, V_ASN1_UNIVERSAL, V_ASN1_INTEGER, &n) ||
        !der_take(&seq, V_ASN1_UNIVERSAL, V_ASN1_INTEGER, &e))
        return error_set(err, HSM_E_UNSUPPORTED, 0, "%s: its RSA key cannot be read", where);
    return public_from_rsa(out, n.at, n.len, e.at, e.len, where, err);
}

static hsm_status rsa_pss_from_key_bits(hsm_public *out, struct der params, struct der key, const char *where,
                                        hsm_error *err)
{
    hsm_pss pss;
    if (!pss_params_read(params, &pss))
        return error_set(err, HSM_E_UNSUPPORTED, 0, "%s: its RSA-PSS parameters cannot be read", where);
    hsm_status status = rsa_from_key_bits(out, key, where, err);
    if (status == HSM_OK) {
        out->type = HSM_KEY_RSA_PSS;
        out->pss = pss;
    }
    return status;
}

static hsm_status public_from_algorithm(hsm_public *out, struct der algorithm, struct der key,
                                        const char *where, hsm_error *err)
{
    struct der parameters = algorithm, oid;
    (void)der_take(&parameters, V_ASN1_UNIVERSAL, V_ASN1_OBJECT, &oid);
    switch (der_nid(algorithm)) {
    case NID_rsaEncryption:
        return rsa_from_key_bits(out, key, where, err);
    case NID_rsassaPss:
        return rsa_pss_from_key_bits(out, parameters, key, where, err);
    case NID_X9_62_id_ecPublicKey:
        return public_from_ec(out, parameters.at, parameters.len, key.at, key.len, where, err);
    case NID_ED25519:
    case NID_ED448:
        return public_from_edwards_key(out, edwards_find(algorithm), key, where, err);
    default:
        return error_set(err, HSM_E_UNSUPPORTED, 0, "%s: its key is neither RSA nor EC nor EdDSA", where);
    }
}

hsm_status public_from_cert(hsm_public *out, const uint8_t *der, size_t len, const char *where,
                            hsm_error *err)
{
    struct der algorithm, key;
    *out = (hsm_public){0};
    if (!cert_key((struct der){der, len}, &algorithm, &key))
        return error_set(err, HSM_E_UNSUPPORTED, 0, "%s: it is no X.509 certificate", where);
    return public_from_algorithm(out, algorithm, key, where, err);
}

hsm_status public_from_spki(hsm_public *out, const uint8_t *der, size_t len, const char *where,
                            hsm_error *err)
{
    struct der in = {der, len}, algorithm, key;
    *out = (hsm_public){0};
    if (!spki_take(&in, &algorithm, &key))
        return error_set(err, HSM_E_UNSUPPORTED, 0, "%s: it is no SubjectPublicKeyInfo", where);
    return public_from_algorithm(out, algorithm, key, where, err);
}

/* ---- Life ---- */

static bool same_bytes(const uint8_t *a, size_t a_len, const uint8_t *b, size_t b_len)
{
    return a_len == b_len && (a_len == 0 || memcmp(a, b, a_len) == 0);
}

/* RSA-PSS is a use of an RSA key, not another key: a token may tell it only at times. */
static hsm_key_type key_kind(hsm_key_type type)
{
    return type == HSM_KEY_RSA_PSS ? HSM_KEY_RSA : type;
}

bool public_equal(const hsm_public *a, const hsm_public *b)
{
    return key_kind(a->type) == key_kind(b->type) && same_bytes(a->n, a->n_len, b->n, b->n_len) &&
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
