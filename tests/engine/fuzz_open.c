/* SPDX-License-Identifier: Apache-2.0 */
/*
 * libFuzzer target: whatever a stranger sends, opening it reads and writes nothing outside the buffers, and
 * nothing but what this key's other half sealed is ever opened.
 *
 * Input: one byte chooses a suite, one says how the rest is meant (and, of a CBC suite, what comes first, MAC or
 * encryption): as a record as it came from the network, or as
 * payload to be sealed and then damaged where the last two bytes say.
 */
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sealane/record.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static sealane_key *key_new(const sealane_suite *suite, sealane_direction direction, bool encrypt_then_mac)
{
    static const uint8_t secret[SEALANE_KEY_MAX] = {1, 2, 3}, iv[SEALANE_NONCE_LEN] = {4, 5, 6};
    static const uint8_t mac[SEALANE_MAC_MAX] = {7, 8, 9};
    const sealane_cipher *cipher = sealane_cipher_get(suite->cipher);
    bool cbc = suite->cipher >= SEALANE_CIPHERS;
    sealane_key_params params = {.suite = suite,
                                 .direction = direction,
                                 .key = secret,
                                 .key_len = cipher->key_len,
                                 .iv = iv,
                                 .iv_len = sealane_suite_iv_len(suite),
                                 .mac_key = cbc ? mac : NULL,
                                 .mac_key_len = cbc ? cipher->tag_len : 0,
                                 .encrypt_then_mac = cbc && encrypt_then_mac};
    sealane_key *key = NULL;

    if (sealane_key_new(&key, &params) != SEALANE_OK)
        abort();
    return key;
}

/* Exactly as large as it is said to be, so that the sanitizer sees a byte too far. */
static sealane_result open_exactly(sealane_key *key, const uint8_t *record, size_t len, size_t *payload_len)
{
    uint8_t *in = malloc(len), *out = calloc(1, len + 1);

    if (in == NULL || out == NULL)
        abort();
    memcpy(in, record, len);
    sealane_open_op op = {.key = key, .record = in, .record_len = len, .out = out, .out_size = len};
    sealane_result result = sealane_record_open(&op);
    *payload_len = op.payload_len;
    for (size_t i = 0; result == SEALANE_FORGED && i + sealane_record_prefix_len(key) + SEALANE_TAG_MAX < len;
         i++)
        if (out[i] != 0)
            abort(); /* plaintext of a forged record */
    free(in);
    free(out);
    return result;
}

static void from_network(sealane_key *key, const uint8_t *data, size_t size)
{
    size_t record_len = 0, payload_len;

    if (sealane_record_length(key, data, size, &record_len) == SEALANE_OK && record_len <= size &&
        open_exactly(key, data, record_len, &payload_len) == SEALANE_OK)
        abort(); /* nobody sealed this */
}

static void damaged(sealane_key *sealer, sealane_key *opener, const uint8_t *data, size_t size)
{
    static uint8_t record[SEALANE_RECORD_MAX];
    size_t payload_len, payload_size = size - 2 > SEALANE_PLAINTEXT_MAX ? SEALANE_PLAINTEXT_MAX : size - 2;
    struct iovec payload = {(void *)(uintptr_t)data, payload_size};
    sealane_seal_op op = {.key = sealer,
                          .payload = &payload,
                          .payload_count = 1,
                          .out = record,
                          .out_size = sizeof(record),
                          .type = SEALANE_APPLICATION_DATA};

    if (sealane_record_seal(&op) != SEALANE_OK)
        abort();
    uint8_t change = data[size - 1];
    record[data[size - 2] % op.out_len] ^= change;
    sealane_result result = open_exactly(opener, record, op.out_len, &payload_len);
    if ((result == SEALANE_OK) != (change == 0) || (result == SEALANE_OK && payload_len != payload_size))
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    size_t suites;

    if (size < 5)
        return 0;
    const sealane_suite *suite = &sealane_suites(&suites)[data[0] % suites];
    bool encrypt_then_mac = data[1] & 2;
    sealane_key *opener = key_new(suite, SEALANE_OPENING, encrypt_then_mac);
    sealane_key *sealer = key_new(suite, SEALANE_SEALING, encrypt_then_mac);
    if (data[1] % 2 == 0)
        from_network(opener, data + 2, size - 2);
    else
        damaged(sealer, opener, data + 2, size - 2);
    sealane_key_free(opener);
    sealane_key_free(sealer);
    return 0;
}
