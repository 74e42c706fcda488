/* SPDX-License-Identifier: Apache-2.0 */
/* The inside of a connection, shared by the io*.c files; nobody else includes it. */
#ifndef GATEWAY_IO_PRIVATE_H
#define GATEWAY_IO_PRIVATE_H

#include <netdb.h>
#include "buffer.h"
#include "io.h"
#include "loop.h"

#include <sealane/takeover.h>

#define IO_GROUP 64u /* connections whose records are worked on together */

enum io_stage {
    STAGE_CONNECTING, /* looking up or connecting */
    STAGE_OPEN,
    STAGE_HANDSHAKE,
    STAGE_BROKEN,  /* the owner knows or will be told; it closes */
    STAGE_CLOSING, /* no owner any more: last bytes go out, input is swallowed */
    STAGE_DEAD,    /* no socket any more: waits for libuv's handles and for a paused job */
};

struct io {
    struct loop *loop;
    struct config *config;
    struct io *next, *previous; /* loop->all */
    enum io_stage stage;
    io_handler handler; /* NULL once the owner has left */
    void *owner;

    int fd;          /* -1 before there is one */
    uv_poll_t *poll; /* with fd; of its own memory, since libuv keeps a closed one for a while */
    uv_timer_t timer;
    uint64_t deadline, timer_at; /* of uv_now; 0: none. The timer may be set for earlier. */
    unsigned handles;            /* of libuv, and requests under way: they keep this memory */
    int interest;                /* what poll watches for */
    char peer[INET6_ADDRSTRLEN];
    char error[400];

    /* The turn's lists (loop->active, loop->unsent). */
    struct io *active_next, *unsent_next;
    bool is_active, is_unsent;

    struct buffer net_in;   /* TLS: records as they came */
    struct buffer text_in;  /* for the owner */
    struct buffer text_out; /* TLS: from the owner, not sealed yet */
    struct buffer net_out;  /* for the socket */

    bool paused;
    bool fresh;                /* IO_INPUT is due */
    bool room_wanted, blocked; /* blocked: the socket takes nothing now */
    bool held;
    bool eof;   /* the socket's */
    bool ended; /* nothing more will come into text_in */
    bool eof_told, broken_told, connected_untold;
    bool socket_dead, shut;
    size_t swallowed; /* while closing */

    /* io_connect.c */
    uv_getaddrinfo_t lookup;
    struct addrinfo *addresses, *address; /* `address` is being tried */
    bool addresses_ours;                  /* from getaddrinfo, not libuv's */
    bool looking_up;
    bool connect_ready; /* the socket has an answer */
    int connect_error;  /* errno of the last address that failed */

    /* io_tls.c */
    SSL *ssl;                          /* NULL: no TLS, or the engine has taken it over */
    sealane_session *session;          /* io_records.c: then this has it */
    sealane_takeover_verdict takeover; /* the last one */
    bool takeover_over;                /* no use in asking again */
    const struct tls_server *server;
    const struct tls_policy *policy;         /* client */
    X509 *peer_certificate;                  /* NULL if it showed none */
    char *resumption_key;                    /* client */
    struct tls_events events;                /* client */
    uint64_t handshake_began, signing_began; /* uv_hrtime */
    struct io_facts facts;
    bool key_failed;
    bool job_paused;       /* SSL_do_handshake returned from inside a job */
    bool job_ready;        /* and may go on */
    bool is_woken;         /* under loop->woken_lock: in loop->woken */
    struct io *woken_next; /* under loop->woken_lock */
};

/* True once a handshake has begun: what the socket brings are records. */
static inline bool io_is_secure(const struct io *io)
{
    return io->ssl != NULL || io->session != NULL;
}

/* io.c */
bool io_may_seal(const struct io *io);
void io_last_words(struct io *io); /* sends what is sealed, now: an alert, before the owner aborts */
void io_watch_connect(struct io *io);
void io_mark_active(struct io *io);
void io_mark_unsent(struct io *io);
void io_tell(struct io *io, enum io_event event); /* the owner, if there still is one */

/* io_life.c */
struct io *io_new(struct loop *loop, struct config *config, io_handler handler, void *owner);
bool io_attach(struct io *io, int fd); /* takes the socket over; on failure the fd is closed */
void io_detach(struct io *io);         /* closes the socket and keeps the rest */
void io_break(struct io *io, const char *format, ...) __attribute__((format(printf, 2, 3)));
void io_kill(struct io *io);
void io_release(struct io *io); /* one handle or request less */
void io_free_if_done(struct io *io);

/* io_connect.c */
void io_connect_advance(struct io *io);
void io_connect_cancel(struct io *io);

/* io_tls.c */
void io_tls_handshake(struct io *io);
bool io_tls_open(struct io *io); /* records to text; true if there is more text */
void io_tls_seal(struct io *io); /* text to records, as far as net_out has room */
void io_tls_goodbye(struct io *io);
void io_tls_forget(struct io *io);
void io_tls_free(struct io *io); /* unless a job is paused: then io_wake does it */

/* io_records.c */
bool io_records_take(struct io *io); /* true if the engine has the connection now; `ssl` is NULL then */
void io_records_free(struct io *io);
/* Of those that the engine has: what came in is opened, what is to be sent is sealed, in one batch. */
void io_records_open_group(struct io *const group[], size_t count);
void io_records_seal_group(struct io *const group[], size_t count);
/* The same for one, as far as buffers have room; true if there is more text. */
bool io_records_open(struct io *io);
void io_records_seal(struct io *io);
void io_records_goodbye(struct io *io);
const char *io_records_sealed_by(const struct io *io);

#endif
