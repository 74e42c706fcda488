/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Signature algorithms that name their digest (RSA-SHA256 ...) with keys of a SoftHSM2 token. libcrypto has
 * them since 3.4; an older one must not be offered what it cannot use. Runs under tests/support/with_token.
 */
#include <stdbool.h>
#include <stdlib.h>
#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/provider.h>
#include <openssl/store.h>
#include "check.h"

#define OURS "provider=sealane"

static OSSL_PROVIDER *loaded; /* by the configuration; this keeps it until the end */

static void keys_without_these_names_are_signed_with_as_before(void)
{
    EVP_SIGNATURE *known = EVP_SIGNATURE_fetch(NULL, "SEALANE-RSA", OURS);
    CU_ASSERT_PTR_NOT_NULL(known);
    EVP_SIGNATURE_free(known);
}

#if !OPENSSL_VERSION_PREREQ(3, 4)

static void an_old_libcrypto_is_not_offered_them(void)
{
    static const char *const names[] = {"RSA-SHA256", "ECDSA-SHA256", "ED25519"};

    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        CU_ASSERT_PTR_NULL(EVP_SIGNATURE_fetch(NULL, names[i], OURS));
    ERR_clear_error();
}

#else

static const unsigned char text[] = "one message in several parts, or in one";
enum { TEXT_LEN = sizeof(text) - 1 };

static EVP_PKEY *key_open(const char *object)
{
    char uri[128];
    EVP_PKEY *key = NULL;

    snprintf(uri, sizeof(uri), "pkcs11:token=sealane;object=%s;type=private", object);
    OSSL_STORE_CTX *store = OSSL_STORE_open(uri, NULL, NULL, NULL, NULL);
    OSSL_STORE_INFO *info = store != NULL ? OSSL_STORE_load(store) : NULL;
    if (info != NULL)
        key = OSSL_STORE_INFO_get1_PKEY(info);
    OSSL_STORE_INFO_free(info);
    OSSL_STORE_close(store);
    CU_ASSERT_PTR_NOT_NULL_FATAL(key);
    return key;
}

/* The public part as a key of libcrypto's own. */
static EVP_PKEY *public_of(EVP_PKEY *key)
{
    OSSL_PARAM *params = NULL;
    EVP_PKEY *public = NULL;
    EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_name(NULL, EVP_PKEY_get0_type_name(key), "provider=default");

    CU_ASSERT_EQUAL_FATAL(EVP_PKEY_todata(key, EVP_PKEY_PUBLIC_KEY, &params), 1);
    CU_ASSERT_TRUE_FATAL(EVP_PKEY_fromdata_init(ctx) == 1 &&
                         EVP_PKEY_fromdata(ctx, &public, EVP_PKEY_PUBLIC_KEY, params) == 1);
    OSSL_PARAM_free(params);
    EVP_PKEY_CTX_free(ctx);
    return public;
}

/* By the default provider alone. `md` NULL: EdDSA. */
static bool is_right(EVP_PKEY *public, const char *md, const unsigned char *sig, size_t len)
{
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    bool ok = EVP_DigestVerifyInit_ex(ctx, NULL, md, NULL, "provider=default", public, NULL) == 1 &&
              EVP_DigestVerify(ctx, sig, len, text, TEXT_LEN) == 1;

    EVP_MD_CTX_free(ctx);
    return ok;
}

struct used {
    EVP_SIGNATURE *algorithm;
    EVP_PKEY *key, *public;
    const char *md;
};

static EVP_PKEY_CTX *context(const struct used *u)
{
    EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_pkey(NULL, u->key, NULL);
    CU_ASSERT_PTR_NOT_NULL_FATAL(ctx);
    return ctx;
}

/* In one go; and asked for the length first, as applications do. */
static void sign_whole(const struct used *u, unsigned char sig[1024], size_t *len)
{
    EVP_PKEY_CTX *ctx = context(u);

    CU_ASSERT_EQUAL(EVP_PKEY_sign_message_init(ctx, u->algorithm, NULL), 1);
    CU_ASSERT_EQUAL(EVP_PKEY_sign(ctx, NULL, len, text, TEXT_LEN), 1);
    CU_ASSERT_TRUE(*len > 0 && *len <= 1024);
    for (int again = 0; again < 2; again++) {
        *len = 1024;
        CU_ASSERT_EQUAL(EVP_PKEY_sign(ctx, sig, len, text, TEXT_LEN), 1);
        CU_ASSERT_TRUE(is_right(u->public, u->md, sig, *len));
    }
    EVP_PKEY_CTX_free(ctx);
}

/* Half of it goes into a copy of the context. */
static void sign_in_parts(const struct used *u)
{
    unsigned char sig[1024];
    size_t len = sizeof(sig);
    EVP_PKEY_CTX *first = context(u), *ctx;

    CU_ASSERT_EQUAL(EVP_PKEY_sign_message_init(first, u->algorithm, NULL), 1);
    CU_ASSERT_EQUAL(EVP_PKEY_sign_message_update(first, text, 5), 1);
    ctx = EVP_PKEY_CTX_dup(first);
    CU_ASSERT_PTR_NOT_NULL_FATAL(ctx);
    CU_ASSERT_EQUAL(EVP_PKEY_sign_message_update(first, text, 3), 1);
    CU_ASSERT_EQUAL(EVP_PKEY_sign_message_update(ctx, text + 5, 1), 1);
    CU_ASSERT_EQUAL(EVP_PKEY_sign_message_update(ctx, text + 6, TEXT_LEN - 6), 1);
    CU_ASSERT_EQUAL(EVP_PKEY_sign_message_final(ctx, sig, &len), 1);
    CU_ASSERT_TRUE(is_right(u->public, u->md, sig, len));
    EVP_PKEY_CTX_free(ctx);
    EVP_PKEY_CTX_free(first);
}

/* After sign_init and verify_init it is a digest of the one length. */
static void sign_digest(const struct used *u)
{
    unsigned char digest[EVP_MAX_MD_SIZE], sig[1024];
    size_t digest_len = 0, len = sizeof(sig), none = sizeof(sig);
    EVP_PKEY_CTX *ctx = context(u);

    CU_ASSERT_EQUAL(EVP_Q_digest(NULL, u->md, NULL, text, TEXT_LEN, digest, &digest_len), 1);
    CU_ASSERT_EQUAL(EVP_PKEY_sign_init_ex2(ctx, u->algorithm, NULL), 1);
    CU_ASSERT_EQUAL(EVP_PKEY_sign(ctx, sig, &len, digest, digest_len), 1);
    CU_ASSERT_TRUE(is_right(u->public, u->md, sig, len));
    CU_ASSERT_NOT_EQUAL(EVP_PKEY_sign(ctx, sig, &none, digest, digest_len - 1), 1);
    CU_ASSERT_EQUAL(EVP_PKEY_verify_init_ex2(ctx, u->algorithm, NULL), 1);
    CU_ASSERT_EQUAL(EVP_PKEY_verify(ctx, sig, len, digest, digest_len), 1);
    CU_ASSERT_NOT_EQUAL(EVP_PKEY_verify(ctx, sig, len, digest, digest_len - 1), 1);
    digest[0] ^= 1;
    CU_ASSERT_NOT_EQUAL(EVP_PKEY_verify(ctx, sig, len, digest, digest_len), 1);
    EVP_PKEY_CTX_free(ctx);
    ERR_clear_error();
}

static void verify_whole(const struct used *u, unsigned char *sig, size_t len)
{
    EVP_PKEY_CTX *ctx = context(u);

    CU_ASSERT_EQUAL(EVP_PKEY_verify_message_init(ctx, u->algorithm, NULL), 1);
    CU_ASSERT_EQUAL(EVP_PKEY_verify(ctx, sig, len, text, TEXT_LEN), 1);
    CU_ASSERT_NOT_EQUAL(EVP_PKEY_verify(ctx, sig, len, text, TEXT_LEN - 1), 1);
    sig[len - 1] ^= 1;
    CU_ASSERT_NOT_EQUAL(EVP_PKEY_verify(ctx, sig, len, text, TEXT_LEN), 1);
    sig[len - 1] ^= 1;
    EVP_PKEY_CTX_free(ctx);
    ERR_clear_error();
}

static int verify_parts(const struct used *u, const unsigned char *sig, size_t len, size_t text_len)
{
    EVP_PKEY_CTX *ctx = context(u), *copy;

    CU_ASSERT_EQUAL(EVP_PKEY_verify_message_init(ctx, u->algorithm, NULL), 1);
    if (sig != NULL)
        CU_ASSERT_EQUAL(EVP_PKEY_CTX_set_signature(ctx, sig, len), 1);
    CU_ASSERT_EQUAL(EVP_PKEY_verify_message_update(ctx, text, 7), 1);
    copy = EVP_PKEY_CTX_dup(ctx);
    CU_ASSERT_PTR_NOT_NULL_FATAL(copy);
    EVP_PKEY_CTX_free(ctx);
    CU_ASSERT_EQUAL(EVP_PKEY_verify_message_update(copy, text + 7, text_len - 7), 1);
    int ok = EVP_PKEY_verify_message_final(copy);
    EVP_PKEY_CTX_free(copy);
    ERR_clear_error();
    return ok;
}

static void check_algorithm(EVP_PKEY *key, EVP_PKEY *public, const char *name, const char *md)
{
    struct used u = {EVP_SIGNATURE_fetch(NULL, name, OURS), key, public, md};
    unsigned char sig[1024];
    size_t len = 0;

    CU_ASSERT_PTR_NOT_NULL_FATAL(u.algorithm);
    sign_whole(&u, sig, &len);
    verify_whole(&u, sig, len);
    if (md != NULL) {
        sign_in_parts(&u);
        sign_digest(&u);
        CU_ASSERT_EQUAL(verify_parts(&u, sig, len, TEXT_LEN), 1);
        CU_ASSERT_NOT_EQUAL(verify_parts(&u, sig, len, TEXT_LEN - 1), 1);
        CU_ASSERT_NOT_EQUAL(verify_parts(&u, sig, len - 1, TEXT_LEN), 1);
        CU_ASSERT_NOT_EQUAL(verify_parts(&u, NULL, 0, TEXT_LEN), 1);
    }
    EVP_SIGNATURE_free(u.algorithm);
}

static const struct {
    const char *name, *md;
} with_rsa[] = {{"RSA-SHA1", "SHA1"},
                {"RSA-SHA2-224", "SHA224"},
                {"RSA-SHA256", "SHA256"},
                {"sha384WithRSAEncryption", "SHA384"},
                {"1.2.840.113549.1.1.13", "SHA512"}},
  with_ec[] = {{"ECDSA-SHA1", "SHA1"},
               {"ECDSA-SHA2-224", "SHA224"},
               {"ECDSA-SHA256", "SHA256"},
               {"ecdsa-with-SHA384", "SHA384"},
               {"1.2.840.10045.4.3.4", "SHA512"}};
enum { ALGORITHMS = sizeof(with_rsa) / sizeof(with_rsa[0]) };

static void a_token_signs_messages_with_rsa(void)
{
    EVP_PKEY *key = key_open("rsa"), *public = public_of(key);

    for (size_t i = 0; i < ALGORITHMS; i++)
        check_algorithm(key, public, with_rsa[i].name, with_rsa[i].md);
    EVP_PKEY_free(public);
    EVP_PKEY_free(key);
}

static void a_token_signs_messages_with_ecdsa(void)
{
    EVP_PKEY *key = key_open("ec"), *public = public_of(key);

    for (size_t i = 0; i < ALGORITHMS; i++)
        check_algorithm(key, public, with_ec[i].name, with_ec[i].md);
    EVP_PKEY_free(public);
    EVP_PKEY_free(key);
}

static void a_token_signs_messages_with_ed25519(void)
{
    static char uri[] = "pkcs11:token=sealane;object=composite-ed25519";
    const OSSL_PARAM params[] = {OSSL_PARAM_construct_utf8_string("pkcs11_uri", uri, 0),
                                 OSSL_PARAM_construct_end()};
    EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_name(NULL, "ED25519", OURS);
    EVP_PKEY *made = NULL;

    CU_ASSERT_TRUE_FATAL(EVP_PKEY_keygen_init(ctx) == 1 && EVP_PKEY_CTX_set_params(ctx, params) == 1 &&
                         EVP_PKEY_generate(ctx, &made) == 1);
    EVP_PKEY_CTX_free(ctx);
    EVP_PKEY_free(made);
    EVP_PKEY *key = key_open("composite-ed25519"), *public = public_of(key);
    check_algorithm(key, public, "ED25519", NULL);
    EVP_PKEY_free(public);
    EVP_PKEY_free(key);
}

/* Where our algorithm is fetched for a key that is in no token, libcrypto does it. */
static void software_keys_sign_too(void)
{
    EVP_PKEY *rsa = EVP_PKEY_Q_keygen(NULL, NULL, "RSA", (size_t)2048),
             *ec = EVP_PKEY_Q_keygen(NULL, NULL, "EC", "P-384"),
             *ed = EVP_PKEY_Q_keygen(NULL, NULL, "ED25519");

    check_algorithm(rsa, rsa, "RSA-SHA256", "SHA256");
    check_algorithm(ec, ec, "ECDSA-SHA512", "SHA512");
    check_algorithm(ed, ed, "ED25519", NULL);
    EVP_PKEY_free(rsa);
    EVP_PKEY_free(ec);
    EVP_PKEY_free(ed);
}

static void keys_of_another_type_are_refused(void)
{
    static const char *const wrong[][2] = {{"ec", "RSA-SHA256"}, {"rsa", "ECDSA-SHA256"}, {"rsa", "ED25519"}};

    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        EVP_PKEY *key = key_open(wrong[i][0]);
        EVP_SIGNATURE *algorithm = EVP_SIGNATURE_fetch(NULL, wrong[i][1], OURS);
        EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_pkey(NULL, key, NULL);
        CU_ASSERT_NOT_EQUAL(EVP_PKEY_sign_message_init(ctx, algorithm, NULL), 1);
        EVP_PKEY_CTX_free(ctx);
        EVP_SIGNATURE_free(algorithm);
        EVP_PKEY_free(key);
    }
    ERR_clear_error();
}

#endif

int main(int argc, char **argv)
{
    static const check_case cases[] = {
        {"what there was before is still there", keys_without_these_names_are_signed_with_as_before},
#if !OPENSSL_VERSION_PREREQ(3, 4)
        {"an old libcrypto is not offered them", an_old_libcrypto_is_not_offered_them},
#else
        {"a token signs messages with RSA", a_token_signs_messages_with_rsa},
        {"a token signs messages with ECDSA", a_token_signs_messages_with_ecdsa},
        {"a token signs messages with Ed25519", a_token_signs_messages_with_ed25519},
        {"software keys sign, too", software_keys_sign_too},
        {"keys of another type are refused", keys_of_another_type_are_refused},
#endif
    };
    if (getenv("SEALANE_TEST_DIR") == NULL) {
        fprintf(stderr, "run this under tests/support/with_token\n");
        return 2;
    }
    loaded = OSSL_PROVIDER_load(NULL, "sealane");
    int status = check_run("provider-composite", cases, sizeof(cases) / sizeof(cases[0]), argc, argv);
    OSSL_PROVIDER_unload(loaded);
    return status;
}
