/* SPDX-License-Identifier: Apache-2.0 */
/* The provider's key object; what libcrypto does with it is in keymgmt.c. */
#include <openssl/core_object.h>
#include <openssl/crypto.h>
#include <openssl/param_build.h>
#include <openssl/params.h>
#include "key.h"
#include "rsa_padding.h"

const char *key_type_name(hsm_key_type type)
{
    static const char *const names[] = {
        [HSM_KEY_RSA] = "RSA",         [HSM_KEY_RSA_PSS] = "RSA-PSS", [HSM_KEY_EC] = "EC",
        [HSM_KEY_ED25519] = "ED25519", [HSM_KEY_ED448] = "ED448",
    };
    return names[type];
}

const char *hash_name(hsm_hash hash)
{
    static const char *const names[] = {
        [HSM_HASH_NONE] = "",      [HSM_SHA1] = "SHA1",       [HSM_SHA224] = "SHA2-224",
        [HSM_SHA256] = "SHA2-256", [HSM_SHA384] = "SHA2-384", [HSM_SHA512] = "SHA2-512",
    };
    return names[hash];
}

key *key_new_empty(const provider *prov, hsm_key_type type)
{
    key *k = OPENSSL_zalloc(sizeof(*k));

    if (k == NULL)
        return NULL;
    k->prov = prov;
    k->refs = 1;
    k->type = type;
    return k;
}

static int parts_in(const OSSL_PARAM params[])
{
    static const struct {
        const char *name;
        int part;
    } parts[] = {
        {OSSL_PKEY_PARAM_GROUP_NAME, OSSL_KEYMGMT_SELECT_DOMAIN_PARAMETERS},
        {OSSL_PKEY_PARAM_EC_P, OSSL_KEYMGMT_SELECT_DOMAIN_PARAMETERS},
        {OSSL_PKEY_PARAM_RSA_N, OSSL_KEYMGMT_SELECT_PUBLIC_KEY},
        {OSSL_PKEY_PARAM_PUB_KEY, OSSL_KEYMGMT_SELECT_PUBLIC_KEY},
        {OSSL_PKEY_PARAM_RSA_D, OSSL_KEYMGMT_SELECT_PRIVATE_KEY},
        {OSSL_PKEY_PARAM_PRIV_KEY, OSSL_KEYMGMT_SELECT_PRIVATE_KEY},
    };
    int found = OSSL_KEYMGMT_SELECT_OTHER_PARAMETERS;

    for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++)
        if (OSSL_PARAM_locate_const(params, parts[i].name) != NULL)
            found |= parts[i].part;
    return found;
}

bool key_import(key *k, int selection, const OSSL_PARAM params[])
{
    EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_name(k->prov->libctx, key_type_name(k->type), NULL);
    bool ok = k->pkey == NULL && ctx != NULL && EVP_PKEY_fromdata_init(ctx) > 0 &&
              EVP_PKEY_fromdata(ctx, &k->pkey, selection, (OSSL_PARAM *)params) > 0;

    if (ok)
        k->has = parts_in(params) & selection;
    EVP_PKEY_CTX_free(ctx);
    return ok;
}

/* The parameters of a private key live in OpenSSL's secure heap if there is one, else they are wiped here. */
static void params_wipe(OSSL_PARAM *params)
{
    for (OSSL_PARAM *p = params; p != NULL && p->key != NULL; p++)
        OPENSSL_cleanse(p->data, p->data_size);
    OSSL_PARAM_free(params);
}

key *key_copy(const key *from, int selection)
{
    key *k = key_new_empty(from->prov, from->type);
    OSSL_PARAM *params = NULL;

    if (k == NULL || from->pkey == NULL)
        return k;
    /* A key's parts cannot be taken without its group. */
    selection = (selection & OSSL_KEYMGMT_SELECT_ALL) | OSSL_KEYMGMT_SELECT_DOMAIN_PARAMETERS;
    if (EVP_PKEY_todata(from->pkey, selection, &params) != 1 || !key_import(k, selection, params)) {
        key_free(k);
        k = NULL;
    }
    params_wipe(params);
    return k;
}

static key *key_new(const provider *prov, hsm_key_type type, const OSSL_PARAM params[])
{
    key *k = key_new_empty(prov, type);

    if (k != NULL && !key_import(k, EVP_PKEY_PUBLIC_KEY, params)) {
        key_free(k);
        return NULL;
    }
    return k;
}

/* A key that is for PSS only carries what it is restricted to, else it would not fit its certificate. */
static bool pss_push(OSSL_PARAM_BLD *bld, const hsm_pss *pss)
{
    return pss->hash == HSM_HASH_NONE ||
           (OSSL_PARAM_BLD_push_utf8_string(bld, OSSL_PKEY_PARAM_RSA_DIGEST, hash_name(pss->hash), 0) &&
            OSSL_PARAM_BLD_push_utf8_string(bld, OSSL_PKEY_PARAM_RSA_MGF1_DIGEST, hash_name(pss->mgf_hash),
                                            0) &&
            OSSL_PARAM_BLD_push_int(bld, OSSL_PKEY_PARAM_RSA_PSS_SALTLEN, (int)pss->salt_min));
}

static OSSL_PARAM *rsa_params(const hsm_public *pub, BIGNUM *n, BIGNUM *e)
{
    OSSL_PARAM_BLD *bld = OSSL_PARAM_BLD_new();
    OSSL_PARAM *params = NULL;

    if (bld != NULL && BN_bin2bn(pub->n, (int)pub->n_len, n) != NULL &&
        BN_bin2bn(pub->e, (int)pub->e_len, e) != NULL &&
        OSSL_PARAM_BLD_push_BN(bld, OSSL_PKEY_PARAM_RSA_N, n) &&
        OSSL_PARAM_BLD_push_BN(bld, OSSL_PKEY_PARAM_RSA_E, e) &&
        (pub->type != HSM_KEY_RSA_PSS || pss_push(bld, &pub->pss)))
        params = OSSL_PARAM_BLD_to_param(bld);
    OSSL_PARAM_BLD_free(bld);
    return params;
}

static key *key_from_rsa(const provider *prov, const hsm_public *pub)
{
    BIGNUM *n = BN_new(), *e = BN_new();
    OSSL_PARAM *params = n != NULL && e != NULL ? rsa_params(pub, n, e) : NULL;
    key *k = params != NULL ? key_new(prov, pub->type, params) : NULL;

    OSSL_PARAM_free(params);
    BN_free(n);
    BN_free(e);
    return k;
}

/* EC and the Edwards curves, which have no group to be named. */
static key *key_from_point(const provider *prov, const hsm_public *pub)
{
    OSSL_PARAM params[3], *p = params;

    *p++ = OSSL_PARAM_construct_octet_string(OSSL_PKEY_PARAM_PUB_KEY, (void *)pub->point, pub->point_len);
    if (pub->type == HSM_KEY_EC)
        *p++ = OSSL_PARAM_construct_utf8_string(OSSL_PKEY_PARAM_GROUP_NAME, (char *)pub->group, 0);
    *p = OSSL_PARAM_construct_end();
    return key_new(prov, pub->type, params);
}

key *key_from_token(const provider *prov, hsm_key *token)
{
    const hsm_public *pub = hsm_key_public(token);
    bool rsa = pub->type == HSM_KEY_RSA || pub->type == HSM_KEY_RSA_PSS;
    key *k = rsa ? key_from_rsa(prov, pub) : key_from_point(prov, pub);

    if (k == NULL) {
        RAISE(REASON_UNSUPPORTED, "the token's public key is not a valid %s key: %s",
              key_type_name(pub->type), hsm_key_uri(token));
        return NULL;
    }
    k->token = hsm_key_ref(token);
    if (hsm_key_is_private(token))
        k->has |= OSSL_KEYMGMT_SELECT_PRIVATE_KEY;
    return k;
}

key *key_ref(key *k)
{
    __atomic_add_fetch(&k->refs, 1, __ATOMIC_RELAXED);
    return k;
}

void key_free(key *k)
{
    if (k == NULL || __atomic_sub_fetch(&k->refs, 1, __ATOMIC_ACQ_REL) > 0)
        return;
    hsm_key_free(k->token);
    EVP_PKEY_free(k->pkey);
    OPENSSL_clear_free(k->rejection, REJECTION_LEN);
    OPENSSL_free(k);
}

int key_deliver(key *k, OSSL_CALLBACK *callback, void *arg)
{
    int type = OSSL_OBJECT_PKEY;
    OSSL_PARAM params[] = {
        OSSL_PARAM_construct_int(OSSL_OBJECT_PARAM_TYPE, &type),
        OSSL_PARAM_construct_utf8_string(OSSL_OBJECT_PARAM_DATA_TYPE, (char *)key_type_name(k->type), 0),
        OSSL_PARAM_construct_octet_string(OSSL_OBJECT_PARAM_REFERENCE, &k, sizeof(k)),
        OSSL_PARAM_construct_end(),
    };
    int ok = callback(params, arg);

    key_free(k); /* key_accept has cleared it if it was taken */
    return ok;
}

key *key_accept(const void *reference, size_t size)
{
    key **slot = (key **)reference, *k;

    if (size != sizeof(k))
        return NULL;
    k = *slot;
    *slot = NULL;
    return k;
}

/*
 * For EC just the name of the group and the point. With the explicit parameters that libcrypto's own export
 * adds, 3.0 would write certificates with explicit parameters, which RFC 5480 2.1.1 forbids.
 */
static OSSL_PARAM *export_ec(const key *k)
{
    char group[64];
    unsigned char point[256];
    size_t point_len;
    OSSL_PARAM *params = NULL;

    if (EVP_PKEY_get_utf8_string_param(k->pkey, OSSL_PKEY_PARAM_GROUP_NAME, group, sizeof(group), NULL) !=
            1 ||
        EVP_PKEY_get_octet_string_param(k->pkey, OSSL_PKEY_PARAM_PUB_KEY, point, sizeof(point), &point_len) !=
            1)
        return NULL;
    OSSL_PARAM_BLD *bld = OSSL_PARAM_BLD_new();
    if (bld != NULL && OSSL_PARAM_BLD_push_utf8_string(bld, OSSL_PKEY_PARAM_GROUP_NAME, group, 0) &&
        OSSL_PARAM_BLD_push_octet_string(bld, OSSL_PKEY_PARAM_PUB_KEY, point, point_len))
        params = OSSL_PARAM_BLD_to_param(bld);
    OSSL_PARAM_BLD_free(bld);
    return params;
}

int key_export(const key *k, int selection, OSSL_CALLBACK *callback, void *arg)
{
    bool by_name = k->type == HSM_KEY_EC && (selection & OSSL_KEYMGMT_SELECT_PUBLIC_KEY) != 0;
    OSSL_PARAM *params = NULL;

    if (k->pkey == NULL)
        return 0;
    if (k->token != NULL &&
        ((selection & OSSL_KEYMGMT_SELECT_PRIVATE_KEY) != 0 || k->prov->set.forbid_export)) {
        RAISE(REASON_KEY_NOT_EXPORTABLE, "%s", hsm_key_uri(k->token));
        return 0;
    }
    if (k->token != NULL && by_name)
        params = export_ec(k);
    else if (EVP_PKEY_todata(k->pkey, selection & OSSL_KEYMGMT_SELECT_ALL, &params) != 1)
        return 0;
    int ok = params != NULL && callback(params, arg);
    params_wipe(params);
    return ok;
}
