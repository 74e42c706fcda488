/* SPDX-License-Identifier: Apache-2.0 */
/* Who takes mail for a domain; see resolver.h. */
#include "resolver.h"
#include "loop.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unbound.h>
#include <openssl/rand.h>

#define TYPE_A        1
#define TYPE_MX       15
#define TYPE_AAAA     28
#define CLASS_IN      1
#define EXCHANGES_MAX 16u /* MX hosts looked at, the best ones */

struct resolver {
    struct loop *loop;
    struct ub_ctx *ctx;
    uv_poll_t poll;
    unsigned lookups; /* under way */
    bool retired;
};

struct exchange {
    struct mail_lookup *lookup;
    unsigned preference;
    uint32_t chance; /* RFC 5321, 5.1: those of one preference in random order */
    char name[DOMAIN_MAX_LEN + 1];
    int queries[2]; /* of A and AAAA, -1 if none is under way */
    char addresses[2][4][INET6_ADDRSTRLEN];
    size_t counts[2];
};

struct mail_lookup {
    struct resolver *resolver;
    mail_handler handler;
    void *owner;
    uv_timer_t timer;
    char domain[DOMAIN_MAX_LEN + 1];
    int query;      /* of MX, -1 if none is under way */
    unsigned asked; /* addresses still unanswered */
    bool over;
    struct exchange exchanges[EXCHANGES_MAX];
    size_t exchange_count;
    struct mail_hosts result;
};

/* ---- Life of a resolver ---- */

static void on_poll_closed(uv_handle_t *handle)
{
    struct resolver *r = handle->data;

    ub_ctx_delete(r->ctx);
    free(r);
}

static void free_if_done(struct resolver *r)
{
    if (r->retired && r->lookups == 0 && !uv_is_closing((uv_handle_t *)&r->poll))
        uv_close((uv_handle_t *)&r->poll, on_poll_closed);
}

void resolver_retire(struct loop *loop)
{
    struct resolver *r = loop->resolver;

    if (r == NULL)
        return;
    loop->resolver = NULL;
    r->retired = true;
    free_if_done(r);
}

static void on_answers(uv_poll_t *poll, int status, int events)
{
    struct resolver *r = poll->data;

    (void)status;
    (void)events;
    r->lookups++; /* a handler may end the last lookup */
    ub_process(r->ctx);
    r->lookups--;
    free_if_done(r);
}

/* Servers that the settings name may be on this machine, and know names that libunbound takes for nobody's. */
static bool trust_resolvers(struct ub_ctx *ctx)
{
    static const char *const zones[] = {"test.", "home.arpa.", "onion.", "localhost."};
    bool good = ub_ctx_set_option(ctx, "do-not-query-localhost:", "no") == 0 &&
                ub_ctx_set_option(ctx, "unblock-lan-zones:", "yes") == 0;

    for (size_t i = 0; good && i < sizeof zones / sizeof zones[0]; i++)
        good = ub_ctx_zone_remove(ctx, zones[i]) == 0;
    return good;
}

static bool set_up(struct ub_ctx *ctx, const struct settings *s)
{
    bool good = ub_ctx_async(ctx, 1) == 0;

    if (s->resolvers.count == 0)
        good &= ub_ctx_resolvconf(ctx, NULL) == 0 && ub_ctx_hosts(ctx, NULL) == 0;
    for (size_t i = 0; i < s->resolvers.count; i++)
        good &= ub_ctx_set_fwd(ctx, s->resolvers.items[i].text) == 0;
    if (s->trust_anchor.text != NULL)
        good &= ub_ctx_add_ta_file(ctx, s->trust_anchor.text) == 0;
    if (s->resolvers.count > 0 && good)
        good = trust_resolvers(ctx);
    return good;
}

static struct resolver *new_resolver(struct loop *loop, const struct settings *s)
{
    struct resolver *r = calloc(1, sizeof *r);

    if (r == NULL)
        return NULL;
    r->loop = loop;
    r->ctx = ub_ctx_create();
    if (r->ctx == NULL || !set_up(r->ctx, s) || uv_poll_init(&loop->uv, &r->poll, ub_fd(r->ctx)) != 0) {
        if (r->ctx != NULL)
            ub_ctx_delete(r->ctx);
        free(r);
        return NULL;
    }
    r->poll.data = r;
    uv_poll_start(&r->poll, UV_READABLE, on_answers);
    return r;
}

/* ---- The end of a lookup ---- */

static void on_timer_closed(uv_handle_t *handle)
{
    struct mail_lookup *l = handle->data;
    struct resolver *r = l->resolver;

    free(l);
    r->lookups--;
    free_if_done(r);
}

static void end_lookup(struct mail_lookup *l)
{
    struct ub_ctx *ctx = l->resolver->ctx;

    if (l->over)
        return;
    l->over = true;
    l->handler = NULL;
    if (l->query >= 0)
        ub_cancel(ctx, l->query);
    for (size_t i = 0; i < l->exchange_count; i++)
        for (int k = 0; k < 2; k++)
            if (l->exchanges[i].queries[k] >= 0)
                ub_cancel(ctx, l->exchanges[i].queries[k]);
    uv_close((uv_handle_t *)&l->timer, on_timer_closed);
}

static void answer(struct mail_lookup *l, enum mail_answer what)
{
    mail_handler handler = l->handler;

    l->result.answer = what;
    if (handler != NULL)
        handler(l->owner, &l->result);
    end_lookup(l);
}

void resolver_cancel(struct mail_lookup *lookup)
{
    end_lookup(lookup);
}

static void on_timeout(uv_timer_t *timer)
{
    struct mail_lookup *l = timer->data;

    snprintf(l->result.error, sizeof l->result.error, "no answer from the DNS in time");
    answer(l, MAIL_FAILED);
}

/* ---- Addresses ---- */

static void add_host(struct mail_lookup *l, const char *name, const char *address)
{
    struct mail_host *h = &l->result.hosts[l->result.count];

    if (l->result.count == MAIL_HOSTS_MAX)
        return;
    snprintf(h->name, sizeof h->name, "%s", name);
    snprintf(h->address, sizeof h->address, "%s", address);
    l->result.count++;
}

static void finish_addresses(struct mail_lookup *l)
{
    for (size_t i = 0; i < l->exchange_count; i++) {
        struct exchange *e = &l->exchanges[i];
        /* IPv6 first (RFC 6724); within a family in the DNS server's order, which it rotates. */
        for (int k = 1; k >= 0; k--)
            for (size_t n = 0; n < e->counts[k]; n++)
                add_host(l, e->name, e->addresses[k][n]);
    }
    if (l->result.count > 0)
        answer(l, MAIL_HOSTS);
    else
        answer(l, l->result.error[0] != '\0' ? MAIL_FAILED : MAIL_NO_DOMAIN);
}

/* False, with the result's error set, if libunbound has no answer to rely on. */
static bool is_reliable(struct mail_lookup *l, int error, const struct ub_result *result)
{
    if (error != 0)
        snprintf(l->result.error, sizeof l->result.error, "DNS: %s", ub_strerror(error));
    else if (result->bogus) /* RFC 7672, 2.1.1: forged or broken; mail waits */
        snprintf(l->result.error, sizeof l->result.error, "DNS: answers fail DNSSEC: %s",
                 result->why_bogus != NULL ? result->why_bogus : "bogus");
    else if (result->rcode != 0 && result->rcode != 3)
        snprintf(l->result.error, sizeof l->result.error, "DNS: the server says error %d", result->rcode);
    else
        return true;
    return false;
}

static void on_addresses(struct exchange *e, int family, int error, struct ub_result *result)
{
    struct mail_lookup *l = e->lookup;
    size_t size = family == 0 ? 4 : 16;

    e->queries[family] = -1;
    l->asked--;
    if (is_reliable(l, error, result)) {
        l->result.secure &= result->secure != 0;
        for (int i = 0; result->havedata && result->data[i] != NULL && e->counts[family] < 4; i++)
            if ((size_t)result->len[i] == size &&
                inet_ntop(family == 0 ? AF_INET : AF_INET6, result->data[i],
                          e->addresses[family][e->counts[family]], INET6_ADDRSTRLEN) != NULL)
                e->counts[family]++;
    }
    ub_resolve_free(result);
    if (l->asked == 0)
        finish_addresses(l);
}

static void on_a(void *arg, int error, struct ub_result *result)
{
    on_addresses(arg, 0, error, result);
}

static void on_aaaa(void *arg, int error, struct ub_result *result)
{
    on_addresses(arg, 1, error, result);
}

static void ask_addresses(struct mail_lookup *l)
{
    struct ub_ctx *ctx = l->resolver->ctx;

    for (size_t i = 0; i < l->exchange_count; i++) {
        struct exchange *e = &l->exchanges[i];
        if (ub_resolve_async(ctx, e->name, TYPE_A, CLASS_IN, e, on_a, &e->queries[0]) == 0)
            l->asked++;
        else
            e->queries[0] = -1;
        if (ub_resolve_async(ctx, e->name, TYPE_AAAA, CLASS_IN, e, on_aaaa, &e->queries[1]) == 0)
            l->asked++;
        else
            e->queries[1] = -1;
    }
    if (l->asked == 0) {
        snprintf(l->result.error, sizeof l->result.error, "DNS: cannot ask");
        answer(l, MAIL_FAILED);
    }
}

/* ---- MX ---- */

/* A domain name in wire format (RFC 1035, 3.1) as text; false if it is none that a host can have. */
static bool read_name(const uint8_t *wire, size_t len, char out[DOMAIN_MAX_LEN + 1])
{
    size_t at = 0, used = 0;

    while (at < len && wire[at] != 0) {
        size_t label = wire[at++];
        if (label > 63 || at + label > len || used + label + 1 > DOMAIN_MAX_LEN)
            return false;
        if (used > 0)
            out[used++] = '.';
        for (size_t i = 0; i < label; i++, at++) {
            if (wire[at] <= 0x20 || wire[at] >= 0x7f || wire[at] == '.')
                return false;
            out[used++] = (char)wire[at];
        }
    }
    out[used] = '\0';
    return at < len;
}

static void add_exchange(struct mail_lookup *l, unsigned preference, const char *name)
{
    struct exchange e = {.lookup = l, .preference = preference, .queries = {-1, -1}};
    size_t at = l->exchange_count;

    (void)RAND_bytes((unsigned char *)&e.chance, sizeof e.chance);
    snprintf(e.name, sizeof e.name, "%s", name);
    while (at > 0 &&
           (l->exchanges[at - 1].preference > preference ||
            (l->exchanges[at - 1].preference == preference && l->exchanges[at - 1].chance > e.chance)))
        at--;
    if (at == EXCHANGES_MAX)
        return;
    if (l->exchange_count < EXCHANGES_MAX)
        l->exchange_count++;
    memmove(&l->exchanges[at + 1], &l->exchanges[at], (l->exchange_count - 1 - at) * sizeof e);
    l->exchanges[at] = e;
}

/* RFC 7505: one record, preference 0, the root's name. */
static bool take_exchanges(struct mail_lookup *l, const struct ub_result *result)
{
    char name[DOMAIN_MAX_LEN + 1];

    for (int i = 0; result->data[i] != NULL; i++) {
        const uint8_t *wire = (const uint8_t *)result->data[i];
        size_t len = (size_t)result->len[i];
        if (len < 3 || !read_name(wire + 2, len - 2, name))
            continue;
        if (name[0] == '\0')
            return false;
        add_exchange(l, (unsigned)(wire[0] << 8 | wire[1]), name);
    }
    return true;
}

static void on_mx(void *arg, int error, struct ub_result *result)
{
    struct mail_lookup *l = arg;

    l->query = -1;
    if (!is_reliable(l, error, result)) {
        answer(l, MAIL_FAILED);
    } else if (result->nxdomain) {
        answer(l, MAIL_NO_DOMAIN);
    } else if (result->havedata && !take_exchanges(l, result)) {
        answer(l, MAIL_NULL_MX);
    } else {
        l->result.secure = result->secure != 0;
        if (!result->havedata) /* RFC 5321, 5.1: the domain is its own implicit MX */
            add_exchange(l, 0, l->domain);
        if (l->exchange_count > 0) {
            ask_addresses(l);
        } else {
            snprintf(l->result.error, sizeof l->result.error, "DNS: no MX record that can be used");
            answer(l, MAIL_FAILED);
        }
    }
    ub_resolve_free(result);
}

struct mail_lookup *resolver_find(struct loop *loop, struct config *config, const char *domain,
                                  mail_handler handler, void *owner)
{
    struct mail_lookup *l = NULL;

    if (loop->resolver == NULL)
        loop->resolver = new_resolver(loop, &config->settings);
    if (loop->resolver != NULL)
        l = calloc(1, sizeof *l);
    if (l == NULL)
        return NULL;
    l->resolver = loop->resolver;
    l->resolver->lookups++;
    l->handler = handler;
    l->owner = owner;
    snprintf(l->domain, sizeof l->domain, "%s", domain);
    uv_timer_init(&loop->uv, &l->timer);
    l->timer.data = l;
    uv_timer_start(&l->timer, on_timeout, (uint64_t)config->settings.timeouts.connect * 1000, 0);
    if (ub_resolve_async(l->resolver->ctx, domain, TYPE_MX, CLASS_IN, l, on_mx, &l->query) != 0) {
        l->query = -1;
        end_lookup(l);
        return NULL;
    }
    return l;
}
