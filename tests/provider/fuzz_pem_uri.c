/* SPDX-License-Identifier: Apache-2.0 */
/* libFuzzer target: the DER inside a PEM-URI file is a URI or nothing. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include "pem_uri.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *uri = pem_uri_decode(data, size);

    if (uri != NULL && (uri[0] == '\0' || strlen(uri) > size))
        abort();
    pem_uri_free(uri);
    return 0;
}
