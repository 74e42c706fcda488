/* SPDX-License-Identifier: Apache-2.0 */
/*
 * AES-CBC with HMAC for TLS 1.2, which is no AEAD: the output is longer than the input, the IV is random and
 * travels in the record (RFC 5246 6.2.3.2), and the order of MAC and cipher is a matter of the handshake:
 * MAC-then-encrypt, or encrypt-then-MAC (RFC 7366). So it has an interface of its own beside the AEADs' in
 * backend.h: a key, an operation, and two sets of routines for many operations at once.
 *
 *     MAC-then-encrypt:  IV | E( payload | MAC | padding )
 *     encrypt-then-MAC:  IV | E( payload | padding ) | MAC
 *
 * frame_cbc.c makes operations out of records; cbc.c holds the keys and chooses the routines; cbc_check.c is
 * the constant-time end of opening; the routines are backends/cbc_openssl.c and backends/cbc_ipsec_mb.c.
 */
#ifndef ENGINE_CBC_H
#define ENGINE_CBC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sealane/result.h>
#include <sealane/suite.h>
#include "hmac.h"

#define CBC_BLOCK_LEN 16
#define CBC_IV_LEN    CBC_BLOCK_LEN
#define CBC_BACKENDS  2

typedef struct cbc_key_params {
    sealane_cipher_id cipher;
    bool sealing;
    bool encrypt_then_mac;
    const uint8_t *key;     /* key_len of the cipher's row */
    const uint8_t *mac_key; /* tag_len of it: RFC 5246 6.3, mac_key_length */
} cbc_key_params;

/* One direction's keys. */
typedef struct cbc_key {
    const sealane_cipher *cipher;
    sha_id hash;
    size_t mac_len;
    bool sealing;
    bool encrypt_then_mac;
    unsigned home;              /* the routines expanded at birth, for single records */
    hmac_key mac;               /* for whatever routines */
    void *states[CBC_BACKENDS]; /* NULL: not expanded */
    uint8_t secret[SEALANE_KEY_MAX];
    uint8_t mac_secret[SHA_DIGEST_MAX];
} cbc_key;

/* One record, in place for sealing. */
typedef struct cbc_op {
    cbc_key *key;
    /* Of the MAC: RFC 5246 6.2.3.1, RFC 7366 3. Its last two bytes, the length, are set by the routines. */
    uint8_t header[HMAC_HEADER_LEN];
    /*
     * Sealing: 16 fresh random bytes, from which the routines make the IV that they write directly before
     * `out`. Opening: not used; the IV stands directly before `in`.
     */
    uint8_t iv[CBC_IV_LEN];
    const uint8_t *in;  /* opening: what follows the IV, to the record's end */
    size_t len;         /* sealing: of the payload at `out`; opening: of `in` */
    uint8_t *out;       /* sealing: payload, with room for cbc_sealed_len(); opening: cbc_opened_room() */
    size_t payload_len; /* set by opening if it succeeds */
    sealane_result result;
} cbc_op;

/* Bytes behind the IV of a sealed record. */
size_t cbc_sealed_len(const cbc_key *key, size_t payload_len);
/* Bytes that opening writes at `out`: all that was encrypted, and more than the payload. */
size_t cbc_opened_room(const cbc_key *key, size_t len);
/* True if that many bytes can stand behind an IV: whole blocks and room for MAC and padding. */
bool cbc_length_possible(const cbc_key *key, size_t len);
/* The least such length. */
size_t cbc_sealed_min(const cbc_key *key);

/* SEALANE_UNSUPPORTED, SEALANE_MEMORY. Copies both keys. */
sealane_result cbc_key_new(cbc_key **out, const cbc_key_params *params);
void cbc_key_free(cbc_key *key);

/*
 * Runs operations of one cipher and one direction, of any keys and lengths; sets each one's result. Sealing:
 * SEALANE_OK or SEALANE_INTERNAL. Opening: also SEALANE_FORGED, for wrong padding as for a wrong MAC, in the
 * same time; `out` is wiped then. Two operations never share bytes.
 */
void cbc_seal(cbc_op *const ops[], size_t count);
void cbc_open(cbc_op *const ops[], size_t count);

/* Records of that cipher which are best sealed at once; 1: one is as good as many. */
size_t cbc_lanes(sealane_cipher_id cipher);

/* Who would take `count` records of `len` bytes of payload each, and why. `cipher` is one of CBC. */
const char *cbc_backend_for(sealane_cipher_id cipher, bool sealing, size_t count, const char **why);

/* ---- What a set of routines is ---- */

typedef struct cbc_backend {
    const char *name;           /* as that of backend.h's tables over the same library */
    const char *(*probe)(void); /* NULL or what is missing */
    size_t (*lanes)(void);      /* records that it seals side by side; after a probe that missed nothing */
    /* An expanded key: in memory of alignment 64 that the caller gives and wipes. */
    size_t state_size;
    sealane_result (*key_init)(void *state, const cbc_key *key);
    void (*key_clear)(void *state);
    void (*seal)(cbc_op *const ops[], void *const states[], size_t count);
    /* Only decrypts from `in` to `out`, cbc_opened_room() bytes; SEALANE_OK or SEALANE_INTERNAL. */
    void (*decrypt)(cbc_op *const ops[], void *const states[], size_t count);
} cbc_backend;

extern const cbc_backend cbc_backend_openssl;
extern const cbc_backend cbc_backend_ipsec_mb;

/* NULL if the routines seal and open that cipher rightly in both orders, else what went wrong. Static. */
const char *cbc_known_answer_failure(const cbc_backend *be, sealane_cipher_id cipher);
/* cbc_seal() and cbc_open() with routines of the caller's choice, on keys expanded for no others. */
sealane_result cbc_key_new_for(cbc_key **out, const cbc_key_params *params, const cbc_backend *be);
void cbc_seal_by(const cbc_backend *be, cbc_op *const ops[], size_t count);
void cbc_open_by(const cbc_backend *be, cbc_op *const ops[], size_t count);

/* ---- cbc_check.c ---- */

/*
 * After decryption, MAC-then-encrypt: finds payload_len and sets the result of operations that are SEALANE_OK
 * so far. The time depends on their lengths alone. Wipes nothing: cbc_open_by() does.
 */
void cbc_check_padded(cbc_op *const ops[], size_t count);
/*
 * Encrypt-then-MAC: the MACs before decryption (sets results), and the padding after it, of an authentic
 * record.
 */
void cbc_check_macs(cbc_op *const ops[], size_t count);
void cbc_check_padding(cbc_op *op);
/* Writes the pseudo header's length. */
void cbc_header_length(cbc_op *op, size_t len);

#endif
