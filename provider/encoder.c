/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Encoders (provider-encoder(7)): what "writing a private key" means for one that stays in the token. As PEM,
 * a file with its URI; as DER, a PKCS#8 that wraps the URI; as text, its URI and its public part. A software key (key.h) is written as the default
 * provider writes it, encrypted if that was asked for.
 */
#include <string.h>
#include <openssl/bio.h>
#include <openssl/crypto.h>
#include <openssl/encoder.h>
#include <openssl/params.h>
#include "key.h"
#include "pem_uri.h"

typedef struct encoder {
    const provider *prov;
    char cipher[64]; /* "": none. Concerns software keys only: there is nothing secret in a URI */
} encoder;

static void *encoder_newctx(void *vprov)
{
    encoder *ctx = OPENSSL_zalloc(sizeof(*ctx));

    if (ctx != NULL)
        ctx->prov = vprov;
    return ctx;
}

static void encoder_freectx(void *vctx)
{
    OPENSSL_free(vctx);
}

/* Public parts are exported to libcrypto's own encoders. */
static int encoder_does_selection(void *vprov, int selection)
{
    (void)vprov;
    return (selection & OSSL_KEYMGMT_SELECT_PRIVATE_KEY) != 0;
}

static const OSSL_PARAM *encoder_settable_ctx_params(void *vprov)
{
    static const OSSL_PARAM settable[] = {
        OSSL_PARAM_utf8_string(OSSL_ENCODER_PARAM_CIPHER, NULL, 0),
        OSSL_PARAM_END,
    };
    (void)vprov;
    return settable;
}

static int encoder_set_ctx_params(void *vctx, const OSSL_PARAM params[])
{
    encoder *ctx = vctx;
    const OSSL_PARAM *p = OSSL_PARAM_locate_const(params, OSSL_ENCODER_PARAM_CIPHER);
    char *name = ctx->cipher;

    return p == NULL || OSSL_PARAM_get_utf8_string(p, &name, sizeof(ctx->cipher));
}

static bool software_key_write(const encoder *ctx, BIO *out, const key *k, int selection, const char *form,
                               OSSL_PASSPHRASE_CALLBACK *ask, void *ask_arg)
{
    const char *structure = strcmp(form, "TEXT") != 0 ? "PrivateKeyInfo" : NULL;
    OSSL_ENCODER_CTX *inner = OSSL_ENCODER_CTX_new_for_pkey(k->pkey, selection, form, structure, NULL);
    bool ok = inner != NULL &&
              (ctx->cipher[0] == '\0' || (OSSL_ENCODER_CTX_set_cipher(inner, ctx->cipher, NULL) == 1 &&
                                          OSSL_ENCODER_CTX_set_passphrase_cb(inner, ask, ask_arg) == 1)) &&
              OSSL_ENCODER_to_bio(inner, out) == 1;

    OSSL_ENCODER_CTX_free(inner);
    return ok;
}

static bool uri_may_be_written(const encoder *ctx, const key *k)
{
    if (ctx->prov->set.encode_uri)
        return true;
    RAISE(REASON_KEY_NOT_EXPORTABLE, "pkcs11-module-encode-provider-uri-to-pem is off: %s",
          hsm_key_uri(k->token));
    return false;
}

static bool token_key_write_pem(const encoder *ctx, BIO *out, const key *k)
{
    return uri_may_be_written(ctx, k) && pem_uri_write(out, hsm_key_uri(k->token));
}

/* What `openssl pkcs8 -topk8 -nocrypt` asks for: that makes a file with the label PRIVATE KEY of it. */
static bool token_key_write_der(const encoder *ctx, BIO *out, const key *k)
{
    return uri_may_be_written(ctx, k) && pkcs8_uri_write(out, k->type, hsm_key_uri(k->token));
}

static bool token_key_write_text(const encoder *ctx, BIO *out, const key *k)
{
    (void)ctx;
    return BIO_printf(out, "%s private key in a PKCS#11 token (%d bit)\nURI: %s\n", key_type_name(k->type),
                      EVP_PKEY_get_bits(k->pkey), hsm_key_uri(k->token)) > 0 &&
           EVP_PKEY_print_public(out, k->pkey, 0, NULL) == 1;
}

static int key_write(const encoder *ctx, OSSL_CORE_BIO *core_out, const key *k, int selection,
                     const char *form, bool (*token_key_write)(const encoder *, BIO *, const key *),
                     OSSL_PASSPHRASE_CALLBACK *ask, void *ask_arg)
{
    BIO *out = BIO_new_from_core_bio(ctx->prov->libctx, core_out);
    bool ok = false;

    if (out != NULL && k != NULL && k->pkey != NULL)
        ok = k->token != NULL ? token_key_write(ctx, out, k)
                              : software_key_write(ctx, out, k, selection, form, ask, ask_arg);
    BIO_free(out);
    return ok;
}

static int encoder_encode_pem(void *vctx, OSSL_CORE_BIO *core_out, const void *vkey,
                              const OSSL_PARAM abstract[], int selection, OSSL_PASSPHRASE_CALLBACK *ask,
                              void *ask_arg)
{
    (void)abstract;
    return key_write(vctx, core_out, vkey, selection, "PEM", token_key_write_pem, ask, ask_arg);
}

static int encoder_encode_der(void *vctx, OSSL_CORE_BIO *core_out, const void *vkey,
                              const OSSL_PARAM abstract[], int selection, OSSL_PASSPHRASE_CALLBACK *ask,
                              void *ask_arg)
{
    (void)abstract;
    return key_write(vctx, core_out, vkey, selection, "DER", token_key_write_der, ask, ask_arg);
}

static int encoder_encode_text(void *vctx, OSSL_CORE_BIO *core_out, const void *vkey,
                               const OSSL_PARAM abstract[], int selection, OSSL_PASSPHRASE_CALLBACK *ask,
                               void *ask_arg)
{
    (void)abstract;
    return key_write(vctx, core_out, vkey, selection, "TEXT", token_key_write_text, ask, ask_arg);
}

#define ENCODER_TABLE(type, form)                                                                            \
    const OSSL_DISPATCH encoder_##type##_##form[] = {                                                        \
        ROW(OSSL_FUNC_ENCODER_NEWCTX, encoder_newctx),                                                       \
        ROW(OSSL_FUNC_ENCODER_FREECTX, encoder_freectx),                                                     \
        ROW(OSSL_FUNC_ENCODER_SETTABLE_CTX_PARAMS, encoder_settable_ctx_params),                             \
        ROW(OSSL_FUNC_ENCODER_SET_CTX_PARAMS, encoder_set_ctx_params),                                       \
        ROW(OSSL_FUNC_ENCODER_DOES_SELECTION, encoder_does_selection),                                       \
        ROW(OSSL_FUNC_ENCODER_ENCODE, encoder_encode_##form),                                                \
        {0, NULL},                                                                                           \
    }

#define ENCODER_TABLES(type)                                                                                 \
    ENCODER_TABLE(type, pem);                                                                                \
    ENCODER_TABLE(type, der);                                                                                \
    ENCODER_TABLE(type, text)

ENCODER_TABLES(rsa);
ENCODER_TABLES(rsa_pss);
ENCODER_TABLES(ec);
ENCODER_TABLES(ed25519);
ENCODER_TABLES(ed448);
