/* SPDX-License-Identifier: Apache-2.0 */
/* Finding objects of the token by the text of a URI; see find.h. */
#include <stdio.h>
#include <openssl/params.h>
#include "find.h"

typedef struct question {
    OSSL_PASSPHRASE_CALLBACK *ask;
    void *arg;
} question;

static bool pin_ask(void *arg, const char *token_label, char *pin, size_t size, size_t *len)
{
    const question *q = arg;
    char info[96];
    OSSL_PARAM params[] = {
        OSSL_PARAM_construct_utf8_string(OSSL_PASSPHRASE_PARAM_INFO, info, 0),
        OSSL_PARAM_construct_end(),
    };

    snprintf(info, sizeof(info), "the PIN of token %s", token_label);
    return q->ask(pin, size, len, params, q->arg) == 1 && *len > 0;
}

bool find_objects(const provider *prov, const char *text, hsm_class type, OSSL_PASSPHRASE_CALLBACK *ask,
                  void *ask_arg, hsm_object **list, size_t *count)
{
    question q = {ask, ask_arg};
    hsm_uri uri;
    hsm_error err;
    hsm_status status = hsm_uri_parse(&uri, text, &err);

    if (status == HSM_OK)
        status = hsm_find(prov->keys, &uri, type, ask != NULL ? pin_ask : NULL, &q, list, count, &err);
    if (status != HSM_OK)
        RAISE_HSM(&err);
    hsm_uri_clear(&uri);
    return status == HSM_OK;
}

key *find_private_key(const provider *prov, const char *uri, OSSL_PASSPHRASE_CALLBACK *ask, void *ask_arg)
{
    hsm_object *list;
    size_t count;
    key *k = NULL;

    if (!find_objects(prov, uri, HSM_CLASS_PRIVATE, ask, ask_arg, &list, &count))
        return NULL;
    if (count > 1)
        RAISE(REASON_AMBIGUOUS, "%zu private keys match: %s and %s among them; add id= or object= to the URI",
              count, list[0].uri, list[1].uri);
    else
        k = key_from_token(prov, list[0].key);
    hsm_objects_free(list, count);
    return k;
}
