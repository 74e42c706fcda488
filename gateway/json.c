/* SPDX-License-Identifier: Apache-2.0 */
/* See json.h. */
#include "json.h"
#include "command.h"

#include <string.h>

size_t json_escape(uint8_t byte, bool utf8, char out[JSON_ESCAPE_MAX])
{
    if (byte < 0x20 || byte == 0x7f || (byte >= 0x80 && !utf8))
        return (size_t)snprintf(out, JSON_ESCAPE_MAX, "\\u%04x", byte);
    if (byte != '"' && byte != '\\') {
        out[0] = (char)byte;
        return 1;
    }
    out[0] = '\\';
    out[1] = (char)byte;
    return 2;
}

void json_string(FILE *out, const char *text)
{
    bool utf8 = text_is_utf8(text, strlen(text));
    char code[JSON_ESCAPE_MAX];

    fputc('"', out);
    for (; *text != '\0'; text++)
        fwrite(code, 1, json_escape((uint8_t)*text, utf8, code), out);
    fputc('"', out);
}
