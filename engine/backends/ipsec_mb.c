/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Intel IPsec-MB: its direct AES-GCM calls; the other ciphers go through its jobs (ipsec_mb_aead.c). The manager here is only the table of functions for direct calls: such a call works on the key and the
 * context handed in and keeps nothing in the manager (unlike jobs), so one manager serves all threads. It
 * lives until the process ends, reachable through `manager`.
 *
 * What the library leaves to us: it computes a tag when opening and never compares it, and its contexts keep
 * E(K, J0) and the hash, which are as good as a forgery if they leak, so they are wiped after each message.
 */
#include "../backend.h"

#include <pthread.h>
#include <stdbool.h>
#include <string.h>
#include <intel-ipsec-mb.h>
#include <openssl/crypto.h>
#include "ipsec_mb_aead.h"

#define FEATURES_NEEDED (IMB_FEATURE_SSE4_2 | IMB_FEATURE_AESNI | IMB_FEATURE_PCLMULQDQ)

static pthread_once_t manager_once = PTHREAD_ONCE_INIT;
static IMB_MGR *manager;
static const char *manager_missing = "IPsec-MB could not be set up";

/* The states of the ciphers; each begins with the cipher that it is for, as ipsec_mb_ccm_key does. */
struct gcm_state {
    sealane_cipher_id cipher;
    _Alignas(BACKEND_STATE_ALIGN) struct gcm_key_data
        key; /* the library wants it; its type says so only #ifdef LINUX */
};

static void manager_start(void)
{
    IMB_ARCH arch;
    IMB_MGR *mgr = alloc_mb_mgr(0);

    if (mgr == NULL)
        return;
    /* The "no AES-NI" set of the library emulates AES with tables, which is neither fast nor constant-time.
     */
    if ((mgr->features & FEATURES_NEEDED) != FEATURES_NEEDED) {
        manager_missing = "CPU lacks SSE4.2, AES-NI or PCLMULQDQ";
        goto failed;
    }
    init_mb_mgr_auto(mgr, &arch);
    if (imb_get_errno(mgr) != 0) {
        manager_missing = "IPsec-MB's own set-up or self-test failed";
        goto failed;
    }
    manager = mgr;
    return;
failed:
    free_mb_mgr(mgr);
}

static const char *ipsec_mb_probe(void)
{
    if (pthread_once(&manager_once, manager_start) != 0 || manager == NULL)
        return manager_missing;
    return NULL;
}

static const char *ipsec_mb_version(void)
{
    return imb_get_version_str();
}

static size_t ipsec_mb_state_size(sealane_cipher_id cipher)
{
    switch (cipher) {
    case SEALANE_AES_128_GCM:
    case SEALANE_AES_256_GCM:
        return sizeof(struct gcm_state);
    case SEALANE_CHACHA20_POLY1305:
        return sizeof(ipsec_mb_chacha_key);
    case SEALANE_AES_128_CCM:
    case SEALANE_AES_128_CCM_8:
        return sizeof(ipsec_mb_ccm_key);
    default:
        return 0;
    }
}

static sealane_result ipsec_mb_key_init(void *state, sealane_cipher_id cipher, const uint8_t *key)
{
    *(sealane_cipher_id *)state = cipher;
    switch (cipher) {
    case SEALANE_AES_128_GCM:
        IMB_AES128_GCM_PRE(manager, key, &((struct gcm_state *)state)->key);
        return SEALANE_OK;
    case SEALANE_AES_256_GCM:
        IMB_AES256_GCM_PRE(manager, key, &((struct gcm_state *)state)->key);
        return SEALANE_OK;
    case SEALANE_CHACHA20_POLY1305:
        memcpy(((ipsec_mb_chacha_key *)state)->bytes, key, 32);
        return SEALANE_OK;
    case SEALANE_AES_128_CCM:
    case SEALANE_AES_128_CCM_8:
        ipsec_mb_ccm_key_init(state, manager, key);
        return SEALANE_OK;
    default:
        return SEALANE_UNSUPPORTED;
    }
}

static void ipsec_mb_key_clear(void *state)
{
    (void)state; /* refers to nothing */
}

/* Encrypts or decrypts, and computes the tag of it. */
static void gcm_run(const backend_op *op, bool sealing, uint8_t tag[SEALANE_TAG_MAX])
{
    const struct gcm_state *s = op->state;
    struct gcm_context_data context;
    bool short_key = s->cipher == SEALANE_AES_128_GCM;

    if (sealing)
        (short_key ? manager->gcm128_enc : manager->gcm256_enc)(&s->key, &context, op->out, op->in, op->len,
                                                                op->nonce, op->aad, op->aad_len, tag,
                                                                SEALANE_TAG_MAX);
    else
        (short_key ? manager->gcm128_dec : manager->gcm256_dec)(&s->key, &context, op->out, op->in, op->len,
                                                                op->nonce, op->aad, op->aad_len, tag,
                                                                SEALANE_TAG_MAX);
    explicit_bzero(&context, sizeof(context));
}

static void gcm_seal(backend_op *op)
{
    gcm_run(op, true, op->tag);
    op->result = SEALANE_OK;
}

static void gcm_open(backend_op *op)
{
    uint8_t tag[SEALANE_TAG_MAX];

    gcm_run(op, false, tag);
    op->result = CRYPTO_memcmp(tag, op->tag, sizeof(tag)) == 0 ? SEALANE_OK : SEALANE_FORGED;
    if (op->result != SEALANE_OK && op->len > 0)
        explicit_bzero(op->out, op->len);
    explicit_bzero(tag, sizeof(tag)); /* the right tag of a forged message is a secret */
}

static bool is_gcm(sealane_cipher_id cipher)
{
    return cipher == SEALANE_AES_128_GCM || cipher == SEALANE_AES_256_GCM;
}

static void ipsec_mb_seal_many(sealane_cipher_id cipher, backend_op *const ops[], size_t count)
{
    if (!is_gcm(cipher)) {
        ipsec_mb_aead_run(cipher, ops, count, true);
        return;
    }
    for (size_t i = 0; i < count; i++)
        gcm_seal(ops[i]);
}

static void ipsec_mb_open_many(sealane_cipher_id cipher, backend_op *const ops[], size_t count)
{
    if (!is_gcm(cipher)) {
        ipsec_mb_aead_run(cipher, ops, count, false);
        return;
    }
    for (size_t i = 0; i < count; i++)
        gcm_open(ops[i]);
}

static sealane_result ipsec_mb_seal(backend_op *op)
{
    ipsec_mb_seal_many(*(const sealane_cipher_id *)op->state, &op, 1);
    return op->result;
}

static sealane_result ipsec_mb_open(backend_op *op)
{
    ipsec_mb_open_many(*(const sealane_cipher_id *)op->state, &op, 1);
    return op->result;
}

const backend backend_ipsec_mb = {
    .name = "ipsec_mb",
    .probe = ipsec_mb_probe,
    .version = ipsec_mb_version,
    .state_size = ipsec_mb_state_size,
    .key_init = ipsec_mb_key_init,
    .key_clear = ipsec_mb_key_clear,
    .seal = ipsec_mb_seal,
    .open = ipsec_mb_open,
    .seal_many = ipsec_mb_seal_many,
    .open_many = ipsec_mb_open_many,
};
