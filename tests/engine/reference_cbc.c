/* SPDX-License-Identifier: Apache-2.0 */
#include "reference_cbc.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <openssl/params.h>

#define BLOCK     16
#define INNER_MAX (16384 + 48 + 256)

size_t reference_cbc_spoil_padding, reference_cbc_spoil_mac;
int reference_cbc_last_byte = -1;

static void must(bool holds, const char *what)
{
    if (holds)
        return;
    fprintf(stderr, "reference: %s failed\n", what);
    abort();
}

static void cipher_run(const sealane_cipher *cipher, bool encrypt, const uint8_t *key, const uint8_t iv[16],
                       const uint8_t *in, size_t len, uint8_t *out)
{
    static EVP_CIPHER *ciphers[2];
    EVP_CIPHER **evp = &ciphers[cipher->key_len == 32];
    EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();
    int written;

    if (*evp == NULL)
        *evp = EVP_CIPHER_fetch(NULL, cipher->key_len == 32 ? "AES-256-CBC" : "AES-128-CBC", NULL);
    must(EVP_CipherInit_ex2(ctx, *evp, key, iv, encrypt, NULL) == 1, "EVP_CipherInit_ex2");
    must(EVP_CIPHER_CTX_set_padding(ctx, 0) == 1, "EVP_CIPHER_CTX_set_padding");
    must(EVP_CipherUpdate(ctx, out, &written, in, (int)len) == 1 && (size_t)written == len,
         "EVP_CipherUpdate");
    EVP_CIPHER_CTX_free(ctx);
}

void reference_cbc_encrypt(const sealane_cipher *cipher, const uint8_t *key, const uint8_t iv[16],
                           const uint8_t *in, size_t len, uint8_t *out)
{
    cipher_run(cipher, true, key, iv, in, len, out);
}

void reference_cbc_mac(const sealane_cipher *cipher, const uint8_t *mac_key, const uint8_t header[13],
                       const uint8_t *body, size_t len, uint8_t *out)
{
    static EVP_MAC *mac;
    EVP_MAC_CTX *ctx;
    char digest[] = "SHA2-384";
    OSSL_PARAM params[] = {OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, digest, 0),
                           OSSL_PARAM_construct_end()};
    uint8_t last[2] = {(uint8_t)(len >> 8), (uint8_t)len};
    size_t written;

    if (cipher->tag_len != 48)
        strcpy(digest, cipher->tag_len == 20 ? "SHA1" : "SHA2-256");
    params[0] = OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, digest, 0);
    if (mac == NULL)
        mac = EVP_MAC_fetch(NULL, "HMAC", NULL);
    ctx = EVP_MAC_CTX_new(mac);
    must(EVP_MAC_init(ctx, mac_key, cipher->tag_len, params) == 1, "EVP_MAC_init");
    must(EVP_MAC_update(ctx, header, 11) == 1 && EVP_MAC_update(ctx, last, 2) == 1, "EVP_MAC_update");
    must(len == 0 || EVP_MAC_update(ctx, body, len) == 1, "EVP_MAC_update");
    must(EVP_MAC_final(ctx, out, &written, cipher->tag_len) == 1 && written == cipher->tag_len,
         "EVP_MAC_final");
    EVP_MAC_CTX_free(ctx);
}

size_t reference_cbc_padding(const sealane_cipher *cipher, bool encrypt_then_mac, size_t len)
{
    return BLOCK - 1 - (len + (encrypt_then_mac ? 0 : cipher->tag_len)) % BLOCK;
}

size_t reference_cbc_seal(const sealane_cipher *cipher, bool encrypt_then_mac, const uint8_t *key,
                          const uint8_t *mac_key, const uint8_t header[13], const uint8_t iv[16],
                          const uint8_t *payload, size_t len, size_t padding, uint8_t *out)
{
    static uint8_t inner[INNER_MAX];
    size_t inner_len = len;

    memcpy(inner, payload, len);
    if (!encrypt_then_mac) {
        reference_cbc_mac(cipher, mac_key, header, payload, len, inner + len);
        if (reference_cbc_spoil_mac > 0)
            inner[len + reference_cbc_spoil_mac - 1] ^= 0x20;
        inner_len += cipher->tag_len;
    }
    memset(inner + inner_len, (int)padding, padding + 1);
    if (reference_cbc_spoil_padding > 0)
        inner[inner_len + reference_cbc_spoil_padding - 1] ^= 0x01;
    inner_len += padding + 1;
    if (reference_cbc_last_byte >= 0)
        inner[inner_len - 1] = (uint8_t)reference_cbc_last_byte;
    must(inner_len % BLOCK == 0, "whole blocks");
    memcpy(out, iv, BLOCK);
    cipher_run(cipher, true, key, iv, inner, inner_len, out + BLOCK);
    if (!encrypt_then_mac)
        return BLOCK + inner_len;
    reference_cbc_mac(cipher, mac_key, header, out, BLOCK + inner_len, out + BLOCK + inner_len);
    return BLOCK + inner_len + cipher->tag_len;
}

bool reference_cbc_open(const sealane_cipher *cipher, bool encrypt_then_mac, const uint8_t *key,
                        const uint8_t *mac_key, const uint8_t header[13], const uint8_t *record,
                        size_t record_len, uint8_t *payload, size_t *len)
{
    static uint8_t inner[INNER_MAX];
    uint8_t mac[EVP_MAX_MD_SIZE];
    size_t mac_len = cipher->tag_len, inner_len = record_len - BLOCK - (encrypt_then_mac ? mac_len : 0),
           padding;

    if (encrypt_then_mac) {
        reference_cbc_mac(cipher, mac_key, header, record, BLOCK + inner_len, mac);
        if (memcmp(mac, record + BLOCK + inner_len, mac_len) != 0)
            return false;
        mac_len = 0;
    }
    cipher_run(cipher, false, key, record, record + BLOCK, inner_len, inner);
    padding = inner[inner_len - 1];
    if (padding + 1 + mac_len > inner_len)
        return false;
    for (size_t i = 0; i <= padding; i++)
        if (inner[inner_len - 1 - i] != padding)
            return false;
    *len = inner_len - padding - 1 - mac_len;
    memcpy(payload, inner, *len);
    if (encrypt_then_mac)
        return true;
    reference_cbc_mac(cipher, mac_key, header, inner, *len, mac);
    return memcmp(mac, inner + *len, mac_len) == 0;
}
