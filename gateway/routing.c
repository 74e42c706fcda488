/* SPDX-License-Identifier: Apache-2.0 */
/* Which mail goes where; see routing.h. */
#include "routing.h"

#include <string.h>
#include <strings.h>

/* ---- Partners ---- */

/* One that names the domain itself comes before one with a pattern; otherwise the first in the file. */
static size_t find_partner(const struct settings *s, const char *domain)
{
    size_t found = SETTINGS_NONE;

    if (domain[0] == '\0')
        return SETTINGS_NONE;
    for (size_t i = 0; i < s->partner_count; i++) {
        if (strcasecmp(s->partners[i].name, domain) == 0)
            return i;
        if (found == SETTINGS_NONE && pattern_takes_domain(s->partners[i].name, domain))
            found = i;
    }
    return found;
}

const struct partner_settings *routing_partner_of(const struct settings *s, const char *domain)
{
    size_t partner = find_partner(s, domain);

    return partner != SETTINGS_NONE ? &s->partners[partner] : NULL;
}

static size_t policy_of_partner(const struct settings *s, const char *domain, size_t otherwise)
{
    size_t partner = find_partner(s, domain);

    return partner != SETTINGS_NONE && s->partners[partner].has_policy ? s->send_count + partner : otherwise;
}

const struct policy_settings *routing_policy(const struct settings *s, size_t policy)
{
    return policy < s->send_count ? &s->sends[policy].policy : &s->partners[policy - s->send_count].policy;
}

const char *routing_policy_owner(const struct settings *s, size_t policy)
{
    return policy < s->send_count ? s->sends[policy].name : s->partners[policy - s->send_count].name;
}

size_t routing_policy_of_host(const struct settings *s, const struct destination *d, const char *host)
{
    if (d->policy >= s->send_count) /* the domain's partner comes first */
        return d->policy;
    return policy_of_partner(s, host, d->policy);
}

/* ---- Routes ---- */

static bool list_takes(const struct setting_list *patterns, const struct path *path)
{
    for (size_t i = 0; i < patterns->count; i++)
        if (pattern_takes_path(patterns->items[i].text, path))
            return true;
    return patterns->count == 0;
}

static bool list_has(const struct setting_list *names, const char *name)
{
    for (size_t i = 0; i < names->count; i++)
        if (strcmp(names->items[i].text, name) == 0)
            return true;
    return names->count == 0;
}

static bool route_takes(const struct settings *s, const struct route_settings *r, const struct origin *origin,
                        const struct path *recipient)
{
    return list_has(&r->connectors, s->receives[origin->connector].name) &&
           list_takes(&r->senders, origin->from) &&
           (r->client_count == 0 || fingerprints_match(origin->client, r->clients, r->client_count)) &&
           list_takes(&r->recipients, recipient);
}

static void copy_domain(char *out, const struct path *path)
{
    const char *domain = path->text + path->domain;
    size_t at = 0;

    for (; domain[at] != '\0' && at < DOMAIN_MAX_LEN; at++)
        out[at] = domain[at] >= 'A' && domain[at] <= 'Z' ? (char)(domain[at] + 32) : domain[at];
    out[at] = '\0';
}

bool routing_choose(const struct settings *s, const struct origin *origin, const struct path *recipient,
                    struct destination *out)
{
    for (size_t i = 0; i < s->route_count; i++) {
        const struct route_settings *r = &s->routes[i];
        if (!route_takes(s, r, origin, recipient))
            continue;
        out->route = i;
        out->send = r->send;
        copy_domain(out->domain, recipient);
        out->policy = policy_of_partner(s, out->domain, r->send);
        if (!s->sends[r->send].mx && out->policy == r->send)
            out->domain[0] = '\0'; /* nothing depends on it: all domains may share */
        return true;
    }
    return false;
}

void routing_direct(size_t send, struct destination *out)
{
    out->route = SETTINGS_NONE;
    out->send = out->policy = send;
    out->domain[0] = '\0';
}

bool destination_equal(const struct destination *a, const struct destination *b)
{
    return a->send == b->send && a->policy == b->policy && strcmp(a->domain, b->domain) == 0;
}

bool routing_depends_on_domain(const struct settings *s)
{
    bool depends = s->partner_count > 0 || s->route_count > 1;

    for (size_t i = 0; i < s->route_count; i++)
        depends |= s->sends[s->routes[i].send].mx;
    return depends;
}
