/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the tests of the hsm room share: SoftHSM2 tokens of their own in a temporary directory, seen through
 * sealane-count.so and, behind that, sealane-fault.so; checking signatures with libcrypto; running a piece of a test in a child process.
 */
#ifndef TESTS_HSM_FIXTURE_H
#define TESTS_HSM_FIXTURE_H

#include <CUnit/CUnit.h>
#include <openssl/evp.h>
#include <p11-kit/pkcs11.h>

#include "../modules/count.h"
#include "../modules/fault.h"
#include "sealane/hsm.h"

/* Of a number of repetitions that is meant to meet rare moments: where each costs many times as much, a part of it. */
#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
#define MANY(times) ((times) / 4)
#else
#define MANY(times) (times)
#endif

#define FIXTURE_PIN   "1234-sealane"
#define FIXTURE_TOKEN "mail"

/* The counters and orders of sealane-count.so. */
extern struct count_file *counted;
/* The orders of sealane-fault.so. */
extern struct fault_file *fault;

/*
 * Makes the directory and the environment, and in it the token FIXTURE_TOKEN with keys labelled rsa, rsa3072,
 * p256, p384, p521, always (P-256, CKA_ALWAYS_AUTHENTICATE), and ed25519, CKA_ID 1 to 7 in that order; "bare"
 * (P-256, 8) has a private key and a certificate but no public key object; ed448 is 9; x25519, 10, is a key that
 * nothing here can use. Once per program, before anything
 * else; the directory goes at exit. A process of its own makes the token, so the test's process has never
 * seen the module.
 */
void fixture_start(void);
const char *fixture_dir(void);
const char *fixture_module(void);
const char *fixture_softhsm(void); /* the token itself, without those in front of it */

/* A further token with one P-256 key of that label, CKA_ID 1. */
void fixture_add_token(const char *token, const char *key);

/* A further token with `key`, a P-256 key of libcrypto, under that label and id: several tokens may hold it. */
void fixture_add_copy(const char *token, const char *label, uint8_t id, EVP_PKEY *key);

/*
 * So many more P-256 keys in FIXTURE_TOKEN, called as `name` says for each: one is made, the others are copies of
 * SoftHSM2's files with another name in them, since it needs hours to make ten thousand. Labels are of one length; an
 * id is nothing that could be in a file by chance.
 */
typedef void fixture_name(unsigned i, char label[16], uint8_t id[4]);
void fixture_add_keys(unsigned count, fixture_name *name);

/* ---- Short ways to say what most tests say ---- */

hsm *fixture_hsm(void);                              /* default settings with the right PIN */
hsm *fixture_hsm_with(const hsm_settings *settings); /* module_path is filled in; idle_ms: never */
hsm_status find_one(hsm *h, const char *uri, hsm_key **key, hsm_error *err); /* the first private key */
hsm_key *find_key(hsm *h, const char *label);                                /* asserts that it is there */

/* A mechanism and input that fit the key: ECDSA over 32 bytes, PKCS#1 over a SHA-256 DigestInfo. */
hsm_status sign_any(hsm_key *key, hsm_error *err);
/* The same with a short time-out of the test's own, which a slow machine may need more than once. */
hsm_status sign_patiently(hsm_key *key);
/* Signs a digest of `hash` with the scheme and has libcrypto verify the result. */
bool sign_and_verify(hsm_key *key, hsm_scheme scheme, hsm_hash hash, hsm_error *err);

/* For loops that wait for something: lets those work that it is waited for. */
void give_way(void);

/* The module's functions, as another part of the process would use them. Valid once the module is loaded. */
CK_FUNCTION_LIST *fixture_functions(void);
CK_SLOT_ID fixture_slot(const char *token);

/* Runs `child` in a forked process: its return value becomes the exit status, through exit or, if `quick`,
 * _exit. */
int run_child(int (*child)(void *), void *arg, bool quick);

/* Runs a suite and returns main's value. */
int run_suite(const char *name, const CU_TestInfo *tests);

#endif
