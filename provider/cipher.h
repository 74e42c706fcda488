/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the record ciphers share: the list of them, and the default provider's implementation of each.
 *
 * A cipher of ours does the records of libssl, whole, by the engine. Whatever else a caller does with it
 * (streams, other lengths of IVs and tags, parameters that libssl never asks for) goes to the default
 * provider's own context, call by call: so results, errors and oddities are those of whatever libcrypto is
 * there. A context begins as libssl's; the first call that libssl would not make turns it into the default
 * provider's for good. cipher_aead.c does that for the AEADs, cipher_cbc.c for AES-CBC with HMAC.
 */
#ifndef PROVIDER_CIPHER_H
#define PROVIDER_CIPHER_H

#include <stdbool.h>
#include <openssl/core_dispatch.h>
#include <sealane/suite.h>
#include "provider.h"

/* One row of the default provider's table of a cipher: provider-cipher(7). */
typedef struct cipher_functions {
    OSSL_FUNC_cipher_newctx_fn *newctx;
    OSSL_FUNC_cipher_freectx_fn *freectx;
    OSSL_FUNC_cipher_dupctx_fn *dupctx;
    OSSL_FUNC_cipher_encrypt_init_fn *encrypt_init;
    OSSL_FUNC_cipher_decrypt_init_fn *decrypt_init;
    OSSL_FUNC_cipher_update_fn *update;
    OSSL_FUNC_cipher_final_fn *final;
    OSSL_FUNC_cipher_cipher_fn *cipher;
    OSSL_FUNC_cipher_get_params_fn *get_params;
    OSSL_FUNC_cipher_gettable_params_fn *gettable_params;
    OSSL_FUNC_cipher_get_ctx_params_fn *get_ctx_params;
    OSSL_FUNC_cipher_gettable_ctx_params_fn *gettable_ctx_params;
    OSSL_FUNC_cipher_set_ctx_params_fn *set_ctx_params;
    OSSL_FUNC_cipher_settable_ctx_params_fn *settable_ctx_params;
} cipher_functions;

/* The default provider's functions. Complete for every cipher that is offered. */
extern cipher_functions cipher_theirs[CIPHERS];

/* A new context of the default provider, or NULL. */
void *cipher_theirs_new(const provider *prov, cipher_index index);

/* einit or dinit. */
int cipher_theirs_init(cipher_index index, void *theirs, bool sealing, const uint8_t *key, size_t key_len,
                       const uint8_t *iv, size_t iv_len, const OSSL_PARAM params[]);
/* Sets one parameter of bytes; `data` NULL announces a length only. */
bool cipher_theirs_set_bytes(cipher_index index, void *theirs, const char *name, const void *data,
                             size_t len);

/* Most names differ in their first letters, so this is done before strcmp() would be called. */
static inline bool cipher_param_is(const OSSL_PARAM *p, const char *name)
{
    const char *key = p->key;

    while (*key == *name && *name != '\0')
        key++, name++;
    return *key == *name;
}

/*
 * A dispatch table. What needs no context is the default provider's word, and so are the lists of parameters:
 * they depend on its version. `family` names the functions that need a context, `index` is a cipher_index.
 */
#define CIPHER_TABLE(table, index, family)                                                                   \
    static void *table##_newctx(void *vprov)                                                                 \
    {                                                                                                        \
        return family##_newctx(vprov, index);                                                                \
    }                                                                                                        \
    static int table##_get_params(OSSL_PARAM params[])                                                       \
    {                                                                                                        \
        return cipher_theirs[index].get_params(params);                                                      \
    }                                                                                                        \
    static const OSSL_PARAM *table##_gettable_params(void *vprov)                                            \
    {                                                                                                        \
        return cipher_theirs[index].gettable_params(((provider *)vprov)->deflt_ctx);                         \
    }                                                                                                        \
    static const OSSL_PARAM *table##_gettable_ctx_params(void *vctx, void *vprov)                            \
    {                                                                                                        \
        (void)vctx;                                                                                          \
        return cipher_theirs[index].gettable_ctx_params(NULL, ((provider *)vprov)->deflt_ctx);               \
    }                                                                                                        \
    static const OSSL_PARAM *table##_settable_ctx_params(void *vctx, void *vprov)                            \
    {                                                                                                        \
        (void)vctx;                                                                                          \
        return cipher_theirs[index].settable_ctx_params(NULL, ((provider *)vprov)->deflt_ctx);               \
    }                                                                                                        \
    const OSSL_DISPATCH table[] = {                                                                          \
        ROW(OSSL_FUNC_CIPHER_NEWCTX, table##_newctx),                                                        \
        ROW(OSSL_FUNC_CIPHER_FREECTX, family##_freectx),                                                     \
        ROW(OSSL_FUNC_CIPHER_DUPCTX, family##_dupctx),                                                       \
        ROW(OSSL_FUNC_CIPHER_ENCRYPT_INIT, family##_encrypt_init),                                           \
        ROW(OSSL_FUNC_CIPHER_DECRYPT_INIT, family##_decrypt_init),                                           \
        ROW(OSSL_FUNC_CIPHER_UPDATE, family##_update),                                                       \
        ROW(OSSL_FUNC_CIPHER_FINAL, family##_final),                                                         \
        ROW(OSSL_FUNC_CIPHER_CIPHER, family##_cipher),                                                       \
        ROW(OSSL_FUNC_CIPHER_GET_PARAMS, table##_get_params),                                                \
        ROW(OSSL_FUNC_CIPHER_GETTABLE_PARAMS, table##_gettable_params),                                      \
        ROW(OSSL_FUNC_CIPHER_GET_CTX_PARAMS, family##_get_ctx_params),                                       \
        ROW(OSSL_FUNC_CIPHER_GETTABLE_CTX_PARAMS, table##_gettable_ctx_params),                              \
        ROW(OSSL_FUNC_CIPHER_SET_CTX_PARAMS, family##_set_ctx_params),                                       \
        ROW(OSSL_FUNC_CIPHER_SETTABLE_CTX_PARAMS, table##_settable_ctx_params),                              \
        {0, NULL},                                                                                           \
    }

#endif
