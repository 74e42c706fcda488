/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Key management (provider-keymgmt(7)) for RSA, EC and EdDSA keys: of tokens, and of libcrypto's as far as they come
 * our way (key.h). A token's private part is never exported; a software key is passed on as it came, so
 * that libcrypto moves it to the default provider for whatever is to be done with it.
 */
#include <openssl/crypto.h>
#include <openssl/params.h>
#include "key.h"
#include "keymgmt_gen.h"

static void *keymgmt_new_rsa(void *vprov)
{
    return key_new_empty(vprov, HSM_KEY_RSA);
}

static void *keymgmt_new_rsa_pss(void *vprov)
{
    return key_new_empty(vprov, HSM_KEY_RSA_PSS);
}

static void *keymgmt_new_ec(void *vprov)
{
    return key_new_empty(vprov, HSM_KEY_EC);
}

static void *keymgmt_new_ed25519(void *vprov)
{
    return key_new_empty(vprov, HSM_KEY_ED25519);
}

static void *keymgmt_new_ed448(void *vprov)
{
    return key_new_empty(vprov, HSM_KEY_ED448);
}

static void keymgmt_free(void *vkey)
{
    key_free(vkey);
}

static void *keymgmt_load(const void *reference, size_t size)
{
    return key_accept(reference, size);
}

static void *keymgmt_dup(const void *vkey, int selection)
{
    const key *k = vkey;

    /* Less than all of a token's key (its group, to hold a peer's point) is a key of libcrypto's. */
    if (k->token != NULL && (selection & OSSL_KEYMGMT_SELECT_PRIVATE_KEY) != 0)
        return key_ref((key *)vkey);
    return key_copy(k, selection);
}

static int keymgmt_has(const void *vkey, int selection)
{
    const key *k = vkey;
    const int parts = OSSL_KEYMGMT_SELECT_KEYPAIR | OSSL_KEYMGMT_SELECT_DOMAIN_PARAMETERS;

    if (k == NULL) /* libcrypto asks of keys that it has only named the type of */
        return 0;

    /* Only EC keys have domain parameters; of the others none are missing. */
    if (k->type != HSM_KEY_EC)
        selection &= ~OSSL_KEYMGMT_SELECT_DOMAIN_PARAMETERS;
    return (selection & parts & ~k->has) == 0;
}

/*
 * One of the two was imported from a certificate. That a private key of ours belongs to it is told by the
 * public parts, so a selection with the private part is answered by them too.
 */
static int keymgmt_match(const void *vkey1, const void *vkey2, int selection)
{
    const key *a = vkey1, *b = vkey2;

    if (a == NULL || b == NULL || a->pkey == NULL || b->pkey == NULL)
        return 0;
    if ((selection & OSSL_KEYMGMT_SELECT_KEYPAIR) != 0)
        return EVP_PKEY_eq(a->pkey, b->pkey) == 1;
    return EVP_PKEY_parameters_eq(a->pkey, b->pkey) == 1;
}

/* Of a token's key there is only the public part to be looked at; that the private one fits it is the token's word. */
static int keymgmt_validate(const void *vkey, int selection, int quick)
{
    const key *k = vkey;
    EVP_PKEY_CTX *ctx = k->pkey != NULL ? EVP_PKEY_CTX_new_from_pkey(k->prov->libctx, k->pkey, NULL) : NULL;
    bool private = k->token == NULL && (selection & OSSL_KEYMGMT_SELECT_PRIVATE_KEY) != 0;
    int ok = 0;

    if (ctx != NULL && private)
        ok = EVP_PKEY_check(ctx) > 0;
    else if (ctx != NULL && (selection & OSSL_KEYMGMT_SELECT_KEYPAIR) != 0)
        ok = (quick == OSSL_KEYMGMT_VALIDATE_QUICK_CHECK ? EVP_PKEY_public_check_quick(ctx)
                                                         : EVP_PKEY_public_check(ctx)) > 0;
    else if (ctx != NULL)
        ok = k->type != HSM_KEY_EC || EVP_PKEY_param_check(ctx) > 0;
    EVP_PKEY_CTX_free(ctx);
    return ok;
}

static int keymgmt_import(void *vkey, int selection, const OSSL_PARAM params[])
{
    return key_import(vkey, selection & OSSL_KEYMGMT_SELECT_ALL, params);
}

static int keymgmt_export(void *vkey, int selection, OSSL_CALLBACK *callback, void *arg)
{
    return key_export(vkey, selection, callback, arg);
}

/* What libcrypto may offer to import: all that its own key management exports. */
static const OSSL_PARAM *keymgmt_types_rsa(int selection)
{
    static const OSSL_PARAM types[] = {
        OSSL_PARAM_BN(OSSL_PKEY_PARAM_RSA_N, NULL, 0),
        OSSL_PARAM_BN(OSSL_PKEY_PARAM_RSA_E, NULL, 0),
        OSSL_PARAM_BN(OSSL_PKEY_PARAM_RSA_D, NULL, 0),
        OSSL_PARAM_END,
    };
    return (selection & OSSL_KEYMGMT_SELECT_KEYPAIR) != 0 ? types : NULL;
}

static const OSSL_PARAM *keymgmt_types_rsa_pss(int selection)
{
    static const OSSL_PARAM types[] = {
        OSSL_PARAM_BN(OSSL_PKEY_PARAM_RSA_N, NULL, 0),
        OSSL_PARAM_BN(OSSL_PKEY_PARAM_RSA_E, NULL, 0),
        OSSL_PARAM_BN(OSSL_PKEY_PARAM_RSA_D, NULL, 0),
        OSSL_PARAM_utf8_string(OSSL_PKEY_PARAM_RSA_DIGEST, NULL, 0),
        OSSL_PARAM_utf8_string(OSSL_PKEY_PARAM_RSA_MGF1_DIGEST, NULL, 0),
        OSSL_PARAM_int(OSSL_PKEY_PARAM_RSA_PSS_SALTLEN, NULL),
        OSSL_PARAM_END,
    };
    return (selection & OSSL_KEYMGMT_SELECT_ALL) != 0 ? types : NULL;
}

static const OSSL_PARAM *keymgmt_types_edwards(int selection)
{
    static const OSSL_PARAM types[] = {
        OSSL_PARAM_octet_string(OSSL_PKEY_PARAM_PUB_KEY, NULL, 0),
        OSSL_PARAM_octet_string(OSSL_PKEY_PARAM_PRIV_KEY, NULL, 0),
        OSSL_PARAM_END,
    };
    return (selection & OSSL_KEYMGMT_SELECT_KEYPAIR) != 0 ? types : NULL;
}
#define keymgmt_types_ed25519 keymgmt_types_edwards
#define keymgmt_types_ed448   keymgmt_types_edwards

static const OSSL_PARAM *keymgmt_types_ec(int selection)
{
    static const OSSL_PARAM types[] = {
        OSSL_PARAM_utf8_string(OSSL_PKEY_PARAM_GROUP_NAME, NULL, 0),
        OSSL_PARAM_octet_string(OSSL_PKEY_PARAM_PUB_KEY, NULL, 0),
        OSSL_PARAM_BN(OSSL_PKEY_PARAM_PRIV_KEY, NULL, 0),
        OSSL_PARAM_END,
    };
    return (selection & OSSL_KEYMGMT_SELECT_ALL) != 0 ? types : NULL;
}

static int keymgmt_get_params(void *vkey, OSSL_PARAM params[])
{
    const key *k = vkey;

    return k->pkey != NULL && EVP_PKEY_get_params(k->pkey, params);
}

static const OSSL_PARAM *keymgmt_gettable_params(void *vprov)
{
    static const OSSL_PARAM gettable[] = {
        OSSL_PARAM_int(OSSL_PKEY_PARAM_BITS, NULL),
        OSSL_PARAM_int(OSSL_PKEY_PARAM_SECURITY_BITS, NULL),
        OSSL_PARAM_int(OSSL_PKEY_PARAM_MAX_SIZE, NULL),
        OSSL_PARAM_utf8_string(OSSL_PKEY_PARAM_DEFAULT_DIGEST, NULL, 0),
        OSSL_PARAM_utf8_string(OSSL_PKEY_PARAM_MANDATORY_DIGEST, NULL, 0),
        OSSL_PARAM_BN(OSSL_PKEY_PARAM_RSA_N, NULL, 0),
        OSSL_PARAM_BN(OSSL_PKEY_PARAM_RSA_E, NULL, 0),
        OSSL_PARAM_utf8_string(OSSL_PKEY_PARAM_GROUP_NAME, NULL, 0),
        OSSL_PARAM_octet_string(OSSL_PKEY_PARAM_PUB_KEY, NULL, 0),
        OSSL_PARAM_octet_string(OSSL_PKEY_PARAM_ENCODED_PUBLIC_KEY, NULL, 0),
        OSSL_PARAM_END,
    };
    (void)vprov;
    return gettable;
}

/* A software key may be changed (EVP_PKEY_set1_encoded_public_key gives a TLS peer's point), a token's never.
 */
static int keymgmt_set_params(void *vkey, const OSSL_PARAM params[])
{
    key *k = vkey;

    if (k->token != NULL || k->pkey == NULL || EVP_PKEY_set_params(k->pkey, (OSSL_PARAM *)params) != 1)
        return 0;
    if (OSSL_PARAM_locate_const(params, OSSL_PKEY_PARAM_ENCODED_PUBLIC_KEY) != NULL)
        k->has |= OSSL_KEYMGMT_SELECT_PUBLIC_KEY;
    return 1;
}

static const OSSL_PARAM *keymgmt_settable_params(void *vprov)
{
    static const OSSL_PARAM settable[] = {
        OSSL_PARAM_octet_string(OSSL_PKEY_PARAM_ENCODED_PUBLIC_KEY, NULL, 0),
        OSSL_PARAM_utf8_string(OSSL_PKEY_PARAM_EC_POINT_CONVERSION_FORMAT, NULL, 0),
        OSSL_PARAM_utf8_string(OSSL_PKEY_PARAM_EC_ENCODING, NULL, 0),
        OSSL_PARAM_END,
    };
    (void)vprov;
    return settable;
}

/* Generating is keymgmt_gen.c's. */
#define GEN_INIT(type, key_type)                                                                             \
    static void *keymgmt_gen_init_##type(void *vprov, int selection, const OSSL_PARAM params[])              \
    {                                                                                                        \
        return generation_new(vprov, key_type, selection, params);                                           \
    }
GEN_INIT(rsa, HSM_KEY_RSA)
GEN_INIT(rsa_pss, HSM_KEY_RSA_PSS)
GEN_INIT(ec, HSM_KEY_EC)
GEN_INIT(ed25519, HSM_KEY_ED25519)
GEN_INIT(ed448, HSM_KEY_ED448)

/* For what we do not offer, the names under which the default provider does. */
static const char *keymgmt_query_operation_name_rsa(int operation)
{
    return operation == OSSL_OP_SIGNATURE || operation == OSSL_OP_ASYM_CIPHER ? "SEALANE-RSA" : "RSA";
}

static const char *keymgmt_query_operation_name_rsa_pss(int operation)
{
    return operation == OSSL_OP_SIGNATURE ? "SEALANE-RSA" : "RSA-PSS";
}

static const char *keymgmt_query_operation_name_ec(int operation)
{
    switch (operation) {
    case OSSL_OP_SIGNATURE:
        return "SEALANE-ECDSA";
    case OSSL_OP_KEYEXCH:
        return "SEALANE-ECDH";
    }
    return "EC";
}

static const char *keymgmt_query_operation_name_ed25519(int operation)
{
    return operation == OSSL_OP_SIGNATURE ? "SEALANE-EDDSA" : "ED25519";
}

static const char *keymgmt_query_operation_name_ed448(int operation)
{
    return operation == OSSL_OP_SIGNATURE ? "SEALANE-EDDSA" : "ED448";
}

#define KEYMGMT_TABLE(type)                                                                                  \
    const OSSL_DISPATCH keymgmt_##type[] = {                                                                 \
        ROW(OSSL_FUNC_KEYMGMT_NEW, keymgmt_new_##type),                                                      \
        ROW(OSSL_FUNC_KEYMGMT_FREE, keymgmt_free),                                                           \
        ROW(OSSL_FUNC_KEYMGMT_LOAD, keymgmt_load),                                                           \
        ROW(OSSL_FUNC_KEYMGMT_DUP, keymgmt_dup),                                                             \
        ROW(OSSL_FUNC_KEYMGMT_HAS, keymgmt_has),                                                             \
        ROW(OSSL_FUNC_KEYMGMT_VALIDATE, keymgmt_validate),                                                   \
        ROW(OSSL_FUNC_KEYMGMT_MATCH, keymgmt_match),                                                         \
        ROW(OSSL_FUNC_KEYMGMT_IMPORT, keymgmt_import),                                                       \
        ROW(OSSL_FUNC_KEYMGMT_IMPORT_TYPES, keymgmt_types_##type),                                           \
        ROW(OSSL_FUNC_KEYMGMT_EXPORT, keymgmt_export),                                                       \
        ROW(OSSL_FUNC_KEYMGMT_EXPORT_TYPES, keymgmt_types_##type),                                           \
        ROW(OSSL_FUNC_KEYMGMT_GET_PARAMS, keymgmt_get_params),                                               \
        ROW(OSSL_FUNC_KEYMGMT_GETTABLE_PARAMS, keymgmt_gettable_params),                                     \
        ROW(OSSL_FUNC_KEYMGMT_SET_PARAMS, keymgmt_set_params),                                               \
        ROW(OSSL_FUNC_KEYMGMT_SETTABLE_PARAMS, keymgmt_settable_params),                                     \
        ROW(OSSL_FUNC_KEYMGMT_GEN_INIT, keymgmt_gen_init_##type),                                            \
        ROW(OSSL_FUNC_KEYMGMT_GEN_SET_TEMPLATE, generation_set_template),                                    \
        ROW(OSSL_FUNC_KEYMGMT_GEN_SET_PARAMS, generation_set_params),                                        \
        ROW(OSSL_FUNC_KEYMGMT_GEN_SETTABLE_PARAMS, generation_settable_params),                              \
        ROW(OSSL_FUNC_KEYMGMT_GEN, generation_run),                                                          \
        ROW(OSSL_FUNC_KEYMGMT_GEN_CLEANUP, generation_cleanup),                                              \
        ROW(OSSL_FUNC_KEYMGMT_QUERY_OPERATION_NAME, keymgmt_query_operation_name_##type),                    \
        {0, NULL},                                                                                           \
    }

KEYMGMT_TABLE(rsa);
KEYMGMT_TABLE(rsa_pss);
KEYMGMT_TABLE(ed25519);
KEYMGMT_TABLE(ed448);
KEYMGMT_TABLE(ec);
