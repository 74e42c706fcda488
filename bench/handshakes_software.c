/* SPDX-License-Identifier: Apache-2.0 */
/* Signatures by libcrypto with a key in memory, and nothing else. */
#include <stdlib.h>
#include <openssl/evp.h>
#include <openssl/rsa.h>
#include "handshakes_tls.h"

/* What a server signs in TLS 1.3: RFC 8446 4.4.3 with a SHA-256 transcript; only Ed25519 takes it whole. */
#define CONTENT (64 + 33 + 1 + 32)
#define DIGEST  32

struct software {
    EVP_PKEY *key;
    EVP_PKEY_CTX *ctx;
    EVP_MD_CTX *md; /* Ed25519 */
};

static const uint8_t content[CONTENT] = {0x20};

static bool context_ready(struct software *s, key_kind kind, int (*init)(EVP_PKEY_CTX *))
{
    EVP_PKEY_CTX_free(s->ctx);
    s->ctx = EVP_PKEY_CTX_new(s->key, NULL);
    if (s->ctx == NULL || init(s->ctx) <= 0 || EVP_PKEY_CTX_set_signature_md(s->ctx, EVP_sha256()) <= 0)
        return false;
    return kind != KEY_RSA || (EVP_PKEY_CTX_set_rsa_padding(s->ctx, RSA_PKCS1_PSS_PADDING) > 0 &&
                               EVP_PKEY_CTX_set_rsa_pss_saltlen(s->ctx, RSA_PSS_SALTLEN_DIGEST) > 0);
}

static bool sign(struct software *s, uint8_t *sig, size_t *len)
{
    if (s->md == NULL)
        return EVP_PKEY_sign(s->ctx, sig, len, content, DIGEST) == 1;
    return EVP_DigestSignInit(s->md, NULL, NULL, NULL, s->key) == 1 &&
           EVP_DigestSign(s->md, sig, len, content, CONTENT) == 1;
}

static bool verified(struct software *s, key_kind kind, const uint8_t *sig, size_t len)
{
    if (s->md != NULL)
        return EVP_DigestVerifyInit(s->md, NULL, NULL, NULL, s->key) == 1 &&
               EVP_DigestVerify(s->md, sig, len, content, CONTENT) == 1;
    return context_ready(s, kind, EVP_PKEY_verify_init) &&
           EVP_PKEY_verify(s->ctx, sig, len, content, DIGEST) == 1 &&
           context_ready(s, kind, EVP_PKEY_sign_init);
}

static bool software_prepare(struct act *a, char why[TEXT_MAX])
{
    struct software *s = calloc(1, sizeof(*s));
    uint8_t sig[1024];
    size_t len = sizeof(sig);

    a->state = s;
    if (s == NULL || (s->key = key_from_file(a->work.key)) == NULL)
        return act_failed(why, "no key can be made");
    if (a->work.key == KEY_ED25519 ? (s->md = EVP_MD_CTX_new()) == NULL
                                   : !context_ready(s, a->work.key, EVP_PKEY_sign_init))
        return act_failed(why, "no signature can be made");
    return (sign(s, sig, &len) && verified(s, a->work.key, sig, len)) ||
           act_failed(why, "libcrypto's own signature is not right");
}

static bool software_once(struct act *a, unsigned seat, char why[TEXT_MAX])
{
    uint8_t sig[1024];
    size_t len = sizeof(sig);

    (void)seat;
    return sign(a->state, sig, &len) || act_failed(why, "libcrypto does not sign");
}

static void software_end(struct act *a)
{
    struct software *s = a->state;

    if (s == NULL)
        return;
    EVP_PKEY_CTX_free(s->ctx);
    EVP_MD_CTX_free(s->md);
    EVP_PKEY_free(s->key);
    free(s);
}

const struct activity_ops activity_software = {software_prepare, software_once, NULL, software_end};
