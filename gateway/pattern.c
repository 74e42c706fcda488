/* SPDX-License-Identifier: Apache-2.0 */
/* Patterns of mail addresses and networks; see pattern.h. */
#include "pattern.h"

#include <arpa/inet.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* ---- Mail ---- */

static bool is_domain_pattern(const char *text)
{
    if (strcmp(text, "*") == 0)
        return true;
    if (text[0] == '*' && text[1] == '.')
        text++;
    if (text[0] == '.')
        text++;
    for (const char *c = text; *c != '\0'; c++)
        if ((uint8_t)*c <= 0x20 || strchr("*@<>\"(),;\\/", *c) != NULL)
            return false;
    return text[0] != '\0' && strlen(text) <= DOMAIN_MAX_LEN;
}

bool pattern_is_valid(const char *pattern)
{
    const char *at = strrchr(pattern, '@');

    if (strcmp(pattern, "<>") == 0)
        return true;
    return at == NULL ? is_domain_pattern(pattern) : at > pattern && is_domain_pattern(at + 1);
}

bool pattern_takes_domain(const char *pattern, const char *domain)
{
    size_t want, have = strlen(domain);

    if (strcmp(pattern, "*") == 0)
        return true;
    if (pattern[0] == '*')
        pattern++;
    if (pattern[0] != '.')
        return strcasecmp(pattern, domain) == 0;
    want = strlen(pattern);
    return have > want && strcasecmp(domain + have - want, pattern) == 0;
}

bool pattern_takes_path(const char *pattern, const struct path *path)
{
    const char *at = strrchr(pattern, '@');
    const char *domain = path->text + path->domain;
    size_t local = path->domain > 0 && path->text[path->domain - 1] == '@' ? path->domain - 1 : path->domain;

    if (path->text[0] == '\0' || strcmp(pattern, "<>") == 0)
        return path->text[0] == '\0' && strcmp(pattern, "<>") == 0;
    if (at == NULL)
        return pattern_takes_domain(pattern, domain);
    return (size_t)(at - pattern) == local && strncasecmp(pattern, path->text, local) == 0 &&
           pattern_takes_domain(at + 1, domain);
}

/* ---- Networks ---- */

bool address_parse(struct in6_addr *out, const char *text)
{
    struct in_addr v4;

    if (inet_pton(AF_INET6, text, out) == 1)
        return true;
    if (inet_pton(AF_INET, text, &v4) != 1)
        return false;
    memset(out, 0, sizeof *out);
    out->s6_addr[10] = out->s6_addr[11] = 0xff;
    memcpy(out->s6_addr + 12, &v4, 4);
    return true;
}

bool network_parse(struct network *out, const char *text)
{
    char address[INET6_ADDRSTRLEN];
    const char *slash = strchr(text, '/');
    size_t len = slash != NULL ? (size_t)(slash - text) : strlen(text);
    unsigned most;
    char *end;

    if (len >= sizeof address)
        return false;
    memcpy(address, text, len);
    address[len] = '\0';
    if (!address_parse(&out->address, address))
        return false;
    most = strchr(address, ':') != NULL ? 128 : 32;
    out->bits = 128;
    if (slash == NULL)
        return true;
    unsigned long bits = strtoul(slash + 1, &end, 10);
    if (slash[1] < '0' || slash[1] > '9' || *end != '\0' || bits > most)
        return false;
    out->bits = (unsigned)bits + 128 - most;
    return true;
}

bool network_contains(const struct network *network, const struct in6_addr *address)
{
    unsigned bytes = network->bits / 8, bits = network->bits % 8;

    if (memcmp(network->address.s6_addr, address->s6_addr, bytes) != 0)
        return false;
    return bits == 0 || (network->address.s6_addr[bytes] ^ address->s6_addr[bytes]) >> (8 - bits) == 0;
}
