/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The bound: how fast AES-GCM could be on this core if its execution ports never waited for anything. It is
 * measured with streams of vaesenc and vpclmulqdq that depend on nothing, at the widest vectors that the CPU
 * has, and counted per record for vectors of w blocks (NIST SP 800-38D; hashing by Karatsuba's three products
 * with one reduction every eight blocks):
 *   AES       rounds / w operations per block, the tag's mask being one more block;
 *   products  3 / w per block, additional data and lengths being two more blocks, and 2 per reduction.
 *
 * Two contestants run it in turn with the others:
 *   bound        the AES steps first and then the products: what a routine takes at least if the two get in
 *                each other's way on the same ports. On Zen 3, with two steps per cycle and one product in
 * two cycles, 12 cycles for 32 bytes of AES-128, 14 of AES-256. bound-mixed  the same work with both kinds in
 * one stream. What it saves shows how far they do not get in each other's way; then `bound` is no floor. It
 * depends on the other thread of the same core: on Zen 3 the mix was seen to take 0.63 of the sum while that
 * one was idle, and 0.85 and more while it was not.
 *
 * Both bind this method only: fewer reductions pass them by a few per cent.
 */
#ifndef BENCH_RECORDS_BOUND_H
#define BENCH_RECORDS_BOUND_H

#include "records_subject.h"

typedef struct bound_ports {
    int vector_bits;   /* 0: this CPU has no such instructions */
    double aes_ns;     /* per vaesenc of that width, nothing else running */
    double product_ns; /* per vpclmulqdq of that width */
    double mixed[2];   /* time of the mix for AES-128, AES-256, both alone one after the other being 1 */
} bound_ports;

/* Measured at the first call, in turn; takes some milliseconds. */
const bound_ports *bound_measure(void);

#endif
