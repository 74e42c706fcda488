/* SPDX-License-Identifier: Apache-2.0 */
/* Fuzz target: PROXY headers of both versions, whole and byte by byte. */
#include "pattern.h"
#include "proxy.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct proxy whole, cut;
    struct in6_addr address;
    enum proxy_result result = proxy_parse(&whole, data, size);

    if (result != PROXY_DONE)
        return 0;
    /* What is an address to us must be one to the limits too; less than the whole header is never enough. */
    if (whole.length > size || (whole.address[0] != '\0' && !address_parse(&address, whole.address)))
        abort();
    for (size_t len = 0; len < whole.length; len++)
        if (proxy_parse(&cut, data, len) != PROXY_MORE)
            abort();
    if (proxy_parse(&cut, data, whole.length) != PROXY_DONE || cut.length != whole.length ||
        strcmp(cut.address, whole.address) != 0)
        abort();
    return 0;
}
