/* SPDX-License-Identifier: Apache-2.0 */
/*
 * PKCS#11 URIs (RFC 7512): text to hsm_uri and back. Which token or object a URI fits is decided elsewhere
 * (find.c); this file only reads and writes the notation.
 *
 * Strict about what could change the meaning (unknown or repeated attributes, bad escapes), lenient about
 * characters that RFC 7512 section 2.3 would have escaped: people paste labels with blanks in them.
 */
#include "uri.h"
#include "error.h"

#include <ctype.h>
#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include <openssl/crypto.h>

static const char scheme[] = "pkcs11:";

/* What a value is, and so how it is read. */
enum kind { KIND_TEXT, KIND_ID, KIND_SLOT_ID, KIND_TYPE, KIND_VERSION };

/* RFC 7512 section 2.3: the attributes, in the order in which we write them. */
static const struct attribute {
    const char *name;
    bool query;
    enum kind kind;
    size_t offset; /* of the char * in hsm_uri, for KIND_TEXT and KIND_VERSION */
} attributes[] = {
    {"token", false, KIND_TEXT, offsetof(hsm_uri, token)},
    {"manufacturer", false, KIND_TEXT, offsetof(hsm_uri, manufacturer)},
    {"model", false, KIND_TEXT, offsetof(hsm_uri, model)},
    {"serial", false, KIND_TEXT, offsetof(hsm_uri, serial)},
    {"library-manufacturer", false, KIND_TEXT, offsetof(hsm_uri, library_manufacturer)},
    {"library-description", false, KIND_TEXT, offsetof(hsm_uri, library_description)},
    {"library-version", false, KIND_VERSION, offsetof(hsm_uri, library_version)},
    {"slot-manufacturer", false, KIND_TEXT, offsetof(hsm_uri, slot_manufacturer)},
    {"slot-description", false, KIND_TEXT, offsetof(hsm_uri, slot_description)},
    {"slot-id", false, KIND_SLOT_ID, 0},
    {"id", false, KIND_ID, 0},
    {"object", false, KIND_TEXT, offsetof(hsm_uri, object)},
    {"type", false, KIND_TYPE, 0},
    {"pin-source", true, KIND_TEXT, offsetof(hsm_uri, pin_source)},
    {"pin-value", true, KIND_TEXT, offsetof(hsm_uri, pin_value)},
    {"module-name", true, KIND_TEXT, offsetof(hsm_uri, module_name)},
    {"module-path", true, KIND_TEXT, offsetof(hsm_uri, module_path)},
};
enum { ATTRIBUTE_COUNT = sizeof(attributes) / sizeof(attributes[0]) };

static const struct {
    const char *name;
    hsm_class type;
} types[] = {{"private", HSM_CLASS_PRIVATE}, {"public", HSM_CLASS_PUBLIC}, {"cert", HSM_CLASS_CERT}};

/* A piece of the URI's text. */
struct span {
    const char *at;
    size_t len;
};

static char **uri_member(const hsm_uri *uri, const struct attribute *a)
{
    return (char **)((char *)(uintptr_t)uri + a->offset);
}

static bool is_pin_value(const struct attribute *a)
{
    return a->query && a->offset == offsetof(hsm_uri, pin_value);
}

/* ---- Reading ---- */

static int hex_value(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* Percent-decodes `value` into a new buffer with a NUL behind it. The value itself is never quoted: it may be
 * a PIN. */
static hsm_status value_decode(struct span value, const char *name, char **out, size_t *out_len,
                               hsm_error *err)
{
    size_t n = 0;
    char *buf = OPENSSL_malloc(value.len + 1);
    if (!buf)
        return error_set(err, HSM_E_MEMORY, 0, "PKCS#11 URI: out of memory");
    hsm_status status = HSM_OK;
    for (size_t i = 0; i < value.len; i++) {
        unsigned char c = (unsigned char)value.at[i];
        if (c == '%') {
            int high = value.len - i > 2 ? hex_value(value.at[i + 1]) : -1;
            int low = value.len - i > 2 ? hex_value(value.at[i + 2]) : -1;
            if (high < 0 || low < 0) {
                status =
                    error_set(err, HSM_E_URI, 0,
                              "PKCS#11 URI: '%s': a '%%' must be followed by two hexadecimal digits", name);
                break;
            }
            c = (unsigned char)(high * 16 + low);
            i += 2;
        } else if (c < 0x20 || c == 0x7f || c == '#') {
            status = error_set(err, HSM_E_URI, 0,
                               "PKCS#11 URI: '%s': character 0x%02x must be written as %%%02X", name, c, c);
            break;
        }
        buf[n++] = (char)c;
    }
    buf[n] = '\0';
    if (status != HSM_OK) {
        OPENSSL_clear_free(buf, value.len + 1);
        return status;
    }
    *out = buf;
    *out_len = n;
    return HSM_OK;
}

static hsm_status slot_id_parse(hsm_uri *uri, const char *text, hsm_error *err)
{
    char *end = NULL;
    errno = 0;
    unsigned long value = isdigit((unsigned char)text[0]) ? strtoul(text, &end, 10) : 0;
    if (!end || *end != '\0' || errno == ERANGE)
        return error_set(err, HSM_E_URI, 0, "PKCS#11 URI: 'slot-id' must be a decimal number, not '%s'",
                         text);
    uri->slot_id = value;
    uri->has_slot_id = true;
    return HSM_OK;
}

static hsm_status type_parse(hsm_uri *uri, const char *text, hsm_error *err)
{
    for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++) {
        if (strcmp(text, types[i].name) == 0) {
            uri->type = types[i].type;
            return HSM_OK;
        }
    }
    return error_set(err, HSM_E_URI, 0, "PKCS#11 URI: 'type' must be private, public or cert here, not '%s'",
                     text);
}

/* RFC 7512: 1*DIGIT [ "." 1*DIGIT ] */
static hsm_status version_check(const char *text, hsm_error *err)
{
    size_t major = strspn(text, "0123456789");
    const char *rest = text + major;
    size_t minor = *rest == '.' ? strspn(rest + 1, "0123456789") : 0;
    bool good = major > 0 && (*rest == '\0' || (minor > 0 && rest[1 + minor] == '\0'));
    return good ? HSM_OK
                : error_set(err, HSM_E_URI, 0, "PKCS#11 URI: 'library-version' must look like 2.6, not '%s'",
                            text);
}

/* Takes over `value`, an OPENSSL_malloc'd string of `len` bytes. */
static hsm_status attribute_store(hsm_uri *uri, const struct attribute *a, char *value, size_t len,
                                  hsm_error *err)
{
    if (a->kind == KIND_ID) { /* binary: the only value that may hold a zero byte */
        if (len == 0) {
            OPENSSL_free(value);
            return error_set(err, HSM_E_URI, 0, "PKCS#11 URI: 'id' is empty");
        }
        uri->id = (uint8_t *)value;
        uri->id_len = len;
        return HSM_OK;
    }
    hsm_status status = HSM_OK;
    if (strlen(value) != len)
        status = error_set(err, HSM_E_URI, 0, "PKCS#11 URI: '%s' contains a zero byte (%%00)", a->name);
    else if (a->query && len == 0)
        status = error_set(err, HSM_E_URI, 0, "PKCS#11 URI: '%s' is empty", a->name);
    else if (a->kind == KIND_SLOT_ID)
        status = slot_id_parse(uri, value, err);
    else if (a->kind == KIND_TYPE)
        status = type_parse(uri, value, err);
    else if (a->kind == KIND_VERSION)
        status = version_check(value, err);

    if (status == HSM_OK && (a->kind == KIND_TEXT || a->kind == KIND_VERSION))
        *uri_member(uri, a) = value;
    else
        OPENSSL_clear_free(value, len + 1);
    return status;
}

static const struct attribute *attribute_find(struct span name)
{
    for (size_t i = 0; i < ATTRIBUTE_COUNT; i++) {
        if (strlen(attributes[i].name) == name.len && memcmp(attributes[i].name, name.at, name.len) == 0)
            return &attributes[i];
    }
    return NULL;
}

/* One `name=value`. `seen` has a bit for each attribute met so far. */
static hsm_status attribute_parse(hsm_uri *uri, struct span part, bool query, unsigned *seen, hsm_error *err)
{
    const char *side = query ? "query" : "path";
    const char *equals = memchr(part.at, '=', part.len);
    if (!equals || equals == part.at)
        return error_set(err, HSM_E_URI, 0,
                         "PKCS#11 URI: an attribute of the %s is not of the form name=value", side);
    struct span name = {part.at, (size_t)(equals - part.at)};
    struct span value = {equals + 1, part.len - name.len - 1};
    int shown = name.len > 40 ? 40 : (int)name.len;

    if (name.len > 2 && memcmp(name.at, "x-", 2) == 0)
        return HSM_OK; /* vendors' own (RFC 7512 section 2.3): not ours to judge */
    const struct attribute *a = attribute_find(name);
    if (!a)
        return error_set(err, HSM_E_URI, 0, "PKCS#11 URI: unknown attribute '%.*s'", shown, name.at);
    if (a->query != query)
        return error_set(err, HSM_E_URI, 0, "PKCS#11 URI: '%s' belongs %s the '?'", a->name,
                         a->query ? "behind" : "before");
    unsigned bit = 1u << (a - attributes);
    if (*seen & bit)
        return error_set(err, HSM_E_URI, 0, "PKCS#11 URI: '%s' is there twice", a->name);
    *seen |= bit;

    char *decoded = NULL;
    size_t len = 0;
    hsm_status status = value_decode(value, a->name, &decoded, &len, err);
    return status == HSM_OK ? attribute_store(uri, a, decoded, len, err) : status;
}

/* The attributes of the path or of the query, `separator` between them. */
static hsm_status attributes_parse(hsm_uri *uri, struct span text, bool query, unsigned *seen, hsm_error *err)
{
    char separator = query ? '&' : ';';
    while (text.len > 0) {
        const char *end = memchr(text.at, separator, text.len);
        struct span part = {text.at, end ? (size_t)(end - text.at) : text.len};
        hsm_status status = attribute_parse(uri, part, query, seen, err);
        if (status != HSM_OK)
            return status;
        if (end && part.len + 1 == text.len)
            return error_set(err, HSM_E_URI, 0, "PKCS#11 URI: it ends with '%c'", separator);
        size_t step = end ? part.len + 1 : part.len;
        text.at += step;
        text.len -= step;
    }
    return HSM_OK;
}

hsm_status hsm_uri_parse(hsm_uri *uri, const char *text, hsm_error *err)
{
    *uri = (hsm_uri){0};
    if (strncasecmp(text, scheme, sizeof(scheme) - 1) != 0)
        return error_set(err, HSM_E_URI, 0, "PKCS#11 URI: it does not begin with '%s'", scheme);
    text += sizeof(scheme) - 1;
    const char *question = strchr(text, '?');
    struct span path = {text, question ? (size_t)(question - text) : strlen(text)};
    struct span query = {question ? question + 1 : "", question ? strlen(question + 1) : 0};

    unsigned seen = 0;
    hsm_status status = attributes_parse(uri, path, false, &seen, err);
    if (status == HSM_OK)
        status = attributes_parse(uri, query, true, &seen, err);
    if (status == HSM_OK && uri->pin_value && uri->pin_source)
        status = error_set(err, HSM_E_URI, 0, "PKCS#11 URI: 'pin-value' and 'pin-source' exclude each other");
    if (status != HSM_OK)
        hsm_uri_clear(uri);
    return status;
}

/* ---- Writing ---- */

/* RFC 3986 section 2.3. Everything else is escaped, which is always allowed. */
static bool is_unreserved(unsigned char c)
{
    return (c < 0x80 && isalnum(c)) || c == '-' || c == '.' || c == '_' || c == '~';
}

struct writer {
    char *buf; /* NULL while measuring */
    size_t len;
};

static void write_char(struct writer *w, char c)
{
    if (w->buf)
        w->buf[w->len] = c;
    w->len++;
}

static void write_text(struct writer *w, const char *text)
{
    while (*text)
        write_char(w, *text++);
}

static void write_encoded(struct writer *w, const uint8_t *bytes, size_t len, bool all)
{
    static const char digits[] = "0123456789ABCDEF";
    for (size_t i = 0; i < len; i++) {
        if (!all && is_unreserved(bytes[i])) {
            write_char(w, (char)bytes[i]);
        } else {
            write_char(w, '%');
            write_char(w, digits[bytes[i] >> 4]);
            write_char(w, digits[bytes[i] & 15]);
        }
    }
}

/* Writes the value behind `name=`. False if the URI has no such attribute. */
static bool write_attribute(struct writer *w, const hsm_uri *uri, const struct attribute *a, char before)
{
    char number[24] = "";
    const char *value = NULL;
    switch (a->kind) {
    case KIND_TEXT:
    case KIND_VERSION:
        value = *uri_member(uri, a);
        break;
    case KIND_SLOT_ID:
        (void)snprintf(number, sizeof(number), "%lu", uri->slot_id);
        value = uri->has_slot_id ? number : NULL;
        break;
    case KIND_TYPE:
        for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++)
            value = types[i].type == uri->type ? types[i].name : value;
        break;
    case KIND_ID:
        value = uri->id_len > 0 ? (const char *)uri->id : NULL;
        break;
    }
    if (!value)
        return false;
    if (before)
        write_char(w, before);
    write_text(w, a->name);
    write_char(w, '=');
    if (a->kind == KIND_ID)
        write_encoded(w, uri->id, uri->id_len, true);
    else
        write_encoded(w, (const uint8_t *)value, strlen(value), false);
    return true;
}

static void write_uri(struct writer *w, const hsm_uri *uri)
{
    write_text(w, scheme);
    char before = '\0';
    bool query = false;
    for (size_t i = 0; i < ATTRIBUTE_COUNT; i++) {
        if (attributes[i].query && !query) {
            query = true;
            before = '?';
        }
        if (is_pin_value(&attributes[i]))
            continue; /* a PIN is never written */
        if (write_attribute(w, uri, &attributes[i], before))
            before = query ? '&' : ';';
    }
    write_char(w, '\0');
}

char *hsm_uri_text(const hsm_uri *uri)
{
    struct writer w = {0};
    write_uri(&w, uri);
    w.buf = malloc(w.len);
    w.len = 0;
    if (w.buf)
        write_uri(&w, uri);
    return w.buf;
}

/* ---- Life ---- */

void hsm_uri_clear(hsm_uri *uri)
{
    for (size_t i = 0; i < ATTRIBUTE_COUNT; i++) {
        if (attributes[i].kind != KIND_TEXT && attributes[i].kind != KIND_VERSION)
            continue;
        char *value = *uri_member(uri, &attributes[i]);
        OPENSSL_clear_free(value, value ? strlen(value) : 0);
    }
    OPENSSL_free(uri->id);
    *uri = (hsm_uri){0};
}

bool uri_copy(hsm_uri *to, const hsm_uri *from)
{
    *to = (hsm_uri){.slot_id = from->slot_id, .has_slot_id = from->has_slot_id, .type = from->type};
    bool good = true;
    for (size_t i = 0; i < ATTRIBUTE_COUNT; i++) {
        if (attributes[i].kind != KIND_TEXT && attributes[i].kind != KIND_VERSION)
            continue;
        if (is_pin_value(&attributes[i]))
            continue;
        const char *value = *uri_member(from, &attributes[i]);
        if (value)
            good = (*uri_member(to, &attributes[i]) = OPENSSL_strdup(value)) && good;
    }
    if (from->id_len > 0) {
        to->id = OPENSSL_memdup(from->id, from->id_len);
        to->id_len = from->id_len;
        good = to->id && good;
    }
    if (!good)
        hsm_uri_clear(to);
    return good;
}
