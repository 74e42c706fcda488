/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Key management (provider-keymgmt(7)) for RSA and EC keys of tokens: loading by reference, what a key has,
 * comparing with an imported public key, exporting the public part. Software keys have no business here;
 * private parts are neither imported nor exported.
 */
#include <openssl/crypto.h>
#include <openssl/params.h>
#include "key.h"

static void *keymgmt_new_rsa(void *vprov)
{
    return key_new_empty(vprov, HSM_KEY_RSA);
}

static void *keymgmt_new_ec(void *vprov)
{
    return key_new_empty(vprov, HSM_KEY_EC);
}

static void keymgmt_free(void *vkey)
{
    key_free(vkey);
}

static void *keymgmt_load(const void *reference, size_t size)
{
    return key_accept(reference, size);
}

/* Keys never change once they are loaded, so a copy is one more reference. */
static void *keymgmt_dup(const void *vkey, int selection)
{
    (void)selection;
    return key_ref((key *)vkey);
}

static int keymgmt_has(const void *vkey, int selection)
{
    const key *k = vkey;

    if ((selection & OSSL_KEYMGMT_SELECT_PRIVATE_KEY) != 0 &&
        (k->token == NULL || !hsm_key_is_private(k->token)))
        return 0;
    return (selection & OSSL_KEYMGMT_SELECT_ALL) == 0 || k->public != NULL;
}

/*
 * One of the two was imported from a certificate. That a private key of ours belongs to it is told by the
 * public parts, so a selection with the private part is answered by them too.
 */
static int keymgmt_match(const void *vkey1, const void *vkey2, int selection)
{
    const key *a = vkey1, *b = vkey2;

    if (a->public == NULL || b->public == NULL)
        return 0;
    if ((selection & OSSL_KEYMGMT_SELECT_KEYPAIR) != 0)
        return EVP_PKEY_eq(a->public, b->public) == 1;
    return EVP_PKEY_parameters_eq(a->public, b->public) == 1;
}

static int keymgmt_import(void *vkey, int selection, const OSSL_PARAM params[])
{
    key *k = vkey;

    if ((selection & OSSL_KEYMGMT_SELECT_PRIVATE_KEY) != 0 || k->public != NULL)
        return 0;
    return key_set_public(k, selection, params);
}

static int keymgmt_export(void *vkey, int selection, OSSL_CALLBACK *callback, void *arg)
{
    const key *k = vkey;

    return k->public != NULL && key_export(k, selection, callback, arg);
}

static const OSSL_PARAM *keymgmt_types_rsa(int selection)
{
    static const OSSL_PARAM types[] = {
        OSSL_PARAM_BN(OSSL_PKEY_PARAM_RSA_N, NULL, 0),
        OSSL_PARAM_BN(OSSL_PKEY_PARAM_RSA_E, NULL, 0),
        OSSL_PARAM_END,
    };
    return (selection & OSSL_KEYMGMT_SELECT_PUBLIC_KEY) != 0 ? types : NULL;
}

static const OSSL_PARAM *keymgmt_types_ec(int selection)
{
    static const OSSL_PARAM types[] = {
        OSSL_PARAM_utf8_string(OSSL_PKEY_PARAM_GROUP_NAME, NULL, 0),
        OSSL_PARAM_octet_string(OSSL_PKEY_PARAM_PUB_KEY, NULL, 0),
        OSSL_PARAM_END,
    };
    return (selection & (OSSL_KEYMGMT_SELECT_PUBLIC_KEY | OSSL_KEYMGMT_SELECT_ALL_PARAMETERS)) != 0 ? types
                                                                                                    : NULL;
}

static int keymgmt_get_params(void *vkey, OSSL_PARAM params[])
{
    const key *k = vkey;

    return k->public != NULL && EVP_PKEY_get_params(k->public, params);
}

static const OSSL_PARAM *keymgmt_gettable_params(void *vprov)
{
    static const OSSL_PARAM gettable[] = {
        OSSL_PARAM_int(OSSL_PKEY_PARAM_BITS, NULL),
        OSSL_PARAM_int(OSSL_PKEY_PARAM_SECURITY_BITS, NULL),
        OSSL_PARAM_int(OSSL_PKEY_PARAM_MAX_SIZE, NULL),
        OSSL_PARAM_utf8_string(OSSL_PKEY_PARAM_DEFAULT_DIGEST, NULL, 0),
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

static const char *keymgmt_query_operation_name_rsa(int operation)
{
    return operation == OSSL_OP_SIGNATURE ? "SEALANE-RSA" : NULL;
}

static const char *keymgmt_query_operation_name_ec(int operation)
{
    return operation == OSSL_OP_SIGNATURE ? "SEALANE-ECDSA" : NULL;
}

#define KEYMGMT_TABLE(type)                                                                                  \
    const OSSL_DISPATCH keymgmt_##type[] = {                                                                 \
        ROW(OSSL_FUNC_KEYMGMT_NEW, keymgmt_new_##type),                                                      \
        ROW(OSSL_FUNC_KEYMGMT_FREE, keymgmt_free),                                                           \
        ROW(OSSL_FUNC_KEYMGMT_LOAD, keymgmt_load),                                                           \
        ROW(OSSL_FUNC_KEYMGMT_DUP, keymgmt_dup),                                                             \
        ROW(OSSL_FUNC_KEYMGMT_HAS, keymgmt_has),                                                             \
        ROW(OSSL_FUNC_KEYMGMT_MATCH, keymgmt_match),                                                         \
        ROW(OSSL_FUNC_KEYMGMT_IMPORT, keymgmt_import),                                                       \
        ROW(OSSL_FUNC_KEYMGMT_IMPORT_TYPES, keymgmt_types_##type),                                           \
        ROW(OSSL_FUNC_KEYMGMT_EXPORT, keymgmt_export),                                                       \
        ROW(OSSL_FUNC_KEYMGMT_EXPORT_TYPES, keymgmt_types_##type),                                           \
        ROW(OSSL_FUNC_KEYMGMT_GET_PARAMS, keymgmt_get_params),                                               \
        ROW(OSSL_FUNC_KEYMGMT_GETTABLE_PARAMS, keymgmt_gettable_params),                                     \
        ROW(OSSL_FUNC_KEYMGMT_QUERY_OPERATION_NAME, keymgmt_query_operation_name_##type),                    \
        {0, NULL},                                                                                           \
    }

KEYMGMT_TABLE(rsa);
KEYMGMT_TABLE(ec);
