/* SPDX-License-Identifier: Apache-2.0 */
#include "handshakes_work.h"

#include <string.h>

static const contestant all[] = {
    {"file", "key in a file, no provider but OpenSSL's own", LOADED_NONE, false, DO_HANDSHAKES},
    {"file+sealane", "key in a file, Sealane loaded with the token configured", LOADED_SEALANE, false,
     DO_HANDSHAKES},
    {"file+pkcs11prov", "key in a file, pkcs11-provider loaded with the token configured", LOADED_PEER, false,
     DO_HANDSHAKES},
    {"sealane", "key in the token, by Sealane, callers wait", LOADED_SEALANE, true, DO_HANDSHAKES},
    {"sealane-async", "the same from one event-loop thread, with ASYNC jobs", LOADED_SEALANE, true, DO_LOOP},
    {"pkcs11prov", "key in the token, by pkcs11-provider", LOADED_PEER, true, DO_HANDSHAKES},
    {"file+C_Sign", "key in a file, and C_Sign by the same thread after each handshake", LOADED_NONE, false,
     DO_BOTH},
    {"sign-token", "C_SignInit and C_Sign alone: the token's limit", LOADED_NONE, true, DO_TOKEN},
    {"sign-software", "a signature by libcrypto alone", LOADED_NONE, false, DO_SOFTWARE},
};

const contestant *contestants_list(size_t *count)
{
    *count = sizeof(all) / sizeof(all[0]);
    return all;
}

const contestant *contestant_find(const char *name)
{
    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++)
        if (strcmp(all[i].name, name) == 0)
            return &all[i];
    return NULL;
}

const char *key_name(key_kind key)
{
    static const char *const names[KEY_KINDS] = {"RSA-2048", "P-256", "Ed25519"};
    return names[key];
}

bool contestant_fits(const contestant *who, const work *w)
{
    if (who->activity == DO_SOFTWARE || who->activity == DO_BOTH ||
        (who->activity == DO_HANDSHAKES && !who->token && who->loaded))
        return w->latency_ms == 0 && w->at_once == 1;
    return who->token || w->latency_ms == 0;
}
