/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Loading PKCS#11 modules through libp11, starting them anew, and the one wrapper for all calls of Cryptoki. What is in
 * their slots: slot.c; whether one is meant by a URI: module_match.c. Sessions, login and objects: token.c and object.c.
 *
 * What one must know of libp11 0.4.12:
 *  - it clears the caller's OpenSSL error queue, so it is called on threads of this room only;
 *  - it says "unable to load module" and no more, so we load the library first and ask dlerror;
 *  - it registers error strings that live in libp11.so, so that library must never be unmapped;
 *  - releasing its list of slots calls C_CloseAllSessions on each of them, updating the list
 * (PKCS11_update_slots) reads past a pointer when there are two or more, and one slot in trouble hides all
 * the others. So slot.c lists the slots, with Cryptoki's own functions.
 */
#undef OPENSSL_NO_DEPRECATED /* libp11.h names types that OpenSSL 3 has deprecated; none is used here */

#include "module-int.h"
#include "debug.h"
#include "error.h"
#include "exit.h"
#include "process.h"
#include "stats.h"

#include <dlfcn.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>

#include <libp11.h>
#include <openssl/crypto.h>
#include <openssl/err.h>

enum {
    DEAD_MS = 2000,       /* after which nobody returns from a dead connection who has not yet */
    RESCAN_WAIT_MS = 100, /* for calls in progress: some signatures of a slow token long */
};

/* What belongs to one process: a child of fork starts with a new one. */
struct module_live {
    unsigned generation;
    pthread_mutex_t lock; /* libp11's context is used by one thread at a time */
    void *library;        /* our own reference, for dlerror and C_GetFunctionList */
    PKCS11_CTX *ctx;
    bool loaded;
    bool owner;                 /* we initialised it; else somebody else in this process had */
    atomic_int sessions;        /* ours, open now */
    uint64_t dead_since;        /* stats_now() when the connection was first seen to be dead, or 0 */
    struct module_live *parent; /* the one before the fork: kept, not touched */
};

static struct module *modules; /* under the registry lock */

/* ---- Calls ---- */

static _Thread_local uint64_t ck_began; /* for the debug log */

bool ck_enter(void)
{
    if (debug_is_on())
        ck_began = stats_now();
    return gate_enter();
}

CK_RV ck_done(CK_RV rv, hsm_error *err, const char *call, const char *where)
{
    gate_leave();
    if (debug_is_on())
        debug_line("%s: %s %s, %llu us", where, call, hsm_ckr_name(rv),
                   (unsigned long long)(stats_now() - ck_began));
    if (rv != CKR_OK)
        (void)error_ckr(err, rv, call, where);
    return rv;
}

CK_RV ck_refused(hsm_error *err, const char *where)
{
    (void)error_set(err, HSM_E_SHUTDOWN, 0, "%s: the process is ending", where);
    return CKR_FUNCTION_CANCELED;
}

/* ---- Life ---- */

static bool same_text(const char *a, const char *b)
{
    return a == b || (a && b && strcmp(a, b) == 0);
}

static void module_forget(struct module *m)
{
    OPENSSL_free(m->path);
    OPENSSL_free(m->init_args);
    OPENSSL_free(m);
}

struct module *module_get(const char *path, const char *init_args)
{
    struct module *fresh = OPENSSL_zalloc(sizeof(*fresh));
    if (!fresh)
        return NULL;
    fresh->refs = 1;
    fresh->path = OPENSSL_strdup(path);
    fresh->init_args = init_args ? OPENSSL_strdup(init_args) : NULL;
    if (!fresh->path || (init_args && !fresh->init_args)) {
        module_forget(fresh);
        return NULL;
    }
    registry_lock();
    struct module *m = modules;
    while (m && !(same_text(m->path, path) && same_text(m->init_args, init_args)))
        m = m->next;
    if (m) {
        m->refs++;
    } else {
        fresh->next = modules;
        modules = fresh;
    }
    registry_unlock();
    if (!m)
        return fresh;
    module_forget(fresh);
    return m;
}

const char *module_path(const struct module *m)
{
    return m->path;
}

CK_FUNCTION_LIST *module_functions(const struct module *m)
{
    return m->functions;
}

unsigned module_incarnation(const struct module *m)
{
    return m->incarnation;
}

bool module_is_near(const struct module *m)
{
    return m->near;
}

/* The part of this process, made at first use. */
static struct module_live *module_live(struct module *m)
{
    registry_lock();
    struct module_live *live = m->live;
    if (!live || live->generation != process_generation()) {
        live = OPENSSL_zalloc(sizeof(*live));
        if (live) {
            live->generation = process_generation();
            live->parent = m->live;
            pthread_mutex_init(&live->lock, NULL);
            m->live = live;
        }
    }
    registry_unlock();
    return live;
}

/* ---- Loading ---- */

/* libp11 puts the CK_RV behind its failure into the error queue of this thread, which is ours. */
static unsigned long libp11_ckr(void)
{
    unsigned long code = ERR_peek_last_error();
    unsigned long ckr = ERR_GET_LIB(code) == ERR_get_CKR_code() ? (unsigned long)ERR_GET_REASON(code) : 0;
    ERR_clear_error();
    return ckr;
}

/* The file of the library that has the function. "" if there is no telling. */
static const char *file_of(const void *function)
{
    Dl_info info;
    if (dladdr(function, &info) == 0 || !info.dli_fname)
        return "";
    const char *slash = strrchr(info.dli_fname, '/');
    return slash ? slash + 1 : info.dli_fname;
}

/*
 * p11-kit's client. Of the threads that share its connection one reads what is meant for another and wakes him; when
 * the server dies at that moment, nobody does, and he sleeps for ever on a condition of a connection that is closed
 * (p11-kit 0.24 and 0.25, rpc_socket_read). The module survives C_Finalize then, since he holds the connection.
 */
static bool is_rpc(const CK_FUNCTION_LIST *f)
{
    return strcmp(file_of((const void *)f->C_GetFunctionList), "p11-kit-client.so") == 0;
}

/*
 * Software tokens by the names of their files. Every function that an operation goes through counts: a module in
 * between may replace some of another's table only.
 */
static bool is_near(CK_C_GetFunctionList get, const CK_FUNCTION_LIST *f)
{
    static const char *const known[] = {"libsofthsm2.so", "libsoftokn3.so"};
    const char *files[] = {file_of((const void *)get), file_of((const void *)f->C_SignInit),
                           file_of((const void *)f->C_Sign), file_of((const void *)f->C_DecryptInit),
                           file_of((const void *)f->C_Decrypt)};
    for (size_t k = 0; k < sizeof(known) / sizeof(known[0]); k++) {
        size_t same = 0;
        while (same < sizeof(files) / sizeof(files[0]) && strcmp(files[same], known[k]) == 0)
            same++;
        if (same == sizeof(files) / sizeof(files[0]))
            return true;
    }
    return false;
}

static hsm_status library_open(struct module *m, struct module_live *live, hsm_error *err)
{
    if (live->library)
        return HSM_OK;
    void *library = dlopen(m->path, RTLD_NOW | RTLD_LOCAL);
    if (!library) {
        const char *why = dlerror();
        return error_set(err, HSM_E_MODULE, 0, "PKCS#11 module '%s' cannot be loaded: %s", m->path,
                         why ? why : "?");
    }
    CK_C_GetFunctionList get = NULL;
    *(void **)&get = dlsym(library, "C_GetFunctionList"); /* POSIX.1-2017, dlsym: how to make it a function */
    CK_FUNCTION_LIST *functions = NULL;
    CK_RV rv = get ? get(&functions) : CKR_OK;
    if (rv != CKR_OK || !functions) {
        hsm_status status =
            !get ? error_set(err, HSM_E_MODULE, 0, "'%s' is no PKCS#11 module: it has no C_GetFunctionList",
                             m->path)
                 : error_set(err, HSM_E_MODULE, rv, "PKCS#11 module '%s': C_GetFunctionList answered %s",
                             m->path, hsm_ckr_name(rv));
        (void)dlclose(library);
        return status;
    }
    live->library = library;
    m->near = is_near(get, functions);
    m->rpc = is_rpc(functions);
    m->functions = functions;
    return HSM_OK;
}

static CK_RV initialize(struct module *m)
{
    CK_C_INITIALIZE_ARGS args = {.flags = CKF_OS_LOCKING_OK, .pReserved = m->init_args};
    CK_RV rv = m->functions->C_Initialize(&args);
    if (rv == CKR_OK)
        atomic_fetch_add(&m->incarnation, 1);
    return rv;
}

/*
 * Initialises before libp11 does, to learn whose module it is. In a child of fork the module may believe that
 * the parent's C_Initialize was this process's: PKCS#11 2.40 section 5.4 wants it called again, and a module
 * that refuses is finalised first.
 */
static CK_RV initialize_first(struct module *m, struct module_live *live)
{
    CK_RV rv = initialize(m);
    if (rv == CKR_CRYPTOKI_ALREADY_INITIALIZED && live->parent && live->parent->loaded) {
        (void)m->functions->C_Finalize(NULL);
        rv = initialize(m);
    }
    live->owner = rv == CKR_OK;
    return rv == CKR_CRYPTOKI_ALREADY_INITIALIZED ? CKR_OK : rv;
}

static hsm_status context_open(struct module *m, struct module_live *live, hsm_error *err)
{
    live->ctx = PKCS11_CTX_new();
    if (!live->ctx)
        return error_set(err, HSM_E_MEMORY, 0, "PKCS#11 module '%s': out of memory", m->path);
    PKCS11_CTX_init_args(live->ctx, m->init_args);
    if (PKCS11_CTX_load(live->ctx, m->path) == 0)
        return HSM_OK;
    unsigned long ckr = libp11_ckr();
    PKCS11_CTX_free(live->ctx);
    live->ctx = NULL;
    return error_set(err, HSM_E_MODULE, ckr, "PKCS#11 module '%s': it cannot be initialised: %s", m->path,
                     hsm_ckr_name(ckr));
}

/* Locked and inside the gate. */
static hsm_status load_locked(struct module *m, struct module_live *live, hsm_error *err)
{
    hsm_status status = library_open(m, live, err);
    if (status != HSM_OK)
        return status;
    CK_RV rv = initialize_first(m, live);
    if (rv != CKR_OK)
        return error_set(err, HSM_E_MODULE, rv, "PKCS#11 module '%s': C_Initialize answered %s", m->path,
                         hsm_ckr_name(rv));
    status = context_open(m, live, err);
    if (status != HSM_OK)
        return status;
    library_pin((const void *)&PKCS11_CTX_new);
    exit_register();
    live->loaded = true;
    debug_line("module '%s': loaded%s", m->path, live->owner ? "" : "; somebody else has initialised it");
    return HSM_OK;
}

hsm_status module_do(struct module *m, module_step step, void *arg, hsm_error *err)
{
    struct module_live *live = module_live(m);
    if (!live)
        return error_set(err, HSM_E_MEMORY, 0, "PKCS#11 module '%s': out of memory", m->path);
    hsm_status status = HSM_OK;
    pthread_mutex_lock(&live->lock);
    if (gate_enter()) {
        status = live->loaded ? HSM_OK : load_locked(m, live, err);
        if (status == HSM_OK && step)
            status = step(m, live, arg, err);
        gate_leave();
    } else {
        status = error_set(err, HSM_E_SHUTDOWN, 0, "PKCS#11 module '%s': the process is ending", m->path);
    }
    pthread_mutex_unlock(&live->lock);
    return status;
}

hsm_status module_load(struct module *m, hsm_error *err)
{
    return module_do(m, NULL, NULL, err);
}

static hsm_status restart_step(struct module *m, struct module_live *live, void *arg, hsm_error *err)
{
    (void)arg;
    CK_RV rv = initialize(m);
    if (rv == CKR_OK)
        live->owner = true;
    if (rv == CKR_OK || rv == CKR_CRYPTOKI_ALREADY_INITIALIZED)
        return HSM_OK;
    return error_set(err, HSM_E_MODULE, rv, "PKCS#11 module '%s': C_Initialize answered %s", m->path,
                     hsm_ckr_name(rv));
}

hsm_status module_restart(struct module *m, hsm_error *err)
{
    return module_do(m, restart_step, NULL, err);
}

/* The connection to another process is gone, with all sessions, and comes back by C_Initialize only. */
static bool connection_is_dead(struct module *m, struct module_live *live)
{
    CK_ULONG n = 0;
    bool dead = m->rpc && m->functions->C_GetSlotList(CK_TRUE, NULL, &n) == CKR_DEVICE_ERROR;
    if (!dead)
        live->dead_since = 0;
    else if (live->dead_since == 0)
        live->dead_since = stats_now();
    return dead;
}

/*
 * The gate, for finalising. Sessions that were written off may still have calls in progress, and a module may not
 * survive that. p11-kit's client does not survive it (an assertion) when they return, but they return soon from a
 * connection that is dead, or never.
 */
static bool rescan_claim(struct module *m, const struct module_live *live, bool dead)
{
    if (gate_claim(RESCAN_WAIT_MS))
        return true;
    if (!dead || stats_now() - live->dead_since < DEAD_MS * UINT64_C(1000))
        return false;
    if (gate_claim_over(0))
        debug_line("module '%s': its connection is dead, and threads that are still in it are given up",
                   m->path);
    return true;
}

static hsm_status rescan_step(struct module *m, struct module_live *live, void *arg, hsm_error *err)
{
    bool dead = connection_is_dead(m, live);
    if (!live->owner || (live->sessions > 0 && !dead))
        return HSM_E_UNSUPPORTED;
    if (!rescan_claim(m, live, dead))
        return HSM_E_BUSY;
    (void)m->functions->C_Finalize(NULL);
    live->dead_since = 0; /* the next connection dies at another time */
    hsm_status status = restart_step(m, live, arg, err);
    gate_disclaim();
    return status;
}

bool module_rescan(struct module *m, unsigned attempt)
{
    if (attempt > 0)
        pause_ms(1u << attempt);
    return module_do(m, rescan_step, NULL, NULL) == HSM_OK;
}

void module_sessions_add(struct module *m, int change)
{
    atomic_fetch_add(&module_live(m)->sessions, change);
}

/* ---- The end ---- */

/* libp11 clears the error queue of whoever calls it: not the caller's, if there is a thread to be had. */
static void *unload_main(void *arg)
{
    struct module_live *live = arg;
    if (!gate_enter())
        return NULL;
    PKCS11_CTX_unload(live->ctx); /* C_Finalize and dlclose */
    PKCS11_CTX_free(live->ctx);
    (void)dlclose(live->library);
    gate_leave();
    return NULL;
}

static void live_unload(struct module_live *live)
{
    pthread_t thread;
    if (pthread_create(&thread, NULL, unload_main, live) == 0)
        pthread_join(thread, NULL);
    else
        (void)unload_main(live);
    pthread_mutex_destroy(&live->lock);
    OPENSSL_free(live);
}

void module_release(struct module *m, bool finalize)
{
    registry_lock();
    bool last = --m->refs == 0;
    struct module_live *live = m->live;
    /* A module that others have initialised is theirs to finalise. */
    bool unload = last && finalize && live && live->generation == process_generation() && live->loaded &&
                  live->owner && !gate_is_shut();
    bool forget = last && !live && m->refused_count == 0;
    if (unload) {
        m->live = live->parent;
        m->functions = NULL;
    }
    if (forget) {
        struct module **p = &modules;
        while (*p != m)
            p = &(*p)->next;
        *p = m->next;
    }
    registry_unlock();
    if (unload)
        live_unload(live);
    else if (forget)
        module_forget(m);
}
