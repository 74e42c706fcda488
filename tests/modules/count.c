/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A PKCS#11 module for tests and the demo: passes every call on to the module named by SEALANE_COUNT_MODULE,
 * counts logins, sessions and signatures in the file named by SEALANE_COUNT_FILE, and misbehaves as that file
 * orders (count.h). It is an account of what a token was asked for that does not depend on Sealane's own
 * bookkeeping.
 *
 * The function table is the other module's with some entries replaced, so whatever is not counted costs
 * nothing.
 */
#include "count.h"

#include <dlfcn.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include <p11-kit/pkcs11.h>

enum { SESSION_SLOTS = 4096 };

static CK_FUNCTION_LIST real; /* the other module's table */
static CK_FUNCTION_LIST own;
static struct count_file *count;
static count_field open_here; /* what this process has of count->open */
static pthread_once_t once = PTHREAD_ONCE_INIT;
static CK_RV loaded = CKR_GENERAL_ERROR;

/* The mechanism of the operation begun in a session, by handle; handles of tokens are small numbers in a row.
 */
static _Atomic CK_MECHANISM_TYPE begun[SESSION_SLOTS];

/* ---- Counted calls ---- */

static CK_RV count_login(CK_SESSION_HANDLE session, CK_USER_TYPE user, CK_UTF8CHAR_PTR pin, CK_ULONG len)
{
    atomic_fetch_add(&count->logins, 1);
    return real.C_Login(session, user, pin, len);
}

static CK_RV count_token_info(CK_SLOT_ID slot, CK_TOKEN_INFO_PTR info)
{
    atomic_fetch_add(&count->lookups, 1);
    if (count->away)
        return CKR_TOKEN_NOT_PRESENT;
    CK_RV rv = real.C_GetTokenInfo(slot, info);
    if (rv == CKR_OK) {
        info->flags |= (CK_FLAGS)count->token_flags;
        if (count->max_sessions)
            info->ulMaxSessionCount = (CK_ULONG)count->max_sessions;
    }
    return rv;
}

static CK_RV count_open_session(CK_SLOT_ID slot, CK_FLAGS flags, void *arg, CK_NOTIFY notify,
                                CK_SESSION_HANDLE_PTR session)
{
    atomic_fetch_add(&count->sessions, 1);
    if (count->away)
        return CKR_TOKEN_NOT_PRESENT;
    /* Taken before it is there, so that threads that ask at once cannot get more than the limit. */
    uint64_t open = atomic_fetch_add(&count->open, 1);
    CK_RV rv = CKR_SESSION_COUNT;
    if (!count->session_limit || open < count->session_limit)
        rv = real.C_OpenSession(slot, flags, arg, notify, session);
    if (rv == CKR_OK)
        atomic_fetch_add(&open_here, 1);
    else
        atomic_fetch_sub(&count->open, 1);
    return rv;
}

static CK_RV count_find_init(CK_SESSION_HANDLE session, CK_ATTRIBUTE_PTR template, CK_ULONG n)
{
    atomic_fetch_add(&count->finds, 1);
    return real.C_FindObjectsInit(session, template, n);
}

static CK_RV count_close_session(CK_SESSION_HANDLE session)
{
    CK_RV rv = real.C_CloseSession(session);
    if (rv == CKR_OK) {
        atomic_fetch_sub(&open_here, 1);
        atomic_fetch_sub(&count->open, 1);
    }
    return rv;
}

static CK_RV count_close_all(CK_SLOT_ID slot)
{
    (void)atomic_fetch_sub(&count->open, atomic_exchange(&open_here, 0));
    return real.C_CloseAllSessions(slot);
}

/* What its parent has open is not the child's. */
static void count_child(void)
{
    open_here = 0;
}

/* A token takes back what a process that ends has open. */
__attribute__((destructor)) static void count_end(void)
{
    if (count)
        (void)atomic_fetch_sub(&count->open, atomic_exchange(&open_here, 0));
}

static CK_RV count_finalize(void *reserved)
{
    (void)atomic_fetch_sub(&count->open, atomic_exchange(&open_here, 0));
    return real.C_Finalize(reserved);
}

static CK_RV count_sign_init(CK_SESSION_HANDLE session, CK_MECHANISM_PTR mechanism, CK_OBJECT_HANDLE key)
{
    atomic_fetch_add(&count->sign_inits, 1);
    if (count->away)
        return CKR_DEVICE_REMOVED;
    begun[session % SESSION_SLOTS] = mechanism->mechanism;
    return real.C_SignInit(session, mechanism, key);
}

static void sign_hold(void)
{
    if (count->hold != 1)
        return;
    atomic_fetch_add(&count->held, 1);
    while (count->hold)
        (void)nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
    atomic_fetch_sub(&count->held, 1);
}

static void sign_delay(void)
{
    uint64_t us = count->sign_delay_us;
    if (us > 0)
        (void)nanosleep(
            &(struct timespec){.tv_sec = (time_t)(us / 1000000), .tv_nsec = (long)(us % 1000000) * 1000},
            NULL);
}

static count_field *sign_counter(CK_SESSION_HANDLE session)
{
    CK_MECHANISM_TYPE mechanism = begun[session % SESSION_SLOTS];
    switch (mechanism) {
    case CKM_RSA_PKCS:
        return &count->rsa_pkcs;
    case CKM_RSA_PKCS_PSS:
        return &count->rsa_pss;
    case CKM_ECDSA:
        return &count->ecdsa;
    default:
        return &count->other;
    }
}

static CK_RV count_sign(CK_SESSION_HANDLE session, CK_BYTE_PTR in, CK_ULONG in_len, CK_BYTE_PTR sig,
                        CK_ULONG_PTR sig_len)
{
    count->signer = (uint64_t)gettid();
    count->input = in_len;
    sign_hold();
    sign_delay();
    CK_RV ordered = (CK_RV)atomic_exchange(&count->sign_answer, 0);
    if (ordered != CKR_OK)
        return ordered;
    CK_RV rv = real.C_Sign(session, in, in_len, sig, sig_len);
    if (rv == CKR_OK && sig) /* without a buffer it only tells the length */
        atomic_fetch_add(sign_counter(session), 1);
    if (rv == CKR_OK)
        *sig_len -= (CK_ULONG)count->sign_cut;
    return rv;
}

/* ---- Loading ---- */

/* The file, made if it is not there; without one, memory that nobody else sees. */
static struct count_file *count_map(void)
{
    const char *path = getenv("SEALANE_COUNT_FILE");
    int fd = path ? open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600) : -1;
    if (path && (fd < 0 || ftruncate(fd, sizeof(struct count_file)) != 0)) {
        perror(path);
        abort();
    }
    struct count_file *map =
        mmap(NULL, sizeof(*map), PROT_READ | PROT_WRITE, MAP_SHARED | (fd < 0 ? MAP_ANONYMOUS : 0), fd, 0);
    if (fd >= 0)
        (void)close(fd);
    if (map == MAP_FAILED)
        return NULL;
    memcpy(map->magic, COUNT_MAGIC, sizeof(map->magic));
    return map;
}

static void count_load(void)
{
    const char *path = getenv("SEALANE_COUNT_MODULE");
    void *library = path ? dlopen(path, RTLD_NOW | RTLD_LOCAL) : NULL;
    CK_C_GetFunctionList get = NULL;
    CK_FUNCTION_LIST *list = NULL;
    if (library)
        *(void **)&get = dlsym(library, "C_GetFunctionList");
    if (!get || get(&list) != CKR_OK) {
        fprintf(stderr, "sealane-count: SEALANE_COUNT_MODULE names no PKCS#11 module: %s\n",
                path ? path : "(unset)");
        return;
    }
    count = count_map();
    if (!count)
        return;
    real = own = *list;
    own.C_GetFunctionList = C_GetFunctionList;
    own.C_Login = count_login;
    own.C_GetTokenInfo = count_token_info;
    own.C_OpenSession = count_open_session;
    own.C_CloseSession = count_close_session;
    own.C_CloseAllSessions = count_close_all;
    own.C_Finalize = count_finalize;
    own.C_FindObjectsInit = count_find_init;
    own.C_SignInit = count_sign_init;
    own.C_Sign = count_sign;
    (void)pthread_atfork(NULL, NULL, count_child);
    loaded = CKR_OK;
}

__attribute__((visibility("default"))) CK_RV C_GetFunctionList(CK_FUNCTION_LIST_PTR_PTR list)
{
    (void)pthread_once(&once, count_load);
    if (loaded == CKR_OK)
        *list = &own;
    return loaded;
}
