/* SPDX-License-Identifier: Apache-2.0 */
/* Finding objects of the token by the text of a URI, for the store and the decoders. */
#ifndef PROVIDER_FIND_H
#define PROVIDER_FIND_H

#include "key.h"

/*
 * hsm_find for a URI in text. The passphrase callback is libcrypto's (OSSL_PASSPHRASE_CALLBACK), asked when
 * neither the URI nor the settings hold a PIN. Errors are raised. The list is freed with hsm_objects_free.
 */
bool find_objects(const provider *prov, const char *uri, hsm_class type, OSSL_PASSPHRASE_CALLBACK *ask,
                  void *ask_arg, hsm_object **list, size_t *count);
/* The one private key that `uri` names; none or several is an error, raised. */
key *find_private_key(const provider *prov, const char *uri, OSSL_PASSPHRASE_CALLBACK *ask, void *ask_arg);

#endif
