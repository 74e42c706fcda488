/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Encoders (provider-encoder(7)): what "writing a private key" means for one that stays in the token. As PEM,
 * a file with its URI; as text, its URI and its public part.
 */
#include <openssl/bio.h>
#include <openssl/evp.h>
#include "key.h"
#include "pem_uri.h"

static void *encoder_newctx(void *vprov)
{
    return vprov;
}

static void encoder_freectx(void *vctx)
{
    (void)vctx;
}

/* Public parts are exported to libcrypto's own encoders. */
static int encoder_does_selection(void *vprov, int selection)
{
    (void)vprov;
    return (selection & OSSL_KEYMGMT_SELECT_PRIVATE_KEY) != 0;
}

static bool key_is_in_token(const key *k)
{
    if (k != NULL && k->token != NULL)
        return true;
    RAISE(REASON_ARGUMENT, "not a key of a token");
    return false;
}

static int encoder_encode_pem(void *vctx, OSSL_CORE_BIO *core_out, const void *vkey,
                              const OSSL_PARAM abstract[], int selection, OSSL_PASSPHRASE_CALLBACK *ask,
                              void *ask_arg)
{
    const provider *prov = vctx;
    const key *k = vkey;

    (void)abstract;
    (void)selection;
    (void)ask;
    (void)ask_arg;
    if (!key_is_in_token(k))
        return 0;
    if (!prov->set.encode_uri) {
        RAISE(REASON_KEY_NOT_EXPORTABLE, "pkcs11-module-encode-provider-uri-to-pem is off: %s",
              hsm_key_uri(k->token));
        return 0;
    }
    BIO *out = BIO_new_from_core_bio(prov->libctx, core_out);
    int ok = out != NULL && pem_uri_write(out, hsm_key_uri(k->token));
    BIO_free(out);
    return ok;
}

static int encoder_encode_text(void *vctx, OSSL_CORE_BIO *core_out, const void *vkey,
                               const OSSL_PARAM abstract[], int selection, OSSL_PASSPHRASE_CALLBACK *ask,
                               void *ask_arg)
{
    const provider *prov = vctx;
    const key *k = vkey;

    (void)abstract;
    (void)selection;
    (void)ask;
    (void)ask_arg;
    if (!key_is_in_token(k))
        return 0;
    BIO *out = BIO_new_from_core_bio(prov->libctx, core_out);
    int ok = out != NULL &&
             BIO_printf(out, "%s private key in a PKCS#11 token (%d bit)\nURI: %s\n", key_type_name(k->type),
                        EVP_PKEY_get_bits(k->public), hsm_key_uri(k->token)) > 0 &&
             EVP_PKEY_print_public(out, k->public, 0, NULL) == 1;
    BIO_free(out);
    return ok;
}

#define ENCODER_TABLE(type, form)                                                                            \
    const OSSL_DISPATCH encoder_##type##_##form[] = {                                                        \
        ROW(OSSL_FUNC_ENCODER_NEWCTX, encoder_newctx),                                                       \
        ROW(OSSL_FUNC_ENCODER_FREECTX, encoder_freectx),                                                     \
        ROW(OSSL_FUNC_ENCODER_DOES_SELECTION, encoder_does_selection),                                       \
        ROW(OSSL_FUNC_ENCODER_ENCODE, encoder_encode_##form),                                                \
        {0, NULL},                                                                                           \
    }

ENCODER_TABLE(rsa, pem);
ENCODER_TABLE(ec, pem);
ENCODER_TABLE(rsa, text);
ENCODER_TABLE(ec, text);
