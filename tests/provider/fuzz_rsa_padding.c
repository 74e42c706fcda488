/* SPDX-License-Identifier: Apache-2.0 */
/*
 * libFuzzer target: what a token's bare RSA gives is unpadded within its bounds, and never says more than there is.
 * The first byte chooses the length of the modulus and the padding.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include "rsa_padding.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const uint8_t secret[REJECTION_LEN], random[PREMASTER_LEN];
    size_t k = size > 0 ? 64 + (size_t)(data[0] & 0x3f) * 8 : 0, len;
    uint8_t *em = k > 0 ? calloc(1, k) : NULL, *out = k > 0 ? malloc(k) : NULL, premaster[PREMASTER_LEN];

    if (em == NULL || out == NULL)
        goto done;
    memcpy(em, data + 1, size - 1 < k ? size - 1 : k);
    premaster_take(premaster, em, k, 0x0303, 0, random);
    len = k;
    if (pkcs1_take_or_fail(out, &len, em, k) && len > k - 11)
        abort();
    len = k;
    if (!pkcs1_take(NULL, out, &len, em, k, em, secret) || len > k - 11)
        abort();
    len = k;
    if (oaep_take(out, &len, em, k, EVP_sha1(), EVP_sha1(), secret, data[0] >> 6) && len > k - 42)
        abort();
done:
    free(em);
    free(out);
    return 0;
}
