/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the RSA and the ECDSA signatures share: the context and hashing.
 *
 * Hashing is libcrypto's work, in our private context; the token gets a digest and gives a signature. Init
 * never touches the token: libssl inits contexts only to see whether it could.
 */
#ifndef PROVIDER_SIGNATURE_H
#define PROVIDER_SIGNATURE_H

#include "key.h"

/* Since OpenSSL 3.4 (core_dispatch.h, core_names.h); for headers that do not have them yet. */
enum {
    FUNC_SIGNATURE_QUERY_KEY_TYPES = 26,
    FUNC_SIGNATURE_SIGN_MESSAGE_INIT,
    FUNC_SIGNATURE_SIGN_MESSAGE_UPDATE,
    FUNC_SIGNATURE_SIGN_MESSAGE_FINAL,
    FUNC_SIGNATURE_VERIFY_MESSAGE_INIT,
    FUNC_SIGNATURE_VERIFY_MESSAGE_UPDATE,
    FUNC_SIGNATURE_VERIFY_MESSAGE_FINAL,
};
#define PARAM_SIGNATURE "signature"

/* A digest that signatures here can be made over. */
typedef struct digest {
    const char *name;  /* OpenSSL's name, */
    const char *alias; /* and the other common one */
    int nid;
    hsm_hash hash;
    uint8_t len;      /* bytes */
    uint8_t info_len; /* of the DER in front of the digest in a DigestInfo: RFC 8017 9.2, note 1 */
    uint8_t info[19];
} digest;

/* The digest that libcrypto calls `name` (any alias), or NULL with an error raised. */
const digest *digest_find(const provider *prov, const char *name);

typedef struct signer signer;

#define SCHEME_PARAMS_MAX 5

/* What differs between the two: signature_rsa.c and signature_ec.c hold one table each. */
typedef struct scheme {
    /* Sets the scheme's own parameters to what the key wants. May be NULL. */
    bool (*start)(signer *ctx);
    /* Parameters of the scheme's own; the digest is handled before. `params` is not NULL. */
    bool (*params_set)(signer *ctx, const OSSL_PARAM params[]);
    bool (*params_get)(const signer *ctx, OSSL_PARAM params[]);
    /* Answers OSSL_SIGNATURE_PARAM_ALGORITHM_ID; the digest is known. */
    bool (*algorithm_id)(const signer *ctx, OSSL_PARAM *p);
    /* One signature by the token; ctx->key->token is set. */
    bool (*sign)(signer *ctx, const uint8_t *tbs, size_t tbs_len, uint8_t *sig, size_t *sig_len,
                 size_t sig_size);
    /* The scheme's parameters as libcrypto's own signatures take them. They point into `ctx`. */
    void (*libcrypto_params)(const signer *ctx, OSSL_PARAM params[SCHEME_PARAMS_MAX]);
} scheme;

extern const scheme scheme_rsa, scheme_ecdsa;

struct signer {
    const provider *prov;
    const scheme *scheme;
    key *key;
    const digest *digest; /* NULL: the caller's bytes are signed as they are */
    EVP_MD_CTX *md;       /* where a message is hashed here */
    /* signature_composite.c's */
    const digest *fixed; /* the only one */
    bool whole;          /* a message is signed, not a digest */
    uint8_t *claimed;    /* the signature to verify it with, once set */
    size_t claimed_len;
    /* RSA */
    int padding;       /* RSA_PKCS1_PADDING, RSA_PKCS1_PSS_PADDING or RSA_NO_PADDING */
    int salt_len;      /* PSS: bytes, or RSA_PSS_SALTLEN_... */
    const digest *mgf; /* PSS: NULL: as `digest` */
};

/* One signature by the token (key_operate); errors are raised. */
bool signer_sign(signer *ctx, const hsm_mechanism *mech, const uint8_t *in, size_t in_len, uint8_t *sig,
                 size_t *sig_len);

/* ---- signature.c's for signature_composite.c ---- */

signer *signer_new(void *vprov, const scheme *its);
/* `vkey` NULL keeps the key that there is, as re-initialising does. */
bool signer_init(signer *ctx, void *vkey, bool private, const OSSL_PARAM params[]);
/* Begins to hash a message with ctx->digest. */
bool signer_hash_start(signer *ctx);
void signature_freectx(void *vctx);
void *signature_dupctx(void *vctx);
int signature_sign(void *vctx, unsigned char *sig, size_t *sig_len, size_t sig_size, const unsigned char *tbs,
                   size_t tbs_len);
int signature_verify(void *vctx, const unsigned char *sig, size_t sig_len, const unsigned char *tbs,
                     size_t tbs_len);
int signature_digest_update(void *vctx, const unsigned char *data, size_t len);
int signature_digest_sign_final(void *vctx, unsigned char *sig, size_t *sig_len, size_t sig_size);
int signature_digest_verify_final(void *vctx, const unsigned char *sig, size_t sig_len);
int signature_get_ctx_params(void *vctx, OSSL_PARAM params[]);
const OSSL_PARAM *signature_gettable_ctx_params(void *vctx, void *vprov);

/* Fills `p` with an AlgorithmIdentifier; `type` and `value` as X509_ALGOR_set0 takes them. */
bool algorithm_id_answer(OSSL_PARAM *p, int nid, int type, void *value);

#endif
