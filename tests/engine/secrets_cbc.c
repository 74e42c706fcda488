/* SPDX-License-Identifier: Apache-2.0 */
/*
 * No branch and no address depends on a secret: keys, payloads, and where padding begins. Runs under
 * valgrind, for which the secrets are marked as uninitialised memory, so that it reports each conditional
 * jump and each memory access that depends on them (A. Langley's "ctgrind", 2010). What is checked is the
 * machine code that this CPU's features lead to in there: valgrind 3.19 knows AES-NI and AVX2, but no SHA
 * instructions, whose code (sha_ni.c) is one straight line.
 *
 * `secrets_cbc branch` does what must not be done, and shows that the method sees it.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "cbc.h"

#define SKIPPED 77 /* what ctest is told */

#if __has_include(<valgrind/memcheck.h>)
#include <valgrind/memcheck.h>

#define RECORDS 9
#define LEN_MAX 1500

static void secret(void *at, size_t len)
{
    (void)VALGRIND_MAKE_MEM_UNDEFINED(at, len);
}

static void public(void *at, size_t len)
{
    (void)VALGRIND_MAKE_MEM_DEFINED(at, len);
}

static int still_secret(const uint8_t *at)
{
    uint8_t bits = 0;

    return VALGRIND_GET_VBITS(at, &bits, 1) == 1 && bits == 0xff;
}

static void must(int holds, const char *what)
{
    if (holds)
        return;
    fprintf(stderr, "secrets_cbc: does not hold: %s\n", what);
    exit(1);
}

struct bench {
    const cbc_backend *be;
    cbc_key *sealing, *opening;
    uint8_t records[RECORDS][LEN_MAX + 200], outs[RECORDS][LEN_MAX + 200];
    cbc_op ops[RECORDS], *order[RECORDS];
    void *states[RECORDS];
};

static void keys_make(struct bench *b, sealane_cipher_id cipher, bool encrypt_then_mac)
{
    uint8_t key[SEALANE_KEY_MAX], mac_key[SEALANE_MAC_MAX];
    cbc_key_params params = {
        .cipher = cipher, .encrypt_then_mac = encrypt_then_mac, .key = key, .mac_key = mac_key};

    memset(key, 0x17, sizeof(key));
    memset(mac_key, 0x28, sizeof(mac_key));
    secret(key, sizeof(key));
    secret(mac_key, sizeof(mac_key));
    params.sealing = true;
    must(cbc_key_new_for(&b->sealing, &params, b->be) == SEALANE_OK, "a sealing key");
    params.sealing = false;
    must(cbc_key_new_for(&b->opening, &params, b->be) == SEALANE_OK, "an opening key");
}

static size_t length_of(size_t i)
{
    static const size_t lengths[RECORDS] = {0, 1, 40, 64, 100, 250, 300, 1000, LEN_MAX};

    return lengths[i];
}

static void records_seal(struct bench *b, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        b->ops[i] = (cbc_op){.key = b->sealing, .len = length_of(i), .out = b->records[i] + CBC_IV_LEN};
        memcpy(b->ops[i].header, "\0\0\0\0\0\0\0\1\x17\3\3\0\0", HMAC_HEADER_LEN);
        memset(b->ops[i].out, 'x', length_of(i));
        secret(b->ops[i].out, length_of(i));
        b->order[i] = &b->ops[i];
        b->states[i] = b->sealing->states[b->sealing->home];
    }
    b->be->seal(b->order, b->states, count);
    for (size_t i = 0; i < count; i++)
        must(b->ops[i].result == SEALANE_OK, "records seal");
}

/* The verdict, and with a good one the length, is for everyone to know; nothing before it. */
static void records_open(struct bench *b, size_t count, bool forged)
{
    for (size_t i = 0; i < count; i++) {
        size_t len = cbc_sealed_len(b->opening, length_of(i));
        b->records[i][CBC_IV_LEN + len - 20] ^= (uint8_t)forged;
        b->ops[i] =
            (cbc_op){.key = b->opening, .in = b->records[i] + CBC_IV_LEN, .len = len, .out = b->outs[i]};
        memcpy(b->ops[i].header, "\0\0\0\0\0\0\0\1\x17\3\3\0\0", HMAC_HEADER_LEN);
        b->states[i] = b->opening->states[b->opening->home];
    }
    if (b->opening->encrypt_then_mac)
        cbc_check_macs(b->order, count);
    b->be->decrypt(b->order, b->states, count);
    if (!b->opening->encrypt_then_mac)
        cbc_check_padded(b->order, count);
    for (size_t i = 0; i < count && b->opening->encrypt_then_mac; i++)
        cbc_check_padding(&b->ops[i]);
    for (size_t i = 0; i < count; i++) {
        public(&b->ops[i].result, sizeof(b->ops[i].result));
        public(&b->ops[i].payload_len, sizeof(b->ops[i].payload_len));
        must((b->ops[i].result == SEALANE_OK) != forged || b->opening->encrypt_then_mac, "records open");
        must(forged || b->ops[i].payload_len == length_of(i), "the payload's length");
        must(length_of(i) == 0 || still_secret(b->outs[i]),
             "what is a secret stays one through all routines");
    }
}

static void check(const cbc_backend *be, sealane_cipher_id cipher, bool encrypt_then_mac)
{
    struct bench *b = calloc(1, sizeof(*b));

    must(b != NULL, "memory");
    b->be = be;
    keys_make(b, cipher, encrypt_then_mac);
    for (size_t count = 1; count <= RECORDS; count += RECORDS - 1) {
        records_seal(b, count);
        records_open(b, count, false);
        records_open(b, count, true);
    }
    cbc_key_free(b->sealing);
    cbc_key_free(b->opening);
    free(b);
    printf("%-22s %-8s %s: %lu reports\n", sealane_cipher_get(cipher)->name, be->name,
           encrypt_then_mac ? "encrypt-then-MAC" : "MAC-then-encrypt", (unsigned long)VALGRIND_COUNT_ERRORS);
}

static void branch_on_secret(void)
{
    uint8_t byte = (uint8_t)getpagesize();

    secret(&byte, 1);
    if (byte == 7)
        puts("a branch");
}

int main(int argc, char **argv)
{
    static const cbc_backend *const routines[] = {&cbc_backend_openssl, &cbc_backend_ipsec_mb};

    if (!RUNNING_ON_VALGRIND) {
        puts("skipped: valgrind is not installed, or not what runs this");
        return SKIPPED;
    }
    if (argc > 1 && strcmp(argv[1], "branch") == 0)
        branch_on_secret();
    else
        for (size_t i = 0; i < 2; i++)
            for (sealane_cipher_id cipher = SEALANE_CBC_FIRST; cipher < SEALANE_CBC_END; cipher++)
                for (int order = 0; order <= 1 && routines[i]->probe() == NULL; order++)
                    check(routines[i], cipher, order == 1);
    return VALGRIND_COUNT_ERRORS == 0 ? 0 : 1;
}

#else

int main(void)
{
    puts("skipped: built without valgrind's header");
    return SKIPPED;
}

#endif
