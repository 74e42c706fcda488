/* SPDX-License-Identifier: Apache-2.0 */
/* Strings of JSON (RFC 8259, 7). What is no UTF-8 is shown byte by byte, so the whole is always JSON. */
#ifndef GATEWAY_JSON_H
#define GATEWAY_JSON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#define JSON_ESCAPE_MAX 8u

/* One byte of a string; `utf8` says whether all of the string is. Returns the length, without a NUL. */
size_t json_escape(uint8_t byte, bool utf8, char out[JSON_ESCAPE_MAX]);
/* All of it, with its quotes. */
void json_string(FILE *out, const char *text);

#endif
