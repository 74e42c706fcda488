/* SPDX-License-Identifier: Apache-2.0 */
/* Finding objects, and one clear line for everything that cannot be found. */
#include "fixture.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What a find gives, counted by class. */
struct result {
    hsm_status status;
    hsm_error err;
    size_t private, public, certs, with_key;
    char label[64], uri[256];
};

static struct result find(hsm *h, const char *text, hsm_class type)
{
    struct result r = {0};
    hsm_uri uri;
    hsm_object *list = NULL;
    size_t count = 0;
    CU_ASSERT_EQUAL_FATAL(hsm_uri_parse(&uri, text, &r.err), HSM_OK);
    r.status = hsm_find(h, &uri, type, NULL, NULL, &list, &count, &r.err);
    for (size_t i = 0; i < count; i++) {
        r.private += list[i].type == HSM_CLASS_PRIVATE;
        r.public += list[i].type == HSM_CLASS_PUBLIC;
        r.certs += list[i].type == HSM_CLASS_CERT && list[i].cert_len > 0 && list[i].cert[0] == 0x30;
        r.with_key += list[i].key != NULL;
        (void)snprintf(r.label, sizeof(r.label), "%s", list[i].label);
        (void)snprintf(r.uri, sizeof(r.uri), "%s", list[i].uri);
    }
    hsm_objects_free(list, count);
    hsm_uri_clear(&uri);
    return r;
}

static void expect_failure(struct result r, hsm_status status, const char *says)
{
    if (r.status != status || !strstr(r.err.text, says))
        fprintf(stderr, "status %d, '%s' instead of %d, '%s'\n", r.status, r.err.text, status, says);
    CU_ASSERT_EQUAL(r.status, status);
    CU_ASSERT_PTR_NOT_NULL(strstr(r.err.text, says));
    CU_ASSERT_PTR_NULL(strchr(r.err.text, '\n'));
}

static void keys_are_found_by_id_label_and_type(void)
{
    hsm *h = fixture_hsm();
    struct result r = find(h, "pkcs11:token=mail;id=%03", HSM_CLASS_PRIVATE);
    CU_ASSERT(r.status == HSM_OK && r.private == 1 && strcmp(r.label, "p256") == 0);
    r = find(h, "pkcs11:token=mail;object=p384", HSM_CLASS_ANY);
    CU_ASSERT(r.status == HSM_OK && r.private == 1 && r.public == 1 && r.with_key == 2);
    r = find(h, "pkcs11:token=mail;object=p384;type=public", HSM_CLASS_ANY);
    CU_ASSERT(r.status == HSM_OK && r.private == 0 && r.public == 1);
    r = find(h, "pkcs11:token=mail;object=bare;type=cert", HSM_CLASS_ANY);
    CU_ASSERT(r.status == HSM_OK && r.certs == 1 && r.private + r.public == 0);
    r = find(h, "pkcs11:token=mail;id=%03;object=p384", HSM_CLASS_PRIVATE);
    CU_ASSERT_EQUAL(r.status, HSM_E_NO_OBJECT);
    hsm_free(h);
}

/* The key on Curve25519 cannot be used, and must not hide the others. */
static void all_usable_objects_of_a_token_are_found(void)
{
    hsm *h = fixture_hsm();
    struct result r = find(h, "pkcs11:token=mail", HSM_CLASS_ANY);
    CU_ASSERT_EQUAL(r.status, HSM_OK);
    CU_ASSERT_EQUAL(r.private, 9);
    CU_ASSERT_EQUAL(r.public, 8);
    CU_ASSERT_EQUAL(r.certs, 1);
    expect_failure(find(h, "pkcs11:token=mail;object=x25519", HSM_CLASS_PRIVATE), HSM_E_UNSUPPORTED,
                   "neither Ed25519 nor Ed448");
    hsm_free(h);
}

static void public_objects_are_found_without_a_pin(void)
{
    hsm *h = fixture_hsm_with(&(hsm_settings){0});
    uint64_t logins = counted->logins;
    struct result r = find(h, "pkcs11:token=mail;object=p256", HSM_CLASS_PUBLIC);
    CU_ASSERT(r.status == HSM_OK && r.public == 1);
    r = find(h, "pkcs11:token=mail;object=p256", HSM_CLASS_ANY);
    CU_ASSERT(r.status == HSM_OK && r.public == 1 && r.private == 0);
    expect_failure(find(h, "pkcs11:token=mail;object=p256", HSM_CLASS_PRIVATE), HSM_E_PIN_NEEDED,
                   "pin-source");
    CU_ASSERT_EQUAL(counted->logins, logins);
    hsm_free(h);
}

static void public_parts_are_told(void)
{
    hsm *h = fixture_hsm();
    hsm_key *rsa = find_key(h, "rsa3072"), *ec = find_key(h, "p521"), *bare = find_key(h, "bare");
    const hsm_public *p = hsm_key_public(rsa);
    CU_ASSERT(p->type == HSM_KEY_RSA && p->bits == 3072 && p->n_len == 384 && p->e_len == 3 &&
              p->n[0] >= 0x80);
    p = hsm_key_public(ec);
    CU_ASSERT(p->type == HSM_KEY_EC && p->bits == 521 && p->point_len == 133 && p->point[0] == 4);
    CU_ASSERT_STRING_EQUAL(p->group, "secp521r1");
    CU_ASSERT_EQUAL(hsm_output_len(ec, HSM_ECDSA), 132);
    p = hsm_key_public(bare);
    CU_ASSERT_STRING_EQUAL(p->group, "prime256v1");
    CU_ASSERT_STRING_EQUAL(hsm_key_label(bare), "bare");
    CU_ASSERT(hsm_key_is_private(bare));
    hsm_key_free(rsa);
    hsm_key_free(ec);
    hsm_key_free(bare);
    hsm_free(h);
}

static void uri_of_a_key_finds_that_key(void)
{
    hsm *h = fixture_hsm();
    hsm_key *key = find_key(h, "p256"), *again = NULL;
    hsm_error err = {0};
    CU_ASSERT_EQUAL(find_one(h, hsm_key_uri(key), &again, &err), HSM_OK);
    CU_ASSERT_STRING_EQUAL(hsm_key_uri(key), hsm_key_uri(again));
    CU_ASSERT_PTR_NULL(strstr(hsm_key_uri(key), "pin"));
    CU_ASSERT(memcmp(hsm_key_public(key)->point, hsm_key_public(again)->point, 65) == 0);
    hsm_key_free(key);
    hsm_key_free(again);
    hsm_free(h);
}

static void key_outlives_its_hsm(void)
{
    hsm *h = fixture_hsm();
    hsm_key *key = find_key(h, "p256");
    hsm_free(h);
    CU_ASSERT(sign_and_verify(key, HSM_ECDSA, HSM_SHA256, NULL));
    hsm_key_free(key);
}

static void what_is_missing_is_said(void)
{
    char missing[200];
    hsm *h = fixture_hsm();
    expect_failure(find(h, "pkcs11:token=mail;object=nothing", HSM_CLASS_PRIVATE), HSM_E_NO_OBJECT,
                   "token 'mail': no private key fits 'pkcs11:token=mail;object=nothing'");
    expect_failure(find(h, "pkcs11:token=mail;type=cert", HSM_CLASS_PRIVATE), HSM_E_NO_OBJECT,
                   "names a certificate");
    expect_failure(find(h, "pkcs11:token=post;object=p256", HSM_CLASS_ANY), HSM_E_NO_TOKEN,
                   "no token fits 'pkcs11:token=post;object=p256'");
    expect_failure(find(h, "pkcs11:token=post", HSM_CLASS_ANY), HSM_E_NO_TOKEN, "has 'mail' (serial");
    expect_failure(find(h, "pkcs11:token=mail;slot-id=99", HSM_CLASS_ANY), HSM_E_NO_TOKEN, "slot-id=99");
    expect_failure(find(h, "pkcs11:token=mail?module-path=/nowhere.so", HSM_CLASS_ANY), HSM_E_SETTINGS,
                   "/nowhere.so");
    expect_failure(find(h, "pkcs11:token=mail?module-name=other", HSM_CLASS_ANY), HSM_E_SETTINGS, "'other'");
    expect_failure(find(h, "pkcs11:library-description=Other", HSM_CLASS_ANY), HSM_E_NO_TOKEN,
                   "not the library");
    expect_failure(find(h, "pkcs11:library-version=1.2", HSM_CLASS_ANY), HSM_E_NO_TOKEN, "2.6");
    (void)snprintf(missing, sizeof(missing),
                   "pkcs11:token=mail;object=p256;library-version=2.6?module-path=%s", fixture_module());
    CU_ASSERT_EQUAL(find(h, missing, HSM_CLASS_ANY).status, HSM_OK);
    CU_ASSERT_EQUAL(find(h, "pkcs11:token=mail;object=p256?module-name=sealane-count", HSM_CLASS_ANY).status,
                    HSM_OK);
    hsm_free(h);
}

static void module_that_is_none_is_named(void)
{
    static const struct {
        const char *path, *says;
    } cases[] = {
        {"/nowhere/libnone.so", "'/nowhere/libnone.so' cannot be loaded: /nowhere/libnone.so: cannot open"},
        {"/etc/passwd", "'/etc/passwd' cannot be loaded: /etc/passwd: "},
        {"libm.so.6", "'libm.so.6' is no PKCS#11 module: it has no C_GetFunctionList"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        hsm *h = NULL;
        hsm_error err = {0};
        CU_ASSERT_EQUAL(hsm_new(&h, &(hsm_settings){.module_path = cases[i].path}, &err), HSM_OK);
        expect_failure(find(h, "pkcs11:token=mail", HSM_CLASS_ANY), HSM_E_MODULE, cases[i].says);
        hsm_free(h);
    }
    hsm *none = NULL;
    hsm_error err = {0};
    CU_ASSERT_EQUAL(hsm_new(&none, &(hsm_settings){0}, &err), HSM_E_SETTINGS);
    CU_ASSERT_PTR_NULL(none);
    CU_ASSERT_PTR_NOT_NULL(strstr(err.text, "module"));
}

/* The last test of the program: it adds tokens. */
static void several_tokens_are_told_apart(void)
{
    fixture_add_token("twin", "left");
    fixture_add_token("twin", "right");
    hsm *h = fixture_hsm();
    struct result r = find(h, "pkcs11:token=twin;object=left", HSM_CLASS_PRIVATE);
    expect_failure(r, HSM_E_AMBIGUOUS, "2 tokens fit the URI: 'twin' (serial");
    CU_ASSERT_EQUAL(counted->logins, 0);
    r = find(h, "pkcs11:token=twin;object=left", HSM_CLASS_PUBLIC);
    CU_ASSERT(r.status == HSM_OK && r.public == 1);
    CU_ASSERT_EQUAL(counted->logins, 0);
    /* Its URI names the serial number, and so one token: that may be logged in to. */
    *strstr(r.uri, ";type=public") = '\0';
    r = find(h, r.uri, HSM_CLASS_PRIVATE);
    CU_ASSERT(r.status == HSM_OK && r.private == 1 && strcmp(r.label, "left") == 0);
    CU_ASSERT_EQUAL(counted->logins, 1);
    r = find(h, "pkcs11:token=mail;object=p256", HSM_CLASS_PRIVATE);
    CU_ASSERT(r.status == HSM_OK && r.private == 1);
    CU_ASSERT_EQUAL(counted->logins, 2);
    r = find(h, "pkcs11:object=p256", HSM_CLASS_PRIVATE);
    CU_ASSERT(r.status == HSM_OK && r.private == 1);
    hsm_free(h);
}

static const CU_TestInfo tests[] = {
    {"keys are found by id, label and type", keys_are_found_by_id_label_and_type},
    {"all usable objects of a token are found", all_usable_objects_of_a_token_are_found},
    {"public objects are found without a PIN", public_objects_are_found_without_a_pin},
    {"public parts are told", public_parts_are_told},
    {"the URI of a key finds that key", uri_of_a_key_finds_that_key},
    {"a key outlives its hsm", key_outlives_its_hsm},
    {"what is missing is said", what_is_missing_is_said},
    {"a module that is none is named", module_that_is_none_is_named},
    {"several tokens are told apart", several_tokens_are_told_apart},
    CU_TEST_INFO_NULL,
};

int main(void)
{
    fixture_start();
    return run_suite("hsm: finding", tests);
}
