/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the engine's tests share: running a CUnit suite, repeatable random bytes, buffers between forbidden
 * pages, libcrypto as the reference, and a child process per backend.
 */
#ifndef ENGINE_TEST_SUPPORT_H
#define ENGINE_TEST_SUPPORT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <CUnit/Basic.h>
#include <sealane/suite.h>
#include "backend.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

/* Runs one suite; the exit status of main(). */
int suite_run(const char *name, const CU_TestInfo tests[]);

/* The same sequence in every run, for each start. */
typedef struct prng {
    uint64_t state;
} prng;
uint64_t prng_next(prng *p);
/* 0 to limit - 1 */
size_t prng_below(prng *p, size_t limit);
void prng_fill(prng *p, uint8_t *out, size_t len);

/* `room` bytes with a page before and a page behind that nobody may touch. */
typedef struct guarded {
    uint8_t *map;
    size_t room;
    size_t pages_len;
} guarded;
guarded guarded_new(size_t room);
void guarded_free(guarded *g);
/* The first byte that is allowed; the `len` bytes before the first that is not. */
uint8_t *guarded_start(const guarded *g);
uint8_t *guarded_end(const guarded *g, size_t len);

bool all_zero(const uint8_t *bytes, size_t len);

/* libcrypto's EVP in the default context, fetched anew: nothing of the engine is involved. */
void reference_seal(sealane_cipher_id cipher, const uint8_t *key, const uint8_t *nonce, const uint8_t *aad,
                    size_t aad_len, const uint8_t *in, size_t len, uint8_t *out, uint8_t *tag);

/* A key expanded by one backend, in memory of the right alignment. */
void *state_new(const backend *be, sealane_cipher_id cipher, const uint8_t *key);
void state_free(const backend *be, void *state);

/* The next usable backend at or after *index that carries the cipher, NULL at the end; steps *index. */
const backend *backend_next(size_t *index, sealane_cipher_id cipher);

/*
 * Runs `body` in a child process with `variable` set to `value` (unset if NULL), so that the engine's
 * one-time set-up happens anew there. Returns its exit status, 255 if it died otherwise. `body` returns 0 for
 * success.
 */
int child_run(const char *variable, const char *value, int (*body)(void *), void *argument);

/* In a child: says what did not hold; adds to the failures that `body` returns. */
#define CHILD_CHECK(failures, condition) child_check(&(failures), (condition), #condition, __FILE__, __LINE__)
void child_check(int *failures, bool holds, const char *condition, const char *file, int line);

#endif
