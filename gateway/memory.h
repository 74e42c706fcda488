/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Memory after a wave of connections. libc keeps what was freed for whoever asks next, so that one flood of handshakes
 * (some 50 KB each while they last) would be what the process weighs for ever. One thread.
 */
#ifndef GATEWAY_MEMORY_H
#define GATEWAY_MEMORY_H

#include <stdbool.h>
#include <stddef.h>

#define MEMORY_LOOK_MS 5000 /* between two looks */

struct memory {
    size_t most; /* connections at once since memory was last given back */
};

/* Called now and then with how many connections there are: true if memory was given back to the system. */
bool memory_look(struct memory *memory, size_t connections);

#endif
