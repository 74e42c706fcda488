/* SPDX-License-Identifier: Apache-2.0 */
/* ECDSA with keys of tokens: what signature.c leaves to the scheme. */
#include <openssl/ec.h>
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

/* PKCS#11 gives r || s (PKCS#11 v2.40, 2.3.1); X.509 and TLS want the DER of Ecdsa-Sig-Value (RFC
 * 3279 2.2.3). */
static bool ecdsa_to_der(const uint8_t *raw, size_t raw_len, uint8_t *der, size_t *der_len, size_t der_size)
{
    ECDSA_SIG *sig = ECDSA_SIG_new();
    BIGNUM *r = BN_bin2bn(raw, (int)(raw_len / 2), NULL),
           *s = BN_bin2bn(raw + raw_len / 2, (int)(raw_len / 2), NULL);
    bool ok = false;

    if (sig == NULL || r == NULL || s == NULL || ECDSA_SIG_set0(sig, r, s) != 1) {
        BN_free(r);
        BN_free(s);
    } else {
        int len = i2d_ECDSA_SIG(sig, NULL);
        if (len > 0 && (size_t)len <= der_size) {
            *der_len = (size_t)i2d_ECDSA_SIG(sig, &der);
            ok = true;
        }
    }
    ECDSA_SIG_free(sig);
    return ok;
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
