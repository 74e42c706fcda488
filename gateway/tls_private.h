/* SPDX-License-Identifier: Apache-2.0 */
/* The inside of TLS set-up, shared by tls.c and tls_*.c. */
#ifndef GATEWAY_TLS_PRIVATE_H
#define GATEWAY_TLS_PRIVATE_H

#include "tls.h"

/* What all of it is made from. */
struct tls_making {
    const struct settings *settings;
    const struct tls_library *library;
    FILE *errors;
};

/* tls.c: one line about a setting, with what OpenSSL says. */
void tls_complain(const struct tls_making *m, const struct setting *where, const char *key, const char *what);
/* tls.c: a context with what both sides share. NULL, after a complaint, on failure. */
SSL_CTX *tls_new_context(const struct tls_making *m, const SSL_METHOD *method, const struct tls_parameters *p,
                         int line);

/* tls_certificate.c: loads, compares, tries the key. `out` needs tls_certificate_free in either case. */
bool tls_certificate_load(const struct tls_making *m, const struct certificate_settings *from,
                          struct tls_certificate *out);
void tls_certificate_free(struct tls_certificate *c);

/* tls_names.c: identities and names, from the certificates that are loaded; which one a client's name chooses. */
bool tls_names_open(const struct tls_making *m, const struct receive_settings *r, struct tls_server *server);
SSL_CTX *tls_names_find(const struct tls_server *server, const char *name);

/* tls_server.c, tls_client.c */
/* A context for one identity, without certificates yet. */
SSL_CTX *tls_server_context(const struct tls_making *m, const struct receive_settings *r,
                            struct tls_server *server);
bool tls_server_open(const struct tls_making *m, const struct receive_settings *r, struct tickets *tickets,
                     struct tls_server *out);
void tls_server_close(struct tls_server *server);
bool tls_client_open(const struct tls_making *m, const struct send_settings *s, struct tls_client *out);
/* Gives it its certificate, if it has one. */
bool tls_client_certify(const struct tls_making *m, const struct send_settings *s, struct tls_client *client);
void tls_client_close(struct tls_client *client);
bool tls_policy_open(const struct tls_making *m, struct tls *tls, const struct policy_settings *p,
                     struct tls_policy *out);
void tls_trusts_free(struct tls *tls);

#endif
