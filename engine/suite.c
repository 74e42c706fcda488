/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The two tables of sealane/suite.h. A new cipher (ChaCha20-Poly1305, CCM, CBC with HMAC) is one row in
 * `ciphers` and one row in `suites` for each suite that uses it.
 */
#include <sealane/suite.h>

/* RFC 8446 5.5: 2^24.5 full-size records, rounded down. The analysis holds for TLS 1.2's GCM just as well. */
#define GCM_SEAL_LIMIT 23726566u
/* RFC 9147 4.5.3 */
#define GCM_OPEN_LIMIT (UINT64_C(1) << 36)

static const sealane_cipher ciphers[SEALANE_CIPHERS] = {
    {SEALANE_AES_128_GCM, "AES-128-GCM", 16, 16, SEALANE_NONCE_EXPLICIT, GCM_SEAL_LIMIT, GCM_OPEN_LIMIT},
    {SEALANE_AES_256_GCM, "AES-256-GCM", 32, 16, SEALANE_NONCE_EXPLICIT, GCM_SEAL_LIMIT, GCM_OPEN_LIMIT},
};

/* By IANA value: sealane_suite_find() relies on the order. */
static const sealane_suite suites[] = {
    /* RFC 5288 */
    {0x009c, SEALANE_TLS1_2, "TLS_RSA_WITH_AES_128_GCM_SHA256", "AES128-GCM-SHA256", SEALANE_AES_128_GCM},
    {0x009d, SEALANE_TLS1_2, "TLS_RSA_WITH_AES_256_GCM_SHA384", "AES256-GCM-SHA384", SEALANE_AES_256_GCM},
    {0x009e, SEALANE_TLS1_2, "TLS_DHE_RSA_WITH_AES_128_GCM_SHA256", "DHE-RSA-AES128-GCM-SHA256",
     SEALANE_AES_128_GCM},
    {0x009f, SEALANE_TLS1_2, "TLS_DHE_RSA_WITH_AES_256_GCM_SHA384", "DHE-RSA-AES256-GCM-SHA384",
     SEALANE_AES_256_GCM},
    {0x00a2, SEALANE_TLS1_2, "TLS_DHE_DSS_WITH_AES_128_GCM_SHA256", "DHE-DSS-AES128-GCM-SHA256",
     SEALANE_AES_128_GCM},
    {0x00a3, SEALANE_TLS1_2, "TLS_DHE_DSS_WITH_AES_256_GCM_SHA384", "DHE-DSS-AES256-GCM-SHA384",
     SEALANE_AES_256_GCM},
    /* Anonymous: opportunistic mail servers offer it (Postfix, RFC 7672's "no certificate needed" peers). */
    {0x00a6, SEALANE_TLS1_2, "TLS_DH_anon_WITH_AES_128_GCM_SHA256", "ADH-AES128-GCM-SHA256",
     SEALANE_AES_128_GCM},
    {0x00a7, SEALANE_TLS1_2, "TLS_DH_anon_WITH_AES_256_GCM_SHA384", "ADH-AES256-GCM-SHA384",
     SEALANE_AES_256_GCM},
    /* RFC 5487 */
    {0x00a8, SEALANE_TLS1_2, "TLS_PSK_WITH_AES_128_GCM_SHA256", "PSK-AES128-GCM-SHA256", SEALANE_AES_128_GCM},
    {0x00a9, SEALANE_TLS1_2, "TLS_PSK_WITH_AES_256_GCM_SHA384", "PSK-AES256-GCM-SHA384", SEALANE_AES_256_GCM},
    {0x00aa, SEALANE_TLS1_2, "TLS_DHE_PSK_WITH_AES_128_GCM_SHA256", "DHE-PSK-AES128-GCM-SHA256",
     SEALANE_AES_128_GCM},
    {0x00ab, SEALANE_TLS1_2, "TLS_DHE_PSK_WITH_AES_256_GCM_SHA384", "DHE-PSK-AES256-GCM-SHA384",
     SEALANE_AES_256_GCM},
    {0x00ac, SEALANE_TLS1_2, "TLS_RSA_PSK_WITH_AES_128_GCM_SHA256", "RSA-PSK-AES128-GCM-SHA256",
     SEALANE_AES_128_GCM},
    {0x00ad, SEALANE_TLS1_2, "TLS_RSA_PSK_WITH_AES_256_GCM_SHA384", "RSA-PSK-AES256-GCM-SHA384",
     SEALANE_AES_256_GCM},
    /* RFC 8446 B.4 */
    {0x1301, SEALANE_TLS1_3, "TLS_AES_128_GCM_SHA256", "TLS_AES_128_GCM_SHA256", SEALANE_AES_128_GCM},
    {0x1302, SEALANE_TLS1_3, "TLS_AES_256_GCM_SHA384", "TLS_AES_256_GCM_SHA384", SEALANE_AES_256_GCM},
    /* RFC 5289 */
    {0xc02b, SEALANE_TLS1_2, "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256", "ECDHE-ECDSA-AES128-GCM-SHA256",
     SEALANE_AES_128_GCM},
    {0xc02c, SEALANE_TLS1_2, "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384", "ECDHE-ECDSA-AES256-GCM-SHA384",
     SEALANE_AES_256_GCM},
    {0xc02f, SEALANE_TLS1_2, "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256", "ECDHE-RSA-AES128-GCM-SHA256",
     SEALANE_AES_128_GCM},
    {0xc030, SEALANE_TLS1_2, "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384", "ECDHE-RSA-AES256-GCM-SHA384",
     SEALANE_AES_256_GCM},
};

#define SUITES (sizeof(suites) / sizeof(suites[0]))

const sealane_cipher *sealane_cipher_get(sealane_cipher_id id)
{
    /* Enumerators come from callers: a value outside the table must not become an index. */
    if ((unsigned)id >= SEALANE_CIPHERS)
        return NULL;
    return &ciphers[id];
}

const sealane_suite *sealane_suite_find(uint16_t id)
{
    size_t low = 0, high = SUITES;

    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (suites[middle].id < id)
            low = middle + 1;
        else
            high = middle;
    }
    if (low == SUITES || suites[low].id != id)
        return NULL;
    return &suites[low];
}

const sealane_suite *sealane_suites(size_t *count)
{
    *count = SUITES;
    return suites;
}
