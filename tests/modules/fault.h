/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The file that sealane-fault.so takes its orders from: this structure, in the machine's byte order, mapped
 * shared by every process that has the module loaded, and by whoever orders. Numbers are 64 bits wide and
 * changed atomically; a text is to be in place before the number that makes it count.
 *
 * Orders name tokens by label; an empty label means every token.
 */
#ifndef TESTS_FAULT_H
#define TESTS_FAULT_H

#include <stdatomic.h>
#include <stdint.h>

#define FAULT_MAGIC "SLFAULT1"

typedef _Atomic uint64_t fault_field;

/* The functions that can be told to fail. */
#define FAULT_FUNCTIONS(X)                                                                                   \
    X(Initialize)                                                                                            \
    X(Finalize)                                                                                              \
    X(GetSlotList)                                                                                           \
    X(GetSlotInfo)                                                                                           \
    X(GetTokenInfo)                                                                                          \
    X(OpenSession)                                                                                           \
    X(CloseSession)                                                                                          \
    X(CloseAllSessions)                                                                                      \
    X(GetSessionInfo)                                                                                        \
    X(Login)                                                                                                 \
    X(Logout)                                                                                                \
    X(FindObjectsInit)                                                                                       \
    X(FindObjects)                                                                                           \
    X(FindObjectsFinal)                                                                                      \
    X(GetAttributeValue)                                                                                     \
    X(SignInit)                                                                                              \
    X(Sign)                                                                                                  \
    X(DecryptInit)                                                                                           \
    X(Decrypt)                                                                                               \
    X(DeriveKey)                                                                                             \
    X(GenerateKeyPair)                                                                                       \
    X(CopyObject)                                                                                            \
    X(DestroyObject)

#define FAULT_NAME(name) FAULT_##name,
enum fault_function { FAULT_NONE, FAULT_FUNCTIONS(FAULT_NAME) FAULT_FUNCTION_COUNT };
#undef FAULT_NAME

enum { FAULT_LABEL = 40, FAULT_RULES = 8, FAULT_EVER = 1000000000 };

/* Answers of a rule for GetTokenInfo alone: CKR_OK, but with blanks instead of the label or the serial number. */
#define FAULT_NO_LABEL  0x80000001u
#define FAULT_NO_SERIAL 0x80000002u

/*
 * The calls of `function` number `skip` + 1 to `skip` + `times` (a rule that has been used up is forgotten)
 * take `delay_us` longer, hang until `hang` is 0 again, and then, if `answer` is not CKR_OK, do nothing and
 * answer that. `times` is what makes the rule count: set it last.
 */
struct fault_rule {
    fault_field function, skip, times, answer, delay_us, hang;
    char token[FAULT_LABEL];
};

struct fault_file {
    char magic[8];

    /* 1: the token is not there. In no slot, and CKR_DEVICE_REMOVED on its sessions, which are gone for good.
     * These three stand first, so that other languages find them: at 8, 16 and 56. */
    fault_field away;
    char away_token[FAULT_LABEL];
    fault_field slot_shift; /* slot ids are so much larger than the real ones */

    fault_field drop_sessions; /* 1: makes all sessions void with the next call, and is 0 again */
    fault_field stale_objects; /* counting it up makes all object handles given out so far invalid */

    /* 1: whoever looks on that token for the key of one name finds the other's: by label, by one-byte CKA_ID. */
    fault_field swap;
    char swap_token[FAULT_LABEL], swap_from[FAULT_LABEL], swap_to[FAULT_LABEL];
    fault_field swap_from_id, swap_to_id;

    struct fault_rule rule[FAULT_RULES];
    fault_field calls[FAULT_FUNCTION_COUNT]; /* what was called how often, whatever came of it */
    fault_field hanging;                     /* calls that hang now */
    fault_field weak_copies;                 /* 1: copies in sessions say that they are not sensitive */
};

#endif
