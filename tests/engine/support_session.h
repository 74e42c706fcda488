/* SPDX-License-Identifier: Apache-2.0 */
/* A session against a peer of ours, which seals whatever it likes: what the tests of sessions share. */
#ifndef ENGINE_TEST_SUPPORT_SESSION_H
#define ENGINE_TEST_SUPPORT_SESSION_H

#include <sealane/engine.h>
#include "frame.h"
#include "session_private.h"
#include "support.h"

#define AES128_13 0x1301
#define AES256_13 0x1302
#define CHACHA_13 0x1303
#define AES128_12 0xc02b

extern const uint8_t match_secrets[2][SECRET_MAX]; /* client's and server's, TLS 1.3 */
extern const uint8_t match_master[TLS12_MASTER], match_randoms[2][TLS12_RANDOM];

/* A session, and the keys of its peer. */
typedef struct match {
    sealane_session *session;
    const sealane_suite *suite;
    bool server;
    sealane_key *seal, *open;                                 /* the peer's */
    uint8_t seal_secret[SECRET_MAX], open_secret[SECRET_MAX]; /* TLS 1.3 */
    uint8_t wire[1 << 18];                                    /* to the session */
    size_t wire_len;
    uint8_t got[1 << 18];
    size_t got_len;
    unsigned tickets, ends;
} match;

/* The session is the server of TLS or its client; `fragment_max` as its params have it. */
void match_begin(match *m, uint16_t suite, bool server, size_t fragment_max);
void match_end(match *m);
/* The next record of the peer, at `out`; returns its length. */
size_t match_seal(match *m, uint8_t type, const void *payload, size_t len, size_t padding, uint8_t *out);
/* ... on the way to the session. */
void match_send_padded(match *m, uint8_t type, const void *payload, size_t len, size_t padding);
void match_send(match *m, uint8_t type, const void *payload, size_t len);
void match_send_key_update(match *m, uint8_t request);
/* TLS 1.3: a record with that inner plaintext, type byte and padding included, which no honest peer would seal. */
void match_send_inner(match *m, const void *inner, size_t len);
/* The next generation of one of the peer's keys. */
void match_peer_renew(match *m, sealane_key **key, uint8_t *secret, sealane_direction direction);
/* The session opens what was sent. */
sealane_result match_receive(match *m);

/* What the session has to say: the next record, opened by the peer. */
typedef struct heard {
    uint8_t type;
    uint8_t payload[SEALANE_PLAINTEXT_MAX + 256];
    size_t len;
} heard;

/* The session seals `data`, and what it has to say itself; returns how many records came of it. */
size_t match_say(match *m, const void *data, size_t len, heard list[], size_t room);
/* It fails, delivers nothing of that, and says so by this alert and nothing else. Ends the match. */
void match_fails(match *m, sealane_result result, uint8_t alert);

#endif
