/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the AEADs' families (cipher_gcm.c, cipher_ccm.c, cipher_chacha.c) fill in around the core in
 * cipher_aead.c: records of TLS 1.2, of which each has its own nonce, and where the default provider's
 * contexts differ.
 */
#ifndef PROVIDER_CIPHER_AEAD_H
#define PROVIDER_CIPHER_AEAD_H

#include <sealane/aead.h>
#include "cipher.h"

#define AEAD_IV_LEN      12
#define TLS12_AAD_LEN    13 /* RFC 5246 6.2.3.3: sequence, type, version, length */
#define TLS13_HEADER_LEN 5  /* RFC 8446 5.2: type, version, length */
#define TLS12_EXPLICIT   8  /* RFC 5288 3, RFC 6655 3: the part of a nonce that is sent ... */
#define TLS12_SALT       4  /* ... and the one that is not */

/* Where a message under an IV of the caller's stands. */
typedef enum aead_stage {
    STAGE_NO_IV,    /* none was set */
    STAGE_IV,       /* it is there, and nothing was processed under it */
    STAGE_LENGTH,   /* CCM: and the length was said */
    STAGE_HEADER,   /* and additional data that looks like a TLS 1.3 header is held back */
    STAGE_WHOLE,    /* a whole record was processed, final is due */
    STAGE_FORGED,   /* the same, and it was forged: final says so, and only a new IV leads on */
    STAGE_FINISHED, /* the IV is used up */
} aead_stage;

/* What is known of the tag. */
typedef enum aead_tag {
    TAG_NONE,
    TAG_SET,  /* one to compare with */
    TAG_MADE, /* one that sealing made */
} aead_tag;

typedef struct aead aead;

typedef struct aead_family {
    size_t iv_len;      /* that a new context has */
    size_t tag_len;     /* likewise; 0: it must be set */
    bool length_first;  /* CCM: the length is said, and the verdict falls with the data, not in final */
    bool tag_by_length; /* not GCM: TAG without data announces a length */
    bool speaks;        /* not ChaCha20-Poly1305: a record that fails leaves an error on the queue */
    /* Corrects ctx->tls_aad, of a record of `size` bytes by libssl's count, to what is authenticated. */
    bool (*tls_announce)(aead *ctx, size_t size);
    /* Can the record that was announced be done in place in `len` bytes? */
    bool (*tls_ready)(const aead *ctx, size_t len);
    bool (*tls_record)(aead *ctx, uint8_t *record, size_t len, size_t *out_len);
    /* AEAD_TLS1_IV_FIXED. False: the default provider sees to it. NULL: it always does. */
    bool (*iv_fixed)(aead *ctx, const uint8_t *fixed, size_t len);
    /* The same for the default provider's context. */
    bool (*replay_fixed)(const aead *ctx, void *theirs);
    /* Uses the IV up that it was given. NULL: there is nothing to do. */
    bool (*replay_finished)(const aead *ctx, void *theirs);
} aead_family;

struct aead {
    const provider *prov;
    const aead_family *family;
    const sealane_cipher *cipher; /* CCM: by the length of its tag */
    sealane_aead *engine;         /* made at the first record after a new key */
    void *theirs;                 /* the default provider's context; NULL: all was libssl's so far */
    cipher_index index;
    aead_stage stage;
    aead_tag tag_state;
    bool has_direction, sealing, has_key;
    bool iv_fixed;  /* the IV came by AEAD_TLS1_IV_FIXED */
    bool tag_fresh; /* set since the last message */
    bool tls_due;   /* the next update is a record of TLS 1.2 */
    bool tls_done;  /* the last one was */
    uint8_t key[SEALANE_KEY_MAX];
    uint8_t iv[AEAD_IV_LEN];
    size_t iv_len;
    uint8_t tag[SEALANE_TAG_MAX];
    size_t tag_len;
    size_t message_len; /* CCM: as it was said */
    uint8_t header[TLS13_HEADER_LEN];
    uint8_t tls_said[TLS12_AAD_LEN], tls_aad[TLS12_AAD_LEN];
    size_t tls_pad; /* what AEAD_TLS1_AAD_PAD answers: bytes that sealing adds at the end */
    uint64_t tls_sealed;
};

extern const aead_family aead_gcm, aead_ccm, aead_chacha;

static inline bool aead_message_begun(const aead *ctx)
{
    return ctx->stage == STAGE_LENGTH || ctx->stage == STAGE_HEADER;
}

static inline bool aead_message_over(const aead *ctx)
{
    return ctx->stage >= STAGE_WHOLE;
}

/*
 * A context of the default provider's that stands where ours does. To be asked a question only, it need not
 * know a tag that we made.
 */
void *aead_theirs_make(const aead *ctx, bool question);

/* Opens or seals in place, under ctx->tls_aad: `payload` with the tag directly behind it. */
bool aead_record_run(aead *ctx, const uint8_t nonce[AEAD_IV_LEN], uint8_t *payload, size_t len);

/* Core functions, for CIPHER_TABLE. */
void *aead_newctx(void *vprov, cipher_index index);
OSSL_FUNC_cipher_freectx_fn aead_freectx;
OSSL_FUNC_cipher_dupctx_fn aead_dupctx;
OSSL_FUNC_cipher_encrypt_init_fn aead_encrypt_init;
OSSL_FUNC_cipher_decrypt_init_fn aead_decrypt_init;
OSSL_FUNC_cipher_update_fn aead_update;
OSSL_FUNC_cipher_final_fn aead_final;
OSSL_FUNC_cipher_cipher_fn aead_cipher;
OSSL_FUNC_cipher_get_ctx_params_fn aead_get_ctx_params;
OSSL_FUNC_cipher_set_ctx_params_fn aead_set_ctx_params;

#endif
