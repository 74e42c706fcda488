/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a backend is: one set of routines for AEAD ciphers, in one file under backends/, behind one constant
 * table of functions. Dispatch (dispatch.c) asks probe() once, runs known-answer tests, and picks per cipher
 * and size; nobody else calls a backend. Conventions of aliasing and secrets: sealane/result.h.
 */
#ifndef ENGINE_BACKEND_H
#define ENGINE_BACKEND_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sealane/result.h>
#include <sealane/suite.h>

/* An expanded key lives in memory of this alignment, given by the caller and wiped by it. */
#define BACKEND_STATE_ALIGN 64

/* One whole message, of any key. `tag` has the cipher's tag_len: written by seal, compared by open. */
typedef struct backend_op {
    void *state;          /* the expanded key, from key_init */
    const uint8_t *nonce; /* SEALANE_NONCE_LEN */
    const uint8_t *aad;
    size_t aad_len;
    const uint8_t *in;
    size_t len;
    uint8_t *out;
    uint8_t *tag;
    /*
     * Sealing, with a backend that `appends`: the message's last byte is not at `in` but here (the content type behind
     * a payload of TLS 1.3, which need not be copied to get it there).
     */
    bool append;
    uint8_t appended;
    sealane_result result; /* set by seal_many and open_many, one by one */
} backend_op;

typedef struct backend {
    const char *name;
    bool appends; /* seal and seal_many heed `append` */
    /* NULL if the routines run on this CPU and build, else a static phrase: what is missing. */
    const char *(*probe)(void);
    const char *(*version)(void);
    /* Bytes of an expanded key; 0: this backend does not carry that cipher. */
    size_t (*state_size)(sealane_cipher_id cipher);
    /* Expands. The key's length is the cipher's. */
    sealane_result (*key_init)(void *state, sealane_cipher_id cipher, const uint8_t *key);
    /* Frees what the state refers to, if anything. The caller wipes the memory itself. */
    void (*key_clear)(void *state);
    /*
     * One message; sets and returns op->result. open wipes op->out on SEALANE_FORGED. A message beyond a
     * backend's bounds, which no TLS record is, gets SEALANE_UNSUPPORTED before anything is written, and
     * another backend does it.
     */
    sealane_result (*seal)(backend_op *op);
    sealane_result (*open)(backend_op *op);
    /* Many messages of one cipher, of any keys and lengths, two operations never in one buffer. */
    void (*seal_many)(sealane_cipher_id cipher, backend_op *const ops[], size_t count);
    void (*open_many)(sealane_cipher_id cipher, backend_op *const ops[], size_t count);
} backend;

extern const backend backend_openssl;
extern const backend backend_ipsec_mb;
extern const backend backend_vaes;
extern const backend backend_vaes512;
extern const backend backend_chacha; /* x86-64 only, and the next one */
extern const backend backend_chacha512;

#endif
