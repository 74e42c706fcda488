/* SPDX-License-Identifier: Apache-2.0 */
/* What is going on, as JSON text (hsm_report in hsm.h says what is in it). */
#include "group.h"
#include "hsm-int.h"
#include "text.h"

#include <stdlib.h>

static void group_write(const struct group *g, struct text *out)
{
    text_add(out, "{\"name\":");
    text_add_string(out, g->name);
    text_add(out, ",\"members\":[");
    for (unsigned i = 0; i < g->count; i++) {
        text_add(out, "%s{\"name\":", i ? "," : "");
        text_add_string(out, g->members[i].name);
        text_add(out, ",\"keys_refused\":%u}", g->members[i].refused);
    }
    text_add(out, "]}");
}

char *hsm_report(hsm *h)
{
    struct text out = {0};
    const char *comma = "";
    text_add(&out, "{\"module\":");
    text_add_string(&out, module_path(hsm_owner(h)->module));
    text_add(&out, ",\"tokens\":[");
    for (struct token_entry *e = hsm_tokens(h); e; e = e->next) {
        text_add(&out, "%s", comma);
        token_write(e->token, &out);
        comma = ",";
    }
    text_add(&out, "],\"groups\":[");
    for (struct group *g = hsm_groups(h); g; g = g->next) {
        group_write(g, &out);
        text_add(&out, "%s", g->next ? "," : "");
    }
    text_add(&out, "]}");
    if (out.failed) {
        free(out.buf);
        return NULL;
    }
    return out.buf;
}
