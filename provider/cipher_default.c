/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which ciphers we offer, and the default provider's functions for them: cipher.h.
 *
 * We offer what the default provider has, no more: on a CPU without AES instructions it has no composite of
 * AES-CBC and HMAC, and libssl then uses the two by themselves, which are not ours.
 */
#include "cipher.h"

#include <pthread.h>
#include <string.h>
#include <openssl/crypto.h>
#include <openssl/params.h>
#include <openssl/provider.h>

cipher_functions cipher_theirs[CIPHERS];

/* libssl switches on the cipher's NID, which it finds by alias and OID. */
static const OSSL_ALGORITHM offered[CIPHERS] = {
    [CIPHER_AES_128_GCM] = {"AES-128-GCM:id-aes128-GCM:2.16.840.1.101.3.4.1.6", RECORDS_PROPERTIES,
                            cipher_aes128gcm, "AES-128-GCM by the record engine"},
    [CIPHER_AES_256_GCM] = {"AES-256-GCM:id-aes256-GCM:2.16.840.1.101.3.4.1.46", RECORDS_PROPERTIES,
                            cipher_aes256gcm, "AES-256-GCM by the record engine"},
    [CIPHER_CHACHA20_POLY1305] = {"ChaCha20-Poly1305", RECORDS_PROPERTIES, cipher_chacha20poly1305,
                                  "ChaCha20-Poly1305 by the record engine"},
    [CIPHER_AES_128_CCM] = {"AES-128-CCM:id-aes128-CCM:2.16.840.1.101.3.4.1.7", RECORDS_PROPERTIES,
                            cipher_aes128ccm, "AES-128-CCM by the record engine"},
    [CIPHER_AES_128_CBC_SHA1] = {"AES-128-CBC-HMAC-SHA1", RECORDS_PROPERTIES, cipher_aes128cbc_hmac_sha1,
                                 "AES-128-CBC with HMAC-SHA1 by the record engine"},
    [CIPHER_AES_256_CBC_SHA1] = {"AES-256-CBC-HMAC-SHA1", RECORDS_PROPERTIES, cipher_aes256cbc_hmac_sha1,
                                 "AES-256-CBC with HMAC-SHA1 by the record engine"},
    [CIPHER_AES_128_CBC_SHA256] = {"AES-128-CBC-HMAC-SHA256", RECORDS_PROPERTIES,
                                   cipher_aes128cbc_hmac_sha256,
                                   "AES-128-CBC with HMAC-SHA256 by the record engine"},
    [CIPHER_AES_256_CBC_SHA256] = {"AES-256-CBC-HMAC-SHA256", RECORDS_PROPERTIES,
                                   cipher_aes256cbc_hmac_sha256,
                                   "AES-256-CBC with HMAC-SHA256 by the record engine"},
};

static void functions_read(cipher_functions *f, const OSSL_DISPATCH *entry)
{
    for (; entry->function_id != 0; entry++) {
        switch (entry->function_id) {
        case OSSL_FUNC_CIPHER_NEWCTX:
            f->newctx = OSSL_FUNC_cipher_newctx(entry);
            break;
        case OSSL_FUNC_CIPHER_FREECTX:
            f->freectx = OSSL_FUNC_cipher_freectx(entry);
            break;
        case OSSL_FUNC_CIPHER_DUPCTX:
            f->dupctx = OSSL_FUNC_cipher_dupctx(entry);
            break;
        case OSSL_FUNC_CIPHER_ENCRYPT_INIT:
            f->encrypt_init = OSSL_FUNC_cipher_encrypt_init(entry);
            break;
        case OSSL_FUNC_CIPHER_DECRYPT_INIT:
            f->decrypt_init = OSSL_FUNC_cipher_decrypt_init(entry);
            break;
        case OSSL_FUNC_CIPHER_UPDATE:
            f->update = OSSL_FUNC_cipher_update(entry);
            break;
        case OSSL_FUNC_CIPHER_FINAL:
            f->final = OSSL_FUNC_cipher_final(entry);
            break;
        case OSSL_FUNC_CIPHER_CIPHER:
            f->cipher = OSSL_FUNC_cipher_cipher(entry);
            break;
        case OSSL_FUNC_CIPHER_GET_PARAMS:
            f->get_params = OSSL_FUNC_cipher_get_params(entry);
            break;
        case OSSL_FUNC_CIPHER_GETTABLE_PARAMS:
            f->gettable_params = OSSL_FUNC_cipher_gettable_params(entry);
            break;
        case OSSL_FUNC_CIPHER_GET_CTX_PARAMS:
            f->get_ctx_params = OSSL_FUNC_cipher_get_ctx_params(entry);
            break;
        case OSSL_FUNC_CIPHER_GETTABLE_CTX_PARAMS:
            f->gettable_ctx_params = OSSL_FUNC_cipher_gettable_ctx_params(entry);
            break;
        case OSSL_FUNC_CIPHER_SET_CTX_PARAMS:
            f->set_ctx_params = OSSL_FUNC_cipher_set_ctx_params(entry);
            break;
        case OSSL_FUNC_CIPHER_SETTABLE_CTX_PARAMS:
            f->settable_ctx_params = OSSL_FUNC_cipher_settable_ctx_params(entry);
            break;
        }
    }
}

static bool functions_complete(const cipher_functions *f)
{
    return f->newctx != NULL && f->freectx != NULL && f->dupctx != NULL && f->encrypt_init != NULL &&
           f->decrypt_init != NULL && f->update != NULL && f->final != NULL && f->cipher != NULL &&
           f->get_params != NULL && f->gettable_params != NULL && f->get_ctx_params != NULL &&
           f->gettable_ctx_params != NULL && f->set_ctx_params != NULL && f->settable_ctx_params != NULL;
}

/* Algorithms' names stand with colons in between; the first ones are what we compare. */
static bool names_agree(const char *ours, const char *theirs)
{
    size_t len = strcspn(ours, ":");

    return len == strcspn(theirs, ":") && OPENSSL_strncasecmp(ours, theirs, len) == 0;
}

static void theirs_find(cipher_index index, const OSSL_ALGORITHM *algorithms)
{
    for (; algorithms != NULL && algorithms->algorithm_names != NULL; algorithms++)
        if (names_agree(offered[index].algorithm_names, algorithms->algorithm_names)) {
            functions_read(&cipher_theirs[index], algorithms->implementation);
            return;
        }
}

/* The code of the default provider is one in the process, whoever loads it into whatever context. */
static pthread_mutex_t found_lock = PTHREAD_MUTEX_INITIALIZER;
static bool found;

void ciphers_setup(provider *prov)
{
    size_t n = 0;
    int no_cache;

    prov->deflt_ctx = OSSL_PROVIDER_get0_provider_ctx(prov->deflt);
    pthread_mutex_lock(&found_lock);
    if (!found) {
        const OSSL_ALGORITHM *list = OSSL_PROVIDER_query_operation(prov->deflt, OSSL_OP_CIPHER, &no_cache);
        for (cipher_index i = 0; i < CIPHERS; i++)
            theirs_find(i, list);
        if (list != NULL)
            OSSL_PROVIDER_unquery_operation(prov->deflt, OSSL_OP_CIPHER, list);
        found = true;
    }
    pthread_mutex_unlock(&found_lock);
    for (cipher_index i = 0; i < CIPHERS; i++)
        if (functions_complete(&cipher_theirs[i]))
            prov->ciphers[n++] = offered[i];
}

void *cipher_theirs_new(const provider *prov, cipher_index index)
{
    return cipher_theirs[index].newctx(prov->deflt_ctx);
}

int cipher_theirs_init(cipher_index index, void *theirs, bool sealing, const uint8_t *key, size_t key_len,
                       const uint8_t *iv, size_t iv_len, const OSSL_PARAM params[])
{
    const cipher_functions *f = &cipher_theirs[index];

    return (sealing ? f->encrypt_init : f->decrypt_init)(theirs, key, key_len, iv, iv_len, params);
}

bool cipher_theirs_set_bytes(cipher_index index, void *theirs, const char *name, const void *data, size_t len)
{
    OSSL_PARAM params[] = {OSSL_PARAM_octet_string(name, (void *)(uintptr_t)data, len), OSSL_PARAM_END};

    return cipher_theirs[index].set_ctx_params(theirs, params) == 1;
}
