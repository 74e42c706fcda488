/* SPDX-License-Identifier: Apache-2.0 */
/* Fuzz target: settings files. Whatever stands in one, it is taken or complained about, and nothing leaks. */
#include "routing.h"
#include "settings.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Settings that were taken can be used: every index leads somewhere. */
static void use(const struct settings *s)
{
    const struct fingerprints nobody = {.known = false};
    struct path from = {.text = "a@example.org", .domain = 2}, to = {.text = "b@example.net", .domain = 2};
    struct destination d;

    for (size_t i = 0; i < s->receive_count; i++) {
        const struct origin origin = {.connector = i, .client = &nobody, .from = &from};
        if (!routing_choose(s, &origin, &to, &d))
            continue;
        if (d.send >= s->send_count || routing_policy(s, d.policy) == NULL ||
            (!s->sends[d.send].mx && s->sends[d.send].endpoint_count == 0))
            abort();
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char path[64], *text = NULL;
    size_t len = 0;
    struct settings s;
    FILE *file, *errors;

    snprintf(path, sizeof path, "/tmp/fuzz-settings-%ld", (long)getpid());
    file = fopen(path, "w");
    errors = open_memstream(&text, &len);
    if (file == NULL || errors == NULL)
        abort();
    fwrite(data, 1, size, file);
    fclose(file);
    bool good = settings_read(&s, path, errors);
    fclose(errors);
    if (good != (len == 0))
        abort(); /* a refusal without a word, or a complaint without one */
    if (good)
        use(&s);
    settings_free(&s);
    free(text);
    unlink(path);
    return 0;
}
