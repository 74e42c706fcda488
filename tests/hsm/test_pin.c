/* SPDX-License-Identifier: Apache-2.0 */
/* PINs: where they come from, and that a token never sees a wrong one twice. */
#include "fixture.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define KEY "pkcs11:token=mail;object=p256"

/* Finds the key with this PIN setting and, appended to its URI, this query. */
static hsm_status find_with(const char *setting, const char *query, hsm_error *err)
{
    char uri[512];
    hsm_key *key = NULL;
    hsm *h = fixture_hsm_with(&(hsm_settings){.pin = setting});
    (void)snprintf(uri, sizeof(uri), "%s%s", KEY, query);
    *err = (hsm_error){0};
    hsm_status status = find_one(h, uri, &key, err);
    hsm_key_free(key);
    hsm_free(h);
    return status;
}

static const char *pin_file(const char *content)
{
    static char path[128];
    (void)snprintf(path, sizeof(path), "%s/pin", fixture_dir());
    FILE *f = fopen(path, "w");
    CU_ASSERT_PTR_NOT_NULL_FATAL(f);
    fputs(content, f);
    fclose(f);
    return path;
}

static void pin_is_read_from_where_it_is(void)
{
    char text[256];
    hsm_error err;
    CU_ASSERT_EQUAL(find_with(FIXTURE_PIN, "", &err), HSM_OK);
    CU_ASSERT_EQUAL(find_with(NULL, "?pin-value=" FIXTURE_PIN, &err), HSM_OK);
    static const char *const contents[] = {FIXTURE_PIN, FIXTURE_PIN "\n", FIXTURE_PIN "\r\n",
                                           FIXTURE_PIN "\nmore\n"};
    for (size_t i = 0; i < 4; i++) {
        const char *path = pin_file(contents[i]);
        (void)snprintf(text, sizeof(text), "file:%s", path);
        CU_ASSERT_EQUAL(find_with(text, "", &err), HSM_OK);
        (void)snprintf(text, sizeof(text), "?pin-source=file:%s", path);
        CU_ASSERT_EQUAL(find_with(NULL, text, &err), HSM_OK);
        (void)snprintf(text, sizeof(text), "?pin-source=file://%s", path);
        CU_ASSERT_EQUAL(find_with(NULL, text, &err), HSM_OK);
        (void)snprintf(text, sizeof(text), "?pin-source=%s", path);
        CU_ASSERT_EQUAL(find_with(NULL, text, &err), HSM_OK);
    }
}

/* systemd hands a service its credentials as files in a directory of its own. */
static void pin_is_read_from_credentials(void)
{
    char directory[160], path[200];
    hsm_error err;
    CU_ASSERT_EQUAL(find_with("credential:hsm-pin", "", &err), HSM_E_SETTINGS);
    CU_ASSERT_PTR_NOT_NULL(strstr(err.text, "CREDENTIALS_DIRECTORY is not set"));
    (void)snprintf(directory, sizeof(directory), "%s/credentials", fixture_dir());
    (void)snprintf(path, sizeof(path), "%s/hsm-pin", directory);
    CU_ASSERT_EQUAL_FATAL(mkdir(directory, 0700), 0);
    FILE *f = fopen(path, "w");
    CU_ASSERT_PTR_NOT_NULL_FATAL(f);
    fprintf(f, "%s\n", FIXTURE_PIN);
    CU_ASSERT_EQUAL(fclose(f), 0);
    CU_ASSERT_EQUAL(setenv("CREDENTIALS_DIRECTORY", directory, 1), 0);
    CU_ASSERT_EQUAL(find_with("credential:hsm-pin", "", &err), HSM_OK);
    CU_ASSERT_EQUAL(find_with(NULL, "?pin-source=credential:hsm-pin", &err), HSM_OK);
    CU_ASSERT_EQUAL(find_with("credential:other", "", &err), HSM_E_SETTINGS);
    static const char *const wrong[] = {"credential:", "credential:../pin", "credential:..",
                                        "credential:/etc/pin"};
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        CU_ASSERT_EQUAL(find_with(wrong[i], "", &err), HSM_E_SETTINGS);
        CU_ASSERT_PTR_NOT_NULL(strstr(err.text, "is no name of a credential"));
    }
    CU_ASSERT_EQUAL(unsetenv("CREDENTIALS_DIRECTORY"), 0);
}

static void bad_pin_sources_are_named(void)
{
    char text[256], says[256];
    hsm_error err;
    uint64_t logins = counted->logins;
    CU_ASSERT_EQUAL(find_with("file:/nowhere/pin", "", &err), HSM_E_SETTINGS);
    CU_ASSERT_STRING_EQUAL(err.text, "PIN file '/nowhere/pin': cannot be opened: No such file or directory");
    CU_ASSERT_EQUAL(find_with(NULL, "?pin-source=/tmp", &err), HSM_E_SETTINGS);
    CU_ASSERT_STRING_EQUAL(err.text, "PIN file '/tmp': cannot be read: Is a directory");
    CU_ASSERT_EQUAL(find_with(NULL, "?pin-source=%7Ccat", &err), HSM_E_SETTINGS);
    CU_ASSERT_PTR_NOT_NULL(strstr(err.text, "pin-source of the URI: running a command"));
    CU_ASSERT_EQUAL(find_with(NULL, "?pin-source=file://other/pin", &err), HSM_E_SETTINGS);
    CU_ASSERT_PTR_NOT_NULL(strstr(err.text, "no file of this machine"));
    static const char *const empty[] = {"", "\n", "\r\n", "\nsecret\n"};
    for (size_t i = 0; i < 4; i++) {
        const char *path = pin_file(empty[i]);
        (void)snprintf(text, sizeof(text), "file:%s", path);
        (void)snprintf(says, sizeof(says), "PIN file '%s': its first line is empty", path);
        CU_ASSERT_EQUAL(find_with(text, "", &err), HSM_E_SETTINGS);
        CU_ASSERT_STRING_EQUAL(err.text, says);
    }
    char *huge = malloc(5000);
    memset(huge, 'x', 4999);
    huge[4999] = '\0';
    (void)snprintf(text, sizeof(text), "file:%s", pin_file(huge));
    free(huge);
    CU_ASSERT_EQUAL(find_with(text, "", &err), HSM_E_SETTINGS);
    CU_ASSERT_PTR_NOT_NULL(strstr(err.text, "longer than any PIN"));
    hsm *h = NULL;
    CU_ASSERT_EQUAL(hsm_new(&h, &(hsm_settings){.module_path = "x", .pin = ""}, &err), HSM_E_SETTINGS);
    CU_ASSERT_PTR_NOT_NULL(strstr(err.text, "the PIN is empty"));
    CU_ASSERT_EQUAL(counted->logins, logins);
}

struct asked {
    int times;
    const char *answer;
    char label[64];
    pthread_t by;
};

static bool ask(void *arg, const char *label, char *pin, size_t size, size_t *len)
{
    struct asked *a = arg;
    a->times++;
    a->by = pthread_self();
    (void)snprintf(a->label, sizeof(a->label), "%s", label);
    if (!a->answer || strlen(a->answer) > size)
        return false;
    *len = strlen(a->answer);
    memcpy(pin, a->answer, *len);
    return true;
}

static hsm_status find_asking(hsm *h, struct asked *asked, hsm_error *err)
{
    hsm_uri uri;
    hsm_object *list = NULL;
    size_t count = 0;
    CU_ASSERT_EQUAL(hsm_uri_parse(&uri, KEY, NULL), HSM_OK);
    hsm_status status = hsm_find(h, &uri, HSM_CLASS_PRIVATE, ask, asked, &list, &count, err);
    hsm_objects_free(list, count);
    hsm_uri_clear(&uri);
    return status;
}

static void caller_is_asked_once_for_the_token(void)
{
    hsm *h = fixture_hsm_with(&(hsm_settings){0});
    struct asked asked = {.answer = NULL};
    hsm_error err = {0};
    CU_ASSERT_EQUAL(find_asking(h, &asked, &err), HSM_E_PIN_NEEDED);
    CU_ASSERT_EQUAL(asked.times, 1);
    CU_ASSERT_STRING_EQUAL(asked.label, "mail");
    CU_ASSERT(pthread_equal(asked.by, pthread_self()));
    asked.answer = FIXTURE_PIN;
    CU_ASSERT_EQUAL(find_asking(h, &asked, &err), HSM_OK);
    CU_ASSERT_EQUAL(find_asking(h, &asked, &err), HSM_OK);
    CU_ASSERT_EQUAL(asked.times, 2); /* not again once it is known */
    hsm_free(h);
}

/* ---- Wrong ones ---- */

static void wrong_pin_is_shown_to_the_token_once(void)
{
    uint64_t logins = counted->logins;
    hsm_error err;
    for (int i = 0; i < 5; i++) { /* each with an hsm of its own */
        CU_ASSERT_EQUAL(find_with("wrong-secret", "", &err), HSM_E_PIN);
        CU_ASSERT_PTR_NOT_NULL(strstr(err.text, "token 'mail'"));
        CU_ASSERT_PTR_NULL(strstr(err.text, "secret"));
    }
    hsm *h = fixture_hsm_with(&(hsm_settings){.pin = "wrong-secret"});
    for (int i = 0; i < 5; i++) { /* and all with one */
        hsm_key *key = NULL;
        CU_ASSERT_EQUAL(find_one(h, KEY, &key, &err), HSM_E_PIN);
    }
    hsm_free(h);
    CU_ASSERT_EQUAL(counted->logins, logins + 1);
    CU_ASSERT_EQUAL(find_with(FIXTURE_PIN, "", &err), HSM_OK); /* the right one still counts */
    CU_ASSERT_EQUAL(counted->logins, logins + 2);
}

static void *find_wrong_main(void *arg)
{
    hsm_error err = {0};
    hsm_key *key = NULL;
    hsm_status status = find_one(arg, KEY, &key, &err);
    return status == HSM_E_PIN ? NULL : arg;
}

static void wrong_pin_of_many_threads_is_shown_once(void)
{
    pthread_t threads[8];
    uint64_t logins = counted->logins;
    hsm *h = fixture_hsm_with(&(hsm_settings){.pin = "another-wrong"});
    for (int i = 0; i < 8; i++)
        pthread_create(&threads[i], NULL, find_wrong_main, h);
    for (int i = 0; i < 8; i++) {
        void *bad = NULL;
        pthread_join(threads[i], &bad);
        CU_ASSERT_PTR_NULL(bad);
    }
    CU_ASSERT_EQUAL(counted->logins, logins + 1);
    hsm_free(h);
}

static void last_try_is_left_to_the_owner(void)
{
    static const struct {
        uint64_t flags;
        const char *says;
    } cases[] = {{CKF_USER_PIN_FINAL_TRY, "would lock it"}, {CKF_USER_PIN_LOCKED, "is locked"}};
    uint64_t logins = counted->logins;
    hsm_error err;
    for (size_t i = 0; i < 2; i++) {
        counted->token_flags = cases[i].flags;
        CU_ASSERT_EQUAL(find_with(FIXTURE_PIN, "", &err), HSM_E_PIN);
        CU_ASSERT_PTR_NOT_NULL(strstr(err.text, cases[i].says));
        counted->token_flags = 0;
    }
    CU_ASSERT_EQUAL(counted->logins, logins);
    CU_ASSERT_EQUAL(find_with(FIXTURE_PIN, "", &err), HSM_OK);
}

/* PIN and token part ways: what was logged in must not hammer the token with the old PIN. */
static void pin_that_was_changed_is_tried_once_more_and_then_dropped(void)
{
    static CK_UTF8CHAR old[] = FIXTURE_PIN, other[] = "new-pin-1";
    hsm *h = fixture_hsm();
    hsm_key *key = find_key(h, "p256");
    hsm_error err = {0};
    CK_FUNCTION_LIST *f = fixture_functions();
    CK_SLOT_ID slot = fixture_slot(FIXTURE_TOKEN);
    CK_SESSION_HANDLE session = 0;
    CU_ASSERT_EQUAL(f->C_OpenSession(slot, CKF_SERIAL_SESSION | CKF_RW_SESSION, NULL, NULL, &session),
                    CKR_OK);
    CU_ASSERT_EQUAL(f->C_SetPIN(session, old, sizeof(old) - 1, other, sizeof(other) - 1), CKR_OK);
    CU_ASSERT_EQUAL(f->C_CloseAllSessions(slot), CKR_OK);
    uint64_t logins = counted->logins;
    for (int i = 0; i < 5; i++) {
        hsm_status status = sign_any(key, &err);
        if (status != HSM_E_PIN)
            fprintf(stderr, "%d: %s\n", status, err.text);
        CU_ASSERT_EQUAL(status, HSM_E_PIN);
    }
    CU_ASSERT_EQUAL(counted->logins, logins + 1);
    /* A find with the new PIN brings the key back to life. */
    hsm_key *again = NULL;
    CU_ASSERT_EQUAL(find_one(h, KEY "?pin-value=new-pin-1", &again, &err), HSM_OK);
    CU_ASSERT_EQUAL(sign_any(key, &err), HSM_OK);
    hsm_key_free(again);
    hsm_key_free(key);
    hsm_free(h);
}

static const CU_TestInfo tests[] = {
    {"a PIN is read from where it is", pin_is_read_from_where_it_is},
    {"a PIN is read from credentials", pin_is_read_from_credentials},
    {"bad PIN sources are named", bad_pin_sources_are_named},
    {"the caller is asked once for the token", caller_is_asked_once_for_the_token},
    {"a wrong PIN is shown to the token once", wrong_pin_is_shown_to_the_token_once},
    {"a wrong PIN of many threads is shown once", wrong_pin_of_many_threads_is_shown_once},
    {"the last try is left to the owner", last_try_is_left_to_the_owner},
    {"a changed PIN is tried once more and then dropped",
     pin_that_was_changed_is_tried_once_more_and_then_dropped},
    CU_TEST_INFO_NULL,
};

int main(void)
{
    fixture_start();
    return run_suite("hsm: PINs", tests);
}
