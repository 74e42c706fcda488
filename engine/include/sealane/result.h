/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Conventions of every public function of the engine.
 *
 * Results.   A function that can fail returns a sealane_result: SEALANE_OK (0) or one of the values below.
 *            On anything but SEALANE_OK the out-parameters hold nothing of use: pointers are untouched, and
 *            a buffer that was to receive plaintext has been wiped. There is no partial plaintext.
 * Lengths    are in bytes. A pointer to a zero-length buffer may be NULL.
 * Aliasing.  `out` may equal `in` exactly (in place) or not overlap it at all; nothing in between.
 * Ownership. `..._new` gives an object to the caller, who ends its life with `..._free`. Free takes NULL and
 *            wipes key material. Keys and nonces passed in are copied; the caller wipes its own copy.
 * Threads.   An object may be used by one thread at a time and handed from thread to thread; different
 *            objects may be used by different threads at once. Tables are constant and free for all.
 * Secrets.   No function branches or indexes on key, plaintext or tag bytes.
 */
#ifndef SEALANE_RESULT_H
#define SEALANE_RESULT_H

#ifdef __cplusplus
extern "C" {
#endif

typedef enum sealane_result {
    SEALANE_OK = 0,
    SEALANE_FORGED,      /* authentication failed: alert bad_record_mac; nothing was delivered */
    SEALANE_ARGUMENT,    /* an argument that no correct caller passes: NULL, wrong key length */
    SEALANE_SPACE,       /* the output buffer is too small */
    SEALANE_RECORD,      /* not a record of this connection: type, version or length is wrong */
    SEALANE_OVERFLOW,    /* a plaintext or ciphertext longer than RFC 8446 5.2 / RFC 5246 6.2 allow */
    SEALANE_LIMIT,       /* the key may protect no more records: sequence number or AEAD limit used up */
    SEALANE_UNSUPPORTED, /* no backend of this CPU and build carries that cipher */
    SEALANE_MEMORY,      /* allocation failed */
    SEALANE_INTERNAL,    /* a library below failed where it must not */
    SEALANE_ENDED,       /* the connection is over: sealane/session.h */
} sealane_result;

/* A short English phrase for a result, static, never NULL. */
const char *sealane_result_text(sealane_result result);

#ifdef __cplusplus
}
#endif
#endif
