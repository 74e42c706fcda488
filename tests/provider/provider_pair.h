/* SPDX-License-Identifier: Apache-2.0 */
/* Two library contexts: one with sealane.so, preferred for records, and the default provider; one without. */
#ifndef TESTS_PROVIDER_PAIR_H
#define TESTS_PROVIDER_PAIR_H

#include <stdio.h>
#include <stdlib.h>
#include <openssl/evp.h>
#include <openssl/provider.h>
#include <sealane/provider.h>

static OSSL_LIB_CTX *pair_with_sealane, *pair_without;
static OSSL_PROVIDER *pair_sealane, *pair_standard;

static void pair_setup(void)
{
    pair_with_sealane = OSSL_LIB_CTX_new();
    pair_without = OSSL_LIB_CTX_new();
    OSSL_PROVIDER_set_default_search_path(pair_with_sealane, PROVIDER_DIR);
    if ((pair_standard = OSSL_PROVIDER_load(pair_with_sealane, "default")) == NULL ||
        (pair_sealane = OSSL_PROVIDER_load(pair_with_sealane, SEALANE_PROVIDER_NAME)) == NULL ||
        EVP_set_default_properties(pair_with_sealane, "?sealane.records=yes") != 1) {
        fprintf(stderr, "sealane.so cannot be loaded from %s\n", PROVIDER_DIR);
        exit(2);
    }
}

static void pair_teardown(void)
{
    OSSL_PROVIDER_unload(pair_sealane);
    OSSL_PROVIDER_unload(pair_standard);
    OSSL_LIB_CTX_free(pair_with_sealane);
    OSSL_LIB_CTX_free(pair_without);
}

#endif
