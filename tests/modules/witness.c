/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A witness between libcrypto and sealane.so, for tests with daemons that cannot be asked: an OpenSSL provider
 * that is sealane.so, which it loads from SEALANE_WITNESS_PROVIDER and hands through unchanged, and that besides
 * copies its counters into the file named by SEALANE_WITNESS_FILE (witness.h), where a test reads them.
 *
 * A thread copies, because no call that a provider gets is sure to come after the last record. It takes no lock, so
 * the daemon may fork at any time; each child gets a thread and a row of its own. What a child has in
 * its counters from before the fork is its parent's doing and is taken off.
 */
#include "witness.h"

#include <dlfcn.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include <openssl/core_dispatch.h>
#include <openssl/params.h>
#include <sealane/provider.h>

enum { COUNTERS = 3, PAUSE_NS = 10000000 };

static const char *const names[COUNTERS] = {SEALANE_PARAM_RECORDS_SEALED, SEALANE_PARAM_RECORDS_OPENED,
                                            SEALANE_PARAM_RECORDS_FORGED};

static struct witness_file *file;
static void *context; /* sealane's; NULL until it is loaded and once it is unloaded */
static OSSL_FUNC_provider_get_params_fn *get_params;
static OSSL_FUNC_provider_teardown_fn *teardown;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* keeps the unload apart from a copy */
static uint64_t base[COUNTERS];

static bool counters_get(uint64_t now[COUNTERS])
{
    OSSL_PARAM params[COUNTERS + 1];

    for (int i = 0; i < COUNTERS; i++)
        params[i] = OSSL_PARAM_construct_uint64(names[i], &now[i]);
    params[COUNTERS] = OSSL_PARAM_construct_end();
    return context != NULL && get_params(context, params) == 1;
}

static void counters_copy(struct witness_row *row)
{
    uint64_t now[COUNTERS] = {0};

    if (!counters_get(now))
        return;
    row->sealed = now[0] - base[0];
    row->opened = now[1] - base[1];
    row->forged = now[2] - base[2];
}

static struct witness_row *own_row;

static void *watch(void *row)
{
    for (;;) {
        (void)pthread_mutex_lock(&lock);
        counters_copy(row);
        (void)pthread_mutex_unlock(&lock);
        (void)nanosleep(&(struct timespec){.tv_nsec = PAUSE_NS}, NULL);
    }
    return NULL;
}

static void watch_start(void)
{
    pthread_t thread;
    pthread_attr_t attributes;
    sigset_t all, before;
    uint64_t number = atomic_fetch_add(&file->rows_used, 1);

    if (number >= WITNESS_ROWS || pthread_attr_init(&attributes) != 0)
        return;
    own_row = &file->rows[number];
    own_row->pid = (uint64_t)getpid();
    (void)sigfillset(&all);
    (void)pthread_sigmask(SIG_BLOCK, &all, &before); /* signals are for the daemon's own threads */
    (void)pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    (void)pthread_create(&thread, &attributes, watch, own_row);
    (void)pthread_attr_destroy(&attributes);
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
}

/* The parent's thread may hold the lock at the moment of the fork; in the child it is nobody's. */
static void fork_child(void)
{
    (void)pthread_mutex_init(&lock, NULL);
    if (counters_get(base))
        watch_start();
}

static bool file_map(const char *path)
{
    int fd = open(path, O_RDWR | O_CLOEXEC);
    if (fd < 0) {
        perror(path);
        return false;
    }
    void *map = mmap(NULL, sizeof(*file), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    (void)close(fd);
    file = map == MAP_FAILED ? NULL : map;
    return file != NULL;
}

/* Programs that end in order unload their providers: the last word of a short-lived client is copied here. */
static void witness_teardown(void *provctx)
{
    (void)pthread_mutex_lock(&lock);
    if (own_row != NULL)
        counters_copy(own_row);
    context = NULL;
    (void)pthread_mutex_unlock(&lock);
    if (teardown != NULL)
        teardown(provctx);
}

/* A copy of sealane's table with our teardown in it. */
static const OSSL_DISPATCH *table_copy(const OSSL_DISPATCH *theirs)
{
    static OSSL_DISPATCH own[16];
    size_t n = 0;

    for (; theirs[n].function_id != 0 && n < sizeof(own) / sizeof(own[0]) - 1; n++) {
        own[n] = theirs[n];
        if (own[n].function_id == OSSL_FUNC_PROVIDER_GET_PARAMS)
            get_params = OSSL_FUNC_provider_get_params(&own[n]);
        if (own[n].function_id != OSSL_FUNC_PROVIDER_TEARDOWN)
            continue;
        teardown = OSSL_FUNC_provider_teardown(&own[n]);
        own[n].function = (void (*)(void))witness_teardown;
    }
    return own;
}

__attribute__((visibility("default"))) OSSL_provider_init_fn OSSL_provider_init;

int OSSL_provider_init(const OSSL_CORE_HANDLE *core, const OSSL_DISPATCH *in, const OSSL_DISPATCH **out,
                       void **provctx)
{
    const char *path = getenv("SEALANE_WITNESS_PROVIDER"), *counters = getenv("SEALANE_WITNESS_FILE");
    void *library = path ? dlopen(path, RTLD_NOW | RTLD_LOCAL) : NULL;
    OSSL_provider_init_fn *init = NULL;
    const OSSL_DISPATCH *theirs = NULL;

    if (library)
        *(void **)&init = dlsym(library, "OSSL_provider_init");
    if (!init || !counters) {
        fprintf(stderr, "witness: SEALANE_WITNESS_PROVIDER or SEALANE_WITNESS_FILE is missing or wrong: %s\n",
                path ? path : "(unset)");
        return 0;
    }
    if (!file_map(counters) || !init(core, in, &theirs, provctx))
        return 0;
    *out = table_copy(theirs);
    context = *provctx;
    (void)memset(base, 0, sizeof(base));
    watch_start();
    (void)pthread_atfork(NULL, NULL, fork_child);
    return 1;
}
