/* SPDX-License-Identifier: Apache-2.0 */
/* The inside of reading settings, shared by the settings*.c files. */
#ifndef GATEWAY_SETTINGS_PRIVATE_H
#define GATEWAY_SETTINGS_PRIVATE_H

#include <confuse.h>
#include "settings.h"

#define INHERIT (-1) /* a limit that the section does not set */

/* ---- settings_values.c: single values ---- */

/* Begins and ends one parse: libconfuse gives its callbacks no argument of the caller's. */
void values_begin(const char *file, FILE *errors);
unsigned values_errors(void);
void values_count_error(void);
cfg_errfunc_t values_reporter(void);
/* Keeps the line on which the option's last value stands, as a check of libconfuse's answers: 0, or -1. */
int note_place(cfg_t *cfg, cfg_opt_t *opt);
/* That line. */
int place_of(const cfg_opt_t *opt);

int parse_size(cfg_t *cfg, cfg_opt_t *opt, const char *value, void *result);
int parse_time(cfg_t *cfg, cfg_opt_t *opt, const char *value, void *result);
int parse_count(cfg_t *cfg, cfg_opt_t *opt, const char *value, void *result);
/* Words and parts of values that were checked already. */
enum tls_level level_of(const char *word);
bool split_endpoint(struct store *store, const char *text, struct endpoint *out);

/* ---- settings_checks.c ---- */

/* Tells libconfuse how each key of the language is checked. */
void values_set_checks(cfg_t *cfg);

/* ---- settings_sections.c: sections to structures; false only when out of memory ---- */

bool take_text(struct settings *s, cfg_t *cfg, const char *name, struct setting *out);
bool take_list(struct settings *s, cfg_t *cfg, const char *name, struct setting_list *out);
void take_limits(cfg_t *cfg, struct limits *l);
bool take_receive(struct settings *s, cfg_t *cfg, struct receive_settings *r);
bool take_send(struct settings *s, cfg_t *cfg, struct send_settings *send);
bool take_route(struct settings *s, cfg_t *cfg, struct route_settings *r);
bool take_partner(struct settings *s, cfg_t *cfg, struct partner_settings *p);
void missing(cfg_t *cfg, const char *what, const char *section);

#endif
