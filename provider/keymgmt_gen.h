/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Making keys (provider-keymgmt(7), "Key object generation"). With the parameter "pkcs11_uri", as pkcs11-provider
 * names it, the pair is made in the token that the URI names, under the URI's object= and id=; without it libcrypto
 * makes a software key, as a fetch that only happened to find us first would want.
 */
#ifndef PROVIDER_KEYMGMT_GEN_H
#define PROVIDER_KEYMGMT_GEN_H

#include "key.h"

typedef struct generation generation;

generation *generation_new(const provider *prov, hsm_key_type type, int selection, const OSSL_PARAM params[]);
void generation_cleanup(void *vgeneration);
int generation_set_template(void *vgeneration, void *vtemplate);
int generation_set_params(void *vgeneration, const OSSL_PARAM params[]);
const OSSL_PARAM *generation_settable_params(void *vgeneration, void *vprov);
void *generation_run(void *vgeneration, OSSL_CALLBACK *progress, void *arg);

#endif
