/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The key half of sealane.so as an application has it: keys of a SoftHSM2 token opened by URI, used by many
 * threads, after a fork, inside ASYNC jobs. Runs under tests/support/with_token, with the counting module
 * between the provider and SoftHSM2, which can hold signatures back (tests/modules/count.h).
 */
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>
#include <openssl/async.h>
#include <openssl/decoder.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/provider.h>
#include <openssl/rsa.h>
#include <openssl/store.h>
#include <openssl/x509.h>
#include <sealane/provider.h>
#include "check.h"
#include "count.h"

#define EC_URI  "pkcs11:token=sealane;object=ec;type=private"
#define RSA_URI "pkcs11:token=sealane;object=rsa;type=private"

static EVP_PKEY *key_open(OSSL_LIB_CTX *lib, const char *uri)
{
    OSSL_STORE_CTX *store = OSSL_STORE_open_ex(uri, lib, NULL, NULL, NULL, NULL, NULL, NULL);
    EVP_PKEY *key = NULL;

    CU_ASSERT_PTR_NOT_NULL_FATAL(store);
    OSSL_STORE_expect(store, OSSL_STORE_INFO_PKEY);
    OSSL_STORE_INFO *info = OSSL_STORE_load(store);
    if (info != NULL)
        key = OSSL_STORE_INFO_get1_PKEY(info);
    else
        ERR_print_errors_fp(stderr);
    OSSL_STORE_INFO_free(info);
    OSSL_STORE_close(store);
    CU_ASSERT_PTR_NOT_NULL_FATAL(key);
    return key;
}

static X509 *certificate_read(const char *name)
{
    char path[512];
    X509 *cert = NULL;

    snprintf(path, sizeof(path), "%s/%s", getenv("SEALANE_TEST_DIR"), name);
    FILE *file = fopen(path, "r");
    if (file != NULL) {
        cert = PEM_read_X509(file, NULL, NULL, NULL);
        fclose(file);
    }
    CU_ASSERT_PTR_NOT_NULL_FATAL(cert);
    return cert;
}

/* Signs `text` and verifies it with a public key that is not ours. */
static bool sign_and_verify(EVP_PKEY *key, EVP_PKEY *public, const char *text)
{
    unsigned char sig[1024];
    size_t len = sizeof(sig);
    EVP_MD_CTX *md = EVP_MD_CTX_new();
    bool ok = EVP_DigestSignInit_ex(md, NULL, "SHA256", NULL, NULL, key, NULL) == 1 &&
              EVP_DigestSign(md, sig, &len, (const unsigned char *)text, strlen(text)) == 1 &&
              EVP_MD_CTX_reset(md) == 1 &&
              EVP_DigestVerifyInit_ex(md, NULL, "SHA256", NULL, NULL, public, NULL) == 1 &&
              EVP_DigestVerify(md, sig, len, (const unsigned char *)text, strlen(text)) == 1;

    EVP_MD_CTX_free(md);
    return ok;
}

/* ---- threads ---- */

typedef struct load {
    pthread_t thread;
    EVP_PKEY *key, *public;
    int rounds, failed;
} load;

static void *load_run(void *arg)
{
    load *l = arg;
    char text[32];

    for (int i = 0; i < l->rounds; i++) {
        snprintf(text, sizeof(text), "%p %d", (void *)l, i);
        l->failed += !sign_and_verify(l->key, l->public, text);
    }
    return NULL;
}

static void threads_sign(const char *uri, const char *cert_name, int threads, int rounds)
{
    EVP_PKEY *key = key_open(NULL, uri);
    X509 *cert = certificate_read(cert_name);
    load loads[64];

    for (int i = 0; i < threads; i++) {
        loads[i] = (load){.key = key, .public = X509_get0_pubkey(cert), .rounds = rounds};
        CU_ASSERT_EQUAL_FATAL(pthread_create(&loads[i].thread, NULL, load_run, &loads[i]), 0);
    }
    for (int i = 0; i < threads; i++) {
        pthread_join(loads[i].thread, NULL);
        CU_ASSERT_EQUAL(loads[i].failed, 0);
    }
    X509_free(cert);
    EVP_PKEY_free(key);
}

#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
enum { MANY = 2500 }; /* each costs many times as much there */
#else
enum { MANY = 10000 };
#endif

static void two_threads_sign_many_times_each(void)
{
    threads_sign(EC_URI, "ec.pem", 2, MANY);
}

static void many_threads_sign(void)
{
    threads_sign(EC_URI, "ec.pem", 40, 50);
    threads_sign(RSA_URI, "rsa.pem", 16, 10);
}

/* ---- comparing ---- */

static void a_key_fits_its_own_certificate_only(void)
{
    EVP_PKEY *ec = key_open(NULL, EC_URI), *rsa = key_open(NULL, RSA_URI);
    X509 *ec_cert = certificate_read("ec.pem"), *rsa_cert = certificate_read("rsa.pem");

    CU_ASSERT_EQUAL(X509_check_private_key(ec_cert, ec), 1);
    CU_ASSERT_EQUAL(X509_check_private_key(rsa_cert, rsa), 1);
    CU_ASSERT_EQUAL(X509_check_private_key(ec_cert, rsa), 0);
    CU_ASSERT_EQUAL(X509_check_private_key(rsa_cert, ec), 0);
    CU_ASSERT_TRUE(EVP_PKEY_is_a(ec, "EC") && EVP_PKEY_is_a(rsa, "RSA"));
    CU_ASSERT_EQUAL(EVP_PKEY_get_bits(rsa), 2048);
    X509_free(ec_cert);
    X509_free(rsa_cert);
    EVP_PKEY_free(ec);
    EVP_PKEY_free(rsa);
}

static void another_key_of_the_same_type_does_not_fit(void)
{
    EVP_PKEY *ec = key_open(NULL, EC_URI), *other = EVP_PKEY_Q_keygen(NULL, NULL, "EC", "P-256");

    CU_ASSERT_EQUAL(EVP_PKEY_eq(ec, other), 0);
    CU_ASSERT_EQUAL(EVP_PKEY_eq(other, ec), 0);
    EVP_PKEY_free(ec);
    EVP_PKEY_free(other);
}

static void the_private_part_is_not_exported(void)
{
    EVP_PKEY *ec = key_open(NULL, EC_URI), *rsa = key_open(NULL, RSA_URI);
    OSSL_PARAM *params = NULL;
    BIGNUM *secret = NULL;

    CU_ASSERT_NOT_EQUAL(EVP_PKEY_todata(ec, EVP_PKEY_KEYPAIR, &params), 1);
    CU_ASSERT_NOT_EQUAL(EVP_PKEY_todata(rsa, EVP_PKEY_KEYPAIR, &params), 1);
    CU_ASSERT_NOT_EQUAL(EVP_PKEY_get_bn_param(ec, "priv", &secret), 1);
    CU_ASSERT_NOT_EQUAL(EVP_PKEY_get_bn_param(rsa, "d", &secret), 1);
    CU_ASSERT_EQUAL(EVP_PKEY_todata(ec, EVP_PKEY_PUBLIC_KEY, &params), 1);
    OSSL_PARAM_free(params);
    EVP_PKEY_free(ec);
    EVP_PKEY_free(rsa);
}

/* ---- fork ---- */

#if !defined(__SANITIZE_THREAD__) /* which cannot follow children that start threads */

static void parent_and_children_sign_after_a_fork(void)
{
    EVP_PKEY *key = key_open(NULL, EC_URI); /* in the master, as nginx does */
    X509 *cert = certificate_read("ec.pem");
    EVP_PKEY *public = X509_get0_pubkey(cert);
    pid_t child[4];

    CU_ASSERT_TRUE(sign_and_verify(key, public, "before"));
    for (int i = 0; i < 4; i++) {
        child[i] = fork();
        if (child[i] == 0) {
            int failed = 0;
            for (int n = 0; n < 100; n++)
                failed += !sign_and_verify(key, public, "in a child");
            if (failed > 0)
                ERR_print_errors_fp(stderr);
            _exit(failed != 0);
        }
    }
    for (int n = 0; n < 100; n++)
        CU_ASSERT_TRUE(sign_and_verify(key, public, "in the parent"));
    for (int i = 0; i < 4; i++) {
        int status = -1;
        CU_ASSERT_EQUAL(waitpid(child[i], &status, 0), child[i]);
        CU_ASSERT_EQUAL(status, 0);
    }
    X509_free(cert);
    EVP_PKEY_free(key);
}

#endif

/* ---- ASYNC jobs ---- */

static struct count_file *counters(void)
{
    int fd = open(getenv("SEALANE_COUNT_FILE"), O_RDWR);
    void *map = mmap(NULL, sizeof(struct count_file), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

    close(fd);
    CU_ASSERT_PTR_NOT_EQUAL_FATAL(map, MAP_FAILED);
    return map;
}

#if !defined(__SANITIZE_THREAD__) /* which takes the stacks of jobs for one thread's */

typedef struct flight {
    EVP_PKEY *key, *public;
    ASYNC_JOB *job;
    ASYNC_WAIT_CTX *wait;
    int state, signed_well;
    int woken[2]; /* a pipe: the callback writes, we read */
} flight;

static int flight_run(void *arg)
{
    flight *f = *(flight **)arg;

    f->signed_well = sign_and_verify(f->key, f->public, "signed in a job");
    return 1;
}

static void flight_step(flight *f)
{
    int ret;

    f->state = ASYNC_start_job(&f->job, f->wait, &ret, flight_run, &f, sizeof(f));
}

static int flight_wake(void *arg)
{
    flight *f = arg;
    return write(f->woken[1], "", 1) == 1;
}

/* Waits for what tells that the job can go on: the callback's pipe or the job's own descriptor. */
static void flight_wait(flight *f, bool callback)
{
    OSSL_ASYNC_FD fd = -1;
    size_t count = 1;
    char byte;

    if (callback)
        fd = f->woken[0];
    else
        CU_ASSERT_TRUE(ASYNC_WAIT_CTX_get_all_fds(f->wait, NULL, &count) && count == 1 &&
                       ASYNC_WAIT_CTX_get_all_fds(f->wait, &fd, &count));
    struct pollfd p = {.fd = fd, .events = POLLIN};
    CU_ASSERT_EQUAL(poll(&p, 1, 60000), 1);
    if (callback)
        CU_ASSERT_EQUAL(read(fd, &byte, 1), 1);
}

/* One thread has many signatures under way, while the token holds every one of them back. */
static void jobs_fly_together(bool callback)
{
    EVP_PKEY *key = key_open(NULL, EC_URI);
    X509 *cert = certificate_read("ec.pem");
    struct count_file *count = counters();
    flight flights[12];

    count->hold = 1;
    for (int i = 0; i < 12; i++) {
        flight *f = &flights[i];
        *f = (flight){.key = key, .public = X509_get0_pubkey(cert), .wait = ASYNC_WAIT_CTX_new()};
        CU_ASSERT_EQUAL(pipe(f->woken), 0);
        if (callback)
            ASYNC_WAIT_CTX_set_callback(f->wait, flight_wake, f);
        flight_step(f);
        CU_ASSERT_EQUAL(f->state, ASYNC_PAUSE); /* the thread is free again */
    }
    count->hold = 0;
    for (int i = 0; i < 12; i++) {
        flight *f = &flights[i];
        flight_wait(f, callback);
        flight_step(f);
        CU_ASSERT_EQUAL(f->state, ASYNC_FINISH);
        CU_ASSERT_EQUAL(f->signed_well, 1);
        ASYNC_WAIT_CTX_free(f->wait);
        close(f->woken[0]);
        close(f->woken[1]);
    }
    munmap(count, sizeof(*count));
    X509_free(cert);
    EVP_PKEY_free(key);
    ASYNC_cleanup_thread();
}

static void jobs_pause_and_are_woken_by_descriptor(void)
{
    jobs_fly_together(false);
}

static void jobs_pause_and_are_woken_by_callback(void)
{
    jobs_fly_together(true);
}

/* Event loops keep a descriptor registered for as long as the connection lives (HAProxy aborts if it is closed before). */
static void the_descriptor_of_a_connection_stays_open_and_the_same(void)
{
    EVP_PKEY *key = key_open(NULL, EC_URI);
    X509 *cert = certificate_read("ec.pem");
    struct count_file *count = counters();
    flight f = {.key = key, .public = X509_get0_pubkey(cert), .wait = ASYNC_WAIT_CTX_new()};
    OSSL_ASYNC_FD fd[2] = {-1, -1};

    for (int i = 0; i < 2; i++) {
        size_t one = 1;
        count->hold = 1;
        f.job = NULL;
        flight_step(&f);
        CU_ASSERT_EQUAL(f.state, ASYNC_PAUSE);
        struct pollfd p = {.events = POLLIN};
        CU_ASSERT_TRUE(ASYNC_WAIT_CTX_get_all_fds(f.wait, &p.fd, &one) && one == 1);
        CU_ASSERT_EQUAL(poll(&p, 1, 0), 0); /* the operation before has left nothing in it */
        count->hold = 0;
        flight_wait(&f, false);
        flight_step(&f);
        CU_ASSERT_EQUAL(f.state, ASYNC_FINISH);
        CU_ASSERT_EQUAL(f.signed_well, 1);
        CU_ASSERT_TRUE(ASYNC_WAIT_CTX_get_all_fds(f.wait, &fd[i], &one) && one == 1);
        CU_ASSERT_NOT_EQUAL(fcntl(fd[i], F_GETFD), -1);
    }
    CU_ASSERT_EQUAL(fd[0], fd[1]);
    ASYNC_WAIT_CTX_free(f.wait);
    CU_ASSERT_EQUAL(fcntl(fd[0], F_GETFD), -1);
    munmap(count, sizeof(*count));
    X509_free(cert);
    EVP_PKEY_free(key);
    ASYNC_cleanup_thread();
}

#endif

/* ---- files ---- */

/* Does PEM that an application reads by itself give the key? */
static bool pem_is_key(BIO *pem, const EVP_PKEY *key)
{
    EVP_PKEY *read = PEM_read_bio_PrivateKey(pem, NULL, NULL, NULL);
    bool is = read != NULL && EVP_PKEY_eq(read, key) == 1 &&
              sign_and_verify(read, (EVP_PKEY *)(uintptr_t)key, "by file");

    if (read == NULL)
        ERR_print_errors_fp(stderr);
    EVP_PKEY_free(read);
    return is;
}

/* As nginx and HAProxy read key files, and as Postfix reads chain files. */
static void applications_read_both_forms_of_file(void)
{
    static const char *const uris[] = {EC_URI, RSA_URI};

    for (size_t i = 0; i < 2; i++) {
        EVP_PKEY *key = key_open(NULL, uris[i]), *again = NULL;
        BIO *uri = BIO_new(BIO_s_mem()), *wrapped = BIO_new(BIO_s_mem());
        PKCS8_PRIV_KEY_INFO *info = EVP_PKEY2PKCS8(key);
        CU_ASSERT_PTR_NOT_NULL_FATAL(info);
        CU_ASSERT_EQUAL(PEM_write_bio_PrivateKey(uri, key, NULL, NULL, 0, NULL, NULL), 1);
        CU_ASSERT_EQUAL(PEM_write_bio_PKCS8_PRIV_KEY_INFO(wrapped, info), 1);
        CU_ASSERT_TRUE(pem_is_key(uri, key));
        CU_ASSERT_TRUE(pem_is_key(wrapped, key));
        again = EVP_PKCS82PKEY(info);
        CU_ASSERT_TRUE(again != NULL && EVP_PKEY_eq(again, key) == 1);
        EVP_PKEY_free(again);
        PKCS8_PRIV_KEY_INFO_free(info);
        BIO_free(uri);
        BIO_free(wrapped);
        EVP_PKEY_free(key);
    }
}

/* Asked for a key of `type`, whatever is in the file. */
static bool pem_is_read_as(BIO *pem, const char *type)
{
    EVP_PKEY *read = NULL;
    OSSL_DECODER_CTX *ctx =
        OSSL_DECODER_CTX_new_for_pkey(&read, "PEM", NULL, type, OSSL_KEYMGMT_SELECT_ALL, NULL, NULL);
    char *text;
    long len = BIO_get_mem_data(pem, &text);
    BIO *copy = BIO_new_mem_buf(text, (int)len);
    bool done = OSSL_DECODER_from_bio(ctx, copy) == 1 && read != NULL && EVP_PKEY_is_a(read, type);

    ERR_clear_error();
    OSSL_DECODER_CTX_free(ctx);
    EVP_PKEY_free(read);
    BIO_free(copy);
    return done;
}

/* Who wants an RSA key and is given the file of an EC key gets an error; libcrypto has no other provider make one. */
static void a_file_is_not_read_as_another_type(void)
{
    static const struct {
        const char *uri, *type, *other;
    } rows[] = {{EC_URI, "EC", "RSA"}, {RSA_URI, "RSA", "EC"}};

    for (size_t i = 0; i < 2; i++) {
        EVP_PKEY *key = key_open(NULL, rows[i].uri);
        BIO *uri = BIO_new(BIO_s_mem()), *wrapped = BIO_new(BIO_s_mem());
        PKCS8_PRIV_KEY_INFO *info = EVP_PKEY2PKCS8(key);
        CU_ASSERT_PTR_NOT_NULL_FATAL(info);
        CU_ASSERT_EQUAL(PEM_write_bio_PrivateKey(uri, key, NULL, NULL, 0, NULL, NULL), 1);
        CU_ASSERT_EQUAL(PEM_write_bio_PKCS8_PRIV_KEY_INFO(wrapped, info), 1);
        CU_ASSERT_FALSE(pem_is_read_as(uri, rows[i].other));
        CU_ASSERT_FALSE(pem_is_read_as(wrapped, rows[i].other));
        CU_ASSERT_TRUE(pem_is_read_as(uri, rows[i].type));
        /* With 3.0 there is one decoder of wrapped URIs, RSA's by name, for who asks for no type: decoder.c. */
        if (OPENSSL_version_minor() > 0 || strcmp(rows[i].type, "RSA") == 0)
            CU_ASSERT_TRUE(pem_is_read_as(wrapped, rows[i].type));
        PKCS8_PRIV_KEY_INFO_free(info);
        BIO_free(uri);
        BIO_free(wrapped);
        EVP_PKEY_free(key);
    }
}

/* ---- unloading ---- */

static void the_provider_can_be_unloaded_and_loaded_again(void)
{
    for (int round = 0; round < 5; round++) {
        OSSL_LIB_CTX *lib = OSSL_LIB_CTX_new();
        CU_ASSERT_EQUAL(OSSL_LIB_CTX_load_config(lib, getenv("OPENSSL_CONF")), 1);
        EVP_PKEY *key = key_open(lib, EC_URI);
        X509 *cert = certificate_read("ec.pem");
        CU_ASSERT_TRUE(sign_and_verify(key, X509_get0_pubkey(cert), "again"));
        X509_free(cert);
        EVP_PKEY_free(key);
        OSSL_LIB_CTX_free(lib);
    }
}

static void the_token_itself_signed(void)
{
    struct count_file *count = counters();
    EVP_PKEY *key = key_open(NULL, RSA_URI);
    X509 *cert = certificate_read("rsa.pem");
    uint64_t before = count->rsa_pkcs;

    for (int i = 0; i < 7; i++)
        CU_ASSERT_TRUE(sign_and_verify(key, X509_get0_pubkey(cert), "counted"));
    CU_ASSERT_EQUAL(count->rsa_pkcs, before + 7);
    munmap(count, sizeof(*count));
    X509_free(cert);
    EVP_PKEY_free(key);
}

/* As sealane/provider.h says: once for the length, once for the text. */
static void tokens_are_told_as_json(void)
{
    OSSL_PROVIDER *provider = OSSL_PROVIDER_load(NULL, "sealane");
    EVP_PKEY *key = key_open(NULL, EC_URI);
    X509 *cert = certificate_read("ec.pem");
    OSSL_PARAM params[] = {OSSL_PARAM_construct_utf8_string(SEALANE_PARAM_TOKENS, NULL, 0),
                           OSSL_PARAM_construct_end()};

    CU_ASSERT_TRUE(sign_and_verify(key, X509_get0_pubkey(cert), "told"));
    CU_ASSERT_EQUAL(OSSL_PROVIDER_get_params(provider, params), 1);
    CU_ASSERT_TRUE_FATAL(params[0].return_size > 2);
    size_t room = params[0].return_size + 256;
    char *text = OPENSSL_zalloc(room);
    CU_ASSERT_PTR_NOT_NULL_FATAL(text);
    params[0] = OSSL_PARAM_construct_utf8_string(SEALANE_PARAM_TOKENS, text, room);
    CU_ASSERT_EQUAL(OSSL_PROVIDER_get_params(provider, params), 1);
    CU_ASSERT_PTR_NOT_NULL(strstr(text, "\"tokens\":[{\"label\":\"sealane\","));
    CU_ASSERT_PTR_NOT_NULL(strstr(text, "\"sign\":{\"count\":"));
    OPENSSL_free(text);
    X509_free(cert);
    EVP_PKEY_free(key);
    OSSL_PROVIDER_unload(provider);
}

int main(int argc, char **argv)
{
    static const check_case cases[] = {
        {"a key fits its own certificate only", a_key_fits_its_own_certificate_only},
        {"another key of the same type does not fit", another_key_of_the_same_type_does_not_fit},
        {"the private part is not exported", the_private_part_is_not_exported},
        {"the token itself signed", the_token_itself_signed},
        {"applications read both forms of file", applications_read_both_forms_of_file},
        {"a file is not read as another type of key", a_file_is_not_read_as_another_type},
        {"tokens are told as JSON", tokens_are_told_as_json},
        {"two threads sign thousands of times each without one failure", two_threads_sign_many_times_each},
        {"40 threads sign", many_threads_sign},
#if !defined(__SANITIZE_THREAD__)
        {"parent and children sign after a fork", parent_and_children_sign_after_a_fork},
        {"12 jobs of one thread pause and are woken by a descriptor", jobs_pause_and_are_woken_by_descriptor},
        {"12 jobs of one thread pause and are woken by a callback", jobs_pause_and_are_woken_by_callback},
        {"the descriptor of a connection stays open and the same",
         the_descriptor_of_a_connection_stays_open_and_the_same},
#endif
        {"the provider can be unloaded and loaded again", the_provider_can_be_unloaded_and_loaded_again},
    };
    if (getenv("SEALANE_TEST_DIR") == NULL) {
        fprintf(stderr, "run this under tests/support/with_token\n");
        return 2;
    }
    return check_run("provider-keys", cases, sizeof(cases) / sizeof(cases[0]), argc, argv);
}
