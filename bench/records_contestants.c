/* SPDX-License-Identifier: Apache-2.0 */
#include "records_contestant.h"

#include <stdlib.h>
#include <string.h>
#include <sealane/engine.h>
#include "backends.h"

_Static_assert(SEALANE_BACKENDS_MAX + 14 <= CONTESTANTS_MAX, "the list has no room for all");

const contestant *const *contestants_list(size_t *count)
{
    static contestant direct[SEALANE_BACKENDS_MAX];
    static const contestant *list[CONTESTANTS_MAX];
    static const contestant *const rest[] = {
        &contestant_aead,
        &contestant_record,
        &contestant_batch,
        &contestant_evp_tls13,
        &contestant_evp_tls12,
        &contestant_libssl,
        &contestant_libssl_sealane,
        &contestant_libssl_tls12,
        &contestant_libssl_tls12_sealane,
        &contestant_libssl_long,
        &contestant_libssl_long_sealane,
        &contestant_ipsec_mb,
        &contestant_bound,
        &contestant_bound_mixed,
    };
    static size_t filled;
    sealane_backend_info info[SEALANE_BACKENDS_MAX];
    size_t backends = filled == 0 ? sealane_backends(info) : 0;

    for (size_t i = 0; i < backends; i++) {
        if (!info[i].usable)
            continue;
        contestant_of_backend(&direct[i], engine_backends[i]);
        list[filled++] = &direct[i];
    }
    for (size_t i = 0; backends > 0 && i < sizeof(rest) / sizeof(rest[0]); i++)
        list[filled++] = rest[i];
    *count = filled;
    return list;
}

const contestant *contestant_find(const char *name)
{
    size_t count;
    const contestant *const *list = contestants_list(&count);

    for (size_t i = 0; i < count; i++)
        if (strcmp(list[i]->name, name) == 0)
            return list[i];
    return NULL;
}

runner *runner_begin(const contestant *who, const workload *load)
{
    runner *r = who->begin(who, load);

    if (r != NULL)
        r->who = who;
    return r;
}

bool runner_restore(runner *r)
{
    if (r->ring != NULL)
        ring_restore(r->ring);
    return r->who->restore == NULL || r->who->restore(r);
}

bool runner_run(runner *r)
{
    return r->who->run(r);
}

bool runner_verify(runner *r)
{
    return r->who->verify == NULL ? ring_verify(r->ring) : r->who->verify(r);
}

void runner_end(runner *r)
{
    ring *records;

    if (r == NULL)
        return;
    records = r->ring;
    r->who->end(r);
    ring_free(records);
}
