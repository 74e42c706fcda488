/* SPDX-License-Identifier: Apache-2.0 */
/* libFuzzer target: any text is parsed or refused with a line, and what was parsed survives being written and read. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sealane/hsm.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *text = malloc(size + 1);
    hsm_uri uri, again;
    hsm_error err;

    if (text == NULL)
        abort();
    memcpy(text, data, size);
    text[size] = '\0';
    if (hsm_uri_parse(&uri, text, &err) == HSM_OK) {
        char *written = hsm_uri_text(&uri);
        if (written == NULL || hsm_uri_parse(&again, written, &err) != HSM_OK)
            abort();
        char *twice = hsm_uri_text(&again);
        if (twice == NULL || strcmp(written, twice) != 0)
            abort();
        free(written);
        free(twice);
        hsm_uri_clear(&again);
    } else if (err.text[0] == '\0' || memchr(err.text, '\0', sizeof(err.text)) == NULL ||
               strchr(err.text, '\n') != NULL) {
        abort();
    }
    hsm_uri_clear(&uri);
    free(text);
    return 0;
}
