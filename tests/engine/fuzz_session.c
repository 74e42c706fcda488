/* SPDX-License-Identifier: Apache-2.0 */
/*
 * libFuzzer target: whatever a peer sends to a session, authentic or not, cut anywhere, nothing outside of the buffers is
 * touched, and what the session then says is good for the other side.
 *
 * Input: one byte chooses suite and side; then pieces, each of a byte that says what it is, a length, and bytes: a record
 * that the peer sealed (any type, any payload), bytes as they come from the network, or an order to the session.
 */
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sealane/session.h>
#include "key_schedule.h"
#include "session_private.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define WIRE_MAX (1 << 16)

static const uint8_t secrets[2][SECRET_MAX] = {{1}, {2}};

typedef struct fight {
    const sealane_suite *suite;
    sealane_session *session;
    sealane_key *peer; /* seals what the session is to open */
    uint8_t peer_secret[SECRET_MAX];
    uint8_t wire[WIRE_MAX];
    size_t wire_len;
} fight;

static void demand(bool condition)
{
    if (!condition)
        abort();
}

static void peer_key(fight *f)
{
    traffic_key traffic;

    traffic_key_derive(f->suite, f->peer_secret, &traffic);
    const sealane_key_params params = {.suite = f->suite,
                                       .direction = SEALANE_SEALING,
                                       .key = traffic.key,
                                       .key_len = sealane_cipher_get(f->suite->cipher)->key_len,
                                       .iv = traffic.iv,
                                       .iv_len = sealane_suite_iv_len(f->suite)};
    sealane_key_free(f->peer);
    f->peer = NULL;
    demand(sealane_key_new(&f->peer, &params) == SEALANE_OK);
}

static void fight_begin(fight *f, uint8_t choice)
{
    static const uint16_t suites[] = {0x1301, 0x1302, 0x1303, 0x1305};
    sealane_session_params params = {.suite = sealane_suite_find(suites[choice % 4]),
                                     .server = choice & 4,
                                     .client_secret = secrets[0],
                                     .server_secret = secrets[1],
                                     .fragment_max = choice & 8 ? 512 : 0};

    f->suite = params.suite;
    params.secret_len = secret_len(f->suite);
    demand(sealane_session_new(&f->session, &params) == SEALANE_OK);
    memcpy(f->peer_secret, secrets[params.server ? 0 : 1], SECRET_MAX);
    peer_key(f);
}

/* The peer seals that. A KeyUpdate in it changes its key. */
static void peer_seals(fight *f, uint8_t type, const uint8_t *bytes, size_t len)
{
    struct iovec piece = {(void *)(uintptr_t)bytes, len};
    sealane_seal_op op = {.key = f->peer,
                          .type = (uint8_t)(SEALANE_ALERT + type % 3),
                          .payload = &piece,
                          .payload_count = 1,
                          .out = f->wire + f->wire_len,
                          .out_size = WIRE_MAX - f->wire_len};

    if (sealane_record_seal(&op) != SEALANE_OK)
        return;
    f->wire_len += op.out_len;
    if (op.type == SEALANE_HANDSHAKE && len >= 5 && bytes[len - 5] == MESSAGE_KEY_UPDATE) {
        traffic_secret_update(f->suite, f->peer_secret);
        peer_key(f);
    }
}

static void network_brings(fight *f, const uint8_t *bytes, size_t len)
{
    len = len < WIRE_MAX - f->wire_len ? len : WIRE_MAX - f->wire_len;
    memcpy(f->wire + f->wire_len, bytes, len);
    f->wire_len += len;
}

/* In memory of exactly that size, so that the sanitizer sees a byte too far. */
static void session_opens(fight *f, size_t room)
{
    uint8_t *in = malloc(f->wire_len + 1), *out = malloc(room + 1);
    bool failed = sealane_session_get_status(f->session) == SEALANE_SESSION_FAILED;

    demand(in != NULL && out != NULL);
    memcpy(in, f->wire, f->wire_len);
    sealane_session_op op = {
        .session = f->session, .in = in, .in_len = f->wire_len, .out = out, .out_size = room};
    sealane_sessions_open(&op, 1);
    demand(op.consumed <= f->wire_len && op.produced <= room && (!failed || op.produced == 0));
    demand(op.result == SEALANE_OK || op.result == SEALANE_SPACE ||
           sealane_session_get_status(f->session) == SEALANE_SESSION_FAILED);
    f->wire_len -= op.consumed;
    memmove(f->wire, f->wire + op.consumed, f->wire_len);
    free(in);
    free(out);
}

static void session_seals(fight *f, const uint8_t *bytes, size_t len)
{
    size_t size = sealane_session_seal_size(f->session, len);
    uint8_t *out = malloc(size);
    sealane_session_op op = {.session = f->session, .in = bytes, .in_len = len, .out = out, .out_size = size};

    demand(out != NULL);
    sealane_sessions_seal(&op, 1);
    demand(op.result == SEALANE_OK ? op.produced <= size : op.produced == 0);
    demand(!sealane_session_wants_seal(f->session));
    free(out);
}

static void step(fight *f, uint8_t what, const uint8_t *bytes, size_t len)
{
    switch (what % 8) {
    case 0:
        network_brings(f, bytes, len);
        break;
    case 1:
        session_opens(f, what & 8 ? len * 7 : 2 * SEALANE_SESSION_OPEN_ROOM);
        break;
    case 2:
        session_seals(f, bytes, len);
        break;
    case 3:
        if (what & 8)
            sealane_session_renew(f->session, what & 16);
        else if (what & 16)
            sealane_session_close(f->session);
        else
            sealane_session_pad(f->session, len);
        break;
    default:
        peer_seals(f, what, bytes, len);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static fight f;

    if (size < 1)
        return 0;
    memset(&f, 0, sizeof(f));
    fight_begin(&f, data[0]);
    for (size_t at = 1; at + 2 <= size;) {
        uint8_t what = data[at];
        size_t len = data[at + 1];
        at += 2;
        len = len < size - at ? len : size - at;
        step(&f, what, data + at, len);
        at += len;
    }
    session_opens(&f, 2 * SEALANE_SESSION_OPEN_ROOM);
    session_seals(&f, NULL, 0);
    sealane_session_free(f.session);
    sealane_key_free(f.peer);
    return 0;
}
