/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The private library context: its birth, its end at exit, and the few EVP calls that the openssl backend and
 * the streams share.
 *
 * Birth must not load the process's openssl.cnf: we may be called from a provider that openssl.cnf is loading
 * at this moment. OSSL_LIB_CTX_new() and an explicit provider keep clear of it; nothing here may ask for
 * OPENSSL_INIT_LOAD_CONFIG.
 *
 * The end: OPENSSL_cleanup() runs handlers of OPENSSL_atexit() before it takes libcrypto down, so that is
 * where the context goes. Contexts of keys that a program still holds then keep it: they use its provider. It
 * stays, reachable through `library`, and such a key can still be freed later.
 *
 * Fork: the child inherits everything as memory, and no lock is held here while messages are processed.
 */
#include "libcrypto.h"

#include <limits.h>
#include <pthread.h>
#include <stdatomic.h>
#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/params.h>
#include <openssl/provider.h>

static struct {
    pthread_once_t once;
    OSSL_LIB_CTX *context;
    OSSL_PROVIDER *provider;
    EVP_CIPHER *ciphers[SEALANE_CIPHERS];
    atomic_uint users; /* EVP_CIPHER_CTXs alive */
    atomic_bool ended;
} library = {.once = PTHREAD_ONCE_INIT};

static void library_free(void)
{
    for (size_t i = 0; i < SEALANE_CIPHERS; i++) {
        EVP_CIPHER_free(library.ciphers[i]);
        library.ciphers[i] = NULL;
    }
    if (library.provider != NULL)
        OSSL_PROVIDER_unload(library.provider);
    OSSL_LIB_CTX_free(library.context);
    library.provider = NULL;
    library.context = NULL;
}

/* A thread in libcrypto_ctx_new() either sees `ended`, or is seen here as a user: both are seq_cst. */
static void library_end(void)
{
    atomic_store(&library.ended, true);
    if (atomic_load(&library.users) == 0)
        library_free();
}

static void library_start(void)
{
    library.context = OSSL_LIB_CTX_new();
    if (library.context == NULL)
        goto failed;
    library.provider = OSSL_PROVIDER_load(library.context, "default");
    if (library.provider == NULL)
        goto failed;
    for (int i = 0; i < SEALANE_CIPHERS; i++) {
        library.ciphers[i] = EVP_CIPHER_fetch(library.context, sealane_cipher_get(i)->name, NULL);
        if (library.ciphers[i] == NULL)
            goto failed;
    }
    if (OPENSSL_atexit(library_end) == 1)
        return;
failed:
    library_free();
}

const char *libcrypto_probe(void)
{
    if (pthread_once(&library.once, library_start) != 0 || library.context == NULL)
        return "libcrypto's default provider cannot be loaded";
    return NULL;
}

EVP_CIPHER_CTX *libcrypto_ctx_new(sealane_cipher_id cipher, const uint8_t *key)
{
    EVP_CIPHER_CTX *ctx = NULL;

    if (libcrypto_probe() != NULL)
        return NULL;
    atomic_fetch_add(&library.users, 1);
    if (!atomic_load(&library.ended))
        ctx = EVP_CIPHER_CTX_new();
    if (ctx != NULL && EVP_CipherInit_ex2(ctx, library.ciphers[cipher], key, NULL, 1, NULL) == 1)
        return ctx;
    EVP_CIPHER_CTX_free(ctx);
    atomic_fetch_sub(&library.users, 1);
    return NULL;
}

EVP_CIPHER_CTX *libcrypto_ctx_dup(const EVP_CIPHER_CTX *ctx)
{
    EVP_CIPHER_CTX *copy = EVP_CIPHER_CTX_new();

    atomic_fetch_add(&library.users, 1);
    if (copy != NULL && EVP_CIPHER_CTX_copy(copy, ctx) == 1)
        return copy;
    EVP_CIPHER_CTX_free(copy);
    atomic_fetch_sub(&library.users, 1);
    return NULL;
}

void libcrypto_ctx_free(EVP_CIPHER_CTX *ctx)
{
    if (ctx == NULL)
        return;
    EVP_CIPHER_CTX_free(ctx);
    atomic_fetch_sub(&library.users, 1);
}

bool libcrypto_update(EVP_CIPHER_CTX *ctx, uint8_t *out, const uint8_t *in, size_t len)
{
    int written;

    while (len > 0) {
        size_t piece = len < INT_MAX ? len : INT_MAX;
        if (EVP_CipherUpdate(ctx, out, &written, in, (int)piece) != 1)
            return false;
        in += piece;
        out = out == NULL ? NULL : out + piece;
        len -= piece;
    }
    return true;
}

bool libcrypto_finish(EVP_CIPHER_CTX *ctx)
{
    uint8_t rest[EVP_MAX_BLOCK_LENGTH]; /* AEADs have none, but the call wants room */
    int written;

    return EVP_CipherFinal_ex(ctx, rest, &written) == 1;
}

bool libcrypto_tag_get(EVP_CIPHER_CTX *ctx, uint8_t *tag, size_t tag_len)
{
    OSSL_PARAM params[2];

    params[0] = OSSL_PARAM_construct_octet_string(OSSL_CIPHER_PARAM_AEAD_TAG, tag, tag_len);
    params[1] = OSSL_PARAM_construct_end();
    return EVP_CIPHER_CTX_get_params(ctx, params) == 1;
}

bool libcrypto_tag_check(EVP_CIPHER_CTX *ctx, const uint8_t *tag, size_t tag_len)
{
    OSSL_PARAM params[2];

    params[0] =
        OSSL_PARAM_construct_octet_string(OSSL_CIPHER_PARAM_AEAD_TAG, (void *)(uintptr_t)tag, tag_len);
    params[1] = OSSL_PARAM_construct_end();
    return EVP_CIPHER_CTX_set_params(ctx, params) == 1 && libcrypto_finish(ctx);
}
