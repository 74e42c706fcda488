/* SPDX-License-Identifier: Apache-2.0 */
/* ECDSA with keys of tokens: what signature.c leaves to the scheme. */
#include <string.h>
#include <openssl/asn1.h>
#include <openssl/objects.h>
#include <openssl/x509.h>
#include "signature.h"

static bool ecdsa_params_set(signer *ctx, const OSSL_PARAM params[])
{
    (void)ctx;
    (void)params;
    return true;
}

static bool ecdsa_params_get(const signer *ctx, OSSL_PARAM params[])
{
    (void)ctx;
    (void)params;
    return true;
}

/* RFC 5758 3.2: the parameters are absent. */
static bool ecdsa_algorithm_id(const signer *ctx, OSSL_PARAM *p)
{
    int nid;

    return OBJ_find_sigid_by_algs(&nid, ctx->digest->nid, NID_X9_62_id_ecPublicKey) == 1 &&
           algorithm_id_answer(p, nid, V_ASN1_UNDEF, NULL);
}

/* The DER of an INTEGER from `len` octets, at most 66, the first being the highest: X.690 8.3. Returns its end. */
static uint8_t *integer_to_der(const uint8_t *number, size_t len, uint8_t *der)
{
    for (; len > 1 && number[0] == 0; len--)
        number++;
    size_t zero = number[0] >> 7; /* it is no negative one */

    *der++ = V_ASN1_INTEGER;
    *der++ = (uint8_t)(zero + len);
    if (zero)
        *der++ = 0;
    memcpy(der, number, len);
    return der + len;
}

/*
 * PKCS#11 gives r || s (PKCS#11 v2.40, 2.3.1); X.509 and TLS want the DER of Ecdsa-Sig-Value (RFC 3279 2.2.3).
 * libcrypto would make two BIGNUMs of them for that, 10,000 instructions.
 */
static bool ecdsa_to_der(const uint8_t *raw, size_t raw_len, uint8_t *der, size_t *der_len, size_t der_size)
{
    enum { NUMBER_MAX = 66 }; /* octets: P-521 */
    uint8_t numbers[2 * (NUMBER_MAX + 3)], *end;

    if (raw_len == 0 || raw_len > 2 * NUMBER_MAX || raw_len % 2 != 0)
        return false;
    end = integer_to_der(raw, raw_len / 2, numbers);
    end = integer_to_der(raw + raw_len / 2, raw_len / 2, end);
    size_t len = (size_t)(end - numbers), head = len < 0x80 ? 2 : 3; /* X.690 8.1.3 */
    if (head + len > der_size)
        return false;
    *der++ = V_ASN1_SEQUENCE | V_ASN1_CONSTRUCTED;
    if (head == 3)
        *der++ = 0x81;
    *der++ = (uint8_t)len;
    memcpy(der, numbers, len);
    *der_len = head + len;
    return true;
}

static bool ecdsa_sign(signer *ctx, const uint8_t *tbs, size_t tbs_len, uint8_t *sig, size_t *sig_len,
                       size_t sig_size)
{
    static const hsm_mechanism mech = {.scheme = HSM_ECDSA};
    uint8_t raw[HSM_OUTPUT_MAX];
    size_t raw_len = sizeof(raw), order_len = hsm_output_len(ctx->key->token, HSM_ECDSA) / 2;

    /* FIPS 186-4 6.4: only the leftmost bits of a digest longer than the order count. */
    if (tbs_len > order_len)
        tbs_len = order_len;
    if (!signer_sign(ctx, &mech, tbs, tbs_len, raw, &raw_len))
        return false;
    if (!ecdsa_to_der(raw, raw_len, sig, sig_len, sig_size)) {
        RAISE(REASON_LENGTH, "the signature does not fit into %zu bytes", sig_size);
        return false;
    }
    return true;
}

static void ecdsa_libcrypto_params(const signer *ctx, OSSL_PARAM params[])
{
    (void)ctx;
    params[0] = OSSL_PARAM_construct_end();
}

const scheme scheme_ecdsa = {
    .params_set = ecdsa_params_set,
    .params_get = ecdsa_params_get,
    .algorithm_id = ecdsa_algorithm_id,
    .sign = ecdsa_sign,
    .libcrypto_params = ecdsa_libcrypto_params,
};
