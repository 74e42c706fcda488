/* SPDX-License-Identifier: Apache-2.0 */
/*
 * AEAD in pieces: for uses of a cipher outside TLS (files, CMS, whatever calls EVP_CipherUpdate many times,
 * with any IV length and shortened tags). Not a fast path: it runs on libcrypto's own routines.
 *
 * Order of calls: new, then per message begin, aad*, update*, finish. When opening, update hands out
 * plaintext that is not authenticated until finish has said SEALANE_OK, as every streaming interface must;
 * the promise of sealane/result.h that no unauthenticated plaintext is delivered holds for whole messages
 * only.
 */
#ifndef SEALANE_STREAM_H
#define SEALANE_STREAM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sealane/result.h>
#include <sealane/suite.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct sealane_stream sealane_stream;

/*
 * SEALANE_UNSUPPORTED for CCM: it needs the whole length before the first byte (RFC 3610 2.2), and libcrypto
 * takes all data in one piece. Use sealane/aead.h for it.
 */
sealane_result sealane_stream_new(sealane_stream **out, sealane_cipher_id cipher, const uint8_t *key,
                                  size_t key_len);
/* A copy in mid-message: both go on independently. */
sealane_result sealane_stream_dup(sealane_stream **out, const sealane_stream *stream);
void sealane_stream_free(sealane_stream *stream);

/*
 * Starts a message. `iv_len` is 1 to 128 bytes for GCM (the standard allows more, libcrypto does not), and 12
 * for ChaCha20-Poly1305.
 */
sealane_result sealane_stream_begin(sealane_stream *stream, bool sealing, const uint8_t *iv, size_t iv_len);
sealane_result sealane_stream_aad(sealane_stream *stream, const uint8_t *aad, size_t len);
/* After all additional data. `len` bytes in, `len` bytes out. */
sealane_result sealane_stream_update(sealane_stream *stream, const uint8_t *in, size_t len, uint8_t *out);
/* Sealing: writes `tag_len` bytes. Opening: compares them, SEALANE_FORGED if wrong. 4 <= tag_len <= 16. */
sealane_result sealane_stream_seal_finish(sealane_stream *stream, uint8_t *tag, size_t tag_len);
sealane_result sealane_stream_open_finish(sealane_stream *stream, const uint8_t *tag, size_t tag_len);

#ifdef __cplusplus
}
#endif
#endif
