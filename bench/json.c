/* SPDX-License-Identifier: Apache-2.0 */
#include "json.h"

#include <errno.h>
#include <string.h>

void json_text(FILE *to, const char *name, const char *text)
{
    fprintf(to, "\"%s\": \"", name);
    for (; *text != '\0'; text++) {
        unsigned char c = (unsigned char)*text;
        if (c == '"' || c == '\\')
            fprintf(to, "\\%c", c);
        else if (c < 0x20)
            fprintf(to, "\\u%04x", c);
        else
            fputc(c, to);
    }
    fputc('"', to);
}

void json_spread(FILE *to, const char *name, spread s)
{
    fprintf(to, "\"%s\": {\"p10\": %.4f, \"median\": %.4f, \"p90\": %.4f}", name, s.p10, s.median, s.p90);
}

void json_machine(FILE *to, const machine *m)
{
    fprintf(to, "  \"machine\": {");
    json_text(to, "cpu", m->cpu);
    fprintf(to, ", ");
    json_text(to, "cpu_class", m->cpu_class);
    fprintf(to, ", \"core\": %d},\n  \"build\": {", m->core);
    json_text(to, "type", m->build);
    fprintf(to, ", ");
    json_text(to, "compiler", m->compiler);
    fprintf(to, ", ");
    json_text(to, "flags", m->flags);
    fprintf(to, ", ");
    json_text(to, "openssl", m->openssl);
    fprintf(to, ", ");
    json_text(to, "ipsec_mb", m->ipsec_mb);
    fprintf(to, "},\n  \"backends\": [");
    for (size_t i = 0; i < m->backends; i++) {
        fprintf(to, "%s\n    {", i == 0 ? "" : ",");
        json_text(to, "name", m->backend[i].name);
        fprintf(to, ", ");
        json_text(to, "version", m->backend[i].version);
        fprintf(to, ", ");
        json_text(to, "state", m->backend[i].state);
        fprintf(to, ", \"usable\": %s}", m->backend[i].usable ? "true" : "false");
    }
    fprintf(to, "\n  ],\n");
    if (m->forced_by != NULL) {
        fprintf(to, "  ");
        json_text(to, "forced_backend", m->forced_by);
        fprintf(to, ",\n");
    }
}

void json_targets(FILE *to, const target_outcome targets[], size_t count)
{
    fprintf(to, "  \"targets\": [");
    for (size_t i = 0; i < count; i++) {
        const target_outcome *t = &targets[i];
        fprintf(to, "%s\n    {", i == 0 ? "" : ",");
        json_text(to, "what", t->what);
        fprintf(to, ", \"%s\": %.2f, \"measured\": %s, \"reached\": %s, ",
                t->at_most ? "at_most" : "at_least", t->needed, t->measured ? "true" : "false",
                t->reached ? "true" : "false");
        json_spread(to, "figure", t->figure);
        fprintf(to, ", ");
        json_text(to, "where", t->where);
        fprintf(to, "}");
    }
    fprintf(to, "\n  ]");
}

FILE *json_open(const char *program, const char *path)
{
    FILE *to = strcmp(path, "-") == 0 ? stdout : fopen(path, "w");

    if (to == NULL)
        fprintf(stderr, "%s: cannot write %s: %s\n", program, path, strerror(errno));
    return to;
}

bool json_close(const char *program, const char *path, FILE *to)
{
    bool done = fflush(to) == 0 && ferror(to) == 0;

    if (to != stdout)
        done = fclose(to) == 0 && done;
    if (!done)
        fprintf(stderr, "%s: writing %s failed: %s\n", program, path, strerror(errno));
    return done;
}
