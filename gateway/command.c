/* SPDX-License-Identifier: Apache-2.0 */
/*
 * SMTP command lines; see command.h.
 *
 * Strict where leniency has been an attack, lenient where it only helps: blanks after "FROM:" and at the end
 * of a line are common among senders and harmless, so they are taken.
 */
#include "command.h"

#include <string.h>
#include <strings.h>

static const struct {
    const char *name;
    enum verb verb;
} verbs[] = {
    {"EHLO", VERB_EHLO},  {"HELO", VERB_HELO},    {"STARTTLS", VERB_STARTTLS}, {"MAIL", VERB_MAIL},
    {"RCPT", VERB_RCPT},  {"DATA", VERB_DATA},    {"RSET", VERB_RSET},         {"NOOP", VERB_NOOP},
    {"VRFY", VERB_VRFY},  {"QUIT", VERB_QUIT},    {"EXPN", VERB_KNOWN},        {"HELP", VERB_KNOWN},
    {"TURN", VERB_KNOWN}, {"ETRN", VERB_KNOWN},   {"BDAT", VERB_KNOWN},        {"AUTH", VERB_KNOWN},
    {"SEND", VERB_KNOWN}, {"SOML", VERB_KNOWN},   {"SAML", VERB_KNOWN},        {"ATRN", VERB_KNOWN},
    {"BURL", VERB_KNOWN}, {"GET", VERB_HTTP},     {"POST", VERB_HTTP},         {"HEAD", VERB_HTTP},
    {"PUT", VERB_HTTP},   {"CONNECT", VERB_HTTP}, {"OPTIONS", VERB_HTTP},      {"DELETE", VERB_HTTP},
    {"PATCH", VERB_HTTP}, {"TRACE", VERB_HTTP},   {"PRI", VERB_HTTP},
};

void command_parse(struct command *out, const char *line, size_t len)
{
    size_t verb_len = 0;

    while (len > 0 && (line[len - 1] == ' ' || line[len - 1] == '\t'))
        len--;
    while (verb_len < len && line[verb_len] != ' ')
        verb_len++;
    out->verb = VERB_OTHER;
    for (size_t i = 0; i < sizeof verbs / sizeof verbs[0]; i++)
        if (strlen(verbs[i].name) == verb_len && strncasecmp(verbs[i].name, line, verb_len) == 0)
            out->verb = verbs[i].verb;
    while (verb_len < len && line[verb_len] == ' ')
        verb_len++;
    out->args = line + verb_len;
    out->args_len = len - verb_len;
}

bool text_is_utf8(const char *text, size_t len)
{
    const uint8_t *s = (const uint8_t *)text;
    size_t at = 0;

    while (at < len) {
        uint32_t c = s[at++], least;
        unsigned more;
        if (c < 0x80)
            continue;
        if (c >= 0xc2 && c <= 0xdf) {
            more = 1, least = 0x80, c &= 0x1f;
        } else if (c >= 0xe0 && c <= 0xef) {
            more = 2, least = 0x800, c &= 0x0f;
        } else if (c >= 0xf0 && c <= 0xf4) {
            more = 3, least = 0x10000, c &= 0x07;
        } else {
            return false;
        }
        for (; more > 0; more--) {
            if (at == len || (s[at] & 0xc0) != 0x80)
                return false;
            c = c << 6 | (s[at++] & 0x3f);
        }
        if (c < least || c > 0x10ffff || (c >= 0xd800 && c <= 0xdfff))
            return false;
    }
    return true;
}

static bool is_alnum(char c)
{
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

/* RFC 5321, 4.1.2 atext, with UTF8-non-ascii as RFC 6531, 3.3 adds it. */
static bool is_atext(char c)
{
    return is_alnum(c) || (c & 0x80) || (c != '\0' && strchr("!#$%&'*+-/=?^_`{|}~", c));
}

static bool is_domain_char(char c)
{
    return is_alnum(c) || (c & 0x80) || c == '-' || c == '_' || c == '.';
}

/* A run of labels, or an address literal in brackets. Returns its length, 0 if it is none. */
static size_t domain_length(const char *s, size_t len)
{
    size_t at = 0;

    if (len > 0 && s[0] == '[') {
        for (at = 1; at < len && (is_alnum(s[at]) || s[at] == ':' || s[at] == '.' || s[at] == '-'); at++)
            ;
        return at > 1 && at < len && s[at] == ']' ? at + 1 : 0;
    }
    while (at < len && is_domain_char(s[at])) {
        if (s[at] == '.' && (at == 0 || s[at - 1] == '.'))
            return 0;
        at++;
    }
    return at > 0 && s[at - 1] != '.' ? at : 0;
}

bool command_is_helo_name(const char *name, size_t len)
{
    size_t at;

    if (len == 0 || len > DOMAIN_MAX_LEN)
        return false;
    if (name[0] == '[')
        return domain_length(name, len) == len;
    for (at = 0; at < len; at++) /* more than a domain: real clients greet with odd host names, but ASCII */
        if (!is_alnum(name[at]) && !strchr("-_.:", name[at]))
            return false;
    return true;
}

/* A dot-string or a quoted string. Returns its length, 0 if it is none. */
static size_t local_length(const char *s, size_t len)
{
    size_t at = 0;

    if (len > 0 && s[0] == '"') {
        for (at = 1; at < len && s[at] != '"'; at++) {
            if (s[at] == '\\')
                at++;
            if (at >= len || (uint8_t)s[at] < 0x20 || s[at] == 0x7f)
                return 0;
        }
        return at < len ? at + 1 : 0;
    }
    while (at < len && (is_atext(s[at]) || s[at] == '.')) {
        if (s[at] == '.' && (at == 0 || s[at - 1] == '.'))
            return 0;
        at++;
    }
    return at > 0 && s[at - 1] != '.' ? at : 0;
}

/* Skips "@one,@two:" (RFC 5321, appendix C: accepted and ignored). Returns its length, 0 if there is none. */
static size_t route_length(const char *s, size_t len)
{
    size_t at = 0;

    while (at < len && s[at] == '@') {
        size_t domain = domain_length(s + at + 1, len - at - 1);
        if (domain == 0)
            return 0;
        at += 1 + domain;
        if (at < len && s[at] == ',')
            at++;
        else
            break;
    }
    return at > 0 && at < len && s[at] == ':' ? at + 1 : 0;
}

/*
 * "<path>" at the start of `s`. Returns the bytes used, 0 if it is no path. `bare_ok`: a local part without a
 * domain is allowed if it is "postmaster" (RFC 5321, 4.1.1.3); `null_ok`: so is "<>".
 */
static size_t parse_path(const char *s, size_t len, struct path *path, bool null_ok, bool bare_ok)
{
    size_t at = 1, start, local, domain;

    if (len < 2 || s[0] != '<')
        return 0;
    if (s[1] == '>') {
        path->text[0] = '\0';
        path->domain = 0;
        path->utf8 = false;
        return null_ok ? 2 : 0;
    }
    at += route_length(s + at, len - at);
    start = at;
    local = local_length(s + at, len - at);
    if (local == 0)
        return 0;
    at += local;
    if (at < len && s[at] == '@') {
        domain = domain_length(s + at + 1, len - at - 1);
        if (domain == 0 || domain > DOMAIN_MAX_LEN)
            return 0;
        at += 1 + domain;
        path->domain = local + 1;
    } else {
        if (!bare_ok || local != 10 || strncasecmp(s + start, "postmaster", 10) != 0)
            return 0;
        path->domain = local;
    }
    if (at >= len || s[at] != '>' || at - start > PATH_MAX_LEN)
        return 0;
    memcpy(path->text, s + start, at - start);
    path->text[at - start] = '\0';
    path->utf8 = false;
    for (size_t i = start; i < at; i++)
        path->utf8 |= (s[i] & 0x80) != 0;
    return at + 1;
}

/* Strips `keyword` ("FROM:") and blanks behind it; false if it is not there. */
static bool take_keyword(const char **args, size_t *len, const char *keyword)
{
    size_t want = strlen(keyword);

    if (*len < want || strncasecmp(*args, keyword, want) != 0)
        return false;
    *args += want;
    *len -= want;
    while (*len > 0 && **args == ' ') {
        (*args)++;
        (*len)--;
    }
    return true;
}

static bool parse_number(const char *s, size_t len, uint64_t *out)
{
    uint64_t value = 0;

    if (len == 0 || len > 19) /* RFC 1870, 4: at most 20 digits; 19 always fit in 64 bits */
        return false;
    for (size_t i = 0; i < len; i++) {
        if (s[i] < '0' || s[i] > '9')
            return false;
        value = value * 10 + (uint64_t)(s[i] - '0');
    }
    *out = value;
    return true;
}

static const char bad_parameter[] = "501 5.5.4 Syntax error in parameters";

static bool is_word(const char *s, size_t len, const char *word)
{
    return len == strlen(word) && strncasecmp(s, word, len) == 0;
}

/* xtext (RFC 3461, 4): printable, no "=" and no "+" but before two upper-case hexadecimal digits. */
static bool is_xtext(const char *s, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        if (s[i] < '!' || s[i] > '~' || s[i] == '=')
            return false;
        if (s[i] != '+')
            continue;
        for (size_t k = 1; k <= 2; k++)
            if (i + k >= len ||
                !((s[i + k] >= '0' && s[i + k] <= '9') || (s[i + k] >= 'A' && s[i + k] <= 'F')))
                return false;
        i += 2;
    }
    return len > 0;
}

/* Keeps a value that came for the first time; false if it came before or is too long. */
static bool keep_value(char *out, size_t size, const char *value, size_t len)
{
    if (out[0] != '\0' || len == 0 || len >= size)
        return false;
    memcpy(out, value, len);
    out[len] = '\0';
    return true;
}

static const char *parse_dsn_of_mail(const char *word, size_t len, struct mail_parameters *params)
{
    if (len > 6 && strncasecmp(word, "ENVID=", 6) == 0)
        return is_xtext(word + 6, len - 6) &&
                       keep_value(params->envid, sizeof params->envid, word + 6, len - 6)
                   ? NULL
                   : bad_parameter;
    if (len > 4 && strncasecmp(word, "RET=", 4) == 0)
        return (is_word(word + 4, len - 4, "FULL") || is_word(word + 4, len - 4, "HDRS")) &&
                       keep_value(params->ret, sizeof params->ret, word + 4, len - 4)
                   ? NULL
                   : bad_parameter;
    return "555 5.5.4 Parameter not recognised";
}

static const char *parse_parameter(const char *word, size_t len, struct mail_parameters *params)
{
    if (len > 5 && strncasecmp(word, "SIZE=", 5) == 0) {
        if (params->has_size || !parse_number(word + 5, len - 5, &params->size))
            return bad_parameter;
        params->has_size = true;
    } else if (len > 5 && strncasecmp(word, "BODY=", 5) == 0) {
        if (params->has_body)
            return bad_parameter;
        params->has_body = true;
        params->body_8bit = is_word(word + 5, len - 5, "8BITMIME");
        if (!params->body_8bit && !is_word(word + 5, len - 5, "7BIT"))
            return bad_parameter;
    } else if (is_word(word, len, "SMTPUTF8")) {
        if (params->smtputf8)
            return bad_parameter;
        params->smtputf8 = true;
    } else {
        return parse_dsn_of_mail(word, len, params);
    }
    return NULL;
}

/* "NEVER", or a list of the others, each once (RFC 3461, 4.1). */
static bool is_notify(const char *s, size_t len)
{
    static const char *const words[] = {"SUCCESS", "FAILURE", "DELAY"};
    unsigned seen = 0;

    if (is_word(s, len, "NEVER"))
        return true;
    while (len > 0) {
        size_t word = 0, kind = 0;
        while (word < len && s[word] != ',')
            word++;
        while (kind < 3 && !is_word(s, word, words[kind]))
            kind++;
        if (kind == 3 || (seen & 1u << kind) != 0)
            return false;
        seen |= 1u << kind;
        s += word;
        len -= word;
        if (len > 0 && (s++, --len) == 0)
            return false; /* nothing behind the comma */
    }
    return seen != 0;
}

/* "type;xtext", RFC 3461, 4.2; RFC 6533, 3, has UTF-8 in it for the type utf-8. */
static bool is_orcpt(const char *s, size_t len)
{
    const char *semicolon = memchr(s, ';', len);

    return semicolon != NULL && semicolon > s && is_xtext(s, (size_t)(semicolon - s)) &&
           is_xtext(semicolon + 1, len - (size_t)(semicolon + 1 - s));
}

static const char *parse_dsn_of_rcpt(const char *word, size_t len, struct recipient_parameters *params)
{
    if (len > 7 && strncasecmp(word, "NOTIFY=", 7) == 0)
        return is_notify(word + 7, len - 7) &&
                       keep_value(params->notify, sizeof params->notify, word + 7, len - 7)
                   ? NULL
                   : bad_parameter;
    if (len > 6 && strncasecmp(word, "ORCPT=", 6) == 0)
        return is_orcpt(word + 6, len - 6) &&
                       keep_value(params->orcpt, sizeof params->orcpt, word + 6, len - 6)
                   ? NULL
                   : bad_parameter;
    return "555 5.5.4 Parameter not recognised";
}

/* The next word of `args` behind blanks; false if there is none. */
static bool take_word(const char *args, size_t len, size_t *at, const char **word, size_t *word_len)
{
    while (*at < len && args[*at] == ' ')
        (*at)++;
    *word = args + *at;
    while (*at < len && args[*at] != ' ')
        (*at)++;
    *word_len = (size_t)(args + *at - *word);
    return *word_len > 0;
}

const char *command_parse_mail(const char *args, size_t len, struct path *path,
                               struct mail_parameters *params)
{
    const char *wrong = NULL, *word;
    size_t used, word_len;

    memset(params, 0, sizeof *params);
    if (!take_keyword(&args, &len, "FROM:"))
        return "501 5.5.4 Syntax: MAIL FROM:<address>";
    used = parse_path(args, len, path, true, false);
    if (used == 0 || !text_is_utf8(args, used) || (used < len && args[used] != ' '))
        return "501 5.1.7 Bad sender address syntax";
    while (wrong == NULL && take_word(args, len, &used, &word, &word_len))
        wrong = parse_parameter(word, word_len, params);
    if (wrong == NULL && path->utf8 && !params->smtputf8)
        wrong = "553 5.6.7 Non-ASCII address needs SMTPUTF8";
    return wrong;
}

const char *command_parse_rcpt(const char *args, size_t len, struct path *path,
                               struct recipient_parameters *params)
{
    const char *wrong = NULL, *word;
    size_t used, word_len;

    memset(params, 0, sizeof *params);
    if (!take_keyword(&args, &len, "TO:"))
        return "501 5.5.4 Syntax: RCPT TO:<address>";
    used = parse_path(args, len, path, false, true);
    if (used == 0 || !text_is_utf8(args, used) || (used < len && args[used] != ' '))
        return "501 5.1.3 Bad recipient address syntax";
    while (wrong == NULL && take_word(args, len, &used, &word, &word_len))
        wrong = parse_dsn_of_rcpt(word, word_len, params);
    return wrong;
}
