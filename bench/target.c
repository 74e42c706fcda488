/* SPDX-License-Identifier: Apache-2.0 */
#include "target.h"

bool targets_reached(const target_outcome outcomes[], size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (!outcomes[i].measured || !outcomes[i].reached)
            return false;
    return true;
}

void targets_print(FILE *to, const char *heading, const target_outcome targets[], size_t count)
{
    fprintf(to, "\n%s\n", heading);
    for (size_t i = 0; i < count; i++) {
        const target_outcome *t = &targets[i];
        int digits = t->at_most ? 0 : 2;
        fprintf(to, "%-6s %-72s %s %.*f%s",
                !t->measured ? "ABSENT"
                : t->reached ? "ok"
                             : "SHORT",
                t->what, t->at_most ? "<=" : ">=", digits, t->needed, t->unit);
        if (t->measured)
            fprintf(to, ": %.*f (%.*f..%.*f) at %s\n", digits, t->figure.median, digits, t->figure.p10,
                    digits, t->figure.p90, t->where);
        else
            fprintf(to, ": %s\n", t->where);
    }
}
