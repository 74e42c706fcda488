/* SPDX-License-Identifier: Apache-2.0 */
/* What single addresses do; see peers.h. A hash table in shards, each with a lock of its own. */
#include "peers.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <openssl/rand.h>

#define SHARDS    64u
#define SLOTS     1024u /* of a shard: 65,536 addresses in all */
#define PROBES    16u
#define BUCKET_MS 1000u /* how long a handshake is remembered */

struct key {
    uint64_t network; /* the /64 of IPv6; for IPv4 the address itself under a prefix that no /64 has */
    const void *connector;
};

struct peer {
    struct key key;
    bool used;
    long open;
    /* A bucket that leaks `rate` per second: how full it was, in thousandths of a handshake, and when. */
    uint64_t level, at;
};

struct shard {
    pthread_mutex_t lock;
    struct peer slots[SLOTS];
};

struct peers {
    uint64_t seed; /* who knows the hash could fill one shard */
    struct shard shards[SHARDS];
};

struct peers *peers_new(void)
{
    struct peers *peers = calloc(1, sizeof *peers);

    if (peers == NULL || RAND_bytes((unsigned char *)&peers->seed, sizeof peers->seed) != 1) {
        free(peers);
        return NULL;
    }
    for (size_t i = 0; i < SHARDS; i++)
        pthread_mutex_init(&peers->shards[i].lock, NULL);
    return peers;
}

void peers_free(struct peers *peers)
{
    for (size_t i = 0; peers != NULL && i < SHARDS; i++)
        pthread_mutex_destroy(&peers->shards[i].lock);
    free(peers);
}

static struct key make_key(const void *connector, const struct in6_addr *address)
{
    struct key key = {.connector = connector};

    if (IN6_IS_ADDR_V4MAPPED(address)) {
        uint32_t v4;
        memcpy(&v4, address->s6_addr + 12, sizeof v4);
        key.network = UINT64_C(0xffffffff00000000) | v4; /* ff00::/8 is multicast, never a peer */
    } else {
        memcpy(&key.network, address->s6_addr, sizeof key.network);
    }
    return key;
}

static uint64_t hash(const struct peers *peers, const struct key *key)
{
    uint64_t z = key->network ^ peers->seed ^ (uint64_t)(uintptr_t)key->connector << 16;

    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u; /* splitmix64's finish: Steele, Lea, Flood, OOPSLA 2014 */
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

static bool same(const struct key *a, const struct key *b)
{
    return a->network == b->network && a->connector == b->connector;
}

static bool is_forgotten(const struct peer *peer, uint64_t now)
{
    return !peer->used || (peer->open == 0 && now >= peer->at + BUCKET_MS);
}

/* Locked: begin. The peer's slot, made if need be; NULL if there is no room or, without `make`, no such peer. */
static struct peer *find(struct shard *shard, uint64_t h, const struct key *key, uint64_t now, bool make)
{
    struct peer *free_slot = NULL;

    for (unsigned i = 0; i < PROBES; i++) {
        struct peer *peer = &shard->slots[(h / SHARDS + i) % SLOTS];
        if (peer->used && same(&peer->key, key))
            return peer;
        if (free_slot == NULL && is_forgotten(peer, now))
            free_slot = peer;
    }
    if (make && free_slot != NULL)
        *free_slot = (struct peer){.key = *key, .used = true, .at = now};
    return make ? free_slot : NULL;
}

bool peers_enter(struct peers *peers, const void *connector, const struct in6_addr *address, uint64_t now,
                 long most)
{
    struct key key = make_key(connector, address);
    uint64_t h = hash(peers, &key);
    struct shard *shard = &peers->shards[h % SHARDS];
    bool good = true;

    pthread_mutex_lock(&shard->lock);
    struct peer *peer = find(shard, h, &key, now, true);
    if (peer != NULL) {
        good = peer->open < most;
        peer->open += good;
    }
    pthread_mutex_unlock(&shard->lock);
    return good;
}

void peers_leave(struct peers *peers, const void *connector, const struct in6_addr *address)
{
    struct key key = make_key(connector, address);
    uint64_t h = hash(peers, &key);
    struct shard *shard = &peers->shards[h % SHARDS];

    pthread_mutex_lock(&shard->lock);
    struct peer *peer = find(shard, h, &key, 0, false);
    if (peer != NULL && peer->open > 0)
        peer->open--;
    pthread_mutex_unlock(&shard->lock);
}

bool peers_handshake(struct peers *peers, const void *connector, const struct in6_addr *address, uint64_t now,
                     long rate)
{
    struct key key = make_key(connector, address);
    uint64_t h = hash(peers, &key), leaked;
    struct shard *shard = &peers->shards[h % SHARDS];
    bool good = true;

    pthread_mutex_lock(&shard->lock);
    struct peer *peer = find(shard, h, &key, now, true);
    if (peer != NULL) {
        leaked = now > peer->at ? (now - peer->at) * (uint64_t)rate : 0;
        peer->level = peer->level > leaked ? peer->level - leaked : 0;
        peer->at = now;
        good = peer->level + 1000 <= (uint64_t)rate * 1000;
        peer->level += good ? 1000 : 0;
    }
    pthread_mutex_unlock(&shard->lock);
    return good;
}
