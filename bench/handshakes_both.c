/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A handshake with a key in a file, and then a signature by the token on the same thread. Alone and in a row,
 * C_Sign finds everything in the caches where it left it; between handshakes it does not, whoever calls it.
 * This is what a handshake and the token's work cost together if nothing lay between them.
 */
#include <stdlib.h>
#include "handshakes_act.h"

struct both {
    struct act handshakes, token;
};

static bool both_prepare(struct act *a, char why[TEXT_MAX])
{
    struct both *b = calloc(1, sizeof(*b));

    a->state = b;
    if (b == NULL)
        return act_failed(why, "out of memory");
    b->handshakes = b->token = *a;
    b->handshakes.state = b->token.state = NULL;
    return activity_handshakes.prepare(&b->handshakes, why) && activity_token.prepare(&b->token, why);
}

static bool both_once(struct act *a, unsigned seat, char why[TEXT_MAX])
{
    struct both *b = a->state;

    return activity_handshakes.once(&b->handshakes, seat, why) && activity_token.once(&b->token, seat, why);
}

static void both_end(struct act *a)
{
    struct both *b = a->state;

    if (b == NULL)
        return;
    activity_token.end(&b->token);
    activity_handshakes.end(&b->handshakes);
    free(b);
}

const struct activity_ops activity_both = {both_prepare, both_once, NULL, both_end};
