/* SPDX-License-Identifier: Apache-2.0 */
/*
 * AES-GCM: what is its own beside cipher_aead.c. Its records in TLS 1.2 carry eight bytes of their nonce
 * (RFC 5288 3), which sealing counts up from a random start and opening takes from the record.
 */
#include <string.h>
#include <openssl/rand.h>
#include "cipher_aead.h"

#define TAG_LEN 16

static bool gcm_announce(aead *ctx, size_t size)
{
    size_t extra = ctx->sealing ? TLS12_EXPLICIT : TLS12_EXPLICIT + TAG_LEN;

    if (size < extra)
        return false;
    size -= extra;
    ctx->tls_aad[11] = (uint8_t)(size >> 8);
    ctx->tls_aad[12] = (uint8_t)size;
    ctx->tls_pad = TAG_LEN;
    return true;
}

static bool gcm_ready(const aead *ctx, size_t len)
{
    return ctx->iv_fixed && len >= TLS12_EXPLICIT + TAG_LEN;
}

/* Writes the explicit nonce out and advances it for the next message. */
static void explicit_take(aead *ctx, uint8_t *out)
{
    uint8_t *counter = ctx->iv + TLS12_SALT;
    uint64_t value;

    memcpy(out, counter, TLS12_EXPLICIT);
    memcpy(&value, counter, sizeof(value));
    value = __builtin_bswap64(__builtin_bswap64(value) + 1);
    memcpy(counter, &value, sizeof(value));
}

/* Sealing gives all of the record, opening the payload only. */
static bool gcm_record(aead *ctx, uint8_t *record, size_t len, size_t *out_len)
{
    const size_t payload_len = len - TLS12_EXPLICIT - TAG_LEN;
    uint8_t nonce[AEAD_IV_LEN];

    /* SP 800-38D 8.3: never more invocations than the field counts. */
    if (ctx->sealing && ++ctx->tls_sealed == 0)
        return false;
    ctx->tag_state = TAG_NONE; /* the default provider's has something else in its place, of full length */
    ctx->tag_len = TAG_LEN;
    if (!ctx->sealing)
        memcpy(ctx->iv + TLS12_SALT, record, TLS12_EXPLICIT);
    memcpy(nonce, ctx->iv, sizeof(nonce));
    if (ctx->sealing)
        explicit_take(ctx, record);
    if (!aead_record_run(ctx, nonce, record + TLS12_EXPLICIT, payload_len))
        return false;
    *out_len = ctx->sealing ? len : payload_len;
    return true;
}

/* EVP_CTRL_GCM_SET_IV_FIXED: the salt, with a random start of the invocation field for sealing. */
static bool gcm_iv_fixed(aead *ctx, const uint8_t *fixed, size_t len)
{
    if (len != TLS12_SALT || ctx->iv_len != AEAD_IV_LEN || !ctx->has_direction || ctx->tls_due)
        return false;
    memcpy(ctx->iv, fixed, len);
    if (ctx->sealing && RAND_bytes_ex(ctx->prov->libctx, ctx->iv + len, TLS12_EXPLICIT, 0) <= 0)
        return false;
    ctx->iv_fixed = true;
    ctx->stage = STAGE_IV;
    return true;
}

/* The length of -1 restores a whole IV: EVP_EncryptInit(3). */
static bool gcm_replay_fixed(const aead *ctx, void *theirs)
{
    return cipher_theirs_set_bytes(ctx->index, theirs, OSSL_CIPHER_PARAM_AEAD_TLS1_IV_FIXED, ctx->iv,
                                   (size_t)-1);
}

/* An empty message; in the direction that asks for no tag. */
static bool gcm_replay_finished(const aead *ctx, void *theirs)
{
    uint8_t nothing[TAG_LEN];
    size_t n;

    return ctx->has_key && cipher_theirs_init(ctx->index, theirs, true, NULL, 0, NULL, 0, NULL) == 1 &&
           cipher_theirs[ctx->index].final(theirs, nothing, &n, sizeof(nothing)) == 1 &&
           cipher_theirs_init(ctx->index, theirs, ctx->sealing, NULL, 0, NULL, 0, NULL) == 1;
}

const aead_family aead_gcm = {
    .iv_len = AEAD_IV_LEN,
    .tag_len = TAG_LEN,
    .speaks = true,
    .tls_announce = gcm_announce,
    .tls_ready = gcm_ready,
    .tls_record = gcm_record,
    .iv_fixed = gcm_iv_fixed,
    .replay_fixed = gcm_replay_fixed,
    .replay_finished = gcm_replay_finished,
};

CIPHER_TABLE(cipher_aes128gcm, CIPHER_AES_128_GCM, aead);
CIPHER_TABLE(cipher_aes256gcm, CIPHER_AES_256_GCM, aead);
