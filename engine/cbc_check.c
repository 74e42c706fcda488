/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Whether a CBC record is authentic, without a word in the running time about why it is not.
 *
 * With MAC-then-encrypt, padding, MAC and payload share a secret border. An answer, or a time, that depends
 * on where the border is or on which check failed decrypts records (Vaudenay 2002; AlFardan and Paterson,
 * "Lucky Thirteen", 2013). So for a record of public length
 *   - the padding is looked at in all the bytes that it might have;
 *   - the hash runs over all the blocks that the longest payload would have, the message's end is laid into
 *     them with masks, and the state after the block that holds the true end is picked with a mask;
 *   - the received MAC is brought to a fixed place by a shifter whose steps are masks.
 * No branch, no address and no loop depends on a decrypted byte until the one bit of the verdict is public.
 * The hash of many records goes side by side (sha_blocks_many): their blocks in step.
 */
#include "cbc.h"

#include <emmintrin.h>
#include <stddef.h>
#include <string.h>
#include <openssl/crypto.h>
#include "wipe.h"

#define PADDING_MAX 256 /* RFC 5246 6.2.3.2: up to 255 bytes and the length byte */
#define LANES       16  /* records in step; their tails lie on the stack */
/* The blocks that hold a possible end: the window of ends, what is before it in its block, and the length. */
#define TAIL_MAX ((PADDING_MAX / 64 + 3) * 64 > 5 * 128 ? (PADDING_MAX / 64 + 3) * 64 : 5 * 128)
/* The window in which the MAC lies, in words: PADDING_MAX / 8 places to begin at, and the MAC behind. */
#define WORD         8
#define PLACES       (PADDING_MAX / WORD)
#define MAC_WORDS    ((SHA_DIGEST_MAX + WORD - 1) / WORD)
#define WINDOW_WORDS (PLACES + MAC_WORDS + 1)

/*
 * ---- Masks: all ones or all zero ----
 *
 * What a compiler sees to be a condition it may turn into a jump (clang 14 did: where one mask was ANDed
 * with another, it skipped the second if the first was zero). So each mask comes out of a barrier, behind
 * which nobody knows that it has but two values. What is done to every byte is done to sixteen at once, where a
 * comparison is a mask by nature. tests/engine/secrets_cbc.c looks at what compilers make of all this.
 */

static uint32_t barrier(uint32_t value)
{
    __asm__ volatile("" : "+r"(value));
    return value;
}

/* a < b, for values below 2^31 */
static uint32_t mask_less(uint32_t a, uint32_t b)
{
    return barrier((uint32_t)0 - ((a - b) >> 31));
}

static uint32_t mask_equal(uint32_t a, uint32_t b)
{
    uint32_t difference = a ^ b;

    return barrier(~((uint32_t)0 - ((difference | ((uint32_t)0 - difference)) >> 31)));
}

/* The same mask, twice as wide. */
static uint64_t mask_wide(uint32_t mask)
{
    return (uint64_t)mask << 32 | mask;
}

static __m128i load_16(const uint8_t *from)
{
    return _mm_loadu_si128((const __m128i *)(const void *)from);
}

static void store_16(uint8_t *to, __m128i bytes)
{
    _mm_storeu_si128((__m128i *)(void *)to, bytes);
}

/* 0, 1, 2 ... 15 */
static __m128i places(void)
{
    return _mm_setr_epi8(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
}

/*
 * SEALANE_OK if nothing is wrong; gives that as a mask. Still without a branch: the verdict becomes public
 * where somebody asks for the result.
 */
static uint32_t result_set(cbc_op *op, uint32_t wrong)
{
    uint32_t right = mask_equal(wrong, 0);

    op->result = (sealane_result)((SEALANE_OK & right) | (SEALANE_FORGED & ~right));
    return right;
}

/* ---- A record under check ---- */

/*
 * Not zero if one of the `last` bytes before the length byte, as many as there can be, differs from it. `len`
 * is a multiple of 16, as everything is that was encrypted.
 */
static uint32_t padding_wrong(const uint8_t *end, uint32_t len, uint32_t last)
{
    const uint32_t span = len < PADDING_MAX ? len : PADDING_MAX;
    const __m128i value = _mm_set1_epi8((char)last), fifteen = _mm_set1_epi8(15);
    __m128i wrong = _mm_setzero_si128();

    for (uint32_t i = 0; i < span; i += 16) {
        /* Of byte j: how many are behind it. It is padding if they are no more than `last`. */
        const __m128i behind = _mm_add_epi8(_mm_sub_epi8(fifteen, places()), _mm_set1_epi8((char)i));
        const __m128i padding = _mm_cmpeq_epi8(_mm_max_epu8(behind, value), value);
        const __m128i differs = _mm_xor_si128(load_16(end - 16 - (ptrdiff_t)i), value);

        wrong = _mm_or_si128(wrong, _mm_and_si128(differs, padding));
    }
    wrong = _mm_cmpeq_epi8(wrong, _mm_setzero_si128());
    return (uint32_t)_mm_movemask_epi8(wrong) ^ 0xffff;
}

struct lane {
    cbc_op *op;
    uint32_t least;       /* of payload: public */
    uint32_t payload_len; /* secret until the verdict */
    uint32_t good;        /* mask: the padding is right */
    size_t head_blocks;   /* hold nothing but header and payload: public */
    size_t tail_blocks;   /* may hold the end: public */
    sha_state state;      /* of the inner hash */
    sha_state end;        /* the one behind the true last block */
    uint8_t first[SHA_BLOCK_MAX];
    uint8_t tail[TAIL_MAX];
};

/*
 * RFC 5246 6.2.3.2: each padding byte has the value of the last one. Wrong padding counts as none but the
 * length byte, so that a MAC is computed in any case.
 */
static void padding_read(struct lane *lane)
{
    const cbc_op *op = lane->op;
    const uint8_t *end = op->out + op->len;
    const uint32_t len = (uint32_t)op->len, mac_len = (uint32_t)op->key->mac_len, last = barrier(end[-1]);
    uint32_t wrong = padding_wrong(end, len, last);

    lane->good = mask_equal(wrong, 0) & ~mask_less(len, last + 1 + mac_len);
    lane->payload_len = len - mac_len - 1 - (last & lane->good);
    lane->least = len > PADDING_MAX + mac_len ? len - PADDING_MAX - mac_len : 0;
}

/* Mask: the message's last block, the one with the length, is this block of the tail. (No division: its time
 * tells the dividend.) */
static uint32_t mask_last_block(const struct lane *lane, uint32_t block)
{
    const sha_row *row = &sha_rows[lane->op->key->hash];
    const uint32_t block_len = row->block_len, start = (uint32_t)lane->head_blocks * block_len;
    uint32_t end = barrier(HMAC_HEADER_LEN + lane->payload_len + row->length_len - start);

    return ~mask_less(end, block * block_len) & mask_less(end, (block + 1) * block_len);
}

/* Copies `len` bytes of header | decrypted bytes | zeros from `at` on; all of it public places. */
static void message_copy(const cbc_op *op, size_t at, uint8_t *to, size_t len)
{
    size_t end = HMAC_HEADER_LEN + op->len, part;

    memset(to, 0, len);
    if (at < HMAC_HEADER_LEN) {
        part = HMAC_HEADER_LEN - at < len ? HMAC_HEADER_LEN - at : len;
        memcpy(to, op->header + at, part);
        at += part, to += part, len -= part;
    }
    if (at < end)
        memcpy(to, op->out + (at - HMAC_HEADER_LEN), end - at < len ? end - at : len);
}

/* Makes what stands from `len` (secret) on an 0x80 and zeros: FIPS 180-4 5.1. */
static void message_end(uint8_t *bytes, size_t room, uint32_t len)
{
    for (uint32_t i = 0; i < room; i += 16) {
        /* Where it ends as seen from here: at -1 or at 16 if it is before or behind these sixteen. */
        const uint32_t end_len = barrier(len); /* or compilers count the loop by len - i */
        const uint32_t before = mask_less(end_len, i), behind = mask_less(i + 16, end_len);
        const uint32_t end = ((end_len - i) & ~behind) | (16 & behind);
        const __m128i at = _mm_set1_epi8((char)(uint8_t)(end | before));
        const __m128i message = _mm_and_si128(load_16(bytes + i), _mm_cmpgt_epi8(at, places()));
        const __m128i one = _mm_and_si128(_mm_cmpeq_epi8(at, places()), _mm_set1_epi8((char)0x80));

        store_16(bytes + i, _mm_or_si128(message, one));
    }
}

/* The tail as SHA sees it: message, 0x80, zeros, and the length at the end of the block that is the last. */
static void tail_make(struct lane *lane)
{
    const sha_id hash = lane->op->key->hash;
    const uint32_t block_len = sha_rows[hash].block_len;
    const size_t start = lane->head_blocks * block_len, tail_len = lane->tail_blocks * block_len;
    const uint32_t message_len = HMAC_HEADER_LEN + lane->payload_len;
    const uint32_t rest = barrier(message_len - (uint32_t)start);
    const uint64_t bits = hmac_length_bits(hash, message_len);

    message_copy(lane->op, start, lane->tail, tail_len);
    message_end(lane->tail, tail_len, rest);
    for (uint32_t b = 0; b < lane->tail_blocks; b++) {
        uint8_t *place = lane->tail + (b + 1) * block_len - WORD;
        uint64_t length = bits & mask_wide(mask_last_block(lane, b)), was;

        memcpy(&was, place, WORD);
        was |= length;
        memcpy(place, &was, WORD);
    }
}

static void lane_begin(struct lane *lane, cbc_op *op)
{
    const sha_row *row = &sha_rows[op->key->hash];
    size_t most;

    lane->op = op;
    padding_read(lane);
    cbc_header_length(op, lane->payload_len);
    most = HMAC_HEADER_LEN + op->len - op->key->mac_len - 1;
    lane->head_blocks = (HMAC_HEADER_LEN + lane->least) / row->block_len;
    lane->tail_blocks =
        (most + 1 + row->length_len + row->block_len - 1) / row->block_len - lane->head_blocks;
    lane->state = op->key->mac.inner;
    memset(&lane->end, 0, sizeof(lane->end));
    if (lane->head_blocks > 0)
        message_copy(op, 0, lane->first, row->block_len);
    tail_make(lane);
}

/* ---- The hashes of all lanes in step ---- */

static void heads_run(sha_id hash, struct lane lanes[], size_t count)
{
    const size_t block_len = sha_rows[hash].block_len;
    sha_run runs[LANES];
    size_t n = 0;

    for (size_t i = 0; i < count; i++)
        if (lanes[i].head_blocks > 0)
            runs[n++] = (sha_run){&lanes[i].state, lanes[i].first, 1};
    sha_blocks_many(hash, runs, n);
    n = 0;
    for (size_t i = 0; i < count; i++)
        if (lanes[i].head_blocks > 1)
            runs[n++] = (sha_run){&lanes[i].state, lanes[i].op->out + block_len - HMAC_HEADER_LEN,
                                  lanes[i].head_blocks - 1};
    sha_blocks_many(hash, runs, n);
}

static void end_pick(struct lane *lane, uint32_t block)
{
    const uint64_t wide = mask_wide(mask_last_block(lane, block));

    for (size_t i = 0; i < 8; i++)
        lane->end.w64[i] |= lane->state.w64[i] & wide;
}

static void tails_run(sha_id hash, struct lane lanes[], size_t count)
{
    const size_t block_len = sha_rows[hash].block_len;
    sha_run runs[LANES];
    size_t n = 1;

    for (uint32_t block = 0; n > 0; block++) {
        n = 0;
        for (size_t i = 0; i < count; i++)
            if (block < lanes[i].tail_blocks)
                runs[n++] = (sha_run){&lanes[i].state, lanes[i].tail + block * block_len, 1};
        sha_blocks_many(hash, runs, n);
        for (size_t i = 0; i < count; i++)
            if (block < lanes[i].tail_blocks)
                end_pick(&lanes[i], block);
    }
}

/* The outer hash takes the tail's place and the state's. */
static void outers_run(sha_id hash, struct lane lanes[], size_t count)
{
    sha_run runs[LANES];

    for (size_t i = 0; i < count; i++) {
        hmac_outer_block(hash, &lanes[i].end, lanes[i].tail);
        lanes[i].state = lanes[i].op->key->mac.outer;
        runs[i] = (sha_run){&lanes[i].state, lanes[i].tail, 1};
    }
    sha_blocks_many(hash, runs, count);
}

/* ---- The received MAC ---- */

/*
 * Brings the word in which the MAC begins, `shift` (0 to 31, secret), to the window's beginning: the window is
 * moved by 16 words or not, by 8 or not, and so on down. `most`: the greatest shift there can be, public.
 */
static void window_shift(uint64_t window[WINDOW_WORDS], uint32_t shift, uint32_t most)
{
    for (uint32_t distance = PLACES / 2; distance > 0; distance /= 2) {
        const uint64_t moved = mask_wide(mask_equal(shift & distance, distance));

        if (distance > most)
            continue;
        /* Upwards, so that a word is read before it is written; only words that later steps can reach. */
        for (uint32_t i = 0; i < distance + MAC_WORDS; i++)
            window[i] = (window[i + distance] & moved) | (window[i] & ~moved);
    }
}

/* Not zero if the bytes that begin `shift` (secret) into the window's first word differ from the MAC. */
static uint64_t mac_differs(const uint64_t window[MAC_WORDS + 1], uint32_t shift,
                            const uint64_t mac[MAC_WORDS], size_t mac_len)
{
    const uint32_t bits = shift * 8;
    uint64_t differs = 0;

    for (size_t i = 0; i < MAC_WORDS && i * WORD < mac_len; i++) {
        /* In two steps: no shift by 64. */
        const uint64_t received = window[i] >> bits | window[i + 1] << 1 << (63 - bits);
        const uint64_t counts = mac_len - i * WORD >= WORD ? ~(uint64_t)0 : 0xffffffff;

        differs |= (received ^ mac[i]) & counts;
    }
    return differs;
}

static void lane_finish(struct lane *lane)
{
    cbc_op *op = lane->op;
    const size_t mac_len = op->key->mac_len;
    const uint32_t place = lane->payload_len - lane->least,
                   most = (uint32_t)(op->len - lane->least - mac_len);
    uint64_t window[WINDOW_WORDS] = {0}, mac[MAC_WORDS] = {0}, differs;

    memcpy(window, op->out + lane->least, op->len - lane->least);
    window_shift(window, place / WORD, most / WORD);
    sha_store(op->key->hash, &lane->state, (uint8_t *)mac);
    differs = mac_differs(window, place % WORD, mac, mac_len);
    wipe(window, sizeof(window));
    wipe(mac, sizeof(mac));
    op->payload_len = lane->payload_len & result_set(op, ~lane->good | (uint32_t)(differs | differs >> 32));
}

/* The tail is the end of a lane, and seldom used as far as it goes. */
static void lane_wipe(struct lane *lane)
{
    const size_t used = lane->tail_blocks * sha_rows[lane->op->key->hash].block_len;

    wipe(lane, offsetof(struct lane, tail) + (used > SHA_BLOCK_MAX ? used : SHA_BLOCK_MAX));
}

void cbc_check_padded(cbc_op *const ops[], size_t count)
{
    struct lane lanes[LANES];
    sha_id hash;

    while (count > 0) {
        size_t taken = 0, n = 0;
        for (; taken < count && n < LANES; taken++)
            if (ops[taken]->result == SEALANE_OK)
                lane_begin(&lanes[n++], ops[taken]);
        if (n > 0) {
            hash = lanes[0].op->key->hash;
            heads_run(hash, lanes, n);
            tails_run(hash, lanes, n);
            outers_run(hash, lanes, n);
        }
        for (size_t i = 0; i < n; i++)
            lane_finish(&lanes[i]);
        for (size_t i = 0; i < n; i++)
            lane_wipe(&lanes[i]);
        ops += taken;
        count -= taken;
    }
}

/* ---- Encrypt-then-MAC: nothing secret decides anything before the MAC is right ---- */

void cbc_check_macs(cbc_op *const ops[], size_t count)
{
    uint8_t macs[LANES][SHA_DIGEST_MAX];
    hmac_op hmacs[LANES];

    while (count > 0) {
        size_t n = count < LANES ? count : LANES;
        for (size_t i = 0; i < n; i++) {
            size_t len = CBC_IV_LEN + ops[i]->len - ops[i]->key->mac_len;
            cbc_header_length(ops[i], len);
            hmacs[i] = (hmac_op){&ops[i]->key->mac, ops[i]->header, ops[i]->in - CBC_IV_LEN, len, macs[i]};
        }
        hmac_compute_many(ops[0]->key->hash, hmacs, n);
        for (size_t i = 0; i < n; i++) {
            const uint8_t *received = ops[i]->in + ops[i]->len - ops[i]->key->mac_len;
            result_set(ops[i], (uint32_t)CRYPTO_memcmp(macs[i], received, ops[i]->key->mac_len));
        }
        ops += n;
        count -= n;
    }
    wipe(macs, sizeof(macs)); /* the right MAC of a forged record is a secret */
}

/* RFC 7366 3: the sender's own padding. Wrong padding under a right MAC is a broken peer, and refused alike.
 */
void cbc_check_padding(cbc_op *op)
{
    const size_t len = op->len - op->key->mac_len;
    const uint8_t *end = op->out + len;
    const uint32_t last = end[-1];
    uint32_t wrong = padding_wrong(end, (uint32_t)len, last) | ~mask_less(last, (uint32_t)len);

    op->payload_len = (len - 1 - last) & result_set(op, wrong);
}
