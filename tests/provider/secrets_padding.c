/* SPDX-License-Identifier: Apache-2.0 */
/*
 * No branch and no address in removing RSA paddings depends on the encoded message, as long as the outcome is one that
 * must not be told: runs under valgrind, for which the message is marked as uninitialised memory, so that it reports
 * each conditional jump and each memory access that depends on it (A. Langley's "ctgrind", 2010).
 *
 * `secrets_padding branch` does what must not be done, and shows that the method sees it.
 */
#include <stdio.h>
#include <string.h>
#include "constant_time.h"
#include "rsa_padding.h"

#define SKIPPED 77 /* what ctest is told */

#if __has_include(<valgrind/memcheck.h>)
#include <valgrind/memcheck.h>

int main(int argc, char **argv)
{
    enum { K = 256 };
    uint8_t em[K], random[PREMASTER_LEN], out[PREMASTER_LEN];

    (void)argv;
    if (!RUNNING_ON_VALGRIND)
        return SKIPPED;
    for (int good = 0; good < 2; good++) {
        memset(em, 0x17, sizeof(em));
        memset(random, 0x28, sizeof(random));
        em[0] = 0;
        em[1] = 2;
        em[K - PREMASTER_LEN - 1] = (uint8_t)!good;
        em[K - PREMASTER_LEN] = em[K - PREMASTER_LEN + 1] = 3;
        (void)VALGRIND_MAKE_MEM_UNDEFINED(em, sizeof(em));
        premaster_take(out, em, K, 0x0303, 0, random);
        premaster_take(out, em, K, 0x0303, 0x0302, random);
        premaster_choose(out, em, PREMASTER_LEN, good != 0, 0x0303, 0, random);
        if (argc > 1 && em[0] != 0)
            puts("a branch");
        (void)VALGRIND_MAKE_MEM_DEFINED(out, sizeof(out));
        (void)VALGRIND_MAKE_MEM_DEFINED(em, sizeof(em));
    }
    return 0;
}
#else
int main(void)
{
    return SKIPPED;
}
#endif
