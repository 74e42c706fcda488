/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The provider's section of openssl.cnf. Keys are named as pkcs11-provider names them, so that its users
 * change the `module` line and no other; ours begin with `sealane-`. A value that we do not understand is
 * refused: a setting that is silently ignored is a policy that is silently weaker.
 */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <openssl/crypto.h>
#include "provider.h"

enum key {
    MODULE_PATH,
    INIT_ARGS,
    PIN,
    LOGIN_BEHAVIOR,
    LOAD_BEHAVIOR,
    CACHE_PINS,
    CACHE_KEYS,
    ALLOW_EXPORT,
    QUIRKS,
    BLOCK_OPERATIONS,
    ENCODE_URI,
    SESSIONS,
    QUEUE,
    TIMEOUT_MS,
    IDLE_MS,
    CALLER_THREAD,
    TOKEN_GROUP,
    KEYS
};

static const char *const key_names[KEYS] = {
    [MODULE_PATH] = "pkcs11-module-path",
    [INIT_ARGS] = "pkcs11-module-init-args",
    [PIN] = "pkcs11-module-token-pin",
    [LOGIN_BEHAVIOR] = "pkcs11-module-login-behavior",
    [LOAD_BEHAVIOR] = "pkcs11-module-load-behavior",
    [CACHE_PINS] = "pkcs11-module-cache-pins",
    [CACHE_KEYS] = "pkcs11-module-cache-keys",
    [ALLOW_EXPORT] = "pkcs11-module-allow-export",
    [QUIRKS] = "pkcs11-module-quirks",
    [BLOCK_OPERATIONS] = "pkcs11-module-block-operations",
    [ENCODE_URI] = "pkcs11-module-encode-provider-uri-to-pem",
    [SESSIONS] = "sealane-sessions",
    [QUEUE] = "sealane-queue",
    [TIMEOUT_MS] = "sealane-timeout-ms",
    [IDLE_MS] = "sealane-idle-ms",
    [CALLER_THREAD] = "sealane-caller-thread",
    [TOKEN_GROUP] = "sealane-token-group",
};

/*
 * Raises the error and says it on stderr too: libcrypto drops the errors of providers that openssl.cnf names,
 * and goes on without them, so a daemon would only report later that it cannot read its key.
 */
__attribute__((format(printf, 1, 2))) static bool refuse(const char *format, ...)
{
    char text[256];
    va_list ap;

    va_start(ap, format);
    vsnprintf(text, sizeof(text), format, ap);
    va_end(ap);
    RAISE(REASON_SETTINGS, "%s", text);
    fprintf(stderr, "sealane: provider not loaded: %s\n", text);
    return false;
}

/* A word of a list of words separated by blanks or commas. */
static bool word_next(const char **list, const char **word, size_t *len)
{
    *list += strspn(*list, " \t,");
    *word = *list;
    *len = strcspn(*list, " \t,");
    *list += *len;
    return *len > 0;
}

static bool word_is(const char *word, size_t len, const char *text)
{
    return strlen(text) == len && strncmp(word, text, len) == 0;
}

static bool number_read(unsigned *out, const char *name, const char *text, unsigned least, unsigned most)
{
    char *end;

    errno = 0;
    unsigned long n = strtoul(text, &end, 10);
    if (errno != 0 || end == text || *end != '\0' || text[0] == '-' || n < least || n > most) {
        return refuse("%s = %s: a number from %u to %u is expected", name, text, least, most);
    }
    *out = (unsigned)n;
    return true;
}

static bool choice_is_known(const char *name, const char *value, const char *const choices[])
{
    for (size_t i = 0; choices[i] != NULL; i++)
        if (strcmp(value, choices[i]) == 0)
            return true;
    return refuse("%s = %s: not a value of this setting", name, value);
}

/*
 * Quirks are workarounds for one token or another. Of pkcs11-provider's list the first is a choice that a
 * user may still want; the others turn off what this provider never does, and are therefore granted.
 */
static bool quirks_read(settings *set, const char *list)
{
    static const char *const granted[] = {"no-operation-state", "no-session-callbacks",
                                          "no-allowed-mechanisms", NULL};
    const char *word;
    size_t len;

    while (word_next(&list, &word, &len)) {
        bool known = word_is(word, len, "no-deinit");
        if (known)
            set->hsm.no_finalize = true;
        for (size_t i = 0; !known && granted[i] != NULL; i++)
            known = word_is(word, len, granted[i]);
        if (!known) {
            return refuse("%s: unknown quirk \"%.*s\"", key_names[QUIRKS], (int)len, word);
        }
    }
    return true;
}

static bool blocked_read(settings *set, const char *list)
{
    static const struct {
        const char *name;
        int operation;
    } operations[] = {
        {"digest", OSSL_OP_DIGEST},   {"cipher", OSSL_OP_CIPHER},       {"mac", OSSL_OP_MAC},
        {"kdf", OSSL_OP_KDF},         {"rand", OSSL_OP_RAND},           {"keymgmt", OSSL_OP_KEYMGMT},
        {"keyexch", OSSL_OP_KEYEXCH}, {"signature", OSSL_OP_SIGNATURE}, {"asymcipher", OSSL_OP_ASYM_CIPHER},
        {"kem", OSSL_OP_KEM},         {"encoder", OSSL_OP_ENCODER},     {"decoder", OSSL_OP_DECODER},
        {"store", OSSL_OP_STORE},
    };
    const char *word;
    size_t len;

    while (word_next(&list, &word, &len)) {
        size_t i = 0;
        while (i < sizeof(operations) / sizeof(operations[0]) && !word_is(word, len, operations[i].name))
            i++;
        if (i == sizeof(operations) / sizeof(operations[0])) {
            return refuse("%s: unknown operation \"%.*s\"", key_names[BLOCK_OPERATIONS], (int)len, word);
        }
        set->blocked |= 1U << operations[i].operation;
    }
    return true;
}

static bool flag_read(bool *out, enum key key, const char *value)
{
    static const char *const yes[] = {"1", "true", "yes", "on", NULL}, *const no[] = {"0", "false", "no",
                                                                                      "off", NULL};

    for (size_t i = 0; yes[i] != NULL; i++) {
        if (strcmp(value, yes[i]) == 0 || strcmp(value, no[i]) == 0) {
            *out = strcmp(value, yes[i]) == 0;
            return true;
        }
    }
    return refuse("%s = %s: true or false is expected", key_names[key], value);
}

static bool modules_read(hsm_modules *out, enum key key, const char *value)
{
    if (strcmp(value, "auto") == 0)
        *out = HSM_NEAR;
    else if (strcmp(value, "always") == 0)
        *out = HSM_ALL;
    else if (strcmp(value, "never") == 0)
        *out = HSM_NONE;
    else
        return refuse("%s = %s: auto, always or never is expected", key_names[key], value);
    return true;
}

/* pkcs11-provider has "true" and "false", and means every token. */
static bool cache_keys_read(hsm_modules *out, const char *value)
{
    bool all = false;

    if (strcmp(value, "auto") == 0) {
        *out = HSM_NEAR;
        return true;
    }
    if (!flag_read(&all, CACHE_KEYS, value))
        return false;
    *out = all ? HSM_ALL : HSM_NONE;
    return true;
}

static bool setting_read(settings *set, enum key key, const char *value)
{
    static const char *const logins[] = {"auto", "always", NULL}, *const loads[] = {"lazy", "early", NULL},
                             *const caches[] = {"cache", NULL};
    const char *name = key_names[key];

    switch (key) {
    case MODULE_PATH:
        return (set->hsm.module_path = OPENSSL_strdup(value)) != NULL;
    case INIT_ARGS:
        return (set->hsm.init_args = OPENSSL_strdup(value)) != NULL;
    case PIN:
        return (set->hsm.pin = OPENSSL_strdup(value)) != NULL;
    case LOGIN_BEHAVIOR:
        /* Both come to the same here: we log in before the first search if the token wants it at all. */
        return choice_is_known(name, value, logins);
    case LOAD_BEHAVIOR:
        /* "early" is not earlier than the first use: a daemon may fork between its start and that. */
        return choice_is_known(name, value, loads);
    case CACHE_PINS:
        /* A PIN is always kept for the login after a lost session; "cache" asks for no more than that. */
        return choice_is_known(name, value, caches);
    case CACHE_KEYS:
        return cache_keys_read(&set->hsm.key_copies, value);
    case ALLOW_EXPORT: {
        /* pkcs11-provider's number reads the other way round: 0 allows exporting public parts, 1 does not. */
        static const char *const numbers[] = {"0", "1", NULL};
        set->forbid_export = strcmp(value, "1") == 0;
        return choice_is_known(name, value, numbers);
    }
    case QUIRKS:
        return quirks_read(set, value);
    case BLOCK_OPERATIONS:
        return blocked_read(set, value);
    case ENCODE_URI:
        return flag_read(&set->encode_uri, key, value);
    case SESSIONS:
        return number_read(&set->hsm.sessions, name, value, 1, 1024);
    case QUEUE:
        return number_read(&set->hsm.queue, name, value, 1, 1000000);
    case TIMEOUT_MS:
        return number_read(&set->hsm.timeout_ms, name, value, 1, 600000);
    case IDLE_MS:
        if (strcmp(value, "never") == 0) {
            set->hsm.idle_ms = HSM_NEVER;
            return true;
        }
        return number_read(&set->hsm.idle_ms, name, value, 1, 86400000);
    case CALLER_THREAD:
        return modules_read(&set->hsm.caller_thread, key, value);
    case TOKEN_GROUP:
        return (set->hsm.groups = OPENSSL_strdup(value)) != NULL;
    case KEYS:
        break;
    }
    return false;
}

bool settings_read(settings *set, const OSSL_CORE_HANDLE *core, OSSL_FUNC_core_get_params_fn *get_params)
{
    char *values[KEYS] = {NULL};
    OSSL_PARAM params[KEYS + 1];

    memset(set, 0, sizeof(*set));
    set->encode_uri = true;
    for (int i = 0; i < KEYS; i++)
        params[i] = OSSL_PARAM_construct_utf8_ptr(key_names[i], &values[i], 0);
    params[KEYS] = OSSL_PARAM_construct_end();
    if (!get_params(core, params)) {
        return refuse("the section of openssl.cnf cannot be read");
    }

    /* The environment wins, so that one openssl.cnf serves where modules live in different places. */
    const char *path = secure_getenv("PKCS11_PROVIDER_MODULE");
    if (path != NULL && path[0] != '\0')
        values[MODULE_PATH] = (char *)path;

    for (int i = 0; i < KEYS; i++)
        if (values[i] != NULL && values[i][0] != '\0' && !setting_read(set, (enum key)i, values[i]))
            return false;
    return true;
}

void settings_clear(settings *set)
{
    OPENSSL_free((char *)set->hsm.module_path);
    OPENSSL_free((char *)set->hsm.init_args);
    OPENSSL_free((char *)set->hsm.groups);
    if (set->hsm.pin != NULL)
        OPENSSL_clear_free((char *)set->hsm.pin, strlen(set->hsm.pin));
    memset(set, 0, sizeof(*set));
}
