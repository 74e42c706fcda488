/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Intel IPsec-MB's direct AES-GCM calls. The manager is only their table of functions: a direct call works on
 * the key and the context handed in and keeps nothing in the manager (unlike jobs), so one manager serves all
 * threads. It lives until the process ends, reachable through `manager`.
 *
 * What the library leaves to us: it computes a tag when opening and never compares it, and its context keeps
 * E(K, J0) and the hash, which are as good as a forgery if they leak, so it is wiped after each message.
 */
#include "backend.h"

#include <pthread.h>
#include <stdbool.h>
#include <string.h>
#include <intel-ipsec-mb.h>
#include <openssl/crypto.h>

#define FEATURES_NEEDED (IMB_FEATURE_SSE4_2 | IMB_FEATURE_AESNI | IMB_FEATURE_PCLMULQDQ)

static pthread_once_t manager_once = PTHREAD_ONCE_INIT;
static IMB_MGR *manager;
static const char *manager_missing = "IPsec-MB could not be set up";

struct ipsec_mb_state {
    struct gcm_key_data key; /* aligned to 64 by its declaration: BACKEND_STATE_ALIGN */
    sealane_cipher_id cipher;
};
_Static_assert(_Alignof(struct ipsec_mb_state) <= BACKEND_STATE_ALIGN, "the library's key data wants more");

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
    (void)cipher;
    return sizeof(struct ipsec_mb_state);
}

static sealane_result ipsec_mb_key_init(void *state, sealane_cipher_id cipher, const uint8_t *key)
{
    struct ipsec_mb_state *s = state;

    s->cipher = cipher;
    if (cipher == SEALANE_AES_128_GCM)
        IMB_AES128_GCM_PRE(manager, key, &s->key);
    else
        IMB_AES256_GCM_PRE(manager, key, &s->key);
    return SEALANE_OK;
}

static void ipsec_mb_key_clear(void *state)
{
    (void)state;
}

static sealane_result ipsec_mb_seal(backend_op *op)
{
    const struct ipsec_mb_state *s = op->state;
    struct gcm_context_data context;

    if (s->cipher == SEALANE_AES_128_GCM)
        IMB_AES128_GCM_ENC(manager, &s->key, &context, op->out, op->in, op->len, op->nonce, op->aad,
                           op->aad_len, op->tag, SEALANE_TAG_MAX);
    else
        IMB_AES256_GCM_ENC(manager, &s->key, &context, op->out, op->in, op->len, op->nonce, op->aad,
                           op->aad_len, op->tag, SEALANE_TAG_MAX);
    explicit_bzero(&context, sizeof(context));
    op->result = SEALANE_OK;
    return op->result;
}

static sealane_result ipsec_mb_open(backend_op *op)
{
    const struct ipsec_mb_state *s = op->state;
    struct gcm_context_data context;
    uint8_t tag[SEALANE_TAG_MAX];

    if (s->cipher == SEALANE_AES_128_GCM)
        IMB_AES128_GCM_DEC(manager, &s->key, &context, op->out, op->in, op->len, op->nonce, op->aad,
                           op->aad_len, tag, sizeof(tag));
    else
        IMB_AES256_GCM_DEC(manager, &s->key, &context, op->out, op->in, op->len, op->nonce, op->aad,
                           op->aad_len, tag, sizeof(tag));
    op->result = CRYPTO_memcmp(tag, op->tag, sizeof(tag)) == 0 ? SEALANE_OK : SEALANE_FORGED;
    if (op->result != SEALANE_OK && op->len > 0)
        explicit_bzero(op->out, op->len);
    explicit_bzero(tag, sizeof(tag)); /* the right tag of a forged message is a secret */
    explicit_bzero(&context, sizeof(context));
    return op->result;
}

static void ipsec_mb_seal_many(sealane_cipher_id cipher, backend_op *const ops[], size_t count)
{
    (void)cipher;
    for (size_t i = 0; i < count; i++)
        ipsec_mb_seal(ops[i]);
}

static void ipsec_mb_open_many(sealane_cipher_id cipher, backend_op *const ops[], size_t count)
{
    (void)cipher;
    for (size_t i = 0; i < count; i++)
        ipsec_mb_open(ops[i]);
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
