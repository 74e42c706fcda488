/* SPDX-License-Identifier: Apache-2.0 */
#include "option.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

bool option_wrong(const char *program, const char *option, const char *value, const char *wanted)
{
    fprintf(stderr, "%s: --%s %s: %s\n", program, option, value, wanted);
    return false;
}

bool option_number(const char *program, const char *option, const char *text, size_t min, size_t max,
                   size_t *out)
{
    char *end, wanted[64];
    unsigned long value;

    errno = 0;
    value = strtoul(text, &end, 10);
    *out = value;
    if (text[0] >= '0' && text[0] <= '9' && *end == '\0' && errno == 0 && value >= min && value <= max)
        return true;
    snprintf(wanted, sizeof(wanted), "not a number from %zu to %zu", min, max);
    return option_wrong(program, option, text, wanted);
}

bool option_items(const char *list, bool (*take)(void *arg, const char *item), void *arg)
{
    char *copy = strdup(list), *rest = copy, *item;
    bool right = copy != NULL;

    while (right && (item = strsep(&rest, ",")) != NULL)
        right = take(arg, item);
    free(copy);
    return right;
}

static int ascending(const void *a, const void *b)
{
    size_t left = *(const size_t *)a, right = *(const size_t *)b;

    return (left > right) - (left < right);
}

/* Numbers with commas in between, each once. */
bool option_numbers(const char *program, const char *option, const char *text, size_t min, size_t max,
                    size_t out[], size_t room, size_t *count)
{
    char *copy = strdup(text), *rest = copy, *item;
    bool right = copy != NULL;
    size_t kept = 0;

    *count = 0;
    while (right && (item = strsep(&rest, ",")) != NULL) {
        right = *count < room || option_wrong(program, option, text, "too many");
        right = right && option_number(program, option, item, min, max, &out[*count]);
        *count += right;
    }
    free(copy);
    qsort(out, *count, sizeof(out[0]), ascending);
    for (size_t i = 0; i < *count; i++)
        if (i == 0 || out[i] != out[i - 1])
            out[kept++] = out[i];
    *count = kept;
    return right;
}
