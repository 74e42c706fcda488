/* SPDX-License-Identifier: Apache-2.0 */
/*
 * AES-CBC with HMAC by libcrypto's default provider: always there, on any CPU. Its AES-CBC with hmac.c does
 * everything; MAC-then-encrypt with SHA-1 and SHA-256 is sealed by its composite ciphers where they exist
 * (CPUs with AES instructions). These run hash and cipher stitched together, which for one record is the
 * fastest there is: the hash hides behind CBC's latency. Their opening is not used: cbc_check.c is for all.
 */
#include "../cbc.h"

#include <string.h>
#include <openssl/core_dispatch.h>
#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/params.h>
#include "../libcrypto.h"

struct openssl_state {
    libcrypto_functions f;
    void *ctx;
    bool stitched;
};

/* What the composite, or AES-CBC alone, must know before the first record. */
static bool ctx_prepare(struct openssl_state *s, const cbc_key *key)
{
    static const uint8_t any_iv[CBC_IV_LEN];
    unsigned no_padding = 0;
    OSSL_PARAM plain[] = {OSSL_PARAM_uint(OSSL_CIPHER_PARAM_PADDING, &no_padding), OSSL_PARAM_END};
    OSSL_PARAM composite[] = {OSSL_PARAM_octet_string(OSSL_CIPHER_PARAM_AEAD_MAC_KEY,
                                                      (void *)(uintptr_t)key->mac_secret, key->mac_len),
                              OSSL_PARAM_END};
    OSSL_FUNC_cipher_encrypt_init_fn *init = key->sealing ? s->f.encrypt_init : s->f.decrypt_init;

    return init(s->ctx, key->secret, key->cipher->key_len, any_iv, sizeof(any_iv), NULL) == 1 &&
           s->f.set_ctx_params(s->ctx, s->stitched ? composite : plain) == 1;
}

static void openssl_key_clear(void *state)
{
    struct openssl_state *s = state;

    if (s->ctx == NULL)
        return;
    s->f.freectx(s->ctx); /* wipes what it held */
    s->ctx = NULL;
    libcrypto_leave();
}

static sealane_result openssl_key_init(void *state, const cbc_key *key)
{
    struct openssl_state *s = state;
    const char *plain = key->cipher->key_len == 16 ? "AES-128-CBC" : "AES-256-CBC";

    if (!libcrypto_enter())
        return SEALANE_MEMORY;
    if (key->sealing && !key->encrypt_then_mac)
        s->stitched = libcrypto_cipher_find(&s->f, key->cipher->name);
    if (s->stitched || libcrypto_cipher_find(&s->f, plain))
        s->ctx = s->f.newctx(libcrypto_provider_ctx());
    if (s->ctx == NULL) {
        libcrypto_leave();
        return SEALANE_MEMORY;
    }
    if (ctx_prepare(s, key))
        return SEALANE_OK;
    openssl_key_clear(s);
    return SEALANE_MEMORY;
}

static bool cbc_run(const struct openssl_state *s, bool sealing, const uint8_t *iv, const uint8_t *in,
                    size_t len, uint8_t *out)
{
    OSSL_FUNC_cipher_encrypt_init_fn *init = sealing ? s->f.encrypt_init : s->f.decrypt_init;
    size_t written = 0;

    return init(s->ctx, NULL, 0, iv, CBC_IV_LEN, NULL) == 1 &&
           s->f.update(s->ctx, out, &written, len, in, len) == 1 && written == len;
}

static bool seal_plain(const struct openssl_state *s, cbc_op *op)
{
    const cbc_key *key = op->key;
    uint8_t *iv = op->out - CBC_IV_LEN;
    size_t inner = op->len, padding;
    hmac_op mac = {.key = &key->mac, .header = op->header, .body = op->out, .len = op->len};

    if (!key->encrypt_then_mac) {
        cbc_header_length(op, op->len);
        mac.mac = op->out + op->len;
        hmac_compute_many(key->hash, &mac, 1);
        inner += key->mac_len;
    }
    padding = CBC_BLOCK_LEN - inner % CBC_BLOCK_LEN;
    memset(op->out + inner, (int)padding - 1, padding);
    inner += padding;
    memcpy(iv, op->iv, CBC_IV_LEN);
    if (!cbc_run(s, true, iv, op->out, inner, op->out))
        return false;
    if (!key->encrypt_then_mac)
        return true;
    cbc_header_length(op, CBC_IV_LEN + inner);
    mac = (hmac_op){&key->mac, op->header, iv, CBC_IV_LEN + inner, op->out + inner};
    hmac_compute_many(key->hash, &mac, 1);
    return true;
}

/*
 * The composite encrypts the random block that precedes the payload as the first of the chain, and what comes
 * out is the IV. It takes that block's length for part of the pseudo header's, and mends it there itself:
 * the header that it gets is an array of ours that it writes to.
 */
static bool seal_stitched(const struct openssl_state *s, cbc_op *op)
{
    OSSL_PARAM header[] = {
        OSSL_PARAM_octet_string(OSSL_CIPHER_PARAM_AEAD_TLS1_AAD, op->header, HMAC_HEADER_LEN),
        OSSL_PARAM_END};
    size_t len = CBC_IV_LEN + cbc_sealed_len(op->key, op->len), written = 0;
    uint8_t *start = op->out - CBC_IV_LEN;

    cbc_header_length(op, CBC_IV_LEN + op->len);
    memcpy(start, op->iv, CBC_IV_LEN);
    return s->f.set_ctx_params(s->ctx, header) == 1 &&
           s->f.update(s->ctx, start, &written, len, start, len) == 1 && written == len;
}

static void openssl_seal(cbc_op *const ops[], void *const states[], size_t count)
{
    for (size_t i = 0; i < count; i++) {
        const struct openssl_state *s = states[i];
        bool sealed = s->stitched ? seal_stitched(s, ops[i]) : seal_plain(s, ops[i]);
        ops[i]->result = sealed ? SEALANE_OK : SEALANE_INTERNAL;
    }
}

static void openssl_decrypt(cbc_op *const ops[], void *const states[], size_t count)
{
    for (size_t i = 0; i < count; i++) {
        cbc_op *op = ops[i];
        size_t len = cbc_opened_room(op->key, op->len);
        bool done = cbc_run(states[i], false, op->in - CBC_IV_LEN, op->in, len, op->out);
        op->result = done ? SEALANE_OK : SEALANE_INTERNAL;
    }
}

static size_t openssl_lanes(void)
{
    return 1;
}

const cbc_backend cbc_backend_openssl = {
    .name = "openssl",
    .probe = libcrypto_probe,
    .lanes = openssl_lanes,
    .state_size = sizeof(struct openssl_state),
    .key_init = openssl_key_init,
    .key_clear = openssl_key_clear,
    .seal = openssl_seal,
    .decrypt = openssl_decrypt,
};
