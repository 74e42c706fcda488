/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Single values of the settings file: where they stand, and what is read from their text. Whether one is good is
 * settings_checks.c's matter.
 */
#include "settings_private.h"
#include "command.h"

#include <errno.h>
#include <limits.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

static const char *const level_names[] = {"none", "may", "encrypt", "fingerprint", "verify", "secure"};

const char *tls_level_name(enum tls_level level)
{
    return level_names[level];
}

/* ---- Where values stand ---- */

/* Of the one parse that is running. */

#define PLACES_MAX 16384u

static FILE *parse_errors;
static const char *parse_file; /* a section without title has lost the name by itself */
static unsigned parse_error_count;
static struct place {
    const cfg_opt_t *option;
    int line;
} places[PLACES_MAX];
static size_t place_count;

void values_begin(const char *file, FILE *errors)
{
    parse_errors = errors;
    parse_file = file;
    parse_error_count = 0;
    place_count = 0;
}

unsigned values_errors(void)
{
    return parse_error_count;
}

void values_count_error(void)
{
    parse_error_count++;
}

static void report(cfg_t *cfg, const char *format, va_list args)
{
    parse_error_count++;
    fprintf(parse_errors, "%s:%d: ", parse_file, cfg != NULL ? cfg->line : 0);
    vfprintf(parse_errors, format, args);
    fputc('\n', parse_errors);
}

cfg_errfunc_t values_reporter(void)
{
    return report;
}

int note_place(cfg_t *cfg, cfg_opt_t *opt)
{
    if (place_count == PLACES_MAX) {
        cfg_error(cfg, "more than %u values in one file", PLACES_MAX);
        return -1;
    }
    places[place_count++] = (struct place){.option = opt, .line = cfg->line};
    return 0;
}

int place_of(const cfg_opt_t *opt)
{
    for (size_t i = place_count; i > 0; i--)
        if (places[i - 1].option == opt)
            return places[i - 1].line;
    return 0;
}

/* ---- Values with units ---- */

struct unit {
    const char *name;
    long factor;
};
static const struct unit size_units[] = {
    {"", 1}, {"K", 1024}, {"M", 1024 * 1024}, {"G", 1024L * 1024 * 1024}, {NULL, 0}};
static const struct unit time_units[] = {{"", 1}, {"s", 1}, {"m", 60}, {"h", 3600}, {NULL, 0}};

/* A positive number with a unit of the table, into `result` (long). */
static int parse_quantity(cfg_t *cfg, cfg_opt_t *opt, const char *value, void *result,
                          const struct unit *units, const char *example)
{
    char *end;
    long number;

    errno = 0;
    number = strtol(value, &end, 10);
    for (; units->name != NULL; units++)
        if (strcmp(units->name, end) == 0)
            break;
    if (errno != 0 || end == value || number <= 0 || units->name == NULL ||
        number > LONG_MAX / units->factor) {
        cfg_error(cfg, "%s: \"%s\" is not a positive quantity such as %s", opt->name, value, example);
        return -1;
    }
    *(long *)result = number * units->factor;
    return 0;
}

int parse_size(cfg_t *cfg, cfg_opt_t *opt, const char *value, void *result)
{
    return parse_quantity(cfg, opt, value, result, size_units, "2048, 100K or 50M");
}

int parse_time(cfg_t *cfg, cfg_opt_t *opt, const char *value, void *result)
{
    return parse_quantity(cfg, opt, value, result, time_units, "30s, 5m or 1h");
}

int parse_count(cfg_t *cfg, cfg_opt_t *opt, const char *value, void *result)
{
    static const struct unit none[] = {{"", 1}, {NULL, 0}};
    return parse_quantity(cfg, opt, value, result, none, "100");
}

/* ---- Words and parts ---- */

enum tls_level level_of(const char *word)
{
    size_t level = 0;

    while (level + 1 < TLS_LEVEL_COUNT && strcmp(word, level_names[level]) != 0)
        level++;
    return (enum tls_level)level;
}

/* "host:port", "[v6]:port". */
bool split_endpoint(struct store *store, const char *text, struct endpoint *out)
{
    const char *colon = strrchr(text, ':');
    const char *first = text, *last = colon;
    char *end;

    if (colon == NULL || colon == text)
        return false;
    if (text[0] == '[') {
        if (colon[-1] != ']')
            return false;
        first = text + 1;
        last = colon - 1;
    } else if (memchr(text, ':', (size_t)(colon - text)) != NULL) {
        return false; /* an IPv6 address without brackets: which colon is the port's? */
    }
    long number = strtol(colon + 1, &end, 10);
    if (last == first || *end != '\0' || colon[1] < '0' || colon[1] > '9' || number < 1 || number > 65535 ||
        last - first > (long)DOMAIN_MAX_LEN)
        return false;
    out->text = store_text(store, text, strlen(text));
    out->host = store_text(store, first, (size_t)(last - first));
    out->port = store_text(store, colon + 1, strlen(colon + 1));
    return out->text != NULL && out->host != NULL && out->port != NULL;
}
