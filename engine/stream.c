/* SPDX-License-Identifier: Apache-2.0 */
/* sealane/stream.h over libcrypto's routines, in the engine's private library context. */
#include <sealane/stream.h>

#include <stdlib.h>
#include "libcrypto.h"

/* libcrypto's GCM takes IVs of up to 1024 bits (GCM_IV_MAX_SIZE in its providers). */
#define IV_MAX  128u
#define TAG_MIN 4u

/* A message goes through these in order; any failure leads back to idle. */
enum phase { PHASE_IDLE, PHASE_AAD, PHASE_DATA };

struct sealane_stream {
    libcrypto_aead aead;
    enum phase phase;
    bool sealing;
};

sealane_result sealane_stream_new(sealane_stream **out, sealane_cipher_id cipher, const uint8_t *key,
                                  size_t key_len)
{
    const sealane_cipher *row = sealane_cipher_get(cipher);
    sealane_stream *stream;

    if (out == NULL || row == NULL || cipher >= SEALANE_CIPHERS || key == NULL || key_len != row->key_len)
        return SEALANE_ARGUMENT;
    if (row->length_first || libcrypto_probe() != NULL)
        return SEALANE_UNSUPPORTED;
    stream = calloc(1, sizeof(*stream));
    if (stream == NULL)
        return SEALANE_MEMORY;
    if (!libcrypto_init(&stream->aead, cipher, key)) {
        free(stream);
        return SEALANE_MEMORY;
    }
    *out = stream;
    return SEALANE_OK;
}

sealane_result sealane_stream_dup(sealane_stream **out, const sealane_stream *stream)
{
    sealane_stream *copy;

    if (out == NULL || stream == NULL)
        return SEALANE_ARGUMENT;
    copy = calloc(1, sizeof(*copy));
    if (copy == NULL)
        return SEALANE_MEMORY;
    *copy = *stream;
    if (!libcrypto_copy(&copy->aead, &stream->aead)) {
        free(copy);
        return SEALANE_MEMORY;
    }
    *out = copy;
    return SEALANE_OK;
}

void sealane_stream_free(sealane_stream *stream)
{
    if (stream == NULL)
        return;
    libcrypto_clear(&stream->aead); /* wipes the key; the rest of the struct holds none */
    free(stream);
}

static sealane_result stream_step(sealane_stream *stream, bool done, enum phase next)
{
    stream->phase = done ? next : PHASE_IDLE;
    return done ? SEALANE_OK : SEALANE_INTERNAL;
}

/* ChaCha20-Poly1305 has but one length: RFC 8439 2.8. */
static bool iv_len_allowed(const sealane_stream *stream, size_t iv_len)
{
    if (stream->aead.cipher == SEALANE_CHACHA20_POLY1305)
        return iv_len == SEALANE_NONCE_LEN;
    return iv_len > 0 && iv_len <= IV_MAX;
}

sealane_result sealane_stream_begin(sealane_stream *stream, bool sealing, const uint8_t *iv, size_t iv_len)
{
    if (stream == NULL || iv == NULL || !iv_len_allowed(stream, iv_len))
        return SEALANE_ARGUMENT;
    stream->sealing = sealing;
    return stream_step(stream, libcrypto_start(&stream->aead, sealing, iv, iv_len), PHASE_AAD);
}

sealane_result sealane_stream_aad(sealane_stream *stream, const uint8_t *aad, size_t len)
{
    if (stream == NULL || stream->phase != PHASE_AAD || (aad == NULL && len > 0))
        return SEALANE_ARGUMENT;
    return stream_step(stream, libcrypto_aad(&stream->aead, aad, len), PHASE_AAD);
}

sealane_result sealane_stream_update(sealane_stream *stream, const uint8_t *in, size_t len, uint8_t *out)
{
    if (stream == NULL || stream->phase == PHASE_IDLE || ((in == NULL || out == NULL) && len > 0))
        return SEALANE_ARGUMENT;
    return stream_step(stream, libcrypto_update(&stream->aead, in, len, out), PHASE_DATA);
}

static bool finish_allowed(const sealane_stream *stream, bool sealing, const uint8_t *tag, size_t tag_len)
{
    return stream != NULL && stream->phase != PHASE_IDLE && stream->sealing == sealing && tag != NULL &&
           tag_len >= TAG_MIN && tag_len <= SEALANE_TAG_MAX;
}

sealane_result sealane_stream_seal_finish(sealane_stream *stream, uint8_t *tag, size_t tag_len)
{
    if (!finish_allowed(stream, true, tag, tag_len))
        return SEALANE_ARGUMENT;
    return stream_step(stream, libcrypto_seal_finish(&stream->aead, tag, tag_len), PHASE_IDLE);
}

sealane_result sealane_stream_open_finish(sealane_stream *stream, const uint8_t *tag, size_t tag_len)
{
    if (!finish_allowed(stream, false, tag, tag_len))
        return SEALANE_ARGUMENT;
    stream->phase = PHASE_IDLE;
    if (!libcrypto_tag_expect(&stream->aead, tag, tag_len))
        return SEALANE_INTERNAL;
    return libcrypto_open_finish(&stream->aead) ? SEALANE_OK : SEALANE_FORGED;
}
