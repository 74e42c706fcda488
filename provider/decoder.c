/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Decoders (provider-decoder(7)) that make a key out of a file with its URI. There are two forms of such files,
 * see pem_uri.h, and three decoders:
 *
 *   PEM-URI file        in the two steps that both PEM_read_bio_PrivateKey and OSSL_STORE's file loader understand:
 *                       PEM to DER with structure "pk11-uri", then DER to key
 *   PKCS#8 with a URI   libcrypto itself comes as far as the DER of a PrivateKeyInfo; then DER to key
 *
 * libcrypto considers every decoder of every provider for every public key that it reads, a peer's certificate in
 * each handshake included. So there are few, and they keep out of that race: those that make keys say in
 * does_selection that they have private keys only, and each of them makes keys of every type, whatever it is called
 * (the reference that they deliver names the type). The first step gives its output the name of a form that only
 * private keys have. Named "DER", as would be natural, it is taken along into every chain that begins with DER:
 * 118,000 instructions per certificate with OpenSSL 3.0.22. "pvk" (private keys of Visual Studio) is the one other
 * name whose output OSSL_STORE's file loader takes and no public key is made from; the structure "pk11-uri" keeps real
 * ones and ours apart. That is for 3.0 alone: later ones (3.5 and 3.6 for sure) take no decoder into a chain that begins
 * with PEM unless it reads PEM or DER (collect_decoder_keymgmt), so PEM_read_bio_PrivateKey would not find ours. On the
 * way from PEM to DER they also name a PKCS#8 key's type by its algorithm: so our OIDs are aliases of decoders' names,
 * with one decoder for each type, since EVP_PKCS82PKEY(3) takes key managements of the decoder's name only.
 */
#include <string.h>
#include <openssl/buffer.h>
#include <openssl/core_object.h>
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include "find.h"
#include "pem_uri.h"

/* No URI is longer; a stranger's file is not read without end. */
#define DER_MAX 65536

/* There is no state: the context is the provider's. */
static void *decoder_newctx(void *vprov)
{
    return vprov;
}

static void decoder_freectx(void *vctx)
{
    (void)vctx;
}

static int decoder_does_selection(void *vprov, int selection)
{
    (void)vprov;
    return selection == 0 || (selection & OSSL_KEYMGMT_SELECT_PRIVATE_KEY) != 0;
}

static int der_deliver(unsigned char *der, long len, OSSL_CALLBACK *callback, void *arg)
{
    int type = OSSL_OBJECT_PKEY;
    OSSL_PARAM params[] = {
        OSSL_PARAM_construct_utf8_string(OSSL_OBJECT_PARAM_DATA_STRUCTURE, (char *)PEM_URI_STRUCTURE, 0),
        OSSL_PARAM_construct_octet_string(OSSL_OBJECT_PARAM_DATA, der, (size_t)len),
        OSSL_PARAM_construct_int(OSSL_OBJECT_PARAM_TYPE, &type),
        OSSL_PARAM_construct_end(),
    };
    return callback(params, arg);
}

/*
 * The key is looked for here already, because of errors: what this step raises reaches the application, while those
 * of the second are dropped by OSSL_STORE (ossl_store_handle_load_result), which would then say "unsupported" for a
 * wrong PIN.
 */
static int uri_deliver(const provider *prov, unsigned char *der, long len, OSSL_CALLBACK *callback, void *arg,
                       OSSL_PASSPHRASE_CALLBACK *ask, void *ask_arg)
{
    char *uri = pem_uri_decode(der, (size_t)len);
    if (uri == NULL) {
        RAISE(REASON_URI, "a file of a key's PKCS#11 URI holds something else");
        return 0;
    }
    key *k = find_private_key(prov, uri, ask, ask_arg);
    int ok = k != NULL && der_deliver(der, len, callback, arg);
    key_free(k);
    pem_uri_free(uri);
    return ok;
}

/* What is not ours is no error: the next decoder may know it ("empty handed", provider-decoder(7)). */
static int decoder_decode_pem(void *vctx, OSSL_CORE_BIO *core_in, int selection, OSSL_CALLBACK *callback,
                              void *arg, OSSL_PASSPHRASE_CALLBACK *ask, void *ask_arg)
{
    const provider *prov = vctx;
    BIO *in = BIO_new_from_core_bio(prov->libctx, core_in);
    char *label = NULL, *header = NULL;
    unsigned char *der = NULL;
    long len = 0;
    int ok = 1;

    (void)selection;
    ERR_set_mark();
    bool found = in != NULL && PEM_read_bio(in, &label, &header, &der, &len) == 1;
    ERR_pop_to_mark();
    if (found && strcmp(label, PEM_URI_LABEL) == 0)
        ok = uri_deliver(prov, der, len, callback, arg, ask, ask_arg);
    OPENSSL_free(label);
    OPENSSL_free(header);
    if (der != NULL)
        OPENSSL_clear_free(der, (size_t)len);
    BIO_free(in);
    return ok;
}

/* The URI in what comes from libcrypto, behind whatever `unwrap` takes off. NULL if there is none. */
static char *uri_read(const provider *prov, OSSL_CORE_BIO *core_in,
                      unsigned char *(*unwrap)(const unsigned char *der, size_t len, size_t *out_len))
{
    BIO *in = BIO_new_from_core_bio(prov->libctx, core_in);
    unsigned char *der = OPENSSL_malloc(DER_MAX), *inner = NULL;
    int got = in != NULL && der != NULL ? BIO_read(in, der, DER_MAX) : 0;
    size_t len = got > 0 ? (size_t)got : 0, inner_len = 0;
    char *uri = NULL;

    ERR_set_mark();
    if (unwrap != NULL && len > 0)
        inner = unwrap(der, len, &inner_len);
    if (unwrap == NULL && len > 0)
        uri = pem_uri_decode(der, len);
    else if (inner != NULL)
        uri = pem_uri_decode(inner, inner_len);
    ERR_pop_to_mark();
    OPENSSL_clear_free(inner, inner_len);
    OPENSSL_clear_free(der, DER_MAX);
    BIO_free(in);
    return uri;
}

static int uri_decode(const provider *prov, char *uri, OSSL_CALLBACK *callback, void *arg,
                      OSSL_PASSPHRASE_CALLBACK *ask, void *ask_arg)
{
    if (uri == NULL)
        return 1;
    key *k = find_private_key(prov, uri, ask, ask_arg);
    pem_uri_free(uri);
    return k != NULL && key_deliver(k, callback, arg);
}

static int decoder_decode_uri(void *vctx, OSSL_CORE_BIO *in, int selection, OSSL_CALLBACK *callback,
                              void *arg, OSSL_PASSPHRASE_CALLBACK *ask, void *ask_arg)
{
    (void)selection;
    return uri_decode(vctx, uri_read(vctx, in, NULL), callback, arg, ask, ask_arg);
}

/* Most of what comes by here are other people's keys. */
static int decoder_decode_pkcs8(void *vctx, OSSL_CORE_BIO *in, int selection, OSSL_CALLBACK *callback,
                                void *arg, OSSL_PASSPHRASE_CALLBACK *ask, void *ask_arg)
{
    (void)selection;
    return uri_decode(vctx, uri_read(vctx, in, pkcs8_uri_unwrap), callback, arg, ask, ask_arg);
}

/*
 * libcrypto calls it, and later ones without looking whether there is one, where it has come by another provider's key
 * management for a key of ours: the key stays where it is.
 */
static int decoder_export_object(void *vctx, const void *reference, size_t size, OSSL_CALLBACK *callback,
                                 void *arg)
{
    (void)vctx;
    (void)reference;
    (void)size;
    (void)callback;
    (void)arg;
    RAISE(REASON_KEY_NOT_EXPORTABLE, "the file's key is in a token, and another provider was asked for");
    return 0;
}

#define DECODER_TABLE(form)                                                                                  \
    const OSSL_DISPATCH decoder_##form[] = {                                                                 \
        ROW(OSSL_FUNC_DECODER_NEWCTX, decoder_newctx),                                                       \
        ROW(OSSL_FUNC_DECODER_FREECTX, decoder_freectx),                                                     \
        ROW(OSSL_FUNC_DECODER_DOES_SELECTION, decoder_does_selection),                                       \
        ROW(OSSL_FUNC_DECODER_DECODE, decoder_decode_##form),                                                \
        ROW(OSSL_FUNC_DECODER_EXPORT_OBJECT, decoder_export_object),                                         \
        {0, NULL},                                                                                           \
    }

DECODER_TABLE(pem);
DECODER_TABLE(uri);
DECODER_TABLE(pkcs8);
