/* SPDX-License-Identifier: Apache-2.0 */
/* The inside of a hop, shared by hop.c, hop_find.c, hop_greet.c and hop_smtp.c; nobody else includes it. */
#ifndef GATEWAY_HOP_PRIVATE_H
#define GATEWAY_HOP_PRIVATE_H

#include "hop.h"
#include "loop.h"
#include "resolver.h"

#define QUIT_SECONDS 10

enum hop_state {
    STATE_LOOKUP,
    STATE_CONNECT,
    STATE_BANNER,
    STATE_EHLO,
    STATE_HELO,
    STATE_STARTTLS,
    STATE_SECURING,
    STATE_READY, /* greeted; nothing is unanswered */
    STATE_MAIL,
    STATE_RCPT,
    STATE_DATA,
    STATE_VAIN_DATA, /* DATA went out behind the only RCPT, which was refused */
    STATE_VAIN_DOT,  /* ... and was taken all the same */
    STATE_VAIN_RSET,
    STATE_CONTENT,
    STATE_FINAL,
    STATE_RSET,
    STATE_QUIT,
};

struct host {
    char name[DOMAIN_MAX_LEN + 1];
    char address[INET6_ADDRSTRLEN]; /* "" where the name is still to be looked up */
    const char *port;
    _Atomic uint64_t *failed_at; /* config.h; NULL for hosts of MX records */
};

struct hop {
    struct grave grave;
    struct loop *loop;
    struct config *config;                 /* held */
    struct hop *next, *previous;           /* loop->hops */
    struct hop *idle_next, *idle_previous; /* loop->idle */
    bool is_idle;
    struct destination destination;
    struct mail_lookup *lookup; /* while it is under way */
    struct host *hosts;         /* to be tried, in order; NULL once one is taken */
    size_t host_count, host;    /* `host` is being tried */
    char name[DOMAIN_MAX_LEN + 16];
    char host_name[DOMAIN_MAX_LEN + 1];
    size_t policy; /* of the host that is being tried or was taken */

    struct io *io; /* NULL while a host is looked for, and when it is over */
    bool over;
    hop_handler handler; /* NULL when the owner has left */
    void *owner;
    enum hop_state state;

    struct reply reply; /* as it comes in */
    struct reply
        refusal; /* of MAIL, while RCPT behind it is still unanswered; or our own, to be told later */
    bool mail_refused, refuse_later;

    bool has_size, has_8bitmime, has_smtputf8, has_pipelining, has_starttls, has_dsn;
    bool clear_only; /* level may: the handshake failed before, this is the second attempt */

    const struct envelope *envelope; /* asked for and not answered yet */
    const struct path *recipient;
    const struct recipient_parameters *recipient_params;
    bool mail_open;             /* the next hop has a transaction of ours */
    bool rcpt_sent, rcpt_taken; /* taken: at least one recipient of this transaction */
    bool data_follows;
    bool data_sent; /* behind RCPT, and hop_data was not called yet */
    bool reused;
    long messages;
    enum hop_failure failure;
    char error[512];
};

static inline const struct timeouts *hop_timeouts(const struct hop *hop)
{
    return &hop->config->settings.timeouts;
}

static inline const struct tls_policy *hop_tls_policy(const struct hop *hop)
{
    return &hop->config->tls.policies[hop->policy];
}

/* hop.c */
void hop_leave(struct hop *hop, bool in_order);
void hop_emit(struct hop *hop, enum hop_event event, const struct reply *reply);
/* Tells the owner and ends it. `told` goes to the sender, a stranger; the rest, with names, only into our log. */
void hop_fail(struct hop *hop, enum hop_failure failure, const char *told, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
void hop_fail_with(struct hop *hop, const struct reply *reply);
/* Nothing is unanswered and nobody owns it: waits for work, or leaves. */
void hop_park(struct hop *hop);
void hop_quit(struct hop *hop);

/* hop_find.c */
/* Looks for a host and connects. False: out of memory. */
bool hop_find(struct hop *hop);
/* This host does not do: on to the next one, and if there is none, as hop_fail. Before MAIL only. */
void hop_next_host(struct hop *hop, enum hop_failure failure, const char *told, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
/* Level may: the same host again, without TLS. */
void hop_reconnect_clear(struct hop *hop);
/* A host was taken: the others are forgotten. */
void hop_keep_host(struct hop *hop);

/* hop_greet.c */
bool hop_must_encrypt(const struct hop *hop);
void hop_greet_reply(struct hop *hop);
/* The handshake is over. */
void hop_greet_secured(struct hop *hop);

/* hop_smtp.c */
void hop_on_io(void *owner, enum io_event event);
void hop_command(struct hop *hop, enum hop_state next, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* Carries on with what was asked, if anything. */
void hop_ready(struct hop *hop);

#endif
