/* SPDX-License-Identifier: Apache-2.0 */
/* CPUID. Bit numbers: Intel SDM volume 2A, CPUID. */
#include "cpu.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

const char *cpu_class_name(cpu_class class_id)
{
    static const char *const names[CPU_CLASSES] = {
        [CPU_VAES_AVX512] = "VAES on AVX-512",
        [CPU_VAES_AVX2] = "VAES on AVX2",
        [CPU_AES] = "AES-NI",
        [CPU_OTHER] = "no AES instructions",
    };
    return names[class_id];
}

#if defined(__x86_64__)
#include <cpuid.h>

#include "xcr0.h"

#define LEAF1_ECX_PCLMULQDQ  (1u << 1)
#define LEAF1_ECX_AES        (1u << 25)
#define LEAF1_ECX_OSXSAVE    (1u << 27)
#define LEAF1_ECX_AVX        (1u << 28)
#define LEAF7_EBX_AVX2       (1u << 5)
#define LEAF7_EBX_AVX512F    (1u << 16)
#define LEAF7_EBX_AVX512DQ   (1u << 17)
#define LEAF7_EBX_AVX512BW   (1u << 30)
#define LEAF7_EBX_AVX512VL   (1u << 31)
#define LEAF7_ECX_VAES       (1u << 9)
#define LEAF7_ECX_VPCLMULQDQ (1u << 10)

static bool bits_all(unsigned value, unsigned bits)
{
    return (value & bits) == bits;
}

cpu_class cpu_classify(void)
{
    unsigned eax, ebx, ecx, edx;

    if (!__get_cpuid(1, &eax, &ebx, &ecx, &edx) || !bits_all(ecx, LEAF1_ECX_PCLMULQDQ | LEAF1_ECX_AES))
        return CPU_OTHER;
    if (!bits_all(ecx, LEAF1_ECX_OSXSAVE | LEAF1_ECX_AVX))
        return CPU_AES;
    if (!__get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx) || !registers_are_saved(XCR0_AVX) ||
        !bits_all(ebx, LEAF7_EBX_AVX2) || !bits_all(ecx, LEAF7_ECX_VAES | LEAF7_ECX_VPCLMULQDQ))
        return CPU_AES;
    if (!registers_are_saved(XCR0_AVX512) ||
        !bits_all(ebx, LEAF7_EBX_AVX512F | LEAF7_EBX_AVX512DQ | LEAF7_EBX_AVX512BW | LEAF7_EBX_AVX512VL))
        return CPU_VAES_AVX2;
    return CPU_VAES_AVX512;
}

#else

cpu_class cpu_classify(void)
{
    return CPU_OTHER;
}

#endif
