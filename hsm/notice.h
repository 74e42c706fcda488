/* SPDX-License-Identifier: Apache-2.0 */
/* What somebody must hear of even if nobody asked. */
#ifndef HSM_NOTICE_H
#define HSM_NOTICE_H

/* One line to stderr and to the debug log. For what an operator has to act upon, once per event. */
void notice(const char *format, ...) __attribute__((format(printf, 1, 2)));

#endif
