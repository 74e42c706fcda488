/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An OpenSSL provider for tests: EC keys that sign on a thread of their own, as slowly as the test likes.
 *
 * "slow:FILE" opens a PEM key through OSSL_STORE. Inside an ASYNC job a signature is made by a thread while
 * the job is paused, and the job is woken through its callback: the shape of a token behind a network. With
 * SLOW_KEY_GATE naming a FIFO each such signature first takes one byte out of it: 'y' signs, 'n' fails.
 * Outside of jobs it signs at once. The mathematics are the default provider's, in a library context of our
 * own.
 */
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <openssl/async.h>
#include <openssl/core_dispatch.h>
#include <openssl/core_names.h>
#include <openssl/core_object.h>
#include <openssl/evp.h>
#include <openssl/params.h>
#include <openssl/pem.h>
#include <openssl/provider.h>

#define FUNCTION(id, name)                                                                                   \
    {                                                                                                        \
        id, (void (*)(void))(name)                                                                           \
    }

static OSSL_LIB_CTX *inner;
static int gate = -1;

struct key {
    EVP_PKEY *pkey; /* the default provider's */
    atomic_int references;
};

static void key_release(void *reference)
{
    struct key *key = reference;

    if (key == NULL || atomic_fetch_sub(&key->references, 1) > 1)
        return;
    EVP_PKEY_free(key->pkey);
    free(key);
}

/* ---- Keys ---- */

static void *key_new(void *provider)
{
    struct key *key = calloc(1, sizeof *key);

    (void)provider;
    if (key != NULL)
        atomic_init(&key->references, 1);
    return key;
}

static void *key_load(const void *reference, size_t size)
{
    struct key *key;

    if (size != sizeof key)
        return NULL;
    memcpy(&key, reference, sizeof key);
    atomic_fetch_add(&key->references, 1);
    return key;
}

static int key_has(const void *data, int selection)
{
    const struct key *key = data;
    (void)selection;
    return key->pkey != NULL;
}

/* libcrypto compares with a public key of another provider by importing it here first. */
static int key_import(void *data, int selection, const OSSL_PARAM params[])
{
    struct key *key = data;
    EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_name(inner, "EC", NULL);
    OSSL_PARAM *copy = OSSL_PARAM_dup(params);
    int good = ctx != NULL && copy != NULL && EVP_PKEY_fromdata_init(ctx) == 1 &&
               EVP_PKEY_fromdata(ctx, &key->pkey, selection & EVP_PKEY_PUBLIC_KEY, copy) == 1;

    OSSL_PARAM_free(copy);
    EVP_PKEY_CTX_free(ctx);
    return good;
}

static int key_export(void *data, int selection, OSSL_CALLBACK *callback, void *arg)
{
    const struct key *key = data;
    OSSL_PARAM *params = NULL;
    int good = !(selection & OSSL_KEYMGMT_SELECT_PRIVATE_KEY) &&
               EVP_PKEY_todata(key->pkey, EVP_PKEY_PUBLIC_KEY, &params) == 1 && callback(params, arg);

    OSSL_PARAM_free(params);
    return good;
}

static const OSSL_PARAM *key_types(int selection)
{
    static const OSSL_PARAM types[] = {OSSL_PARAM_utf8_string(OSSL_PKEY_PARAM_GROUP_NAME, NULL, 0),
                                       OSSL_PARAM_octet_string(OSSL_PKEY_PARAM_PUB_KEY, NULL, 0),
                                       OSSL_PARAM_END};
    return selection & OSSL_KEYMGMT_SELECT_PRIVATE_KEY ? NULL : types;
}

static int key_match(const void *a, const void *b, int selection)
{
    (void)selection;
    return EVP_PKEY_eq(((const struct key *)a)->pkey, ((const struct key *)b)->pkey) == 1;
}

static int key_get(void *data, OSSL_PARAM params[])
{
    const struct key *key = data;
    return EVP_PKEY_get_params(key->pkey, params);
}

static const OSSL_PARAM *key_gettable(void *provider)
{
    static const OSSL_PARAM list[] = {
        OSSL_PARAM_int(OSSL_PKEY_PARAM_BITS, NULL), OSSL_PARAM_int(OSSL_PKEY_PARAM_SECURITY_BITS, NULL),
        OSSL_PARAM_int(OSSL_PKEY_PARAM_MAX_SIZE, NULL),
        OSSL_PARAM_utf8_string(OSSL_PKEY_PARAM_GROUP_NAME, NULL, 0), OSSL_PARAM_END};
    (void)provider;
    return list;
}

static const char *key_operation(int operation)
{
    return operation == OSSL_OP_SIGNATURE ? "ECDSA" : NULL;
}

static const OSSL_DISPATCH key_functions[] = {
    FUNCTION(OSSL_FUNC_KEYMGMT_NEW, key_new),
    FUNCTION(OSSL_FUNC_KEYMGMT_LOAD, key_load),
    FUNCTION(OSSL_FUNC_KEYMGMT_FREE, key_release),
    FUNCTION(OSSL_FUNC_KEYMGMT_HAS, key_has),
    FUNCTION(OSSL_FUNC_KEYMGMT_IMPORT, key_import),
    FUNCTION(OSSL_FUNC_KEYMGMT_IMPORT_TYPES, key_types),
    FUNCTION(OSSL_FUNC_KEYMGMT_EXPORT, key_export),
    FUNCTION(OSSL_FUNC_KEYMGMT_EXPORT_TYPES, key_types),
    FUNCTION(OSSL_FUNC_KEYMGMT_MATCH, key_match),
    FUNCTION(OSSL_FUNC_KEYMGMT_GET_PARAMS, key_get),
    FUNCTION(OSSL_FUNC_KEYMGMT_GETTABLE_PARAMS, key_gettable),
    FUNCTION(OSSL_FUNC_KEYMGMT_QUERY_OPERATION_NAME, key_operation),
    {0, NULL},
};

/* ---- Signatures ---- */

struct signing {
    struct key *key;
    char digest[32];
};

static void *sign_new(void *provider, const char *properties)
{
    (void)provider;
    (void)properties;
    return calloc(1, sizeof(struct signing));
}

static void sign_free(void *data)
{
    struct signing *s = data;

    key_release(s->key);
    free(s);
}

static int sign_init(void *data, const char *digest, void *key, const OSSL_PARAM params[])
{
    struct signing *s = data;

    (void)params;
    if (digest == NULL || strlen(digest) >= sizeof s->digest)
        return 0;
    strcpy(s->digest, digest);
    key_release(s->key);
    s->key = key;
    atomic_fetch_add(&s->key->references, 1);
    return 1;
}

static bool sign_now(const struct signing *s, unsigned char *sig, size_t *len, const unsigned char *text,
                     size_t text_len)
{
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    bool good = ctx != NULL &&
                EVP_DigestSignInit_ex(ctx, NULL, s->digest, inner, NULL, s->key->pkey, NULL) == 1 &&
                EVP_DigestSign(ctx, sig, len, text, text_len) == 1;

    EVP_MD_CTX_free(ctx);
    return good;
}

/* Lives on the job's stack: the job does not go on before the thread has ended. */
struct request {
    const struct signing *signing;
    unsigned char *sig;
    size_t *len;
    const unsigned char *text;
    size_t text_len;
    bool good;
    atomic_bool done;
    ASYNC_callback_fn wake;
    void *wake_arg;
};

static void *sign_slowly(void *arg)
{
    struct request *r = arg;
    char permission = 'y';

    pthread_setname_np(pthread_self(), "slow key"); /* tests count them */
    if (gate >= 0 && read(gate, &permission, 1) != 1)
        permission = 'n';
    r->good = permission == 'y' && sign_now(r->signing, r->sig, r->len, r->text, r->text_len);
    atomic_store(&r->done, true);
    r->wake(r->wake_arg);
    return NULL;
}

static int sign(void *data, unsigned char *sig, size_t *len, size_t size, const unsigned char *text,
                size_t text_len)
{
    struct request r = {.signing = data, .sig = sig, .len = len, .text = text, .text_len = text_len};
    ASYNC_JOB *job = ASYNC_get_current_job();
    pthread_t thread;

    *len = size;
    if (sig == NULL || job == NULL)
        return sign_now(data, sig, len, text, text_len);
    if (ASYNC_WAIT_CTX_get_callback(ASYNC_get_wait_ctx(job), &r.wake, &r.wake_arg) != 1 || r.wake == NULL ||
        pthread_create(&thread, NULL, sign_slowly, &r) != 0)
        return 0;
    while (!atomic_load(&r.done))
        ASYNC_pause_job();
    pthread_join(thread, NULL);
    return r.good;
}

static const OSSL_DISPATCH signature_functions[] = {
    FUNCTION(OSSL_FUNC_SIGNATURE_NEWCTX, sign_new),
    FUNCTION(OSSL_FUNC_SIGNATURE_FREECTX, sign_free),
    FUNCTION(OSSL_FUNC_SIGNATURE_DIGEST_SIGN_INIT, sign_init),
    FUNCTION(OSSL_FUNC_SIGNATURE_DIGEST_SIGN, sign),
    {0, NULL},
};

/* ---- The store ---- */

struct store {
    struct key *key; /* NULL once it was given away, or if there is none */
};

static void *store_open(void *provider, const char *uri)
{
    struct store *s = calloc(1, sizeof *s);
    BIO *bio = strncmp(uri, "slow:", 5) == 0 ? BIO_new_file(uri + 5, "r") : NULL;

    (void)provider;
    if (s != NULL && bio != NULL) {
        s->key = key_new(NULL);
        s->key->pkey = PEM_read_bio_PrivateKey_ex(bio, NULL, NULL, NULL, inner, NULL);
    }
    BIO_free(bio);
    if (s == NULL || s->key == NULL || s->key->pkey == NULL) {
        key_release(s != NULL ? s->key : NULL);
        free(s);
        return NULL;
    }
    return s;
}

static int store_load(void *data, OSSL_CALLBACK *callback, void *arg, OSSL_PASSPHRASE_CALLBACK *ask,
                      void *ask_arg)
{
    struct store *s = data;
    int type = OSSL_OBJECT_PKEY;
    struct key *key = s->key;
    OSSL_PARAM object[] = {
        OSSL_PARAM_construct_int(OSSL_OBJECT_PARAM_TYPE, &type),
        OSSL_PARAM_construct_utf8_string(OSSL_OBJECT_PARAM_DATA_TYPE, (char[]){"EC"}, 0),
        OSSL_PARAM_construct_octet_string(OSSL_OBJECT_PARAM_REFERENCE, &key, sizeof key),
        OSSL_PARAM_construct_end(),
    };

    (void)ask;
    (void)ask_arg;
    s->key = NULL;
    int good = callback(object, arg);
    key_release(key);
    return good;
}

static int store_eof(void *data)
{
    return ((struct store *)data)->key == NULL;
}

static int store_close(void *data)
{
    struct store *s = data;

    key_release(s->key);
    free(s);
    return 1;
}

static int store_set(void *data, const OSSL_PARAM params[])
{
    (void)data;
    (void)params;
    return 1;
}

static const OSSL_DISPATCH store_functions[] = {
    FUNCTION(OSSL_FUNC_STORE_OPEN, store_open),
    FUNCTION(OSSL_FUNC_STORE_LOAD, store_load),
    FUNCTION(OSSL_FUNC_STORE_EOF, store_eof),
    FUNCTION(OSSL_FUNC_STORE_CLOSE, store_close),
    FUNCTION(OSSL_FUNC_STORE_SET_CTX_PARAMS, store_set),
    {0, NULL},
};

/* ---- The provider ---- */

static const OSSL_ALGORITHM keymgmts[] = {{"EC:id-ecPublicKey", "provider=slow", key_functions, NULL}, {0}};
static const OSSL_ALGORITHM signatures[] = {{"ECDSA", "provider=slow", signature_functions, NULL}, {0}};
static const OSSL_ALGORITHM stores[] = {{"slow", "provider=slow", store_functions, NULL}, {0}};

static const OSSL_ALGORITHM *query(void *provider, int operation, int *no_cache)
{
    (void)provider;
    *no_cache = 0;
    switch (operation) {
    case OSSL_OP_KEYMGMT:
        return keymgmts;
    case OSSL_OP_SIGNATURE:
        return signatures;
    case OSSL_OP_STORE:
        return stores;
    default:
        return NULL;
    }
}

static void teardown(void *provider)
{
    (void)provider;
    OSSL_LIB_CTX_free(inner);
    if (gate >= 0)
        close(gate);
}

static const OSSL_DISPATCH provider_functions[] = {
    FUNCTION(OSSL_FUNC_PROVIDER_QUERY_OPERATION, query),
    FUNCTION(OSSL_FUNC_PROVIDER_TEARDOWN, teardown),
    {0, NULL},
};

__attribute__((visibility("default"))) OSSL_provider_init_fn OSSL_provider_init;

int OSSL_provider_init(const OSSL_CORE_HANDLE *handle, const OSSL_DISPATCH *in, const OSSL_DISPATCH **out,
                       void **provider)
{
    const char *path = getenv("SLOW_KEY_GATE");

    (void)in;
    inner = OSSL_LIB_CTX_new();
    /* Read and write: a FIFO that nobody else has open must not end. */
    gate = path != NULL ? open(path, O_RDWR | O_CLOEXEC) : -1;
    *out = provider_functions;
    *provider = (void *)(uintptr_t)handle;
    return inner != NULL && (path == NULL || gate >= 0);
}
