/* SPDX-License-Identifier: Apache-2.0 */
/* Keys of session tickets; see tickets.h. */
#include "tickets.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <openssl/crypto.h>
#include <openssl/rand.h>

enum { KEY_CURRENT, KEY_OLD, KEY_COUNT };

struct tickets {
    pthread_rwlock_t lock;
    struct ticket_key *keys; /* KEY_COUNT; an old one that was never made is all zero, as its name tells */
};

static struct ticket_key *map_keys(void)
{
    void *memory = mmap(NULL, KEY_COUNT * sizeof(struct ticket_key), PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    if (memory == MAP_FAILED)
        return NULL;
    /* Where the limits forbid locking, keys are no worse off than in any other daemon. */
    (void)mlock(memory, KEY_COUNT * sizeof(struct ticket_key));
    (void)madvise(memory, KEY_COUNT * sizeof(struct ticket_key), MADV_DONTDUMP);
    return memory;
}

struct tickets *tickets_new(void)
{
    struct tickets *tickets = calloc(1, sizeof *tickets);

    if (tickets == NULL)
        return NULL;
    tickets->keys = map_keys();
    if (tickets->keys == NULL || pthread_rwlock_init(&tickets->lock, NULL) != 0 || !tickets_rotate(tickets)) {
        tickets_free(tickets);
        return NULL;
    }
    return tickets;
}

void tickets_free(struct tickets *tickets)
{
    if (tickets == NULL)
        return;
    if (tickets->keys != NULL) {
        OPENSSL_cleanse(tickets->keys, KEY_COUNT * sizeof *tickets->keys);
        munmap(tickets->keys, KEY_COUNT * sizeof *tickets->keys);
    }
    pthread_rwlock_destroy(&tickets->lock);
    free(tickets);
}

bool tickets_rotate(struct tickets *tickets)
{
    struct ticket_key fresh;
    bool good = RAND_bytes(fresh.name, sizeof fresh.name) == 1 &&
                RAND_priv_bytes(fresh.cipher, sizeof fresh.cipher) == 1 &&
                RAND_priv_bytes(fresh.mac, sizeof fresh.mac) == 1;

    if (good) {
        pthread_rwlock_wrlock(&tickets->lock);
        tickets->keys[KEY_OLD] = tickets->keys[KEY_CURRENT];
        tickets->keys[KEY_CURRENT] = fresh;
        pthread_rwlock_unlock(&tickets->lock);
    }
    OPENSSL_cleanse(&fresh, sizeof fresh);
    return good;
}

void tickets_current(struct tickets *tickets, struct ticket_key *out)
{
    pthread_rwlock_rdlock(&tickets->lock);
    *out = tickets->keys[KEY_CURRENT];
    pthread_rwlock_unlock(&tickets->lock);
}

bool tickets_find(struct tickets *tickets, const uint8_t name[TICKET_NAME_LEN], struct ticket_key *out,
                  bool *old)
{
    static const uint8_t never[TICKET_NAME_LEN];
    bool found = false;

    pthread_rwlock_rdlock(&tickets->lock);
    for (int i = 0; !found && i < KEY_COUNT; i++) {
        found = memcmp(tickets->keys[i].name, name, TICKET_NAME_LEN) == 0 &&
                memcmp(name, never, TICKET_NAME_LEN) != 0;
        if (found) {
            *out = tickets->keys[i];
            *old = i != KEY_CURRENT;
        }
    }
    pthread_rwlock_unlock(&tickets->lock);
    return found;
}
