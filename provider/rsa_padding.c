/* SPDX-License-Identifier: Apache-2.0 */
/* RSA paddings in constant time; see rsa_padding.h. */
#include <string.h>
#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/params.h>
#include <openssl/rand.h>
#include "constant_time.h"
#include "rsa_padding.h"

/* RFC 8017 section 7.2.1: 00 02, at least eight bytes that are not zero, 00. */
enum { PKCS1_OVERHEAD = 11 };

/* ---- TLS ---- */

static mask version_fits(const uint8_t *premaster, unsigned version)
{
    return mask_equal(premaster[0], (version >> 8) & 0xff) & mask_equal(premaster[1], version & 0xff);
}

static void premaster_select(uint8_t out[PREMASTER_LEN], mask good, const uint8_t *in, unsigned version,
                             unsigned other, const uint8_t random[PREMASTER_LEN])
{
    mask alternative = other > 0 ? version_fits(in, other) : 0;

    good &= version_fits(in, version) | alternative;
    for (size_t i = 0; i < PREMASTER_LEN; i++)
        out[i] = choose_byte(good, in[i], random[i]);
}

void premaster_take(uint8_t out[PREMASTER_LEN], const uint8_t *em, size_t k, unsigned version, unsigned other,
                    const uint8_t random[PREMASTER_LEN])
{
    size_t separator = k - PREMASTER_LEN - 1;
    mask good = mask_zero(em[0]) & mask_equal(em[1], 2) & mask_zero(em[separator]);

    for (size_t i = 2; i < separator; i++)
        good &= ~mask_zero(em[i]);
    premaster_select(out, good, em + separator + 1, version, other, random);
}

void premaster_choose(uint8_t out[PREMASTER_LEN], const uint8_t in[PREMASTER_LEN], size_t len, bool succeeded,
                      unsigned version, unsigned other, const uint8_t random[PREMASTER_LEN])
{
    mask good = ~mask_zero((uint32_t)succeeded) & mask_equal((uint32_t)len, PREMASTER_LEN);

    premaster_select(out, good, in, version, other, random);
}

/* ---- PKCS#1 v1.5 ---- */

/* Where the message begins: behind the first zero byte after the two of the header. */
static mask message_find(const uint8_t *em, size_t k, uint32_t *start)
{
    mask good = mask_zero(em[0]) & mask_equal(em[1], 2), found = 0;
    uint32_t zero = 0;

    for (uint32_t i = 2; i < k; i++) {
        mask is = mask_zero(em[i]);
        zero = choose(is & ~found, i, zero);
        found |= is;
    }
    *start = zero + 1;
    return good & found & ~mask_less(zero, 2 + 8);
}

bool pkcs1_take_or_fail(uint8_t *out, size_t *len, const uint8_t *em, size_t k)
{
    uint32_t start = 0;
    mask good = message_find(em, k, &start);

    if (good == 0 || k - start > *len)
        return false;
    *len = k - start;
    memcpy(out, em + start, *len);
    return true;
}

static bool hmac(OSSL_LIB_CTX *lib, const uint8_t *key, const uint8_t *data, size_t len, uint8_t out[32])
{
    size_t out_len = 0;

    return EVP_Q_mac(lib, "HMAC", NULL, "SHA256", NULL, key, 32, data, len, out, 32, &out_len) != NULL &&
           out_len == 32;
}

/* The draft's pseudo-random function: HMAC over counter, label and length in bits. */
static bool invent(OSSL_LIB_CTX *lib, const uint8_t key[32], const char *label, uint8_t *out, size_t len)
{
    uint8_t in[32], block[32];
    size_t label_len = strlen(label);
    bool ok = true;

    memcpy(in + 2, label, label_len);
    in[2 + label_len] = (uint8_t)(len * 8 >> 8);
    in[3 + label_len] = (uint8_t)(len * 8);
    for (size_t at = 0, count = 0; at < len && ok; at += sizeof(block), count++) {
        in[0] = (uint8_t)(count >> 8);
        in[1] = (uint8_t)count;
        ok = hmac(lib, key, in, label_len + 4, block);
        memcpy(out + at, block, len - at < sizeof(block) ? len - at : sizeof(block));
    }
    OPENSSL_cleanse(block, sizeof(block));
    return ok;
}

/* 128 candidates, of which the last that is short enough is taken: the draft's way to a length without bias. */
static uint32_t invented_length(const uint8_t candidates[256], uint32_t most)
{
    uint32_t len = 0, bits = most;

    for (unsigned shift = 1; shift < 32; shift *= 2)
        bits |= bits >> shift;
    for (size_t i = 0; i < 256; i += 2) {
        uint32_t candidate = (uint32_t)(candidates[i] << 8 | candidates[i + 1]) & bits;
        len = choose(mask_less(candidate, most), candidate, len);
    }
    return len;
}

/* The message that is given out instead: the last `*invented_len` bytes of `invented`. */
static bool message_invent(OSSL_LIB_CTX *lib, uint8_t *invented, uint32_t *invented_len, size_t k,
                           const uint8_t *ciphertext, const uint8_t secret[REJECTION_LEN])
{
    uint8_t key[32], candidates[256];
    bool ok = hmac(lib, secret, ciphertext, k, key) && invent(lib, key, "message", invented, k) &&
              invent(lib, key, "length", candidates, sizeof(candidates));

    if (ok)
        *invented_len = invented_length(candidates, (uint32_t)(k - 2 - 8));
    OPENSSL_cleanse(key, sizeof(key));
    OPENSSL_cleanse(candidates, sizeof(candidates));
    return ok;
}

bool pkcs1_take(OSSL_LIB_CTX *lib, uint8_t *out, size_t *len, const uint8_t *em, size_t k,
                const uint8_t *ciphertext, const uint8_t secret[REJECTION_LEN])
{
    uint8_t invented[RSA_BYTES_MAX];
    uint32_t start = 0, invented_len = 0;

    if (k < PKCS1_OVERHEAD || k > sizeof(invented) ||
        !message_invent(lib, invented, &invented_len, k, ciphertext, secret))
        return false;
    mask good = message_find(em, k, &start);
    start = choose(good, start, (uint32_t)k - invented_len);
    for (size_t i = 0; i < k; i++)
        invented[i] = choose_byte(good, em[i], invented[i]);
    /* From here on all is as it would be with a good message of this length. */
    bool fits = k - start <= *len;
    if (fits) {
        *len = k - start;
        memcpy(out, invented + start, *len);
    }
    OPENSSL_cleanse(invented, sizeof(invented));
    return fits;
}

bool pkcs1_invent(OSSL_LIB_CTX *lib, uint8_t *out, size_t *len, size_t k, const uint8_t *ciphertext,
                  const uint8_t secret[REJECTION_LEN])
{
    static const uint8_t bad[RSA_BYTES_MAX];

    return k <= sizeof(bad) && pkcs1_take(lib, out, len, bad, k, ciphertext, secret);
}

/* ---- OAEP and PSS ---- */

/* RFC 8017 appendix B.2.1: XORs MGF1(seed) onto `out`. */
static bool mgf1_xor(uint8_t *out, size_t len, const uint8_t *seed, size_t seed_len, const EVP_MD *md)
{
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    uint8_t block[EVP_MAX_MD_SIZE];
    size_t hash_len = (size_t)EVP_MD_get_size(md);
    bool ok = ctx != NULL;

    for (size_t at = 0, count = 0; at < len && ok; at += hash_len, count++) {
        uint8_t number[4] = {(uint8_t)(count >> 24), (uint8_t)(count >> 16), (uint8_t)(count >> 8),
                             (uint8_t)count};
        ok = EVP_DigestInit_ex2(ctx, md, NULL) == 1 && EVP_DigestUpdate(ctx, seed, seed_len) == 1 &&
             EVP_DigestUpdate(ctx, number, sizeof(number)) == 1 && EVP_DigestFinal_ex(ctx, block, NULL) == 1;
        for (size_t i = 0; ok && i < hash_len && at + i < len; i++)
            out[at + i] ^= block[i];
    }
    OPENSSL_cleanse(block, sizeof(block));
    EVP_MD_CTX_free(ctx);
    return ok;
}

/* DB = lHash, zeroes, 01, message. Finds the message. */
static mask oaep_find(const uint8_t *db, size_t db_len, const uint8_t *label_hash, size_t hash_len,
                      uint32_t *start)
{
    mask good = ~(mask)0, found = 0;
    uint32_t one = 0;

    for (size_t i = 0; i < hash_len; i++)
        good &= mask_equal(db[i], label_hash[i]);
    for (uint32_t i = (uint32_t)hash_len; i < db_len; i++) {
        mask is_one = mask_equal(db[i], 1);
        one = choose(is_one & ~found, i, one);
        found |= is_one;
        good &= found | mask_zero(db[i]);
    }
    *start = one + 1;
    return good & found;
}

bool oaep_take(uint8_t *out, size_t *len, uint8_t *em, size_t k, const EVP_MD *hash, const EVP_MD *mgf,
               const uint8_t *label, size_t label_len)
{
    size_t hash_len = (size_t)EVP_MD_get_size(hash);
    uint8_t label_hash[EVP_MAX_MD_SIZE], *seed = em + 1, *db = em + 1 + hash_len;
    uint32_t start = 0;

    if (k < 2 * hash_len + 2 ||
        EVP_Digest(label_len > 0 ? label : (const uint8_t *)"", label_len, label_hash, NULL, hash, NULL) != 1)
        return false;
    size_t db_len = k - 1 - hash_len;
    if (!mgf1_xor(seed, hash_len, db, db_len, mgf) || !mgf1_xor(db, db_len, seed, hash_len, mgf))
        return false;
    mask good = mask_zero(em[0]) & oaep_find(db, db_len, label_hash, hash_len, &start);
    if (good == 0 || db_len - start > *len)
        return false;
    *len = db_len - start;
    memcpy(out, db + start, *len);
    return true;
}

/* H = Hash(eight zeroes, digest, salt). */
static bool pss_hash(uint8_t *out, const uint8_t *digest, const EVP_MD *hash, const uint8_t *salt,
                     size_t salt_len)
{
    static const uint8_t zeroes[8];
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    bool ok = ctx != NULL && EVP_DigestInit_ex2(ctx, hash, NULL) == 1 &&
              EVP_DigestUpdate(ctx, zeroes, sizeof(zeroes)) == 1 &&
              EVP_DigestUpdate(ctx, digest, (size_t)EVP_MD_get_size(hash)) == 1 &&
              EVP_DigestUpdate(ctx, salt, salt_len) == 1 && EVP_DigestFinal_ex(ctx, out, NULL) == 1;

    EVP_MD_CTX_free(ctx);
    return ok;
}

bool pss_make(uint8_t *em, size_t k, unsigned bits, const uint8_t *digest, const EVP_MD *hash,
              const EVP_MD *mgf, size_t salt_len)
{
    size_t hash_len = (size_t)EVP_MD_get_size(hash), em_len = (bits - 1 + 7) / 8;

    if (em_len > k || em_len < hash_len + salt_len + 2)
        return false;
    memset(em, 0, k);
    em += k - em_len; /* one byte less than the modulus if that has a multiple of eight bits, plus one */
    size_t db_len = em_len - hash_len - 1;
    uint8_t *salt = em + db_len - salt_len, *h = em + db_len;
    if ((salt_len > 0 && RAND_bytes(salt, (int)salt_len) != 1) || !pss_hash(h, digest, hash, salt, salt_len))
        return false;
    salt[-1] = 1;
    if (!mgf1_xor(em, db_len, h, hash_len, mgf))
        return false;
    em[0] &= (uint8_t)(0xff >> (8 * em_len - (bits - 1)));
    em[em_len - 1] = 0xbc;
    return true;
}
