/* SPDX-License-Identifier: Apache-2.0 */
/*
 * TLS handshakes with a token's key, in this process, by threads and forked children, until a number or a time
 * is reached. The provider comes by OPENSSL_CONF, as for a daemon. Says in one line of JSON what became of
 * them, and before that a line for each time that the first one failed ("down T") or succeeded again ("up T",
 * seconds on the monotonic clock).
 *
 * usage: token_load --cert FILE --key FILE|URI [--threads N] [--children N] [--load before|after]
 *                   [--handshakes N | --seconds S] [--tls12] [--hold FILE] [--until FILE]
 *
 * --load before (default): the key is loaded before the fork, as nginx does. The parent makes handshakes, too.
 * --hold: tells that all is ready by making FILE empty, and begins when somebody has removed it.
 * --until: ends as soon as FILE is there.
 */
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/store.h>

static struct options {
    const char *cert, *key, *hold, *until;
    int threads, children;
    long handshakes;
    double seconds;
    bool load_after, tls12;
} options = {.threads = 1};

/* Shared by all processes. */
static struct tally {
    atomic_long begun, good, failed, silent; /* silent: the client was not told by an alert */
    atomic_int ready, down;
} * tally;

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void die(const char *what)
{
    fprintf(stderr, "token_load: %s\n", what);
    ERR_print_errors_fp(stderr);
    exit(2);
}

/* ---- One handshake ---- */

static SSL_CTX *client_ctx, *server_ctx;

static EVP_PKEY *key_load(void)
{
    OSSL_STORE_CTX *store = OSSL_STORE_open(options.key, NULL, NULL, NULL, NULL);
    EVP_PKEY *key = NULL;
    while (store && !key && !OSSL_STORE_eof(store)) {
        OSSL_STORE_INFO *info = OSSL_STORE_load(store);
        if (info && OSSL_STORE_INFO_get_type(info) == OSSL_STORE_INFO_PKEY)
            key = OSSL_STORE_INFO_get1_PKEY(info);
        OSSL_STORE_INFO_free(info);
    }
    OSSL_STORE_close(store);
    return key;
}

static void contexts_make(void)
{
    EVP_PKEY *key = key_load();
    if (!key)
        die("the key cannot be loaded");
    server_ctx = SSL_CTX_new(TLS_server_method());
    client_ctx = SSL_CTX_new(TLS_client_method());
    if (!server_ctx || !client_ctx ||
        SSL_CTX_use_certificate_file(server_ctx, options.cert, SSL_FILETYPE_PEM) != 1 ||
        SSL_CTX_use_PrivateKey(server_ctx, key) != 1 ||
        SSL_CTX_load_verify_locations(client_ctx, options.cert, NULL) != 1)
        die("the certificate cannot be used");
    SSL_CTX_set_verify(client_ctx, SSL_VERIFY_PEER, NULL);
    SSL_CTX_set_session_cache_mode(server_ctx, SSL_SESS_CACHE_OFF);
    SSL_CTX_set_num_tickets(server_ctx, 0);
    if (options.tls12)
        SSL_CTX_set_max_proto_version(client_ctx, TLS1_2_VERSION);
    EVP_PKEY_free(key);
}

/* The client's error is an alert that the server has sent. */
static bool alert_seen(void)
{
    for (unsigned long code; (code = ERR_get_error()) != 0;) {
        if (ERR_GET_LIB(code) == ERR_LIB_SSL && ERR_GET_REASON(code) > SSL_AD_REASON_OFFSET)
            return true;
    }
    return false;
}

/* 1: done, 0: failed with an alert, -1: failed otherwise. */
static int handshake(void)
{
    SSL *client = SSL_new(client_ctx), *server = SSL_new(server_ctx);
    BIO *left = NULL, *right = NULL;
    int outcome = -1;
    if (!client || !server || BIO_new_bio_pair(&left, 0, &right, 0) != 1)
        die("out of memory");
    SSL_set_bio(client, left, left);
    SSL_set_bio(server, right, right);
    SSL_set_connect_state(client);
    SSL_set_accept_state(server);
    for (int turn = 0; turn < 20; turn++) {
        ERR_clear_error();
        int c = SSL_do_handshake(client), why = SSL_get_error(client, c);
        if (c != 1 && why != SSL_ERROR_WANT_READ) {
            outcome = alert_seen() ? 0 : -1;
            break;
        }
        int s = SSL_do_handshake(server); /* what fails here must reach the client in the next turn */
        if (c == 1 && s == 1) {
            outcome = 1;
            break;
        }
    }
    SSL_free(client);
    SSL_free(server);
    ERR_clear_error();
    return outcome;
}

/* ---- Threads and processes ---- */

static double deadline;

static bool more(void)
{
    long mine = atomic_fetch_add(&tally->begun, 1);
    if (options.until && access(options.until, F_OK) == 0)
        return false;
    return options.seconds > 0 ? now() < deadline : mine < options.handshakes;
}

static void note(bool down)
{
    int was = down ? 0 : 1;
    if (atomic_load(&tally->down) == was && atomic_compare_exchange_strong(&tally->down, &was, down)) {
        char line[64];
        int len = snprintf(line, sizeof(line), "%s %.6f\n", down ? "down" : "up", now());
        (void)!write(1, line, (size_t)len);
    }
}

static void *thread_main(void *arg)
{
    (void)arg;
    while (more()) {
        int outcome = handshake();
        note(outcome != 1);
        atomic_fetch_add(outcome == 1 ? &tally->good : &tally->failed, 1);
        if (outcome < 0)
            atomic_fetch_add(&tally->silent, 1);
    }
    OPENSSL_thread_stop();
    return NULL;
}

static void wait_for_start(void)
{
    struct timespec pause = {.tv_nsec = 2000000};
    atomic_fetch_add(&tally->ready, 1);
    while (tally->ready < options.children + 1)
        (void)nanosleep(&pause, NULL);
    while (options.hold && access(options.hold, F_OK) == 0)
        (void)nanosleep(&pause, NULL);
}

static void work(void)
{
    pthread_t threads[256];
    if (options.load_after)
        contexts_make();
    wait_for_start();
    deadline = now() + options.seconds;
    for (int i = 0; i < options.threads; i++) {
        if (pthread_create(&threads[i], NULL, thread_main, NULL) != 0)
            die("cannot start a thread");
    }
    for (int i = 0; i < options.threads; i++)
        pthread_join(threads[i], NULL);
    SSL_CTX_free(client_ctx);
    SSL_CTX_free(server_ctx);
}

static void options_read(int argc, char **argv)
{
    for (int i = 1; i < argc; i++) {
        const char *name = argv[i], *value = i + 1 < argc ? argv[i + 1] : "";
        if (strcmp(name, "--tls12") == 0) {
            options.tls12 = true;
            continue;
        }
        i++;
        if (strcmp(name, "--cert") == 0)
            options.cert = value;
        else if (strcmp(name, "--key") == 0)
            options.key = value;
        else if (strcmp(name, "--hold") == 0)
            options.hold = value;
        else if (strcmp(name, "--until") == 0)
            options.until = value;
        else if (strcmp(name, "--threads") == 0)
            options.threads = atoi(value);
        else if (strcmp(name, "--children") == 0)
            options.children = atoi(value);
        else if (strcmp(name, "--handshakes") == 0)
            options.handshakes = atol(value);
        else if (strcmp(name, "--seconds") == 0)
            options.seconds = atof(value);
        else if (strcmp(name, "--load") == 0)
            options.load_after = strcmp(value, "after") == 0;
        else
            die("unknown option");
    }
    if (!options.cert || !options.key || options.threads < 1 || options.threads > 256 ||
        (options.handshakes <= 0 && options.seconds <= 0))
        die("--cert, --key, 1 to 256 threads, and --handshakes or --seconds are needed");
}

int main(int argc, char **argv)
{
    options_read(argc, argv);
    tally = mmap(NULL, sizeof(*tally), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (tally == MAP_FAILED)
        die("out of memory");
    if (!options.load_after)
        contexts_make();
    if (options.hold)
        (void)fclose(fopen(options.hold, "w"));
    if (options.children > 0 && !options.load_after &&
        handshake() != 1) /* the token is in use when we fork */
        die("the first handshake failed");
    int bad = 0;
    for (int i = 0; i < options.children; i++) {
        pid_t pid = fork();
        if (pid == 0) {
            work();
            exit(0);
        }
        bad += pid < 0;
    }
    work();
    int status;
    while (wait(&status) > 0)
        bad += status != 0;
    printf("{\"good\": %ld, \"failed\": %ld, \"silent\": %ld, \"bad_children\": %d}\n", tally->good,
           tally->failed, tally->silent, bad);
    return bad != 0;
}
