/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The order of the backends per class of CPU. These rows follow the width of the AES and carry-less multiply
 * instructions that each backend uses there; they do not claim to be measured size by size.
 */
#include "calibration.h"

#include <stdint.h>

#define ALL_CIPHERS SEALANE_CIPHERS

const calibration_row calibration_rows[] = {
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
