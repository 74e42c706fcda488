/* SPDX-License-Identifier: Apache-2.0 */
/* URIs (RFC 7512): what is read, what is refused and how, and that writing gives back what was read. */
#include <CUnit/CUnit.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fixture.h"

static const char whole[] = "pkcs11:token=The%20Token;manufacturer=Snake%20Oil;model=1.0;serial=12345;"
                            "library-manufacturer=Lib;library-description=Desc;library-version=2.6;"
                            "slot-manufacturer=SM;slot-description=SD;slot-id=4711;"
                            "id=%01%00%ff;object=my%2dkey;type=private"
                            "?pin-source=file:/etc/pin&module-name=softhsm2&module-path=/usr/lib/x.so";

static void every_attribute_is_read(void)
{
    hsm_uri u;
    hsm_error err = {0};
    CU_ASSERT_EQUAL_FATAL(hsm_uri_parse(&u, whole, &err), HSM_OK);
    CU_ASSERT_STRING_EQUAL(u.token, "The Token");
    CU_ASSERT_STRING_EQUAL(u.manufacturer, "Snake Oil");
    CU_ASSERT_STRING_EQUAL(u.model, "1.0");
    CU_ASSERT_STRING_EQUAL(u.serial, "12345");
    CU_ASSERT_STRING_EQUAL(u.library_manufacturer, "Lib");
    CU_ASSERT_STRING_EQUAL(u.library_description, "Desc");
    CU_ASSERT_STRING_EQUAL(u.library_version, "2.6");
    CU_ASSERT_STRING_EQUAL(u.slot_manufacturer, "SM");
    CU_ASSERT_STRING_EQUAL(u.slot_description, "SD");
    CU_ASSERT_TRUE(u.has_slot_id);
    CU_ASSERT_EQUAL(u.slot_id, 4711);
    CU_ASSERT_EQUAL_FATAL(u.id_len, 3);
    CU_ASSERT_EQUAL(memcmp(u.id, "\x01\x00\xff", 3), 0);
    CU_ASSERT_STRING_EQUAL(u.object, "my-key");
    CU_ASSERT_EQUAL(u.type, HSM_CLASS_PRIVATE);
    CU_ASSERT_STRING_EQUAL(u.pin_source, "file:/etc/pin");
    CU_ASSERT_STRING_EQUAL(u.module_name, "softhsm2");
    CU_ASSERT_STRING_EQUAL(u.module_path, "/usr/lib/x.so");
    CU_ASSERT_PTR_NULL(u.pin_value);
    hsm_uri_clear(&u);
    CU_ASSERT_PTR_NULL(u.token);
    CU_ASSERT_PTR_NULL(u.id);
}

static void uris_people_write_are_read(void)
{
    static const char *const good[] = {
        "pkcs11:",
        "PKCS11:token=a",
        "pkcs11:object=My Key",
        "pkcs11:object=a=b&c",
        "pkcs11:object=%E2%82%AC",
        "pkcs11:token=a;x-vendor=b;x-vendor=c?x-more=d",
        "pkcs11:?module-path=/a?b/c",
        "pkcs11:?pin-value=%26%3B",
        "pkcs11:library-version=3",
        "pkcs11:object=",
    };
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        hsm_uri u;
        hsm_error err = {0};
        if (hsm_uri_parse(&u, good[i], &err) != HSM_OK) {
            fprintf(stderr, "%s: %s\n", good[i], err.text);
            CU_FAIL("a good URI is refused");
        }
        hsm_uri_clear(&u);
    }
}

static void bad_uris_are_refused_by_name(void)
{
    static const struct {
        const char *uri, *says;
    } bad[] = {
        {"", "does not begin with 'pkcs11:'"},
        {"file:/etc/key.pem", "does not begin with 'pkcs11:'"},
        {"pkcs11:tokn=a", "unknown attribute 'tokn'"},
        {"pkcs11:Token=a", "unknown attribute 'Token'"},
        {"pkcs11:token=a;token=b", "'token' is there twice"},
        {"pkcs11:id=%01;object=a;id=%01", "'id' is there twice"},
        {"pkcs11:token", "not of the form name=value"},
        {"pkcs11:=a", "not of the form name=value"},
        {"pkcs11:token=a;;object=b", "not of the form name=value"},
        {"pkcs11:token=a;", "it ends with ';'"},
        {"pkcs11:token=a?pin-value=1&", "it ends with '&'"},
        {"pkcs11:token=a%", "'token': a '%' must be followed"},
        {"pkcs11:token=a%4", "'token': a '%' must be followed"},
        {"pkcs11:token=a%4g", "'token': a '%' must be followed"},
        {"pkcs11:token=a%00b", "'token' contains a zero byte"},
        {"pkcs11:object=a\nb", "'object': character 0x0a"},
        {"pkcs11:object=a#b", "'object': character 0x23"},
        {"pkcs11:id=", "'id' is empty"},
        {"pkcs11:slot-id=", "'slot-id' must be a decimal number"},
        {"pkcs11:slot-id=0x1", "'slot-id' must be a decimal number"},
        {"pkcs11:slot-id=-1", "'slot-id' must be a decimal number"},
        {"pkcs11:slot-id=99999999999999999999999", "'slot-id' must be a decimal number"},
        {"pkcs11:type=secret-key", "'type' must be"},
        {"pkcs11:type=Private", "'type' must be"},
        {"pkcs11:library-version=a", "'library-version' must look like"},
        {"pkcs11:library-version=1.", "'library-version' must look like"},
        {"pkcs11:library-version=.1", "'library-version' must look like"},
        {"pkcs11:pin-value=1", "'pin-value' belongs behind"},
        {"pkcs11:?token=a", "'token' belongs before"},
        {"pkcs11:?pin-value=", "'pin-value' is empty"},
        {"pkcs11:?pin-value=1&pin-source=/a", "exclude each other"},
        {"pkcs11:?pin-value=1&pin-value=2", "'pin-value' is there twice"},
    };
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        hsm_uri u;
        hsm_error err = {0};
        hsm_status status = hsm_uri_parse(&u, bad[i].uri, &err);
        if (status != HSM_E_URI || !strstr(err.text, bad[i].says)) {
            fprintf(stderr, "'%s': status %d, '%s' instead of '%s'\n", bad[i].uri, status, err.text,
                    bad[i].says);
            CU_FAIL("a bad URI is not refused as it should be");
        }
        CU_ASSERT_PTR_NULL(u.token);
        CU_ASSERT_PTR_NULL(u.id);
        hsm_uri_clear(&u);
    }
}

static void what_is_written_reads_as_the_same(void)
{
    hsm_uri a, b;
    CU_ASSERT_EQUAL_FATAL(hsm_uri_parse(&a, whole, NULL), HSM_OK);
    char *first = hsm_uri_text(&a);
    CU_ASSERT_PTR_NOT_NULL_FATAL(first);
    CU_ASSERT_EQUAL_FATAL(hsm_uri_parse(&b, first, NULL), HSM_OK);
    char *second = hsm_uri_text(&b);
    CU_ASSERT_STRING_EQUAL(first, second);
    CU_ASSERT_PTR_NOT_NULL(strstr(first, "token=The%20Token;"));
    CU_ASSERT_PTR_NOT_NULL(strstr(first, "id=%01%00%FF;object=my-key;type=private?"));
    free(first);
    free(second);
    hsm_uri_clear(&a);
    hsm_uri_clear(&b);
}

static void pin_is_never_written(void)
{
    hsm_uri u;
    hsm_error err = {0};
    CU_ASSERT_EQUAL_FATAL(hsm_uri_parse(&u, "pkcs11:token=a?pin-value=topsecret&module-name=b", NULL),
                          HSM_OK);
    CU_ASSERT_STRING_EQUAL(u.pin_value, "topsecret");
    char *text = hsm_uri_text(&u);
    CU_ASSERT_STRING_EQUAL(text, "pkcs11:token=a?module-name=b");
    free(text);
    hsm_uri_clear(&u);
    CU_ASSERT_EQUAL(hsm_uri_parse(&u, "pkcs11:?pin-value=topsecret%0&module-name=b", &err), HSM_E_URI);
    CU_ASSERT_PTR_NULL(strstr(err.text, "secret"));
}

static const CU_TestInfo tests[] = {
    {"every attribute is read", every_attribute_is_read},
    {"URIs that people write are read", uris_people_write_are_read},
    {"bad URIs are refused by name", bad_uris_are_refused_by_name},
    {"what is written reads as the same", what_is_written_reads_as_the_same},
    {"a PIN is never written", pin_is_never_written},
    CU_TEST_INFO_NULL,
};

int main(void)
{
    return run_suite("hsm: URIs", tests);
}
