/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Keys that several tokens hold; see cluster.h.
 *
 * Members are in one of four states:
 *
 *     ABSENT --> IN <--> OUT        never seen yet; works; left out until it answers
 *        \______ | ______/
 *                v
 *             REFUSED               has another key under that name
 *
 * A cluster holds no hsm, for the reason that keydata holds none. Looking after a member is a task of the
 * hsm's own pool of keepers (hsm_keepers), which ends before the hsm does.
 *
 * Locks: the registry lock, for a few instructions at a time.
 */
#include "cluster.h"
#include "debug.h"
#include "error.h"
#include "find.h"
#include "notice.h"
#include "process.h"
#include "public.h"
#include "stats.h"
#include "uri.h"

#include <string.h>

#include <openssl/crypto.h>

enum { TEND_FIRST_MS = 20, TEND_LAST_MS = 250 };

enum seat_state { SEAT_ABSENT, SEAT_IN, SEAT_OUT, SEAT_REFUSED };

/* A member's place in a cluster; under the registry lock. */
struct seat {
    struct keydata *data; /* NULL until the key was found there; then it stays */
    enum seat_state state;
    uint64_t next_try; /* stats_now() from which on it may be looked after */
    unsigned pause_ms; /* between the last tries */
    unsigned tended;   /* generation + 1 of the process that looks after it now, else 0 */
};

struct cluster {
    atomic_uint refs;
    struct group *group;
    hsm_uri wanted;      /* what was searched for */
    struct pin *pin;     /* its pin-value */
    struct keydata *key; /* the key as the first member told it */
    char *uri;
    unsigned turn; /* of members with equally much to do; under the registry lock */
    struct seat seats[GROUP_MEMBERS_MAX];
};

/* ---- Life ---- */

struct cluster *cluster_ref(struct cluster *c)
{
    if (c)
        atomic_fetch_add(&c->refs, 1);
    return c;
}

void cluster_free(struct cluster *c)
{
    if (!c || atomic_fetch_sub(&c->refs, 1) != 1)
        return;
    for (unsigned i = 0; i < c->group->count; i++)
        keydata_free(c->seats[i].data);
    keydata_free(c->key);
    hsm_uri_clear(&c->wanted);
    pin_free(c->pin);
    free(c->uri);
    OPENSSL_free(c);
}

const char *cluster_uri(const struct cluster *c)
{
    return c->uri;
}

/* The key of the first member that has it. `wanted` is the URI that named the group. */
static struct cluster *cluster_new(struct group *group, const hsm_uri *wanted, const struct pin *pin,
                                   struct keydata *key, unsigned member)
{
    struct cluster *c = OPENSSL_zalloc(sizeof(*c));
    if (!c)
        return NULL;
    atomic_init(&c->refs, 1);
    c->group = group;
    c->key = keydata_ref(key);
    c->seats[member].data = keydata_ref(key);
    c->seats[member].state = SEAT_IN;
    c->pin = pin_copy(pin);
    c->uri = hsm_uri_text(&(hsm_uri){.token = group->name,
                                     .id = key->id,
                                     .id_len = key->id_len,
                                     .object = key->label[0] ? key->label : NULL,
                                     .type = key->class});
    if (uri_copy(&c->wanted, wanted) && c->uri && (c->pin || !pin))
        return c;
    cluster_free(c);
    return NULL;
}

/* ---- Searching ---- */

/* The member's token in the group's place. */
static bool member_uri(hsm_uri *out, const struct member *m, const hsm_uri *wanted)
{
    if (!uri_copy(out, &m->uri))
        return false;
    out->type = wanted->type;
    out->object = wanted->object ? OPENSSL_strdup(wanted->object) : NULL;
    out->id = wanted->id_len > 0 ? OPENSSL_memdup(wanted->id, wanted->id_len) : NULL;
    out->id_len = wanted->id_len;
    if (!out->pin_source && wanted->pin_source)
        out->pin_source = OPENSSL_strdup(wanted->pin_source);
    return (out->object || !wanted->object) && (out->id || wanted->id_len == 0) &&
           (out->pin_source || !wanted->pin_source);
}

static hsm_status member_search(hsm *h, const struct member *m, const hsm_uri *wanted, hsm_class class,
                                const struct pin_sources *sources, struct found_list *out, hsm_error *err)
{
    hsm_uri uri = {0};
    struct pin_sources own = *sources;
    hsm_status status = HSM_E_MEMORY;
    own.uri = &uri;
    *out = (struct found_list){0};
    if (member_uri(&uri, m, wanted))
        status = objects_search(h, &uri, class, &own, out, err);
    else
        (void)error_set(err, HSM_E_MEMORY, 0, "token '%s': out of memory", m->name);
    hsm_uri_clear(&uri);
    return status;
}

static bool same_id(const struct keydata *a, const struct keydata *b)
{
    return a->id_len == b->id_len && (a->id_len == 0 || memcmp(a->id, b->id, a->id_len) == 0);
}

/* The key of the cluster among what a member has; `*other` if it has another one under that name. */
static struct keydata *key_in(const struct cluster *c, const struct found_list *found, bool *other)
{
    struct keydata *data = NULL;
    *other = false;
    for (size_t i = 0; i < found->count && !data; i++) {
        struct keydata *k = found->list[i].key;
        if (!k || found->list[i].class != HSM_CLASS_PRIVATE)
            continue;
        if (public_equal(&k->public, &c->key->public))
            data = k;
        else if (same_id(k, c->key) && strcmp(k->label, c->key->label) == 0)
            *other = true;
    }
    *other = *other && !data;
    return data;
}

static unsigned pause_after(unsigned last_ms)
{
    if (last_ms == 0)
        return TEND_FIRST_MS;
    return last_ms * 2 < TEND_LAST_MS ? last_ms * 2 : TEND_LAST_MS;
}

/* Registry lock. */
static void seat_leave_out(struct seat *s)
{
    if (s->state == SEAT_REFUSED)
        return;
    s->state = s->data ? SEAT_OUT : SEAT_ABSENT;
    s->pause_ms = pause_after(s->pause_ms);
    s->next_try = stats_now() + s->pause_ms * UINT64_C(1000);
}

/* A member was searched with that outcome. */
static void seat_fill(struct cluster *c, unsigned i, hsm_status status, const struct found_list *found)
{
    struct seat *s = &c->seats[i];
    bool other = false;
    struct keydata *data = status == HSM_OK ? key_in(c, found, &other) : NULL;
    registry_lock();
    bool news = other && s->state != SEAT_REFUSED;
    if (other)
        s->state = SEAT_REFUSED;
    if (data && s->state != SEAT_REFUSED) {
        if (!s->data)
            s->data = keydata_ref(data);
        s->state = SEAT_IN;
    } else {
        seat_leave_out(s);
    }
    registry_unlock();
    debug_line("token group '%s': member '%s' is %s", c->group->name, c->group->members[i].name,
               data    ? "in"
               : other ? "refused"
                       : "out");
    if (!news)
        return;
    atomic_fetch_add(&c->group->members[i].refused, 1);
    notice(
        "token group '%s': member '%s' has another key than the others under the name '%s': it is not used "
        "for that key; copy the key, then restart or reload",
        c->group->name, c->group->members[i].name, c->key->label[0] ? c->key->label : c->uri);
}

/* Each private key that member `i` has gets a cluster of its own. */
static hsm_status clusters_make(struct group *group, const hsm_uri *wanted, const struct pin *pin, unsigned i,
                                struct found_list *found, hsm_error *err)
{
    for (size_t k = 0; k < found->count; k++) {
        struct found *f = &found->list[k];
        if (!f->key || f->class != HSM_CLASS_PRIVATE)
            continue;
        f->cluster = cluster_new(group, wanted, pin, f->key, i);
        if (!f->cluster)
            return error_set(err, HSM_E_MEMORY, 0, "token group '%s': out of memory", group->name);
    }
    return HSM_OK;
}

static void clusters_fill(struct found_list *clusters, unsigned i, hsm_status status,
                          const struct found_list *found)
{
    for (size_t k = 0; k < clusters->count; k++) {
        if (clusters->list[k].cluster)
            seat_fill(clusters->list[k].cluster, i, status, found);
    }
}

static hsm_status all_failed(const struct group *group, const hsm_error *why, hsm_error *err)
{
    return error_set(err, why->status, why->ckr, "token group '%s': %s", group->name, why->text);
}

/* The first error that is not just "not there" says most. */
static void keep_error(hsm_error *kept, const hsm_error *why)
{
    if (kept->status == HSM_OK || kept->status == HSM_E_NO_OBJECT)
        *kept = *why;
}

hsm_status cluster_search(hsm *h, struct group *group, const hsm_uri *uri, hsm_class class,
                          const struct pin_sources *sources, struct found_list *out, hsm_error *err)
{
    struct pin_sources own = *sources;
    hsm_status seen[GROUP_MEMBERS_MAX], status = HSM_OK;
    hsm_error failed = {0};
    unsigned first = group->count;
    struct pin *pin = uri->pin_value ? pin_new(uri->pin_value, strlen(uri->pin_value)) : NULL;
    own.kept = pin;
    *out = (struct found_list){0};
    for (unsigned i = 0; i < group->count && status == HSM_OK; i++) {
        struct found_list found;
        hsm_error why = {0};
        seen[i] = member_search(h, &group->members[i], uri, class, &own, &found, &why);
        if (seen[i] != HSM_OK)
            keep_error(&failed, &why);
        if (seen[i] == HSM_OK && first == group->count) {
            first = i;
            *out = found;
            found = (struct found_list){0};
            status = clusters_make(group, uri, pin, i, out, err);
            for (unsigned j = 0; j < i; j++)
                clusters_fill(out, j, seen[j], NULL);
        } else if (first < group->count) {
            clusters_fill(out, i, seen[i], &found);
        }
        found_list_clear(&found);
    }
    if (status == HSM_OK && first == group->count)
        status = all_failed(group, &failed, err);
    if (status != HSM_OK)
        found_list_clear(out);
    pin_free(pin);
    return status;
}

/* ---- Who does it ---- */

/* Registry lock. The member with the least to do among those of `state`, or GROUP_MEMBERS_MAX. */
static unsigned least_busy(struct cluster *c, enum seat_state state, uint32_t tried)
{
    unsigned best = GROUP_MEMBERS_MAX, best_load = 0, n = c->group->count;
    unsigned start = c->turn++;
    for (unsigned k = 0; k < n; k++) {
        unsigned i = (start + k) % n;
        if (c->seats[i].state != state || !c->seats[i].data || (tried & (1u << i)))
            continue;
        unsigned load = token_load(c->seats[i].data->token);
        if (best == GROUP_MEMBERS_MAX || load < best_load) {
            best = i;
            best_load = load;
        }
    }
    return best;
}

struct keydata *cluster_pick(struct cluster *c, uint32_t *tried)
{
    struct keydata *data = NULL;
    registry_lock();
    unsigned i = least_busy(c, SEAT_IN, *tried);
    if (i == GROUP_MEMBERS_MAX && *tried == 0)
        i = least_busy(c, SEAT_OUT, *tried);
    if (i < GROUP_MEMBERS_MAX) {
        *tried |= 1u << i;
        data = keydata_ref(c->seats[i].data);
    }
    registry_unlock();
    return data;
}

/* Is it the token's failure, and not the operation's? */
static bool is_members_failure(const hsm_error *err)
{
    switch (err->status) {
    case HSM_E_NO_TOKEN:
    case HSM_E_NO_OBJECT:
    case HSM_E_MODULE:
    case HSM_E_PIN:
    case HSM_E_PIN_NEEDED:
    case HSM_E_BUSY:
    case HSM_E_TIMEOUT:
    case HSM_E_TOKEN:
    case HSM_E_MEMORY: /* the token's: CKR_DEVICE_MEMORY, CKR_HOST_MEMORY */
        return true;
    default:
        return false;
    }
}

bool cluster_report(struct cluster *c, const struct keydata *data, const hsm_error *err)
{
    bool failed = err->status != HSM_OK && is_members_failure(err);
    if (err->status != HSM_OK && !failed)
        return false;
    unsigned out = GROUP_MEMBERS_MAX;
    registry_lock();
    for (unsigned i = 0; i < c->group->count; i++) {
        struct seat *s = &c->seats[i];
        if (s->data != data)
            continue;
        if (!failed)
            s->pause_ms = 0;
        else if (err->status != HSM_E_BUSY && s->state == SEAT_IN) {
            seat_leave_out(s);
            out = i;
        }
    }
    registry_unlock();
    if (out < GROUP_MEMBERS_MAX)
        debug_line("token group '%s': member '%s' is left out: %s", c->group->name,
                   c->group->members[out].name, err->text);
    return failed;
}

/* ---- Looking after those that are out ---- */

struct tend_task {
    struct task task;
    struct cluster *cluster;
    hsm *h; /* not held: the keepers end before it does */
    unsigned member;
};

static void tend_run(struct task *task, struct worker *worker)
{
    (void)worker;
    struct tend_task *t = (struct tend_task *)task;
    struct cluster *c = t->cluster;
    struct pin_sources sources = {.kept = c->pin, .setting = hsm_pin_setting(t->h)};
    struct found_list found;
    hsm_error why = {0};
    hsm_status status = member_search(t->h, &c->group->members[t->member], &c->wanted, HSM_CLASS_PRIVATE,
                                      &sources, &found, &why);
    seat_fill(c, t->member, status, &found);
    found_list_clear(&found);
    registry_lock();
    c->seats[t->member].tended = 0;
    registry_unlock();
}

static void tend_destroy(struct task *task)
{
    struct tend_task *t = (struct tend_task *)task;
    cluster_free(t->cluster);
    OPENSSL_free(t);
}

static const struct task_ops tend_ops = {.run = tend_run, .destroy = tend_destroy};

/* Claims a member that wants looking after. */
static bool seat_claim(struct cluster *c, unsigned i)
{
    struct seat *s = &c->seats[i];
    registry_lock();
    bool due = (s->state == SEAT_OUT || s->state == SEAT_ABSENT) && s->tended != process_generation() + 1 &&
               stats_now() >= s->next_try;
    if (due)
        s->tended = process_generation() + 1;
    registry_unlock();
    return due;
}

static void seat_tend(struct cluster *c, hsm *h, unsigned i)
{
    struct pool *keepers = hsm_keepers(h);
    struct tend_task *t = keepers ? OPENSSL_zalloc(sizeof(*t)) : NULL;
    bool begun = false;
    if (t) {
        task_init(&t->task, &tend_ops);
        t->cluster = cluster_ref(c);
        t->h = h;
        t->member = i;
        begun = task_submit(keepers, &t->task, NULL, NULL, NULL) == HSM_OK;
        if (begun)
            task_release(&t->task); /* nobody waits for it */
        else
            task_discard(&t->task);
    }
    if (begun)
        return;
    registry_lock();
    c->seats[i].tended = 0;
    registry_unlock();
}

void cluster_tend(struct cluster *c, hsm *h)
{
    for (unsigned i = 0; i < c->group->count; i++) {
        if (seat_claim(c, i))
            seat_tend(c, h, i);
    }
}
