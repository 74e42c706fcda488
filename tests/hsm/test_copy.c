/* SPDX-License-Identifier: Apache-2.0 */
/* Copies of keys in sessions: only where they are wanted, no weaker than the key, and gone with it. */
#include "fixture.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static hsm *h;
static hsm_key *key;
static uint64_t copied, destroyed; /* calls before the start */
/* One session everywhere: each makes its own copy. */

static void start_with(hsm_modules copies, const char *label)
{
    h = fixture_hsm_with(
        &(hsm_settings){.pin = FIXTURE_PIN, .timeout_ms = 120000, .key_copies = copies, .sessions = 1});
    key = find_key(h, label);
    copied = fault->calls[FAULT_CopyObject];
    destroyed = fault->calls[FAULT_DestroyObject];
}

static void end(void)
{
    hsm_key_free(key);
    hsm_free(h);
}

static void sign_times(int times)
{
    hsm_error err = {0};
    for (int i = 0; i < times; i++) {
        CU_ASSERT_EQUAL(sign_any(key, &err), HSM_OK);
        if (err.status != HSM_OK)
            fprintf(stderr, "%s\n", err.text);
    }
}

static uint64_t copies_made(void)
{
    return fault->calls[FAULT_CopyObject] - copied;
}

static void one_copy_serves_all_uses(void)
{
    start_with(HSM_ALL, "p256");
    CU_ASSERT(sign_and_verify(key, HSM_ECDSA, HSM_SHA256, NULL));
    sign_times(50);
    CU_ASSERT_EQUAL(copies_made(), 1);
    end();
    start_with(HSM_ALL, "rsa");
    CU_ASSERT(sign_and_verify(key, HSM_RSA_PSS, HSM_SHA256, NULL));
    CU_ASSERT(sign_and_verify(key, HSM_RSA_PKCS1, HSM_SHA256, NULL));
    hsm_key_free(key); /* opened again, it is still the same */
    key = find_key(h, "rsa");
    sign_times(5);
    CU_ASSERT_EQUAL(copies_made(), 1);
    end();
}

static void there_is_none_where_none_is_wanted(void)
{
    start_with(HSM_NONE, "p256");
    sign_times(5);
    CU_ASSERT_EQUAL(copies_made(), 0);
    end();
    start_with(HSM_NEAR, "p256"); /* a module in front of a near one is none */
    sign_times(5);
    CU_ASSERT_EQUAL(copies_made(), 0);
    end();
    start_with(HSM_ALL, "always"); /* wants the PIN for each use of itself */
    sign_times(5);
    CU_ASSERT_EQUAL(copies_made(), 0);
    end();
}

/* As the token sees the objects of the session. */
static void expect_flag(CK_ATTRIBUTE_TYPE type, CK_BBOOL value)
{
    CK_FUNCTION_LIST *f = fixture_functions();
    CK_SESSION_HANDLE session = 0;
    CK_OBJECT_HANDLE object = 0;
    CK_BBOOL no = CK_FALSE, flag = 2;
    CK_OBJECT_CLASS class = CKO_PRIVATE_KEY;
    CK_ATTRIBUTE wanted[] = {{CKA_TOKEN, &no, 1}, {CKA_CLASS, &class, sizeof(class)}};
    CK_ATTRIBUTE a = {type, &flag, 1};
    CK_ULONG n = 0;
    CU_ASSERT_EQUAL(f->C_OpenSession(fixture_slot(FIXTURE_TOKEN), CKF_SERIAL_SESSION, NULL, NULL, &session),
                    CKR_OK);
    CU_ASSERT_EQUAL(f->C_FindObjectsInit(session, wanted, 2), CKR_OK);
    CU_ASSERT_EQUAL(f->C_FindObjects(session, &object, 1, &n), CKR_OK);
    CU_ASSERT_EQUAL(f->C_FindObjectsFinal(session), CKR_OK);
    CU_ASSERT_EQUAL_FATAL(n, 1);
    CU_ASSERT_EQUAL(f->C_GetAttributeValue(session, object, &a, 1), CKR_OK);
    CU_ASSERT_EQUAL(flag, value);
    CU_ASSERT_EQUAL(f->C_CloseSession(session), CKR_OK);
}

static void a_copy_is_as_secret_as_the_key(void)
{
    start_with(HSM_ALL, "p256");
    sign_times(1);
    expect_flag(CKA_PRIVATE, CK_TRUE);
    expect_flag(CKA_SENSITIVE, CK_TRUE);
    expect_flag(CKA_EXTRACTABLE, CK_FALSE);
    end();
}

static void a_weaker_copy_is_not_used(void)
{
    fault->weak_copies = 1;
    start_with(HSM_ALL, "p256");
    sign_times(5);
    CU_ASSERT_EQUAL(copies_made(), 1); /* tried once */
    CU_ASSERT_EQUAL(fault->calls[FAULT_DestroyObject] - destroyed, 1);
    fault->weak_copies = 0;
    end();
}

static void a_token_that_does_not_copy_signs(void)
{
    start_with(HSM_ALL, "p256");
    fault->rule[0].function = FAULT_CopyObject;
    fault->rule[0].answer = CKR_FUNCTION_NOT_SUPPORTED;
    fault->rule[0].times = FAULT_EVER;
    sign_times(5);
    CU_ASSERT_EQUAL(copies_made(), 1);
    fault->rule[0].times = 0;
    end();
}

static size_t private_keys(void)
{
    hsm_uri uri;
    hsm_object *list = NULL;
    size_t count = 0;
    CU_ASSERT_EQUAL(hsm_uri_parse(&uri, "pkcs11:token=mail;type=private", NULL), HSM_OK);
    CU_ASSERT_EQUAL(hsm_find(h, &uri, HSM_CLASS_PRIVATE, NULL, NULL, &list, &count, NULL), HSM_OK);
    hsm_objects_free(list, count);
    hsm_uri_clear(&uri);
    return count;
}

static void copies_are_no_objects_of_the_token(void)
{
    start_with(HSM_ALL, "rsa");
    size_t before = private_keys();
    sign_times(1);
    CU_ASSERT_EQUAL(copies_made(), 1);
    CU_ASSERT_EQUAL(private_keys(), before);
    end();
}

static void a_lost_copy_is_made_again(void)
{
    hsm_counters c;
    start_with(HSM_ALL, "p256");
    sign_times(2);
    for (uint64_t i = 1; i <= 4; i++) {
        fault->drop_sessions = 1;
        sign_times(3);
        CU_ASSERT_EQUAL(copies_made(), 2 * i);
        atomic_fetch_add(&fault->stale_objects, 1);
        sign_times(3);
        CU_ASSERT_EQUAL(copies_made(), 2 * i + 1);
    }
    hsm_counters_read(h, &c);
    CU_ASSERT_EQUAL(c.failures, 0);
    end();
}

/* In a process of its own, with a module that it initialises itself. */
static int destroy_main(void *arg)
{
    const char *label = arg;
    CK_FUNCTION_LIST *f = fixture_functions();
    CK_SESSION_HANDLE session = 0;
    CK_OBJECT_HANDLE object = 0;
    CK_ULONG n = 0;
    CK_UTF8CHAR pin[] = FIXTURE_PIN;
    CK_OBJECT_CLASS class = CKO_PRIVATE_KEY;
    CK_ATTRIBUTE wanted[] = {{CKA_CLASS, &class, sizeof(class)},
                             {CKA_LABEL, (void *)(uintptr_t)label, strlen(label)}};
    (void)f->C_Finalize(NULL);
    return f->C_Initialize(NULL) == CKR_OK &&
                   f->C_OpenSession(fixture_slot("spare"), CKF_SERIAL_SESSION | CKF_RW_SESSION, NULL, NULL,
                                    &session) == CKR_OK &&
                   f->C_Login(session, CKU_USER, pin, strlen(FIXTURE_PIN)) == CKR_OK &&
                   f->C_FindObjectsInit(session, wanted, 2) == CKR_OK &&
                   f->C_FindObjects(session, &object, 1, &n) == CKR_OK && n == 1 &&
                   f->C_FindObjectsFinal(session) == CKR_OK && f->C_DestroyObject(session, object) == CKR_OK
               ? 0
               : 1;
}

/* The copy alone would sign for as long as the process lives. */
static void a_destroyed_key_signs_no_more(void)
{
    hsm_error err = {0};
    h = fixture_hsm_with(&(hsm_settings){.pin = FIXTURE_PIN,
                                         .timeout_ms = 120000,
                                         .sessions = 1,
                                         .caller_thread = HSM_ALL,
                                         .key_copies = HSM_ALL});
    CU_ASSERT_EQUAL_FATAL(find_one(h, "pkcs11:token=spare;object=doomed", &key, &err), HSM_OK);
    sign_times(20);
    CU_ASSERT_EQUAL(run_child(destroy_main, "doomed", true), 0);
    destroyed = fault->calls[FAULT_DestroyObject];
    hsm_status status;
    do
        status = sign_any(key, &err);
    while (status == HSM_OK);
    CU_ASSERT_EQUAL(status, HSM_E_NO_OBJECT);
    CU_ASSERT_PTR_NOT_NULL(strstr(err.text, "the key 'doomed' is not there any more"));
    CU_ASSERT_EQUAL(fault->calls[FAULT_DestroyObject] - destroyed, 1); /* the copy */
    uint64_t signs = fault->calls[FAULT_Sign];
    for (int i = 0; i < 5; i++)
        CU_ASSERT_EQUAL(sign_any(key, &err), HSM_E_NO_OBJECT);
    CU_ASSERT_EQUAL(fault->calls[FAULT_Sign], signs);
    end();
}

static const CU_TestInfo tests[] = {
    {"one copy serves all uses", one_copy_serves_all_uses},
    {"there is none where none is wanted", there_is_none_where_none_is_wanted},
    {"a copy is as secret as the key", a_copy_is_as_secret_as_the_key},
    {"a weaker copy is not used", a_weaker_copy_is_not_used},
    {"a token that does not copy signs", a_token_that_does_not_copy_signs},
    {"copies are no objects of the token", copies_are_no_objects_of_the_token},
    {"a lost copy is made again", a_lost_copy_is_made_again},
    {"a destroyed key signs no more", a_destroyed_key_signs_no_more},
    CU_TEST_INFO_NULL,
};

int main(void)
{
    fixture_start();
    fixture_add_token("spare", "doomed");
    return run_suite("hsm: copies of keys in sessions", tests);
}
