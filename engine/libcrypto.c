/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The private library context, its birth and its end at exit, and the provider's AEAD functions.
 *
 * Why not EVP: EVP_CipherInit_ex2() asks the ENGINE table, and that loads the process's openssl.cnf first
 * (ossl_engine_table_select() in 3.0), on whatever thread, under whatever lock. We may be called from a
 * provider that openssl.cnf is loading at this moment on another thread: the two would wait for each other.
 * An ENGINE for our cipher would take over besides. OSSL_PROVIDER_query_operation() leads to the same
 * routines without any of that, and without EVP's work per message. Nothing here may ask for
 * OPENSSL_INIT_LOAD_CONFIG.
 *
 * The end: OPENSSL_cleanup() runs handlers of OPENSSL_atexit() before it takes libcrypto down, so that is
 * where the context goes. Keys that a program still holds then keep it: they use its provider. It stays,
 * reachable through `library`, and such a key can still be freed later.
 *
 * Fork: the child inherits everything as memory, and no lock is held here while messages are processed.
 */
#include "libcrypto.h"

#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/params.h>
#include <openssl/provider.h>

static struct {
    pthread_once_t once;
    OSSL_LIB_CTX *context;
    OSSL_PROVIDER *provider;
    void *provider_ctx;
    const OSSL_ALGORITHM *algorithms;
    libcrypto_functions ciphers[SEALANE_CIPHERS];
    atomic_uint users; /* libcrypto_aeads alive */
    atomic_bool ended;
} library = {.once = PTHREAD_ONCE_INIT};

static void functions_read(libcrypto_functions *f, const OSSL_DISPATCH *entry)
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
        case OSSL_FUNC_CIPHER_GET_CTX_PARAMS:
            f->get_ctx_params = OSSL_FUNC_cipher_get_ctx_params(entry);
            break;
        case OSSL_FUNC_CIPHER_SET_CTX_PARAMS:
            f->set_ctx_params = OSSL_FUNC_cipher_set_ctx_params(entry);
            break;
        }
    }
}

/* A composite may do without dupctx: none is copied here. */
static bool functions_complete(const libcrypto_functions *f)
{
    return f->newctx != NULL && f->freectx != NULL && f->encrypt_init != NULL && f->decrypt_init != NULL &&
           f->update != NULL && f->final != NULL && f->cipher != NULL && f->get_ctx_params != NULL &&
           f->set_ctx_params != NULL;
}

/* An algorithm's names stand with colons in between; the first is the one of our table. */
static const OSSL_DISPATCH *table_find(const char *name)
{
    size_t len = strlen(name);

    for (const OSSL_ALGORITHM *a = library.algorithms; a != NULL && a->algorithm_names != NULL; a++)
        if (OPENSSL_strncasecmp(a->algorithm_names, name, len) == 0 &&
            (a->algorithm_names[len] == '\0' || a->algorithm_names[len] == ':'))
            return a->implementation;
    return NULL;
}

bool libcrypto_cipher_find(libcrypto_functions *f, const char *name)
{
    const OSSL_DISPATCH *table = table_find(name);

    if (table == NULL)
        return false;
    *f = (libcrypto_functions){0};
    functions_read(f, table);
    return functions_complete(f);
}

static void library_free(void)
{
    if (library.algorithms != NULL)
        OSSL_PROVIDER_unquery_operation(library.provider, OSSL_OP_CIPHER, library.algorithms);
    if (library.provider != NULL)
        OSSL_PROVIDER_unload(library.provider);
    OSSL_LIB_CTX_free(library.context);
    library.algorithms = NULL;
    library.provider = NULL;
    library.context = NULL;
}

/* A thread in user_enter() either sees `ended`, or is seen here as a user: both are seq_cst. */
static void library_end(void)
{
    atomic_store(&library.ended, true);
    if (atomic_load(&library.users) == 0)
        library_free();
}

static void library_start(void)
{
    int no_cache;

    library.context = OSSL_LIB_CTX_new();
    if (library.context == NULL)
        goto failed;
    library.provider = OSSL_PROVIDER_load(library.context, "default");
    if (library.provider == NULL)
        goto failed;
    library.provider_ctx = OSSL_PROVIDER_get0_provider_ctx(library.provider);
    library.algorithms = OSSL_PROVIDER_query_operation(library.provider, OSSL_OP_CIPHER, &no_cache);
    for (sealane_cipher_id i = 0; i < SEALANE_CIPHERS; i++)
        if (!libcrypto_cipher_find(&library.ciphers[i], sealane_cipher_get(i)->openssl_name))
            goto failed;
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

static void user_leave(void)
{
    atomic_fetch_sub(&library.users, 1);
}

static bool user_enter(void)
{
    atomic_fetch_add(&library.users, 1);
    if (!atomic_load(&library.ended))
        return true;
    user_leave();
    return false;
}

bool libcrypto_enter(void)
{
    return libcrypto_probe() == NULL && user_enter();
}

void libcrypto_leave(void)
{
    user_leave();
}

void *libcrypto_provider_ctx(void)
{
    return library.provider_ctx;
}

OSSL_LIB_CTX *libcrypto_context(void)
{
    return library.context;
}

/*
 * CCM fixes the lengths of nonce and tag when it takes the key, so they are said before
 * (CRYPTO_ccm128_init() in the provider's setkey); GCM and ChaCha20-Poly1305 begin with ours.
 */
static bool lengths_set(void *ctx, const libcrypto_functions *f, const sealane_cipher *row)
{
    size_t iv_len = SEALANE_NONCE_LEN;
    OSSL_PARAM params[] = {OSSL_PARAM_size_t(OSSL_CIPHER_PARAM_AEAD_IVLEN, &iv_len),
                           OSSL_PARAM_octet_string(OSSL_CIPHER_PARAM_AEAD_TAG, NULL, row->tag_len),
                           OSSL_PARAM_END};

    return !row->length_first || f->set_ctx_params(ctx, params) == 1;
}

static void *context_new(sealane_cipher_id cipher, bool sealing, const uint8_t *key)
{
    const libcrypto_functions *f = &library.ciphers[cipher];
    const sealane_cipher *row = sealane_cipher_get(cipher);
    void *ctx = f->newctx(library.provider_ctx);

    if (ctx == NULL)
        return NULL;
    if (lengths_set(ctx, f, row) &&
        (sealing ? f->encrypt_init : f->decrypt_init)(ctx, key, row->key_len, NULL, 0, NULL) == 1)
        return ctx;
    f->freectx(ctx);
    return NULL;
}

bool libcrypto_init(libcrypto_aead *aead, sealane_cipher_id cipher, const uint8_t *key)
{
    bool two = sealane_cipher_get(cipher)->length_first;

    *aead = (libcrypto_aead){.cipher = cipher};
    if (libcrypto_probe() != NULL || !user_enter())
        return false;
    aead->ctx = context_new(cipher, true, key);
    if (two && aead->ctx != NULL)
        aead->open_ctx = context_new(cipher, false, key);
    if (aead->ctx != NULL && (!two || aead->open_ctx != NULL))
        return true;
    if (aead->ctx == NULL)
        user_leave();
    libcrypto_clear(aead);
    return false;
}

bool libcrypto_copy(libcrypto_aead *to, const libcrypto_aead *from)
{
    *to = (libcrypto_aead){.cipher = from->cipher};
    if (from->open_ctx != NULL || library.ciphers[from->cipher].dupctx == NULL || !user_enter())
        return false;
    to->ctx = library.ciphers[from->cipher].dupctx(from->ctx);
    if (to->ctx == NULL)
        user_leave();
    return to->ctx != NULL;
}

void libcrypto_clear(libcrypto_aead *aead)
{
    if (aead->ctx == NULL)
        return;
    library.ciphers[aead->cipher].freectx(aead->ctx); /* wipes what it held */
    if (aead->open_ctx != NULL)
        library.ciphers[aead->cipher].freectx(aead->open_ctx);
    aead->ctx = aead->open_ctx = NULL;
    user_leave();
}

/* Of the message under way. */
static void *context_of(const libcrypto_aead *aead)
{
    return aead->opening && aead->open_ctx != NULL ? aead->open_ctx : aead->ctx;
}

/* The direction is said anew with each IV: where there is one context, its key is the same for both. */
bool libcrypto_start(libcrypto_aead *aead, bool sealing, const uint8_t *iv, size_t iv_len)
{
    const libcrypto_functions *f = &library.ciphers[aead->cipher];

    aead->opening = !sealing;
    return (sealing ? f->encrypt_init : f->decrypt_init)(context_of(aead), NULL, 0, iv, iv_len, NULL) == 1;
}

static bool update_run(libcrypto_aead *aead, const uint8_t *in, size_t len, uint8_t *out)
{
    size_t written;

    return library.ciphers[aead->cipher].update(context_of(aead), out, &written, len, in, len) == 1;
}

/* Without input and output it is the length of the message: EVP_EncryptInit(3), "CCM Mode". */
bool libcrypto_length(libcrypto_aead *aead, size_t len)
{
    return !sealane_cipher_get(aead->cipher)->length_first || update_run(aead, NULL, len, NULL);
}

bool libcrypto_update(libcrypto_aead *aead, const uint8_t *in, size_t len, uint8_t *out)
{
    return len == 0 || update_run(aead, in, len, out);
}

/*
 * CCM makes and compares its tag in this call, so it must come also for an empty message. It goes through the
 * provider's one-shot function: a wrong tag is a stranger's doing, and `update` would put it on the error
 * queue of our caller (ossl_ccm_stream_update()).
 */
bool libcrypto_whole(libcrypto_aead *aead, const uint8_t *in, size_t len, uint8_t *out)
{
    uint8_t nothing = 0;
    size_t written;

    if (!sealane_cipher_get(aead->cipher)->length_first)
        return libcrypto_update(aead, in, len, out);
    if (len == 0)
        in = out = &nothing;
    return library.ciphers[aead->cipher].cipher(context_of(aead), out, &written, len, in, len) == 1;
}

/* Without an output, the input is additional data: EVP_EncryptInit(3), "AEAD INTERFACE". */
bool libcrypto_aad(libcrypto_aead *aead, const uint8_t *aad, size_t len)
{
    return libcrypto_update(aead, aad, len, NULL);
}

static bool message_end(libcrypto_aead *aead)
{
    uint8_t rest[SEALANE_TAG_MAX]; /* AEADs have none, but the call wants room */
    size_t written;

    return library.ciphers[aead->cipher].final(context_of(aead), rest, &written, sizeof(rest)) == 1;
}

bool libcrypto_seal_finish(libcrypto_aead *aead, uint8_t *tag, size_t tag_len)
{
    OSSL_PARAM params[] = {OSSL_PARAM_octet_string(OSSL_CIPHER_PARAM_AEAD_TAG, tag, tag_len), OSSL_PARAM_END};

    return message_end(aead) && library.ciphers[aead->cipher].get_ctx_params(context_of(aead), params) == 1;
}

bool libcrypto_tag_expect(libcrypto_aead *aead, const uint8_t *tag, size_t tag_len)
{
    OSSL_PARAM params[] = {
        OSSL_PARAM_octet_string(OSSL_CIPHER_PARAM_AEAD_TAG, (void *)(uintptr_t)tag, tag_len), OSSL_PARAM_END};

    return library.ciphers[aead->cipher].set_ctx_params(context_of(aead), params) == 1;
}

bool libcrypto_open_finish(libcrypto_aead *aead)
{
    return message_end(aead);
}
