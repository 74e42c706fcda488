/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which class of CPU this is, as far as the choice of a backend depends on it. Whether a backend's routines
 * can run at all is for its own probe() to say; a class only tells which order was found best
 * (calibration.h).
 */
#ifndef ENGINE_CPU_H
#define ENGINE_CPU_H

typedef enum cpu_class {
    CPU_VAES_AVX512, /* VAES and VPCLMULQDQ on 512-bit vectors: Ice Lake, Zen 4 and up */
    CPU_VAES_AVX2,   /* the same on 256-bit vectors: Zen 3, Alder Lake and up */
    CPU_AES,         /* AES-NI and PCLMULQDQ only */
    CPU_OTHER,
    CPU_CLASSES
} cpu_class;

/* Asks CPUID, and XGETBV for what the kernel saves. Cheap, but call it once. */
cpu_class cpu_classify(void);
/* "VAES on AVX2", ... Static. */
const char *cpu_class_name(cpu_class class_id);

#endif
