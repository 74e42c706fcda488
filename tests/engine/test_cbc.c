/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The routines of AES-CBC with HMAC, each set of them, against records made and taken apart here with
 * libcrypto's EVP: every length, every padding, every flipped bit, in place and between forbidden pages,
 * alone and many at once. That their time tells nothing: secrets_cbc.c. The record layer above:
 * test_record_cbc.c.
 */
#include "support.h"

#include <stdlib.h>
#include <string.h>
#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <openssl/params.h>
#include "cbc.h"
#include "reference_cbc.h"

#define LEN_MAX  16384
#define ROOM     (CBC_IV_LEN + LEN_MAX + SEALANE_MAC_MAX + 256)
#define EVERY_TO 1100

static const cbc_backend *const routines[] = {&cbc_backend_openssl, &cbc_backend_ipsec_mb};

/* One cipher, one order, one set of routines, with everything between forbidden pages. */
struct stage {
    const cbc_backend *be;
    const sealane_cipher *cipher;
    bool encrypt_then_mac;
    prng random;
    uint8_t key[SEALANE_KEY_MAX], mac_key[SEALANE_MAC_MAX];
    cbc_key *sealing, *opening;
    guarded record, out;
    uint8_t plain[LEN_MAX], expected[ROOM], header[HMAC_HEADER_LEN], iv[CBC_IV_LEN];
};

static struct stage *stage_new(const cbc_backend *be, sealane_cipher_id cipher, bool encrypt_then_mac)
{
    struct stage *s = calloc(1, sizeof(*s));
    cbc_key_params params = {.cipher = cipher, .encrypt_then_mac = encrypt_then_mac};

    CU_ASSERT_PTR_NOT_NULL_FATAL(s);
    *s = (struct stage){.be = be,
                        .cipher = sealane_cipher_get(cipher),
                        .encrypt_then_mac = encrypt_then_mac,
                        .random = {0xcbc + cipher},
                        .record = guarded_new(ROOM),
                        .out = guarded_new(ROOM)};
    prng_fill(&s->random, s->key, sizeof(s->key));
    prng_fill(&s->random, s->mac_key, sizeof(s->mac_key));
    prng_fill(&s->random, s->plain, sizeof(s->plain));
    params.key = s->key;
    params.mac_key = s->mac_key;
    params.sealing = true;
    CU_ASSERT_EQUAL_FATAL(cbc_key_new_for(&s->sealing, &params, be), SEALANE_OK);
    params.sealing = false;
    CU_ASSERT_EQUAL_FATAL(cbc_key_new_for(&s->opening, &params, be), SEALANE_OK);
    return s;
}

static void stage_free(struct stage *s)
{
    cbc_key_free(s->sealing);
    cbc_key_free(s->opening);
    guarded_free(&s->record);
    guarded_free(&s->out);
    free(s);
}

/* Sequence number and type of any value; the version is TLS 1.2's, which stitched ciphers look at. */
static void header_fill(prng *random, uint8_t header[HMAC_HEADER_LEN])
{
    prng_fill(random, header, HMAC_HEADER_LEN);
    header[9] = header[10] = 3;
}

/* A new header and IV, and in `expected` the record with that much payload and padding: bytes with IV. */
static size_t reference_make(struct stage *s, size_t len, size_t padding)
{
    header_fill(&s->random, s->header);
    prng_fill(&s->random, s->iv, CBC_IV_LEN);
    return reference_cbc_seal(s->cipher, s->encrypt_then_mac, s->key, s->mac_key, s->header, s->iv, s->plain,
                              len, padding, s->expected);
}

/* ---- All lengths ---- */

/* The payload's last byte or the record's first one touches a forbidden page. */
static bool seals_right(struct stage *s, size_t len)
{
    size_t expected_len = reference_make(s, len, reference_cbc_padding(s->cipher, s->encrypt_then_mac, len));
    uint8_t *record = len % 2 == 0 ? guarded_end(&s->record, expected_len) : guarded_start(&s->record);
    cbc_op op = {.key = s->sealing, .len = len, .out = record + CBC_IV_LEN}, *ops[1] = {&op};
    uint8_t opened[ROOM];
    size_t opened_len = 0;

    memcpy(op.header, s->header, HMAC_HEADER_LEN);
    memcpy(op.iv, s->iv, CBC_IV_LEN);
    memcpy(op.out, s->plain, len);
    cbc_seal_by(s->be, ops, 1);
    if (op.result != SEALANE_OK || CBC_IV_LEN + cbc_sealed_len(s->sealing, len) != expected_len)
        return false;
    /* A stitched cipher makes the IV itself: then what it sealed must open. */
    if (memcmp(record, s->iv, CBC_IV_LEN) == 0)
        return memcmp(record, s->expected, expected_len) == 0;
    return reference_cbc_open(s->cipher, s->encrypt_then_mac, s->key, s->mac_key, s->header, record,
                              expected_len, opened, &opened_len) &&
           opened_len == len && memcmp(opened, s->plain, len) == 0;
}

static sealane_result open_record(struct stage *s, const uint8_t *record, size_t len, uint8_t *out,
                                  size_t *payload_len)
{
    cbc_op op = {.key = s->opening, .in = record + CBC_IV_LEN, .len = len - CBC_IV_LEN, .out = out};
    cbc_op *ops[1] = {&op};

    memcpy(op.header, s->header, HMAC_HEADER_LEN);
    cbc_open_by(s->be, ops, 1);
    *payload_len = op.payload_len;
    return op.result;
}

static bool opens_right(struct stage *s, size_t len, size_t padding)
{
    size_t record_len = reference_make(s, len, padding), room, payload_len;
    uint8_t *record = guarded_end(&s->record, record_len), *out;

    memcpy(record, s->expected, record_len);
    room = cbc_opened_room(s->opening, record_len - CBC_IV_LEN);
    out = len % 3 == 0   ? record + CBC_IV_LEN
          : len % 3 == 1 ? guarded_end(&s->out, room)
                         : guarded_start(&s->out);
    return open_record(s, record, record_len, out, &payload_len) == SEALANE_OK && payload_len == len &&
           memcmp(out, s->plain, len) == 0;
}

static void check_lengths(struct stage *s)
{
    size_t wrong = 0;

    for (size_t len = 0; len <= LEN_MAX; len += len < EVERY_TO ? 1 : len > LEN_MAX - 40 ? 1 : 739) {
        wrong += !seals_right(s, len);
        wrong += !opens_right(s, len, reference_cbc_padding(s->cipher, s->encrypt_then_mac, len));
    }
    wrong += !seals_right(s, LEN_MAX);
    wrong += !opens_right(s, LEN_MAX, reference_cbc_padding(s->cipher, s->encrypt_then_mac, LEN_MAX));
    CU_ASSERT_EQUAL(wrong, 0);
}

/* ---- Refusals ---- */

static bool refused(struct stage *s, const uint8_t *record, size_t len)
{
    size_t room = cbc_opened_room(s->opening, len - CBC_IV_LEN), payload_len = 99;
    uint8_t *out = guarded_end(&s->out, room);

    memset(out, 0xff, room);
    return open_record(s, record, len, out, &payload_len) == SEALANE_FORGED && payload_len == 0 &&
           all_zero(out, room);
}

static void check_flips(struct stage *s)
{
    static const size_t lengths[] = {0, 1, 12, 27, 64, 200, 300};
    size_t accepted = 0;

    for (size_t i = 0; i < COUNT(lengths); i++) {
        size_t len =
            reference_make(s, lengths[i], reference_cbc_padding(s->cipher, s->encrypt_then_mac, lengths[i]));
        for (size_t bit = 0; bit < len * 8; bit++) {
            s->expected[bit / 8] ^= (uint8_t)(1u << bit % 8);
            accepted += !refused(s, s->expected, len);
            s->expected[bit / 8] ^= (uint8_t)(1u << bit % 8);
        }
        /* The header's first 11 bytes; its length is computed. */
        for (size_t bit = 0; bit < 11 * 8; bit++) {
            s->header[bit / 8] ^= (uint8_t)(1u << bit % 8);
            accepted += !refused(s, s->expected, len);
            s->header[bit / 8] ^= (uint8_t)(1u << bit % 8);
        }
        CU_ASSERT(!refused(s, s->expected, len));
    }
    CU_ASSERT_EQUAL(accepted, 0);
}

/* CBC spreads a flipped bit over a block: here single bytes of the MAC itself are wrong, under right padding.
 */
static void check_wrong_mac_bytes(struct stage *s)
{
    static const size_t lengths[] = {0, 30, 500};
    size_t accepted = 0;

    for (size_t i = 0; i < COUNT(lengths); i++) {
        size_t padding = reference_cbc_padding(s->cipher, s->encrypt_then_mac, lengths[i]);
        for (size_t at = 0; at < s->cipher->tag_len && !s->encrypt_then_mac; at++) {
            reference_cbc_spoil_mac = at + 1;
            size_t len = reference_make(s, lengths[i], padding + 32);
            reference_cbc_spoil_mac = 0;
            accepted += !refused(s, s->expected, len);
        }
    }
    CU_ASSERT_EQUAL(accepted, 0);
}

/* RFC 5246 6.2.3.2: any padding that makes whole blocks is right, up to 255 bytes. */
static void check_paddings(struct stage *s)
{
    static const size_t lengths[] = {0, 1, 33, 250, 1000};
    size_t wrong = 0;

    for (size_t i = 0; i < COUNT(lengths); i++)
        for (size_t padding = reference_cbc_padding(s->cipher, s->encrypt_then_mac, lengths[i]);
             padding < 256; padding += CBC_BLOCK_LEN)
            wrong += !opens_right(s, lengths[i], padding);
    CU_ASSERT_EQUAL(wrong, 0);
}

/* The same with one byte of the padding wrong, each in turn, under a MAC that is right. */
static void check_wrong_padding_bytes(struct stage *s)
{
    static const size_t lengths[] = {0, 20, 400};
    size_t accepted = 0;

    for (size_t i = 0; i < COUNT(lengths); i++)
        for (size_t padding = reference_cbc_padding(s->cipher, s->encrypt_then_mac, lengths[i]);
             padding < 256; padding += 5 * CBC_BLOCK_LEN)
            for (size_t at = 0; at < padding; at++) {
                reference_cbc_spoil_padding = at + 1;
                size_t len = reference_make(s, lengths[i], padding);
                reference_cbc_spoil_padding = 0;
                accepted += !refused(s, s->expected, len);
            }
    CU_ASSERT_EQUAL(accepted, 0);
}

/* Each value of the last byte but the right one; and under a right MAC of the ciphertext, 0 is right as well.
 */
static void check_wrong_padding_lengths(struct stage *s)
{
    /* The last two have no padding but the length byte. */
    const size_t full = 15 - (s->encrypt_then_mac ? 0u : s->cipher->tag_len % 16u);
    const size_t lengths[] = {0, 20, 60, 400, full, full + 320};
    size_t accepted = 0;

    for (size_t i = 0; i < COUNT(lengths); i++) {
        size_t padding = reference_cbc_padding(s->cipher, s->encrypt_then_mac, lengths[i]);
        for (size_t value = 0; value < 256; value++) {
            if (value == padding || (value == 0 && s->encrypt_then_mac))
                continue;
            reference_cbc_last_byte = (int)value;
            size_t len = reference_make(s, lengths[i], padding);
            reference_cbc_last_byte = -1;
            accepted += !refused(s, s->expected, len);
        }
    }
    CU_ASSERT_EQUAL(accepted, 0);
}

/*
 * A record of nothing but padding bytes of one value, of each length and value. With MAC-then-encrypt there
 * is no room for a MAC before them. With encrypt-then-MAC, under a right MAC, it is right if the padding
 * fits.
 */
static void check_padding_all_over(struct stage *s)
{
    uint8_t plain[512], record[CBC_IV_LEN + 512 + SEALANE_MAC_MAX], out[512 + SEALANE_MAC_MAX];
    size_t wrong = 0, behind = s->encrypt_then_mac ? s->cipher->tag_len : 0;

    for (size_t len = CBC_BLOCK_LEN; len <= sizeof(plain); len += CBC_BLOCK_LEN) {
        if (!cbc_length_possible(s->opening, len + behind))
            continue;
        for (size_t value = 0; value < 256; value += value < 64 ? 1 : 13) {
            size_t payload_len;
            prng_fill(&s->random, record, CBC_IV_LEN);
            memset(plain, (int)value, len);
            reference_cbc_encrypt(s->cipher, s->key, record, plain, len, record + CBC_IV_LEN);
            if (s->encrypt_then_mac)
                reference_cbc_mac(s->cipher, s->mac_key, s->header, record, CBC_IV_LEN + len,
                                  record + CBC_IV_LEN + len);
            if (!s->encrypt_then_mac || value >= len)
                wrong += !refused(s, record, CBC_IV_LEN + len + behind);
            else
                wrong += open_record(s, record, CBC_IV_LEN + len + behind, out, &payload_len) != SEALANE_OK ||
                         payload_len != len - 1 - value;
        }
    }
    CU_ASSERT_EQUAL(wrong, 0);
}

/* ---- Many at once ---- */

#define BATCH_MAX  70 /* more than a portion of cbc.c */
#define BATCH_KEYS 5
#define BATCH_LEN  2000

struct batch {
    struct stage *s[BATCH_KEYS];
    cbc_op ops[BATCH_MAX], *order[BATCH_MAX];
    bool forged[BATCH_MAX];
    size_t len[BATCH_MAX];
    uint8_t record[BATCH_MAX][CBC_IV_LEN + BATCH_LEN + 256 + SEALANE_MAC_MAX];
    uint8_t out[BATCH_MAX][BATCH_LEN + 256 + SEALANE_MAC_MAX];
};

static size_t batch_seals_wrong(struct batch *b, prng *random, size_t count)
{
    size_t wrong = 0;

    for (size_t i = 0; i < count; i++) {
        struct stage *s = b->s[i % BATCH_KEYS];
        b->len[i] = prng_below(random, 2) == 0 ? prng_below(random, 100) : prng_below(random, BATCH_LEN + 1);
        b->ops[i] = (cbc_op){.key = s->sealing,
                             .len = b->len[i],
                             .out = b->record[i] + CBC_IV_LEN,
                             .result = SEALANE_INTERNAL};
        header_fill(random, b->ops[i].header);
        prng_fill(random, b->ops[i].iv, CBC_IV_LEN);
        memcpy(b->ops[i].out, s->plain, b->len[i]);
        b->order[i] = &b->ops[i];
    }
    cbc_seal_by(b->s[0]->be, b->order, count);
    for (size_t i = 0; i < count; i++) {
        struct stage *s = b->s[i % BATCH_KEYS];
        size_t len = CBC_IV_LEN + cbc_sealed_len(s->sealing, b->len[i]), opened_len = 0;
        uint8_t opened[BATCH_LEN + 256];
        wrong += b->ops[i].result != SEALANE_OK ||
                 !reference_cbc_open(s->cipher, s->encrypt_then_mac, s->key, s->mac_key, b->ops[i].header,
                                     b->record[i], len, opened, &opened_len) ||
                 opened_len != b->len[i] || memcmp(opened, s->plain, opened_len) != 0;
    }
    return wrong;
}

static size_t batch_opens_wrong(struct batch *b, prng *random, size_t count, bool in_place)
{
    size_t wrong = 0;

    for (size_t i = 0; i < count; i++) {
        struct stage *s = b->s[i % BATCH_KEYS];
        size_t len = cbc_sealed_len(s->sealing, b->len[i]);
        cbc_op op = {.key = s->opening,
                     .in = b->record[i] + CBC_IV_LEN,
                     .len = len,
                     .out = in_place ? b->record[i] + CBC_IV_LEN : b->out[i],
                     .result = SEALANE_INTERNAL};
        memcpy(op.header, b->ops[i].header, HMAC_HEADER_LEN);
        b->forged[i] = prng_below(random, 4) == 0;
        if (b->forged[i])
            b->record[i][prng_below(random, CBC_IV_LEN + len)] ^= (uint8_t)(1u << prng_below(random, 8));
        b->ops[i] = op;
    }
    cbc_open_by(b->s[0]->be, b->order, count);
    for (size_t i = 0; i < count; i++) {
        const cbc_op *op = &b->ops[i];
        if (b->forged[i])
            wrong += op->result != SEALANE_FORGED || !all_zero(op->out, cbc_opened_room(op->key, op->len));
        else
            wrong += op->result != SEALANE_OK || op->payload_len != b->len[i] ||
                     memcmp(op->out, b->s[i % BATCH_KEYS]->plain, b->len[i]) != 0;
    }
    return wrong;
}

/* Keys of both orders in one batch. */
static void check_batches(const cbc_backend *be, sealane_cipher_id cipher)
{
    struct batch *b = calloc(1, sizeof(*b));
    prng random = {0xba7c4 + cipher};
    size_t wrong = 0;

    CU_ASSERT_PTR_NOT_NULL_FATAL(b);
    for (size_t i = 0; i < BATCH_KEYS; i++) {
        b->s[i] = stage_new(be, cipher, i % 2 == 1);
        b->s[i]->random.state += i;
    }
    for (int round = 0; round < 40; round++) {
        size_t count = prng_below(&random, BATCH_MAX + 1);
        wrong += batch_seals_wrong(b, &random, count);
        wrong += batch_opens_wrong(b, &random, count, round % 2 == 0);
    }
    CU_ASSERT_EQUAL(wrong, 0);
    for (size_t i = 0; i < BATCH_KEYS; i++)
        stage_free(b->s[i]);
    free(b);
}

/* ---- The known-answer test ---- */

static enum { FAULT_NONE, FAULT_SEAL, FAULT_SEAL_LONG, FAULT_DECRYPT, FAULT_SEAL_MANY, FAULTS } fault;

static void faulty_seal(cbc_op *const ops[], void *const states[], size_t count)
{
    cbc_backend_openssl.seal(ops, states, count);
    if (fault == FAULT_SEAL)
        ops[0]->out[0] ^= 1;
    if (fault == FAULT_SEAL_LONG && ops[0]->len > 2000)
        ops[0]->out[2000] ^= 1;
    if (fault == FAULT_SEAL_MANY && count > 1)
        ops[count - 1]->out[0] ^= 1;
}

static void faulty_decrypt(cbc_op *const ops[], void *const states[], size_t count)
{
    cbc_backend_openssl.decrypt(ops, states, count);
    if (fault == FAULT_DECRYPT)
        ops[0]->out[3] ^= 1;
}

static void test_known_answers_find_faults(void)
{
    cbc_backend faulty = cbc_backend_openssl;

    faulty.seal = faulty_seal;
    faulty.decrypt = faulty_decrypt;
    for (sealane_cipher_id cipher = SEALANE_CBC_FIRST; cipher < SEALANE_CBC_END; cipher++)
        for (fault = FAULT_NONE; fault < FAULTS; fault++)
            CU_ASSERT((cbc_known_answer_failure(&faulty, cipher) == NULL) == (fault == FAULT_NONE));
}

/* ---- */

static void each(void (*check)(struct stage *s))
{
    size_t ran = 0;

    for (size_t i = 0; i < COUNT(routines); i++)
        for (sealane_cipher_id cipher = SEALANE_CBC_FIRST; cipher < SEALANE_CBC_END; cipher++)
            for (int order = 0; order <= 1 && routines[i]->probe() == NULL; order++) {
                struct stage *s = stage_new(routines[i], cipher, order == 1);
                check(s);
                stage_free(s);
                ran++;
            }
    CU_ASSERT(ran >= 2 * (SEALANE_CBC_END - SEALANE_CBC_FIRST));
}

static void test_lengths(void)
{
    each(check_lengths);
}
static void test_flips(void)
{
    each(check_flips);
}
static void test_wrong_mac_bytes(void)
{
    each(check_wrong_mac_bytes);
}
static void test_paddings(void)
{
    each(check_paddings);
}
static void test_wrong_padding_bytes(void)
{
    each(check_wrong_padding_bytes);
}
static void test_wrong_padding_lengths(void)
{
    each(check_wrong_padding_lengths);
}
static void test_padding_all_over(void)
{
    each(check_padding_all_over);
}

static void test_batches(void)
{
    for (size_t i = 0; i < COUNT(routines); i++)
        for (sealane_cipher_id cipher = SEALANE_CBC_FIRST; cipher < SEALANE_CBC_END; cipher++)
            if (routines[i]->probe() == NULL)
                check_batches(routines[i], cipher);
}

int main(void)
{
    static const CU_TestInfo tests[] = {
        {"lengths and places equal libcrypto's", test_lengths},
        {"every flipped bit is refused", test_flips},
        {"every wrong byte of a MAC is refused", test_wrong_mac_bytes},
        {"padding of every length opens", test_paddings},
        {"every wrong padding byte is refused", test_wrong_padding_bytes},
        {"every wrong padding length is refused", test_wrong_padding_lengths},
        {"padding all over", test_padding_all_over},
        {"random batches, forged ones among them", test_batches},
        {"known answers find faults", test_known_answers_find_faults},
        CU_TEST_INFO_NULL,
    };
    return suite_run("cbc", tests);
}
