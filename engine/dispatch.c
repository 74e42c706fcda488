/* SPDX-License-Identifier: Apache-2.0 */
/* Set-up of the engine and the choice of a backend: dispatch.h; what the public may ask: sealane/engine.h. */
#include "dispatch.h"

#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "calibration.h"
#include "cbc.h"
#include "cpu.h"
#include "known_answer.h"
#include "log.h"

#define LOG_LINE_MAX 512

struct pick {
    unsigned backend; /* or DISPATCH_NONE */
    const char *why;
};

static struct {
    pthread_once_t once;
    cpu_class cpu;
    size_t count;
    sealane_backend_info info[SEALANE_BACKENDS_MAX];
    struct pick picks[SEALANE_CIPHERS][DISPATCH_USES][DISPATCH_SIZE_CLASSES];
} engine = {.once = PTHREAD_ONCE_INIT};

uint8_t dispatch_table[SEALANE_CIPHERS][DISPATCH_USES][DISPATCH_SIZE_CLASSES];

static void log_to_stderr(const char *line)
{
    fprintf(stderr, "%s\n", line);
}

static void (*log_sink)(const char *line) = log_to_stderr;

void sealane_set_log(void (*log)(const char *line))
{
    log_sink = log != NULL ? log : log_to_stderr;
}

void log_line(const char *format, ...)
{
    char line[LOG_LINE_MAX];
    va_list arguments;

    va_start(arguments, format);
    vsnprintf(line, sizeof(line), format, arguments);
    va_end(arguments);
    log_sink(line);
}

static size_t size_class_max(size_t class_id)
{
    return class_id == DISPATCH_SIZE_CLASSES - 1 ? SIZE_MAX : dispatch_class_end(class_id);
}

static const char *backend_state(const backend *be)
{
    const char *missing = be->probe();

    if (missing != NULL)
        return missing;
    for (sealane_cipher_id cipher = 0; cipher < SEALANE_CIPHERS; cipher++) {
        const char *failure = be->state_size(cipher) == 0 ? NULL : known_answer_failure(be, cipher);
        if (failure == NULL)
            continue;
        log_line("sealane: backend %s (%s) failed the known-answer test of %s: %s; it is not used", be->name,
                 be->version(), sealane_cipher_get(cipher)->name, failure);
        return "known-answer test failed";
    }
    return NULL;
}

static bool carries(size_t index, sealane_cipher_id cipher)
{
    return engine.info[index].usable && engine_backends[index]->state_size(cipher) != 0;
}

static size_t index_of(const char *name)
{
    size_t i = 0;

    while (i < engine.count && strcmp(engine.info[i].name, name) != 0)
        i++;
    return i;
}

static bool row_fits(const calibration_row *row, sealane_cipher_id cipher, dispatch_use use, size_t len)
{
    const unsigned both_directions = CALIBRATION_SEAL | CALIBRATION_OPEN;
    const unsigned both_ways = CALIBRATION_ALONE | CALIBRATION_BATCH;
    bool sealing = use == DISPATCH_SEAL || use == DISPATCH_SEAL_BATCH;
    bool batch = use == DISPATCH_OPEN_BATCH || use == DISPATCH_SEAL_BATCH;
    unsigned directions = (row->use & both_directions) != 0 ? row->use : both_directions;
    unsigned ways = (row->use & both_ways) != 0 ? row->use : both_ways;

    return row->cpu == engine.cpu && (row->cipher == cipher || row->cipher == SEALANE_CIPHERS) &&
           (directions & (sealing ? CALIBRATION_SEAL : CALIBRATION_OPEN)) != 0 &&
           (ways & (batch ? CALIBRATION_BATCH : CALIBRATION_ALONE)) != 0 && len <= row->max_len;
}

/* The first backend of the first row that fits; if the table knows none, the first that carries the cipher.
 */
static struct pick pick_from_table(sealane_cipher_id cipher, dispatch_use use, size_t len)
{
    for (size_t i = 0; i < calibration_row_count; i++) {
        const calibration_row *row = &calibration_rows[i];
        if (!row_fits(row, cipher, use, len))
            continue;
        for (const char *const *name = row->order; *name != NULL; name++) {
            size_t index = index_of(*name);
            if (index < engine.count && carries(index, cipher))
                return (struct pick){(unsigned)index, row->why};
        }
        break;
    }
    for (size_t index = 0; index < engine.count; index++)
        if (carries(index, cipher))
            return (struct pick){(unsigned)index, "the only one left that carries the cipher"};
    return (struct pick){DISPATCH_NONE, "no usable backend carries the cipher"};
}

/* One line that says what there is, for who mistyped the name or lacks the CPU. */
static void override_refused(const char *name)
{
    char list[LOG_LINE_MAX / 2] = "";
    size_t used = 0;

    for (size_t i = 0; i < engine.count && used < sizeof(list); i++)
        used += (size_t)snprintf(list + used, sizeof(list) - used, "%s%s (%s)", i == 0 ? "" : ", ",
                                 engine.info[i].name, engine.info[i].state);
    log_line("sealane: SEALANE_BACKEND=%.64s is not usable here; there is: %s; going on without it", name,
             list);
}

/* Index of the backend that SEALANE_BACKEND forces, or engine.count. A set-uid program takes no such orders.
 */
static size_t override_read(void)
{
    const char *name = secure_getenv("SEALANE_BACKEND");
    size_t index;

    if (name == NULL || name[0] == '\0')
        return engine.count;
    index = index_of(name);
    if (index < engine.count && engine.info[index].usable)
        return index;
    override_refused(name);
    return engine.count;
}

static void picks_fill(size_t forced)
{
    for (sealane_cipher_id cipher = 0; cipher < SEALANE_CIPHERS; cipher++)
        for (dispatch_use use = 0; use < DISPATCH_USES; use++)
            for (size_t c = 0; c < DISPATCH_SIZE_CLASSES; c++) {
                struct pick *pick = &engine.picks[cipher][use][c];
                if (forced < engine.count && carries(forced, cipher))
                    *pick = (struct pick){(unsigned)forced, "SEALANE_BACKEND says so"};
                else
                    *pick = pick_from_table(cipher, use, size_class_max(c));
                dispatch_table[cipher][use][c] = (uint8_t)pick->backend;
            }
}

static void engine_start(void)
{
    engine.cpu = cpu_classify();
    engine.count = engine_backend_count;
    for (size_t i = 0; i < engine.count; i++) {
        const backend *be = engine_backends[i];
        const char *state = backend_state(be);
        engine.info[i] = (sealane_backend_info){.name = be->name,
                                                .version = be->version(),
                                                .state = state == NULL ? "usable" : state,
                                                .usable = state == NULL};
    }
    picks_fill(override_read());
}

static void *start_on_thread(void *arg)
{
    engine_start();
    return arg;
}

/* The first caller may be a handshake inside one of OpenSSL's jobs, whose stack of 32 KB the known-answer tests would fill. */
static void start_on_own_stack(void)
{
    pthread_t thread;

    if (pthread_create(&thread, NULL, start_on_thread, NULL) == 0)
        (void)pthread_join(thread, NULL);
    else
        engine_start();
}

void dispatch_setup(void)
{
    (void)pthread_once(&engine.once, start_on_own_stack);
}

/* libcrypto's takes everything, and stands last in every build. */
unsigned dispatch_fallback(sealane_cipher_id cipher)
{
    size_t index = engine.count;

    while (index > 0 && !carries(index - 1, cipher))
        index--;
    return index > 0 ? (unsigned)index - 1 : DISPATCH_NONE;
}

size_t sealane_backends(sealane_backend_info list[SEALANE_BACKENDS_MAX])
{
    dispatch_setup();
    memcpy(list, engine.info, engine.count * sizeof(list[0]));
    return engine.count;
}

static const char *pick_tell(sealane_cipher_id cipher, dispatch_use use, size_t len, const char **why)
{
    const struct pick *pick;

    dispatch_setup();
    if (sealane_cipher_get(cipher) == NULL) {
        if (why != NULL)
            *why = "no such cipher";
        return "none";
    }
    if (cipher >= SEALANE_CIPHERS)
        return cbc_backend_for(cipher, (use & 1) != 0, 1, why);
    pick = &engine.picks[cipher][use][dispatch_size_class(len)];
    if (why != NULL)
        *why = pick->why;
    return pick->backend == DISPATCH_NONE ? "none" : engine.info[pick->backend].name;
}

const char *sealane_backend_for(sealane_cipher_id cipher, int sealing, size_t len, const char **why)
{
    return pick_tell(cipher, dispatch_use_of(sealing != 0, false), len, why);
}

const char *sealane_backend_for_batch(sealane_cipher_id cipher, int sealing, size_t len, const char **why)
{
    return pick_tell(cipher, dispatch_use_of(sealing != 0, true), len, why);
}
