/* SPDX-License-Identifier: Apache-2.0 */
/* HKDF-Expand-Label (RFC 8446 7.1, RFC 5869 2.3) and the PRF of TLS 1.2 (RFC 5246 5): key_schedule.h. */
#include "key_schedule.h"

#include <string.h>
#include <openssl/crypto.h>
#include <sealane/record.h>
#include "hmac.h"

#define LABEL_PREFIX     "tls13 "
#define LABEL_PREFIX_LEN 6
#define LABEL_MAX        11 /* "traffic upd" */
/* RFC 8446 7.1 HkdfLabel without a context, and RFC 5869 2.3's counter behind it */
#define INFO_MAX (2 + 1 + LABEL_PREFIX_LEN + LABEL_MAX + 1 + 1)

/* RFC 5246 6.3: a key and four bytes of IV, or twelve, for each side */
#define KEY_BLOCK_MAX (2 * (SEALANE_KEY_MAX + SEALANE_NONCE_LEN))

static sha_id suite_hash(const sealane_suite *suite)
{
    return sealane_suite_hash_len(suite) == sha_rows[SHA_ID_384].digest_len ? SHA_ID_384 : SHA_ID_256;
}

size_t secret_len(const sealane_suite *suite)
{
    return sealane_suite_hash_len(suite);
}

/* ---- TLS 1.3 ---- */

/* The one HMAC that an expansion of no more than a digest is: RFC 5869 2.3, T(1). */
typedef struct expansion {
    uint8_t info[INFO_MAX];
    uint8_t out[SHA_DIGEST_MAX];
} expansion;

static hmac_op expansion_begin(expansion *e, const hmac_key *key, const char *label, size_t out_len)
{
    size_t label_len = strlen(label), len = 0;

    e->info[len++] = 0;
    e->info[len++] = (uint8_t)out_len;
    e->info[len++] = (uint8_t)(LABEL_PREFIX_LEN + label_len);
    memcpy(e->info + len, LABEL_PREFIX, LABEL_PREFIX_LEN);
    memcpy(e->info + len + LABEL_PREFIX_LEN, label, label_len);
    len += LABEL_PREFIX_LEN + label_len;
    e->info[len++] = 0; /* no context */
    e->info[len++] = 1; /* RFC 5869 2.3: T(1) */
    return (hmac_op){.key = key,
                     .header = e->info,
                     .body = e->info + HMAC_HEADER_LEN, /* the shortest label, "iv", makes 13 bytes */
                     .len = len - HMAC_HEADER_LEN,
                     .mac = e->out};
}

void traffic_key_derive(const sealane_suite *suite, const uint8_t *secret, traffic_key *out)
{
    const sha_id hash = suite_hash(suite);
    const size_t key_len = sealane_cipher_get(suite->cipher)->key_len;
    expansion key, iv;
    hmac_key hmac;
    hmac_op ops[2];

    hmac_key_init(hash, &hmac, secret, secret_len(suite));
    ops[0] = expansion_begin(&key, &hmac, "key", key_len);
    ops[1] = expansion_begin(&iv, &hmac, "iv", SEALANE_NONCE_LEN);
    hmac_compute_many(hash, ops, 2);
    memcpy(out->key, key.out, key_len);
    memcpy(out->iv, iv.out, SEALANE_NONCE_LEN);
    OPENSSL_cleanse(&hmac, sizeof(hmac));
    OPENSSL_cleanse(&key, sizeof(key));
    OPENSSL_cleanse(&iv, sizeof(iv));
}

void traffic_secret_update(const sealane_suite *suite, uint8_t *secret)
{
    const sha_id hash = suite_hash(suite);
    expansion next;
    hmac_key hmac;
    hmac_op op;

    hmac_key_init(hash, &hmac, secret, secret_len(suite));
    op = expansion_begin(&next, &hmac, "traffic upd", secret_len(suite));
    hmac_compute_many(hash, &op, 1);
    memcpy(secret, next.out, secret_len(suite));
    OPENSSL_cleanse(&hmac, sizeof(hmac));
    OPENSSL_cleanse(&next, sizeof(next));
}

/* ---- TLS 1.2 ---- */

/* RFC 5246 6.3: the seed is server's random first. */
typedef struct prf_seed {
    uint8_t label[HMAC_HEADER_LEN];
    uint8_t randoms[2 * TLS12_RANDOM];
} prf_seed;

_Static_assert(sizeof(prf_seed) == HMAC_HEADER_LEN + 2 * TLS12_RANDOM, "one message in one piece");

static void hmac_one(sha_id hash, const hmac_key *key, const uint8_t *message, size_t len, uint8_t *mac)
{
    const hmac_op op = {.key = key,
                        .header = message,
                        .body = message + HMAC_HEADER_LEN,
                        .len = len - HMAC_HEADER_LEN,
                        .mac = mac};

    hmac_compute_many(hash, &op, 1);
}

/* RFC 5246 5: P_hash. `message` is A(i) with the seed behind it. */
static void prf_run(sha_id hash, const hmac_key *key, const prf_seed *seed, uint8_t *out, size_t len)
{
    const size_t digest_len = sha_rows[hash].digest_len;
    uint8_t message[SHA_DIGEST_MAX + sizeof(*seed)], digest[SHA_DIGEST_MAX], a[SHA_DIGEST_MAX];

    hmac_one(hash, key, (const uint8_t *)seed, sizeof(*seed), a);
    while (len > 0) {
        size_t part = len < digest_len ? len : digest_len;
        memcpy(message, a, digest_len);
        memcpy(message + digest_len, seed, sizeof(*seed));
        hmac_one(hash, key, message, digest_len + sizeof(*seed), digest);
        memcpy(out, digest, part);
        out += part;
        len -= part;
        hmac_one(hash, key, message, digest_len, a);
    }
    OPENSSL_cleanse(message, sizeof(message));
    OPENSSL_cleanse(digest, sizeof(digest));
    OPENSSL_cleanse(a, sizeof(a));
}

static const uint8_t *block_take(const uint8_t *block, uint8_t *out, size_t len)
{
    memcpy(out, block, len);
    return block + len;
}

void traffic_keys_expand(const sealane_suite *suite, const uint8_t master[TLS12_MASTER],
                         const uint8_t client_random[TLS12_RANDOM], const uint8_t server_random[TLS12_RANDOM],
                         traffic_key *client, traffic_key *server)
{
    const size_t key_len = sealane_cipher_get(suite->cipher)->key_len, iv_len = sealane_suite_iv_len(suite);
    uint8_t block[KEY_BLOCK_MAX];
    const uint8_t *at = block;
    prf_seed seed;
    hmac_key hmac;

    memcpy(seed.label, "key expansion", sizeof(seed.label));
    memcpy(seed.randoms, server_random, TLS12_RANDOM);
    memcpy(seed.randoms + TLS12_RANDOM, client_random, TLS12_RANDOM);
    hmac_key_init(suite_hash(suite), &hmac, master, TLS12_MASTER);
    prf_run(suite_hash(suite), &hmac, &seed, block, 2 * (key_len + iv_len));
    at = block_take(at, client->key, key_len); /* AEADs have no MAC keys: RFC 5246 6.2.3.3 */
    at = block_take(at, server->key, key_len);
    at = block_take(at, client->iv, iv_len);
    block_take(at, server->iv, iv_len);
    OPENSSL_cleanse(&hmac, sizeof(hmac));
    OPENSSL_cleanse(block, sizeof(block));
}
