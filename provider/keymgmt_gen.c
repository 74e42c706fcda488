/* SPDX-License-Identifier: Apache-2.0 */
/* Making keys; see keymgmt_gen.h. */
#include <string.h>
#include <openssl/crypto.h>
#include <openssl/params.h>
#include "keymgmt_gen.h"
#include "signature.h"

#define PARAM_URI   "pkcs11_uri"
#define PARAM_USAGE "pkcs11_key_usage"

#define SETTABLE_MAX 32

struct generation {
    const provider *prov;
    hsm_key_type type;
    int selection;
    EVP_PKEY_CTX *ctx; /* libcrypto's: makes software keys, and judges the parameters of all */
    OSSL_PARAM settable[SETTABLE_MAX];
    /* for the token: */
    char *uri; /* NULL: a software key */
    size_t bits;
    char group[64];
    uint8_t e[32];
    size_t e_len;
    hsm_hash pss_hash;
    unsigned use;
};

static bool generation_start(generation *g)
{
    return g->ctx != NULL &&
           ((g->selection & OSSL_KEYMGMT_SELECT_KEYPAIR) != 0 ? EVP_PKEY_keygen_init(g->ctx)
                                                              : EVP_PKEY_paramgen_init(g->ctx)) > 0;
}

static void uri_set(generation *g, char *uri)
{
    if (g->uri != NULL)
        OPENSSL_clear_free(g->uri, strlen(g->uri)); /* it may hold a PIN */
    g->uri = uri;
}

void generation_cleanup(void *vgeneration)
{
    generation *g = vgeneration;

    if (g == NULL)
        return;
    uri_set(g, NULL);
    EVP_PKEY_CTX_free(g->ctx);
    OPENSSL_free(g);
}

generation *generation_new(const provider *prov, hsm_key_type type, int selection, const OSSL_PARAM params[])
{
    generation *g = OPENSSL_zalloc(sizeof(*g));

    if (g == NULL)
        return NULL;
    g->prov = prov;
    g->type = type;
    g->selection = selection;
    g->bits = 2048; /* libcrypto's default */
    g->ctx = EVP_PKEY_CTX_new_from_name(prov->libctx, key_type_name(type), NULL);
    if (!generation_start(g) || !generation_set_params(g, params)) {
        generation_cleanup(g);
        return NULL;
    }
    return g;
}

/* ---- parameters ---- */

/* The bits of X.509's key usage (RFC 5280 section 4.2.1.3), as what a token knows of it. */
static bool usage_set(generation *g, const OSSL_PARAM *p)
{
    static const struct {
        const char *word;
        unsigned use;
    } words[] = {
        {"digitalSignature", HSM_USE_SIGN},
        {"nonRepudiation", HSM_USE_SIGN},
        {"contentCommitment", HSM_USE_SIGN},
        {"keyCertSign", HSM_USE_SIGN},
        {"cRLSign", HSM_USE_SIGN},
        {"keyEncipherment", HSM_USE_DECRYPT},
        {"dataEncipherment", HSM_USE_DECRYPT},
        {"keyAgreement", HSM_USE_DERIVE},
        {"encipherOnly", HSM_USE_DERIVE},
        {"decipherOnly", HSM_USE_DERIVE},
    };
    const char *list;

    if (!OSSL_PARAM_get_utf8_string_ptr(p, &list))
        return false;
    g->use = 0;
    for (list += strspn(list, " ,"); *list != '\0'; list += strspn(list, " ,")) {
        size_t len = strcspn(list, " ,"), i = 0;
        while (i < sizeof(words) / sizeof(words[0]) &&
               (strlen(words[i].word) != len || strncmp(words[i].word, list, len) != 0))
            i++;
        if (i == sizeof(words) / sizeof(words[0])) {
            RAISE(REASON_ARGUMENT, "%s: unknown usage \"%.*s\"", PARAM_USAGE, (int)len, list);
            return false;
        }
        g->use |= words[i].use;
        list += len;
    }
    return true;
}

static bool exponent_set(generation *g, const OSSL_PARAM *p)
{
    BIGNUM *e = NULL;
    bool ok = OSSL_PARAM_get_BN(p, &e) && BN_num_bytes(e) <= (int)sizeof(g->e);

    if (ok)
        g->e_len = (size_t)BN_bn2bin(e, g->e);
    BN_free(e);
    return ok;
}

static bool pss_hash_set(generation *g, const OSSL_PARAM *p)
{
    const char *name;
    const digest *d = OSSL_PARAM_get_utf8_string_ptr(p, &name) ? digest_find(g->prov, name) : NULL;

    if (d != NULL)
        g->pss_hash = d->hash;
    return d != NULL;
}

/* What a token must be told itself. */
static bool token_params_set(generation *g, const OSSL_PARAM params[])
{
    const OSSL_PARAM *p;
    char *group = g->group, *uri = NULL;

    if ((p = OSSL_PARAM_locate_const(params, PARAM_URI)) != NULL) {
        if (!OSSL_PARAM_get_utf8_string(p, &uri, 0))
            return false;
        uri_set(g, uri);
    }
    if ((p = OSSL_PARAM_locate_const(params, PARAM_USAGE)) != NULL && !usage_set(g, p))
        return false;
    if ((p = OSSL_PARAM_locate_const(params, OSSL_PKEY_PARAM_RSA_BITS)) != NULL &&
        !OSSL_PARAM_get_size_t(p, &g->bits))
        return false;
    if ((p = OSSL_PARAM_locate_const(params, OSSL_PKEY_PARAM_RSA_E)) != NULL && !exponent_set(g, p))
        return false;
    if (g->type == HSM_KEY_RSA_PSS &&
        (p = OSSL_PARAM_locate_const(params, OSSL_PKEY_PARAM_RSA_DIGEST)) != NULL && !pss_hash_set(g, p))
        return false;
    p = OSSL_PARAM_locate_const(params, OSSL_PKEY_PARAM_GROUP_NAME);
    return p == NULL || OSSL_PARAM_get_utf8_string(p, &group, sizeof(g->group));
}

int generation_set_params(void *vgeneration, const OSSL_PARAM params[])
{
    generation *g = vgeneration;

    return params == NULL || (EVP_PKEY_CTX_set_params(g->ctx, params) == 1 && token_params_set(g, params));
}

/* libcrypto's own list and ours behind it. Without a context, which libcrypto sometimes has not got: ours. */
const OSSL_PARAM *generation_settable_params(void *vgeneration, void *vprov)
{
    static const OSSL_PARAM ours[] = {
        OSSL_PARAM_utf8_string(PARAM_URI, NULL, 0),
        OSSL_PARAM_utf8_string(PARAM_USAGE, NULL, 0),
        OSSL_PARAM_END,
    };
    generation *g = vgeneration;
    const OSSL_PARAM *theirs = g != NULL ? EVP_PKEY_CTX_settable_params(g->ctx) : NULL;
    size_t n = 0;

    (void)vprov;
    if (theirs == NULL)
        return ours;
    while (theirs->key != NULL && n < SETTABLE_MAX - sizeof(ours) / sizeof(ours[0]))
        g->settable[n++] = *theirs++;
    memcpy(g->settable + n, ours, sizeof(ours));
    return g->settable;
}

int generation_set_template(void *vgeneration, void *vtemplate)
{
    generation *g = vgeneration;
    const key *template = vtemplate;

    if (template->pkey == NULL)
        return 0;
    EVP_PKEY_CTX_free(g->ctx);
    g->ctx = EVP_PKEY_CTX_new_from_pkey(g->prov->libctx, template->pkey, NULL);
    if (!generation_start(g))
        return 0;
    return g->type != HSM_KEY_EC || EVP_PKEY_get_utf8_string_param(template->pkey, OSSL_PKEY_PARAM_GROUP_NAME,
                                                                   g->group, sizeof(g->group), NULL) == 1;
}

/* ---- the keys ---- */

static key *token_key_make(const generation *g)
{
    hsm_key_spec spec = {
        .type = g->type,
        .bits = (unsigned)g->bits,
        .e = g->e_len > 0 ? g->e : NULL,
        .e_len = g->e_len,
        .group = g->type == HSM_KEY_EC && g->group[0] != '\0' ? g->group : NULL,
        .pss_hash = g->pss_hash,
        .use = g->use,
    };
    hsm_key *made = NULL;
    hsm_uri uri;
    hsm_error err;
    hsm_status status = hsm_uri_parse(&uri, g->uri, &err);

    if (status == HSM_OK)
        status = hsm_generate(g->prov->keys, &uri, &spec, NULL, NULL, &made, &err);
    hsm_uri_clear(&uri);
    if (status != HSM_OK) {
        RAISE_HSM(&err);
        return NULL;
    }
    key *k = key_from_token(g->prov, made);
    hsm_key_free(made);
    return k;
}

static key *software_key_make(const generation *g)
{
    key *k = key_new_empty(g->prov, g->type);

    if (k != NULL && EVP_PKEY_generate(g->ctx, &k->pkey) != 1) {
        key_free(k);
        return NULL;
    }
    if (k != NULL)
        k->has = g->selection | OSSL_KEYMGMT_SELECT_ALL_PARAMETERS;
    return k;
}

void *generation_run(void *vgeneration, OSSL_CALLBACK *progress, void *arg)
{
    generation *g = vgeneration;

    (void)progress;
    (void)arg;
    return g->uri != NULL && (g->selection & OSSL_KEYMGMT_SELECT_KEYPAIR) != 0 ? token_key_make(g)
                                                                               : software_key_make(g);
}
