/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A PKCS#11 module for tests: passes every call on to the module named by SEALANE_FAULT_MODULE and behaves as
 * badly as the file named by SEALANE_FAULT_FILE orders (fault.h): any error from any function, delays, calls
 * that never return, sessions and handles that are void, tokens that go and come back in another slot, keys
 * that are not those that they were.
 *
 * Handles that are given out carry the number of the order that will make them void in their upper half.
 */
#include "fault.h"

#include <dlfcn.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include <p11-kit/pkcs11.h>

enum { SESSIONS = 4096, HANDLE_SHIFT = 32, SLOTS = 64 };

static CK_FUNCTION_LIST real;
static CK_FUNCTION_LIST own;
static struct fault_file *fault;
static pthread_once_t once = PTHREAD_ONCE_INIT;
static CK_RV loaded = CKR_GENERAL_ERROR;

/* Whose session it is, by handle; handles of tokens are small numbers in a row. */
static struct {
    _Atomic CK_SLOT_ID slot; /* the real one, plus 1 */
    atomic_bool void_;       /* opened before its token was away */
} sessions[SESSIONS];

/* ---- Who is meant ---- */

static bool slot_is(CK_SLOT_ID slot, const char *label)
{
    CK_TOKEN_INFO info;
    size_t len = strlen(label);
    if (len == 0)
        return true;
    return len <= sizeof(info.label) && real.C_GetTokenInfo(slot, &info) == CKR_OK &&
           memcmp(info.label, label, len) == 0 && (len == sizeof(info.label) || info.label[len] == ' ');
}

static bool session_is(CK_SESSION_HANDLE session, const char *label)
{
    CK_SLOT_ID slot = sessions[session % SESSIONS].slot;
    return slot > 0 && slot_is(slot - 1, label);
}

static CK_SLOT_ID slot_in(CK_SLOT_ID slot)
{
    return slot - (CK_SLOT_ID)fault->slot_shift;
}

static bool slot_is_away(CK_SLOT_ID slot)
{
    return fault->away && slot_is(slot, fault->away_token);
}

/* ---- Orders ---- */

static void hang(struct fault_rule *rule)
{
    atomic_fetch_add(&fault->hanging, 1);
    while (rule->hang)
        (void)nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
    atomic_fetch_sub(&fault->hanging, 1);
}

/* Is it this call's turn? */
static bool rule_takes(struct fault_rule *rule)
{
    uint64_t skip = rule->skip;
    while (skip > 0) {
        if (atomic_compare_exchange_weak(&rule->skip, &skip, skip - 1))
            return false;
    }
    uint64_t times = rule->times;
    while (times > 0) {
        if (atomic_compare_exchange_weak(&rule->times, &times, times - 1))
            return true;
    }
    return false;
}

/* `slot` is a real one, `session` one of ours; either is CK_UNAVAILABLE_INFORMATION where it does not apply. */
static bool rule_means(const struct fault_rule *rule, CK_SLOT_ID slot, CK_SESSION_HANDLE session)
{
    if (rule->token[0] == '\0')
        return true;
    if (slot != CK_UNAVAILABLE_INFORMATION)
        return slot_is(slot, rule->token);
    return session != CK_UNAVAILABLE_INFORMATION && session_is(session, rule->token);
}

/* Not by C_CloseAllSessions: SoftHSM2 2.6.1 crashes if another thread is using one of them. */
static void sessions_drop(void)
{
    if (atomic_exchange(&fault->drop_sessions, 0) == 0)
        return;
    for (int i = 0; i < SESSIONS; i++)
        sessions[i].void_ = true;
}

static CK_RV orders_obey(enum fault_function function, CK_SLOT_ID slot, CK_SESSION_HANDLE session)
{
    atomic_fetch_add(&fault->calls[function], 1);
    sessions_drop();
    for (int i = 0; i < FAULT_RULES; i++) {
        struct fault_rule *rule = &fault->rule[i];
        if (rule->times == 0 || rule->function != (uint64_t)function || !rule_means(rule, slot, session) ||
            !rule_takes(rule))
            continue;
        uint64_t delay = rule->delay_us;
        if (delay > 0)
            (void)nanosleep(&(struct timespec){.tv_sec = (time_t)(delay / 1000000),
                                               .tv_nsec = (long)(delay % 1000000) * 1000},
                            NULL);
        CK_RV answer = (CK_RV)rule->answer;
        if (rule->hang)
            hang(rule);
        if (answer != CKR_OK)
            return answer;
    }
    return CKR_OK;
}

static CK_RV session_check(enum fault_function function, CK_SESSION_HANDLE session)
{
    CK_SLOT_ID slot = sessions[session % SESSIONS].slot;
    if (slot > 0 && slot_is_away(slot - 1))
        sessions[session % SESSIONS].void_ = true;
    CK_RV rv = orders_obey(function, CK_UNAVAILABLE_INFORMATION, session);
    if (rv == CKR_OK && sessions[session % SESSIONS].void_)
        rv = fault->away ? CKR_DEVICE_REMOVED : CKR_SESSION_HANDLE_INVALID;
    return rv;
}

/* ---- Handles ---- */

static CK_OBJECT_HANDLE object_out(CK_OBJECT_HANDLE object)
{
    return object | (CK_OBJECT_HANDLE)fault->stale_objects << HANDLE_SHIFT;
}

static bool object_in(CK_OBJECT_HANDLE *object)
{
    bool good = *object >> HANDLE_SHIFT == (CK_OBJECT_HANDLE)fault->stale_objects;
    *object &= (1ul << HANDLE_SHIFT) - 1;
    return good;
}

/* ---- Calls: the module and its slots ---- */

#define NO_SLOT    CK_UNAVAILABLE_INFORMATION
#define NO_SESSION CK_UNAVAILABLE_INFORMATION

static CK_RV fault_Initialize(void *args)
{
    CK_RV rv = orders_obey(FAULT_Initialize, NO_SLOT, NO_SESSION);
    return rv == CKR_OK ? real.C_Initialize(args) : rv;
}

static void sessions_forget(void)
{
    for (int i = 0; i < SESSIONS; i++) {
        sessions[i].slot = 0;
        sessions[i].void_ = false;
    }
}

static CK_RV fault_Finalize(void *reserved)
{
    CK_RV rv = orders_obey(FAULT_Finalize, NO_SLOT, NO_SESSION);
    if (rv == CKR_OK)
        sessions_forget();
    return rv == CKR_OK ? real.C_Finalize(reserved) : rv;
}

/* Tokens that are away take their slots with them, as a reader that was unplugged does. */
static CK_RV fault_GetSlotList(CK_BBOOL present, CK_SLOT_ID_PTR list, CK_ULONG_PTR count)
{
    CK_SLOT_ID all[SLOTS];
    CK_ULONG n = SLOTS, kept = 0;
    CK_RV rv = orders_obey(FAULT_GetSlotList, NO_SLOT, NO_SESSION);
    if (rv == CKR_OK)
        rv = real.C_GetSlotList(present, NULL, &n); /* makes it look anew */
    n = SLOTS;
    if (rv == CKR_OK)
        rv = real.C_GetSlotList(present, all, &n);
    for (CK_ULONG i = 0; rv == CKR_OK && i < n; i++) {
        if (!slot_is_away(all[i]))
            all[kept++] = all[i] + (CK_SLOT_ID)fault->slot_shift;
    }
    if (rv != CKR_OK)
        return rv;
    bool room = !list || *count >= kept;
    *count = kept;
    if (list && room)
        memcpy(list, all, kept * sizeof(*all));
    return room ? CKR_OK : CKR_BUFFER_TOO_SMALL;
}

static CK_RV slot_check(enum fault_function function, CK_SLOT_ID *slot)
{
    *slot = slot_in(*slot);
    CK_RV rv = orders_obey(function, *slot, NO_SESSION);
    if (rv == CKR_OK && slot_is_away(*slot))
        rv = function == FAULT_GetSlotInfo ? CKR_SLOT_ID_INVALID : CKR_TOKEN_NOT_PRESENT;
    return rv;
}

static CK_RV fault_GetSlotInfo(CK_SLOT_ID slot, CK_SLOT_INFO_PTR info)
{
    CK_RV rv = slot_check(FAULT_GetSlotInfo, &slot);
    return rv == CKR_OK ? real.C_GetSlotInfo(slot, info) : rv;
}

static CK_RV fault_GetTokenInfo(CK_SLOT_ID slot, CK_TOKEN_INFO_PTR info)
{
    CK_RV rv = slot_check(FAULT_GetTokenInfo, &slot), told = rv;
    if (rv == CKR_OK || rv == FAULT_NO_LABEL || rv == FAULT_NO_SERIAL)
        rv = real.C_GetTokenInfo(slot, info);
    if (rv == CKR_OK && told == FAULT_NO_LABEL)
        memset(info->label, ' ', sizeof(info->label));
    if (rv == CKR_OK && told == FAULT_NO_SERIAL)
        memset(info->serialNumber, ' ', sizeof(info->serialNumber));
    return rv;
}

static CK_RV pass_GetMechanismList(CK_SLOT_ID slot, CK_MECHANISM_TYPE_PTR list, CK_ULONG_PTR count)
{
    return real.C_GetMechanismList(slot_in(slot), list, count);
}

static CK_RV pass_GetMechanismInfo(CK_SLOT_ID slot, CK_MECHANISM_TYPE type, CK_MECHANISM_INFO_PTR info)
{
    return real.C_GetMechanismInfo(slot_in(slot), type, info);
}

static CK_RV pass_InitToken(CK_SLOT_ID slot, CK_UTF8CHAR_PTR pin, CK_ULONG len, CK_UTF8CHAR_PTR label)
{
    return real.C_InitToken(slot_in(slot), pin, len, label);
}

static CK_RV fault_OpenSession(CK_SLOT_ID slot, CK_FLAGS flags, void *arg, CK_NOTIFY notify,
                               CK_SESSION_HANDLE_PTR session)
{
    CK_RV rv = slot_check(FAULT_OpenSession, &slot);
    if (rv == CKR_OK)
        rv = real.C_OpenSession(slot, flags, arg, notify, session);
    if (rv == CKR_OK) {
        sessions[*session % SESSIONS].slot = slot + 1;
        sessions[*session % SESSIONS].void_ = false;
    }
    return rv;
}

static CK_RV fault_CloseAllSessions(CK_SLOT_ID slot)
{
    CK_RV rv = slot_check(FAULT_CloseAllSessions, &slot);
    return rv == CKR_OK ? real.C_CloseAllSessions(slot) : rv;
}

/* ---- Calls: sessions ---- */

/* A session that is void for the caller is closed in the module, which knows nothing of that. */
static CK_RV fault_CloseSession(CK_SESSION_HANDLE session)
{
    CK_RV rv = session_check(FAULT_CloseSession, session);
    CK_RV closed = real.C_CloseSession(session);
    return rv == CKR_OK ? closed : rv;
}

#define SESSION_CALL(name, params, args)                                                                     \
    static CK_RV fault_##name params                                                                         \
    {                                                                                                        \
        CK_RV rv = session_check(FAULT_##name, session);                                                     \
        return rv == CKR_OK ? real.C_##name args : rv;                                                       \
    }

SESSION_CALL(GetSessionInfo, (CK_SESSION_HANDLE session, CK_SESSION_INFO_PTR info), (session, info))
SESSION_CALL(Login, (CK_SESSION_HANDLE session, CK_USER_TYPE user, CK_UTF8CHAR_PTR pin, CK_ULONG len),
             (session, user, pin, len))
SESSION_CALL(Logout, (CK_SESSION_HANDLE session), (session))
SESSION_CALL(FindObjectsFinal, (CK_SESSION_HANDLE session), (session))
SESSION_CALL(Sign,
             (CK_SESSION_HANDLE session, CK_BYTE_PTR in, CK_ULONG in_len, CK_BYTE_PTR out, CK_ULONG_PTR len),
             (session, in, in_len, out, len))
SESSION_CALL(Decrypt,
             (CK_SESSION_HANDLE session, CK_BYTE_PTR in, CK_ULONG in_len, CK_BYTE_PTR out, CK_ULONG_PTR len),
             (session, in, in_len, out, len))

/* ---- Calls: objects ---- */

/* Another key under the same name. */
static CK_RV find_swapped(CK_SESSION_HANDLE session, const CK_ATTRIBUTE *template, CK_ULONG n)
{
    CK_ATTRIBUTE changed[16];
    CK_BYTE to_id = (CK_BYTE)fault->swap_to_id;
    n = n < 16 ? n : 16;
    for (CK_ULONG i = 0; i < n; i++) {
        const CK_ATTRIBUTE *a = &template[i];
        changed[i] = *a;
        if (a->type == CKA_LABEL && a->ulValueLen == strlen(fault->swap_from) &&
            memcmp(a->pValue, fault->swap_from, a->ulValueLen) == 0)
            changed[i] = (CK_ATTRIBUTE){CKA_LABEL, fault->swap_to, strlen(fault->swap_to)};
        if (a->type == CKA_ID && a->ulValueLen == 1 && *(CK_BYTE *)a->pValue == (CK_BYTE)fault->swap_from_id)
            changed[i] = (CK_ATTRIBUTE){CKA_ID, &to_id, 1};
    }
    return real.C_FindObjectsInit(session, changed, n);
}

static CK_RV fault_FindObjectsInit(CK_SESSION_HANDLE session, CK_ATTRIBUTE_PTR template, CK_ULONG n)
{
    CK_RV rv = session_check(FAULT_FindObjectsInit, session);
    if (rv != CKR_OK)
        return rv;
    if (fault->swap && session_is(session, fault->swap_token))
        return find_swapped(session, template, n);
    return real.C_FindObjectsInit(session, template, n);
}

static CK_RV fault_FindObjects(CK_SESSION_HANDLE session, CK_OBJECT_HANDLE_PTR list, CK_ULONG max,
                               CK_ULONG_PTR count)
{
    CK_RV rv = session_check(FAULT_FindObjects, session);
    if (rv == CKR_OK)
        rv = real.C_FindObjects(session, list, max, count);
    for (CK_ULONG i = 0; rv == CKR_OK && i < *count; i++)
        list[i] = object_out(list[i]);
    return rv;
}

/* The token has made the copy less than the key is. */
static void copy_weaken(CK_SESSION_HANDLE session, CK_OBJECT_HANDLE object, CK_ATTRIBUTE *a)
{
    CK_BBOOL of_token = CK_TRUE;
    CK_ATTRIBUTE asked = {CKA_TOKEN, &of_token, sizeof(of_token)};
    if (fault->weak_copies && a->type == CKA_SENSITIVE && a->pValue &&
        real.C_GetAttributeValue(session, object, &asked, 1) == CKR_OK && !of_token)
        *(CK_BBOOL *)a->pValue = CK_FALSE;
}

static CK_RV fault_GetAttributeValue(CK_SESSION_HANDLE session, CK_OBJECT_HANDLE object,
                                     CK_ATTRIBUTE_PTR template, CK_ULONG n)
{
    CK_RV rv = session_check(FAULT_GetAttributeValue, session);
    if (rv == CKR_OK && !object_in(&object))
        rv = CKR_OBJECT_HANDLE_INVALID;
    if (rv == CKR_OK)
        rv = real.C_GetAttributeValue(session, object, template, n);
    if (rv == CKR_OK && n == 1)
        copy_weaken(session, object, template);
    return rv;
}

static CK_RV pass_SetAttributeValue(CK_SESSION_HANDLE session, CK_OBJECT_HANDLE object,
                                    CK_ATTRIBUTE_PTR template, CK_ULONG n)
{
    return object_in(&object) ? real.C_SetAttributeValue(session, object, template, n)
                              : CKR_OBJECT_HANDLE_INVALID;
}

static CK_RV fault_DestroyObject(CK_SESSION_HANDLE session, CK_OBJECT_HANDLE object)
{
    CK_RV rv = session_check(FAULT_DestroyObject, session);
    if (rv == CKR_OK && !object_in(&object))
        rv = CKR_OBJECT_HANDLE_INVALID;
    return rv == CKR_OK ? real.C_DestroyObject(session, object) : rv;
}

static CK_RV fault_CopyObject(CK_SESSION_HANDLE session, CK_OBJECT_HANDLE object, CK_ATTRIBUTE_PTR template,
                              CK_ULONG n, CK_OBJECT_HANDLE_PTR copy)
{
    CK_RV rv = session_check(FAULT_CopyObject, session);
    if (rv == CKR_OK && !object_in(&object))
        rv = CKR_OBJECT_HANDLE_INVALID;
    if (rv == CKR_OK)
        rv = real.C_CopyObject(session, object, template, n, copy);
    if (rv == CKR_OK)
        *copy = object_out(*copy);
    return rv;
}

static CK_RV pass_CreateObject(CK_SESSION_HANDLE session, CK_ATTRIBUTE_PTR template, CK_ULONG n,
                               CK_OBJECT_HANDLE_PTR object)
{
    CK_RV rv = real.C_CreateObject(session, template, n, object);
    if (rv == CKR_OK)
        *object = object_out(*object);
    return rv;
}

static CK_RV fault_GenerateKeyPair(CK_SESSION_HANDLE session, CK_MECHANISM_PTR mechanism,
                                   CK_ATTRIBUTE_PTR public, CK_ULONG public_n, CK_ATTRIBUTE_PTR private,
                                   CK_ULONG private_n, CK_OBJECT_HANDLE_PTR public_key,
                                   CK_OBJECT_HANDLE_PTR private_key)
{
    CK_RV rv = session_check(FAULT_GenerateKeyPair, session);
    if (rv == CKR_OK)
        rv = real.C_GenerateKeyPair(session, mechanism, public, public_n, private, private_n, public_key,
                                    private_key);
    if (rv == CKR_OK) {
        *public_key = object_out(*public_key);
        *private_key = object_out(*private_key);
    }
    return rv;
}

/* ---- Calls: operations ---- */

#define KEY_CALL(name)                                                                                       \
    static CK_RV fault_##name(CK_SESSION_HANDLE session, CK_MECHANISM_PTR mechanism, CK_OBJECT_HANDLE key)   \
    {                                                                                                        \
        CK_RV rv = session_check(FAULT_##name, session);                                                     \
        if (rv == CKR_OK && !object_in(&key))                                                                \
            rv = CKR_KEY_HANDLE_INVALID;                                                                     \
        return rv == CKR_OK ? real.C_##name(session, mechanism, key) : rv;                                   \
    }

KEY_CALL(SignInit)
KEY_CALL(DecryptInit)

static CK_RV fault_DeriveKey(CK_SESSION_HANDLE session, CK_MECHANISM_PTR mechanism, CK_OBJECT_HANDLE key,
                             CK_ATTRIBUTE_PTR template, CK_ULONG n, CK_OBJECT_HANDLE_PTR derived)
{
    CK_RV rv = session_check(FAULT_DeriveKey, session);
    if (rv == CKR_OK && !object_in(&key))
        rv = CKR_KEY_HANDLE_INVALID;
    if (rv == CKR_OK)
        rv = real.C_DeriveKey(session, mechanism, key, template, n, derived);
    if (rv == CKR_OK)
        *derived = object_out(*derived);
    return rv;
}

/* ---- Loading ---- */

/* The file, made if it is not there; without one, memory that nobody else sees. */
static struct fault_file *file_map(void)
{
    const char *path = getenv("SEALANE_FAULT_FILE");
    int fd = path ? open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600) : -1;
    if (path && (fd < 0 || ftruncate(fd, sizeof(struct fault_file)) != 0)) {
        perror(path);
        abort();
    }
    struct fault_file *map =
        mmap(NULL, sizeof(*map), PROT_READ | PROT_WRITE, MAP_SHARED | (fd < 0 ? MAP_ANONYMOUS : 0), fd, 0);
    if (fd >= 0)
        (void)close(fd);
    if (map == MAP_FAILED)
        return NULL;
    memcpy(map->magic, FAULT_MAGIC, sizeof(map->magic));
    return map;
}

static void fault_load(void)
{
    const char *path = getenv("SEALANE_FAULT_MODULE");
    void *library = path ? dlopen(path, RTLD_NOW | RTLD_LOCAL) : NULL;
    CK_C_GetFunctionList get = NULL;
    CK_FUNCTION_LIST *list = NULL;
    if (library)
        *(void **)&get = dlsym(library, "C_GetFunctionList");
    if (!get || get(&list) != CKR_OK) {
        fprintf(stderr, "sealane-fault: SEALANE_FAULT_MODULE names no PKCS#11 module: %s\n",
                path ? path : "(unset)");
        return;
    }
    fault = file_map();
    if (!fault)
        return;
    real = own = *list;
    own.C_GetFunctionList = C_GetFunctionList;
#define FAULT_SET(name) own.C_##name = fault_##name;
    FAULT_FUNCTIONS(FAULT_SET)
#undef FAULT_SET
    own.C_GetMechanismList = pass_GetMechanismList;
    own.C_GetMechanismInfo = pass_GetMechanismInfo;
    own.C_InitToken = pass_InitToken;
    own.C_SetAttributeValue = pass_SetAttributeValue;
    own.C_CreateObject = pass_CreateObject;
    loaded = CKR_OK;
}

__attribute__((visibility("default"))) CK_RV C_GetFunctionList(CK_FUNCTION_LIST_PTR_PTR list)
{
    (void)pthread_once(&once, fault_load);
    if (loaded == CKR_OK)
        *list = &own;
    return loaded;
}
