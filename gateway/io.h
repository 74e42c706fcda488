/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A connection: socket, TLS and buffers behind a narrow waist. The SMTP code above never sees a socket or an
 * SSL.
 *
 * An io belongs to one loop and one owner. It reads ahead into buffers of fixed size and tells the owner with
 * events; the owner takes lines or bytes out, writes bytes in, and holds input back with io_pause. Nothing is
 * sealed or sent inside io_write: at the end of each turn of the loop everything that was written is sealed
 * and sent together. Events are never delivered from inside one of these functions, so an owner may call any
 * of them from its handler without being entered twice.
 *
 * Memory per connection: at most four buffers (buffer.h) and what TLS needs; none while it is idle, but for the
 * two kilobytes of a session of the engine's (io_records.c), or a multiple of that where libssl keeps the connection.
 */
#ifndef GATEWAY_IO_H
#define GATEWAY_IO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "config.h"

struct io;
struct loop;

enum io_event {
    IO_CONNECTED, /* io_connect: there is a connection */
    IO_SECURED,   /* the handshake is over; io_facts tells what came of it */
    IO_INPUT,     /* bytes are there that were not there before, or io_resume was called with bytes there */
    IO_ROOM,      /* after io_wait_room: at least half a buffer can be written again */
    IO_EOF,       /* the peer sends no more; all it sent has been taken. Comes once, also while paused. */
    IO_FAILED,    /* broken; io_error says why. The only thing left to do is io_close or io_abort. */
    IO_TIMEOUT,   /* the deadline has passed */
};

typedef void (*io_handler)(void *owner, enum io_event event);

/* An accepted socket; NULL (and the socket closed) if out of memory. It holds `config` until it is freed. */
struct io *io_accept(struct loop *loop, struct config *config, int fd, io_handler handler, void *owner);
/*
 * Looks `host` up (numeric ones need no resolver) and tries its addresses in turn until one answers.
 * IO_CONNECTED or IO_FAILED follows.
 */
struct io *io_connect(struct loop *loop, struct config *config, const char *host, const char *port,
                      io_handler handler, void *owner);

/*
 * Ends it: what was written is still sealed and sent, TLS says goodbye, and unread input is swallowed for a
 * moment so that the peer reads our last words before a reset reaches it. The owner hears nothing more.
 */
void io_close(struct io *io);
/* Ends it at once: nothing more is sent. For a peer that must not take what it has for complete. */
void io_abort(struct io *io);

/* ---- Input ---- */

enum io_line {
    IO_LINE_NONE, /* not there yet */
    IO_LINE_READY,
    IO_LINE_TOO_LONG, /* `max` bytes without an end */
    IO_LINE_BROKEN,   /* a CR or LF alone, or a NUL */
};

/*
 * Takes the next line, without its CRLF, of at most `max` bytes. `*line` stays good until the handler
 * returns.
 */
enum io_line io_take_line(struct io *io, size_t max, const char **line, size_t *len);
/* The bytes that are there, without taking them. */
const uint8_t *io_peek(const struct io *io, size_t *len);
void io_drop(struct io *io, size_t len);

/* No more IO_INPUT until io_resume. Reading ahead goes on until the buffers are full. */
void io_pause(struct io *io);
void io_resume(struct io *io);

/* ---- Output ---- */

/* How many bytes io_write takes now. */
size_t io_room(const struct io *io);
/* All of it or (too little room, out of memory) none: then the io is broken and IO_FAILED follows. */
bool io_write(struct io *io, const void *bytes, size_t len);
/* Asks for one IO_ROOM. */
void io_wait_room(struct io *io);
/* While it is held, what is written waits, to go out with what comes behind it. io_close lets go by itself. */
void io_hold(struct io *io, bool held);
/*
 * Who seals what was written: "vaes512", "libcrypto"... Static. With libssl it is sealed for that, now; sending still
 * happens at the end of the turn.
 */
const char *io_sealed_by(struct io *io);

/* ---- TLS ---- */

/*
 * Starts a handshake. What was written before still goes out in the clear. False: out of memory, or bytes of
 * the peer are already there that it cannot have meant for TLS (the caller checks io_peek before). With `implicit` TLS
 * they are the beginning of its handshake.
 */
bool io_secure_server(struct io *io, const struct tls_server *server, bool implicit);
/* `host` and `domain` as tls_demand takes them; `key` is the resumption's. The strings are copied or used now. */
bool io_secure_client(struct io *io, const struct tls_client *client, const struct tls_policy *policy,
                      const char *host, const char *domain, const char *key);
/* False if as many handshakes of this loop wait for their signature as the settings allow. */
bool io_may_sign(const struct io *io, const struct tls_server *server);

/* What came of a handshake. All strings static or inside; "" where there is nothing to say. */
struct io_facts {
    bool secured;
    bool resumed;
    bool trusted; /* the peer's certificate is signed by somebody we trust (server: client_ca) */
    enum tls_level
        achieved; /* client: what of the policy holds; server: ENCRYPT, or FINGERPRINT with a certificate */
    const char *version; /* "TLSv1.3" */
    const char *cipher;  /* IANA's name */
    const char *group;
    const char *key_type;     /* server: of the certificate used */
    const char *certificate;  /* server: its name */
    struct fingerprints peer; /* of the peer's certificate */
    char peer_name[128];      /* ... its first name */
    long handshake_ms;
};

const struct io_facts *io_facts(const struct io *io);

/* ---- Everything else ---- */

/* IO_TIMEOUT after `seconds`; 0 switches it off. A new deadline replaces the old one. */
void io_deadline(struct io *io, long seconds);
/* Why IO_FAILED came; one line. */
const char *io_error(const struct io *io);
/* True if the failure was our own key's: the token did not sign. */
bool io_key_failed(const struct io *io);
/* "127.0.0.1", the peer's address without port. */
const char *io_peer(const struct io *io);
/* A proxy in front of us said who the peer is. */
void io_set_peer(struct io *io, const char *address);
/* True if the peer showed a certificate with this DNS name (wildcards as RFC 6125 has them). */
bool io_peer_is(const struct io *io, const char *name);
/* Bytes are waiting at the socket although nothing was said yet. */
bool io_spoke_early(const struct io *io);

/* ---- For loop.c only ---- */

/* Does all the work that the turn's events left: opens, delivers, seals, sends, until nothing is left. */
void io_turn(struct loop *loop);
/* Resumes the handshakes whose signature is there. */
void io_wake(struct loop *loop);
/* Ends all of a loop's connections at once. */
void io_abort_all(struct loop *loop);

#endif
