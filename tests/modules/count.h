/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The file that sealane-count.so counts in and takes orders from: this structure, in the machine's byte
 * order, mapped shared by every process that has the module loaded. All fields are 64 bits wide and changed
 * atomically, so that another program can read (and order) at any time, say with Python's
 * struct.unpack("8s7Q", ...).
 */
#ifndef TESTS_COUNT_H
#define TESTS_COUNT_H

#include <stdatomic.h>
#include <stdint.h>

#define COUNT_MAGIC "SLCOUNT1"

typedef _Atomic uint64_t count_field;

struct count_file {
    char magic[8];
    /* What happened. */
    count_field logins;     /* calls of C_Login */
    count_field sessions;   /* calls of C_OpenSession */
    count_field sign_inits; /* calls of C_SignInit */
    count_field rsa_pkcs;   /* C_Sign that succeeded, by mechanism: CKM_RSA_PKCS */
    count_field rsa_pss;    /* CKM_RSA_PKCS_PSS */
    count_field ecdsa;      /* CKM_ECDSA */
    count_field other;
    count_field held;    /* threads that wait in C_Sign now because of `hold` */
    count_field lookups; /* calls of C_GetTokenInfo */
    /* Orders. Zero means: as the real module does. */
    count_field hold; /* 1: C_Sign waits; other values hold those that wait, but nobody new */
    count_field
        sign_answer; /* the next C_Sign does nothing and returns this CK_RV; then the order is forgotten */
    count_field token_flags;   /* added to the flags of every token */
    count_field max_sessions;  /* what tokens say is their ulMaxSessionCount */
    count_field session_limit; /* C_OpenSession answers CKR_SESSION_COUNT if that many sessions are open */
    count_field away; /* tokens are not there: CKR_TOKEN_NOT_PRESENT, and CKR_DEVICE_REMOVED on sessions */
    count_field open; /* sessions open now, in all processes; right for one token */
    /* One more order. */
    count_field sign_delay_us; /* C_Sign waits so long first, as if the token were far away */
    count_field sign_cut;      /* C_Sign says that its answer is so many bytes shorter than it is */
    /* More counts. */
    count_field finds;  /* calls of C_FindObjectsInit */
    count_field input;  /* bytes that the last C_Sign was given */
    count_field signer; /* the thread, by its gettid(2), that has called C_Sign last */
};

#endif
