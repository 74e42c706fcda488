/* SPDX-License-Identifier: Apache-2.0 */
/*
 * OSSL_STORE for "pkcs11:" URIs (provider-storemgmt(7)). Private keys are handed out by reference and stay in
 * the token; public keys and certificates are handed out by value, so that they become libcrypto's own
 * objects.
 */
#include <string.h>
#include <openssl/core_object.h>
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/params.h>
#include <openssl/store.h>
#include <openssl/x509.h>
#include "find.h"
#include "store_search.h"

typedef struct store {
    const provider *prov;
    char *uri;
    bool typed; /* the URI has a type= */
    hsm_class expected;
    store_criteria criteria;
    bool searched;
    hsm_object *list;
    size_t count, next;
} store;

static void *store_open(void *vprov, const char *uri)
{
    hsm_uri parsed;
    hsm_error err;

    /* A wrong URI is told at once; the token is asked at the first load, when we know what is expected. */
    if (hsm_uri_parse(&parsed, uri, &err) != HSM_OK) {
        RAISE_HSM(&err);
        return NULL;
    }
    bool typed = parsed.type != HSM_CLASS_ANY;
    hsm_uri_clear(&parsed);
    store *ctx = OPENSSL_zalloc(sizeof(*ctx));
    if (ctx == NULL || (ctx->uri = OPENSSL_strdup(uri)) == NULL) {
        OPENSSL_free(ctx);
        return NULL;
    }
    ctx->prov = vprov;
    ctx->typed = typed;
    return ctx;
}

static const OSSL_PARAM *store_settable_ctx_params(void *vprov)
{
    static const OSSL_PARAM settable[] = {
        OSSL_PARAM_int(OSSL_STORE_PARAM_EXPECT, NULL),
        STORE_CRITERIA_PARAMS,
        OSSL_PARAM_END,
    };
    (void)vprov;
    return settable;
}

static int store_set_ctx_params(void *vctx, const OSSL_PARAM params[])
{
    store *ctx = vctx;
    const OSSL_PARAM *p = OSSL_PARAM_locate_const(params, OSSL_STORE_PARAM_EXPECT);
    int type;

    if (!store_criteria_set(&ctx->criteria, params))
        return 0;
    if (p == NULL)
        return 1;
    if (!OSSL_PARAM_get_int(p, &type))
        return 0;
    switch (type) {
    case OSSL_STORE_INFO_PKEY:
        ctx->expected = HSM_CLASS_PRIVATE;
        break;
    case OSSL_STORE_INFO_PUBKEY:
        ctx->expected = HSM_CLASS_PUBLIC;
        break;
    case OSSL_STORE_INFO_CERT:
        ctx->expected = HSM_CLASS_CERT;
        break;
    default:
        ctx->expected = HSM_CLASS_ANY;
    }
    return 1;
}

static int data_deliver(int type, const char *structure, const uint8_t *der, size_t len,
                        OSSL_CALLBACK *callback, void *arg)
{
    OSSL_PARAM params[] = {
        OSSL_PARAM_construct_int(OSSL_OBJECT_PARAM_TYPE, &type),
        OSSL_PARAM_construct_utf8_string(OSSL_OBJECT_PARAM_DATA_STRUCTURE, (char *)structure, 0),
        OSSL_PARAM_construct_octet_string(OSSL_OBJECT_PARAM_DATA, (void *)der, len),
        OSSL_PARAM_construct_end(),
    };
    return callback(params, arg);
}

static int public_key_deliver(const store *ctx, const hsm_object *object, OSSL_CALLBACK *callback, void *arg)
{
    key *k = key_from_token(ctx->prov, object->key);
    unsigned char *der = NULL;
    int len = k != NULL ? i2d_PUBKEY(k->pkey, &der) : 0;
    int ok =
        len > 0 && data_deliver(OSSL_OBJECT_PKEY, "SubjectPublicKeyInfo", der, (size_t)len, callback, arg);

    OPENSSL_free(der);
    key_free(k);
    return ok;
}

static int object_deliver(const store *ctx, const hsm_object *object, OSSL_CALLBACK *callback, void *arg)
{
    if (object->type == HSM_CLASS_CERT)
        return data_deliver(OSSL_OBJECT_CERT, "Certificate", object->cert, object->cert_len, callback, arg);
    if (object->type == HSM_CLASS_PUBLIC)
        return public_key_deliver(ctx, object, callback, arg);
    key *k = key_from_token(ctx->prov, object->key);
    return k != NULL && key_deliver(k, callback, arg);
}

/*
 * The objects that the URI names. Not every token has an object for the public key beside the private one; where a
 * public key is wanted and there is none, the private one's public part is it.
 */
static bool store_search(store *ctx, OSSL_PASSPHRASE_CALLBACK *ask, void *ask_arg)
{
    hsm_class class = ctx->expected;

    if (store_criteria_want_certs(&ctx->criteria))
        class = HSM_CLASS_CERT;
    ERR_set_mark();
    bool found = find_objects(ctx->prov, ctx->uri, class, ask, ask_arg, &ctx->list, &ctx->count);
    if (!found && class == HSM_CLASS_PUBLIC && !ctx->typed &&
        find_objects(ctx->prov, ctx->uri, HSM_CLASS_PRIVATE, ask, ask_arg, &ctx->list, &ctx->count)) {
        for (size_t i = 0; i < ctx->count; i++)
            ctx->list[i].type = HSM_CLASS_PUBLIC;
        ERR_pop_to_mark();
        return true;
    }
    ERR_clear_last_mark();
    return found;
}

static int store_load(void *vctx, OSSL_CALLBACK *callback, void *arg, OSSL_PASSPHRASE_CALLBACK *ask,
                      void *ask_arg)
{
    store *ctx = vctx;

    if (!ctx->searched) {
        ctx->searched = true;
        if (!store_search(ctx, ask, ask_arg))
            return 0;
        ctx->count = store_criteria_apply(&ctx->criteria, ctx->prov, ctx->list, ctx->count);
    }
    return ctx->next < ctx->count && object_deliver(ctx, &ctx->list[ctx->next++], callback, arg);
}

static int store_eof(void *vctx)
{
    const store *ctx = vctx;

    return ctx->searched && ctx->next >= ctx->count;
}

static int store_close(void *vctx)
{
    store *ctx = vctx;

    hsm_objects_free(ctx->list, ctx->count);
    store_criteria_clear(&ctx->criteria);
    OPENSSL_clear_free(ctx->uri, strlen(ctx->uri)); /* it may hold a PIN */
    OPENSSL_free(ctx);
    return 1;
}

const OSSL_DISPATCH store_pkcs11[] = {
    ROW(OSSL_FUNC_STORE_OPEN, store_open),
    ROW(OSSL_FUNC_STORE_SETTABLE_CTX_PARAMS, store_settable_ctx_params),
    ROW(OSSL_FUNC_STORE_SET_CTX_PARAMS, store_set_ctx_params),
    ROW(OSSL_FUNC_STORE_LOAD, store_load),
    ROW(OSSL_FUNC_STORE_EOF, store_eof),
    ROW(OSSL_FUNC_STORE_CLOSE, store_close),
    {0, NULL},
};
