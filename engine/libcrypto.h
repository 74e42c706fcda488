/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The engine's own way into libcrypto: the "default" provider in a private OSSL_LIB_CTX, and its AEADs called
 * by the functions that it dispatches to. What the process has in openssl.cnf, its preferred providers
 * (sealane.so may be one, and would call us again) and its ENGINEs have no say in it, and are not even asked.
 */
#ifndef ENGINE_LIBCRYPTO_H
#define ENGINE_LIBCRYPTO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <openssl/core_dispatch.h>
#include <openssl/types.h>
#include <sealane/suite.h>

/* An expanded key, for both directions, and the message under way. */
typedef struct libcrypto_aead {
    sealane_cipher_id cipher;
    void *ctx;      /* the provider's */
    void *open_ctx; /* of CCM, which expands a key for one direction; else NULL, and `ctx` is for both */
    bool opening;   /* the message under way */
} libcrypto_aead;

/* NULL if the provider is there, else a static phrase. The first call loads it. */
const char *libcrypto_probe(void);

/* One row of the provider's table, by provider-cipher(7). */
typedef struct libcrypto_functions {
    OSSL_FUNC_cipher_newctx_fn *newctx;
    OSSL_FUNC_cipher_freectx_fn *freectx;
    OSSL_FUNC_cipher_dupctx_fn *dupctx;
    OSSL_FUNC_cipher_encrypt_init_fn *encrypt_init;
    OSSL_FUNC_cipher_decrypt_init_fn *decrypt_init;
    OSSL_FUNC_cipher_update_fn *update;
    OSSL_FUNC_cipher_final_fn *final;
    OSSL_FUNC_cipher_cipher_fn *cipher;
    OSSL_FUNC_cipher_get_ctx_params_fn *get_ctx_params;
    OSSL_FUNC_cipher_set_ctx_params_fn *set_ctx_params;
} libcrypto_functions;

/*
 * For what is no AEAD (backends/cbc_openssl.c, random_iv.c): the functions of a cipher of the provider, false
 * if it has none of that name or lacks one, and the context. Enter before use and leave afterwards, both once per
 * object that stays or per call; false once libcrypto is being taken down.
 */
bool libcrypto_cipher_find(libcrypto_functions *f, const char *name);
void *libcrypto_provider_ctx(void);
OSSL_LIB_CTX *libcrypto_context(void);
bool libcrypto_enter(void);
void libcrypto_leave(void);

/* The functions give false if libcrypto fails; `aead` is then good for clear and start only. */
bool libcrypto_init(libcrypto_aead *aead, sealane_cipher_id cipher, const uint8_t *key);
/* Also in mid-message. Not of ciphers that want the length first. */
bool libcrypto_copy(libcrypto_aead *to, const libcrypto_aead *from);
/* Wipes. Of what init or copy filled, or all zero. */
void libcrypto_clear(libcrypto_aead *aead);

/*
 * One message: start, length, aad*, update*, seal_finish; or start, tag_expect, length, aad*, update*,
 * open_finish. Where the cipher's row says length_first, the length is needed, the tag must be known before
 * the data, and all data comes in one `whole`, which then is false for a wrong tag. For other ciphers the
 * length is of no consequence, `whole` is one update, and the tag may come as late as before open_finish.
 */
bool libcrypto_start(libcrypto_aead *aead, bool sealing, const uint8_t *iv, size_t iv_len);
bool libcrypto_tag_expect(libcrypto_aead *aead, const uint8_t *tag, size_t tag_len);
bool libcrypto_length(libcrypto_aead *aead, size_t len);
bool libcrypto_aad(libcrypto_aead *aead, const uint8_t *aad, size_t len);
bool libcrypto_update(libcrypto_aead *aead, const uint8_t *in, size_t len, uint8_t *out);
bool libcrypto_whole(libcrypto_aead *aead, const uint8_t *in, size_t len, uint8_t *out);
bool libcrypto_seal_finish(libcrypto_aead *aead, uint8_t *tag, size_t tag_len);
/* False if the tag is not right. */
bool libcrypto_open_finish(libcrypto_aead *aead);

#endif
