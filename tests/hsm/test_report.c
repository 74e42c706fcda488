/* SPDX-License-Identifier: Apache-2.0 */
/* What is told about tokens: the report, and the debug log, which must not tell too much. */
#include "fixture.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* The log's path; the variable is read once per process, so each test of it is a child. */
static char log_path[128];

static void expect_in(const char *text, const char *wanted)
{
    CU_ASSERT_PTR_NOT_NULL(strstr(text, wanted));
    if (!strstr(text, wanted))
        fprintf(stderr, "no '%s' in '%s'\n", wanted, text);
}

static void report_counts_operations_and_errors(void)
{
    hsm *h = fixture_hsm_with(&(hsm_settings){.pin = FIXTURE_PIN, .groups = "all: mail"});
    hsm_key *key = find_key(h, "p256");
    for (int i = 0; i < 7; i++)
        CU_ASSERT_EQUAL(sign_any(key, NULL), HSM_OK);
    counted->sign_answer = CKR_FUNCTION_FAILED;
    CU_ASSERT_EQUAL(sign_any(key, NULL), HSM_E_TOKEN);
    counted->sign_answer = 0x80001234;
    CU_ASSERT_EQUAL(sign_any(key, NULL), HSM_E_TOKEN);
    char *text = hsm_report(h);
    CU_ASSERT_PTR_NOT_NULL_FATAL(text);
    expect_in(text, "{\"label\":\"mail\",\"serial\":\"");
    expect_in(text, "\"state\":\"open\",\"sessions\":");
    expect_in(text, "\"sign\":{\"count\":9,\"failed\":2,\"latency_us\":{\"sum\":");
    expect_in(text, "\"errors\":{\"CKR_FUNCTION_FAILED\":1,\"0x80001234\":1}");
    expect_in(text, "\"groups\":[{\"name\":\"all\",\"members\":[{\"name\":\"mail\",\"keys_refused\":0}]}]}");
    free(text);
    hsm_key_free(key);
    hsm_free(h);
}

static void report_tells_a_token_that_hangs(void)
{
    hsm *h = fixture_hsm_with(&(hsm_settings){.pin = FIXTURE_PIN, .sessions = 1, .timeout_ms = 1500});
    hsm_key *key = find_key(h, "p256");
    counted->hold = 1;
    CU_ASSERT_EQUAL(sign_any(key, NULL), HSM_E_TIMEOUT);
    char *text = hsm_report(h);
    CU_ASSERT_PTR_NOT_NULL_FATAL(text);
    expect_in(text, "\"state\":\"hanging\"");
    expect_in(text, "\"errors\":{\"timeout\":1}");
    free(text);
    counted->hold = 0;
    hsm_key_free(key);
    hsm_free(h);
}

/* ---- The debug log ---- */

static const uint8_t digest[32] = "\x9d\xa7\xf1"
                                  "a digest nobody may read";

static int log_something(void *arg)
{
    (void)arg;
    uint8_t sig[HSM_OUTPUT_MAX];
    size_t len = sizeof(sig);
    hsm_key *key = NULL;
    if (setenv("SEALANE_DEBUG", log_path, 1) != 0)
        return 1;
    hsm *h = fixture_hsm_with(&(hsm_settings){.pin = NULL});
    if (find_one(h, "pkcs11:token=mail;object=p256?pin-value=" FIXTURE_PIN, &key, NULL) != HSM_OK)
        return 2;
    if (hsm_operate(key, &(hsm_mechanism){.scheme = HSM_ECDSA}, digest, 32, sig, &len, NULL) != HSM_OK)
        return 3;
    counted->sign_answer = CKR_DEVICE_REMOVED;
    if (hsm_operate(key, &(hsm_mechanism){.scheme = HSM_ECDSA}, digest, 32, sig, &len, NULL) != HSM_OK)
        return 4;
    char wrong[] = "wrong-9876";
    hsm *other = fixture_hsm_with(&(hsm_settings){.pin = wrong});
    hsm_key *none = NULL;
    (void)find_one(other, "pkcs11:token=mail;object=p256", &none, NULL);
    hsm_key_free(none);
    hsm_free(other);
    hsm_key_free(key);
    hsm_free(h);
    return 0;
}

static char *log_read(size_t *len)
{
    static char text[1 << 20];
    int fd = open(log_path + 5, O_RDONLY | O_CLOEXEC);
    ssize_t got = fd >= 0 ? read(fd, text, sizeof(text) - 1) : 0;
    if (fd >= 0)
        (void)close(fd);
    *len = got > 0 ? (size_t)got : 0;
    text[*len] = '\0';
    return text;
}

static void expect_not_in(const char *text, size_t len, const void *secret, size_t secret_len)
{
    CU_ASSERT_PTR_NULL(memmem(text, len, secret, secret_len));
}

/* Bytes as they are, and as hexadecimal digits in either case. */
static void expect_no_trace(const char *text, size_t len, const uint8_t *secret, size_t secret_len)
{
    char hex[256];
    expect_not_in(text, len, secret, secret_len);
    for (int upper = 0; upper < 2; upper++) {
        for (size_t i = 0; i < secret_len; i++)
            (void)snprintf(hex + 2 * i, 3, upper ? "%02X" : "%02x", secret[i]);
        expect_not_in(text, len, hex, 2 * secret_len);
    }
}

static void debug_log_tells_calls_but_no_secrets(void)
{
    size_t len;
    (void)snprintf(log_path, sizeof(log_path), "file:%s/debug.log", fixture_dir());
    CU_ASSERT_EQUAL(run_child(log_something, NULL, false), 0);
    const char *text = log_read(&len);
    expect_in(text, "token 'mail': C_Login CKR_OK, ");
    expect_in(text, "token 'mail': C_Sign CKR_OK, ");
    expect_in(text, "token 'mail': C_Sign CKR_DEVICE_REMOVED, ");
    expect_in(text, "token 'mail': is lost");
    expect_in(text, "token 'mail': is back");
    expect_no_trace(text, len, (const uint8_t *)FIXTURE_PIN, strlen(FIXTURE_PIN));
    expect_no_trace(text, len, (const uint8_t *)"wrong-9876", 10);
    for (size_t i = 0; i + 4 <= sizeof(digest); i += 4)
        expect_no_trace(text, len, digest + i, 4);
    struct stat st;
    CU_ASSERT_EQUAL(stat(log_path + 5, &st), 0);
    CU_ASSERT_EQUAL(st.st_mode & 07777, 0600);
}

/* A log in a directory where others can make links must not become a way to write to other files. */
static void debug_log_follows_no_link(void)
{
    char target[128];
    struct stat st;
    (void)snprintf(target, sizeof(target), "%s/target", fixture_dir());
    (void)snprintf(log_path, sizeof(log_path), "file:%s/link.log", fixture_dir());
    CU_ASSERT_EQUAL_FATAL(close(open(target, O_WRONLY | O_CREAT | O_CLOEXEC, 0600)), 0);
    CU_ASSERT_EQUAL_FATAL(symlink(target, log_path + 5), 0);
    CU_ASSERT_EQUAL(run_child(log_something, NULL, false), 0); /* and goes on without a log */
    CU_ASSERT_EQUAL(stat(target, &st), 0);
    CU_ASSERT_EQUAL(st.st_size, 0);
    (void)snprintf(log_path, sizeof(log_path), "file:%s/pipe.log", fixture_dir());
    CU_ASSERT_EQUAL_FATAL(mkfifo(log_path + 5, 0600), 0);
    CU_ASSERT_EQUAL(run_child(log_something, NULL, false), 0);
}

/* The log first: this process must not have looked for one before its children do. */
static const CU_TestInfo tests[] = {
    {"the debug log tells calls but no secrets", debug_log_tells_calls_but_no_secrets},
    {"the debug log follows no link", debug_log_follows_no_link},
    {"the report counts operations and errors", report_counts_operations_and_errors},
    {"the report tells a token that hangs", report_tells_a_token_that_hangs},
    CU_TEST_INFO_NULL,
};

int main(void)
{
    fixture_start();
    return run_suite("hsm: what is told", tests);
}
