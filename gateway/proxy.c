/* SPDX-License-Identifier: Apache-2.0 */
/* The PROXY protocol; see proxy.h. */
#include "proxy.h"

#include <arpa/inet.h>
#include <string.h>

#define V1_MAX 107u /* 2.1: the longest line, CRLF included */
#define V2_MIN 16u

static const char v1_start[] = "PROXY ";
static const uint8_t v2_start[12] = {0x0d, 0x0a, 0x0d, 0x0a, 0x00, 0x0d, 0x0a, 0x51, 0x55, 0x49, 0x54, 0x0a};

/* The next word of a line up to a blank; it ends with the line. */
static size_t word_length(const char *text, size_t len)
{
    size_t at = 0;

    while (at < len && text[at] != ' ')
        at++;
    return at;
}

static bool is_address(const char *text, size_t len, int family, char out[INET6_ADDRSTRLEN])
{
    unsigned char binary[sizeof(struct in6_addr)];
    char copy[INET6_ADDRSTRLEN];

    if (len == 0 || len >= sizeof copy)
        return false;
    memcpy(copy, text, len);
    copy[len] = '\0';
    return inet_pton(family, copy, binary) == 1 && inet_ntop(family, binary, out, INET6_ADDRSTRLEN) != NULL;
}

static bool is_port(const char *text, size_t len)
{
    unsigned value = 0;

    for (size_t i = 0; i < len; i++) {
        if (text[i] < '0' || text[i] > '9' || i > 4)
            return false;
        value = value * 10 + (unsigned)(text[i] - '0');
    }
    return len > 0 && value <= 65535;
}

/* "TCP4 SOURCE DESTINATION PORT PORT" or "UNKNOWN ...". */
static bool parse_line(struct proxy *out, const char *text, size_t len)
{
    size_t word = word_length(text, len);
    char other[INET6_ADDRSTRLEN];
    int family;

    out->address[0] = '\0';
    if (word == 7 && memcmp(text, "UNKNOWN", 7) == 0)
        return true;
    if (word != 4 || (memcmp(text, "TCP4", 4) != 0 && memcmp(text, "TCP6", 4) != 0))
        return false;
    family = text[3] == '4' ? AF_INET : AF_INET6;
    for (int i = 0; i < 4; i++) {
        if (word >= len) /* a blank comes before each word */
            return false;
        text += word + 1;
        len -= word + 1;
        word = word_length(text, len);
        if (i < 2 ? !is_address(text, word, family, i == 0 ? out->address : other) : !is_port(text, word))
            return false;
    }
    return word == len;
}

static enum proxy_result parse_v1(struct proxy *out, const uint8_t *bytes, size_t len)
{
    size_t start = sizeof v1_start - 1;
    const uint8_t *lf = memchr(bytes, '\n', len < V1_MAX ? len : V1_MAX);

    if (lf == NULL)
        return len < V1_MAX ? PROXY_MORE : PROXY_BAD;
    out->length = (size_t)(lf - bytes) + 1;
    if (out->length < start + 2 || lf[-1] != '\r')
        return PROXY_BAD;
    return parse_line(out, (const char *)bytes + start, out->length - start - 2) ? PROXY_DONE : PROXY_BAD;
}

static enum proxy_result parse_v2(struct proxy *out, const uint8_t *bytes, size_t len)
{
    unsigned command, family;
    size_t rest, need;

    if (len < V2_MIN)
        return PROXY_MORE;
    command = bytes[12];
    family = bytes[13] >> 4;
    rest = (size_t)(bytes[14] << 8 | bytes[15]);
    out->length = V2_MIN + rest;
    out->address[0] = '\0';
    if ((command != 0x20 && command != 0x21) || out->length > 4096)
        return PROXY_BAD;
    if (len < out->length)
        return PROXY_MORE;
    if (command == 0x20 || family == 0 ||
        family == 3) /* LOCAL; no or a Unix address: who connects is the peer */
        return PROXY_DONE;
    need = family == 1 ? 12 : 36;
    if (family > 2 || (bytes[13] & 0x0f) != 1 || rest < need)
        return PROXY_BAD;
    inet_ntop(family == 1 ? AF_INET : AF_INET6, bytes + V2_MIN, out->address, sizeof out->address);
    return PROXY_DONE;
}

enum proxy_result proxy_parse(struct proxy *out, const uint8_t *bytes, size_t len)
{
    size_t v1 = sizeof v1_start - 1, v2 = sizeof v2_start;

    if (len > 0 && memcmp(bytes, v1_start, len < v1 ? len : v1) == 0)
        return len < v1 ? PROXY_MORE : parse_v1(out, bytes, len);
    if (len > 0 && memcmp(bytes, v2_start, len < v2 ? len : v2) == 0)
        return len < v2 ? PROXY_MORE : parse_v2(out, bytes, len);
    return len == 0 ? PROXY_MORE : PROXY_BAD;
}
