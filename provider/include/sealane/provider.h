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

/*
 * UTF8 string: the tokens in use, one by one, as JSON: state, sessions, queue, operations with counts and
 * latency, errors by name, groups of tokens. hsm_report() in hsm/include/sealane/hsm.h says what each member
 * means:
 *   {"module": PATH,
 *    "tokens": [{"label", "serial", "state", "sessions", "running", "queued", "queued_max",
 *                "operations": {"sign": {"count", "failed", "latency_us": {"sum", "buckets": [[BOUND, n], ...]}}},
 *                "errors": {"CKR_DEVICE_REMOVED": n, "timeout": n}}],
 *    "groups": [{"name", "members": [{"name", "keys_refused"}]}]}
 * Ask once with `data` NULL: `return_size` is the length now, without the closing zero byte. Leave room for
 * growth. "{}" if no module is configured.
 */
#define SEALANE_PARAM_TOKENS "sealane-tokens"

#endif
