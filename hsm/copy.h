/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Copies of keys in sessions, for tokens that look into their files for each use of an object of the token
 * (SoftHSM2: fourteen system calls per signature). Made by C_CopyObject, within the token: PKCS#11 lets a copy be no
 * less sensitive and no more extractable than the key, and that is checked.
 *
 * A copy would go on working after somebody has destroyed the key. So it is good for HSM_COPY_MS; then the key itself
 * is asked for, and with the key the copy goes. A token that will not copy is asked once and then used without.
 */
#ifndef HSM_COPY_H
#define HSM_COPY_H

#include "key.h"

/* The CKA_ID and CKA_LABEL of copies, by which searches leave them out. */
#define COPY_NAME "sealane: copy in a session"

/*
 * What an operation with the key uses: the copy if there are to be any, else the key's own object. Locates the key,
 * makes the copy or looks after the key, where that is due.
 */
hsm_status copy_locate(struct keydata *data, struct worker *worker, const struct place *place,
                       unsigned long *object, hsm_error *err);
/* The same if nothing is due and the token need not be asked. */
bool copy_at_hand(struct keydata *data, const struct worker *worker, unsigned long *object);
/* A handle was refused: both are found or made again at the next use, and what is left of the worker's copy is
 * destroyed. */
void copy_forget(struct keydata *data, struct worker *worker);

#endif
