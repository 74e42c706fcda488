/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What an application may ask the loaded provider with OSSL_PROVIDER_get_params(). The provider itself is
 * used through libcrypto only: fetch with the property query "sealane.records=yes", open keys as "pkcs11:"
 * URIs.
 */
#ifndef SEALANE_PROVIDER_H
#define SEALANE_PROVIDER_H

#define SEALANE_PROVIDER_NAME "sealane"

/* UTF8 pointer: name of the engine's backend that sealed the calling thread's latest record, "none" at first.
 */
#define SEALANE_PARAM_LAST_SEALED_BY "sealane-last-sealed-by"
/* uint64: records sealed, opened and refused as forged, all backends, since the start of the process. */
#define SEALANE_PARAM_RECORDS_SEALED "sealane-records-sealed"
#define SEALANE_PARAM_RECORDS_OPENED "sealane-records-opened"
#define SEALANE_PARAM_RECORDS_FORGED "sealane-records-forged"
/* uint64: signatures that tokens made, operations that failed, logins, recoveries after a lost session. */
#define SEALANE_PARAM_TOKEN_SIGNATURES "sealane-token-signatures"
#define SEALANE_PARAM_TOKEN_FAILURES   "sealane-token-failures"
#define SEALANE_PARAM_TOKEN_LOGINS     "sealane-token-logins"
#define SEALANE_PARAM_TOKEN_RECOVERIES "sealane-token-recoveries"

#endif
