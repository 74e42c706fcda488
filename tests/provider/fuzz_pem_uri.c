/* SPDX-License-Identifier: Apache-2.0 */
/* libFuzzer target: the DER inside a PEM-URI file is a URI or nothing, and so is a PKCS#8 around it. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <openssl/crypto.h>
#include "pem_uri.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *uri = pem_uri_decode(data, size);

    if (uri != NULL && (uri[0] == '\0' || strlen(uri) > size))
        abort();
    pem_uri_free(uri);

    size_t len = 0;
    unsigned char *inner = pkcs8_uri_unwrap(data, size, &len);

    if (inner != NULL && (len == 0 || len > size))
        abort();
    OPENSSL_free(inner);
    return 0;
}
