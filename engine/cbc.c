/* SPDX-License-Identifier: Apache-2.0 */
/* Keys of AES-CBC with HMAC, and who does the work for how many records: cbc.h. */
#include "cbc.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <openssl/crypto.h>
#include "counters.h"
#include "dispatch.h"
#include "log.h"

#define STATE_ALIGN 64
#define CBC_CIPHERS (SEALANE_CBC_END - SEALANE_CBC_FIRST)
#define NOBODY      CBC_BACKENDS
#define PORTION     64

enum { LANES, STITCHED };

static const cbc_backend *const backends[CBC_BACKENDS] = {
    [LANES] = &cbc_backend_ipsec_mb,
    [STITCHED] = &cbc_backend_openssl,
};

/*
 * From how many records on the lanes are ahead in sealing, as measured on a CPU with AVX2 and SHA
 * instructions. A record alone leaves seven of the eight cipher lanes empty, and costs as much as eight.
 * libcrypto's stitched code, for MAC-then-encrypt with SHA-1 and SHA-256, hides the hash behind the cipher
 * besides, and AES-128 leaves it less to hide behind. Opening is at its best in the lanes' code from the
 * first record on.
 */
#define LANES_FROM              2
#define LANES_FROM_STITCHED_128 4
#define LANES_FROM_STITCHED_256 3

static struct {
    pthread_once_t once;
    bool usable[CBC_BACKENDS][CBC_CIPHERS];
    unsigned forced; /* or NOBODY */
    unsigned index[CBC_BACKENDS];
} table = {.once = PTHREAD_ONCE_INIT};

/* ---- Set-up and choice ---- */

static unsigned index_in_dispatch(const char *name)
{
    sealane_backend_info list[SEALANE_BACKENDS_MAX];
    size_t count = sealane_backends(list), i = 0;

    while (i < count && strcmp(list[i].name, name) != 0)
        i++;
    return (unsigned)i; /* every build has both names */
}

static bool backend_passes(const cbc_backend *be, sealane_cipher_id cipher)
{
    const char *failure;

    if (be->probe() != NULL)
        return false;
    failure = cbc_known_answer_failure(be, cipher);
    if (failure == NULL)
        return true;
    log_line("sealane: backend %s failed the known-answer test of %s: %s; it is not used for it", be->name,
             sealane_cipher_get(cipher)->name, failure);
    return false;
}

static void table_fill(void)
{
    const char *name = secure_getenv("SEALANE_BACKEND"); /* dispatch.c speaks about a wrong one */

    table.forced = NOBODY;
    for (unsigned b = 0; b < CBC_BACKENDS; b++) {
        table.index[b] = index_in_dispatch(backends[b]->name);
        if (name != NULL && strcmp(name, backends[b]->name) == 0)
            table.forced = b;
        for (unsigned c = 0; c < CBC_CIPHERS; c++)
            table.usable[b][c] = backend_passes(backends[b], SEALANE_CBC_FIRST + c);
    }
}

static void table_setup(void)
{
    dispatch_setup();
    (void)pthread_once(&table.once, table_fill);
}

struct choice {
    unsigned backend;
    const char *why;
};

static size_t lanes_from(const sealane_cipher *cipher, bool sealing, bool encrypt_then_mac)
{
    if (!sealing)
        return 1;
    if (cipher->id == SEALANE_AES_256_CBC_SHA384 || encrypt_then_mac)
        return LANES_FROM;
    return cipher->key_len == 16 ? LANES_FROM_STITCHED_128 : LANES_FROM_STITCHED_256;
}

static struct choice choose(const sealane_cipher *cipher, bool sealing, bool encrypt_then_mac, size_t count)
{
    const unsigned c = cipher->id - SEALANE_CBC_FIRST;

    if (table.forced != NOBODY && table.usable[table.forced][c])
        return (struct choice){table.forced, "SEALANE_BACKEND says so"};
    if (!table.usable[LANES][c] && !table.usable[STITCHED][c])
        return (struct choice){NOBODY, "no usable backend carries the cipher"};
    if (!table.usable[LANES][c])
        return (struct choice){STITCHED, "the only one left that carries the cipher"};
    if (!table.usable[STITCHED][c])
        return (struct choice){LANES, "the only one left that carries the cipher"};
    if (count < lanes_from(cipher, sealing, encrypt_then_mac))
        return (struct choice){STITCHED, "too few records to fill ipsec_mb's lanes"};
    return (struct choice){LANES, "enough records for its lanes"};
}

const char *cbc_backend_for(sealane_cipher_id cipher, bool sealing, size_t count, const char **why)
{
    struct choice choice;

    table_setup();
    choice = choose(sealane_cipher_get(cipher), sealing, false, count);
    if (why != NULL)
        *why = choice.why;
    return choice.backend == NOBODY ? "none" : backends[choice.backend]->name;
}

size_t cbc_lanes(sealane_cipher_id cipher)
{
    struct choice choice;

    table_setup();
    choice = choose(sealane_cipher_get(cipher), true, false, PORTION);
    return choice.backend == NOBODY ? 1 : backends[choice.backend]->lanes();
}

/* ---- Lengths ---- */

size_t cbc_sealed_len(const cbc_key *key, size_t payload_len)
{
    size_t inner = payload_len + (key->encrypt_then_mac ? 0 : key->mac_len);

    /* RFC 5246 6.2.3.2: at least the padding's length byte. */
    inner = (inner + CBC_BLOCK_LEN) / CBC_BLOCK_LEN * CBC_BLOCK_LEN;
    return inner + (key->encrypt_then_mac ? key->mac_len : 0);
}

size_t cbc_sealed_min(const cbc_key *key)
{
    return cbc_sealed_len(key, 0);
}

size_t cbc_opened_room(const cbc_key *key, size_t len)
{
    return len - (key->encrypt_then_mac ? key->mac_len : 0);
}

bool cbc_length_possible(const cbc_key *key, size_t len)
{
    return len >= cbc_sealed_min(key) && cbc_opened_room(key, len) % CBC_BLOCK_LEN == 0;
}

void cbc_header_length(cbc_op *op, size_t len)
{
    op->header[HMAC_HEADER_LEN - 2] = (uint8_t)(len >> 8);
    op->header[HMAC_HEADER_LEN - 1] = (uint8_t)len;
}

/* ---- Keys ---- */

/* The MAC's length says which hash: RFC 5246 A.5. */
static sha_id hash_of(const sealane_cipher *cipher)
{
    sha_id id = SHA_ID_1;

    while (sha_rows[id].digest_len != cipher->tag_len)
        id++;
    return id;
}

static size_t state_bytes(unsigned index)
{
    return backends[index]->state_size;
}

static sealane_result state_expand(cbc_key *key, unsigned index)
{
    void *state;
    sealane_result result;

    if (posix_memalign(&state, STATE_ALIGN, state_bytes(index)) != 0)
        return SEALANE_MEMORY;
    memset(state, 0, state_bytes(index));
    result = backends[index]->key_init(state, key);
    if (result == SEALANE_OK) {
        key->states[index] = state;
        return SEALANE_OK;
    }
    OPENSSL_cleanse(state, state_bytes(index));
    free(state);
    return result;
}

static sealane_result key_make(cbc_key **out, const cbc_key_params *params, unsigned home)
{
    cbc_key *key = calloc(1, sizeof(*key));
    sealane_result result;

    if (key == NULL)
        return SEALANE_MEMORY;
    key->cipher = sealane_cipher_get(params->cipher);
    key->hash = hash_of(key->cipher);
    key->mac_len = key->cipher->tag_len;
    key->sealing = params->sealing;
    key->encrypt_then_mac = params->encrypt_then_mac;
    key->home = home;
    hmac_key_init(key->hash, &key->mac, params->mac_key, key->mac_len);
    memcpy(key->secret, params->key, key->cipher->key_len);
    memcpy(key->mac_secret, params->mac_key, key->mac_len);
    result = state_expand(key, home);
    if (result == SEALANE_OK)
        *out = key;
    else
        cbc_key_free(key);
    return result;
}

sealane_result cbc_key_new(cbc_key **out, const cbc_key_params *params)
{
    struct choice choice;

    table_setup();
    choice = choose(sealane_cipher_get(params->cipher), params->sealing, params->encrypt_then_mac, 1);
    if (choice.backend == NOBODY)
        return SEALANE_UNSUPPORTED;
    return key_make(out, params, choice.backend);
}

sealane_result cbc_key_new_for(cbc_key **out, const cbc_key_params *params, const cbc_backend *be)
{
    return key_make(out, params, be == backends[LANES] ? LANES : STITCHED);
}

void cbc_key_free(cbc_key *key)
{
    if (key == NULL)
        return;
    for (unsigned i = 0; i < CBC_BACKENDS; i++) {
        if (key->states[i] == NULL)
            continue;
        backends[i]->key_clear(key->states[i]);
        OPENSSL_cleanse(key->states[i], state_bytes(i));
        free(key->states[i]);
    }
    OPENSSL_cleanse(key, sizeof(*key));
    free(key);
}

/* ---- Operations ---- */

/* The operations that one set of routines runs at a time, with their expanded keys. */
struct portion {
    cbc_op *ops[PORTION];
    void *states[PORTION];
    size_t count;
};

static void results_count(unsigned index, bool sealing, cbc_op *const ops[], size_t count)
{
    size_t done = 0, forged = 0;

    for (size_t i = 0; i < count; i++) {
        done += ops[i]->result == SEALANE_OK;
        forged += ops[i]->result == SEALANE_FORGED;
    }
    if (done > 0 && sealing)
        counters_sealed(index, done);
    if (done > 0 && !sealing)
        counters_opened(index, done);
    if (forged > 0)
        counters_forged(forged);
}

static void portion_seal(const cbc_backend *be, struct portion *p)
{
    be->seal(p->ops, p->states, p->count);
}

/* Nothing of a record that is not authentic may stay. In place, its MAC went with the ciphertext. */
static void refused_wipe(cbc_op *op)
{
    if (op->result == SEALANE_OK)
        return;
    OPENSSL_cleanse(op->out, cbc_opened_room(op->key, op->len));
    op->payload_len = 0;
}

static void portion_add(struct portion *to, const struct portion *from, size_t i)
{
    to->ops[to->count] = from->ops[i];
    to->states[to->count++] = from->states[i];
}

/* Encrypt-then-MAC: MACs, then the cipher of those that are authentic, then their padding. */
static void authenticated_open(const cbc_backend *be, struct portion *p)
{
    struct portion good;

    good.count = 0;
    cbc_check_macs(p->ops, p->count);
    for (size_t i = 0; i < p->count; i++)
        if (p->ops[i]->result == SEALANE_OK)
            portion_add(&good, p, i);
    be->decrypt(good.ops, good.states, good.count);
    for (size_t i = 0; i < good.count; i++)
        if (good.ops[i]->result == SEALANE_OK)
            cbc_check_padding(good.ops[i]);
}

static void padded_open(const cbc_backend *be, struct portion *p)
{
    be->decrypt(p->ops, p->states, p->count);
    cbc_check_padded(p->ops, p->count);
}

static void portion_open(const cbc_backend *be, struct portion *p)
{
    struct portion authenticated, padded;

    authenticated.count = padded.count = 0;
    for (size_t i = 0; i < p->count; i++)
        portion_add(p->ops[i]->key->encrypt_then_mac ? &authenticated : &padded, p, i);
    if (authenticated.count > 0)
        authenticated_open(be, &authenticated);
    if (padded.count > 0)
        padded_open(be, &padded);
    for (size_t i = 0; i < p->count; i++)
        refused_wipe(p->ops[i]);
}

static void portion_run(unsigned index, struct portion *p, bool sealing)
{
    if (p->count == 0)
        return;
    (sealing ? portion_seal : portion_open)(backends[index], p);
    results_count(table.index[index], sealing, p->ops, p->count);
}

/*
 * A key's own choice may differ within a group (encrypt-then-MAC is never stitched), and a second expansion
 * is for speed only: without memory for it, home does the work.
 */
static unsigned op_place(const cbc_op *op, size_t count)
{
    cbc_key *key = op->key;
    unsigned index = choose(key->cipher, key->sealing, key->encrypt_then_mac, count).backend;

    if (index == NOBODY || (key->states[index] == NULL && state_expand(key, index) != SEALANE_OK))
        index = key->home;
    return index;
}

static void ops_run(cbc_op *const ops[], size_t count, bool sealing)
{
    struct portion portions[CBC_BACKENDS];

    for (size_t i = 0; i < CBC_BACKENDS; i++)
        portions[i].count = 0;
    for (size_t i = 0; i < count; i++) {
        unsigned index = op_place(ops[i], count);
        struct portion *p = &portions[index];
        p->ops[p->count] = ops[i];
        p->states[p->count++] = ops[i]->key->states[index];
        if (p->count < PORTION)
            continue;
        portion_run(index, p, sealing);
        p->count = 0;
    }
    for (unsigned i = 0; i < CBC_BACKENDS; i++)
        portion_run(i, &portions[i], sealing);
}

void cbc_seal(cbc_op *const ops[], size_t count)
{
    ops_run(ops, count, true);
}

void cbc_open(cbc_op *const ops[], size_t count)
{
    ops_run(ops, count, false);
}

static void ops_run_by(const cbc_backend *be, cbc_op *const ops[], size_t count,
                       void (*run)(const cbc_backend *be, struct portion *p))
{
    struct portion p;

    for (size_t done = 0; done < count; done += p.count) {
        for (p.count = 0; p.count < PORTION && done + p.count < count; p.count++) {
            p.ops[p.count] = ops[done + p.count];
            p.states[p.count] = ops[done + p.count]->key->states[ops[done + p.count]->key->home];
        }
        run(be, &p);
    }
}

void cbc_seal_by(const cbc_backend *be, cbc_op *const ops[], size_t count)
{
    ops_run_by(be, ops, count, portion_seal);
}

void cbc_open_by(const cbc_backend *be, cbc_op *const ops[], size_t count)
{
    ops_run_by(be, ops, count, portion_open);
}
