/* SPDX-License-Identifier: Apache-2.0 */
/* What bench-sessions measures, each against libssl with the default provider in the same run. */
#ifndef BENCH_SESSIONS_MEASURE_H
#define BENCH_SESSIONS_MEASURE_H

#include <stdbool.h>
#include <stddef.h>
#include <sealane/suite.h>
#include "stats.h"

/* Records: one of `size` bytes on each of `batch` connections, sealed at one end and opened at the other. */
typedef struct records_case {
    const sealane_suite *suite;
    size_t size, batch;
    spread libssl_ns, session_ns; /* per record, both directions together */
    spread ratio;                 /* by rounds */
} records_case;

/* One end of a connection that has said something and is idle: bytes of heap. */
typedef struct memory_case {
    const sealane_suite *suite;
    double libssl, libssl_released, session; /* released: SSL_MODE_RELEASE_BUFFERS */
} memory_case;

/* sealane_takeover(), with the SSL_free() that is in it; and SSL_free() alone, of as many. */
typedef struct adoption_case {
    const sealane_suite *suite;
    bool server;
    spread takeover_us, ssl_free_us;
} adoption_case;

/* All false, with a line on stderr, if something did not work: what is sent is compared with what arrives. */
bool records_measure(records_case *c, size_t rounds);
bool memory_measure(memory_case *c);
bool adoption_measure(adoption_case *c, size_t rounds);

#endif
