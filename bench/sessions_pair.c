/* SPDX-License-Identifier: Apache-2.0 */
#include "sessions_pair.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "certificate.h"
#include "records_reference.h"

static SSL_CTX *context_new(int side, const sealane_suite *suite)
{
    SSL_CTX *ctx = SSL_CTX_new_ex(reference_context(), NULL,
                                  side == PAIR_CLIENT ? TLS_client_method() : TLS_server_method());
    bool done;

    if (ctx == NULL)
        return NULL;
    SSL_CTX_set_options(ctx, SSL_OP_NO_RENEGOTIATION);
    SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF);
    done = SSL_CTX_set_min_proto_version(ctx, suite->version) == 1 &&
           SSL_CTX_set_max_proto_version(ctx, suite->version) == 1 &&
           (suite->version == SEALANE_TLS1_3 ? SSL_CTX_set_ciphersuites(ctx, suite->openssl_name)
                                             : SSL_CTX_set_cipher_list(ctx, suite->openssl_name)) == 1 &&
           sealane_takeover_prepare(ctx);
    if (done && side == PAIR_SERVER)
        done = certificate_use(ctx, strstr(suite->name, "RSA") != NULL);
    if (done)
        return ctx;
    SSL_CTX_free(ctx);
    return NULL;
}

static bool pair_make(const pairs *p, pair *c, bool watched)
{
    for (int side = PAIR_CLIENT; side <= PAIR_SERVER; side++) {
        c->ssl[side] = SSL_new(p->ctx[side]);
        c->reads[side] = BIO_new(BIO_s_mem());
        if (c->ssl[side] == NULL || c->reads[side] == NULL)
            return false;
        BIO_set_mem_eof_return(c->reads[side], -1);
    }
    for (int side = PAIR_CLIENT; side <= PAIR_SERVER; side++) {
        BIO_up_ref(c->reads[!side]);
        SSL_set0_rbio(c->ssl[side], c->reads[side]);
        SSL_set0_wbio(c->ssl[side], c->reads[!side]);
        if (watched && !sealane_takeover_watch(c->ssl[side]))
            return false;
    }
    SSL_set_connect_state(c->ssl[PAIR_CLIENT]);
    SSL_set_accept_state(c->ssl[PAIR_SERVER]);
    for (int turns = 0; turns < 10; turns++)
        if (SSL_do_handshake(c->ssl[PAIR_CLIENT]) + SSL_do_handshake(c->ssl[PAIR_SERVER]) == 2)
            return true;
    return false;
}

bool pairs_make(pairs *out, const sealane_suite *suite, size_t count, bool watched)
{
    bool done;

    memset(out, 0, sizeof(*out));
    out->list = calloc(count, sizeof(out->list[0]));
    for (int side = PAIR_CLIENT; side <= PAIR_SERVER; side++)
        out->ctx[side] = context_new(side, suite);
    done = out->list != NULL && out->ctx[PAIR_CLIENT] != NULL && out->ctx[PAIR_SERVER] != NULL;
    for (; done && out->count < count; out->count++)
        done = pair_make(out, &out->list[out->count], watched);
    if (!done)
        pairs_free(out);
    return done;
}

bool pairs_greet(pairs *p)
{
    char byte;

    for (size_t i = 0; i < p->count; i++)
        for (int side = PAIR_CLIENT; side <= PAIR_SERVER; side++)
            if (SSL_write(p->list[i].ssl[side], "x", 1) != 1 ||
                SSL_read(p->list[i].ssl[!side], &byte, 1) != 1)
                return false;
    return true;
}

bool pairs_take(pairs *p, int side)
{
    for (size_t i = 0; i < p->count; i++) {
        sealane_takeover_verdict verdict = sealane_takeover(p->list[i].ssl[side], &p->list[i].session[side]);
        if (verdict != SEALANE_TAKEN) {
            fprintf(stderr, "bench-sessions: a connection is not taken over: %s\n",
                    sealane_takeover_text(verdict));
            return false;
        }
        p->list[i].ssl[side] = NULL;
        p->list[i].reads[side] = NULL;
    }
    return true;
}

void pairs_end(pairs *p, int side)
{
    for (size_t i = 0; i < p->count; i++) {
        SSL_free(p->list[i].ssl[side]);
        sealane_session_free(p->list[i].session[side]);
        p->list[i].ssl[side] = NULL;
        p->list[i].session[side] = NULL;
    }
}

void pairs_free(pairs *p)
{
    for (int side = PAIR_CLIENT; side <= PAIR_SERVER; side++) {
        pairs_end(p, side);
        SSL_CTX_free(p->ctx[side]);
    }
    free(p->list);
    memset(p, 0, sizeof(*p));
}
