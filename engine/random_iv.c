/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Each thread keeps a page of random bytes, drawn at once from libcrypto's DRBG in the engine's own context:
 * a draw costs about a microsecond, whether of 16 bytes or of some thousand. The page is one that the kernel
 * hands to a forked child zeroed (MADV_WIPEONFORK), and a zeroed page is an empty one: parent and child never
 * use the same bytes, however the child came about. libcrypto sees to that for its DRBG (it asks getpid).
 *
 * Why not RAND_bytes_ex(): in 3.0 it asks the ENGINE table first, which loads openssl.cnf; see libcrypto.c.
 */
#include "random_iv.h"

#include <pthread.h>
#include <stddef.h>
#include <string.h>
#include <sys/mman.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/rand.h>
#include "libcrypto.h"

#define PAGE_LEN 4096

struct pool {
    size_t left;
    uint8_t bytes[PAGE_LEN - sizeof(size_t)];
};
_Static_assert(sizeof(struct pool) == PAGE_LEN, "the kernel wipes pages");

static pthread_once_t key_once = PTHREAD_ONCE_INIT;
static pthread_key_t key;
static bool key_made;
static _Thread_local struct pool *mine __attribute__((tls_model("initial-exec")));

static void pool_free(void *pool)
{
    mine = NULL;
    OPENSSL_cleanse(pool, PAGE_LEN);
    munmap(pool, PAGE_LEN);
}

static void key_make(void)
{
    key_made = pthread_key_create(&key, pool_free) == 0;
}

static struct pool *pool_make(void)
{
    struct pool *pool;

    if (pthread_once(&key_once, key_make) != 0 || !key_made)
        return NULL;
    pool = mmap(NULL, PAGE_LEN, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (pool == MAP_FAILED)
        return NULL;
    if (madvise(pool, PAGE_LEN, MADV_WIPEONFORK) != 0 || pthread_setspecific(key, pool) != 0) {
        munmap(pool, PAGE_LEN);
        return NULL;
    }
    mine = pool;
    return pool;
}

static bool bytes_draw(uint8_t *out, size_t len)
{
    EVP_RAND_CTX *drbg;
    bool drawn;

    if (!libcrypto_enter())
        return false;
    drbg = RAND_get0_public(libcrypto_context()); /* this thread's */
    drawn = drbg != NULL && EVP_RAND_generate(drbg, out, len, 0, 0, NULL, 0) == 1;
    libcrypto_leave();
    return drawn;
}

bool random_iv_draw(uint8_t iv[RANDOM_IV_LEN])
{
    struct pool *pool = mine != NULL ? mine : pool_make();

    if (pool == NULL) /* a kernel before 4.14, or no memory: slower, not weaker */
        return bytes_draw(iv, RANDOM_IV_LEN);
    if (pool->left < RANDOM_IV_LEN) {
        pool->left = 0;
        if (!bytes_draw(pool->bytes, sizeof(pool->bytes)))
            return false;
        pool->left = sizeof(pool->bytes);
    }
    pool->left -= RANDOM_IV_LEN;
    memcpy(iv, pool->bytes + pool->left, RANDOM_IV_LEN);
    memset(pool->bytes + pool->left, 0, RANDOM_IV_LEN);
    return true;
}
