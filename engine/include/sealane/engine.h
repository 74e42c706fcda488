/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the engine chose and what it did: backends, their known-answer tests, counters.
 * The first call of any engine function sets the engine up (CPUID, known-answer tests), once and
 * thread-safely.
 */
#ifndef SEALANE_ENGINE_H
#define SEALANE_ENGINE_H

#include <stddef.h>
#include <stdint.h>
#include <sealane/result.h>
#include <sealane/suite.h>

#ifdef __cplusplus
extern "C" {
#endif

#define SEALANE_BACKENDS_MAX 8

/* One backend as the set-up found it. All strings are static. */
typedef struct sealane_backend_info {
    const char *name;    /* "ipsec_mb", "openssl", ...; what SEALANE_BACKEND= takes */
    const char *version; /* of the library or routines below */
    const char *state;   /* "usable", or why not: "CPU lacks ...", "known-answer test failed" */
    int usable;
} sealane_backend_info;

/* Fills `list` in order of the build; returns how many there are. */
size_t sealane_backends(sealane_backend_info list[SEALANE_BACKENDS_MAX]);

/* Name of the backend that dispatch takes for whole messages of `len` bytes, and why, as one static phrase.
 */
const char *sealane_backend_for(sealane_cipher_id cipher, int sealing, size_t len, const char **why);
/* The same for a message that is handed over with others: sealane_batch_seal(), sealane_batch_open(). */
const char *sealane_backend_for_batch(sealane_cipher_id cipher, int sealing, size_t len, const char **why);

/* Records (whole messages) by backend, in the order of sealane_backends(). Monotonic since the start. */
typedef struct sealane_counters {
    uint64_t sealed[SEALANE_BACKENDS_MAX];
    uint64_t opened[SEALANE_BACKENDS_MAX];
    uint64_t forged; /* messages refused */
} sealane_counters;

/* Sum over all threads of the process, those that have ended included. */
void sealane_counters_read(sealane_counters *out);
/* Name of the backend that sealed last on the calling thread, "none" before the first. Static. */
const char *sealane_last_sealed_by(void);

/*
 * Where the engine says what its operator must know (a backend that failed its known-answer test, a
 * SEALANE_BACKEND that does not exist): one line without newline. Default: stderr. Set before first use.
 */
void sealane_set_log(void (*log)(const char *line));

#ifdef __cplusplus
}
#endif
#endif
