/* SPDX-License-Identifier: Apache-2.0 */
/* One line to the engine's operator, through what sealane_set_log() was given or to stderr. */
#ifndef ENGINE_LOG_H
#define ENGINE_LOG_H

void log_line(const char *format, ...) __attribute__((format(printf, 1, 2)));

#endif
