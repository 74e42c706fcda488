/* SPDX-License-Identifier: Apache-2.0 */
/* TLS sessions kept for the next connection; see resumption.h. */
#include "resumption.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#define KEYS_MAX     512u /* next hops remembered */
#define SESSIONS_MAX 16u  /* of each: as many connections may be opened in a row by resumption */

struct resumption {
    struct resumption *next;
    SSL_SESSION *sessions[SESSIONS_MAX]; /* the newest last */
    size_t count;
    char key[];
};

/* The entry, moved to the front; NULL if there is none. */
static struct resumption *find(struct resumptions *cache, const char *key)
{
    for (struct resumption **at = &cache->first, *r; (r = *at) != NULL; at = &r->next) {
        if (strcmp(r->key, key) == 0) {
            *at = r->next;
            r->next = cache->first;
            cache->first = r;
            return r;
        }
    }
    return NULL;
}

static void free_entry(struct resumption *r)
{
    while (r->count > 0)
        SSL_SESSION_free(r->sessions[--r->count]);
    free(r);
}

static void drop_last(struct resumptions *cache)
{
    struct resumption **at = &cache->first;

    while (*at != NULL && (*at)->next != NULL)
        at = &(*at)->next;
    if (*at == NULL)
        return;
    free_entry(*at);
    *at = NULL;
    cache->count--;
}

static struct resumption *add(struct resumptions *cache, const char *key)
{
    size_t len = strlen(key) + 1;
    struct resumption *r = calloc(1, sizeof *r + len);

    if (r == NULL)
        return NULL;
    memcpy(r->key, key, len);
    if (cache->count == KEYS_MAX)
        drop_last(cache);
    r->next = cache->first;
    cache->first = r;
    cache->count++;
    return r;
}

void resumptions_put(struct resumptions *cache, const char *key, SSL_SESSION *session)
{
    struct resumption *r = find(cache, key);

    if (r == NULL)
        r = add(cache, key);
    if (r == NULL) {
        SSL_SESSION_free(session);
        return;
    }
    if (r->count == SESSIONS_MAX) {
        SSL_SESSION_free(r->sessions[0]);
        memmove(r->sessions, r->sessions + 1, (SESSIONS_MAX - 1) * sizeof(SSL_SESSION *));
        r->count--;
    }
    r->sessions[r->count++] = session;
}

/* OpenSSL 3.3 has a function without the year 2038 in it, 3.4 deprecates the other. */
static time_t session_time(const SSL_SESSION *session)
{
#if OPENSSL_VERSION_NUMBER >= 0x30300000L
    return SSL_SESSION_get_time_ex(session);
#else
    return SSL_SESSION_get_time(session);
#endif
}

SSL_SESSION *resumptions_take(struct resumptions *cache, const char *key)
{
    struct resumption *r = find(cache, key);

    while (r != NULL && r->count > 0) {
        SSL_SESSION *session = r->sessions[--r->count];
        long age = (long)(time(NULL) - session_time(session));
        if (age >= 0 && age < SSL_SESSION_get_timeout(session))
            return session;
        SSL_SESSION_free(session);
    }
    return NULL;
}

void resumptions_clear(struct resumptions *cache)
{
    while (cache->first != NULL) {
        struct resumption *r = cache->first;
        cache->first = r->next;
        free_entry(r);
    }
    cache->count = 0;
}
