/* SPDX-License-Identifier: Apache-2.0 */
/* The phrases of the results; what the results mean is said in sealane/result.h. */
#include <sealane/result.h>

const char *sealane_result_text(sealane_result result)
{
    switch (result) {
    case SEALANE_OK:
        return "success";
    case SEALANE_FORGED:
        return "authentication failed";
    case SEALANE_ARGUMENT:
        return "invalid argument";
    case SEALANE_SPACE:
        return "output buffer too small";
    case SEALANE_RECORD:
        return "not a record of this connection";
    case SEALANE_OVERFLOW:
        return "record too long";
    case SEALANE_LIMIT:
        return "key used up";
    case SEALANE_UNSUPPORTED:
        return "no usable backend for this cipher";
    case SEALANE_MEMORY:
        return "out of memory";
    case SEALANE_INTERNAL:
        return "a library below failed";
    case SEALANE_ENDED:
        return "the connection is over";
    }
    return "unknown result";
}
