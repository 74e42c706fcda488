/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Whatever is called in whatever order: a context of sealane.so answers as the default provider's does. Two
 * contexts get the same random calls, from a seed that a failure prints: results, outputs, parameters and the
 * errors on the queue must be the same. usage: test-provider-differential [CASE [SEED [ROUNDS]]]
 *
 * What differs by design, and is kept out: what a failed call leaves in the output; that nothing is added to
 * a TLS record that was processed as a whole (cipher_aead.c).
 */
#include <inttypes.h>
#include <stdbool.h>
#include <stdlib.h>
#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/params.h>
#include <openssl/provider.h>
#include "check.h"
#include "provider_pair.h"

#define CALLS     24
#define BUFFER    600
#define ROUNDS    6000
#define TAG_MAX   16
#define AAD_TLS12 13

enum { OURS, THEIRS, BOTH };

typedef struct pair {
    const char *name;
    bool gcm, ccm, chacha, cbc;
    EVP_CIPHER *cipher[BOTH];
    EVP_CIPHER_CTX *ctx[BOTH];
    bool sealing, has_key, has_iv, has_mac_key;
    bool over;
    bool whole;    /* a TLS 1.3 record was forged: only a new IV leads on */
    bool tls_done; /* a TLS 1.2 record was the last */
    bool tag_odd;  /* and GCM has its additional data where the tag should be */
    int announced; /* by what looked like a TLS 1.3 header */
    uint64_t seed, round;
    char story[CALLS * 4 * 40]; /* the calls so far */
} pair;

/* ---- randomness that can be had again ---- */

static uint64_t state;

static uint64_t random_next(void) /* splitmix64, by Sebastiano Vigna: public domain */
{
    uint64_t z = (state += UINT64_C(0x9e3779b97f4a7c15));
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

static unsigned below(unsigned n)
{
    return (unsigned)(random_next() % n);
}

static bool chance(unsigned percent)
{
    return below(100) < percent;
}

static void fill(unsigned char *out, size_t len)
{
    for (size_t i = 0; i < len; i++)
        out[i] = (unsigned char)random_next();
}

/* ---- comparing ---- */

static void tell(pair *p, const char *what, int a, int b)
{
    size_t used = strlen(p->story);
    snprintf(p->story + used, sizeof(p->story) - used, "%s(%d,%d) ", what, a, b);
}

static void differs(const pair *p, const char *what, int ours, int theirs)
{
    fprintf(stderr, "%s: %s: ours %d, theirs %d; seed %" PRIu64 " round %" PRIu64 "\n  %s\n", p->name, what,
            ours, theirs, p->seed, p->round, p->story);
    CU_FAIL("the two differ");
}

/* The library and reason of the newest error, 0 if there is none. */
static unsigned long error_take(void)
{
    unsigned long code = ERR_peek_last_error();
    ERR_clear_error();
    return code == 0 ? 0 : ERR_PACK(ERR_GET_LIB(code), 0, ERR_GET_REASON(code));
}

/* True if both succeeded. */
static bool agree(const pair *p, const char *what, const int result[BOTH], const unsigned long error[BOTH])
{
    if ((result[OURS] > 0) != (result[THEIRS] > 0) || (result[OURS] > 0 && result[OURS] != result[THEIRS]))
        differs(p, what, result[OURS], result[THEIRS]);
    else if (error[OURS] != error[THEIRS])
        differs(p, "errors", (int)error[OURS], (int)error[THEIRS]);
    if (result[OURS] <= 0)
        tell((pair *)(uintptr_t)p, "failed", result[OURS], result[THEIRS]);
    return result[OURS] > 0 && result[THEIRS] > 0;
}

static void same_bytes(const pair *p, const char *what, const unsigned char *ours,
                       const unsigned char *theirs, size_t len)
{
    if (memcmp(ours, theirs, len) != 0)
        differs(p, what, ours[0], theirs[0]);
}

#define EACH(side, expression)                                                                               \
    for (int side = OURS; side < BOTH; side++) {                                                             \
        result[side] = (expression);                                                                         \
        error[side] = error_take();                                                                          \
    }
#define BOTH_SIDES                                                                                           \
    int result[BOTH] = {0};                                                                                  \
    unsigned long error[BOTH] = {0}

/* ---- single calls ---- */

static void call_init(pair *p)
{
    static const unsigned char keys[2][32] = {{1, 2, 3}, {4, 5, 6}};
    unsigned char iv[128];
    bool with_key = chance(50), with_iv = chance(60), again = chance(10);
    int direction = chance(60) ? p->sealing : (int)below(2);
    /* A composite in mid-record that turns round without a key reads beyond its arrays: not ours to show. */
    const unsigned char *key = with_key || (p->cbc && direction != p->sealing) ? keys[below(2)] : NULL;
    BOTH_SIDES;

    fill(iv, sizeof(iv));
    tell(p, again ? "new" : "init", with_key + 2 * with_iv, direction);
    if (again) /* that is a new context to the provider */
        p->has_mac_key = p->has_key = p->has_iv = p->whole = p->tls_done = p->tag_odd = false;
    EACH(i, EVP_CipherInit_ex2(p->ctx[i], again ? p->cipher[i] : NULL, key, with_iv ? iv : NULL, direction,
                               NULL));
    if (!agree(p, "init", result, error))
        return;
    p->sealing = direction;
    p->has_key |= key != NULL;
    p->has_iv |= with_iv;
    p->whole &= !with_iv;
    p->tls_done &= !with_iv;
}

static void call_iv_length(pair *p)
{
    static const int lengths[] = {12, 12, 7, 13, 16, 1, 8, 0, 200};
    int len = lengths[below(9)];
    BOTH_SIDES;

    tell(p, "ivlen", len, 0);
    EACH(i, EVP_CIPHER_CTX_ctrl(p->ctx[i], EVP_CTRL_AEAD_SET_IVLEN, len, NULL));
    agree(p, "setting the IV's length", result, error);
}

static void call_tag_set(pair *p)
{
    static const int lengths[] = {16, 16, 8, 12, 4, 1, 15, 17, 0};
    unsigned char tag[32];
    int len = lengths[below(9)];
    bool empty = chance(30);
    BOTH_SIDES;

    if (p->whole)
        return;
    fill(tag, sizeof(tag));
    tell(p, "settag", len, empty);
    EACH(i, EVP_CIPHER_CTX_ctrl(p->ctx[i], EVP_CTRL_AEAD_SET_TAG, len, empty ? NULL : tag));
    agree(p, "setting the tag", result, error);
}

static void call_tag_get(pair *p)
{
    static const int lengths[] = {16, 16, 8, 12, 1, 17, 0};
    unsigned char tag[BOTH][32] = {{0}};
    int len = lengths[below(7)];
    BOTH_SIDES;

    if (p->whole || p->tag_odd)
        return;
    tell(p, "gettag", len, 0);
    EACH(i, EVP_CIPHER_CTX_ctrl(p->ctx[i], EVP_CTRL_AEAD_GET_TAG, len, tag[i]));
    if (agree(p, "getting the tag", result, error))
        same_bytes(p, "tag", tag[OURS], tag[THEIRS], sizeof(tag[OURS]));
}

/* Is an update comparable? Not where a random IV would be made, or where ours refuses by design. */
static bool update_allowed(const pair *p)
{
    return !p->whole && !p->tls_done && (p->has_iv || !p->gcm || !p->sealing);
}

static void call_aad(pair *p)
{
    unsigned char aad[64];
    int len = chance(40) ? 5 : (int)below(40), written[BOTH];
    BOTH_SIDES;

    if (!update_allowed(p))
        return;
    fill(aad, sizeof(aad));
    if (chance(50))
        memcpy(aad, (unsigned char[]){0x17, 3, 3, 0, (unsigned char)(16 + below(60))}, 5);
    tell(p, "aad", len, aad[4]);
    p->announced = len == 5 ? aad[4] - TAG_MAX : -1;
    EACH(i, EVP_CipherUpdate(p->ctx[i], NULL, &written[i], aad, len));
    if (agree(p, "additional data", result, error) && written[OURS] != written[THEIRS])
        differs(p, "length of additional data", written[OURS], written[THEIRS]);
}

static void call_length(pair *p)
{
    int len = (int)below(60), written[BOTH];
    BOTH_SIDES;

    if (!p->ccm || !update_allowed(p))
        return;
    tell(p, "length", len, 0);
    EACH(i, EVP_CipherUpdate(p->ctx[i], NULL, &written[i], NULL, len));
    agree(p, "announcing the length", result, error);
}

/* In place, apart, or overlapping: where the default provider's result depends on the order of its work. */
static void call_data(pair *p)
{
    unsigned char data[BOTH][BUFFER], out[BOTH][BUFFER];
    int len = chance(30) ? (int)below(200) : (int)below(60), written[BOTH] = {0};
    unsigned how = below(4);
    bool once = chance(10);
    BOTH_SIDES;

    if (!update_allowed(p))
        return;
    if (p->cbc && !p->has_key)
        return;
    if (p->cbc && chance(80))
        len = len / 16 * 16;
    if (len == p->announced) /* a whole record, to which nothing can be added */
        len++;
    fill(data[OURS], BUFFER);
    memcpy(data[THEIRS], data[OURS], BUFFER);
    tell(p, once ? "once" : "data", len, (int)how);
    for (int i = OURS; i < BOTH; i++) {
        unsigned char *to = how < 2 ? out[i] : how == 2 ? data[i] : data[i] + 64;
        const unsigned char *from = data[i] + (how == 3 ? 61 : 0);
        if (once)
            written[i] = result[i] = EVP_Cipher(p->ctx[i], to, from, (unsigned)len);
        else
            result[i] = EVP_CipherUpdate(p->ctx[i], to, &written[i], from, len);
        error[i] = error_take();
        memcpy(out[i], to, (size_t)len);
    }
    if (!agree(p, "data", result, error))
        return;
    if (written[OURS] != written[THEIRS])
        differs(p, "length of data", written[OURS], written[THEIRS]);
    else if (how < 3)
        same_bytes(p, "data", out[OURS], out[THEIRS], (size_t)len);
}

static void call_final(pair *p)
{
    unsigned char out[32];
    int written[BOTH];
    BOTH_SIDES;

    if (p->tls_done || p->whole || (!p->has_iv && p->gcm && p->sealing))
        return;
    /* ChaCha20-Poly1305 would find any tag right. */
    if (p->chacha && !p->sealing && EVP_CIPHER_CTX_get_tag_length(p->ctx[THEIRS]) == 0)
        return;
    tell(p, "final", 0, 0);
    EACH(i, EVP_CipherFinal_ex(p->ctx[i], out, &written[i]));
    agree(p, "final", result, error);
}

static void call_copy(pair *p)
{
    tell(p, "copy", 0, 0);
    for (int i = OURS; i < BOTH; i++) {
        EVP_CIPHER_CTX *copy = EVP_CIPHER_CTX_new();
        if (EVP_CIPHER_CTX_copy(copy, p->ctx[i]) != 1)
            differs(p, "copy", i, 0);
        EVP_CIPHER_CTX_free(p->ctx[i]);
        p->ctx[i] = copy;
    }
}

static void call_lengths_get(pair *p)
{
    int iv[BOTH], key[BOTH], tag[BOTH];

    tell(p, "lengths", 0, 0);
    for (int i = OURS; i < BOTH; i++) {
        iv[i] = EVP_CIPHER_CTX_get_iv_length(p->ctx[i]);
        key[i] = EVP_CIPHER_CTX_get_key_length(p->ctx[i]);
        tag[i] = EVP_CIPHER_CTX_get_tag_length(p->ctx[i]);
        ERR_clear_error();
    }
    if (iv[OURS] != iv[THEIRS])
        differs(p, "length of the IV", iv[OURS], iv[THEIRS]);
    if (key[OURS] != key[THEIRS])
        differs(p, "length of the key", key[OURS], key[THEIRS]);
    if (tag[OURS] != tag[THEIRS] && !p->whole && !(p->chacha && tag[THEIRS] == 0))
        differs(p, "length of the tag", tag[OURS], tag[THEIRS]);
}

static void call_iv_get(pair *p)
{
    unsigned char iv[BOTH][128] = {{0}};
    bool updated = chance(50);
    /* CCM copies as much as is asked for out of an array of 16. */
    size_t len = p->ccm ? (size_t)EVP_CIPHER_CTX_get_iv_length(p->ctx[THEIRS]) : 128;
    BOTH_SIDES;

    if (p->tls_done && !p->gcm)
        return;
    tell(p, "getiv", updated, 0);
    EACH(i,
         (updated ? EVP_CIPHER_CTX_get_updated_iv : EVP_CIPHER_CTX_get_original_iv)(p->ctx[i], iv[i], len));
    if (agree(p, "getting the IV", result, error))
        same_bytes(p, "IV", iv[OURS], iv[THEIRS], 12);
}

static void call_odd_control(pair *p)
{
    unsigned char bytes[BOTH][16] = {{0}};
    int what = chance(50) ? EVP_CTRL_GCM_IV_GEN : EVP_CTRL_GCM_SET_IV_INV;
    BOTH_SIDES;

    if (p->tls_done || p->whole || !p->gcm)
        return;
    tell(p, "control", what, 0);
    EACH(i, EVP_CIPHER_CTX_ctrl(p->ctx[i], what, 8, bytes[i]));
    if (agree(p, "control", result, error))
        same_bytes(p, "control", bytes[OURS], bytes[THEIRS], 8);
}

/* ---- whole sequences of libssl ---- */

static int tls13_call(const pair *p, EVP_CIPHER_CTX *ctx, const unsigned char *iv, int len, int tag_len,
                      unsigned char *data, unsigned char *tag)
{
    const unsigned char header[5] = {0x17, 3, 3, (unsigned char)((len + tag_len) >> 8),
                                     (unsigned char)(len + tag_len)};
    int n, last;

    if (EVP_CIPHER_CTX_get_iv_length(ctx) < 8 ||
        (p->ccm && p->sealing && EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_AEAD_SET_TAG, tag_len, NULL) <= 0) ||
        EVP_CipherInit_ex2(ctx, NULL, NULL, iv, p->sealing, NULL) != 1 ||
        (!p->sealing && EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_AEAD_SET_TAG, tag_len, tag) <= 0) ||
        (p->ccm && EVP_CipherUpdate(ctx, NULL, &n, NULL, len) != 1) ||
        EVP_CipherUpdate(ctx, NULL, &n, header, 5) != 1 || EVP_CipherUpdate(ctx, data, &n, data, len) != 1 ||
        EVP_CipherFinal_ex(ctx, data + n, &last) != 1)
        return 0;
    return !p->sealing || EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_AEAD_GET_TAG, tag_len, tag) > 0;
}

static void call_tls13(pair *p)
{
    unsigned char data[BOTH][BUFFER], tag[BOTH][TAG_MAX], iv[128];
    int len = 1 + (int)below(300), tag_len = p->ccm && chance(50) ? 8 : 16;
    BOTH_SIDES;

    if (!p->has_key)
        return;
    fill(data[OURS], BUFFER);
    fill(tag[OURS], TAG_MAX);
    fill(iv, sizeof(iv));
    memcpy(data[THEIRS], data[OURS], BUFFER);
    memcpy(tag[THEIRS], tag[OURS], TAG_MAX);
    tell(p, "tls13", len, tag_len);
    EACH(i, tls13_call(p, p->ctx[i], iv, len, tag_len, data[i], tag[i]));
    p->has_iv = true;
    p->tls_done = false;
    p->whole = true;
    if (!agree(p, "TLS 1.3 record", result, error)) {
        p->over = p->ccm; /* a context that libssl throws away */
        return;
    }
    p->whole = p->tag_odd = false;
    same_bytes(p, "TLS 1.3 record", data[OURS], data[THEIRS], (size_t)len);
    same_bytes(p, "TLS 1.3 tag", tag[OURS], tag[THEIRS], (size_t)tag_len);
}

/* Both get the same random start of GCM's explicit nonce. */
static bool tls12_iv(pair *p)
{
    unsigned char salt[4], iv[12] = {0};
    BOTH_SIDES;

    if (p->chacha)
        return p->has_iv;
    fill(salt, sizeof(salt));
    EACH(i, EVP_CIPHER_CTX_ctrl(p->ctx[i], EVP_CTRL_AEAD_SET_IV_FIXED, 4, salt));
    if (!agree(p, "fixed IV", result, error))
        return false;
    p->has_iv |= p->gcm;
    if (p->gcm && p->sealing) {
        EVP_CIPHER_CTX_get_original_iv(p->ctx[OURS], iv, sizeof(iv));
        EVP_CIPHER_CTX_ctrl(p->ctx[THEIRS], EVP_CTRL_AEAD_SET_IV_FIXED, -1, iv);
        ERR_clear_error();
    }
    return true;
}

static void call_tls12(pair *p)
{
    unsigned char data[BOTH][BUFFER], aad[AAD_TLS12], said[AAD_TLS12];
    int len = (int)below(300), written[BOTH] = {0}, pad = 0;
    BOTH_SIDES;

    if (!p->has_key || p->whole || EVP_CIPHER_CTX_get_iv_length(p->ctx[THEIRS]) != 12)
        return;
    if (p->ccm && EVP_CIPHER_CTX_get_tag_length(p->ctx[THEIRS]) != 16)
        return;
    tell(p, "tls12", len, 0);
    if ((chance(50) || !p->tls_done) && !tls12_iv(p))
        return;
    fill(aad, sizeof(aad));
    int total = len + (p->chacha ? 0 : 8) + (p->sealing ? 0 : 16);
    aad[11] = (unsigned char)(total >> 8);
    aad[12] = (unsigned char)total;
    fill(data[OURS], BUFFER);
    memcpy(data[THEIRS], data[OURS], BUFFER);
    for (int i = OURS; i < BOTH; i++) {
        memcpy(said, aad, sizeof(said));
        pad = result[i] = EVP_CIPHER_CTX_ctrl(p->ctx[i], EVP_CTRL_AEAD_TLS1_AAD, AAD_TLS12, said);
        error[i] = error_take();
    }
    if (!agree(p, "announcing a TLS 1.2 record", result, error))
        return;
    total += p->sealing ? pad : 0;
    EACH(i, EVP_CipherUpdate(p->ctx[i], data[i], &written[i], data[i], total));
    p->tls_done = true;
    p->tag_odd = p->gcm;
    if (!agree(p, "TLS 1.2 record", result, error))
        return;
    if (written[OURS] != written[THEIRS])
        differs(p, "length of a TLS 1.2 record", written[OURS], written[THEIRS]);
    same_bytes(p, "TLS 1.2 record", data[OURS], data[THEIRS], (size_t)total);
}

/* ---- of AES-CBC with HMAC, whose records differ by their random IVs: test_records.c has those ---- */

static void call_mac_key(pair *p)
{
    static const int lengths[] = {20, 32, 20, 32, 1, 64, 100};
    unsigned char key[100];
    int len = lengths[below(7)];
    BOTH_SIDES;

    if (!p->has_key)
        return;
    fill(key, sizeof(key));
    tell(p, "mackey", len, 0);
    EACH(i, EVP_CIPHER_CTX_ctrl(p->ctx[i], EVP_CTRL_AEAD_SET_MAC_KEY, len, key));
    agree(p, "MAC key", result, error);
    p->has_mac_key = true;
}

static void call_version(pair *p)
{
    unsigned version = 0x0302 + below(2);
    OSSL_PARAM params[] = {OSSL_PARAM_construct_uint(OSSL_CIPHER_PARAM_TLS_VERSION, &version),
                           OSSL_PARAM_construct_end()};
    BOTH_SIDES;

    /* Opening, it makes the default provider cut off what it takes for padding. */
    if (!p->has_key || !p->sealing)
        return;
    tell(p, "version", (int)version, 0);
    EACH(i, EVP_CIPHER_CTX_set_params(p->ctx[i], params));
    agree(p, "version", result, error);
}

static void call_announce(pair *p)
{
    unsigned char aad[AAD_TLS12] = {0}, said[AAD_TLS12];
    unsigned len = 16 + below(200); /* less, and the default provider's next update is out of bounds */
    BOTH_SIDES;

    if (!p->has_key || !p->has_mac_key || !p->sealing)
        return;
    aad[9] = 3;
    aad[10] = (unsigned char)(1 + below(3));
    aad[12] = (unsigned char)len;
    tell(p, "announce", (int)len, aad[10]);
    for (int i = OURS; i < BOTH; i++) {
        memcpy(said, aad, sizeof(said));
        result[i] = EVP_CIPHER_CTX_ctrl(p->ctx[i], EVP_CTRL_AEAD_TLS1_AAD, AAD_TLS12, said);
        error[i] = error_take();
    }
    if (agree(p, "announcing", result, error))
        p->announced = (int)len + result[THEIRS];
}

static void (*const cbc_calls[])(pair *) = {
    call_init,    call_init,    call_init,     call_data,        call_data, call_data, call_final,
    call_mac_key, call_version, call_announce, call_lengths_get, call_copy, call_copy, call_iv_get,
};

/* ---- */

static void (*const calls[])(pair *) = {
    call_init,   call_init,  call_init,  call_iv_length,   call_tag_set, call_tag_get,     call_aad,
    call_aad,    call_data,  call_data,  call_data,        call_final,   call_copy,        call_length,
    call_iv_get, call_tls13, call_tls13, call_lengths_get, call_tls12,   call_odd_control, call_final,
};

/* As libssl begins, or not. */
static void begin(pair *p)
{
    int tag_len = chance(50) ? 8 : 16;

    p->sealing = chance(50);
    p->announced = -1;
    p->has_mac_key = p->has_key = p->has_iv = p->whole = p->tls_done = p->tag_odd = p->over = false;
    p->story[0] = '\0';
    for (int i = OURS; i < BOTH; i++) {
        p->ctx[i] = EVP_CIPHER_CTX_new();
        EVP_CipherInit_ex2(p->ctx[i], p->cipher[i], NULL, NULL, p->sealing, NULL);
    }
    if (chance(60)) {
        for (int i = OURS; i < BOTH; i++) {
            EVP_CIPHER_CTX_ctrl(p->ctx[i], EVP_CTRL_AEAD_SET_IVLEN, 12, NULL);
            if (p->ccm)
                EVP_CIPHER_CTX_ctrl(p->ctx[i], EVP_CTRL_AEAD_SET_TAG, tag_len, NULL);
        }
    }
}

static uint64_t first_seed = 20251104, rounds = ROUNDS;

static void cipher_agrees(const char *name)
{
    pair p = {.name = name, .seed = first_seed};
    const unsigned before = CU_get_number_of_failures();

    p.gcm = strstr(name, "GCM") != NULL;
    p.ccm = strstr(name, "CCM") != NULL;
    p.chacha = strstr(name, "ChaCha") != NULL;
    p.cbc = strstr(name, "CBC") != NULL;
    p.cipher[OURS] = EVP_CIPHER_fetch(pair_with_sealane, name, NULL);
    p.cipher[THEIRS] = EVP_CIPHER_fetch(pair_without, name, NULL);
    CU_ASSERT_FATAL(p.cipher[OURS] != NULL && p.cipher[THEIRS] != NULL);
    CU_ASSERT_STRING_EQUAL(OSSL_PROVIDER_get0_name(EVP_CIPHER_get0_provider(p.cipher[OURS])), "sealane");
    for (p.round = 0; p.round < rounds && CU_get_number_of_failures() == before; p.round++) {
        state = p.seed * 1000003 + p.round;
        begin(&p);
        for (int i = 0; i < CALLS && !p.over && CU_get_number_of_failures() == before; i++)
            if (p.cbc)
                cbc_calls[below(sizeof(cbc_calls) / sizeof(cbc_calls[0]))](&p);
            else
                calls[below(sizeof(calls) / sizeof(calls[0]))](&p);
        for (int i = OURS; i < BOTH; i++)
            EVP_CIPHER_CTX_free(p.ctx[i]);
    }
    for (int i = OURS; i < BOTH; i++)
        EVP_CIPHER_free(p.cipher[i]);
}

static void aes_128_gcm(void)
{
    cipher_agrees("AES-128-GCM");
}

static void aes_256_gcm(void)
{
    cipher_agrees("AES-256-GCM");
}

static void chacha20_poly1305(void)
{
    cipher_agrees("ChaCha20-Poly1305");
}

static void aes_128_ccm(void)
{
    cipher_agrees("AES-128-CCM");
}

static void aes_cbc_hmac_sha1(void)
{
    cipher_agrees("AES-128-CBC-HMAC-SHA1");
}

static void aes_cbc_hmac_sha256(void)
{
    cipher_agrees("AES-256-CBC-HMAC-SHA256");
}

int main(int argc, char **argv)
{
    static const check_case cases[] = {
        {"AES-128-GCM answers as the default provider does", aes_128_gcm},
        {"AES-256-GCM answers as the default provider does", aes_256_gcm},
        {"ChaCha20-Poly1305 answers as the default provider does", chacha20_poly1305},
        {"AES-128-CCM answers as the default provider does", aes_128_ccm},
        {"AES-128-CBC with HMAC-SHA1 answers as the default provider does", aes_cbc_hmac_sha1},
        {"AES-256-CBC with HMAC-SHA256 answers as the default provider does", aes_cbc_hmac_sha256},
    };

    if (argc > 2)
        first_seed = strtoull(argv[2], NULL, 10);
    if (argc > 3)
        rounds = strtoull(argv[3], NULL, 10);
    pair_setup();
    int status = check_run("provider-differential", cases, sizeof(cases) / sizeof(cases[0]), argc, argv);
    pair_teardown();
    return status;
}
