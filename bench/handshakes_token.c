/* SPDX-License-Identifier: Apache-2.0 */
/*
 * C_SignInit and C_Sign and nothing else, in as many sessions as there are threads and the settings allow: what
 * the token itself can do, the limit of all that is built on it.
 */
#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <p11-kit/pkcs11.h>
#include "handshakes_act.h"

#ifndef CKM_EDDSA
#define CKM_EDDSA 0x1057UL /* PKCS#11 3.0 */
#endif
#define SLOTS_MAX 64
#define LABEL_LEN 32

struct token {
    CK_FUNCTION_LIST *f;
    CK_SLOT_ID slot;
    CK_OBJECT_HANDLE key;
    unsigned session_count;
    CK_SESSION_HANDLE sessions[AT_ONCE_MAX];
    pthread_mutex_t free[AT_ONCE_MAX]; /* more threads than sessions take turns */
};

static bool token_failed(char why[TEXT_MAX], const char *what, CK_RV rv)
{
    snprintf(why, TEXT_MAX, "%s: CKR 0x%lx", what, rv);
    return false;
}

static bool module_load(struct token *t, const char *path, const stage *s, char why[TEXT_MAX])
{
    CK_C_INITIALIZE_ARGS args = {.flags = CKF_OS_LOCKING_OK,
                                 .pReserved =
                                     s->init_args[0] != '\0' ? (char *)(uintptr_t)s->init_args : NULL};
    void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    CK_C_GetFunctionList get = NULL;

    if (library != NULL)
        *(void **)&get = dlsym(library, "C_GetFunctionList");
    if (get == NULL || get(&t->f) != CKR_OK) {
        snprintf(why, TEXT_MAX, "%.400s is no PKCS#11 module", path);
        return false;
    }
    CK_RV rv = t->f->C_Initialize(&args);
    return rv == CKR_OK || token_failed(why, "C_Initialize", rv);
}

static bool label_is(const CK_UTF8CHAR padded[LABEL_LEN], const char *label)
{
    size_t len = strlen(label);

    if (len > LABEL_LEN || memcmp(padded, label, len) != 0)
        return false;
    while (len < LABEL_LEN && padded[len] == ' ')
        len++;
    return len == LABEL_LEN;
}

static bool slot_find(struct token *t, const char *label, char why[TEXT_MAX])
{
    CK_SLOT_ID slots[SLOTS_MAX];
    CK_ULONG count = SLOTS_MAX;
    CK_TOKEN_INFO info;
    CK_RV rv = t->f->C_GetSlotList(CK_TRUE, slots, &count);

    for (CK_ULONG i = 0; rv == CKR_OK && i < count; i++) {
        if (t->f->C_GetTokenInfo(slots[i], &info) == CKR_OK &&
            (label[0] == '\0' ? (info.flags & CKF_TOKEN_INITIALIZED) != 0 : label_is(info.label, label))) {
            t->slot = slots[i];
            return true;
        }
    }
    return token_failed(why, "no such token", rv);
}

/* "file:PATH" or the PIN itself. */
static size_t pin_read(const char *setting, char pin[TEXT_MAX])
{
    FILE *f = strncmp(setting, "file:", 5) == 0 ? fopen(setting + 5, "r") : NULL;

    pin[0] = '\0';
    if (f == NULL)
        snprintf(pin, TEXT_MAX, "%s", setting);
    else if (fgets(pin, TEXT_MAX, f) != NULL)
        pin[strcspn(pin, "\r\n")] = '\0';
    if (f != NULL)
        fclose(f);
    return strlen(pin);
}

static bool key_find(struct token *t, const char *label, char why[TEXT_MAX])
{
    CK_OBJECT_CLASS class = CKO_PRIVATE_KEY;
    CK_ATTRIBUTE wanted[] = {{CKA_CLASS, &class, sizeof(class)},
                             {CKA_LABEL, (char *)(uintptr_t)label, strlen(label)}};
    CK_ULONG count = 0;
    CK_RV rv = t->f->C_FindObjectsInit(t->sessions[0], wanted, 2);

    if (rv == CKR_OK)
        rv = t->f->C_FindObjects(t->sessions[0], &t->key, 1, &count);
    (void)t->f->C_FindObjectsFinal(t->sessions[0]);
    return (rv == CKR_OK && count == 1) || token_failed(why, "the key is not there", rv);
}

static bool sessions_open(struct token *t, const struct act *a, char why[TEXT_MAX])
{
    char pin[TEXT_MAX];
    size_t pin_len = pin_read(a->stage.pin, pin);

    for (; t->session_count < a->work.at_once && t->session_count < a->stage.sessions; t->session_count++) {
        CK_RV rv =
            t->f->C_OpenSession(t->slot, CKF_SERIAL_SESSION, NULL, NULL, &t->sessions[t->session_count]);
        if (rv != CKR_OK)
            return token_failed(why, "C_OpenSession", rv);
        pthread_mutex_init(&t->free[t->session_count], NULL);
    }
    CK_RV rv = pin_len == 0 ? CKR_OK
                            : t->f->C_Login(t->sessions[0], CKU_USER, (CK_UTF8CHAR *)pin, (CK_ULONG)pin_len);
    return rv == CKR_OK || rv == CKR_USER_ALREADY_LOGGED_IN || token_failed(why, "C_Login", rv);
}

static bool token_prepare(struct act *a, char why[TEXT_MAX])
{
    struct token *t = calloc(1, sizeof(*t));

    a->state = t;
    return t != NULL &&
           module_load(t, a->work.latency_ms > 0 ? a->stage.shim : a->stage.module, &a->stage, why) &&
           slot_find(t, a->stage.token, why) && sessions_open(t, a, why) &&
           key_find(t, a->stage.labels[a->work.key], why);
}

/* As TLS uses them: RSA-PSS with SHA-256, ECDSA, EdDSA over what libssl would sign (RFC 8446 4.4.3). */
static bool token_once(struct act *a, unsigned seat, char why[TEXT_MAX])
{
    static const CK_MECHANISM_TYPE types[KEY_KINDS] = {CKM_RSA_PKCS_PSS, CKM_ECDSA, CKM_EDDSA};
    static const CK_ULONG in_len[KEY_KINDS] = {32, 32, 130}, sig_len[KEY_KINDS] = {256, 64, 64};
    CK_RSA_PKCS_PSS_PARAMS pss = {CKM_SHA256, CKG_MGF1_SHA256, 32};
    struct token *t = a->state;
    key_kind kind = a->work.key;
    CK_MECHANISM mechanism = {types[kind], kind == KEY_RSA ? &pss : NULL, kind == KEY_RSA ? sizeof(pss) : 0};
    CK_BYTE in[130] = {0x20}, sig[1024];
    CK_ULONG len = sizeof(sig);
    unsigned number = seat % t->session_count;

    pthread_mutex_lock(&t->free[number]);
    CK_RV rv = t->f->C_SignInit(t->sessions[number], &mechanism, t->key);
    if (rv == CKR_OK)
        rv = t->f->C_Sign(t->sessions[number], in, in_len[kind], sig, &len);
    pthread_mutex_unlock(&t->free[number]);
    return (rv == CKR_OK && len == sig_len[kind]) || token_failed(why, "the token does not sign", rv);
}

static void token_end(struct act *a)
{
    struct token *t = a->state;

    if (t != NULL && t->f != NULL)
        (void)t->f->C_Finalize(NULL);
    free(t);
}

const struct activity_ops activity_token = {token_prepare, token_once, NULL, token_end};
