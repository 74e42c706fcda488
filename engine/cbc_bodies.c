/* SPDX-License-Identifier: Apache-2.0 */
/* sealane/cbc.h over cbc.h: a stranger's record layer's bodies as operations. */
#include <sealane/cbc.h>

#include <stdlib.h>
#include <string.h>
#include <openssl/crypto.h>
#include "cbc.h"
#include "random_iv.h"

_Static_assert(SEALANE_CBC_IV_LEN == CBC_IV_LEN && RANDOM_IV_LEN == CBC_IV_LEN, "one IV");
_Static_assert(SEALANE_CBC_HEADER_LEN == HMAC_HEADER_LEN, "one header");

struct sealane_cbc {
    cbc_key *key;
};

sealane_result sealane_cbc_new(sealane_cbc **out, sealane_cipher_id cipher, bool sealing, const uint8_t *key,
                               size_t key_len, const uint8_t *mac_key, size_t mac_key_len)
{
    const sealane_cipher *row = sealane_cipher_get(cipher);
    const cbc_key_params params = {.cipher = cipher, .sealing = sealing, .key = key, .mac_key = mac_key};
    sealane_cbc *cbc;
    sealane_result result;

    if (out == NULL || row == NULL || cipher < SEALANE_CBC_FIRST || key == NULL || key_len != row->key_len ||
        mac_key == NULL || mac_key_len != row->tag_len)
        return SEALANE_ARGUMENT;
    cbc = calloc(1, sizeof(*cbc));
    if (cbc == NULL)
        return SEALANE_MEMORY;
    result = cbc_key_new(&cbc->key, &params);
    if (result == SEALANE_OK)
        *out = cbc;
    else
        free(cbc);
    return result;
}

void sealane_cbc_free(sealane_cbc *cbc)
{
    if (cbc == NULL)
        return;
    cbc_key_free(cbc->key); /* wipes */
    free(cbc);
}

size_t sealane_cbc_lanes(sealane_cipher_id cipher)
{
    return cipher < SEALANE_CBC_FIRST || cipher >= SEALANE_CBC_END ? 1 : cbc_lanes(cipher);
}

size_t sealane_cbc_sealed_len(const sealane_cbc *cbc, size_t payload_len)
{
    return CBC_IV_LEN + cbc_sealed_len(cbc->key, payload_len);
}

static void op_of(cbc_op *op, cbc_key *key, const sealane_cbc_op *from)
{
    op->key = key;
    memcpy(op->header, from->header, HMAC_HEADER_LEN);
    op->out = from->body + CBC_IV_LEN;
}

static bool random_take(cbc_op *op, const sealane_cbc_op *from)
{
    if (!from->random_there)
        return random_iv_draw(op->iv);
    memcpy(op->iv, from->body, CBC_IV_LEN);
    return true;
}

/* A record that failed leaves nothing; opening has wiped by itself. */
static size_t results_take(const sealane_cbc *cbc, sealane_cbc_op ops[], size_t count)
{
    size_t good = 0;

    for (size_t i = 0; i < count; i++) {
        good += ops[i].result == SEALANE_OK;
        if (ops[i].result != SEALANE_OK && cbc->key->sealing)
            OPENSSL_cleanse(ops[i].body + CBC_IV_LEN, cbc_sealed_len(cbc->key, ops[i].len));
    }
    return good;
}

size_t sealane_cbc_seal(sealane_cbc *cbc, sealane_cbc_op ops[], size_t count)
{
    cbc_op room[SEALANE_CBC_BATCH_MAX], *list[SEALANE_CBC_BATCH_MAX] = {NULL};
    size_t n = 0;

    if (count > SEALANE_CBC_BATCH_MAX || !cbc->key->sealing)
        return 0;
    for (size_t i = 0; i < count; i++) {
        ops[i].result = SEALANE_INTERNAL;
        op_of(&room[i], cbc->key, &ops[i]);
        room[i].len = ops[i].len;
        room[i].result = SEALANE_INTERNAL;
        if (random_take(&room[i], &ops[i]))
            list[n++] = &room[i];
    }
    cbc_seal(list, n);
    for (size_t i = 0; i < count; i++)
        ops[i].result = room[i].result;
    return results_take(cbc, ops, count);
}

/* Its length alone says that it is none: seen before anything is decrypted, and by anyone. */
static bool length_possible(const sealane_cbc *cbc, size_t len)
{
    return len >= CBC_IV_LEN && cbc_length_possible(cbc->key, len - CBC_IV_LEN);
}

size_t sealane_cbc_open(sealane_cbc *cbc, sealane_cbc_op ops[], size_t count)
{
    cbc_op room[SEALANE_CBC_BATCH_MAX], *list[SEALANE_CBC_BATCH_MAX] = {NULL};
    size_t n = 0;

    if (count > SEALANE_CBC_BATCH_MAX || cbc->key->sealing)
        return 0;
    for (size_t i = 0; i < count; i++) {
        op_of(&room[i], cbc->key, &ops[i]);
        room[i].result = SEALANE_RECORD;
        room[i].payload_len = 0;
        if (!length_possible(cbc, ops[i].len))
            continue;
        room[i].in = room[i].out;
        room[i].len = ops[i].len - CBC_IV_LEN;
        list[n++] = &room[i];
    }
    cbc_open(list, n);
    for (size_t i = 0; i < count; i++) {
        ops[i].result = room[i].result;
        ops[i].payload_len = room[i].payload_len;
    }
    return results_take(cbc, ops, count);
}
