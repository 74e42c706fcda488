/* SPDX-License-Identifier: Apache-2.0 */
#include "machine.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <intel-ipsec-mb.h>
#include <openssl/crypto.h>
#include "cpu.h"
#if defined(__x86_64__)
#include <cpuid.h>
#endif

#if defined(__clang__)
#define COMPILER "clang " __clang_version__
#else
#define COMPILER "gcc " __VERSION__
#endif

#if defined(__x86_64__)

/* CPUID leaves 0x80000002 to 4: 48 characters, padded with blanks on either side by some vendors. */
static void brand_read(char brand[49])
{
    unsigned words[12] = {0};
    char *start = brand, *end;

    for (unsigned i = 0; i < 3; i++)
        __get_cpuid(0x80000002 + i, &words[4 * i], &words[4 * i + 1], &words[4 * i + 2], &words[4 * i + 3]);
    memcpy(brand, words, sizeof(words));
    brand[48] = '\0';
    while (*start == ' ')
        start++;
    memmove(brand, start, strlen(start) + 1);
    end = brand + strlen(brand);
    while (end > brand && end[-1] == ' ')
        *--end = '\0';
}

/* CPUID leaf 1: the extended fields count only for the families that overflow the short ones. */
static void cpu_read(char out[MACHINE_TEXT_MAX])
{
    char brand[49];
    unsigned a = 0, b, c, d, family, model;

    brand_read(brand);
    __get_cpuid(1, &a, &b, &c, &d);
    family = a >> 8 & 15;
    model = a >> 4 & 15;
    if (family == 6 || family == 15)
        model += (a >> 16 & 15) << 4;
    if (family == 15)
        family += a >> 20 & 255;
    snprintf(out, MACHINE_TEXT_MAX, "%s, family %u, model %u", brand, family, model);
}

#else

static void cpu_read(char out[MACHINE_TEXT_MAX])
{
    snprintf(out, MACHINE_TEXT_MAX, "not an x86-64");
}

#endif

void machine_read(machine *out, int core)
{
    const char *forced = secure_getenv("SEALANE_BACKEND");

    memset(out, 0, sizeof(*out));
    cpu_read(out->cpu);
    out->cpu_class = cpu_class_name(cpu_classify());
    out->core = core;
    out->openssl = OpenSSL_version(OPENSSL_VERSION);
    out->ipsec_mb = imb_get_version_str();
    out->compiler = COMPILER;
    out->flags = BENCH_FLAGS;
    out->build = BENCH_BUILD;
    out->forced_by = forced != NULL && forced[0] != '\0' ? forced : NULL;
    out->backends = sealane_backends(out->backend);
}

void machine_print(FILE *to, const machine *m)
{
    fprintf(to, "CPU        %s (%s)", m->cpu, m->cpu_class);
    if (m->core >= 0)
        fprintf(to, ", pinned to core %d", m->core);
    fprintf(to, "\nlibraries  %s; IPsec-MB %s\n", m->openssl, m->ipsec_mb);
    fprintf(to, "compiler   %s\n           %s build: %s\n", m->compiler, m->build, m->flags);
    fprintf(to, "backends  ");
    for (size_t i = 0; i < m->backends; i++)
        fprintf(to, " %s (%s)%s", m->backend[i].name, m->backend[i].state, i + 1 < m->backends ? "," : "\n");
    if (m->forced_by != NULL)
        fprintf(to, "SEALANE_BACKEND=%s is set: dispatch does not choose freely\n", m->forced_by);
}
