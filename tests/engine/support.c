/* SPDX-License-Identifier: Apache-2.0 */
#include "support.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>
#include <openssl/evp.h>
#include "backends.h"

/* A helper that cannot do its work must not let a test pass. */
static void must(bool holds, const char *what)
{
    if (holds)
        return;
    fprintf(stderr, "test support: %s failed\n", what);
    abort();
}

int suite_run(const char *name, const CU_TestInfo tests[])
{
    unsigned failed;
    CU_pSuite suite;

    must(CU_initialize_registry() == CUE_SUCCESS, "CU_initialize_registry");
    suite = CU_add_suite(name, NULL, NULL);
    must(suite != NULL, "CU_add_suite");
    for (size_t i = 0; tests[i].pName != NULL; i++)
        must(CU_add_test(suite, tests[i].pName, tests[i].pTestFunc) != NULL, "CU_add_test");
    CU_basic_set_mode(CU_BRM_VERBOSE);
    CU_basic_run_tests();
    failed = CU_get_number_of_failures() + (CU_get_number_of_tests_run() == 0);
    CU_cleanup_registry();
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

/* Marsaglia, "Xorshift RNGs" (2003): xorshift64. */
uint64_t prng_next(prng *p)
{
    p->state ^= p->state << 13;
    p->state ^= p->state >> 7;
    p->state ^= p->state << 17;
    return p->state;
}

size_t prng_below(prng *p, size_t limit)
{
    return (size_t)(prng_next(p) >> 11) % limit;
}

void prng_fill(prng *p, uint8_t *out, size_t len)
{
    for (size_t i = 0; i < len; i++)
        out[i] = (uint8_t)(prng_next(p) >> 24);
}

guarded guarded_new(size_t room)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    guarded g = {.room = room, .pages_len = (room + page - 1) / page * page};

    g.map = mmap(NULL, g.pages_len + 2 * page, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    must(g.map != MAP_FAILED, "mmap");
    must(mprotect(g.map + page, g.pages_len, PROT_READ | PROT_WRITE) == 0, "mprotect");
    return g;
}

void guarded_free(guarded *g)
{
    munmap(g->map, g->pages_len + 2 * (size_t)sysconf(_SC_PAGESIZE));
}

uint8_t *guarded_start(const guarded *g)
{
    return g->map + sysconf(_SC_PAGESIZE);
}

uint8_t *guarded_end(const guarded *g, size_t len)
{
    return guarded_start(g) + g->pages_len - len;
}

bool all_zero(const uint8_t *bytes, size_t len)
{
    for (size_t i = 0; i < len; i++)
        if (bytes[i] != 0)
            return false;
    return true;
}

/* What CCM wants before it sees the key: EVP_EncryptInit(3), "CCM Mode". */
static void ccm_begin(EVP_CIPHER_CTX *ctx, const sealane_cipher *row)
{
    must(EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_AEAD_SET_IVLEN, SEALANE_NONCE_LEN, NULL) == 1, "nonce length");
    must(EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_AEAD_SET_TAG, row->tag_len, NULL) == 1, "tag length");
}

void reference_seal(sealane_cipher_id cipher, const uint8_t *key, const uint8_t *nonce, const uint8_t *aad,
                    size_t aad_len, const uint8_t *in, size_t len, uint8_t *out, uint8_t *tag)
{
    static EVP_CIPHER *ciphers[SEALANE_CIPHERS];
    const sealane_cipher *row = sealane_cipher_get(cipher);
    EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();
    bool ccm = cipher == SEALANE_AES_128_CCM || cipher == SEALANE_AES_128_CCM_8;
    uint8_t nothing[SEALANE_TAG_MAX] = {0};
    int written;

    if (ciphers[cipher] == NULL)
        ciphers[cipher] = EVP_CIPHER_fetch(NULL, row->openssl_name, NULL);
    must(ciphers[cipher] != NULL, "EVP_CIPHER_fetch");
    must(EVP_EncryptInit_ex2(ctx, ciphers[cipher], NULL, NULL, NULL) == 1, "EVP_EncryptInit_ex2");
    if (ccm)
        ccm_begin(ctx, row);
    must(EVP_EncryptInit_ex2(ctx, NULL, key, nonce, NULL) == 1, "EVP_EncryptInit_ex2 with key");
    must(!ccm || EVP_EncryptUpdate(ctx, NULL, &written, NULL, (int)len) == 1, "length");
    must(aad_len == 0 || EVP_EncryptUpdate(ctx, NULL, &written, aad, (int)aad_len) == 1, "additional data");
    if (len > 0)
        must(EVP_EncryptUpdate(ctx, out, &written, in, (int)len) == 1, "EVP_EncryptUpdate");
    else if (ccm)
        must(EVP_EncryptUpdate(ctx, nothing, &written, nothing, 0) == 1, "EVP_EncryptUpdate of nothing");
    must(EVP_EncryptFinal_ex(ctx, nothing, &written) == 1, "EVP_EncryptFinal_ex");
    must(EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_AEAD_GET_TAG, row->tag_len, tag) == 1, "tag");
    EVP_CIPHER_CTX_free(ctx);
}

void *state_new(const backend *be, sealane_cipher_id cipher, const uint8_t *key)
{
    size_t size =
        (be->state_size(cipher) + BACKEND_STATE_ALIGN - 1) / BACKEND_STATE_ALIGN * BACKEND_STATE_ALIGN;
    void *state = aligned_alloc(BACKEND_STATE_ALIGN, size);

    must(state != NULL && be->key_init(state, cipher, key) == SEALANE_OK, "key_init");
    return state;
}

void state_free(const backend *be, void *state)
{
    be->key_clear(state);
    free(state);
}

const backend *backend_next(size_t *index, sealane_cipher_id cipher)
{
    while (*index < engine_backend_count) {
        const backend *be = engine_backends[(*index)++];
        if (be->probe() == NULL && be->state_size(cipher) != 0)
            return be;
    }
    return NULL;
}

int child_run(const char *variable, const char *value, int (*body)(void *), void *argument)
{
    int status;
    pid_t child;

    fflush(NULL);
    child = fork();
    must(child >= 0, "fork");
    if (child == 0) {
        if (value != NULL)
            setenv(variable, value, 1);
        else
            unsetenv(variable);
        status = body(argument);
        fflush(NULL);
        _exit(status);
    }
    must(waitpid(child, &status, 0) == child, "waitpid");
    return WIFEXITED(status) ? WEXITSTATUS(status) : 255;
}

void child_check(int *failures, bool holds, const char *condition, const char *file, int line)
{
    if (holds)
        return;
    ++*failures;
    printf("\n    %s:%d: does not hold: %s", file, line, condition);
}
