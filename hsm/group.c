/* SPDX-License-Identifier: Apache-2.0 */
/* Reading the setting that names groups of tokens; see group.h. */
#include "group.h"
#include "error.h"

#include <string.h>

#include <openssl/crypto.h>

/* ---- Life ---- */

static void group_free(struct group *g)
{
    for (unsigned i = 0; i < g->count; i++) {
        hsm_uri_clear(&g->members[i].uri);
        OPENSSL_free(g->members[i].name);
    }
    OPENSSL_free(g->members);
    OPENSSL_free(g->name);
    OPENSSL_free(g);
}

void groups_free(struct group *list)
{
    while (list) {
        struct group *next = list->next;
        group_free(list);
        list = next;
    }
}

struct group *group_named(struct group *list, const hsm_uri *uri)
{
    while (list && !(uri->token && strcmp(list->name, uri->token) == 0))
        list = list->next;
    return list;
}

/* ---- Reading ---- */

/* A piece of the setting without the blanks around it; OPENSSL_free. */
static char *trimmed(const char *text, size_t len)
{
    while (len > 0 && (*text == ' ' || *text == '\t')) {
        text++;
        len--;
    }
    while (len > 0 && (text[len - 1] == ' ' || text[len - 1] == '\t'))
        len--;
    return OPENSSL_strndup(text, len);
}

static bool names_more_than_a_token(const hsm_uri *uri)
{
    return uri->object || uri->id_len > 0 || uri->type != HSM_CLASS_ANY || uri->pin_value;
}

/* Takes over `name`. */
static hsm_status member_read(struct member *m, char *name, const char *group, hsm_error *err)
{
    hsm_error why = {0};
    m->name = name;
    if (!name)
        return error_set(err, HSM_E_MEMORY, 0, "token group '%s': out of memory", group);
    if (name[0] == '\0')
        return error_set(err, HSM_E_SETTINGS, 0, "token group '%s': a member has no name", group);
    if (strncmp(name, "pkcs11:", 7) != 0) {
        m->uri.token = OPENSSL_strdup(name);
        return m->uri.token ? HSM_OK
                            : error_set(err, HSM_E_MEMORY, 0, "token group '%s': out of memory", group);
    }
    if (hsm_uri_parse(&m->uri, name, &why) != HSM_OK)
        return error_set(err, HSM_E_SETTINGS, 0, "token group '%s': %s", group, why.text);
    if (names_more_than_a_token(&m->uri))
        return error_set(
            err, HSM_E_SETTINGS, 0,
            "token group '%s': a member's URI names a token; it has neither object, id nor type, "
            "and pin-source instead of pin-value",
            group);
    return HSM_OK;
}

static hsm_status members_read(struct group *g, const char *text, size_t len, hsm_error *err)
{
    hsm_status status = HSM_OK;
    for (;;) {
        const char *comma = memchr(text, ',', len);
        size_t piece = comma ? (size_t)(comma - text) : len;
        if (g->count == GROUP_MEMBERS_MAX)
            return error_set(err, HSM_E_SETTINGS, 0, "token group '%s': more than %d members", g->name,
                             GROUP_MEMBERS_MAX);
        struct member *more = OPENSSL_realloc(g->members, (g->count + 1) * sizeof(*more));
        if (!more)
            return error_set(err, HSM_E_MEMORY, 0, "token group '%s': out of memory", g->name);
        g->members = more;
        memset(&more[g->count], 0, sizeof(*more));
        status = member_read(&more[g->count++], trimmed(text, piece), g->name, err);
        if (status != HSM_OK || !comma)
            return status;
        text += piece + 1;
        len -= piece + 1;
    }
}

/* "NAME: MEMBER, MEMBER". `*out` is to be freed whatever happens. */
static hsm_status group_read(struct group **out, const char *text, size_t len, hsm_error *err)
{
    const char *colon = memchr(text, ':', len);
    struct group *g = *out = OPENSSL_zalloc(sizeof(*g));
    if (!g)
        return error_set(err, HSM_E_MEMORY, 0, "token group: out of memory");
    g->name = trimmed(text, colon ? (size_t)(colon - text) : len);
    if (!g->name)
        return error_set(err, HSM_E_MEMORY, 0, "token group: out of memory");
    if (!colon || g->name[0] == '\0')
        return error_set(err, HSM_E_SETTINGS, 0,
                         "token group '%.80s': 'NAME: TOKEN, TOKEN' is expected, and '|' between groups",
                         g->name);
    return members_read(g, colon + 1, len - (size_t)(colon + 1 - text), err);
}

hsm_status groups_read(struct group **out, const char *text, hsm_error *err)
{
    hsm_status status = HSM_OK;
    struct group *list = NULL;
    *out = NULL;
    while (text && text[0] != '\0' && status == HSM_OK) {
        size_t len = strcspn(text, "|");
        struct group *g = NULL;
        status = group_read(&g, text, len, err);
        if (status == HSM_OK && group_named(list, &(hsm_uri){.token = g->name}))
            status = error_set(err, HSM_E_SETTINGS, 0, "token group '%s': named twice", g->name);
        if (g) {
            g->next = list;
            list = g;
        }
        text += len + (text[len] == '|' ? 1 : 0);
    }
    if (status == HSM_OK)
        *out = list;
    else
        groups_free(list);
    return status;
}
