/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The inside of a session, shared by session.c (the connection), session_admit.c (who may have one),
 * session_command.c (the dialogue), session_content.c (the message), session_relay.c (the next hop) and session_tell.c (what
 * is shown of it); nobody else includes it.
 *
 * While something else is asked, `waiting` says for what, the connection is paused, and no command is looked at: so
 * pipelined commands are worked off one by one, each after the answer to the one before (RFC 2920).
 */
#ifndef GATEWAY_SESSION_PRIVATE_H
#define GATEWAY_SESSION_PRIVATE_H

#include "io.h"
#include "loop.h"
#include "transaction.h"

enum session_state {
    SESSION_START, /* not greeted, or not since STARTTLS */
    SESSION_READY, /* greeted, no transaction */
    SESSION_MAIL,  /* a sender, no recipient yet */
    SESSION_RCPT,  /* at least one recipient was accepted */
    SESSION_DATA,  /* the message itself: no commands */
    SESSION_STATES = SESSION_DATA,
};

enum waiting {
    WAIT_NOTHING,
    WAIT_PROXY,     /* for the PROXY header */
    WAIT_SECURED,   /* for the handshake */
    WAIT_RECIPIENT, /* for the next hop's answer to RCPT */
    WAIT_REPLAY,    /* ... to a RCPT that another next hop had answered before */
    WAIT_DATA,      /* ... to DATA */
    WAIT_ROOM,      /* for the next hop to take what it was sent */
    WAIT_FINAL,     /* for its answer to the final dot */
};

struct session {
    struct grave grave;
    struct session *next, *previous; /* loop->sessions */
    struct loop *loop;
    struct config *config; /* held */
    size_t connector;
    const struct receive_settings *receive;
    struct io *io; /* NULL when it is over */
    struct in6_addr address;
    bool admitted; /* counted in gateway->peers */
    enum session_state state;
    enum waiting waiting;
    char helo[DOMAIN_MAX_LEN + 1];
    bool esmtp, dsn;  /* dsn: it was offered */
    bool sender_gone; /* while we waited; it will not hear our answer */
    bool unconfirmed; /* our 250 was written, and nothing heard from the sender since */
    char last_id[32]; /* of the message that this is about */
    long errors, bad_recipients;
    unsigned vain; /* commands since the last message that bring none along */
    uint64_t began, messages;
    uint64_t held_since; /* loop_now; 0 while no answer is held back */

    /* Only while there is a transaction: an idle connection is small. */
    struct transaction *tx;
    struct hop *hop; /* NULL before the first recipient, and after it broke */

    /* The minimum rate: bytes of DATA, and the time that the sender (not the next hop) had for them. */
    uint64_t window_began; /* loop_now; 0 while we are the ones who wait */
    uint64_t window_ms, window_bytes;
};

static inline const struct settings *session_settings(const struct session *s)
{
    return &s->config->settings;
}

/* ---- session.c ---- */

enum goodbye { GOODBYE, NO_GOODBYE };

void session_end(struct session *s, enum goodbye goodbye);
struct sender session_sender(const struct session *s);
/* One line of our own, complete but for its CRLF. */
void session_say(struct session *s, const char *line);
void session_say_reply(struct session *s, const struct reply *reply);
void session_say_goodbye(struct session *s, const char *line);
/* A command that cannot be obeyed. Those who do nothing else are cut off: it is how servers are probed. */
void session_say_error(struct session *s, const char *line);
/* One more error. False if it was one too many: then the goodbye has been said. */
bool session_bears_error(struct session *s);
/* After a transaction, and when told to: leave if the gateway is about to stop. */
void session_leave_if_draining(struct session *s);
void session_start_waiting(struct session *s, enum waiting what);
void session_stop_waiting(struct session *s);
/* Starts TLS; false if it may not now. */
bool session_secure(struct session *s, bool implicit);
void session_note_possible_duplicate(struct session *s, const char *id, const char *why);

/* ---- session_admit.c ---- */

/* A connection has come: it is let in or not, after its PROXY header if it must have one. */
void session_admit(struct session *s);
void session_take_proxy(struct session *s);
void session_refuse_proxy(struct session *s, const char *why);
void session_say_banner(struct session *s);

/* ---- session_command.c ---- */

/* One command line. False if there is none (yet), or the session is over. */
bool session_take_command(struct session *s);
/* Gives the open transaction up, here and at the next hop. */
void session_drop_transaction(struct session *s);
/* Closes the open transaction's books. */
void session_end_transaction(struct session *s, enum transaction_result result);

/* ---- session_content.c ---- */

/* The next hop waits for the message. */
void session_begin_content(struct session *s);
/* Passes on what is there, as far as the next hop has room. False if nothing more can be done now. */
bool session_take_content(struct session *s);
/* The next hop has room again, or is gone. */
void session_resume_content(struct session *s);
/* Nothing more of this message goes anywhere: the next hop hears no dot, the sender is told at the end. */
void session_refuse_content(struct session *s, const struct reply *verdict);
/* The answer to the final dot. */
void session_finish_message(struct session *s, const struct reply *reply);
/* In DATA: was the sender fast enough over a whole window of its own time? */
void session_judge_rate(struct session *s);

/* ---- session_relay.c ---- */

/* Asks for tx->recipient, wherever it goes. */
void session_relay_recipient(struct session *s);
void session_relay_data(struct session *s);
/* The next hop's connection is not needed any more. */
void session_release_hop(struct session *s);

#endif
