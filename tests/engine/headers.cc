// SPDX-License-Identifier: Apache-2.0
// Every public header of the engine, in C++.
#include <sealane/aead.h>
#include <sealane/cbc.h>
#include <sealane/engine.h>
#include <sealane/record.h>
#include <sealane/result.h>
#include <sealane/session.h>
#include <sealane/stream.h>
#include <sealane/suite.h>
#include <sealane/takeover.h>

sealane_result batch_of_one(sealane_seal_op &op);
bool taken(SSL *ssl, sealane_session **out);

sealane_result batch_of_one(sealane_seal_op &op)
{
    sealane_batch_seal(&op, 1);
    return op.result;
}

bool taken(SSL *ssl, sealane_session **out)
{
    return sealane_takeover(ssl, out) == SEALANE_TAKEN;
}
