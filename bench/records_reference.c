/* SPDX-License-Identifier: Apache-2.0 */
#include "records_reference.h"

#include <string.h>
#include <strings.h>
#include <openssl/provider.h>

#define FETCHED_MAX 32
#define BLOCK       16

static struct {
    OSSL_LIB_CTX *context;
    OSSL_PROVIDER *provider;
    struct {
        const char *name; /* static */
        EVP_CIPHER *cipher;
    } fetched[FETCHED_MAX];
    size_t count;
} library;

OSSL_LIB_CTX *reference_context(void)
{
    if (library.context != NULL)
        return library.context;
    library.context = OSSL_LIB_CTX_new();
    library.provider = library.context == NULL ? NULL : OSSL_PROVIDER_load(library.context, "default");
    if (library.provider == NULL)
        reference_end();
    return library.context;
}

void reference_end(void)
{
    while (library.count > 0)
        EVP_CIPHER_free(library.fetched[--library.count].cipher);
    if (library.provider != NULL)
        OSSL_PROVIDER_unload(library.provider);
    OSSL_LIB_CTX_free(library.context);
    library.provider = NULL;
    library.context = NULL;
}

EVP_CIPHER *reference_cipher(const char *name)
{
    for (size_t i = 0; i < library.count; i++)
        if (strcasecmp(library.fetched[i].name, name) == 0)
            return library.fetched[i].cipher;
    if (library.count == FETCHED_MAX || reference_context() == NULL)
        return NULL;
    library.fetched[library.count].name = name;
    library.fetched[library.count].cipher = EVP_CIPHER_fetch(reference_context(), name, NULL);
    return library.fetched[library.count++].cipher;
}

static bool aead_run(const ring *r, const slot *s, uint8_t *data, bool sealing)
{
    const subject *what = r->load.subject;
    traffic_key k = traffic_key_make(what, s->key);
    EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();
    const EVP_CIPHER *cipher = reference_cipher(what->openssl_name);
    uint8_t nonce[SEALANE_NONCE_LEN], *tag = data + r->load.size;
    int len, size = (int)r->load.size, tag_len = (int)what->tag_len;
    size_t explicit_len = format_explicit_len(what, r->format);
    bool ccm = what->kind == SUBJECT_CCM, right;

    memcpy(nonce, s->nonce, sizeof(nonce));
    if (sealing)
        memcpy(data - explicit_len, nonce + sizeof(nonce) - explicit_len, explicit_len);
    else
        memcpy(nonce + sizeof(nonce) - explicit_len, data - explicit_len, explicit_len);
    right = ctx != NULL && cipher != NULL && EVP_CipherInit_ex(ctx, cipher, NULL, NULL, NULL, sealing) &&
            EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_AEAD_SET_IVLEN, SEALANE_NONCE_LEN, NULL) > 0 &&
            (!ccm || !sealing || EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_AEAD_SET_TAG, tag_len, NULL) > 0) &&
            (sealing || EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_AEAD_SET_TAG, tag_len, tag) > 0) &&
            EVP_CipherInit_ex(ctx, NULL, NULL, k.key, nonce, sealing) &&
            (!ccm || EVP_CipherUpdate(ctx, NULL, &len, NULL, size)) &&
            EVP_CipherUpdate(ctx, NULL, &len, s->aad, (int)s->aad_len) &&
            EVP_CipherUpdate(ctx, data, &len, data, size) && EVP_CipherFinal_ex(ctx, data + size, &len) &&
            (!sealing || EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_AEAD_GET_TAG, tag_len, tag) > 0);
    EVP_CIPHER_CTX_free(ctx);
    return right;
}

/* RFC 5246 6.2.3.1: over sequence number, header with the payload's length, and payload. */
static bool mac_make(const ring *r, const slot *s, const traffic_key *k, const uint8_t *data, uint8_t *mac)
{
    uint8_t message[AAD_LEN_MAX + RECORD_SIZE_MAX];
    size_t len;

    memcpy(message, s->aad, s->aad_len);
    memcpy(message + s->aad_len, data, r->load.size);
    return EVP_Q_mac(reference_context(), "HMAC", NULL, r->load.subject->digest, NULL, k->mac,
                     r->load.subject->tag_len, message, s->aad_len + r->load.size, mac, SUBJECT_MAC_MAX,
                     &len) != NULL;
}

static bool cbc_run(const ring *r, const traffic_key *k, uint8_t *data, bool sealing)
{
    EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();
    const EVP_CIPHER *cipher =
        reference_cipher(r->load.subject->key_len == 16 ? "AES-128-CBC" : "AES-256-CBC");
    int len = (int)(r->load.size + format_trailer_len(r->load.subject, r->load.size)), done;
    bool right = ctx != NULL && cipher != NULL &&
                 EVP_CipherInit_ex(ctx, cipher, NULL, k->key, data - BLOCK, sealing) &&
                 EVP_CIPHER_CTX_set_padding(ctx, 0) && EVP_CipherUpdate(ctx, data, &done, data, len) &&
                 done == len;

    EVP_CIPHER_CTX_free(ctx);
    return right;
}

static bool cbc_hmac_seal(const ring *r, const slot *s, const traffic_key *k, uint8_t *data)
{
    size_t mac_len = r->load.subject->tag_len;
    size_t pad_len = format_trailer_len(r->load.subject, r->load.size) - mac_len;
    uint8_t *mac = data + r->load.size;

    for (size_t i = 0; i < BLOCK; i++)
        (data - BLOCK)[i] = (uint8_t)(k->iv[i] ^ s->aad[i % 8]);
    if (!mac_make(r, s, k, data, mac))
        return false;
    memset(mac + mac_len, (int)(pad_len - 1), pad_len);
    return cbc_run(r, k, data, true);
}

static bool cbc_hmac_open(const ring *r, const slot *s, const traffic_key *k, uint8_t *data)
{
    size_t mac_len = r->load.subject->tag_len;
    size_t pad_len = format_trailer_len(r->load.subject, r->load.size) - mac_len;
    uint8_t right[SUBJECT_MAC_MAX], *mac = data + r->load.size;

    if (!cbc_run(r, k, data, false) || !mac_make(r, s, k, data, right))
        return false;
    for (size_t i = 0; i < pad_len; i++)
        if (mac[mac_len + i] != pad_len - 1)
            return false;
    return memcmp(mac, right, mac_len) == 0;
}

bool reference_seal(const ring *r, const slot *s, uint8_t *data)
{
    traffic_key k = traffic_key_make(r->load.subject, s->key);

    return r->load.subject->kind == SUBJECT_CBC_HMAC ? cbc_hmac_seal(r, s, &k, data)
                                                     : aead_run(r, s, data, true);
}

bool reference_open(const ring *r, const slot *s, uint8_t *data)
{
    traffic_key k = traffic_key_make(r->load.subject, s->key);

    return r->load.subject->kind == SUBJECT_CBC_HMAC ? cbc_hmac_open(r, s, &k, data)
                                                     : aead_run(r, s, data, false);
}
