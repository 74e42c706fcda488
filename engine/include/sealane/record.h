/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The TLS record layer, one record at a time or a batch from any number of connections.
 *
 * How it is used. After a handshake each direction of a connection has a traffic key: make a sealane_key from
 * it and hand it to every operation of that direction. The key holds the sequence number and makes the
 * nonces, so there is nothing to get wrong between records. A server with many connections fills an array of
 * operations, those of all connections that have something to send or have received something, and calls
 * sealane_batch_seal() or sealane_batch_open() once: short records of different keys are processed side by
 * side.
 *
 *     sealane_key *key;
 *     sealane_key_params params = {.suite = sealane_suite_find(0x1301), .direction = SEALANE_SEALING,
 *                                  .key = traffic_key, .key_len = 16, .iv = traffic_iv, .iv_len = 12};
 *     if (sealane_key_new(&key, &params) != SEALANE_OK) ...
 *     sealane_seal_op op = {.key = key, .type = SEALANE_APPLICATION_DATA, .payload = &iov,
 *                           .payload_count = 1, .out = buffer, .out_size = sizeof(buffer)};
 *     if (sealane_record_seal(&op) == SEALANE_OK)
 *         send(fd, buffer, op.out_len, 0);
 *
 * What stays with the caller: the handshake and its unprotected records (among them TLS 1.3's
 * change_cipher_spec, RFC 8446 5), alerts, new keys after a KeyUpdate, and closing a connection after any
 * error. What a result calls for is written with it below. This layer never fragments: the caller offers at
 * most SEALANE_PLAINTEXT_MAX.
 *
 * Conventions of results, lengths, ownership, threads and secrets: sealane/result.h. In a batch, a key counts
 * as used by the thread that runs the batch.
 */
#ifndef SEALANE_RECORD_H
#define SEALANE_RECORD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>
#include <sealane/result.h>
#include <sealane/suite.h>

#ifdef __cplusplus
extern "C" {
#endif

#define SEALANE_RECORD_HEADER_LEN   5              /* type, version, length: RFC 8446 5.1, RFC 5246 6.2.1 */
#define SEALANE_PLAINTEXT_MAX       16384          /* 2^14: RFC 8446 5.1, RFC 5246 6.2.1 */
#define SEALANE_TLS1_3_FRAGMENT_MAX (16384 + 256)  /* after the header: RFC 8446 5.2 */
#define SEALANE_TLS1_2_FRAGMENT_MAX (16384 + 2048) /* after the header: RFC 5246 6.2.3 */
/* A buffer of this size holds any record. */
#define SEALANE_RECORD_MAX (SEALANE_RECORD_HEADER_LEN + SEALANE_TLS1_2_FRAGMENT_MAX)

/* Content types, RFC 8446 5.1. Types beyond these are not protected records of TLS. */
enum {
    SEALANE_CHANGE_CIPHER_SPEC = 20, /* TLS 1.2 only, in a renegotiation */
    SEALANE_ALERT = 21,
    SEALANE_HANDSHAKE = 22,
    SEALANE_APPLICATION_DATA = 23,
};

/* ---- Keys ---- */

typedef struct sealane_key sealane_key;

typedef enum sealane_direction {
    SEALANE_SEALING,
    SEALANE_OPENING,
} sealane_direction;

/* One direction's traffic key, as the handshake's key schedule gives it. Everything is copied. */
typedef struct sealane_key_params {
    const sealane_suite *suite; /* says version and cipher */
    sealane_direction direction;
    const uint8_t *key; /* RFC 8446 7.3 "key"; RFC 5246 6.3 client_write_key or server_write_key */
    size_t key_len;     /* the cipher's */
    const uint8_t *iv;  /* RFC 8446 7.3 "iv"; RFC 5246 6.3 client_write_IV or server_write_IV */
    size_t iv_len;      /* sealane_suite_iv_len(suite) */
    uint64_t sequence;  /* of the first record: 0, or where another implementation left off */
    /*
     * TLS 1.2 sealing with an explicit nonce (GCM, CCM) only: the first record's; it counts up by one per
     * record. With a fresh key any value will do, for instance `sequence` (RFC 5288 3, RFC 6655 3). When
     * taking a key over it must go on from the other implementation's last one: the same nonce twice gives
     * the key away.
     */
    uint64_t explicit_nonce;
    /* Suites of AES-CBC with HMAC only (TLS 1.2): */
    const uint8_t *mac_key; /* RFC 5246 6.3 client_write_MAC_key or server_write_MAC_key */
    size_t mac_key_len;     /* the cipher's tag_len */
    bool encrypt_then_mac;  /* RFC 7366 was negotiated; else MAC-then-encrypt */
} sealane_key_params;

/* Bytes of IV that a suite takes from the key schedule: 12, 4 with an explicit nonce, none with CBC. */
size_t sealane_suite_iv_len(const sealane_suite *suite);

/* SEALANE_ARGUMENT: a length is not the suite's. Also SEALANE_UNSUPPORTED, SEALANE_MEMORY. */
sealane_result sealane_key_new(sealane_key **out, const sealane_key_params *params);
void sealane_key_free(sealane_key *key);

/* The next record's sequence number. */
uint64_t sealane_key_sequence(const sealane_key *key);

/*
 * True when a new key is due: so many records were sealed that the cipher's limit (seal_limit of its row, RFC
 * 8446 5.5) is less than a sixteenth away, or the sequence number is as close to its end. TLS 1.3: send a
 * KeyUpdate and go on with a new sealane_key. TLS 1.2: end the connection at the next chance. Ask after each
 * batch; it costs nothing. Who does not act on it gets SEALANE_LIMIT when the limit is reached.
 */
bool sealane_key_rekey_due(const sealane_key *key);

/* ---- Sealing ---- */

/* Bytes before the ciphertext in a record of this key: header, and explicit nonce or IV if there is one: 5,
 * 13, or 21 with CBC. */
size_t sealane_record_prefix_len(const sealane_key *key);
/* Bytes of a whole record with that much payload and padding: what `out_size` must be at least. */
size_t sealane_record_seal_size(const sealane_key *key, size_t payload_len, size_t padding);

/*
 * One record to seal. The payload may be scattered; its pieces are gathered at `out` + prefix, but for one alone
 * that the cipher can take from where it is. So the cheapest payload is in one piece, or was built there from the
 * start: a first piece that begins exactly at `out` + prefix is not copied. No other piece may overlap `out`.
 */
typedef struct sealane_seal_op {
    sealane_key *key;            /* of direction SEALANE_SEALING */
    const struct iovec *payload; /* read only; layout of uv_buf_t too, on Unix */
    size_t payload_count;        /* pieces; 0 for an empty record */
    size_t padding;              /* TLS 1.3: zero bytes to hide the length (RFC 8446 5.4); TLS 1.2: 0 */
    uint8_t *out;                /* the record: header, ciphertext, tag */
    size_t out_size;             /* room there */
    uint8_t type;                /* content type */
    /* Set by the call: */
    size_t out_len; /* bytes of the record; 0 if it failed */
    sealane_result result;
} sealane_seal_op;

/*
 * Seals one record; sets and returns op->result.
 *   SEALANE_ARGUMENT  wrong direction, unknown type, padding in TLS 1.2, an empty record of a type that must
 *                     not be empty (RFC 8446 5.1, RFC 5246 6.2.1: all but application data)
 *   SEALANE_OVERFLOW  payload above SEALANE_PLAINTEXT_MAX, or payload and padding together
 *   SEALANE_SPACE     out_size is less than sealane_record_seal_size()
 *   SEALANE_LIMIT     the key is used up: nothing may be sealed with it any more
 *   SEALANE_INTERNAL  the routines failed; `out` is wiped, the sequence number is spent
 * Up to SEALANE_LIMIT in this list nothing was written and the sequence number is not used.
 */
sealane_result sealane_record_seal(sealane_seal_op *op);

/*
 * Seals `count` records, each with its own result. Records of one key get consecutive sequence numbers in the
 * order of the array. No two operations may share bytes of `out`, nor may one's `out` be another's payload.
 */
void sealane_batch_seal(sealane_seal_op ops[], size_t count);

/* ---- Opening ---- */

/*
 * How long is the record that begins at `data`, of which `len` bytes are here? `*record_len` is its whole
 * length with header, or SEALANE_RECORD_HEADER_LEN as long as fewer bytes than that are here: the record is
 * complete if *record_len <= len and len >= SEALANE_RECORD_HEADER_LEN. Refuses early, before a stranger can
 * make us buffer:
 *   SEALANE_RECORD    type or version is none of this connection's, or it is too short for its tag
 *   SEALANE_OVERFLOW  longer than the version allows: alert record_overflow
 */
sealane_result sealane_record_length(const sealane_key *key, const uint8_t *data, size_t len,
                                     size_t *record_len);

/* Bytes that opening a record of that whole length may write at `out`: what `out_size` must be at least. */
size_t sealane_record_open_size(const sealane_key *key, size_t record_len);

/*
 * One whole record to open. `out` may be `record` + sealane_record_prefix_len() exactly (in place) or must
 * not overlap the record. In TLS 1.3 the payload stands at `out`, with type byte and padding behind it; with
 * CBC it stands there with MAC and padding behind it. How long a payload of CBC is stays unknown to whoever
 * can only measure the time that opening takes, and so does what was wrong with a record that is refused.
 *
 * In place and several records of one key in one batch do not go together in TLS 1.3: a KeyUpdate (in a
 * SEALANE_HANDSHAKE record, so it shows only after opening) means that the records behind it are under the
 * next key. They fail with SEALANE_FORGED here and must be opened again from their ciphertext, which in place
 * is gone.
 */
typedef struct sealane_open_op {
    sealane_key *key;      /* of direction SEALANE_OPENING */
    const uint8_t *record; /* from the header to the tag */
    size_t record_len;     /* exactly; sealane_record_length() tells */
    uint8_t *out;
    size_t out_size; /* at least sealane_record_open_size(): record_len - prefix - tag, more with CBC */
    /* Set by the call: */
    size_t payload_len; /* bytes of payload at `out`; 0 if it failed, and possible if not */
    uint8_t type;       /* content type; 0 if it failed */
    sealane_result result;
} sealane_open_op;

/*
 * Opens one record; sets and returns op->result. Any error is the end of the connection.
 *   SEALANE_FORGED    alert bad_record_mac. `out` is wiped, and the key opens nothing any more: all further
 *                     records of it are SEALANE_FORGED, so that none can be cut out of a stream unseen. RFC
 *                     9147's limit of forgeries per key (open_limit) is thereby never reached.
 *   SEALANE_RECORD    not a record of this connection (header), or authentic but malformed: no content type,
 *                     a type that may not be protected, an empty alert or handshake. alert unexpected_message
 *   SEALANE_OVERFLOW  alert record_overflow
 *   SEALANE_SPACE     out_size is too small; try again with more room
 *   SEALANE_LIMIT     the sequence numbers are used up
 *   SEALANE_ARGUMENT  wrong direction, NULL
 */
sealane_result sealane_record_open(sealane_open_op *op);

/*
 * Opens `count` records, each with its own result; records of one key stand in the array in the order of
 * their arrival. A forged record fails alone, with the records of the same key behind it. No two operations
 * may share bytes of `out`, nor may one's `out` be in another's record.
 */
void sealane_batch_open(sealane_open_op ops[], size_t count);

#ifdef __cplusplus
}
#endif
#endif
