/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The order of the backends per class of CPU. The rows for AES-GCM follow the width of the AES and carry-less
 * multiply instructions that each backend uses there; they do not claim to be measured size by size. Those
 * for other ciphers were measured on Zen 3 (VAES on AVX2); other classes take them over as far as they can be
 * expected to hold.
 */
#include "calibration.h"

#include <stdint.h>

#define ALL_CIPHERS SEALANE_CIPHERS

#define ZEN_3 "measured fastest on Zen 3"
#define OTHER "as on Zen 3, not measured here"

/* With AVX-512 libcrypto takes twice as many blocks at once; before it, nobody does more than we do. */
#define CHACHA_ROWS                                                                                           \
    {CPU_VAES_AVX512, SEALANE_CHACHA20_POLY1305, CALIBRATION_BOTH, 1024, {"chacha", "openssl"}, OTHER},       \
        {CPU_VAES_AVX512, SEALANE_CHACHA20_POLY1305, CALIBRATION_BOTH, SIZE_MAX, {"openssl"}, OTHER},         \
        {CPU_VAES_AVX2, SEALANE_CHACHA20_POLY1305, CALIBRATION_BOTH, SIZE_MAX, {"chacha", "openssl"}, ZEN_3}, \
    {                                                                                                         \
        CPU_AES, SEALANE_CHACHA20_POLY1305, CALIBRATION_BOTH, SIZE_MAX, {"chacha", "openssl"}, OTHER          \
    }

/* Lanes pay as soon as there are two messages. One alone waits for itself, and its manager costs too. */
#define CCM_ROWS(cpu, cipher, why)                                                                           \
    {cpu, cipher, CALIBRATION_BATCH, SIZE_MAX, {"ipsec_mb", "openssl"}, why},                                \
        {cpu, cipher, CALIBRATION_ALONE | CALIBRATION_SEAL, 64, {"ipsec_mb", "openssl"}, why},               \
    {                                                                                                        \
        cpu, cipher, CALIBRATION_ALONE, SIZE_MAX, {"openssl"}, why                                           \
    }
#define CCM_ROWS_OF(cpu, why)                                                                                \
    CCM_ROWS(cpu, SEALANE_AES_128_CCM, why), CCM_ROWS(cpu, SEALANE_AES_128_CCM_8, why)

const calibration_row calibration_rows[] = {
    CHACHA_ROWS,
    CCM_ROWS_OF(CPU_VAES_AVX512, OTHER),
    CCM_ROWS_OF(CPU_VAES_AVX2, ZEN_3),
    CCM_ROWS_OF(CPU_AES, OTHER),
    {CPU_VAES_AVX512,
     ALL_CIPHERS,
     CALIBRATION_BOTH,
     SIZE_MAX,
     {"vaes", "ipsec_mb", "openssl"},
     "first usable in the order for CPUs with VAES on AVX-512"},
    {CPU_VAES_AVX2,
     ALL_CIPHERS,
     CALIBRATION_BOTH,
     SIZE_MAX,
     {"vaes", "ipsec_mb", "openssl"},
     "first usable in the order for CPUs with VAES on AVX2"},
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
