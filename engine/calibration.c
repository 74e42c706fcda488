/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The order of the backends per class of CPU, from measurements on Zen 5 (512-bit vectors) and Zen 3 (256-bit
 * vectors). Other CPUs of a class take them over: the order follows from how wide the code is that a backend has
 * for the class. A key is expanded once for each backend that its records meet, so a second one must be worth
 * its memory.
 */
#include "calibration.h"

#include <stdint.h>

#define ALL_CIPHERS SEALANE_CIPHERS

#define ZEN_5 "measured fastest on Zen 5"
#define ZEN_3 "measured fastest on Zen 3"
#define OTHER "as on Zen 3, not measured here"

/*
 * Our own code takes what goes side by side, and what is just more than a number of blocks that IPsec-MB's vectors are
 * made for; the two differ by less than a tenth elsewhere.
 */
#define CHACHA_FIRST(use, end)                                                                               \
    {                                                                                                        \
        CPU_VAES_AVX512, SEALANE_CHACHA20_POLY1305, use, end,                                                \
            {"chacha512", "ipsec_mb", "chacha", "openssl"}, ZEN_5                                            \
    }
#define IPSEC_FIRST(use, end)                                                                                \
    {                                                                                                        \
        CPU_VAES_AVX512, SEALANE_CHACHA20_POLY1305, use, end,                                                \
            {"ipsec_mb", "chacha512", "chacha", "openssl"}, ZEN_5                                            \
    }
#define AVX2_FIRST(use, end)                                                                                 \
    {                                                                                                        \
        CPU_VAES_AVX512, SEALANE_CHACHA20_POLY1305, use, end, {"chacha", "ipsec_mb", "openssl"}, ZEN_5       \
    }
#define CHACHA_ROWS                                                                                           \
    AVX2_FIRST(CALIBRATION_OPEN | CALIBRATION_ALONE, 64), CHACHA_FIRST(CALIBRATION_BATCH, 448),               \
        IPSEC_FIRST(CALIBRATION_BOTH, 960), CHACHA_FIRST(CALIBRATION_BOTH, 1984),                             \
        IPSEC_FIRST(CALIBRATION_BOTH, 4032), CHACHA_FIRST(CALIBRATION_BOTH, SIZE_MAX),                        \
        {CPU_VAES_AVX2, SEALANE_CHACHA20_POLY1305, CALIBRATION_BOTH, SIZE_MAX, {"chacha", "openssl"}, ZEN_3}, \
    {                                                                                                         \
        CPU_AES, SEALANE_CHACHA20_POLY1305, CALIBRATION_BOTH, SIZE_MAX, {"chacha", "openssl"}, OTHER          \
    }

/* Lanes for several, our own code for one: all on one expanded key. */
#define CCM_ROWS(cipher)                                                                                     \
    {CPU_VAES_AVX512, cipher, CALIBRATION_BOTH, SIZE_MAX, {"ipsec_mb", "openssl"}, ZEN_5},                   \
        {CPU_VAES_AVX2, cipher, CALIBRATION_BOTH, SIZE_MAX, {"ipsec_mb", "openssl"}, ZEN_3},                 \
    {                                                                                                        \
        CPU_AES, cipher, CALIBRATION_BOTH, SIZE_MAX, {"ipsec_mb", "openssl"}, OTHER                          \
    }

const calibration_row calibration_rows[] = {
    CHACHA_ROWS,
    CCM_ROWS(SEALANE_AES_128_CCM),
    CCM_ROWS(SEALANE_AES_128_CCM_8),
    {CPU_VAES_AVX512,
     ALL_CIPHERS,
     CALIBRATION_BOTH,
     SIZE_MAX,
     {"vaes512", "vaes", "ipsec_mb", "openssl"},
     ZEN_5},
    {CPU_VAES_AVX2, ALL_CIPHERS, CALIBRATION_BOTH, SIZE_MAX, {"vaes", "ipsec_mb", "openssl"}, ZEN_3},
    {CPU_AES,
     ALL_CIPHERS,
     CALIBRATION_BOTH,
     SIZE_MAX,
     {"ipsec_mb", "openssl"},
     "first usable in the order for CPUs with AES-NI"},
    {CPU_OTHER,
     ALL_CIPHERS,
     CALIBRATION_BOTH,
     SIZE_MAX,
     {"openssl"},
     "the only one without AES instructions"},
};

const size_t calibration_row_count = sizeof(calibration_rows) / sizeof(calibration_rows[0]);
